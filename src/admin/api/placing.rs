//! How meetings of a tenant are placed: what it says of it, and where one would go now.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Desk;
use super::caller::Caller;
use super::problem::{Problem, Refused};
use super::request::{Path, Query};
use crate::fleet::{Candidate, Hints, Wanted};
use crate::model::{Kind, MOST_ATTENDEES, MeetingKey, ObjectName, SubId, TenantPlacement};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// How meetings are placed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlacementDocument {
    /// Attendees of a meeting of which nothing is known. Default: what is known of all meetings.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    default_size: Option<u32>,
    /// More attendees are expected of no meeting, whatever its front end says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    max_size: Option<u32>,
    /// What its meetings keep off while there are other nodes: none, meetings (its own) or tenants (others that say so,
    /// too). Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(none|meetings|tenants)$")]
    spread: Option<String>,
    /// Whether nodes are not shown what front ends say of the size. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    strip_hints: Option<bool>,
}

pub(super) fn of_placement(placement: TenantPlacement) -> PlacementDocument {
    let TenantPlacement { default_size, max_size, spread, strip_hints } = placement;
    let spread = Some(spread.as_str().to_owned());
    PlacementDocument { default_size, max_size, spread, strip_hints: Some(strip_hints) }
}

/// A meeting that could be created.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// What its front end calls it. Default: something that it was never called before.
    meeting_id: Option<String>,
    /// Which of the tenant's secrets would sign. Default: 0.
    #[param(minimum = 0, maximum = 999)]
    sub_id: Option<u16>,
    /// As in `create`; 0 is as good as none.
    max_participants: Option<u32>,
    /// How many its front end expects; 0 is as good as none.
    size_hint: Option<u32>,
}

/// Where a meeting would go, and why.
#[derive(Debug, Serialize, ToSchema)]
struct Explained {
    /// The node, where there is one that can take it.
    node: Option<String>,
    /// The node on which it runs already: there its create would go.
    runs_on: Option<String>,
    /// How large it is expected to become.
    expected: ExpectedDocument,
    /// All nodes of the tenant: those that can take it from the best on, then the others.
    candidates: Vec<CandidateDocument>,
}

/// How large a meeting is expected to become.
#[derive(Debug, Serialize, ToSchema)]
struct ExpectedDocument {
    /// Attendees at its fullest.
    attendees: f64,
    /// What it is looked at as while a node is chosen: more, the less is known.
    cautious: f64,
    /// How that is known: `prior`, `tenant_default`, `everywhere`, `tenant`, `room`, `room_at_hour`, `hint`,
    /// `max_participants` or `lost_node`.
    source: &'static str,
}

/// A node as the choice sees it.
#[derive(Debug, Serialize, ToSchema)]
struct CandidateDocument {
    /// The node.
    node: String,
    /// How full it would be with the meeting: the lowest takes it. By the policy of its cluster, or by `predictive`
    /// where the tenant's nodes have different ones.
    score: Option<f64>,
    /// Meetings there that this one keeps off: the fewest come first, whatever the score.
    keeps_off: u32,
    /// Attendees whom its meetings hold room for: those who are there, and those who are still expected.
    occupied: f64,
    /// Attendees that it is meant to carry.
    room: f64,
    /// Why it cannot take the meeting, or why another comes before it.
    reason: Option<String>,
}

/// Where a meeting would go if it was created now. Nothing is created, and no room is held.
#[utoipa::path(get, path = "/tenants/{slug}/placement", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path), Asked),
    responses((status = 200, description = "Where it would go, and why", body = Explained), Refused))]
async fn explain(
    State(desk): State<Desk>,
    caller: Caller,
    Path(slug): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<Explained>, Problem> {
    caller.may_read()?;
    let snapshot = desk.fleet.snapshot();
    let unknown = || Problem::not_found(&ObjectName::new(Kind::Tenant, slug.as_str()));
    let tenant = snapshot.tenant(&slug).filter(|tenant| !tenant.is_retired).ok_or_else(unknown)?;
    let sub = asked.sub_id.unwrap_or_default();
    let sub = SubId::new(sub).filter(|sub| tenant.tenant.secret(*sub).is_some());
    let no_secret =
        || wrong("sub_id", "is no secret of this tenant; leave it out for the main one");
    let scope = tenant
        .tenant
        .scope(sub.or(asked.sub_id.is_none().then_some(SubId::MAIN)).ok_or_else(no_secret)?);
    let key = MeetingKey { scope, id: asked.meeting_id.unwrap_or_default() };
    let attendees = |name: &str, number: Option<u32>| match number.filter(|number| *number > 0) {
        Some(number) if number > MOST_ATTENDEES => Err(wrong(
            name,
            format!("is more than {MOST_ATTENDEES} attendees, which no meeting has"),
        )),
        number => Ok(number),
    };
    let hints = Hints {
        max_participants: attendees("max_participants", asked.max_participants)?,
        size: attendees("size_hint", asked.size_hint)?,
    };
    let expected = desk.fleet.expect(tenant, &key, hints);
    let wanted = Wanted { expected, ..Wanted::new(&key) };
    let mut candidates: Vec<_> = tenant.candidates(&wanted).collect();
    candidates.sort_by(|one, other| one.compare(other, &wanted));
    let best = candidates.first().filter(|best| best.score.is_ok()).cloned();
    let running = desk.fleet.directory.get(&key.scope, &key.id);
    Ok(Json(Explained {
        node: best.as_ref().map(|best| best.node.name().to_string()),
        runs_on: running.map(|entry| entry.node().to_string()),
        expected: ExpectedDocument {
            attendees: expected.size,
            cautious: expected.cautious,
            source: expected.source.as_str(),
        },
        candidates: candidates.iter().map(|one| document(one, best.as_ref())).collect(),
    }))
}

fn wrong(field: &str, why: impl Into<String>) -> Problem {
    Problem::fields([(field.to_owned(), why.into())])
}

fn document(candidate: &Candidate<'_>, best: Option<&Candidate<'_>>) -> CandidateDocument {
    let Candidate { node, score, crowd, .. } = candidate;
    let reason = match (score, best) {
        (Err(_), _) => candidate.why_not(),
        (Ok(_), Some(best)) if best.node.name() == node.name() => None,
        (Ok(_), Some(best)) if best.crowd < *crowd => {
            Some("it has more meetings that this one keeps off".to_owned())
        }
        (Ok(score), Some(best)) if best.score.is_ok_and(|best| best < *score) => {
            Some("it would be fuller".to_owned())
        }
        (Ok(_), _) => Some("it would be as full, and the lot fell on the other".to_owned()),
    };
    CandidateDocument {
        node: node.name().to_string(),
        score: score.ok(),
        keeps_off: *crowd,
        occupied: node.live.occupied(),
        room: node.room(),
        reason,
    }
}
