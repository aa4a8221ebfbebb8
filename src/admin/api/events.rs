//! Events: what has happened a moment ago, as a list and as a stream of server-sent events.
//!
//! Who follows reads the journal from where it has come to; who is too slow is told what is missing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::listing::Page;
use super::problem::{Problem, Refused};
use super::request::Query;
use super::{Desk, time};
use crate::fleet::{Fate, Gap, Happening, Seat, What};
use crate::model::Kind;

/// Proxies take a connection for dead after a minute or less. At every one the token is looked at again.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What is read of the journal at a time.
const AT_ONCE: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_events))
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most, of a list. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the list before; without it the last ones are listed.
    cursor: Option<String>,
    /// Only those about this tenant.
    tenant: Option<String>,
    /// Only those about this node.
    node: Option<String>,
    /// Only those whose kind begins so, such as `node.` or `meeting.lost`.
    kind: Option<String>,
}

/// Something that has happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct EventDocument {
    /// Grows with every event.
    id: u64,
    /// When (RFC 3339).
    at: Value,
    /// `node.health`, `node.state`, `inventory.changed`, `meeting.begun`, `meeting.ended`, `meeting.lost`,
    /// `meeting.back`, `instance.seen`, `instance.gone` or `callback.dead`.
    kind: &'static str,
    /// The same in words.
    text: String,
    /// The node that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// The tenant that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// Which of the tenant's secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_id: Option<u16>,
    /// Of a meeting, what its front end calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    meeting_id: Option<String>,
    /// Of a meeting, BigBlueButton's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    internal_id: Option<String>,
    /// The instance that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The health or state before.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// The health or state since.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// The revision of the inventory that is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<&Happening> for EventDocument {
    fn from(happening: &Happening) -> Self {
        let event = Self {
            id: happening.id,
            at: time(happening.at_ms),
            kind: kind_of(&happening.what),
            text: String::new(),
            node: None,
            tenant: None,
            sub_id: None,
            meeting_id: None,
            internal_id: None,
            instance: None,
            before: None,
            after: None,
            revision: None,
            reason: None,
        };
        match happening.what.clone() {
            What::Health { node, before, after, reason } => {
                let why = reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                Self {
                    text: format!("node {node} is {after} (was {before}){why}"),
                    node: Some(node.to_string()),
                    before: Some(before.to_string()),
                    after: Some(after.to_string()),
                    reason,
                    ..event
                }
            }
            What::State { node, before, after } => Self {
                text: format!("node {node} is to be {} (was {})", after.as_str(), before.as_str()),
                node: Some(node.to_string()),
                before: Some(before.as_str().to_owned()),
                after: Some(after.as_str().to_owned()),
                ..event
            },
            What::Inventory { revision, changes, more } => {
                let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
                let text = format!("inventory {revision}: {}{rest}", changes.join(", "));
                Self { text, revision: Some(revision), ..event }
            }
            What::Meeting { fate, key, internal_id, node } => {
                let fate = match fate {
                    Fate::Begun => "has begun on",
                    Fate::Ended => "is over on",
                    Fate::Lost => "is lost with",
                    Fate::Back => "is back on",
                };
                Self {
                    text: format!("a meeting of tenant {} {fate} node {node}", key.scope),
                    node: Some(node.to_string()),
                    tenant: Some(key.scope.tenant.to_string()),
                    sub_id: Some(key.scope.sub.get()),
                    meeting_id: Some(key.id),
                    internal_id: Some(internal_id),
                    ..event
                }
            }
            What::Instance { instance, is_alive } => {
                let what = if is_alive { "is there" } else { "is gone" };
                let text = format!("instance {instance} {what}");
                Self { text, instance: Some(instance.to_string()), ..event }
            }
            What::CallbackDead { scope, kind, reason } => Self {
                text: format!("a callback ({kind}) of tenant {scope} was given up: {reason}"),
                tenant: Some(scope.tenant.to_string()),
                sub_id: Some(scope.sub.get()),
                reason: Some(reason),
                ..event
            },
        }
    }
}

