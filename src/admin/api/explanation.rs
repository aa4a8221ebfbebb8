//! Why a node takes no meetings, in words.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::listing::Listing;
use super::problem::{Problem, Refused};
use super::request::Path;
use super::{Desk, time};
use crate::fleet::Node;
use crate::model::{AdminState, Health, Inventory, Kind, ObjectName};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// Something that is in the way, and what helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Reason {
    /// What is in the way.
    pub(super) reason: String,
    /// What helps.
    pub(super) remedy: String,
}

impl Reason {
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }
}

/// Why a node takes no meetings, each reason with what helps. Without any it takes meetings.
#[utoipa::path(get, path = "/nodes/{name}/explanation", tag = "nodes", security(("token" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "All that is in the way", body = Listing<Reason>), Refused))]
async fn explain(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Listing<Reason>>, Problem> {
    caller.may_read()?;
    let snapshot = desk.fleet.snapshot();
    let node = snapshot.node(&name);
    let node = node.ok_or_else(|| Problem::not_found(&ObjectName::new(Kind::Node, name)))?;
    let mut reasons: Vec<Reason> = of_state(node.live.admin()).into_iter().collect();
    // A retired one is in no inventory.
    if node.live.admin() != AdminState::Retired {
        reasons.extend(of_use(&desk.keeper.in_force().inventory, node));
    }
    reasons.extend(of_health(node, &desk.polls(node)));
    Ok(Json(Listing::new(reasons, None)))
}

impl Desk {
    /// Who polls a node, in words.
    fn polls(&self, node: &Node) -> String {
        let own = self.fleet.leases.instance();
        let living = self.tools.duties.living();
        match living.map(|living| living.owner_of(node.name().as_str()).clone()) {
            Some(other) if other != *own => format!("instance {other} polls it"),
            _ => format!("this instance ({own}) polls it"),
        }
    }
}

fn of_state(state: AdminState) -> Option<Reason> {
    let ready = "set its state to ready";
    match state {
        AdminState::Ready => None,
        AdminState::Cordoned => {
            Some(Reason::new("an operator has cordoned it: it runs what it has", ready))
        }
        AdminState::Draining => {
            Some(Reason::new("an operator drains it: it runs what it has until it is empty", ready))
        }
        AdminState::Retired => Some(Reason::new(
            "it was removed, and stays until its last meeting ends",
            "add it again under its name",
        )),
    }
}

/// Nobody whose meetings it could take.
fn of_use(inventory: &Inventory, node: &Node) -> Vec<Reason> {
    let cluster = &node.spec.cluster;
    let groups: Vec<&str> = inventory
        .groups
        .iter()
        .filter(|group| group.clusters.contains(cluster))
        .map(|group| group.name.as_str())
        .collect();
    if groups.is_empty() {
        return vec![Reason::new(
            format!("its cluster {cluster:?} is in no cluster group"),
            "add the cluster to the cluster group of a tenant",
        )];
    }
    let (mut lacking, mut off) = (Vec::new(), Vec::new());
    for tenant in &inventory.tenants {
        if !groups.contains(&tenant.cluster_group.as_str()) {
            continue;
        }
        let tags = tenant.required_tags.iter().filter(|tag| !node.spec.tags.contains(tag));
        let tags: Vec<&str> = tags.map(String::as_str).collect();
        let lacks = |whole: &str| format!("{} ({whole}{})", tenant.slug, tags.join(", "));
        match (tenant.is_enabled, tags.is_empty()) {
            (true, true) => return Vec::new(),
            (true, false) => lacking.push(lacks("")),
            (false, true) => off.push(tenant.slug.to_string()),
            (false, false) => off.push(lacks("which also requires ")),
        }
    }
    if lacking.is_empty() && off.is_empty() {
        return vec![Reason::new(
            format!("no tenant uses a cluster group that its cluster is in: {}", groups.join(", ")),
            "give one of these cluster groups to a tenant, or add the cluster to a tenant's",
        )];
    }
    let mut reasons = Vec::new();
    let which = if off.is_empty() { "every tenant" } else { "every enabled tenant" };
    if !lacking.is_empty() {
        reasons.push(Reason::new(
            format!(
                "it lacks tags that {which} that could use it requires: {}",
                lacking.join("; ")
            ),
            "add the tags to the node, or take them out of a tenant's required_tags",
        ));
    }
    if !off.is_empty() {
        let which = if lacking.is_empty() { "every" } else { "every other" };
        reasons.push(Reason::new(
            format!("{which} tenant that could use it is switched off: {}", off.join("; ")),
            "set `enabled` of one of them to true",
        ));
    }
    reasons
}

fn of_health(node: &Node, polls: &str) -> Option<Reason> {
    let (since_ms, why) = node.live.health_since();
    let why = why.unwrap_or_else(|| "no reason is known".to_owned());
    let since = time(since_ms);
    let since = since.as_str().unwrap_or_default();
    let probe = "ask for a probe of the node, which says what is wrong and what helps";
    match node.live.health() {
        Health::Up => None,
        Health::Unknown => Some(Reason::new(
            format!("it was never polled so far; {polls}"),
            "wait for one polling.interval; if nothing changes, see the log of that instance",
        )),
        Health::Suspect => Some(Reason::new(
            format!("it is suspect since {since}: {why}; {polls}"),
            format!("it is used again after polling.up_after good polls; else {probe}"),
        )),
        Health::Down => {
            Some(Reason::new(format!("it is down since {since}: {why}; {polls}"), probe))
        }
    }
}
