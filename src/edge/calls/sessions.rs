//! `getSessions`: asked of the nodes that run the caller's meetings. A node lists the sessions of all its
//! meetings by their internal ids; the caller gets those of its own.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Asked, Decision};
use crate::bbb::{Element, ListNames};
use crate::edge::Edge;
use crate::edge::fan_out::{Item, Question};
use crate::edge::refusal::{self, Refusal};
use crate::edge::reply::Reply;
use crate::fleet::{Node, Phase};

const HEAD: &[u8] = b"<response><returncode>SUCCESS</returncode><sessions>";
const TAIL: &[u8] = b"</sessions></response>";
/// With BigBlueButton's own spelling.
const NONE: &str = "<response><returncode>SUCCESS</returncode><sessions/>\
    <messageKey>noSessions</messageKey>\
    <message>no sessions were found on this serverr</message></response>";

/// Lists who is in the caller's meetings.
pub(super) async fn get_sessions(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let meetings = edge.fleet.directory.visible_to(&asked.caller.scope);
    let used: HashSet<_> = meetings.iter().map(|meeting| meeting.node()).collect();
    let nodes: Vec<Arc<Node>> =
        asked.snapshot.nodes().filter(|node| used.contains(node.name())).cloned().collect();
    drop(meetings);
    let question = Question {
        tenant: &asked.caller.scope.tenant,
        call: asked.call,
        names: ListNames::SESSIONS,
        params: asked.params.as_ref(),
    };
    let keep = |_before, mut session: Element| {
        let entry = edge.fleet.directory.get_internal(&session.child_text("meetingID")?)?;
        if entry.phase() == Phase::Lost || !asked.caller.scope.sees(&entry.key().scope) {
            return None;
        }
        if let Some(id) = entry.created_as() {
            session.set_child_text("meetingID", id);
        }
        Some(Item { id: Box::default(), parent: None, xml: session.to_vec().into() })
    };
    let heard = edge.fan_out(&nodes, &question, &keep).await?;
    if heard.lists.is_empty() && heard.unheard > 0 {
        return Err(Refusal::node(refusal::meeting_unavailable()));
    }
    let mut body = HEAD.to_vec();
    for item in heard.lists.iter().flat_map(|(_, items)| items) {
        body.extend_from_slice(&item.xml);
    }
    if body.len() == HEAD.len() {
        return Ok(Decision::Respond(Reply::xml(NONE)));
    }
    body.extend_from_slice(TAIL);
    let share = heard.into_share(body.len());
    Ok(Decision::Respond(Reply::xml(body).with_share(share)))
}
