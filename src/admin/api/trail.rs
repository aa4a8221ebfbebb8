//! The trail: who has changed what.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::listing::{Listing, Page};
use super::problem::{Problem, Refused};
use super::{Desk, Query, time};
use crate::model::Change;

const USUAL_LIMIT: usize = 20;
/// Some documents are large.
const MAX_LIMIT: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_changes))
}

/// Which part of the trail.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most. Default 20.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only changes with smaller numbers.
    #[param(minimum = 0)]
    before: Option<i64>,
}

/// A change that an operator has made.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeDocument {
    /// Grows with every change.
    number: u64,
    /// When (RFC 3339).
    #[schema(value_type = String, format = DateTime)]
    at: Value,
    /// The subject and the id of the token, or `file`.
    who: String,
    /// create, update, delete, state, rollover, revoke, end, force, reset, import, seed, or apply where a changed file was put in
    /// force.
    action: String,
    /// Kind and name of what was changed; or `configuration file`, with the names of what it has changed in `after`.
    object: String,
    /// As it was, without secrets.
    before: Option<Value>,
    /// As it is since.
    after: Option<Value>,
}

/// What operators have changed, the latest first.
#[utoipa::path(get, path = "/changes", tag = "changes", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of changes", body = Listing<ChangeDocument>), Refused))]
async fn list_changes(
    State(desk): State<Desk>,
    caller: Caller,
    Query(asked): Query<Wanted>,
) -> Result<Json<Listing<ChangeDocument>>, Problem> {
    caller.may_read()?;
    let page = Page::new(Some(asked.limit.unwrap_or(USUAL_LIMIT)), asked.cursor);
    let (limit, after) = page.read_up_to(MAX_LIMIT)?;
    let after = after.map(|number| number.parse()).transpose().map_err(|_no_number| {
        let detail = "is not what `next` of a page has said".to_owned();
        Problem::fields([("cursor".to_owned(), detail)])
    })?;
    let before = asked.before.map(u64::try_from).transpose().map_err(|_below_zero| {
        let detail = "is below 0; the first change has number 1".to_owned();
        Problem::fields([("before".to_owned(), detail)])
    })?;
    let before = after.into_iter().chain(before).min();
    // One more tells whether there is another page.
    let more = u32::try_from(limit).unwrap_or_default().saturating_add(1);
    let mut changes = desk.store.changes(before, more).await?;
    let has_more = changes.len() > limit;
    changes.truncate(limit);
    let last = changes.last().filter(|_| has_more).map(|(number, _)| number.to_string());
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    let document = |(number, change): (u64, Change)| ChangeDocument {
        number,
        at: time(change.at_ms),
        who: change.who,
        action: change.action,
        object: change.object,
        before: json(change.before),
        after: json(change.after),
    };
    Ok(Json(Listing::new(changes.into_iter().map(document).collect(), last)))
}
