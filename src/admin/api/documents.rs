//! The objects of the inventory as JSON: the shapes of the configuration file.
//!
//! What stands in them is checked where the file is, too (`config::read_object`); these types say which keys and
//! kinds of values there are, here and in the description of the API. Secrets are taken and never given.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::placing::{PlacementDocument, of_placement};
use super::policy::{PolicyDocument, of_policy};
use super::tags::each_once;
use crate::model::{
    AssetKind, Branding, Cluster, ClusterGroup, Limits, Look, MeetingIds, Node, Object,
    RecordingSettings, Rule, RuleMode, Rules, Tenant, TenantSecret,
};

/// A set of nodes that share one load policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterDocument {
    /// Unique name.
    #[schema(min_length = 1, max_length = 100, example = "main")]
    pub(super) name: String,
    /// Which hash signs requests to its nodes: sha1, sha256, sha384 or sha512. Default sha256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "sha256", pattern = "^(sha1|sha256|sha384|sha512)$")]
    checksum: Option<String>,
    /// How its nodes' load is computed. Default predictive.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyDocument>,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    origin: Ignored,
}

/// A set of clusters; a tenant is given one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupDocument {
    /// Unique name.
    #[schema(min_length = 1, max_length = 100, example = "default")]
    pub(super) name: String,
    /// Names of its clusters.
    #[serde(default)]
    clusters: Vec<String>,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    origin: Ignored,
}

/// A `BigBlueButton` server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeDocument {
    /// Unique name.
    #[schema(pattern = "^[A-Za-z0-9.:_-]{1,100}$", example = "bbb01")]
    pub(super) name: String,
    /// Name of its cluster.
    #[schema(example = "main")]
    cluster: String,
    /// As `bbb-conf --secret` prints it.
    #[schema(format = "uri", example = "https://bbb01.example.org/bigbluebutton/api")]
    url: String,
    /// As `bbb-conf --secret` prints it. Needed for a new node, and never given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only, min_length = 1)]
    pub(super) secret: Option<String>,
    /// Capacity relative to the other nodes, above 0. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0)]
    weight: Option<f64>,
    /// Attendees that a node of weight 1 is meant to carry. Default 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    capacity: Option<u32>,
    /// Labels that tenants can require.
    #[serde(default)]
    tags: Vec<String>,
    /// B3LB's CPU script.
    #[serde(skip_serializing_if = "Option::is_none")]
    load_url: Option<String>,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    origin: Ignored,
    /// What is wanted of a new node: ready, cordoned or draining. Default ready. Of one that is there only its own path
    /// sets it: in a view that is sent back it is as it was.
    #[serde(default, skip_serializing_if = "super::nodes::is_kept_elsewhere")]
    #[schema(pattern = "^(ready|cordoned|draining)$", example = "ready")]
    pub(super) state: Option<String>,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    status: Ignored,
}

/// A customer of the API.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantDocument {
    /// Unique short name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", example = "acme")]
    pub(super) slug: String,
    /// What people call it. Default: the slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Whether it is served; what runs of one that is not goes on. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    /// Whose it is, as b3scale's tools group tenants. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 80)]
    account: Option<String>,
    /// Whether requests to an unknown host are its own. Default false.
    #[serde(default)]
    default: bool,
    /// Its own host names.
    #[serde(default)]
    domains: Vec<String>,
    /// The cluster group that carries its meetings.
    #[schema(example = "default")]
    cluster_group: String,
    /// Tags that a node must have to carry its meetings.
    #[serde(default)]
    required_tags: Vec<String>,
    /// Its API secrets, the main one (`sub_id` 0) among them. A new tenant without any, or with secrets without
    /// values, is given some, and they are shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secrets: Option<Vec<SecretDocument>>,
    /// Hashes it may sign with. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    checksums: Option<Vec<String>>,
    /// Limits over all its secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<TenantLimitsDocument>,
    /// Rules on parameters, for all its secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<RulesDocument>,
    /// How its meetings are called on the nodes: scoped or plain. Default scoped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(scoped|plain)$")]
    meeting_ids: Option<String>,
    /// Its look. Files are uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) branding: Option<BrandingDocument>,
    /// What becomes of its recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingDocument>,
    /// How its meetings are placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<PlacementDocument>,
    /// Opens B3LB's statistics and metrics of this tenant. Never given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub(super) stats_token: Option<String>,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    files: Ignored,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    origin: Ignored,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    status: Ignored,
}

