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
    /// Opens B3LB's statistics and metrics of this tenant.
    pub stats_token: Option<Secret>,
}

impl Tenant {
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
