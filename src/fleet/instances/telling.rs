//! Telling the others: what waits to be told, and the tickets of our placements.
//!
//! There are two queues, so that a create does not wait behind everything that a poll has to tell. Out of
//! touch, what would be missed by the others is kept and told later; what polls find is told anew then anyway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::event::{Created, Event, MAX_TOLD_BYTES, Placing, Row, Token, Xml};
use super::polls::TOLD_ONCE;
use super::{Instances, Link};
use crate::fleet::entry::Entry;
use crate::fleet::{Fleet, Node};
use crate::model::{AdminState, Hook, NodeName};
use log::info;

/// Events that wait. Beyond, the oldest are given up: the digests of polls show it.
const MAX_WAITING: usize = 20_000;
/// Bytes of these. Beyond, the oldest are given up, too.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of what polls have to tell.
const MAX_BULK_BYTES: usize = 128 * 1024 * 1024;
/// Told together.
const MAX_TOGETHER: usize = 256;
/// A create waits for the log so long at most: nobody who joins elsewhere is that quick.
const TOLD_WITHIN: Duration = Duration::from_millis(250);

/// What waits to be told.
#[derive(Default)]
pub(in crate::fleet) struct Telling {
    waiting: Mutex<Waiting>,
    is_there: Notify,
    last_token: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    urgent: VecDeque<Item>,
    urgent_bytes: usize,
    /// What polls have found.
    bulk: VecDeque<(NodeName, Bytes)>,
    bulk_bytes: usize,
    /// Our placements in flight, for those who come later.
    placings: BTreeMap<Token, Placing>,
}

impl Waiting {
    /// Gives up what is too much; returns how many events that were.
    fn shorten(&mut self) -> u64 {
        let mut given_up = 0;
        while self.urgent.len() > MAX_WAITING
            || (self.urgent_bytes > MAX_WAITING_BYTES && self.urgent.len() > 1)
        {
            let Some(oldest) = self.urgent.pop_front() else { break };
            self.urgent_bytes -= oldest.payload.len();
            given_up += 1;
        }
        given_up
    }
}

struct Item {
    payload: Bytes,
    about: About,
    /// Sent or dropped when it stands in the log, or will not.
    told: Option<oneshot::Sender<()>>,
}

/// What decides whether an event is still worth telling after an outage.
enum About {
    /// It holds whenever it is told.
    Lasting,
    /// How something was at that moment: polls and the store tell how it is now.
    Passing,
    /// A meeting, which may be over meanwhile, and the placement that has led to it.
    Created { internal_id: Box<str>, token: Option<Token> },
}

impl About {
    fn of(event: &Event) -> Self {
        match event {
            Event::Doubt { .. } | Event::Revived { .. } | Event::NodeState { .. } => Self::Passing,
            Event::Created(created) => Self::Created {
                internal_id: created.meeting.internal_id.as_str().into(),
                token: created.token,
            },
            _ => Self::Lasting,
        }
    }
}

impl Item {
    fn of(event: &Event) -> Self {
        Self { payload: event.to_bytes(), about: About::of(event), told: None }
    }

    /// What is left to tell of it after an outage; `runs` says whether a meeting is still what its key means.
    fn after_outage(self, runs: impl Fn(&str) -> bool) -> Option<Self> {
        match &self.about {
            About::Lasting => Some(self),
            About::Passing => None,
            About::Created { internal_id, .. } if runs(internal_id) => Some(self),
            About::Created { token, .. } => token.map(|token| Self::of(&Event::GivenUp { token })),
        }
    }
}

/// What others know a placement of ours by. Dropped, they are told that nothing came of it.
pub(in crate::fleet) struct Ticket {
    telling: Arc<Telling>,
    token: Token,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ticket").field(&self.token).finish()
    }
}

impl Ticket {
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Notes where it is now.
    pub(super) fn is_for(&self, placing: Placing) {
        self.telling.waiting.lock().placings.insert(self.token, placing);
    }

    /// The others are about to be told of the meeting itself. The ticket is dropped when they were.
    fn redeem(mut self) {
        self.telling.waiting.lock().placings.remove(&self.token);
        // Nothing to give up any more.
        self.token = 0;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.token != 0 {
            self.telling.waiting.lock().placings.remove(&self.token);
            self.telling.push(&Event::GivenUp { token: self.token });
        }
    }
}

