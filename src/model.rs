//! Our own words as plain values: tenants, clusters, nodes, meetings. No IO, no clock.

mod cluster;
mod ids;
mod inventory;
mod meeting;
mod node;
mod rules;
mod secret;
mod tenant;

pub use cluster::{B3lbFactors, Cluster, ClusterGroup, Policy};
pub use ids::{InvalidSlug, NodeName, Scope, Slug, SubId};
pub use inventory::Inventory;
pub use meeting::{Meeting, MeetingKey};
pub use node::{AdminState, Health, Node};
pub use rules::{Rule, RuleMode, Rules};
pub use secret::Secret;
pub use tenant::{Branding, Limits, MeetingIds, RecordingSettings, Tenant, TenantSecret};
