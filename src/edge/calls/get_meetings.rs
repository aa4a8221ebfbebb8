//! `getMeetings`: from memory, never asking nodes. A meeting is in it as soon as its create is answered.

use super::{Asked, Decision};
use crate::edge::Edge;
use crate::edge::reply::Reply;

const HEAD: &[u8] = b"<response><returncode>SUCCESS</returncode><meetings>";
const TAIL: &[u8] = b"</meetings></response>";
const NONE: &str = "<response><returncode>SUCCESS</returncode><meetings/>\
    <messageKey>noMeetings</messageKey>\
    <message>no meetings were found on this server</message></response>";

/// Lists the meetings that the caller may see, the oldest first.
pub(super) fn get_meetings(edge: &Edge, asked: &Asked<'_>) -> Decision {
    let fragments: Vec<_> = edge
        .fleet
        .directory
        .visible_to(&asked.caller.scope)
        .iter()
        .map(|entry| entry.xml())
        .collect();
    if fragments.is_empty() {
        return Decision::Respond(Reply::xml(NONE));
    }
    let length = fragments.iter().map(bytes::Bytes::len).sum::<usize>() + HEAD.len() + TAIL.len();
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(HEAD);
    for fragment in &fragments {
        body.extend_from_slice(fragment);
    }
    body.extend_from_slice(TAIL);
    Decision::Respond(Reply::xml(body))
}