/// One API secret of a tenant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretDocument {
    /// 0 is the main secret.
    #[schema(maximum = 999)]
    pub(super) sub_id: u16,
    /// The value. A new secret without one is given one, which is shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only, min_length = 1)]
    pub(super) secret: Option<String>,
    /// A second value, for rollover; empty: none. Never given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub(super) secret2: Option<String>,
    /// Limits of this secret alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<SecretLimitsDocument>,
    /// Rules of this secret, after the tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<RulesDocument>,
    /// Of a view that is sent back: taken, and not looked at.
    #[serde(default, skip_serializing_if = "Ignored::is_untold")]
    #[schema(value_type = Option<serde_json::Value>)]
    rolling: Ignored,
}

impl SecretDocument {
    /// One of which nothing is said.
    pub(super) fn new(sub_id: u16) -> Self {
        let rolling = Ignored;
        Self { sub_id, secret: None, secret2: None, limits: None, params: None, rolling }
    }
}

/// Upper bounds of a tenant on what runs at once; 0 is none.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(super) struct TenantLimitsDocument {
    /// Meetings.
    meetings: u32,
    /// Attendees in them.
    attendees: u32,
    /// Whether the attendees are counted at joins, too.
    limit_joins: bool,
    /// Requests in a second.
    #[schema(maximum = 1_000_000)]
    requests_per_second: u32,
}

/// Upper bounds of a secret on what runs at once; 0 is none.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SecretLimitsDocument {
    /// Meetings.
    meetings: u32,
    /// Attendees in them.
    attendees: u32,
    /// Whether the attendees are counted at joins, too.
    limit_joins: bool,
}

/// Rules on the parameters of calls, in their order.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RulesDocument {
    /// On `create`.
    create: Vec<RuleDocument>,
    /// On `join`.
    join: Vec<RuleDocument>,
}

/// A rule on one parameter.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDocument {
    /// The parameter.
    #[schema(example = "record")]
    name: String,
    /// block, set, override, max or append.
    #[schema(pattern = "^(block|set|override|max|append)$", example = "override")]
    mode: String,
    /// What it becomes; every mode but block needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "false")]
    value: Option<String>,
}

/// A tenant's look.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BrandingDocument {
    /// URL of the logo.
    #[serde(skip_serializing_if = "Option::is_none")]
    logo: Option<String>,
    /// URL of the first slides.
    #[serde(skip_serializing_if = "Option::is_none")]
    slide: Option<String>,
    /// URL of the style sheet.
    #[serde(skip_serializing_if = "Option::is_none")]
    css: Option<String>,
    /// Whether the slides also take the place of those that a front end sends.
    force: bool,
}

/// What becomes of recordings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordingDocument {
    /// Whether meetings may be recorded. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    /// Recordings go after so many days; 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 36_500)]
    retention_days: Option<u32>,
}

/// What a view has and a document has not: taken from whoever sends a view back, and not looked at.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Ignored;

impl Ignored {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_untold(&self) -> bool {
        matches!(self, Self)
    }
}

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_any| Self)
    }
}

/// Whether secrets are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Secrets {
    /// For ourselves only: to be read again.
    Shown,
    /// For everybody.
    Hidden,
}

impl Secrets {
    fn of(self, secret: &crate::model::Secret) -> Option<String> {
        (self == Self::Shown).then(|| secret.expose().to_owned())
    }
}

/// An object as JSON. Looks that are files are left out.
pub(in crate::admin) fn write(object: &Object, secrets: Secrets) -> serde_json::Value {
    let written = match object {
        Object::Cluster(cluster) => serde_json::to_value(of_cluster(cluster)),
        Object::ClusterGroup(ClusterGroup { name, clusters }) => {
            let (name, clusters) = (name.clone(), clusters.clone());
            serde_json::to_value(GroupDocument { name, clusters, origin: Ignored })
        }
        Object::Node(node) => serde_json::to_value(of_node(node, secrets)),
        Object::Tenant(tenant) => serde_json::to_value(of_tenant(tenant, secrets)),
    };
    written.expect("a struct of texts and numbers is JSON")
}

fn of_cluster(cluster: &Cluster) -> ClusterDocument {
    ClusterDocument {
        name: cluster.name.clone(),
        checksum: Some(cluster.checksum.as_str().to_owned()),
        policy: Some(of_policy(cluster.policy)),
        origin: Ignored,
    }
}

