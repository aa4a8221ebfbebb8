//! A create whose claim another instance has let run out: it died in the middle of the same create, and may
//! have asked a node for the meeting. Then some node runs it.

use std::sync::Arc;

use futures::future::join_all;
use log::warn;
use tokio::time::timeout;

use super::saving::saved_instead;
use super::{FOUND_AGAIN_WITHIN, Order, present};
use crate::bbb::{Call, Params};
use crate::edge::Edge;
use crate::edge::ask::Trouble;
use crate::edge::calls::Asked;
use crate::edge::claiming::Lease;
use crate::edge::refusal::{self, Refusal};
use crate::fleet::{Entry, Node};
use crate::model::{Health, Meeting};

/// What a node says of the meeting.
enum Word {
    Runs(Box<Meeting>),
    NotHere,
    /// Nothing: it may run there.
    Silent,
}

/// The meeting that was left behind, or that runs by now, if there is one; it takes the lease. Without a lease
/// that was inherited nobody is asked.
///
/// # Errors
/// When nobody knows: a node that may run it says nothing. The next create looks again.
pub(super) async fn take_up(
    edge: &Edge,
    asked: &Asked<'_>,
    order: &Order<'_>,
    lease: &mut Option<Lease>,
) -> Result<Option<Arc<Entry>>, Refusal> {
    let Some(inherited) = lease.as_mut().filter(|lease| lease.is_inherited()) else {
        return Ok(None);
    };
    let found = left_behind(edge, asked, order).await?;
    inherited.settle();
    let Some(meeting) = found else { return Ok(None) };
    let before = order.over(edge);
    let tenant = asked.caller.tenant;
    let entry = edge.fleet.enter_unplaced(tenant, meeting, order.hints);
    let saved = edge.save_created(&entry, lease.take(), before).await;
    if let Some(other) = saved_instead(edge, &entry, saved).await? {
        // The next poll of its node finds the two.
        return Ok(Some(other));
    }
    edge.fleet.tell_created(&entry).await;
    Ok(Some(entry))
}

async fn left_behind(
    edge: &Edge,
    asked: &Asked<'_>,
    order: &Order<'_>,
) -> Result<Option<Meeting>, Refusal> {
    if order.parent.is_some() {
        // Its parent's node finds it by itself.
        return Ok(None);
    }
    let mut params = Params::default();
    params.push("meetingID", &order.node_meeting_id);
    let snapshot = edge.fleet.snapshot();
    let tenant = present(&snapshot, asked.caller.tenant);
    let asking = tenant.nodes.iter().map(|node| word_of(edge, order, node, &params));
    let mut is_known = true;
    for word in join_all(asking).await {
        match word {
            Word::Runs(meeting) => return Ok(Some(*meeting)),
            Word::NotHere => {}
            Word::Silent => is_known = false,
        }
    }
    if is_known { Ok(None) } else { Err(Refusal::node(refusal::meeting_unavailable())) }
}

async fn word_of(edge: &Edge, order: &Order<'_>, node: &Node, params: &Params<'_>) -> Word {
    if node.live.health() == Health::Down {
        // What is known to run on such a node is given up, too.
        return Word::NotHere;
    }
    let asking = edge.ask(node, Call::GetMeetingInfo, params, None);
    let info = match timeout(FOUND_AGAIN_WITHIN, asking).await {
        Ok(Ok(info)) => info,
        Ok(Err(Trouble::ChecksumRefused)) => return Word::NotHere,
        Ok(Err(_logged)) => return Word::Silent,
        Err(_elapsed) => {
            warn!("node {}: it may run a meeting that is created, and does not say", node.name());
            return Word::Silent;
        }
    };
    if !info.is_success() || info.text("hasBeenForciblyEnded").as_deref() == Some("true") {
        return Word::NotHere;
    }
    match edge.usable(node, Call::GetMeetingInfo, order.meeting(&info, node)) {
        Ok(meeting) => Word::Runs(Box::new(meeting)),
        Err(_logged) => Word::NotHere,
    }
}
