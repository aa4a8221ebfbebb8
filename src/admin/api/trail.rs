//! The trail: who has changed what.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::problem::{Problem, Refused};
use super::{Desk, Query, time};
use crate::model::Change;

const USUAL_LIMIT: u32 = 20;
/// Some documents are large.
const MAX_LIMIT: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_changes))
}

/// Which part of the trail.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Before {
    /// How many at most. Default 20.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Only changes with smaller numbers.
    before: Option<u64>,
}

/// A change that an operator has made.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeDocument {
    /// Grows with every change.
    number: u64,
    /// When (RFC 3339).
    at: Value,
    /// The subject and the id of the token.
    who: String,
    /// create, update, delete, state or revoke.
    action: String,
    /// Kind and name of what was changed.
    object: String,
    /// As it was, without secrets.
    before: Option<Value>,
    /// As it is since.
    after: Option<Value>,
}

/// What operators have changed, the latest first.
#[utoipa::path(get, path = "/changes", tag = "changes", security(("token" = [])), params(Before),
    responses((status = 200, description = "Changes", body = Vec<ChangeDocument>), Refused))]
async fn list_changes(
    State(desk): State<Desk>,
    caller: Caller,
    Query(asked): Query<Before>,
) -> Result<Json<Vec<ChangeDocument>>, Problem> {
    caller.may_read()?;
    let limit = asked.limit.unwrap_or(USUAL_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let wrong = ("limit".to_owned(), "is not a number of 1 to 100".to_owned());
        return Err(Problem::fields([wrong]));
    }
    let changes = desk.store.changes(asked.before, limit).await?;
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
    Ok(Json(changes.into_iter().map(document).collect()))
}
