//! A meeting that a node has just created: saved, or given up where the store has another one of its name.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use log::{error, warn};
use tokio::time::timeout;

use crate::bbb::{Answer, Call, Params};
use crate::chain::Chain;
use crate::edge::Edge;
use crate::edge::callbacks::Issued;
use crate::edge::claiming::Lease;
use crate::edge::refusal::Refusal;
use crate::fleet::{Entry, Node};
use crate::store::{self, Saving};

/// The end of a meeting of which nobody was told is waited for no longer.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Makes a meeting survive us, in place of the one that had its name `before`. Returns another one of this name that was
/// created while we were cut off from the store: that one holds, and the next poll ends ours as the double that it is.
///
/// A store that fails does not fail the create: the meeting runs, its node remembers whose it is, and
/// it is tried again to save it.
///
/// # Errors
/// When there is another one and it cannot be reached from here. Ours is ended then: it must not be acknowledged.
pub(super) async fn save(
    edge: &Edge,
    node: &Node,
    entry: &Arc<Entry>,
    issued: &Issued<'_>,
    answer: &Answer,
    lease: Option<Lease>,
    before: Option<Arc<Entry>>,
) -> Result<Option<Arc<Entry>>, Refusal> {
    // What the node had already has the callbacks of a create whose answer was lost: those are untied.
    let is_new = answer.message_key().as_deref() != Some("duplicateWarning");
    // Both at once share a transaction.
    let bound = async {
        if is_new {
            issued.bind(edge, entry.internal_id()).await;
        }
    };
    let (saved, ()) = join(edge.save_created(entry, lease, before), bound).await;
    let instead = saved_instead(edge, entry, saved).await;
    if instead.is_err() && is_new {
        take_back(edge, node, entry, issued).await;
    }
    instead
}

/// The other one that the store has under the name of a meeting that was to be saved, if it has.
///
/// # Errors
/// When there is one and it is on a node that is not known here.
pub(super) async fn saved_instead(
    edge: &Edge,
    entry: &Entry,
    saved: Result<Saving, store::Error>,
) -> Result<Option<Arc<Entry>>, Refusal> {
    match saved {
        Ok(Saving::Kept) => {
            entry.mark_saved();
            Ok(None)
        }
        // One that is over gives its row to ours with the next poll.
        Ok(Saving::Other(other)) => edge.learn(*other).await,
        Err(trouble) => {
            edge.metrics.store_failures.inc();
            error!("a new meeting on node {} is not saved yet: {}", entry.node(), Chain(&trouble));
            Ok(None)
        }
    }
}

/// Ends a meeting that nobody was told of. Its end is not told either.
async fn take_back(edge: &Edge, node: &Node, entry: &Arc<Entry>, issued: &Issued<'_>) {
    warn!(
        "node {}: ends meeting {}, which runs on a node that is not known here",
        node.name(),
        entry.internal_id()
    );
    edge.fleet.remove(entry);
    issued.withdraw(edge).await;
    let mut params = Params::default();
    params.push("meetingID", entry.internal_id());
    let ended = timeout(ENDED_WITHIN, edge.ask(node, Call::End, &params, None)).await;
    if !matches!(ended, Ok(Ok(answer)) if answer.is_success()) {
        warn!("node {}: it goes on there until polls find both", node.name());
    }
}
