//! The main meeting of a breakout room.

use std::sync::Arc;

use crate::bbb::{Failure, Params};
use crate::edge::Edge;
use crate::edge::calls::Asked;
use crate::edge::refusal::Refusal;
use crate::fleet::{Entry, Phase};

/// The parent of a breakout room: it decides on the node.
pub(super) fn find(
    edge: &Edge,
    asked: &Asked<'_>,
    params: &Params<'_>,
) -> Result<Option<Arc<Entry>>, Refusal> {
    let is_breakout = params.get("isBreakout");
    if is_breakout.is_none_or(|value| !value.trim().eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let id = params.get("parentMeetingID").unwrap_or_default();
    if id.trim().is_empty() {
        return Err(Refusal::client(Failure::PARENT_MISSING));
    }
    match asked.find(edge, id.trim()) {
        Some(parent) if parent.phase() == Phase::Running => Ok(Some(parent)),
        _ => Err(asked.unknown(Failure::PARENT_NOT_FOUND)),
    }
}
