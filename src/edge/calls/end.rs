//! `end`: passed to the meeting's node. The password goes along; old nodes check it.

use super::{Asked, Decision};
use crate::bbb::Failure;
use crate::edge::Edge;
use crate::edge::refusal::Refusal;

/// Ends a meeting. It stays visible until its node no longer shows it, but its id is free at once.
pub(super) async fn end(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let id = asked.meeting_id()?;
    let entry = asked.find(edge, &id).ok_or_else(|| asked.unknown(Failure::NOT_FOUND))?;
    let node = asked.reachable_node(&entry)?;
    let answer = edge.ask(node, asked.call, &asked.params_for(&entry), None).await?;
    if answer.is_success() {
        edge.fleet.end(&entry);
    }
    Ok(Decision::Respond(asked.passed_on(&answer)))
}
