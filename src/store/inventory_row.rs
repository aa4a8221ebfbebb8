//! Clusters, groups and tenants as JSON; nodes are in [`node_row`].
//!
//! As there, rows have their own shape, and a field that is added later needs a default.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::node_row;
use super::placement_row::PlacementRow;
use super::seal::Seal;
use crate::model::{
    AssetKind, B3lbFactors, Branding, Cluster, ClusterGroup, Inventory, Kind, Limits, Look,
    LostFile, MeetingIds, NodeName, ObjectName, Origin, Policy, RecordingSettings, Rule, RuleMode,
    Rules, Secret, Slug, SubId, Tenant, TenantSecret,
};

/// One row of the inventory.
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Who manages it: the file or the API.
    pub(super) origin: &'static str,
    pub(super) spec: String,
}

const CLUSTER: &str = "cluster";
const GROUP: &str = "group";
const NODE: &str = "node";
const TENANT: &str = "tenant";

fn word_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Cluster => CLUSTER,
        Kind::ClusterGroup => GROUP,
        Kind::Node => NODE,
        Kind::Tenant => TENANT,
    }
}

/// A row as it is read back.
pub(super) struct SavedRow {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) origin: String,
    pub(super) spec: String,
}

#[derive(Serialize, Deserialize)]
struct ClusterRow {
    checksum: String,
    policy: PolicyRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PolicyRow {
    Predictive,
    B3lb { attendee_factor: f64, meeting_factor: f64, cpu_iterations: u32, cpu_max: f64 },
    B3scale,
}

#[derive(Serialize, Deserialize)]
struct GroupRow {
    clusters: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
struct TenantRow {
    name: String,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    is_enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    is_default: bool,
    domains: Vec<String>,
    cluster_group: String,
    required_tags: Vec<String>,
    secrets: Vec<TenantSecretRow>,
    checksums: Vec<String>,
    limits: LimitsRow,
    rules: RulesRow,
    plain_meeting_ids: bool,
    looks: Vec<LookRow>,
    force_look: bool,
    recording: RecordingRow,
    #[serde(default, skip_serializing_if = "PlacementRow::says_nothing")]
    placement: PlacementRow,
    stats_token: Option<SecretRow>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_yes(is: &bool) -> bool {
    *is
}

#[derive(Serialize, Deserialize)]
struct TenantSecretRow {
    sub_id: u16,
    secret: SecretRow,
    secret2: Option<SecretRow>,
    limits: LimitsRow,
    rules: RulesRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SecretRow {
    Clear(String),
    Sealed(String),
}

#[derive(Serialize, Deserialize)]
struct LimitsRow {
    meetings: u32,
    attendees: u32,
    limit_joins: bool,
    requests_per_second: u32,
}

#[derive(Serialize, Deserialize)]
struct RulesRow {
    create: Vec<RuleRow>,
    join: Vec<RuleRow>,
}

#[derive(Serialize, Deserialize)]
struct RuleRow {
    name: String,
    mode: ModeRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeRow {
    Block,
    Set(String),
    Override(String),
    Max(u64),
    Append(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LookRow {
    Url { kind: String, url: String },
    File { kind: String, path: String, digest: String },
}

#[derive(Serialize, Deserialize)]
struct RecordingRow {
    enabled: bool,
    retention_days: u32,
}

/// All rows of an inventory, in its order.
pub(super) fn objects(inventory: &Inventory, seal: &Seal) -> Vec<Object> {
    let Inventory { clusters, groups, nodes, tenants, managed: _ } = inventory;
    let mut all = Vec::new();
    let mut push = |kind, name: &str, spec| {
        let object = ObjectName::new(kind, name);
        let origin = inventory.origin(&object).as_str();
        all.push(Object { kind: word_of(kind), name: object.name, origin, spec });
    };
    for Cluster { name, checksum, policy } in clusters {
        let policy = match *policy {
            Policy::Predictive => PolicyRow::Predictive,
            Policy::B3scale => PolicyRow::B3scale,
            Policy::B3lb(B3lbFactors {
                attendee_factor,
                meeting_factor,
                cpu_iterations,
                cpu_max,
            }) => PolicyRow::B3lb { attendee_factor, meeting_factor, cpu_iterations, cpu_max },
        };
        push(
            Kind::Cluster,
            name,
            json(&ClusterRow { checksum: checksum.as_str().to_owned(), policy }),
        );
    }
    for ClusterGroup { name, clusters } in groups {
        push(Kind::ClusterGroup, name, json(&GroupRow { clusters: clusters.clone() }));
    }
    for node in nodes {
        push(Kind::Node, node.name.as_str(), node_row::to_json(node, seal));
    }
    for tenant in tenants {
        push(Kind::Tenant, tenant.slug.as_str(), json(&from_tenant(tenant, seal)));
    }
    all
}

fn json(row: &impl Serialize) -> String {
    serde_json::to_string(row).expect("a struct of texts and numbers is JSON")
}

fn from_tenant(tenant: &Tenant, seal: &Seal) -> TenantRow {
    let slug = &tenant.slug;
    let shut = |place: &str, secret: &Secret| {
        let sealed = seal.close(&about(slug, place), secret.expose());
        sealed.map_or_else(|| SecretRow::Clear(secret.expose().to_owned()), SecretRow::Sealed)
    };
    let secrets = tenant.secrets.iter().map(|secret| {
        let sub = secret.sub_id.get();
        TenantSecretRow {
            sub_id: sub,
            secret: shut(&format!("{sub}/1"), &secret.secret),
            secret2: secret.secret2.as_ref().map(|value| shut(&format!("{sub}/2"), value)),
            limits: from_limits(secret.limits),
            rules: from_rules(&secret.rules),
        }
    });
    let looks = AssetKind::ALL.into_iter().filter_map(|kind| {
        let word = kind.as_str().to_owned();
        Some(match tenant.branding.get(kind)? {
            Look::Url(url) => LookRow::Url { kind: word, url: url.clone() },
            Look::File(asset) => file_row(word, asset.path(), asset.digest()),
            Look::Lost(LostFile { path, digest }) => file_row(word, path, digest),
        })
    });
    let RecordingSettings { enabled, retention_days } = tenant.recording;
    TenantRow {
        name: tenant.name.clone(),
        is_enabled: tenant.is_enabled,
        account: tenant.account.clone(),
        is_default: tenant.is_default,
        domains: tenant.domains.clone(),
        cluster_group: tenant.cluster_group.clone(),
        required_tags: tenant.required_tags.clone(),
        secrets: secrets.collect(),
        checksums: tenant.checksums.iter().map(|hash| hash.as_str().to_owned()).collect(),
        limits: from_limits(tenant.limits),
        rules: from_rules(&tenant.rules),
        plain_meeting_ids: tenant.meeting_ids == MeetingIds::Plain,
        looks: looks.collect(),
        force_look: tenant.branding.force,
        recording: RecordingRow { enabled, retention_days },
        placement: PlacementRow::of(tenant.placement),
        stats_token: tenant.stats_token.as_ref().map(|token| shut("stats_token", token)),
    }
}

fn file_row(kind: String, path: &Path, digest: &str) -> LookRow {
    LookRow::File { kind, path: path.to_string_lossy().into_owned(), digest: digest.to_owned() }
}

/// A row in which secrets stand in clear, with them sealed; nothing if there are none.
pub(super) fn sealed(kind: &str, name: &str, spec: &str, seal: &Seal) -> Option<String> {
    if kind == NODE {
        return node_row::sealed(name, spec, seal);
    }
    if kind != TENANT {
        return None;
    }
    let (slug, mut row): (Slug, TenantRow) = (name.parse().ok()?, parse(spec).ok()?);
    let mut is_any = false;
    let mut shut = |place: &str, row: &mut SecretRow| {
        if let SecretRow::Clear(secret) = row
            && let Some(sealed) = seal.close(&about(&slug, place), secret)
        {
            *row = SecretRow::Sealed(sealed);
            is_any = true;
        }
    };
    for secret in &mut row.secrets {
        let sub = secret.sub_id;
        shut(&format!("{sub}/1"), &mut secret.secret);
        secret.secret2.iter_mut().for_each(|value| shut(&format!("{sub}/2"), value));
    }
    row.stats_token.iter_mut().for_each(|token| shut("stats_token", token));
    is_any.then(|| json(&row))
}

/// Where a secret belongs; it opens nowhere else. No node has such a name.
fn about(slug: &Slug, place: &str) -> String {
    format!("tenant {slug} {place}")
}

fn from_limits(limits: Limits) -> LimitsRow {
    let Limits { meetings, attendees, limit_joins, requests_per_second } = limits;
    LimitsRow { meetings, attendees, limit_joins, requests_per_second }
}

fn from_rules(rules: &Rules) -> RulesRow {
    let rows = |rules: &[Rule]| {
        let row = |rule: &Rule| RuleRow {
            name: rule.name.clone(),
            mode: match &rule.mode {
                RuleMode::Block => ModeRow::Block,
                RuleMode::Set(value) => ModeRow::Set(value.clone()),
                RuleMode::Override(value) => ModeRow::Override(value.clone()),
                RuleMode::Max(most) => ModeRow::Max(*most),
                RuleMode::Append(value) => ModeRow::Append(value.clone()),
            },
        };
        rules.iter().map(row).collect()
    };
    RulesRow { create: rows(&rules.create), join: rows(&rules.join) }
}

/// Reads rows back, all or none: half an inventory would retire the other half.
///
/// # Errors
/// Which one makes no sense, without what stands in it.
pub(super) fn read(
    rows: impl IntoIterator<Item = SavedRow>,
    seal: &Seal,
) -> Result<Inventory, String> {
    let mut inventory = Inventory::default();
    for SavedRow { kind, name, origin, spec } in rows {
        let is_managed = origin == Origin::Api.as_str();
        let wrong = |reason: &str| format!("{kind} {name}: {reason}");
        let known = match kind.as_str() {
            CLUSTER => Kind::Cluster,
            GROUP => Kind::ClusterGroup,
            NODE => Kind::Node,
            TENANT => Kind::Tenant,
            _ => return Err(wrong("of a newer version")),
        };
        if is_managed {
            inventory.managed.insert(ObjectName::new(known, name.as_str()));
        }
        match known {
            Kind::Cluster => {
                let row: ClusterRow = parse(&spec).map_err(|reason| wrong(&reason))?;
                inventory.clusters.push(to_cluster(&name, &row).map_err(wrong)?);
            }
            Kind::ClusterGroup => {
                let GroupRow { clusters } = parse(&spec).map_err(|reason| wrong(&reason))?;
                inventory.groups.push(ClusterGroup { name, clusters });
            }
            Kind::Node => {
                let node = node_row::from_json(NodeName::new(name.as_str()), &spec, seal);
                inventory.nodes.push(node.map_err(|unusable| wrong(&unusable.to_string()))?);
            }
            Kind::Tenant => {
                let row: TenantRow = parse(&spec).map_err(|reason| wrong(&reason))?;
                inventory.tenants.push(to_tenant(&name, row, seal).map_err(wrong)?);
            }
        }
    }
    Ok(inventory)
}

fn parse<'d, T: Deserialize<'d>>(spec: &'d str) -> Result<T, String> {
    // What stands there may be a secret.
    serde_json::from_str(spec)
        .map_err(|error| format!("no JSON of it, from column {}", error.column()))
}

fn to_cluster(name: &str, row: &ClusterRow) -> Result<Cluster, &'static str> {
    let policy = match row.policy {
        PolicyRow::Predictive => Policy::Predictive,
        PolicyRow::B3scale => Policy::B3scale,
        PolicyRow::B3lb { attendee_factor, meeting_factor, cpu_iterations, cpu_max } => {
            Policy::B3lb(B3lbFactors { attendee_factor, meeting_factor, cpu_iterations, cpu_max })
        }
    };
    let checksum = row.checksum.parse().map_err(|_unknown| "an unknown checksum")?;
    Ok(Cluster { name: name.to_owned(), checksum, policy })
}

fn to_tenant(slug: &str, row: TenantRow, seal: &Seal) -> Result<Tenant, &'static str> {
    let slug: Slug = slug.parse().map_err(|_invalid| "no slug")?;
    let open = |place: &str, secret| match secret {
        SecretRow::Clear(value) => Ok(Secret::new(value)),
        SecretRow::Sealed(sealed) => {
            let opened = seal.open(&about(&slug, place), &sealed).map(Secret::new);
            opened.ok_or(if seal.has_key() {
                "a secret was sealed with another key than `store.key`"
            } else {
                "a secret is sealed, and `store.key` is missing"
            })
        }
    };
    let secrets = row.secrets.into_iter().map(|row| {
        let sub = row.sub_id;
        let second = row.secret2.map(|value| open(&format!("{sub}/2"), value)).transpose()?;
        Ok::<_, &'static str>(TenantSecret {
            sub_id: SubId::new(sub).ok_or("no sub id")?,
            secret: open(&format!("{sub}/1"), row.secret)?,
            secret2: second,
            limits: to_limits(&row.limits),
            rules: to_rules(row.rules),
        })
    });
    let secrets = secrets.collect::<Result<_, _>>()?;
    let checksums = row.checksums.iter().map(|hash| hash.parse());
    let stats_token = row.stats_token.map(|token| open("stats_token", token)).transpose()?;
    let mut branding = Branding { force: row.force_look, ..Branding::default() };
    for look in row.looks {
        let (LookRow::Url { kind, .. } | LookRow::File { kind, .. }) = &look;
        let known = AssetKind::ALL.into_iter().find(|known| known.as_str() == kind);
        let kind = known.ok_or("an unknown kind of look")?;
        match look {
            LookRow::Url { url, .. } => branding.set(kind, Look::Url(url)),
            LookRow::File { path, digest, .. } => {
                branding.set(kind, Look::Lost(LostFile { path: path.into(), digest }));
            }
        }
    }
    let RecordingRow { enabled, retention_days } = row.recording;
    let tenant = Tenant {
        name: row.name,
        is_enabled: row.is_enabled,
        account: row.account,
        is_default: row.is_default,
        domains: row.domains,
        cluster_group: row.cluster_group,
        required_tags: row.required_tags,
        secrets,
        checksums: checksums.collect::<Result<_, _>>().map_err(|_unknown| "an unknown checksum")?,
        limits: to_limits(&row.limits),
        rules: to_rules(row.rules),
        meeting_ids: if row.plain_meeting_ids { MeetingIds::Plain } else { MeetingIds::Scoped },
        branding,
        recording: RecordingSettings { enabled, retention_days },
        placement: row.placement.into_placement(),
        stats_token,
        slug,
    };
    Ok(tenant)
}

fn to_limits(row: &LimitsRow) -> Limits {
    let LimitsRow { meetings, attendees, limit_joins, requests_per_second } = *row;
    Limits { meetings, attendees, limit_joins, requests_per_second }
}

fn to_rules(row: RulesRow) -> Rules {
    let rules = |rows: Vec<RuleRow>| {
        let rule = |row: RuleRow| Rule {
            name: row.name,
            mode: match row.mode {
                ModeRow::Block => RuleMode::Block,
                ModeRow::Set(value) => RuleMode::Set(value),
                ModeRow::Override(value) => RuleMode::Override(value),
                ModeRow::Max(most) => RuleMode::Max(most),
                ModeRow::Append(value) => RuleMode::Append(value),
            },
        };
        rows.into_iter().map(rule).collect::<Vec<_>>().into()
    };
    Rules { create: rules(row.create), join: rules(row.join) }
}
