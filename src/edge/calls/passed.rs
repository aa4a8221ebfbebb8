//! Calls about one meeting whose node alone can do what they ask: `insertDocument`, `sendChatMessage`.

use std::sync::Arc;

use http::StatusCode;

use super::{Asked, Decision};
use crate::bbb::{Call, Failure};
use crate::edge::ask::{self, Trouble};
use crate::edge::refusal::Refusal;
use crate::edge::reply::{Reply, XML};
use crate::edge::upload::Upload;
use crate::edge::{Edge, pipeline};
use crate::fleet::Entry;

/// Passes the call to the meeting's node, and its answer back.
pub(super) async fn pass(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let entry = meeting(edge, asked)?;
    let node = asked.reachable_node(&entry)?;
    if asked.upload.as_ref().is_some_and(Upload::is_broken_xml) {
        return Err(Refusal::client(Failure::REQUEST_NOT_RECOGNIZED));
    }
    let params = asked.params_for(&entry);
    let body = match edge.fetch(node, asked.call, &params, asked.upload.as_ref()).await {
        Err(Trouble::Status(404)) => return Ok(unknown_to_the_node(asked)),
        body => edge.usable(node, asked.call, body)?,
    };
    if body.is_empty() {
        // That is what a node says to an insertDocument without documents.
        return Ok(Decision::Respond(Reply::new(StatusCode::OK, XML, "")));
    }
    let answer = edge.usable(node, asked.call, ask::read(&body))?;
    Ok(Decision::Respond(asked.passed_on(&answer)))
}

fn meeting(edge: &Edge, asked: &Asked<'_>) -> Result<Arc<Entry>, Refusal> {
    let id = asked.meeting_id()?;
    asked.find(edge, &id).ok_or_else(|| {
        asked.unknown(match asked.call {
            Call::SendChatMessage => Failure::MEETING_NOT_FOUND,
            _ => Failure::NOT_FOUND,
        })
    })
}

/// Its release does not have the call: the node is well, and the front end gets what a node of that
/// release answers.
pub(super) fn unknown_to_the_node(asked: &Asked<'_>) -> Decision {
    asked.track.failed(&Failure::UNSUPPORTED_REQUEST);
    Decision::Respond(pipeline::unknown_call(asked.dialect()))
}
