//! The objects of the inventory as they are told: all that is in force, with what goes on, and without secrets.
//!
//! Whoever sends a view back may leave in it what a document does not have: it is taken and not looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::documents::{
    self, BrandingDocument, RecordingDocument, RulesDocument, SecretLimitsDocument,
    TenantLimitsDocument,
};
use super::placing::{PlacementDocument, of_placement};
use super::policy::{PolicyDocument, of_policy};
use super::{Desk, time};
use crate::fleet::Phase;
use crate::inventory::InForce;
use crate::model::{
    AdminState, AssetKind, Cluster, ClusterGroup, Health, Look, Node, Object, Origin, Tenant,
    TenantSecret,
};

/// Who manages an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OriginWord {
    /// It stands in the configuration file, and is read-only here.
    File,
    /// It came through the API.
    Api,
}

impl From<Origin> for OriginWord {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::File => Self::File,
            Origin::Api => Self::Api,
        }
    }
}

/// What an operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateWord {
    /// It takes meetings.
    Ready,
    /// It runs what it has, and takes nothing new.
    Cordoned,
    /// Cordoned, and reports when it is empty.
    Draining,
    /// Removed: it goes when it is empty.
    Retired,
}

impl From<AdminState> for StateWord {
    fn from(state: AdminState) -> Self {
        match state {
            AdminState::Ready => Self::Ready,
            AdminState::Cordoned => Self::Cordoned,
            AdminState::Draining => Self::Draining,
            AdminState::Retired => Self::Retired,
        }
    }
}

/// Whether a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum HealthWord {
    /// It was never polled so far.
    Unknown,
    /// It answers.
    Up,
    /// It has failed once.
    Suspect,
    /// It has failed too often.
    Down,
}

impl From<Health> for HealthWord {
    fn from(health: Health) -> Self {
        match health {
            Health::Unknown => Self::Unknown,
            Health::Up => Self::Up,
            Health::Suspect => Self::Suspect,
            Health::Down => Self::Down,
        }
    }
}

/// An object as everybody may see it.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum View {
    Cluster(ClusterView),
    Group(GroupView),
    Node(NodeView),
    Tenant(Box<TenantView>),
}

impl View {
    pub(super) fn of(desk: &Desk, in_force: &InForce, object: &Object) -> Self {
        let origin = in_force.inventory.origin(&object.name()).into();
        match object {
            Object::Cluster(cluster) => Self::Cluster(ClusterView::new(cluster, origin)),
            Object::ClusterGroup(group) => Self::Group(GroupView::new(group, origin)),
            Object::Node(node) => Self::Node(NodeView::new(desk, node, origin)),
            Object::Tenant(tenant) => Self::Tenant(Box::new(TenantView::new(desk, tenant, origin))),
        }
    }
}

impl View {
    /// A node that is gone from the inventory, and stays until its last meeting ends.
    pub(super) fn of_retired(desk: &Desk, node: &Node) -> Self {
        Self::Node(NodeView::new(desk, node, OriginWord::Api))
    }
}

/// A set of nodes that share one load policy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ClusterView {
    /// Unique name.
    name: String,
    /// Which hash signs requests to its nodes.
    checksum: String,
    /// How its nodes' load is computed.
    policy: PolicyDocument,
    /// Who manages it.
    origin: OriginWord,
}

impl ClusterView {
    fn new(cluster: &Cluster, origin: OriginWord) -> Self {
        Self {
            name: cluster.name.clone(),
            checksum: cluster.checksum.as_str().to_owned(),
            policy: of_policy(cluster.policy),
            origin,
        }
    }
}

/// A set of clusters; a tenant is given one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct GroupView {
    /// Unique name.
    name: String,
    /// Names of its clusters.
    clusters: Vec<String>,
    /// Who manages it.
    origin: OriginWord,
}

impl GroupView {
    fn new(group: &ClusterGroup, origin: OriginWord) -> Self {
        Self { name: group.name.clone(), clusters: group.clusters.clone(), origin }
    }
}

/// A `BigBlueButton` server, and how it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct NodeView {
    /// Unique name.
    name: String,
    /// Name of its cluster.
    cluster: String,
    /// Where its API is.
    url: String,
    /// Capacity relative to the other nodes.
    weight: f64,
    /// Attendees that a node of weight 1 is meant to carry.
    capacity: u32,
    /// Labels that tenants can require.
    tags: Vec<String>,
    /// B3LB's CPU script.
    #[serde(skip_serializing_if = "Option::is_none")]
    load_url: Option<String>,
    /// Who manages it.
    origin: OriginWord,
    /// What an operator wants of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<StateWord>,
    /// How it is. As the state, it is not there in the moment before this instance serves the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<NodeStatus>,
}

/// How a node is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct NodeStatus {
    /// Whether it answers.
    pub(super) health: HealthWord,
    /// Since when (RFC 3339).
    #[schema(value_type = String, format = DateTime)]
    since: Value,
    /// Why, where it does not.
    reason: Option<String>,
    /// Main meetings at the last poll, with those placed since.
    meetings: u32,
    /// People at the last poll, with joins since.
    attendees: u32,
    /// Placements that no poll has seen yet.
    reserved: u32,
    /// CPU utilisation in 1/10000; 0 without a load script.
    cpu: u32,
    /// What its cluster's policy makes of that; the least is chosen next.
    load: f64,
}

