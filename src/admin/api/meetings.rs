//! Meetings: which there are, and ending one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::edits;
use super::listing::{Listing, Page};
use super::problem::{Changing, Problem, Refused};
use super::request::Path;
use super::{Desk, Query, time};
use crate::bbb::{Call, MeetingInfo, Params};
use crate::chain::Chain;
use crate::fleet::{Entry, Phase, Sought, now_ms};
use crate::model::{Change, Health, Kind};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_meetings)).routes(routes!(get_meeting, end_meeting))
}

/// Which meetings.
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
    /// Only those on this node.
    node: Option<String>,
    /// Only those that run (true), or only those that were ended or are lost with their node (false).
    running: Option<bool>,
}

/// A meeting.
#[derive(Debug, Serialize, ToSchema)]
struct MeetingDocument {
    /// BigBlueButton's own id, unique for all time.
    internal_id: String,
    /// What its front end calls it.
    meeting_id: String,
    /// The name that its front end shows.
    name: String,
    /// Whose it is.
    tenant: String,
    /// Which of the tenant's secrets created it.
    sub_id: u16,
    /// The node that runs it.
    node: String,
    /// running, ended (its node still shows it for a while) or lost (its node is down for too long).
    #[schema(pattern = "^(running|ended|lost)$")]
    state: &'static str,
    /// When it was placed, or first seen (RFC 3339).
    #[schema(value_type = String, format = DateTime)]
    created: Value,
    /// Everybody in it, at the last poll.
    attendees: u32,
    /// Those of them who only listen. Of a breakout room that its node has made this and what follows is 0.
    listeners: u32,
    /// Those with a microphone.
    voices: u32,
    /// Webcams.
    videos: u32,
    /// Moderators.
    moderators: u32,
    /// Of a breakout room, the internal id of its main meeting.
    parent_internal_id: Option<String>,
}

impl From<&Entry> for MeetingDocument {
    fn from(entry: &Entry) -> Self {
        let (key, people, xml) = (entry.key(), entry.people(), entry.xml());
        let info = MeetingInfo::read(&xml);
        Self {
            internal_id: entry.internal_id().to_owned(),
            meeting_id: key.id.clone(),
            name: info.map(|info| info.name().into_owned()).unwrap_or_default(),
            tenant: key.scope.tenant.to_string(),
            sub_id: key.scope.sub.get(),
            node: entry.node().to_string(),
            state: word_of(entry.phase()),
            created: time(entry.created_at_ms()),
            attendees: entry.attendees(),
            listeners: people.listeners,
            voices: people.voices,
            videos: people.videos,
            moderators: people.moderators,
            parent_internal_id: entry.parent_internal_id().map(str::to_owned),
        }
    }
}

fn word_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Ended => "ended",
        Phase::Lost => "lost",
    }
}

fn unknown(internal_id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no meeting {internal_id:?}"))
}

/// Meetings by their internal ids. Pages are exact while meetings come and go: none that is there all the time is
/// shown twice or left out.
#[utoipa::path(get, path = "/meetings", tag = "meetings", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of meetings", body = Listing<MeetingDocument>), Refused))]
async fn list_meetings(
    State(desk): State<Desk>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Listing<MeetingDocument>>, Problem> {
    let own = caller.may_read_some()?;
    if let Some(tenant) = &wanted.tenant {
        caller.may_read_of(tenant)?;
    }
    let (limit, after) = Page::new(wanted.limit, wanted.cursor).read()?;
    let tenant = own.or(wanted.tenant.as_deref());
    let sought = Sought { tenant, node: wanted.node.as_deref() };
    let is_wanted = |entry: &Entry| {
        let is_running = entry.phase() == Phase::Running;
        wanted.running.is_none_or(|wanted| wanted == is_running)
    };
    // One more tells whether there is another page.
    let mut found = desk.fleet.directory.page(sought, after.as_deref(), limit + 1, is_wanted);
    let has_more = found.len() > limit;
    found.truncate(limit);
    // What other nodes there are is not for tenants to find out.
    if found.is_empty() && after.is_none() && own.is_none() {
        for (kind, filter, name) in
            [(Kind::Tenant, "tenant", tenant), (Kind::Node, "node", sought.node)]
        {
            let of = |wanted| name.filter(|_| kind == wanted);
            let alone = Sought { tenant: of(Kind::Tenant), node: of(Kind::Node) };
            let is_left =
                async { Ok(!desk.fleet.directory.page(alone, None, 1, |_| true).is_empty()) };
            desk.must_have_been_there(kind, filter, name, is_left).await?;
        }
    }
    let last = found.last().filter(|_| has_more).map(|entry| entry.internal_id().to_owned());
    let items = found.iter().map(|entry| MeetingDocument::from(&**entry)).collect();
    Ok(Json(Listing::new(items, last)))
}

/// One meeting.
#[utoipa::path(get, path = "/meetings/{internal_id}", tag = "meetings", security(("token" = [])),
    params(("internal_id" = String, Path)),
    responses((status = 200, description = "The meeting", body = MeetingDocument), Refused))]
