//! The instances, and how much room there is: what scripts need that add and remove machines.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Desk;
use super::caller::Caller;
use super::problem::{Problem, Refused};
use crate::fleet::{Node, Snapshot};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_instances)).routes(routes!(get_capacity))
}

/// A running Portico.
#[derive(Debug, Serialize, ToSchema)]
struct InstanceDocument {
    /// Its name, new with every start.
    id: String,
    /// Whether it is the one that answers.
    is_self: bool,
    /// The nodes that it polls.
    nodes: Vec<String>,
}

/// The instances that are alive, as the one that answers sees it, and who polls which node. One that is out of touch
/// with the others knows itself alone and polls all nodes.
#[utoipa::path(get, path = "/instances", tag = "instances", security(("token" = [])),
    responses((status = 200, description = "The living", body = Vec<InstanceDocument>), Refused))]
async fn list_instances(
    State(desk): State<Desk>,
    caller: Caller,
) -> Result<Json<Vec<InstanceDocument>>, Problem> {
    caller.may_read()?;
    let own = desk.fleet.leases.instance().as_str();
    let mut polled: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let living = desk.tools.duties.living();
    match &living {
        None => drop(polled.insert(own.to_owned(), Vec::new())),
        Some(living) => {
            polled.extend(living.all().iter().map(|id| (id.to_string(), Vec::new())));
        }
    }
    for node in desk.fleet.snapshot().nodes() {
        let name = node.name().as_str();
        let owner = living.as_ref().map_or(own, |living| living.owner_of(name).as_str());
        polled.entry(owner.to_owned()).or_default().push(name.to_owned());
    }
    let document =
        |(id, nodes): (String, Vec<String>)| InstanceDocument { is_self: id == own, id, nodes };
    Ok(Json(polled.into_iter().map(document).collect()))
}

/// How much room there is on the nodes that take meetings: ready, up and used by a tenant.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct CapacityDocument {
    /// Counted.
    measured: MeasuredDocument,
    /// As operators have put it down.
    configured: ConfiguredDocument,
    /// Concluded from both; nobody can know it.
    guessed: GuessedDocument,
}

/// What polls have counted, with what was placed since.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct MeasuredDocument {
    /// Nodes that take meetings.
    nodes: usize,
    /// Main meetings on them.
    meetings: u32,
    /// People in these.
    attendees: u32,
    /// Nodes, also such that take none, on which nothing runs.
    empty: Vec<String>,
}

/// What operators have put down.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ConfiguredDocument {
    /// People for whom the nodes that take meetings are meant: capacity × weight of each, added up.
    attendees: f64,
}

/// What may be concluded.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct GuessedDocument {
    /// How many more people there is room for; below 0: there are too many already.
    free: f64,
    /// Nodes of which each alone could be drained: for every tenant that uses it, its other nodes have room for all
    /// who are there now. Meetings that grow, or begin, are not foreseen.
    drainable: Vec<String>,
}

/// How much room there is, which nodes are empty, and which could be drained: for scripts that add and remove
/// machines.
#[utoipa::path(get, path = "/capacity", tag = "capacity", security(("token" = [])),
    responses((status = 200, description = "The room there is", body = CapacityDocument), Refused))]
async fn get_capacity(
    State(desk): State<Desk>,
    caller: Caller,
) -> Result<Json<CapacityDocument>, Problem> {
    caller.may_read()?;
    let snapshot = desk.fleet.snapshot();
    let runs_on = |node: &Node| desk.fleet.directory.runs_on(node.name());
    Ok(Json(capacity(&snapshot, runs_on)))
}

fn capacity(snapshot: &Snapshot, runs_on: impl Fn(&Node) -> bool) -> CapacityDocument {
    // Of each node that somebody uses, whether everybody who does could do without it.
    let mut used: HashMap<&str, bool> = HashMap::new();
    for tenant in snapshot.tenants() {
        let nodes: Vec<_> = tenant.nodes.iter().filter(|node| node.is_eligible()).collect();
        let room: f64 = nodes.iter().map(|node| node.room()).sum();
        let people: f64 = nodes.iter().map(|node| f64::from(node.live.attendees())).sum();
        for node in &nodes {
            let could_do_without = nodes.len() > 1 && room - node.room() >= people;
            let known = used.entry(node.name().as_str()).or_insert(true);
            *known &= could_do_without;
        }
    }
    let (mut room, mut meetings, mut attendees) = (0.0, 0_u32, 0_u32);
    let (mut empty, mut drainable) = (Vec::new(), Vec::new());
    for node in snapshot.nodes() {
        let name = node.name().as_str();
        if node.live.meetings() == 0 && !runs_on(node) {
            empty.push(name.to_owned());
        }
        let Some(could_go) = used.get(name) else { continue };
        room += node.room();
        meetings = meetings.saturating_add(node.live.meetings());
        attendees = attendees.saturating_add(node.live.attendees());
        if *could_go {
            drainable.push(name.to_owned());
        }
    }
    CapacityDocument {
        measured: MeasuredDocument { nodes: used.len(), meetings, attendees, empty },
        configured: ConfiguredDocument { attendees: room },
        guessed: GuessedDocument { free: room - f64::from(attendees), drainable },
    }
}
