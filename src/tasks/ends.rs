//! Tells front ends of meetings that are over though no node has said so: one that restarts forgets its
//! meetings and calls nobody.
//!
//! A node calls again for ten minutes where we did not hear it. What it says of a recording is better than our
//! guess, so the end of a meeting that could be recorded waits for it for a while: in the outbox, where it is due
//! only then, and gives way to what the node says before. Whoever comes second after that, the node or we, tells
//! nothing more: the outbox takes each callback once.
//!
//! Webhooks are told that it is over as soon as its front end is, and once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use log::warn;
use parking_lot::Mutex;
use tokio::sync::Notify;
use url::Url;

use crate::bbb::Element;
use crate::chain::Chain;
use crate::fleet::{Entry, Fleet, Phase, now_ms};
use crate::model::{Callback, CallbackKind, NewDelivery, NodeName};
use crate::sparing::Sparing;
use crate::store::{self, Store};

/// Ends that are told at the same time; the store writes them together.
const AT_ONCE: usize = 32;
/// Ends that wait for a store that does not take them. A whole large node that restarts has a few hundred.
const MAX_WAITING: usize = 10_000;

/// The ends that are still to be told.
pub struct Ends {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    /// Notified when something was added to the outbox.
    wake: Arc<Notify>,
    /// How long a node may take to say it by itself.
    patience: Duration,
    /// What the store did not take.
    waiting: Mutex<VecDeque<Arc<Entry>>>,
    /// Internal ids of meetings on nodes that are away, whose end webhooks were told.
    away: Mutex<HashMap<NodeName, HashSet<Box<str>>>>,
    /// Each end is tried with each poll, and so is each webhook.
    later: Sparing,
    hooks_later: Sparing,
}

impl Ends {
    /// Nothing is to be told yet. `wake` is notified whenever there is something to deliver.
    pub fn new(
        fleet: Arc<Fleet>,
        store: Arc<dyn Store>,
        wake: Arc<Notify>,
        patience: Duration,
    ) -> Self {
        let (waiting, away) = (Mutex::default(), Mutex::default());
        let (later, hooks_later) = (Sparing::default(), Sparing::default());
        Self { fleet, store, wake, patience, waiting, away, later, hooks_later }
    }

    /// Tells the end of these meetings, which have left the directory, and of those that the store did not take
    /// before. Gives those of which nothing more is to be told: the others need their rows in the store, so that
    /// whoever comes after us finds that they are over.
    pub(super) async fn tell(&self, over: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
        let (ends, mut told): (Vec<_>, Vec<_>) =
            over.iter().cloned().partition(|entry| self.is_an_end(entry));
        let mut all = std::mem::take(&mut *self.waiting.lock());
        all.extend(ends);
        for some in all.make_contiguous().chunks(AT_ONCE) {
            let results = join_all(some.iter().map(|entry| self.tell_one(entry))).await;
            for (entry, result) in some.iter().zip(results) {
                match result {
                    Ok(()) => told.push(entry.clone()),
                    Err(error) => {
                        if let Some(more) = self.later.turn() {
                            warn!("the end of a meeting is told later: {}{more}", Chain(&error));
                        }
                        self.wait(entry.clone());
                    }
                }
            }
        }
        told
    }

    /// Whether nothing goes on under its key, as far as its front end knows: one that was ended, and created
    /// again, is over; one that another has taken the place of is not.
    fn is_an_end(&self, entry: &Entry) -> bool {
        let key = entry.key();
        let is_elsewhere = || {
            let other = self.fleet.directory.get(&key.scope, &key.id);
            other.is_some_and(|other| other.phase() == Phase::Running)
        };
        entry.phase() == Phase::Ended || !is_elsewhere()
    }

    /// Tells webhooks of the meetings of a node that was away for too long: for their front ends they are over.
    /// Nothing is said of recordings, so callbacks wait until it is known what has become of the meetings. A
    /// meeting that comes back with its node is told of again, but for its end.
    pub(super) async fn tell_lost(&self, node: &NodeName) {
        for entry in self.fleet.directory.on_node(node) {
            let id = entry.internal_id();
            let is_told = || self.away.lock().get(node).is_some_and(|told| told.contains(id));
            if entry.phase() != Phase::Lost || is_told() || !self.is_an_end(&entry) {
                continue;
            }
            match self.tell_hooks(&entry).await {
                Ok(()) => {
                    self.away.lock().entry(node.clone()).or_default().insert(id.into());
                }
                Err(error) => {
                    if let Some(more) = self.hooks_later.turn() {
                        warn!("webhooks are told of an end later: {}{more}", Chain(&error));
                    }
                    return;
                }
            }
        }
    }

    /// A node is no longer away.
    pub(super) fn is_back(&self, node: &NodeName) {
        self.away.lock().remove(node);
    }

    async fn tell_hooks(&self, entry: &Entry) -> Result<(), store::Error> {
        let all = self.fleet.end_to_hooks(entry.node(), entry.key(), entry.internal_id());
        for (_whose, delivery) in &all {
            self.store.put_delivery(delivery).await?;
        }
        if !all.is_empty() {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn wait(&self, entry: Arc<Entry>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            warn!("too many ends of meetings wait; the first is told after a restart");
            waiting.pop_front();
        }
        waiting.push_back(entry);
    }

    async fn tell_one(&self, entry: &Entry) -> Result<(), store::Error> {
        let now_ms = now_ms();
        let patience = if is_recorded(entry) { self.patience } else { Duration::ZERO };
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let due_ms = now_ms.saturating_add(patience_ms);
        // Of what has ended there its node tells webhooks by itself.
        if entry.phase() != Phase::Ended {
            self.tell_hooks(entry).await?;
            self.fleet.remove_hooks_of(&*self.store, entry.key(), entry.internal_id()).await;
        }
        // A breakout room that its node has made has no callbacks.
        if !entry.counts() {
            return Ok(());
        }
        let mut is_any = false;
        for callback in self.store.callbacks_of(entry.key(), entry.internal_id()).await? {
            if !matches!(callback.kind, CallbackKind::End | CallbackKind::MeetingEnded) {
                continue;
            }
            if let Some(delivery) = delivery(&callback, due_ms) {
                self.store.put_delivery(&delivery).await?;
                is_any = true;
            }
            self.store.end_callbacks(&callback.token, now_ms).await?;
        }
        if is_any {
            self.wake.notify_one();
        }
        Ok(())
    }
}

/// The same as when its node called at that time, so that it counts as the same.
fn delivery(callback: &Callback, at_ms: u64) -> Option<NewDelivery> {
    let target = callback.target.as_deref()?;
    let payload = match callback.kind {
        // A node that has lost a meeting publishes nothing of it.
        CallbackKind::End => false.to_string().into_bytes(),
        _ => Vec::new(),
    };
    Some(NewDelivery {
        token: callback.token.clone(),
        subject: String::new(),
        origin: Url::parse(target)
            .map(|url| url.origin().ascii_serialization())
            .unwrap_or_default(),
        payload,
        received_at_ms: at_ms,
    })
}

/// Whether its node may have more to say of it than that it is over.
fn is_recorded(entry: &Entry) -> bool {
    let meeting = Element::parse(&entry.xml());
    meeting.is_ok_and(|meeting| meeting.child_text("recording").is_some_and(|text| text == "true"))
}