async fn get_meeting(
    State(desk): State<Desk>,
    caller: Caller,
    Path(internal_id): Path<String>,
) -> Result<Json<MeetingDocument>, Problem> {
    let own = caller.may_read_some()?;
    let found = desk.fleet.directory.get_internal(&internal_id);
    // Whether another tenant has one of that id is nobody's business.
    let is_seen = |entry: &Entry| own.is_none_or(|own| entry.key().scope.tenant.as_str() == own);
    let entry = found.filter(|entry| is_seen(entry)).ok_or_else(|| unknown(&internal_id))?;
    Ok(Json(MeetingDocument::from(&*entry)))
}

/// Ends a meeting on its node, as a call of its front end would: everybody in it is sent away, and the front end
/// is told. It stays in the list until its node no longer shows it.
#[utoipa::path(delete, path = "/meetings/{internal_id}", tag = "meetings", security(("token" = [])),
    params(("internal_id" = String, Path)),
    responses((status = 204, description = "Its node ends it"),
        (status = 502, description = "Its node does not", body = Problem, content_type = "application/problem+json"),
        Changing))]
async fn end_meeting(
    State(desk): State<Desk>,
    caller: Caller,
    Path(internal_id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.may_write()?;
    let entry = desk.fleet.directory.get_internal(&internal_id);
    let entry = entry.ok_or_else(|| unknown(&internal_id))?;
    desk.end(&entry).await?;
    let name = entry.node();
    let key = entry.key();
    let told =
        json!({"tenant": key.scope.to_string(), "meeting_id": key.id, "node": name.as_str()});
    let change = Change {
        at_ms: now_ms(),
        who: caller.who.name.clone(),
        action: "end".to_owned(),
        object: format!("meeting {internal_id}"),
        before: Some(told.to_string()),
        after: None,
    };
    edits::keep(&desk, &caller.who, change).await;
    Ok(StatusCode::NO_CONTENT)
}

impl Desk {
    /// Ends a meeting on its node.
    pub(super) async fn end(&self, entry: &Entry) -> Result<(), Problem> {
        let name = entry.node();
        let failed = |why: String| Problem::new(StatusCode::BAD_GATEWAY, why);
        let node = self.fleet.snapshot().node(name.as_str()).cloned();
        let Some(node) = node.filter(|node| node.live.health() != Health::Down) else {
            return Err(failed(format!(
                "node {name} is down: the meeting cannot be ended there now"
            )));
        };
        let mut params = Params::default();
        params.push("meetingID", &entry.node_meeting_id());
        let password = password_of(entry);
        if let Some(password) = &password {
            params.push("password", password);
        }
        let answer = self.ask(&node, Call::End, &params).await;
        let answer =
            answer.map_err(|trouble| failed(format!("node {name}: {}", Chain(&trouble))))?;
        if !answer.is_success() {
            let key = answer.message_key().unwrap_or_default().into_owned();
            if key == "notFound" {
                let why =
                    format!("node {name} does not have it any more: it goes with the next poll");
                return Err(Problem::new(StatusCode::NOT_FOUND, why));
            }
            let message = answer.message().unwrap_or_default();
            return Err(failed(format!("node {name} refuses: {key}: {message}")));
        }
        self.fleet.end(entry);
        Ok(())
    }
}

/// Old nodes check it.
fn password_of(entry: &Entry) -> Option<String> {
    let meeting = crate::bbb::Element::parse(&entry.xml()).ok()?;
    let password = meeting.child_text("moderatorPW")?;
    (!password.is_empty()).then(|| password.into_owned())
}
