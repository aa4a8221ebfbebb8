//! Our own words as plain values: tenants, clusters, nodes, meetings. No IO, no clock.

mod branding;
mod callback;
mod chronicle;
mod cluster;
mod command;
mod history;
mod hook;
mod ids;
mod instance;
mod inventory;
mod ledger;
mod meeting;
mod node;
mod reach;
mod rules;
#[cfg(test)]
mod sample;
mod secret;
mod tenant;
mod undelivered;

pub use branding::{Asset, AssetKey, AssetKind, Branding, Look, LostFile};
pub use callback::{Callback, CallbackKind, CallbackToken, Delivery, NewDelivery, Settled};
pub use chronicle::{Counted, MeetingLine, NodeLine, spacing_ms};
pub use cluster::{B3lbFactors, Cluster, ClusterGroup, Mixed, Policy};
pub use command::Command;
pub use history::{
    HistoryKey, HistoryRow, Hour, Moments, Past, Peak, SHARE_OF_MANY, SHARE_OF_ROOM,
};
pub use hook::Hook;
pub use ids::{InvalidSlug, NodeName, Scope, Slug, SubId};
pub use instance::InstanceId;
pub use inventory::{Clash, Inventory, Kind, Object, ObjectName, Origin};
pub use ledger::{Change, Token};
pub use meeting::{Extent, MOST_ATTENDEES, Meeting, MeetingKey};
pub use node::{AdminState, Health, Node};
pub use reach::{Forbidden, MAX_TARGET_BYTES, Reach};
pub use rules::{Rule, RuleList, RuleMode, Rules};
pub use secret::Secret;
pub use tenant::{
    Limits, MeetingIds, RecordingSettings, Spread, Tenant, TenantPlacement, TenantSecret,
};
pub use undelivered::{Undelivered, Waiting, WantedDeliveries};