impl NodeView {
    fn new(desk: &Desk, node: &Node, origin: OriginWord) -> Self {
        let snapshot = desk.fleet.peek();
        let known = snapshot.node(node.name.as_str());
        let status = known.map(|known| {
            let (since_ms, reason) = known.live.health_since();
            // Polls say nothing of a node that has not answered since a start; we know what runs there.
            let ours = desk.fleet.directory.on_node(known.name());
            let ours = ours.iter().filter(|entry| {
                entry.phase() == Phase::Running && entry.parent_internal_id().is_none()
            });
            let ours = u32::try_from(ours.count()).unwrap_or(u32::MAX);
            NodeStatus {
                health: known.live.health().into(),
                since: time(since_ms),
                reason,
                meetings: known.live.meetings().max(ours),
                attendees: known.live.attendees(),
                reserved: known.live.reserved(),
                cpu: known.live.cpu(),
                load: known.load(),
            }
        });
        Self {
            name: node.name.as_str().to_owned(),
            cluster: node.cluster.clone(),
            url: node.url.to_string(),
            weight: node.weight,
            capacity: node.capacity,
            tags: node.tags.clone(),
            load_url: node.load_url.as_ref().map(ToString::to_string),
            origin,
            state: known.map(|known| known.live.admin().into()),
            status,
        }
    }
}

/// A customer of the API, and what runs of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct TenantView {
    /// Unique short name.
    slug: String,
    /// What people call it.
    name: String,
    /// Whether it is served; what runs of one that is not goes on.
    enabled: bool,
    /// Whose it is, as b3scale's tools group tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// Whether requests to an unknown host are its own.
    default: bool,
    /// Its own host names.
    domains: Vec<String>,
    /// The cluster group that carries its meetings.
    cluster_group: String,
    /// Tags that a node must have to carry its meetings.
    required_tags: Vec<String>,
    /// Its API secrets, without their values.
    pub(super) secrets: Vec<TenantSecretView>,
    /// Hashes it may sign with.
    checksums: Vec<String>,
    /// Limits over all its secrets.
    limits: TenantLimitsDocument,
    /// Rules on parameters, for all its secrets.
    params: RulesDocument,
    /// How its meetings are called on the nodes: scoped or plain.
    meeting_ids: String,
    /// Its look, as far as it is at URLs.
    branding: BrandingDocument,
    /// Its look, as far as it was uploaded or stands in files: logo, slide and css.
    files: BTreeMap<String, FileView>,
    /// What becomes of its recordings.
    recording: RecordingDocument,
    /// How its meetings are placed.
    placement: PlacementDocument,
    /// Who manages it.
    origin: OriginWord,
    /// What runs. It is not there in the moment before this instance serves the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<TenantStatus>,
}

/// What runs of a tenant, at the last polls.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct TenantStatus {
    /// Meetings.
    meetings: u32,
    /// People in them.
    attendees: u32,
}

/// A file of a tenant's look.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct FileView {
    /// What people see of its path.
    name: String,
    /// SHA-256 of the content, in hex.
    sha256: String,
    /// Whether there is no copy of it any more: put it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
}

impl FileView {
    /// Nothing for a look that is no file.
    pub(super) fn of(look: &Look) -> Option<Self> {
        let (name, digest) = look.file()?;
        let lost = matches!(look, Look::Lost(_));
        Some(Self { name, sha256: digest.to_owned(), lost })
    }
}

/// One API secret of a tenant.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct TenantSecretView {
    /// 0 is the main secret.
    #[schema(maximum = 999)]
    pub(super) sub_id: u16,
    /// The value, in the answer to the request that has had it made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
    /// Limits of this secret alone.
    limits: SecretLimitsDocument,
    /// Rules of this secret, after the tenant's.
    params: RulesDocument,
}

impl From<&TenantSecret> for TenantSecretView {
    fn from(secret: &TenantSecret) -> Self {
        Self {
            sub_id: secret.sub_id.get(),
            secret: None,
            limits: documents::of_secret_limits(secret.limits),
            params: documents::of_rules(&secret.rules),
        }
    }
}

impl TenantView {
    fn new(desk: &Desk, tenant: &Tenant, origin: OriginWord) -> Self {
        let files = AssetKind::ALL.into_iter().filter_map(|kind| {
            Some((kind.as_str().to_owned(), FileView::of(tenant.branding.get(kind)?)?))
        });
        let snapshot = desk.fleet.peek();
        let status = snapshot.tenant(tenant.slug.as_str()).map(|known| {
            let figures = known.tally.whole();
            TenantStatus { meetings: figures.meetings, attendees: figures.people.attendees }
        });
        Self {
            slug: tenant.slug.as_str().to_owned(),
            name: tenant.name.clone(),
            enabled: tenant.is_enabled,
            account: tenant.account.clone(),
            default: tenant.is_default,
            domains: tenant.domains.clone(),
            cluster_group: tenant.cluster_group.clone(),
            required_tags: tenant.required_tags.clone(),
            secrets: tenant.secrets.iter().map(Into::into).collect(),
            checksums: tenant.checksums.iter().map(|hash| hash.as_str().to_owned()).collect(),
            limits: documents::of_limits(tenant.limits),
            params: documents::of_rules(&tenant.rules),
            meeting_ids: documents::of_meeting_ids(tenant.meeting_ids),
            branding: documents::of_branding(&tenant.branding),
            files: files.collect(),
            recording: documents::of_recording(tenant.recording),
            placement: of_placement(tenant.placement),
            origin,
            status,
        }
    }
}
