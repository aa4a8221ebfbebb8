//! `publishRecordings`, `deleteRecordings`, `updateRecordings`: sent to the nodes that have the recordings, if
//! they are the caller's. What is another's is as unknown as what does not exist.

use std::collections::HashSet;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use super::recordings::{check_count, locate, record_ids};
use super::{Asked, Decision};
use crate::bbb::{Answer, Call, Failure};
use crate::edge::Edge;
use crate::edge::refusal::{self, Refusal};

/// Nodes that change something at once.
const AT_ONCE: usize = 16;

/// Changes recordings. As with one node, ids that nobody has do not matter beside one that somebody has. But
/// what a node failed to change, and what may be on a node that does not answer, is not said to be changed:
/// whoever hears of a failure asks again, and what is changed already stays so.
pub(super) async fn change(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    check_count(&asked.params)?;
    let ids = record_ids(&asked.params);
    if ids.is_empty() {
        return Err(Refusal::client(Failure::MISSING_RECORD_ID));
    }
    if asked.call == Call::PublishRecordings && asked.params.is_blank("publish") {
        return Err(Refusal::client(Failure::MISSING_PUBLISH));
    }
    let located = locate(edge, asked, &ids).await?;
    if located.on.is_empty() {
        return Err(located.missing(Failure::RECORDINGS_NOT_FOUND));
    }
    let may_be_elsewhere = located.may_have_missed(&ids);
    let mut asking: Vec<BoxFuture<'_, _>> = Vec::with_capacity(located.on.len());
    for (node, ids) in located.on {
        asked.track.node(node.name());
        let mut params = asked.params.as_ref().clone();
        params.set("recordID", &ids.join(","));
        let answer = async move { edge.ask(&node, asked.call, &params, None).await };
        asking.push(Box::pin(async { (ids, answer.await) }));
    }
    let answers: Vec<_> = stream::iter(asking).buffered(AT_ONCE).collect().await;
    let changed: HashSet<Box<str>> = answers
        .iter()
        .filter(|(_, answer)| answer.as_ref().is_ok_and(Answer::is_success))
        .flat_map(|(ids, _)| ids.iter().cloned())
        .collect();
    let mut best: Option<Answer> = None;
    for (ids, answer) in answers {
        // One that several nodes have, because they share their disks, is changed by any of them.
        let is_changed = ids.iter().all(|id| changed.contains(id));
        match answer {
            Err(trouble) if !is_changed => return Err(trouble.into()),
            Ok(answer) if !is_changed && !is_gone(&answer) => {
                return Ok(Decision::Respond(asked.passed_on(&answer)));
            }
            Ok(answer) if best.as_ref().is_none_or(|best| !best.is_success()) => {
                best = Some(answer);
            }
            Ok(_) | Err(_) => {}
        }
    }
    if may_be_elsewhere {
        return Err(Refusal::node(refusal::recordings_unavailable()));
    }
    let answer = best.ok_or_else(|| Refusal::client(Failure::RECORDINGS_NOT_FOUND))?;
    Ok(Decision::Respond(asked.passed_on(&answer)))
}

/// Whether a node says that it does not have what it had when it was looked for: somebody has deleted it meanwhile.
fn is_gone(answer: &Answer) -> bool {
    answer.message_key().as_deref() == Some(Failure::RECORDINGS_NOT_FOUND.key.as_ref())
}
