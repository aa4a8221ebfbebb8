//! Resolves doubles: asks both nodes for the two meetings, then ends the one that is nobody's, or neither.
//!
//! The claim of the meeting is held meanwhile, so that no create of ours puts a third one in their place.
//! What ends here is a double for its front end, not the end of a meeting, so nobody is told of it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use log::{debug, info, warn};
use tokio::time::timeout;

use super::poll::{Poll, sign};
use crate::bbb::{Answer, Call, Params};
use crate::chain::Chain;
use crate::fleet::{Double, Entry, Node, Seen, Verdict, judge};
use crate::model::{CallbackKind, NodeName};
use crate::store::Saving;

/// Doubles of one node that are resolved at the same time.
const AT_ONCE: usize = 8;
/// All doubles of one poll; the next poll finds the rest.
const RESOLVED_WITHIN: Duration = Duration::from_secs(20);
/// Ending one.
const END_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_END_ANSWER_BYTES: usize = 64 * 1024;
/// One meeting of thousands, with everybody's details.
const MAX_INFO_BYTES: usize = 8 * 1024 * 1024;
/// Doubles that have people in both are warned of once; more than these are warned of again.
const MAX_WARNED: usize = 1000;

impl Poll {
    /// Resolves what can be resolved now.
    pub(super) async fn resolve(&self, node: &Arc<Node>, doubles: &[Double]) {
        self.warned.lock().retain(|id| doubles.iter().any(|double| double.internal_id() == &**id));
        let all = async {
            for some in doubles.chunks(AT_ONCE) {
                join_all(some.iter().map(|double| self.resolve_one(node, double))).await;
            }
        };
        if timeout(RESOLVED_WITHIN, all).await.is_err() {
            info!("node {}: some doubles wait for the next poll", node.name());
        }
    }

    async fn resolve_one(&self, node: &Arc<Node>, double: &Double) {
        let Some(_claim) = self.fleet.claims.try_claim(double.key()) else { return };
        if !self.fleet.is_double(double) || !self.is_left_to_us(double).await {
            return;
        }
        let (snapshot, rival) = (self.fleet.snapshot(), double.rival());
        let Some(other) = snapshot.node(rival.node().as_str()) else { return };
        let (here, there) = join(
            self.figures(node, double.internal_id()),
            self.figures(other, rival.internal_id()),
        )
        .await;
        match judge(here, there, double.is_given_up(node)) {
            Verdict::Wait => {}
            Verdict::LeaveBoth => self.warn_of_both(node, double),
            Verdict::EndHere => self.end(node, double, double.internal_id(), rival.node()).await,
            Verdict::MoveHere => self.move_here(node, other, double).await,
        }
    }

    /// Gives the key to the double. Who joins from now on comes here; so the other one is asked once more,
    /// and stays for now if somebody came at the last moment.
    async fn move_here(&self, node: &Arc<Node>, other: &Arc<Node>, double: &Double) {
        let rival = double.rival();
        let Some(entry) = self.fleet.move_to_double(double) else { return };
        warn!(
            "tenant {}: meeting {} goes on as {} on node {}, which has people or is the only one left; node {} \
             had it",
            double.key().scope,
            rival.internal_id(),
            entry.internal_id(),
            node.name(),
            other.name(),
        );
        let is_saved = self.save_moved(rival, &entry).await;
        // While the store has the other one, so do other instances.
        if (is_saved || !self.store.is_shared())
            && self.figures(other, rival.internal_id()).await == Seen::With(0)
        {
            self.end(other, double, rival.internal_id(), node.name()).await;
        }
    }

    /// The store follows. What it does not take now, the next poll saves.
    async fn save_moved(&self, loser: &Entry, winner: &Entry) -> bool {
        let removed = self.store.remove_meeting(loser.key(), loser.internal_id()).await;
        let saved = match removed {
            Ok(_) => self.put(winner).await,
            Err(error) => Err(error),
        };
        match saved {
            Ok(Saving::Kept) => {
                winner.mark_saved();
                return true;
            }
            Ok(Saving::Other(_)) => warn!("a meeting that has moved runs elsewhere by now"),
            Err(error) => warn!("a meeting that has moved is not saved yet: {}", Chain(&error)),
        }
        false
    }

    fn warn_of_both(&self, node: &Node, double: &Double) {
        let mut warned = self.warned.lock();
        if warned.contains(double.internal_id()) {
            return;
        }
        if warned.len() < MAX_WARNED {
            warned.insert(double.internal_id().into());
        }
        let (tenant, rival) = (&double.key().scope, double.rival());
        warn!(
            "tenant {tenant}: one meeting runs twice with people in both: {} on node {}, where new ones go, \
             and {} on node {}. Neither is ended; the latter is, once nobody is in it. To be quicker, ask its \
             people to join again, or end it on its node",
            rival.internal_id(),
            rival.node(),
            double.internal_id(),
            node.name(),
        );
    }

