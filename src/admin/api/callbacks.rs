//! Callbacks: what front ends were not told yet, trying it again, and giving it up.
//!
//! What a callback tells is told to nobody else, and of its URL no more than the server: paths and queries of
//! front ends have tokens in them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, Who};
use super::listing::{Listing, Page};
use super::problem::{Changing, Problem, Refused};
use super::request::{Path, Query};
use super::{Desk, edits, time};
use crate::fleet::now_ms;
use crate::model::{Change, Kind, Slug, Undelivered, Waiting, WantedDeliveries};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(list_callbacks))
        .routes(routes!(get_callback, delete_callback))
        .routes(routes!(retry_callback))
}

/// Which callbacks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only those of this tenant.
    tenant: Option<String>,
    /// Only those that are still tried (pending), or only those that were given up (dead).
    #[param(pattern = "^(pending|dead)$")]
    state: Option<String>,
}

/// Something that a front end was not told yet.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct CallbackDocument {
    /// Grows with every callback.
    id: i64,
    /// Whose meeting it is about.
    tenant: String,
    /// Which of the tenant's secrets created it.
    sub_id: u16,
    /// What the front end calls it.
    meeting_id: String,
    /// The node that it was created on.
    node: String,
    /// `end`, `meeting_ended`, `recording_ready`, `analytics` or `hook` (an event of a webhook).
    kind: &'static str,
    /// The front end's server. Paths and queries have tokens in them, and are not told.
    to: String,
    /// pending (it is still tried) or dead (it was given up).
    state: &'static str,
    /// Whether an instance is delivering it at this moment.
    is_under_way: bool,
    /// When it came in, or is counted as said (RFC 3339).
    received: Value,
    /// Attempts that have failed.
    attempts: u32,
    /// When it is tried next; nothing where it was given up, or waits until those before it are told.
    next_attempt: Option<Value>,
    /// When it was given up.
    given_up: Option<Value>,
    /// Why it failed last.
    last_error: Option<String>,
}

impl From<&Undelivered> for CallbackDocument {
    fn from(one: &Undelivered) -> Self {
        let delivery = &one.delivery;
        let target = Url::parse(&delivery.target);
        Self {
            id: delivery.id,
            tenant: delivery.key.scope.tenant.to_string(),
            sub_id: delivery.key.scope.sub.get(),
            meeting_id: delivery.key.id.clone(),
            node: delivery.node.to_string(),
            kind: delivery.kind.as_str(),
            to: target.map(|url| url.origin().ascii_serialization()).unwrap_or_default(),
            state: one.state.as_str(),
            is_under_way: one.is_under_way,
            received: time(delivery.received_at_ms),
            attempts: delivery.attempts,
            next_attempt: one.next_attempt_at_ms.map(time),
            given_up: one.given_up_at_ms.map(time),
            last_error: one.last_error.clone(),
        }
    }
}

fn unknown(id: i64) -> Problem {
    let why = format!("there is no callback {id} that waits or was given up");
    Problem::new(StatusCode::NOT_FOUND, why)
}

/// Why nothing was done to one that was there a moment ago; `now` is what is known of it since.
fn why_not(id: i64, now: Option<&Undelivered>) -> Problem {
    match now {
        None => {
            let why = format!(
                "callback {id} is not there any more: its front end was told meanwhile, or an operator has removed it"
            );
            Problem::new(StatusCode::NOT_FOUND, why)
        }
        Some(now) if now.is_under_way => Problem::conflict(format!(
            "callback {id} is being delivered at this moment: look again"
        )),
        Some(now) => Problem::conflict(format!(
            "callback {id} was being delivered a moment ago, and is {} now: try again",
            now.state.as_str()
        )),
    }
}

/// What front ends were not told yet, by number: what waits, and what was given up in the last 30 days.
#[utoipa::path(get, path = "/callbacks", tag = "callbacks", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of callbacks", body = Listing<CallbackDocument>), Refused))]
async fn list_callbacks(
    State(desk): State<Desk>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Listing<CallbackDocument>>, Problem> {
    let own = caller.may_read_some()?;
    if let Some(tenant) = &wanted.tenant {
        caller.may_read_of(tenant)?;
    }
    let (limit, after) = Page::new(wanted.limit, wanted.cursor).read()?;
    let is_first = after.is_none();
    let wrong = |field: &str, why: &str| Problem::fields([(field.to_owned(), why.to_owned())]);
    let after = after.map(|after| after.parse().ok().filter(|after| *after >= 0));
    let after = after
        .map(|after| after.ok_or_else(|| wrong("cursor", "is not what `next` of a page has said")));
    let state = wanted.state.map(|state| {
        state.parse::<Waiting>().map_err(|()| wrong("state", "is not one of pending, dead"))
    });
    let (after, state) = (after.transpose()?.unwrap_or_default(), state.transpose()?);
    let tenant = match own.map(str::to_owned).or(wanted.tenant) {
        None => None,
        Some(tenant) => match tenant.parse::<Slug>() {
            Ok(slug) => Some(slug),
            // Nobody is called so.
            Err(_odd) => {
                desk.must_be_there(Kind::Tenant, "tenant", Some(&tenant))?;
                return Ok(Json(Listing::new(Vec::new(), None)));
            }
        },
    };
    // One more tells whether there is another page.
    let at_most = u32::try_from(limit + 1).unwrap_or(u32::MAX);
    let wanted = WantedDeliveries { tenant, state, after, limit: at_most };
    let mut found = desk.store.undelivered(&wanted).await?;
    if found.is_empty() && is_first && own.is_none() {
        let alone = WantedDeliveries { state: None, limit: 1, ..wanted.clone() };
        let is_left = async { Ok(!desk.store.undelivered(&alone).await?.is_empty()) };
        let name = wanted.tenant.as_ref().map(Slug::as_str);
        desk.must_have_been_there(Kind::Tenant, "tenant", name, is_left).await?;
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more).map(|last| last.delivery.id.to_string());
    Ok(Json(Listing::new(found.iter().map(CallbackDocument::from).collect(), last)))
}

/// One callback.
#[utoipa::path(get, path = "/callbacks/{id}", tag = "callbacks", security(("token" = [])),
    params(("id" = i64, Path)),
    responses((status = 200, description = "The callback", body = CallbackDocument), Refused))]
