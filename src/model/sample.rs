//! A tenant to test with, for all who need one.

use super::{Limits, Rules, Secret, SubId, Tenant, TenantSecret};

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
        let slug = slug.parse().expect("a slug");
        let secrets = sub_ids.iter().map(secret).collect();
        Self { secrets, ..Self::new(slug, "all".to_owned()) }
    }
}
