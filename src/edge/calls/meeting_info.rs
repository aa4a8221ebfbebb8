//! `getMeetingInfo` and `isMeetingRunning`: asked of the meeting's node, equal questions together.
//!
//! Where the node cannot be reached, what its last poll showed is answered: to a front end, `notFound`
//! would mean that the meeting is over.

use std::sync::Arc;

use bytes::Bytes;

use super::{Asked, Decision};
use crate::bbb::{Answer, Call, Element, Failure, Outline, Params};
use crate::edge::Edge;
use crate::edge::ask::{self, Trouble};
use crate::edge::coalesce::{Answered, Question};
use crate::edge::refusal::Refusal;
use crate::edge::reply::Reply;
use crate::fleet::{Entry, Node, identity};
use crate::model::Health;

/// Details of one meeting.
pub(super) async fn get_meeting_info(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let id = asked.meeting_id()?;
    let entry = asked.find(edge, &id).ok_or_else(|| asked.unknown(Failure::NOT_FOUND))?;
    Ok(Decision::Respond(match question(edge, asked, &entry).await {
        Some(reply) => reply,
        None => Reply::xml(remembered_info(&entry)),
    }))
}

/// Whether anybody is in a meeting. One that nobody knows is not running; that is no failure.
pub(super) async fn is_meeting_running(
    edge: &Edge,
    asked: &Asked<'_>,
) -> Result<Decision, Refusal> {
    let id = asked.meeting_id()?;
    let Some(entry) = asked.find(edge, &id) else {
        return Ok(Decision::Respond(Reply::xml(running(false))));
    };
    Ok(Decision::Respond(match question(edge, asked, &entry).await {
        Some(reply) => reply,
        None => Reply::xml(running(entry.attendees() > 0)),
    }))
}

fn running(is_running: bool) -> String {
    format!("<response><returncode>SUCCESS</returncode><running>{is_running}</running></response>")
}

/// Asks the node, together with everybody who asks the same; `None` if it cannot be reached.
async fn question(edge: &Edge, asked: &Asked<'_>, entry: &Arc<Entry>) -> Option<Reply> {
    let node = asked.snapshot.node(entry.node().as_str())?;
    if node.live.health() == Health::Down {
        return None;
    }
    let params = asked.params_for(entry);
    let query = ask::sign(&[], node, asked.call, &params).into();
    let question = Question { node: node.name().clone(), call: asked.call, query };
    let query = question.query.clone();
    let answer = async { ask_node(edge, asked.call, node, (&query, &params), entry).await.ok() };
    let answered = edge.coalesced.get(question, answer).await?;
    if answered.is_success {
        return Some(Reply::xml(answered.body));
    }
    // Escaped anew, what a node has made up may be larger than what is read.
    let answer = Answer::parse(&answered.body).ok()?;
    Some(asked.passed_on(&answer))
}

async fn ask_node(
    edge: &Edge,
    call: Call,
    node: &Node,
    (query, params): (&str, &Params<'_>),
    entry: &Entry,
) -> Result<Answered, Trouble> {
    let body = edge.fetch_signed(node, call, query, params).await;
    edge.usable(node, call, body.and_then(|body| read(call, &body, entry)))
}

/// Reads what the node has answered, and puts it into the words of the front end.
fn read(call: Call, body: &[u8], entry: &Entry) -> Result<Answered, Trouble> {
    if call == Call::GetMeetingInfo
        && let Some(body) = reworded_in_place(body, entry)
    {
        return Ok(Answered { is_success: true, body: body.into() });
    }
    let mut answer = ask::read(body)?;
    if call == Call::GetMeetingInfo && answer.is_success() {
        let is_the_one = answer
            .text("internalMeetingID")
            .is_some_and(|internal_id| is_same_meeting(&internal_id, entry));
        if !is_the_one {
            return Err(Trouble::WrongMeeting);
        }
        identity::reword(answer.element_mut(), entry.key(), entry.created_as());
    }
    Ok(Answered { is_success: answer.is_success(), body: answer.to_vec().into() })
}

/// The short way for what nodes answer nearly always: plain XML, all well, the right meeting.
fn reworded_in_place(body: &[u8], entry: &Entry) -> Option<Vec<u8>> {
    let outline = Outline::of(body)?;
    let is_plain_success = outline.root() == b"response"
        && outline.text("returncode")? == "SUCCESS"
        && (!outline.has("messageKey") || outline.text("messageKey")?.is_empty())
        && !outline.has("errors")
        && is_same_meeting(&outline.text("internalMeetingID")?, entry);
    if !is_plain_success {
        return None;
    }
    identity::reword_in_place(&outline, entry.key(), entry.created_as())
}

/// The same meeting, or a newer one of the same id that we have not seen in a poll yet: then the part
/// before the time is the same.
fn is_same_meeting(internal_id: &str, entry: &Entry) -> bool {
    let digest = |id: &'_ str| id.split_once('-').map(|(digest, _)| digest.to_owned());
    internal_id == entry.internal_id()
        || digest(internal_id).is_some_and(|it| Some(it) == digest(entry.internal_id()))
}

/// The answer of the last poll in the shape of `getMeetingInfo`.
fn remembered_info(entry: &Entry) -> Bytes {
    let mut response = Element::new("response");
    response.push_text("returncode", "SUCCESS");
    if let Ok(meeting) = Element::parse(&entry.xml()) {
        response.children.extend(meeting.children);
    }
    response.to_vec().into()
}