    /// What a node says of one meeting at this moment.
    async fn figures(&self, node: &Node, internal_id: &str) -> Seen {
        let mut params = Params::default();
        params.push("meetingID", internal_id);
        let (call, query) = (Call::GetMeetingInfo, sign(node, Call::GetMeetingInfo, &params));
        let within = self.settings.timeout;
        let asked =
            self.client.call(&node.spec.url, call.as_str(), &query, None, within, MAX_INFO_BYTES);
        let answer = match asked.await {
            Ok(response) if response.status == 200 => Answer::parse(&response.body).ok(),
            Ok(_) => None,
            Err(error) => {
                debug!("node {}: does not tell of a meeting: {}", node.name(), Chain(&error));
                None
            }
        };
        answer.map_or(Seen::Silent, |answer| seen(&answer, internal_id))
    }

    /// Ends the one that is not to go on.
    async fn end(&self, node: &Node, double: &Double, internal_id: &str, winner: &NodeName) {
        let scope = &double.key().scope;
        if let Err(error) = self.silence(node, internal_id).await {
            warn!("tenant {scope}: the end of a double would be told: {}", Chain(&error));
            return;
        }
        warn!(
            "node {}: ends meeting {internal_id} of tenant {scope}: it runs on node {winner}, too",
            node.name(),
        );
        let mut params = Params::default();
        params.push("meetingID", internal_id);
        let query = sign(node, Call::End, &params);
        let call = Call::End.as_str();
        let ended = self
            .client
            .call(&node.spec.url, call, &query, None, END_TIMEOUT, MAX_END_ANSWER_BYTES)
            .await;
        if let Err(error) = ended {
            // The next poll finds it again.
            warn!("node {}: could not end it: {}", node.name(), Chain(&error));
        }
    }

    /// Has its node call in vain when it ends. What it was recorded is told as ever.
    async fn silence(&self, node: &Node, internal_id: &str) -> Result<(), crate::store::Error> {
        let mut tokens = Vec::new();
        for callback in self.store.callbacks_of_internal(internal_id).await? {
            let is_end = matches!(callback.kind, CallbackKind::End | CallbackKind::MeetingEnded);
            // A twin shares its internal id with the one that goes on.
            if is_end && callback.node == *node.name() {
                tokens.push(callback.token);
            }
        }
        if tokens.is_empty() {
            return Ok(());
        }
        self.store.remove_callbacks(&tokens).await
    }
}

/// Reads what a node answers about a meeting.
fn seen(answer: &Answer, internal_id: &str) -> Seen {
    if !answer.is_success() {
        let is_unknown = answer.message_key().as_deref() == Some("notFound");
        return if is_unknown { Seen::Gone } else { Seen::Silent };
    }
    let text = |name| answer.text(name).unwrap_or_default();
    let is_over = text("hasBeenForciblyEnded").trim() == "true"
        || text("endTime").trim().parse::<u64>().is_ok_and(|at| at > 0);
    if is_over || text("internalMeetingID").trim() != internal_id {
        return Seen::Gone;
    }
    text("participantCount").trim().parse().map_or(Seen::Silent, Seen::With)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_answer_says_that_a_meeting_is_gone_or_empty() {
        let response = |inner: &str| format!("<response>{inner}</response>");
        let running = |rest: &str| {
            response(&format!(
                "<returncode>SUCCESS</returncode><internalMeetingID>a-1</internalMeetingID>{rest}"
            ))
        };
        for (xml, expected) in [
            (running("<participantCount>3</participantCount><endTime>0</endTime>"), Seen::With(3)),
            (running("<participantCount>0</participantCount>"), Seen::With(0)),
            (running("<participantCount>0</participantCount><endTime>9</endTime>"), Seen::Gone),
            (running("<hasBeenForciblyEnded>true</hasBeenForciblyEnded>"), Seen::Gone),
            (running(""), Seen::Silent),
            (running("<participantCount>-1</participantCount>"), Seen::Silent),
            (
                response(
                    "<returncode>SUCCESS</returncode><internalMeetingID>b-1</internalMeetingID>",
                ),
                Seen::Gone,
            ),
            (
                response("<returncode>FAILED</returncode><messageKey>notFound</messageKey>"),
                Seen::Gone,
            ),
            (
                response("<returncode>FAILED</returncode><messageKey>checksumError</messageKey>"),
                Seen::Silent,
            ),
        ] {
            let answer = Answer::parse(xml.as_bytes()).expect("an answer");
            assert_eq!(seen(&answer, "a-1"), expected, "{xml}");
        }
    }
}
