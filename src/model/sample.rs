//! A tenant to test with, for all who need one.

use super::{
    Branding, Limits, MeetingIds, RecordingSettings, Rules, Secret, SubId, Tenant, TenantSecret,
};

impl Tenant {
    /// A tenant of this slug without anything set, in the cluster group `all`. Its secrets, all `s`, have
    /// these sub ids.
    pub(crate) fn sample(slug: &str, sub_ids: &[u16]) -> Self {
        let secret = |sub_id: &u16| TenantSecret {
            sub_id: SubId::new(*sub_id).expect("a sub id"),
            secret: Secret::new("s"),
            secret2: None,
            limits: Limits::default(),
            rules: Rules::default(),
        };
        Self {
            slug: slug.parse().expect("a slug"),
            name: slug.to_owned(),
            is_enabled: true,
            account: None,
            is_default: false,
            domains: Vec::new(),
            cluster_group: "all".to_owned(),
            required_tags: Vec::new(),
            secrets: sub_ids.iter().map(secret).collect(),
            checksums: Vec::new(),
            limits: Limits::default(),
            rules: Rules::default(),
            meeting_ids: MeetingIds::Scoped,
            branding: Branding::default(),
            recording: RecordingSettings::default(),
            stats_token: None,
        }
    }
}
