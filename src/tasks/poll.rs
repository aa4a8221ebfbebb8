//! Polls one node: asks for its meetings, reads them as they stream in, and does what follows.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::Arc;

use async_trait::async_trait;
use log::{debug, info, warn};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::driver::{Failed, Task};
use super::ends::Ends;
use super::poller::Settings;
use crate::bbb::{Call, ListError, MeetingsParser, Params, XmlError, signed_query};
use crate::chain::Chain;
use crate::fleet::{Double, Entry, Fleet, Node, Phase, Reconciled, now_ms};
use crate::model::{Meeting, MeetingKey, NodeName};
use crate::node::{self, Client};
use crate::store::{Saving, Store};

/// A list of all meetings: 200 meetings of 25 attendees are about 1.1 MB.
const MAX_LIST_BYTES: usize = 64 * 1024 * 1024;
/// One meeting: 10,000 attendees.
const MAX_MEETING_BYTES: usize = 8 * 1024 * 1024;

/// The poll of one node.
#[derive(Clone)]
pub struct Poll {
    pub(super) fleet: Arc<Fleet>,
    pub(super) store: Arc<dyn Store>,
    pub(super) ends: Arc<Ends>,
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) node: NodeName,
    /// Internal ids of doubles whose people the operator was told of.
    pub(super) warned: Arc<Mutex<HashSet<Box<str>>>>,
    pub(super) following: Arc<Following>,
}

/// What follows from the polls of a node: that may take long, where the store or another node does, and must
/// not hold up the next poll.
#[derive(Default)]
pub(super) struct Following {
    /// What nobody has begun with.
    waiting: Mutex<Option<Found>>,
    /// One at a time.
    under_way: Mutex<Option<JoinHandle<()>>>,
}

/// What polls have found and is to be followed up. Nobody finds what is over a second time.
#[derive(Default)]
struct Found {
    over: Vec<Arc<Entry>>,
    doubles: Vec<Double>,
    outdated: Vec<Meeting>,
}

impl Following {
    fn add(&self, found: Found) {
        let Found { over, doubles, mut outdated } = found;
        let mut waiting = self.waiting.lock();
        let known = waiting.get_or_insert_default();
        known.over.extend(over);
        // These are found again as long as there are any.
        known.doubles = doubles;
        outdated
            .retain(|row| known.outdated.iter().all(|other| other.internal_id != row.internal_id));
        known.outdated.append(&mut outdated);
    }
}

/// Why a poll failed, for the operator.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Http(#[from] node::Error),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its list of meetings is no XML")]
    Xml(#[from] XmlError),
    #[error("its list of meetings cannot be used")]
    List(#[from] ListError),
}

#[async_trait]
impl Task for Poll {
    fn name(&self) -> &'static str {
        "poll"
    }

    async fn activate(&self) -> Result<(), Failed> {
        let snapshot = self.fleet.snapshot();
        let Some(node) = snapshot.node(self.node.as_str()) else { return Ok(()) };
        let begun = Instant::now();
        let timed = async { (self.poll(node).await, begun.elapsed()) };
        let ((polled, took), ()) = tokio::join!(timed, self.fetch_load(node));
        node.live.polls.count(polled.is_ok(), took, now_ms());
        match polled {
            Ok(reconciled) => {
                self.ends.is_back(node.name());
                self.see_to(node, reconciled).await;
                Ok(())
            }
            Err(trouble) => {
                if self.failed(node, &trouble) {
                    let told = self.ends.tell_lost(node.name());
                    // The rest after the next poll, which is not to be kept waiting.
                    timeout(self.settings.interval / 2, told).await.ok();
                }
                Err(Failed)
            }
        }
    }
}