fn kind_of(what: &What) -> &'static str {
    match what {
        What::Health { .. } => "node.health",
        What::State { .. } => "node.state",
        What::Inventory { .. } => "inventory.changed",
        What::Meeting { fate: Fate::Begun, .. } => "meeting.begun",
        What::Meeting { fate: Fate::Ended, .. } => "meeting.ended",
        What::Meeting { fate: Fate::Lost, .. } => "meeting.lost",
        What::Meeting { fate: Fate::Back, .. } => "meeting.back",
        What::Instance { is_alive: true, .. } => "instance.seen",
        What::Instance { is_alive: false, .. } => "instance.gone",
        What::CallbackDead { .. } => "callback.dead",
    }
}

/// All that [`kind_of`] gives.
const KINDS: [&str; 10] = [
    "node.health",
    "node.state",
    "inventory.changed",
    "meeting.begun",
    "meeting.ended",
    "meeting.lost",
    "meeting.back",
    "instance.seen",
    "instance.gone",
    "callback.dead",
];

/// Refuses a filter that lets nothing through, ever.
fn check_kind(wanted: Option<&str>) -> Result<(), Problem> {
    let Some(wanted) = wanted else { return Ok(()) };
    if KINDS.iter().any(|kind| kind.starts_with(wanted)) {
        return Ok(());
    }
    let detail = format!("no kind of events begins so; they are {}", KINDS.join(", "));
    Err(Problem::fields([("kind".to_owned(), detail)]))
}

/// The last of what has happened at this instance, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct EventList {
    /// What has happened.
    items: Vec<EventDocument>,
    /// Asks for what happens after these, now or later.
    next: String,
    /// Whether something before these is no longer known.
    lagged: bool,
}

/// What somebody wants to know of.
struct Sieve {
    tenant: Option<String>,
    node: Option<String>,
    kind: Option<String>,
}

impl Sieve {
    fn pass(&self, happening: &Happening) -> Option<EventDocument> {
        // Most are of no interest to most: words are made for the rest.
        if self.kind.as_ref().is_some_and(|kind| !kind_of(&happening.what).starts_with(&**kind)) {
            return None;
        }
        let event = EventDocument::from(happening);
        let is = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        (is(&self.tenant, &event.tenant) && is(&self.node, &event.node)).then_some(event)
    }
}

/// What has happened at this instance a moment ago: nodes up and down, changes of states and of the inventory,
/// meetings, instances, callbacks given up. With `Accept: text/event-stream` a stream of what happens from now on, or
/// from `Last-Event-ID` on; whoever reads too slowly is told `lagged`, with how many are missing. Nothing is kept
/// over a restart.
#[utoipa::path(get, path = "/events", tag = "events", security(("token" = [])),
    params(Wanted, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, description = "What has happened", content(
        (EventList = "application/json"), (String = "text/event-stream"))), Refused))]