impl Telling {
    /// A number for a new placement.
    pub(super) fn next_token(&self) -> Token {
        self.last_token.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// For a placement that is told by this number.
    pub(super) fn ticket(self: &Arc<Self>, token: Token) -> Ticket {
        Ticket { telling: self.clone(), token }
    }

    pub(super) fn push(&self, event: &Event) {
        self.enqueue(Item::of(event));
    }

    fn push_and_hear(&self, event: &Event) -> oneshot::Receiver<()> {
        let (told, hear) = oneshot::channel();
        self.enqueue(Item { told: Some(told), ..Item::of(event) });
        hear
    }

    fn enqueue(&self, item: Item) {
        let mut waiting = self.waiting.lock();
        waiting.urgent_bytes += item.payload.len();
        waiting.urgent.push_back(item);
        let given_up = waiting.shorten();
        self.dropped.fetch_add(given_up, Ordering::Relaxed);
        drop(waiting);
        self.is_there.notify_one();
    }

    /// Tells what a poll has found, in parts. Returns whether there was room for all of it.
    pub(super) fn push_bulk(&self, node: &NodeName, payloads: Vec<Bytes>) -> bool {
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        let mut waiting = self.waiting.lock();
        if waiting.bulk_bytes + bytes > MAX_BULK_BYTES {
            self.dropped.fetch_add(payloads.len() as u64, Ordering::Relaxed);
            return false;
        }
        waiting.bulk_bytes += bytes;
        waiting.bulk.extend(payloads.into_iter().map(|payload| (node.clone(), payload)));
        drop(waiting);
        self.is_there.notify_one();
        true
    }

    /// In touch again: who we are comes first, then what was not told meanwhile, our placements among it.
    /// `runs` says whether a meeting is still what its key means: the others are not to learn of one that is over.
    pub(super) fn begin_anew(&self, runs: impl Fn(&str) -> bool) {
        let mut waiting = self.waiting.lock();
        waiting.bulk.clear();
        waiting.bulk_bytes = 0;
        let untold = std::mem::take(&mut waiting.urgent);
        waiting.urgent.extend(untold.into_iter().filter_map(|item| item.after_outage(&runs)));
        let placings: Vec<_> = waiting.placings.values().cloned().map(Event::Placing).collect();
        for event in placings.iter().rev().chain([&Event::Hello]) {
            waiting.urgent.push_front(Item::of(event));
        }
        waiting.urgent_bytes = waiting.urgent.iter().map(|item| item.payload.len()).sum();
        drop(waiting);
        self.is_there.notify_one();
    }

    /// Out of touch: nobody is to wait, and what polls have found is told anew.
    pub(super) fn break_off(&self) {
        let mut waiting = self.waiting.lock();
        waiting.bulk.clear();
        waiting.bulk_bytes = 0;
        for item in &mut waiting.urgent {
            item.told = None;
        }
    }

    /// Tells our placements in flight to somebody who has not heard of them.
    pub(super) fn repeat_placings(&self) {
        let placings: Vec<_> = self.waiting.lock().placings.values().cloned().collect();
        for placing in placings {
            self.push(&Event::Placing(placing));
        }
    }

    /// Whether there is nothing to tell.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.urgent.is_empty() && waiting.bulk.is_empty()
    }

    /// Events that were given up.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn take_urgent(&self) -> Vec<Item> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = waiting.urgent.front() {
            let is_full =
                taken.len() >= MAX_TOGETHER || bytes + next.payload.len() > MAX_TOLD_BYTES;
            if is_full && !taken.is_empty() {
                break;
            }
            bytes += next.payload.len();
            taken.extend(waiting.urgent.pop_front());
        }
        waiting.urgent_bytes -= bytes;
        taken
    }

    fn take_bulk(&self) -> Vec<(NodeName, Bytes)> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some((_, next)) = waiting.bulk.front() {
            if !taken.is_empty() && bytes + next.len() > MAX_TOLD_BYTES {
                break;
            }
            bytes += next.len();
            taken.extend(waiting.bulk.pop_front());
        }
        waiting.bulk_bytes -= bytes;
        taken
    }

    /// Puts back what could not be told.
    fn put_back(&self, items: Vec<Item>) {
        let mut waiting = self.waiting.lock();
        for item in items.into_iter().rev() {
            waiting.urgent_bytes += item.payload.len();
            waiting.urgent.push_front(Item { told: None, ..item });
        }
    }
}