fn of_node(node: &Node, secrets: Secrets) -> NodeDocument {
    NodeDocument {
        name: node.name.as_str().to_owned(),
        cluster: node.cluster.clone(),
        url: node.url.to_string(),
        secret: secrets.of(&node.secret),
        weight: Some(node.weight),
        capacity: Some(node.capacity),
        tags: each_once(&node.tags),
        load_url: node.load_url.as_ref().map(ToString::to_string),
        origin: Ignored,
        state: None,
        status: Ignored,
    }
}

fn of_tenant(tenant: &Tenant, secrets: Secrets) -> TenantDocument {
    TenantDocument {
        slug: tenant.slug.as_str().to_owned(),
        name: Some(tenant.name.clone()),
        enabled: Some(tenant.is_enabled),
        account: tenant.account.clone(),
        default: tenant.is_default,
        domains: tenant.domains.clone(),
        cluster_group: tenant.cluster_group.clone(),
        required_tags: each_once(&tenant.required_tags),
        secrets: Some(tenant.secrets.iter().map(|secret| of_secret(secret, secrets)).collect()),
        checksums: Some(tenant.checksums.iter().map(|hash| hash.as_str().to_owned()).collect()),
        limits: Some(of_limits(tenant.limits)),
        params: Some(of_rules(&tenant.rules)),
        meeting_ids: Some(of_meeting_ids(tenant.meeting_ids)),
        branding: Some(of_branding(&tenant.branding)),
        recording: Some(of_recording(tenant.recording)),
        placement: Some(of_placement(tenant.placement)),
        stats_token: tenant.stats_token.as_ref().and_then(|token| secrets.of(token)),
        files: Ignored,
        origin: Ignored,
        status: Ignored,
    }
}

pub(super) fn of_limits(limits: Limits) -> TenantLimitsDocument {
    let Limits { meetings, attendees, limit_joins, requests_per_second } = limits;
    TenantLimitsDocument { meetings, attendees, limit_joins, requests_per_second }
}

pub(super) fn of_secret_limits(limits: Limits) -> SecretLimitsDocument {
    let Limits { meetings, attendees, limit_joins, requests_per_second: _of_tenants } = limits;
    SecretLimitsDocument { meetings, attendees, limit_joins }
}

pub(super) fn of_meeting_ids(ids: MeetingIds) -> String {
    match ids {
        MeetingIds::Scoped => "scoped",
        MeetingIds::Plain => "plain",
    }
    .to_owned()
}

pub(super) fn of_branding(branding: &Branding) -> BrandingDocument {
    let look = |kind| match branding.get(kind) {
        Some(Look::Url(url)) => Some(url.clone()),
        _ => None,
    };
    BrandingDocument {
        logo: look(AssetKind::Logo),
        slide: look(AssetKind::Slide),
        css: look(AssetKind::Css),
        force: branding.force,
    }
}

pub(super) fn of_recording(recording: RecordingSettings) -> RecordingDocument {
    let RecordingSettings { enabled, retention_days } = recording;
    RecordingDocument { enabled: Some(enabled), retention_days: Some(retention_days) }
}

fn of_secret(secret: &TenantSecret, secrets: Secrets) -> SecretDocument {
    SecretDocument {
        sub_id: secret.sub_id.get(),
        secret: secrets.of(&secret.secret),
        secret2: secret.secret2.as_ref().and_then(|value| secrets.of(value)),
        limits: Some(of_secret_limits(secret.limits)),
        params: Some(of_rules(&secret.rules)),
        rolling: Ignored,
    }
}

pub(super) fn of_rules(rules: &Rules) -> RulesDocument {
    let documents = |rules: &[Rule]| {
        let document = |rule: &Rule| {
            let (mode, value) = match &rule.mode {
                RuleMode::Block => ("block", None),
                RuleMode::Set(value) => ("set", Some(value.clone())),
                RuleMode::Override(value) => ("override", Some(value.clone())),
                RuleMode::Max(most) => ("max", Some(most.to_string())),
                RuleMode::Append(value) => ("append", Some(value.clone())),
            };
            RuleDocument { name: rule.name.clone(), mode: mode.to_owned(), value }
        };
        rules.iter().map(document).collect()
    };
    RulesDocument { create: documents(&rules.create), join: documents(&rules.join) }
}
