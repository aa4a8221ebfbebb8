//! Removing a node or a tenant, with or without the meetings that it runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use log::{info, warn};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::edits;
use super::objects;
use super::problem::{Changing, Problem};
use super::request::Path;
use super::{Desk, Query, retired};
use crate::chain::Chain;
use crate::fleet::{Entry, Phase, Sought};
use crate::model::{Kind, NodeName, ObjectName};

/// Meetings that are ended at the same time.
const AT_ONCE: usize = 8;
/// What is not ended by then is left; no client waits much longer.
const ENDED_WITHIN: Duration = Duration::from_mins(1);

/// What a tenant has in flight is looked for again after this.
const LOOKED_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// By then other instances have read in the store that a tenant is gone, which tells them at once.
const OTHERS_WITHIN: Duration = Duration::from_secs(2);

/// What becomes of its meetings.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removing {
    /// Whether its running meetings are ended. Default false: it is not removed while there are any.
    #[serde(default)]
    force: bool,
}

/// What a forced removal has ended.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::admin) struct RemovedDocument {
    /// Internal ids of the meetings that were ended.
    pub(in crate::admin) ended: Vec<String>,
    /// Internal ids of those that their node did not end: a node stays, retired, until they are over; those of a
    /// tenant go on. Of what is still being created for a tenant, the meeting ids.
    pub(in crate::admin) left: Vec<String>,
}

/// Removes a node. One that runs meetings is refused, with their number: drain it and wait, or have them ended with
/// `force`.
#[utoipa::path(delete, path = "/nodes/{name}", tag = "nodes", security(("token" = [])),
    params(("name" = String, Path), Removing, ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "Removed by force", body = RemovedDocument),
        (status = 204, description = "Removed"), Changing))]
pub(super) async fn remove_node(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    Query(removing): Query<Removing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let object = ObjectName::new(Kind::Node, name);
    let name = NodeName::new(object.name.as_str());
    if let Some(node) = desk.retired(&name) {
        return retired::remove(&desk, &caller, &node, removing.force, &headers).await;
    }
    let running = desk.running_on(&name);
    if !removing.force {
        if !running.is_empty() && edits::is_managed(&desk, &object) {
            let people: u32 = running.iter().map(|entry| entry.people().attendees).sum();
            return Err(Problem::conflict(format!(
                "{object} runs meetings: {}, with {people} people in them. Set its state to draining and remove \
                 it when it is empty; `?force=true` ends them",
                running.len()
            )));
        }
        let others = desk.fleet.peek().node(name.as_str()).map_or(0, |node| node.live.meetings());
        if running.is_empty() && others > 0 && edits::is_managed(&desk, &object) {
            return Err(Problem::conflict(format!(
                "{object} runs meetings by its last poll: {others}, of no tenant here. Wait until they are over; \
                 `?force=true` removes it all the same, and they go on"
            )));
        }
        return objects::delete(&desk, &caller, &object, &headers).await;
    }
    // From here on it gets no new ones.
    objects::delete(&desk, &caller, &object, &headers).await?;
    let removed = desk.end_all_on(&name).await;
    let gone = desk.retired(&name);
    if let Some(node) = gone {
        let given_up = desk.give_up_lost_on(&node).await;
        info!("API: {object} is removed by force; lost meetings given up: {}", given_up.len());
    }
    let told = Some(json!({"ended": removed.ended, "left": removed.left}).to_string());
    edits::write_down(&desk, &caller.who, "force", &object, told, None).await;
    Ok(Json(removed).into_response())
}

/// Removes a tenant. One that runs meetings is refused, with their number: wait until they are over, or have them ended
/// with `force`.
#[utoipa::path(delete, path = "/tenants/{slug}", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path), Removing, ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "Removed by force", body = RemovedDocument),
        (status = 204, description = "Removed"), Changing))]
pub(super) async fn remove_tenant(
    State(desk): State<Desk>,
    caller: Caller,
    Path(slug): Path<String>,
    Query(removing): Query<Removing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let object = ObjectName::new(Kind::Tenant, slug);
    if !removing.force {
        let running = desk.running_of(&object.name);
        if !running.is_empty() && edits::is_managed(&desk, &object) {
            let people: u32 = running.iter().map(|entry| entry.people().attendees).sum();
            return Err(Problem::conflict(format!(
                "{object} has running meetings: {}, with {people} people in them. Wait until they are over; \
                 `?force=true` removes it and ends them",
                running.len()
            )));
        }
        return objects::delete(&desk, &caller, &object, &headers).await;
    }
    // From here on it begins no new ones.
    objects::delete(&desk, &caller, &object, &headers).await?;
    let removed = desk.end_all_of(&object.name).await;
    let told = Some(json!({"ended": removed.ended, "left": removed.left}).to_string());
    edits::write_down(&desk, &caller.who, "force", &object, told, None).await;
    Ok(Json(removed).into_response())
}

