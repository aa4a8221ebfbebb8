//! `publishRecordings`, `deleteRecordings`, `updateRecordings`: sent to the nodes that have the recordings, if
//! they are the caller's. What is another's is as unknown as what does not exist.

use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use super::recordings::{check_count, locate, record_ids};
use super::{Asked, Decision};
use crate::bbb::{Call, Failure};
use crate::edge::Edge;
use crate::edge::refusal::Refusal;

/// Nodes that change something at once.
const AT_ONCE: usize = 16;

/// Changes recordings. As with one node, some of them are enough for a success.
pub(super) async fn change(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    check_count(&asked.params)?;
    let ids = record_ids(&asked.params);
    if ids.is_empty() {
        return Err(Refusal::client(Failure::MISSING_RECORD_ID));
    }
    if asked.call == Call::PublishRecordings && asked.params.is_blank("publish") {
        return Err(Refusal::client(Failure::MISSING_PUBLISH));
    }
    let located = locate(edge, asked, &ids).await;
    if located.on.is_empty() {
        return Err(located.missing(Failure::RECORDINGS_NOT_FOUND));
    }
    let mut asking: Vec<BoxFuture<'_, _>> = Vec::with_capacity(located.on.len());
    for (node, ids) in located.on {
        asked.track.node(node.name());
        let mut params = asked.params.as_ref().clone();
        params.set("recordID", &ids.join(","));
        asking.push(Box::pin(async move { edge.ask(&node, asked.call, &params, None).await }));
    }
    let answers: Vec<_> = stream::iter(asking).buffered(AT_ONCE).collect().await;
    let is_success = |answer: &Result<crate::bbb::Answer, _>| {
        answer.as_ref().is_ok_and(crate::bbb::Answer::is_success)
    };
    let best = match answers.iter().position(is_success) {
        Some(first) => first,
        None => answers.iter().position(Result::is_ok).unwrap_or_default(),
    };
    match answers.into_iter().nth(best) {
        Some(answer) => Ok(Decision::Respond(asked.passed_on(&answer?))),
        None => Err(Refusal::client(Failure::RECORDINGS_NOT_FOUND)),
    }
}