impl Instances {
    /// Tells what waits, for as long as we are in touch. Never ends.
    pub(super) async fn tell_all(&self, link: &Link) {
        loop {
            self.telling.is_there.notified().await;
            while self.in_touch() {
                let items = self.telling.take_urgent();
                if !items.is_empty() {
                    let payloads: Vec<_> = items.iter().map(|item| item.payload.clone()).collect();
                    let count = payloads.len();
                    if link.log.append(payloads).await.is_err() {
                        Self::count(&self.figures.untold, count);
                        self.telling.put_back(items);
                        // Away is told by the news. Until then it is tried again, but not at once.
                        tokio::time::sleep(TOLD_WITHIN).await;
                        continue;
                    }
                    Self::count(&self.figures.told, count);
                    for told in items.into_iter().filter_map(|item| item.told) {
                        // Whoever no longer waits need not know.
                        _ = told.send(());
                    }
                    continue;
                }
                let (nodes, payloads): (Vec<_>, Vec<_>) =
                    self.telling.take_bulk().into_iter().unzip();
                let count = payloads.len();
                if count == 0 {
                    break;
                }
                if link.log.append(payloads).await.is_err() {
                    Self::count(&self.figures.untold, count);
                    self.tell_anew(&nodes);
                    continue;
                }
                Self::count(&self.figures.told, count);
            }
        }
    }
}

/// What changes at this instance and the others are to know.
impl Fleet {
    /// Tells of a meeting that was just created, is in the directory and, if it could be, in the store.
    /// Waits a moment until others may know it, so that whoever has the answer may go to any of them.
    pub async fn tell_created(&self, entry: &Entry) {
        let ticket = entry.take_ticket();
        if !self.instances.is_linked() {
            return;
        }
        let meeting = entry.to_meeting();
        let (meeting, xml): (Row, Xml) = meeting.into();
        let created = Created {
            token: ticket.as_ref().map(Ticket::token),
            meeting,
            xml,
            saved: entry.is_saved(),
            tried: entry.tried().to_vec(),
        };
        entry.set_told(TOLD_ONCE);
        let hear = self.instances.telling.push_and_hear(&Event::Created(Box::new(created)));
        if let Some(ticket) = ticket {
            ticket.redeem();
        }
        if self.instances.in_touch() {
            // Late or never: the meeting is in the store, where others ask for what they miss.
            drop(timeout(TOLD_WITHIN, hear).await);
        }
    }

    /// Marks a meeting as ended by a front end, everywhere.
    pub fn end(&self, entry: &Entry) {
        entry.mark_ended();
        let internal_id = entry.internal_id().to_owned();
        self.instances.tell(&Event::Ended { internal_id });
    }

    /// Tells that a meeting that was lost is there.
    pub fn tell_revived(&self, entry: &Entry) {
        let internal_id = entry.internal_id().to_owned();
        self.instances.tell(&Event::Revived { internal_id });
    }

    /// Takes a meeting out of the directory, everywhere.
    pub fn remove(&self, entry: &Arc<Entry>) {
        self.directory.remove(entry);
        let internal_id = entry.internal_id().to_owned();
        self.instances.tell(&Event::Removed { internal_id });
    }

    /// Reports that a request could not reach a node, everywhere: it gets no new meetings until polls say
    /// more.
    pub fn doubt(&self, node: &Node, reason: String, now_ms: u64) {
        if let Some(change) = node.live.doubt(reason.clone(), self.clock().moment_of(now_ms)) {
            self.journal().health(node.name(), &change, Some(&reason));
            self.instances.tell(&Event::Doubt { node: node.name().clone(), reason });
        }
    }

    /// Changes what an operator wants of a node, everywhere. Returns whether there is such a node.
    pub fn set_node_state(&self, node: &NodeName, state: AdminState) -> bool {
        let snapshot = self.peek();
        let Some(known) = snapshot.node(node.as_str()) else { return false };
        self.journal().state(node, known.live.admin(), state);
        known.live.set_admin(state);
        self.instances.tell(&Event::NodeState { node: node.clone(), state });
        true
    }

    /// Takes over what others want of nodes.
    pub fn take_over_states(&self, wanted: impl Fn(&NodeName) -> Option<AdminState>) {
        for node in self.peek().nodes() {
            let states = (node.live.admin(), wanted(node.name()));
            // Whether a node is retired is for the inventory to say.
            if let (before, Some(state)) = states
                && before != state
                && ![before, state].contains(&AdminState::Retired)
            {
                info!("node {} is {} from now on", node.name(), state.as_str());
                self.journal().state(node.name(), before, state);
                node.live.set_admin(state);
            }
        }
    }

    /// Tells of a webhook that was saved and entered.
    pub fn tell_hook(&self, hook: &Hook) {
        self.instances.tell(&Event::HookPut { hook: Box::new(hook.into()) });
    }

    /// Tells of a webhook that is gone.
    pub fn tell_hook_removed(&self, id: u64) {
        self.instances.tell(&Event::HookRemoved { id });
    }
}
