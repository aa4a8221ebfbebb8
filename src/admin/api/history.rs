//! What is known of how large meetings become: to see it, to reset it, to take it along, and to begin with what others
//! know of past meetings.
//!
//! A change is in force here when it is answered, and at every other instance a moment later.

mod rows;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::rows::{KnownDocument, PastDocument};
use super::caller::{Caller, Who};
use super::listing::{Listing, Page};
use super::problem::{Changing, Problem, Refused};
use super::request::{Query, Unread};
use super::{Desk, edits, objects};
use crate::fleet::now_ms;
use crate::model::{Change, Kind, Slug, SubId};
use crate::recall;
use crate::store::{Forgotten, Mark, Sought};

pub use self::rows::{MAX_ROWS, check_known, check_past};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(list_history, import_history, reset_history))
        .routes(routes!(seed_history))
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only what is known of this tenant and its rooms.
    tenant: Option<String>,
    /// Only what is known of rooms that are called so.
    room: Option<String>,
}

/// What is to be forgotten.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Resetting {
    /// What is known of this tenant and its rooms.
    tenant: Option<String>,
    /// Of this tenant only what is known of rooms that are called so.
    room: Option<String>,
    /// Only that of this secret; 0 is the main one. Default: of all.
    #[param(minimum = 0, maximum = 999)]
    sub_id: Option<u16>,
    /// Everything, of all tenants. Default: false.
    all: Option<bool>,
}

/// Rows that are to be known.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ImportDocument {
    /// At most 1000, as a page of the list has them; no two about the same.
    items: Vec<KnownDocument>,
}

/// Meetings of the past.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SeedDocument {
    /// At most 1000, in any order.
    items: Vec<PastDocument>,
}

/// How many rows it was about.
#[derive(Debug, Serialize, ToSchema)]
struct RowsDocument {
    /// So many.
    rows: u64,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
struct SeededDocument {
    /// Meetings that were learned from.
    learned: usize,
    /// Meetings without attendees, which teach nothing.
    empty: usize,
    /// Meetings older than `placement.history.keep`: what they teach would be forgotten at once.
    old: usize,
}

/// What is known of how large meetings become: of all, of tenants, of rooms, and of rooms at an hour of the week.
#[utoipa::path(get, path = "/history", tag = "history", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of rows", body = Listing<KnownDocument>), Refused))]
async fn list_history(
    State(desk): State<Desk>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Listing<KnownDocument>>, Problem> {
    caller.may_read()?;
    let (limit, after) = Page::new(wanted.limit, wanted.cursor).read()?;
    let is_first = after.is_none();
    let after = after.map(|after| after.parse::<Mark>());
    let after = after
        .transpose()
        .map_err(|_no_mark| wrong("cursor", "is not what `next` of a page has said".to_owned()))?;
    let tenant = wanted.tenant.as_deref().map(slug).transpose()?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let sought = Sought { tenant, room: wanted.room, since_s: 0, after, limit };
    let page = desk.store.history(&sought).await?;
    if is_first && page.rows.is_empty() && page.skipped == 0 {
        desk.must_be_known(wanted.tenant.as_deref()).await?;
    }
    let items = page.rows.iter().map(KnownDocument::from).collect();
    Ok(Json(Listing::new(items, page.last.map(|last| last.to_string()))))
}

/// Puts rows in place of what is known of the same, all or none: exactly what a page of the list has.
#[utoipa::path(post, path = "/history", tag = "history", security(("token" = [])), request_body = ImportDocument,
    responses((status = 200, description = "They are known now", body = RowsDocument), Changing))]
async fn import_history(
    State(desk): State<Desk>,
    caller: Caller,
    body: Unread,
) -> Result<Json<RowsDocument>, Problem> {
    caller.may_write()?;
    let document: ImportDocument = objects::typed(&body.json().await?)?;
    let rows = rows::known(&document.items, now_ms() / 1000).map_err(Problem::fields)?;
    recall::import(&desk.fleet, &*desk.store, &rows).await?;
    desk.record_history(&caller.who, "import", None, None, Some(json!({"rows": rows.len()}))).await;
    Ok(Json(RowsDocument { rows: rows.len() as u64 }))
}

/// Forgets what is known of a tenant, of a room of it, or everything: what is expected of their meetings is what is
/// known of others, or what is set.
#[utoipa::path(delete, path = "/history", tag = "history", security(("token" = [])), params(Resetting),
    responses((status = 200, description = "So much was forgotten", body = RowsDocument), Refused))]
async fn reset_history(
    State(desk): State<Desk>,
    caller: Caller,
    Query(asked): Query<Resetting>,
) -> Result<Json<RowsDocument>, Problem> {
    caller.may_write()?;
    let what = asked.what()?;
    let rows = recall::reset(&desk.fleet, &*desk.store, &what).await?;
    if rows == 0 {
        desk.must_be_known(asked.tenant.as_deref()).await?;
    }
    let of = json!({"rows": rows, "room": asked.room, "sub_id": asked.sub_id});
    desk.record_history(&caller.who, "reset", asked.tenant.as_deref(), Some(of), None).await;
    Ok(Json(RowsDocument { rows }))
}

/// Learns from meetings of the past, in the order of time, as if they had ended here: all or none. Those that were
/// learned before are learned twice, and those older than `placement.history.keep` are passed over.
#[utoipa::path(post, path = "/history/meetings", tag = "history", security(("token" = [])), request_body = SeedDocument,
    responses((status = 200, description = "They were learned from", body = SeededDocument), Changing))]