async fn list_events(
    State(desk): State<Desk>,
    caller: Caller,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let own = caller.may_read_some()?.map(str::to_owned);
    if let Some(tenant) = &wanted.tenant {
        caller.may_read_of(tenant)?;
    }
    let (limit, after) = Page::new(wanted.limit, wanted.cursor).read()?;
    let after = match after.as_deref().map(str::parse) {
        None => None,
        Some(Ok(after)) => Some(after),
        Some(Err(_odd)) => {
            let wrong = ("cursor".to_owned(), "is not what `next` of a list has said".to_owned());
            return Err(Problem::fields([wrong]));
        }
    };
    check_kind(wanted.kind.as_deref())?;
    let sieve =
        Sieve { tenant: own.clone().or(wanted.tenant), node: wanted.node, kind: wanted.kind };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_stream = text(header::ACCEPT).is_some_and(|kinds| kinds.contains("text/event-stream"));
    if !is_stream {
        let told = list(&desk, &sieve, after, limit);
        // What other nodes there are is not for tenants to find out.
        if told.items.is_empty() && after.is_none() && own.is_none() {
            for (kind, filter, name) in
                [(Kind::Tenant, "tenant", &sieve.tenant), (Kind::Node, "node", &sieve.node)]
            {
                let of = |wanted| name.clone().filter(|_| kind == wanted);
                let alone = Sieve { tenant: of(Kind::Tenant), node: of(Kind::Node), kind: None };
                let is_left = async { Ok(!list(&desk, &alone, None, 1).items.is_empty()) };
                desk.must_have_been_there(kind, filter, name.as_deref(), is_left).await?;
            }
        }
        return Ok(Json(told).into_response());
    }
    let place = desk.fleet.journal().take_place(own.is_some());
    let place = place.ok_or_else(|| Problem::too_many("too many follow the events", 60))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let follower = Follower {
        cursor: last.or(after).unwrap_or_else(|| desk.fleet.journal().read(None, 0).until),
        seen: desk.fleet.journal().follow(),
        sieve,
        // Clients see at once that they are heard.
        waiting: VecDeque::from([sse::Event::default().comment("following")]),
        heartbeat: Instant::now() + HEARTBEAT,
        token: text(header::AUTHORIZATION).map(str::to_owned),
        is_local: caller.is_local(),
        desk,
        _place: place,
    };
    let stream = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(stream).into_response())
}

/// The first of what has happened since `after`; without it, the last.
fn list(desk: &Desk, sieve: &Sieve, after: Option<u64>, limit: usize) -> EventList {
    let reading = desk.fleet.journal().read(after, usize::MAX);
    let all = reading.happenings.iter();
    let mut until = reading.until;
    let items: Vec<_> = if after.is_none() {
        let mut last: Vec<_> = all.rev().filter_map(|one| sieve.pass(one)).take(limit).collect();
        last.reverse();
        last
    } else {
        all.filter_map(|one| sieve.pass(one)).take(limit).collect()
    };
    if let (Some(last), Some(_)) = (items.get(limit - 1), after) {
        until = last.id;
    }
    let next = URL_SAFE_NO_PAD.encode(until.to_string());
    EventList { items, next, lagged: reading.gap != Gap::None }
}

/// Somebody who follows.
struct Follower {
    desk: Desk,
    /// Everything up to here was told.
    cursor: u64,
    seen: watch::Receiver<u64>,
    sieve: Sieve,
    waiting: VecDeque<sse::Event>,
    heartbeat: Instant,
    token: Option<String>,
    is_local: bool,
    _place: Seat,
}

impl Follower {
    /// What is to be sent next; nothing when its token is no longer good.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if self.heartbeat <= Instant::now() {
                let token = self.token.as_deref();
                if !self.is_local && !self.desk.gate.still_admits(token).await {
                    return None;
                }
                self.heartbeat = Instant::now() + HEARTBEAT;
                return Some(sse::Event::default().comment("still here"));
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            self.seen.borrow_and_update();
            let journal = self.desk.fleet.journal();
            let reading = journal.read(Some(self.cursor), AT_ONCE);
            if reading.gap != Gap::None || !reading.happenings.is_empty() {
                self.take(&reading.happenings, reading.gap);
                self.cursor = reading.until;
                continue;
            }
            tokio::select! {
                changed = self.seen.changed() => changed.ok()?,
                () = sleep_until(self.heartbeat) => {}
            }
        }
    }

    fn take(&mut self, happenings: &[Arc<Happening>], gap: Gap) {
        let lost = match gap {
            Gap::None => None,
            Gap::Of(lost) => Some(json!({"lost": lost})),
            Gap::Unknown => Some(json!({"lost": null})),
        };
        if let Some(lost) = lost {
            let event = sse::Event::default().event("lagged").data(lost.to_string());
            self.waiting.push_back(event);
        }
        for event in happenings.iter().filter_map(|one| self.sieve.pass(one)) {
            let Ok(json) = serde_json::to_string(&event) else { continue };
            let id = event.id.to_string();
            let event = sse::Event::default().id(id).event(event.kind).data(json);
            self.waiting.push_back(event);
        }
    }
}