impl Poll {
    async fn poll(&self, node: &Arc<Node>) -> Result<Reconciled, Trouble> {
        let begun = Instant::now();
        let mut poll = self.fleet.begin_poll(node);
        let mut parser = MeetingsParser::new(MAX_MEETING_BYTES);
        let mut wrong = None;
        let mut each_chunk = |chunk: &[u8]| match parser.push(chunk, &mut |info| poll.meeting(info))
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                wrong = Some(error);
                ControlFlow::Break(())
            }
        };
        let status = self
            .client
            .stream(
                &node.spec.url,
                Call::GetMeetings.as_str(),
                &sign(node, Call::GetMeetings, &Params::default()),
                self.settings.timeout,
                MAX_LIST_BYTES,
                &mut each_chunk,
            )
            .await?;
        if status != 200 {
            return Err(Trouble::Status(status));
        }
        if let Some(error) = wrong {
            return Err(error.into());
        }
        parser.finish()?;
        node.live.answered(begun.elapsed(), now_ms());
        let strange = poll.strange();
        poll.hear(self.ask_store(&strange).await);
        let (polled, reconciled) = poll.finish(self.settings.thresholds, now_ms());
        debug!(
            "node {}: {} meetings, {} attendees",
            node.name(),
            polled.meetings,
            polled.attendees
        );
        Ok(reconciled)
    }

    /// B3LB's load script, where the operator named it. Without an answer the last value stays.
    async fn fetch_load(&self, node: &Node) {
        let Some(url) = &node.spec.load_url else { return };
        match self.client.fetch_load(url, self.settings.timeout).await {
            Ok(load) => node.live.set_cpu(load),
            Err(error) => debug!("node {}: no load: {}", node.name(), Chain(&error)),
        }
    }

    /// Says whether its meetings are lost.
    fn failed(&self, node: &Node, trouble: &Trouble) -> bool {
        let reason = Chain(trouble).to_string();
        let now = self.fleet.clock().moment();
        if let Some(change) = node.live.poll_failed(reason.clone(), self.settings.thresholds, now) {
            warn!("node {} is {} (was {}): {reason}", node.name(), change.to, change.from);
            self.fleet.journal().health(node.name(), &change, Some(&reason));
        }
        let is_too_long = self.fleet.is_down_for(node, self.settings.node_down_grace);
        if is_too_long {
            let lost = self.fleet.lose_meetings_on(node.name());
            if lost > 0 {
                warn!(
                    "node {}: down for longer than polling.node_down_grace; {lost} of its meetings may be \
                     created again elsewhere",
                    node.name()
                );
            }
        }
        self.fleet.tell_failed_poll(node, is_too_long);
        is_too_long
    }

    /// Does what follows, or leaves it to go on by itself when it takes long.
    async fn see_to(&self, node: &Arc<Node>, reconciled: Reconciled) {
        let Reconciled { adopted, over, doubles, outdated, change } = reconciled;
        if let Some(change) = change {
            info!("node {} is {} (was {})", node.name(), change.to, change.from);
            self.fleet.journal().health(node.name(), &change, None);
        }
        if !adopted.is_empty() {
            info!("node {}: found meetings that were not known: {}", node.name(), adopted.len());
        }
        self.following.add(Found { over, doubles, outdated });
        let until = Instant::now() + self.settings.interval / 2;
        loop {
            let under_way = self.following.under_way.lock().take();
            let mut task = match under_way {
                Some(task) => task,
                None if self.following.waiting.lock().is_none() => return,
                None => tokio::spawn(self.clone().follow_all(node.clone())),
            };
            match timeout_at(until, &mut task).await {
                Ok(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                Ok(_ended) => {}
                Err(_elapsed) => {
                    debug!(
                        "node {}: what follows from a poll goes on during the next",
                        node.name()
                    );
                    *self.following.under_way.lock() = Some(task);
                    return;
                }
            }
        }
    }

    async fn follow_all(self, node: Arc<Node>) {
        let _under_way = self.fleet.under_way.token();
        loop {
            let Some(found) = self.following.waiting.lock().take() else { return };
            self.follow_up(&node, found).await;
        }
    }

    /// Saves what was found, forgets what is over, resolves what runs elsewhere, too.
    async fn follow_up(&self, node: &Arc<Node>, found: Found) {
        let Found { over, doubles, outdated } = found;
        // Of what was ended on purpose its node tells by itself, and again if need be: it must not come back after
        // a crash. What a node has lost is told first: whoever finds it after a crash, or where the store did not
        // take that, tells it again.
        let is_ended = |entry: &Arc<Entry>| entry.phase() == Phase::Ended;
        self.forget(over.iter().filter(|entry| is_ended(entry))).await;
        let told = self.ends.tell(&over).await;
        self.forget(told.iter().filter(|entry| !is_ended(entry))).await;
        for row in outdated {
            let is_removed = self.remove(&row.key, &row.internal_id).await;
            // Once its row is gone, no later poll can tell that it is over.
            if is_removed && let Some(entry) = self.fleet.directory.get_internal(&row.internal_id) {
                self.fleet.learn_end(&entry);
            }
        }
        self.save(node).await;
        // The other process of an upgrade may know that what we take for the double is the newer one.
        if !self.fleet.is_overlapping() {
            self.resolve(node, &doubles).await;
        }
    }

    /// Takes meetings that are over out of the store, and counts those that nobody else has taken out.
    async fn forget<'a>(&self, over: impl Iterator<Item = &'a Arc<Entry>> + Send) {
        for entry in over {
            let is_removed = self.remove(entry.key(), entry.internal_id()).await;
            self.fleet.learn_removed(entry, &*self.store, is_removed);
        }
    }

    /// Takes a meeting out of the store; says whether it was we who did.
    async fn remove(&self, key: &MeetingKey, internal_id: &str) -> bool {
        self.store.remove_meeting(key, internal_id).await.unwrap_or_else(|error| {
            warn!("a meeting that is over stays in the store: {}", Chain(&error));
            false
        })
    }

    /// Saves the meetings just adopted, and those that the store did not take when they were created.
    async fn save(&self, node: &Node) {
        for entry in self.fleet.directory.on_node(node.name()) {
            let key = entry.key();
            // Its row is its key's: one that runs elsewhere by now would take the other's.
            let holds = self.fleet.directory.get(&key.scope, &key.id);
            if entry.is_saved() || !holds.is_some_and(|other| Arc::ptr_eq(&other, &entry)) {
                continue;
            }
            match self.put(&entry).await {
                Ok(Saving::Kept) => entry.mark_saved(),
                Ok(Saving::Other(row)) => self.yield_to(*row, &entry).await,
                Err(error) => {
                    warn!("a meeting is still not saved: {}", Chain(&error));
                    break;
                }
            }
        }
    }
}

pub(super) fn sign(node: &Node, call: Call, params: &Params<'_>) -> String {
    let secret = node.spec.secret.expose();
    signed_query(node.cluster.checksum, call.as_str(), &params.write(), secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Extent, Scope};

    fn row(internal_id: &str) -> Meeting {
        Meeting {
            key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: "daily".to_owned() },
            node: NodeName::new("bbb01"),
            node_meeting_id: "daily@acme".to_owned(),
            internal_id: internal_id.to_owned(),
            created_at_ms: 1,
            parent_internal_id: None,
            extent: Extent::default(),
            xml: Box::default(),
        }
    }

    #[test]
    fn what_waits_is_kept_and_told_once() {
        let following = Following::default();
        for rows in [&["a", "b"][..], &["b", "c"]] {
            let outdated = rows.iter().map(|id| row(id)).collect();
            following.add(Found { outdated, ..Found::default() });
        }
        let waiting = following.waiting.lock().take().unwrap();
        let ids: Vec<_> = waiting.outdated.iter().map(|row| &*row.internal_id).collect();
        assert_eq!(ids, ["a", "b", "c"]);
    }
}
