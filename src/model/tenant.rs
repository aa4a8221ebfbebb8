//! Tenants: the customers of the API.

use super::{Branding, Rules, Scope, Secret, Slug, SubId};
use crate::bbb::Algorithm;

/// One customer of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Unique short name.
    pub slug: Slug,
    /// What people call it.
    pub name: String,
    /// Whether it is served. What of one that is not runs goes on, but nobody can call.
    pub is_enabled: bool,
    /// Whose it is, as b3scale's tools group tenants.
    pub account: Option<String>,
    /// Whether requests to an unknown host are its own.
    pub is_default: bool,
    /// Its own host names, lower-case, without port.
    pub domains: Vec<String>,
    /// Name of the cluster group that carries its meetings.
    pub cluster_group: String,
    /// Tags that a node must have to carry its meetings.
    pub required_tags: Vec<String>,
    /// Its API secrets, one entry per sub id.
    pub secrets: Vec<TenantSecret>,
    /// Hashes it may sign with.
    pub checksums: Vec<Algorithm>,
    /// Limits over all its secrets.
    pub limits: Limits,
    /// Rules for all its secrets.
    pub rules: Rules,
    /// How its meetings are called on the nodes.
    pub meeting_ids: MeetingIds,
    /// Its look.
    pub branding: Branding,
    /// What becomes of its recordings.
    pub recording: RecordingSettings,
    /// How its meetings are placed.
    pub placement: TenantPlacement,
    /// Opens B3LB's statistics and metrics of this tenant.
    pub stats_token: Option<Secret>,
}

impl Tenant {
    /// A tenant of which nothing is said but its slug and its cluster group: it has no secrets, so nobody can call.
    pub fn new(slug: Slug, cluster_group: String) -> Self {
        Self {
            name: slug.as_str().to_owned(),
            slug,
            is_enabled: true,
            account: None,
            is_default: false,
            domains: Vec::new(),
            cluster_group,
            required_tags: Vec::new(),
            secrets: Vec::new(),
            checksums: Vec::new(),
            limits: Limits::default(),
            rules: Rules::default(),
            meeting_ids: MeetingIds::Scoped,
            branding: Branding::default(),
            recording: RecordingSettings::default(),
            placement: TenantPlacement::default(),
            stats_token: None,
        }
    }

    /// The scope of one of this tenant's secrets.
    pub fn scope(&self, sub: SubId) -> Scope {
        Scope { tenant: self.slug.clone(), sub }
    }

    /// The entry for a sub id.
    pub fn secret(&self, sub: SubId) -> Option<&TenantSecret> {
        self.secrets.iter().find(|secret| secret.sub_id == sub)
    }

    /// Where in `secrets` the entry for a sub id is.
    pub fn position(&self, sub: SubId) -> Option<usize> {
        self.secrets.iter().position(|secret| secret.sub_id == sub)
    }
}

/// One API secret of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantSecret {
    /// Which one.
    pub sub_id: SubId,
    /// The value; never empty.
    pub secret: Secret,
    /// A second value, for rollover; never empty.
    pub secret2: Option<Secret>,
    /// Limits of this secret alone.
    pub limits: Limits,
    /// Rules of this secret, after the tenant's.
    pub rules: Rules,
}

impl TenantSecret {
    /// The values that sign for this secret.
    pub fn values(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.secret).chain(&self.secret2)
    }
}

/// Upper bounds on what runs at once; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Meetings.
    pub meetings: u32,
    /// Attendees.
    pub attendees: u32,
    /// Whether the limit on attendees also refuses joins, other than those of moderators.
    pub limit_joins: bool,
    /// Requests in a second; only of a whole tenant.
    pub requests_per_second: u32,
}

/// How a tenant's meetings are called on the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MeetingIds {
    /// `{meetingID}@{slug}`: two scopes never meet.
    #[default]
    Scoped,
    /// As the front end says, for a pool taken over with running meetings.
    Plain,
}

/// How a tenant's meetings are placed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantPlacement {
    /// The attendees of a meeting of which nothing is known.
    pub default_size: Option<u32>,
    /// More attendees are expected of none of them, whatever its front end says.
    pub max_size: Option<u32>,
    /// Whether they keep off the nodes that others have.
    pub spread: Spread,
    /// Whether nodes are not shown what front ends say of the size.
    pub strip_hints: bool,
}

/// From which meetings a new one keeps off, as long as there is another node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Spread {
    /// From none: only load counts.
    #[default]
    None,
    /// From those of the same tenant, so that one node that fails takes few of them.
    Meetings,
    /// From those of other tenants that say so, too.
    Tenants,
}

impl Spread {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::None, Self::Meetings, Self::Tenants];

    /// The word in configuration, store and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Meetings => "meetings",
            Self::Tenants => "tenants",
        }
    }
}

/// What becomes of a tenant's recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingSettings {
    /// Whether meetings may be recorded.
    pub enabled: bool,
    /// Days until a recording is removed; 0 keeps it for ever.
    pub retention_days: u32,
}

impl Default for RecordingSettings {
    fn default() -> Self {
        Self { enabled: true, retention_days: 0 }
    }
}