impl Desk {
    fn running_on(&self, node: &NodeName) -> Vec<Arc<Entry>> {
        let mut entries = self.fleet.directory.on_node(node);
        entries.retain(|entry| entry.phase() == Phase::Running);
        entries
    }

    fn running_of(&self, tenant: &str) -> Vec<Arc<Entry>> {
        let sought = Sought { tenant: Some(tenant), node: None };
        let is_running = |entry: &Entry| entry.phase() == Phase::Running;
        self.fleet.directory.page(sought, None, usize::MAX, is_running)
    }

    /// Ends what runs on a node.
    pub(in crate::admin) async fn end_all_on(&self, node: &NodeName) -> RemovedDocument {
        self.end_all(self.running_on(node), Instant::now() + ENDED_WITHIN).await
    }

    /// Ends what runs of a tenant that was just removed. Creates that had begun before, here or elsewhere, are waited
    /// for, and what they bring about is ended, too.
    async fn end_all_of(&self, slug: &str) -> RemovedDocument {
        let begun = Instant::now();
        let others = if self.store.is_shared() { OTHERS_WITHIN } else { Duration::ZERO };
        let (settled, until) = (begun + others, begun + ENDED_WITHIN);
        let (mut removed, mut tried) = (RemovedDocument::default(), HashSet::new());
        let under_way = loop {
            // Before the directory: what is no longer under way is there.
            let under_way = self.fleet.claims.of_tenant(slug);
            self.learn_of(slug).await;
            let mut running = self.running_of(slug);
            running.retain(|entry| tried.insert(entry.internal_id().to_owned()));
            let is_quiet = running.is_empty() && under_way.is_empty();
            let more = self.end_all(running, until).await;
            removed.ended.extend(more.ended);
            removed.left.extend(more.left);
            let now = Instant::now();
            if now >= until || (is_quiet && now >= settled) {
                break under_way;
            }
            sleep(LOOKED_AGAIN_AFTER).await;
        };
        let runs = |id: &String| {
            let known = self.fleet.directory.get_internal(id);
            known.is_some_and(|entry| entry.phase() == Phase::Running)
        };
        removed.left.retain(runs);
        removed.left.extend(under_way.into_iter().map(|key| key.id));
        removed.ended.sort();
        removed.left.sort();
        removed
    }

    /// Takes what other instances have created for a tenant into the directory.
    async fn learn_of(&self, slug: &str) {
        if !self.store.is_shared() {
            return;
        }
        match self.store.load().await {
            Ok(saved) => {
                let meetings = saved.meetings.into_iter();
                for row in meetings.filter(|row| row.key.scope.tenant.as_str() == slug) {
                    // None where it is over.
                    _ = self.fleet.learn(row);
                }
            }
            Err(trouble) => {
                warn!("API: what others have created is not known: {}", Chain(&trouble));
            }
        }
    }

    async fn end_all(&self, running: Vec<Arc<Entry>>, until: Instant) -> RemovedDocument {
        let end = |entry: Arc<Entry>| async move {
            let is_ended = matches!(timeout_at(until, self.end(&entry)).await, Ok(Ok(())));
            (entry.internal_id().to_owned(), is_ended)
        };
        // Breakout rooms end with their main meetings, so these come first.
        let (mains, breakouts): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|entry| entry.parent_internal_id().is_none());
        let mut ended: Vec<_> =
            stream::iter(mains).map(end).buffer_unordered(AT_ONCE).collect().await;
        let rooms: Vec<_> =
            stream::iter(breakouts).map(end).buffer_unordered(AT_ONCE).collect().await;
        ended.extend(rooms);
        ended.sort();
        let ids = |wanted: bool| {
            let some = ended.iter().filter(|(_, is_ended)| *is_ended == wanted);
            some.map(|(id, _)| id.clone()).collect()
        };
        RemovedDocument { ended: ids(true), left: ids(false) }
    }
}