async fn get_callback(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<CallbackDocument>, Problem> {
    let own = caller.may_read_some()?;
    let id = number(&id)?;
    let found = desk.store.find_undelivered(id).await?;
    // Whether another tenant has one of that number is nobody's business.
    let is_seen =
        |one: &Undelivered| own.is_none_or(|own| one.delivery.key.scope.tenant.as_str() == own);
    let found = found.filter(is_seen).ok_or_else(|| unknown(id))?;
    Ok(Json(CallbackDocument::from(&found)))
}

/// Has a callback tried now, also one that was given up. One that came in more than a day ago is given up again if
/// that fails. An event of a webhook waits until those before it are told.
#[utoipa::path(post, path = "/callbacks/{id}/retry", tag = "callbacks", security(("token" = [])),
    params(("id" = i64, Path)),
    responses((status = 200, description = "It is tried", body = CallbackDocument), Changing))]
async fn retry_callback(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<CallbackDocument>, Problem> {
    caller.may_write()?;
    let id = number(&id)?;
    let before = desk.store.find_undelivered(id).await?.ok_or_else(|| unknown(id))?;
    if before.is_empty {
        return Err(Problem::conflict(format!(
            "nothing was kept of callback {id}, as too much was waiting for its tenant: it can only be deleted"
        )));
    }
    let now = now_ms();
    if !desk.store.retry_delivery(id, now).await? {
        return Err(why_not(id, desk.store.find_undelivered(id).await?.as_ref()));
    }
    // It may have been told by the time that we look.
    let after = Undelivered {
        state: Waiting::Pending,
        next_attempt_at_ms: Some(now),
        given_up_at_ms: None,
        is_under_way: false,
        ..before.clone()
    };
    let after = desk.store.find_undelivered(id).await?.unwrap_or(after);
    let after = CallbackDocument::from(&after);
    desk.record_callback(&caller.who, "retry", &before, Some(&after)).await;
    Ok(Json(after))
}

/// Gives a callback up for good: nobody is told, also when its node calls again.
#[utoipa::path(delete, path = "/callbacks/{id}", tag = "callbacks", security(("token" = [])),
    params(("id" = i64, Path)), responses((status = 204, description = "It is told to nobody"), Changing))]
async fn delete_callback(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.may_write()?;
    let id = number(&id)?;
    let before = desk.store.find_undelivered(id).await?.ok_or_else(|| unknown(id))?;
    if !desk.store.discard_delivery(id, now_ms()).await? {
        return Err(why_not(id, desk.store.find_undelivered(id).await?.as_ref()));
    }
    desk.record_callback(&caller.who, "delete", &before, None).await;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no number is the id of nothing.
fn number(id: &str) -> Result<i64, Problem> {
    let why = format!("there is no callback {id:?}: callbacks have numbers");
    id.parse().map_err(|_odd| Problem::new(StatusCode::NOT_FOUND, why))
}

impl Desk {
    async fn record_callback(
        &self,
        who: &Who,
        action: &str,
        before: &Undelivered,
        after: Option<&CallbackDocument>,
    ) {
        let json = |document: &CallbackDocument| serde_json::to_string(document).ok();
        let change = Change {
            at_ms: now_ms(),
            who: who.name.clone(),
            action: action.to_owned(),
            object: format!("callback {}", before.delivery.id),
            before: json(&before.into()),
            after: after.and_then(json),
        };
        edits::keep(self, who, change).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{CallbackKind, Delivery, MeetingKey, NodeName, Scope};

    #[test]
    fn what_is_said_of_one_that_was_not_to_be_changed_is_true() {
        let delivery = Delivery {
            id: 7,
            node: NodeName::new("bbb01"),
            kind: CallbackKind::End,
            key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: "m".to_owned() },
            target: "https://front.example/".to_owned(),
            received_at_ms: 0,
            attempts: 1,
        };
        let waits = Undelivered {
            delivery,
            state: Waiting::Pending,
            next_attempt_at_ms: Some(9),
            given_up_at_ms: None,
            last_error: None,
            is_under_way: false,
            is_empty: false,
        };
        let under_way = Undelivered { is_under_way: true, ..waits.clone() };
        let dead = Undelivered { state: Waiting::Dead, ..waits.clone() };
        for (now, status, said) in [
            (None, 404, "is not there any more"),
            (Some(&under_way), 409, "is being delivered at this moment"),
            (Some(&waits), 409, "a moment ago, and is pending now: try again"),
            (Some(&dead), 409, "a moment ago, and is dead now: try again"),
        ] {
            let told = json!(why_not(7, now));
            let detail = told["detail"].as_str().unwrap();
            assert!(told["status"] == status && detail.contains(said), "{told}");
        }
    }
}