async fn seed_history(
    State(desk): State<Desk>,
    caller: Caller,
    body: Unread,
) -> Result<Json<SeededDocument>, Problem> {
    caller.may_write()?;
    let document: SeedDocument = objects::typed(&body.json().await?)?;
    let hour_of = |created_at_ms| desk.fleet.hour_of(created_at_ms);
    let snapshot = desk.fleet.snapshot();
    let is_tenant = |slug: &Slug| snapshot.tenant(slug.as_str()).is_some();
    let now_s = now_ms() / 1000;
    let past = rows::past(&document.items, now_s, hour_of, is_tenant);
    let mut past = past.map_err(Problem::fields)?;
    let all = past.len();
    past.retain(|past| past.at_s >= now_s.saturating_sub(desk.tools.remembered.as_secs()));
    let old = all - past.len();
    let empty = past.iter().filter(|past| past.peak.attendees == 0).count();
    let learned = past.len() - empty;
    recall::seed(&desk.fleet, &*desk.store, past).await?;
    let after = json!({"meetings": learned});
    desk.record_history(&caller.who, "seed", None, None, Some(after)).await;
    Ok(Json(SeededDocument { learned, empty, old }))
}

impl Resetting {
    fn what(&self) -> Result<Forgotten, Problem> {
        let is_all = self.all == Some(true);
        let sub = self.sub_id.map(|sub| {
            let odd = || wrong("sub_id", "is not a number of 0 to 999".to_owned());
            SubId::new(sub).ok_or_else(odd)
        });
        let sub = sub.transpose()?;
        let Some(tenant) = &self.tenant else {
            return match (&self.room, is_all) {
                (Some(_), _) => Err(wrong("tenant", "is missing: say whose room it is".to_owned())),
                (None, true) if sub.is_none() => Ok(Forgotten::All),
                (None, true) => {
                    Err(wrong("sub_id", "goes with a room alone: leave it out".to_owned()))
                }
                (None, false) => {
                    let detail = "say a tenant, or all=true to forget what is known of all of them";
                    Err(wrong("all", detail.to_owned()))
                }
            };
        };
        if is_all {
            return Err(wrong("all", "goes without a tenant: leave one of them out".to_owned()));
        }
        let tenant = slug(tenant)?;
        match (&self.room, sub) {
            (Some(id), sub) => Ok(Forgotten::Room { tenant, sub, id: id.clone() }),
            (None, None) => Ok(Forgotten::Tenant(tenant)),
            (None, Some(_)) => {
                Err(wrong("sub_id", "goes with a room alone: say which room".to_owned()))
            }
        }
    }
}

impl Desk {
    /// Refuses a tenant that is not there, and of which nothing is known either.
    async fn must_be_known(&self, tenant: Option<&str>) -> Result<(), Problem> {
        let is_left = async {
            let tenant = tenant.map(slug).transpose()?;
            let sought = Sought { tenant, limit: 1, ..Sought::default() };
            let page = self.store.history(&sought).await?;
            Ok(!page.rows.is_empty() || page.skipped > 0)
        };
        self.must_have_been_there(Kind::Tenant, "tenant", tenant, is_left).await
    }

    async fn record_history(
        &self,
        who: &Who,
        action: &str,
        tenant: Option<&str>,
        before: Option<Value>,
        after: Option<Value>,
    ) {
        let object = match tenant {
            Some(tenant) => format!("history of tenant {tenant}"),
            None => "history".to_owned(),
        };
        let change = Change {
            at_ms: now_ms(),
            who: who.name.clone(),
            action: action.to_owned(),
            object,
            before: before.map(|before| before.to_string()),
            after: after.map(|after| after.to_string()),
        };
        edits::keep(self, who, change).await;
    }
}

fn slug(text: &str) -> Result<Slug, Problem> {
    text.parse().map_err(|odd| wrong("tenant", format!("is not a tenant's slug: it {odd}")))
}

fn wrong(field: &str, detail: String) -> Problem {
    Problem::fields([(field.to_owned(), detail)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_clear_what_is_to_be_forgotten_or_nothing_is() {
        let acme: Slug = "acme".parse().unwrap();
        let room = |sub| Forgotten::Room { tenant: acme.clone(), sub, id: "m".to_owned() };
        for (tenant, of_room, sub_id, all, expected) in [
            (Some("acme"), None, None, None, Ok(Forgotten::Tenant(acme.clone()))),
            (Some("acme"), None, None, Some(false), Ok(Forgotten::Tenant(acme.clone()))),
            (Some("acme"), Some("m"), None, None, Ok(room(None))),
            (Some("acme"), Some("m"), Some(0), None, Ok(room(Some(SubId::MAIN)))),
            (None, None, None, Some(true), Ok(Forgotten::All)),
            (None, None, None, None, Err("all")),
            (None, None, None, Some(false), Err("all")),
            (Some("acme"), None, None, Some(true), Err("all")),
            (None, Some("m"), None, None, Err("tenant")),
            (None, Some("m"), None, Some(true), Err("tenant")),
            (None, None, Some(1), Some(true), Err("sub_id")),
            (Some("acme"), None, Some(1), None, Err("sub_id")),
            (Some("acme"), Some("m"), Some(1000), None, Err("sub_id")),
            (Some("No Slug"), None, None, None, Err("tenant")),
        ] {
            let [tenant, room] = [tenant, of_room].map(|word| word.map(str::to_owned));
            let asked = Resetting { tenant, room, sub_id, all };
            let what = asked.what().map_err(|problem| {
                problem.wrong_fields().next().map(|(field, _)| field.to_owned()).unwrap()
            });
            assert_eq!(what, expected.map_err(str::to_owned), "{asked:?}");
        }
    }
}
