//! The instances, and how much room there is: what scripts need that add and remove machines.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Desk;
use super::caller::Caller;
use super::listing::Listing;
use super::problem::{Problem, Refused};
use crate::bus::Living;
use crate::fleet::{Capacity, Fleet, Forecast};

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
    /// Whether the one that answers knows all others: not where instances that share a PostgreSQL have no Redis, nor
    /// while it is out of touch with them.
    all_known: bool,
}

/// The instances that are alive, as the one that answers sees it, and who polls which node. One that is out of touch
/// with the others knows itself alone and polls all nodes; without Redis each of them does, and is to be asked itself.
#[utoipa::path(get, path = "/instances", tag = "instances", security(("token" = [])),
    responses((status = 200, description = "The living", body = Listing<InstanceDocument>), Refused))]
async fn list_instances(
    State(desk): State<Desk>,
    caller: Caller,
) -> Result<Json<Listing<InstanceDocument>>, Problem> {
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
    let all_known = living.as_ref().map_or(!desk.store.is_shared(), Living::is_in_touch);
    let document = |(id, nodes): (String, Vec<String>)| InstanceDocument {
        is_self: id == own,
        id,
        nodes,
        all_known,
    };
    // They are few: one page has all of them.
    Ok(Json(Listing::new(polled.into_iter().map(document).collect(), None)))
}

/// How much room there is on the nodes that take meetings: ready, up and used by a tenant that is enabled.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct CapacityDocument {
    /// Counted.
    measured: MeasuredDocument,
    /// As operators have put it down.
    configured: ConfiguredDocument,
    /// Concluded from both; nobody can know it.
    guessed: GuessedDocument,
    /// What is foreseen.
    predicted: PredictedDocument,
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

/// What is foreseen from the hours of past weeks and the last hour, for all nodes together.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct PredictedDocument {
    /// In 15 minutes; null where nothing is known to go by.
    in_15_minutes: Option<ForecastDocument>,
    /// In 60 minutes; null where nothing is known to go by.
    in_60_minutes: Option<ForecastDocument>,
    /// Nodes that could all be drained, the emptiest first: what is left has room for those who are foreseen in 60
    /// minutes and the margin, for every tenant. Null where nothing is foreseen.
    removable: Option<Vec<String>>,
}

/// A forecast.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ForecastDocument {
    /// People who will be there.
    attendees: f64,
    /// How many more or fewer there may well be.
    margin: f64,
    /// How many more people there will be room for, with the nodes that take meetings now; below 0: as many are too
    /// many.
    free: f64,
    /// Past weeks that it comes from.
    weeks: usize,
    /// low: from the last hour alone; medium: from a week or two, or from more that differ; high: from three weeks
    /// or more that are alike.
    sureness: &'static str,
}

impl ForecastDocument {
    fn new(forecast: Forecast, room: f64) -> Self {
        // Tenths of people are more than enough.
        let round = |people: f64| (people * 10.0).round() / 10.0;
        Self {
            attendees: round(forecast.attendees),
            margin: round(forecast.margin),
            free: round(room - forecast.attendees),
            weeks: forecast.weeks,
            sureness: forecast.sureness.as_str(),
        }
    }
}

/// What is foreseen, by how far ahead that is.
pub(in crate::admin) const AHEAD: [Duration; 2] =
    [Duration::from_mins(15), Duration::from_hours(1)];

/// The room that there is, with what is foreseen.
pub(in crate::admin) fn capacity(fleet: &Fleet) -> (Capacity, [Option<Forecast>; 2]) {
    let foreseen = AHEAD.map(|ahead| fleet.foresee(ahead));
    let runs_on = |node: &crate::fleet::Node| fleet.runs_on(node.name());
    (Capacity::of(&fleet.snapshot(), foreseen[1].as_ref(), runs_on), foreseen)
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
    let (capacity, foreseen) = capacity(&desk.fleet);
    let free = capacity.free();
    let Capacity { nodes, meetings, attendees, room, empty, drainable, removable } = capacity;
    let [in_15_minutes, in_60_minutes] =
        foreseen.map(|forecast| forecast.map(|forecast| ForecastDocument::new(forecast, room)));
    Ok(Json(CapacityDocument {
        measured: MeasuredDocument { nodes, meetings, attendees, empty },
        configured: ConfiguredDocument { attendees: room },
        guessed: GuessedDocument { free, drainable },
        predicted: PredictedDocument { in_15_minutes, in_60_minutes, removable },
    }))
}
