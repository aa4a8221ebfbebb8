//! The right to create a meeting where others may create it, too: instances that share the store, or the
//! other process of an upgrade.
//!
//! The store decides. Whoever has the claim asks nodes; all others wait and look again, until they have it
//! or know the meeting. A shared store that cannot be asked leaves a new meeting refused: nobody can know
//! that it is not being created elsewhere at this moment.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use log::{debug, error, warn};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

use super::Edge;
use super::refusal::{self, Refusal};
use crate::chain::Chain;
use crate::fleet::{Entry, Fleet, Phase};
use crate::model::{Meeting, MeetingKey};
use crate::store::{self, Claiming, Saving, Store};

/// How long a store that cannot be asked is waited for: a restart, or the change to another server.
pub(super) const STORE_WITHIN: Duration = Duration::from_secs(8);
/// For others in all, as for those of this process.
const OTHERS_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at the claim of another one: at first, and at most.
const LOOK_AFTER: Duration = Duration::from_millis(25);
const LOOK_AFTER_AT_MOST: Duration = Duration::from_millis(250);
/// For a node of which others know already, by who has asked another one meanwhile.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// Between two attempts to save a meeting whose claim is kept for that.
const SAVE_AFTER: Duration = Duration::from_millis(500);

/// What is to be created.
pub(super) struct Wish {
    pub(super) key: MeetingKey,
    /// Of a breakout room.
    pub(super) internal_id: Option<String>,
    /// What is known to be over.
    pub(super) over: Vec<String>,
}

/// What comes of a wish.
pub(super) enum Right {
    /// Nobody else may create it as long as this is kept; where nobody else could, it is empty.
    Ours(Option<Lease>),
    /// It runs.
    Runs(Arc<Entry>),
}

/// A claim in the store. Dropped, it is given back.
pub(super) struct Lease {
    claim: store::Claim,
    store: Arc<dyn Store>,
    fleet: Arc<Fleet>,
    is_given_back: bool,
    is_inherited: bool,
}

impl Lease {
    /// Whether it was that of an instance that died, which may have asked a node.
    pub(super) fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// It is clear what that one has brought about.
    pub(super) fn settle(&mut self) {
        self.is_inherited = false;
        self.fleet.leases.settle(&self.claim.key);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.fleet.leases.end(self.claim.number);
        if self.is_inherited && !self.is_given_back {
            // Whoever comes next has to find out: others inherit it from us when it runs out.
            self.fleet.leases.leave_unsettled(&self.claim.key);
            return;
        }
        // Also of a create that nobody waits for any more. Without a runtime the process ends, and then
        // the lease does.
        if !self.is_given_back
            && let Ok(runtime) = Handle::try_current()
        {
            let (store, claim) = (self.store.clone(), self.claim.clone());
            drop(runtime.spawn(async move {
                if let Err(trouble) = store.release_claim(&claim).await {
                    warn!("a claim is not given back and runs out: {}", Chain(&trouble));
                }
            }));
        }
    }
}

/// The first look at a claim.
pub(super) struct Attempt {
    lease: Option<Lease>,
    begun: Instant,
    first: Option<Result<Claiming, store::Error>>,
}

impl Attempt {
    /// Whether the meeting may be created without waiting for anything.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.first, None | Some(Ok(Claiming::Ours)))
    }

    /// Whether the store could not be asked.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.first, Some(Err(_)))
    }
}

impl Edge {
    /// Whether others may create meetings, too.
    pub(super) fn has_others(&self) -> bool {
        self.store.is_shared() || self.fleet.is_overlapping()
    }

    /// Claims once: alone, this asks nobody.
    pub(super) async fn attempt(&self, wish: Wish) -> Attempt {
        let begun = Instant::now();
        if !self.has_others() {
            return Attempt { lease: None, begun, first: None };
        }
        let leases = &self.fleet.leases;
        let lease = Lease {
            claim: store::Claim {
                key: wish.key,
                internal_id: wish.internal_id,
                over: wish.over,
                instance: leases.instance().clone(),
                number: leases.begin(),
            },
            store: self.store.clone(),
            fleet: self.fleet.clone(),
            is_given_back: false,
            is_inherited: false,
        };
        let first = self.ask_arbiter(&lease, begun + STORE_WITHIN).await;
        Attempt { lease: Some(lease), begun, first: Some(first) }
    }

    /// Goes on until it is clear whose the meeting is. `find` looks for it in the directory.
    pub(super) async fn decided(
        &self,
        attempt: Attempt,
        find: impl Fn() -> Option<Arc<Entry>>,
    ) -> Result<Right, Refusal> {
        let Attempt { lease, begun, first } = attempt;
        let (Some(mut lease), Some(mut answer)) = (lease, first) else {
            return Ok(Right::Ours(None));
        };
        let mut reached_at = begun;
        let mut pause = LOOK_AFTER;
        let mut is_node_wanted = false;
        let mut known = None;
        loop {
            match answer {
                Ok(Claiming::Ours) => return Ok(Right::Ours(Some(lease))),
                Ok(Claiming::Inherited) => {
                    lease.is_inherited = true;
                    return Ok(Right::Ours(Some(lease)));
                }
                Ok(Claiming::Runs(meeting)) => {
                    lease.is_given_back = true;
                    let internal_id = meeting.internal_id.clone();
                    if let Some(entry) = self.fleet.learn(*meeting).or_else(&find) {
                        return Ok(Right::Runs(entry));
                    }
                    lease.is_given_back = false;
                    if self.is_over(&internal_id) {
                        lease.claim.over.push(internal_id);
                    } else if !is_node_wanted {
                        // It is on a node that we do not know yet: others were told of it.
                        is_node_wanted = true;
                        self.fleet.instances.want_inventory();
                    }
                    (reached_at, known) = (Instant::now(), None);
                }
                Ok(Claiming::Theirs) => (reached_at, known) = (Instant::now(), None),
                Err(trouble) if !self.store.is_shared() => {
                    warn!("the other process cannot be asked: {}", Chain(&trouble));
                    return Ok(Right::Ours(None));
                }
                Err(trouble) if reached_at.elapsed() >= STORE_WITHIN => {
                    self.metrics.creates_without_store.inc();
                    // For the last question there was hardly any time: what the store said before tells more.
                    let trouble = match trouble {
                        store::Error::Silent => known.unwrap_or(trouble),
                        said => said,
                    };
                    error!("a new meeting is refused, as nobody can tell: {}", Chain(&trouble));
                    return Err(Refusal::portico(refusal::store_unavailable()));
                }
                Err(passing) => known = Some(passing),
            }
            if begun.elapsed() >= OTHERS_WITHIN {
                return Err(Refusal::node(refusal::meeting_unavailable()));
            }
            // The directory is looked at more often than the store.
            let next = Instant::now() + pause;
            while Instant::now() < next {
                if let Some(entry) = find() {
                    return Ok(Right::Runs(entry));
                }
                sleep(LOOK_AFTER).await;
            }
            pause = (pause * 2).min(LOOK_AFTER_AT_MOST);
            answer = self.ask_arbiter(&lease, reached_at + STORE_WITHIN).await;
        }
    }

    /// A connection to nobody is not waited for for longer than that.
    async fn ask_arbiter(&self, lease: &Lease, until: Instant) -> Result<Claiming, store::Error> {
        let asking = timeout_at(until, self.store.claim_meeting(&lease.claim));
        let answer = asking.await.unwrap_or_else(|_elapsed| Err(store::Error::Silent));
        match answer {
            Ok(Claiming::Ours) if self.fleet.leases.is_unsettled(&lease.claim.key) => {
                Ok(Claiming::Inherited)
            }
            answer => answer,
        }
    }

    /// Whether a meeting is known to have ended or to be lost.
    fn is_over(&self, internal_id: &str) -> bool {
        let known = self.fleet.directory.get_internal(internal_id);
        known.is_some_and(|known| known.phase() != Phase::Running)
    }

    /// Takes a meeting that another one has created into the directory, and waits for a while if it is on a node of
    /// which we have not heard yet. `None` is one that is over.
    ///
    /// # Errors
    /// When it cannot be known.
    pub(super) async fn learn(&self, meeting: Meeting) -> Result<Option<Arc<Entry>>, Refusal> {
        let begun = Instant::now();
        if self.fleet.peek().node(meeting.node.as_str()).is_none() {
            self.fleet.instances.want_inventory();
        }
        loop {
            if let Some(entry) = self.fleet.learn(meeting.clone()) {
                return Ok(Some(entry));
            }
            if self.is_over(&meeting.internal_id) {
                return Ok(None);
            }
            if begun.elapsed() >= KNOWN_WITHIN {
                return Err(Refusal::node(refusal::meeting_unavailable()));
            }
            sleep(LOOK_AFTER_AT_MOST).await;
        }
    }

    /// Saves a meeting that was just created, and gives its claim back. Of the one that had its name `before`, and has
    /// its row, it is learned what became of it: no poll finds that row any more.
    ///
    /// # Errors
    /// When it could not be saved. Then it is tried again, and the claim kept, until the meeting is saved or over.
    pub(super) async fn save_created(
        &self,
        entry: &Arc<Entry>,
        lease: Option<Lease>,
        before: Option<Arc<Entry>>,
    ) -> Result<Saving, store::Error> {
        let meeting = entry.to_meeting();
        let (fleet, store) = (&*self.fleet, &*self.store);
        let closing = close(fleet, store, before.as_ref());
        let Some(mut lease) = lease else {
            return join(closing, store.put_meeting(&meeting)).await.1.map(|()| Saving::Kept);
        };
        match join(closing, store.put_created(&meeting, &lease.claim)).await.1 {
            Ok(saved) => {
                lease.is_given_back = true;
                Ok(saved)
            }
            Err(trouble) => {
                let entry = entry.clone();
                drop(tokio::spawn(keep_saving(entry, lease, before)));
                Err(trouble)
            }
        }
    }
}

/// Takes a meeting that is over out of the store, and learns of it if nobody else has taken it out. To be asked for
/// before its row is another's: both at once share a transaction, in this order.
async fn close(fleet: &Fleet, store: &dyn Store, over: Option<&Arc<Entry>>) {
    let Some(over) = over else { return };
    match store.remove_meeting(over.key(), over.internal_id()).await {
        Ok(true) => fleet.learn_end(over),
        // Or it never was there: a poll finds that it is over.
        Ok(false) => {}
        Err(trouble) => debug!("a meeting that is over stays in the store: {}", Chain(&trouble)),
    }
}

/// Until the meeting is saved or over. While it goes on, nobody else gets the claim.
async fn keep_saving(entry: Arc<Entry>, mut lease: Lease, before: Option<Arc<Entry>>) {
    loop {
        sleep(SAVE_AFTER).await;
        let is_current = lease
            .fleet
            .directory
            .get_internal(entry.internal_id())
            .is_some_and(|present| Arc::ptr_eq(&present, &entry));
        if entry.is_saved() || !is_current || entry.phase() == Phase::Ended {
            return;
        }
        let meeting = entry.to_meeting();
        let closing = close(&lease.fleet, &*lease.store, before.as_ref());
        match join(closing, lease.store.put_created(&meeting, &lease.claim)).await.1 {
            Ok(Saving::Kept) => {
                lease.is_given_back = true;
                entry.mark_saved();
                return;
            }
            Ok(Saving::Other(_)) => {
                lease.is_given_back = true;
                // The next poll of its node finds the two.
                warn!(
                    "node {}: a meeting was created elsewhere while the store was away",
                    entry.node()
                );
                return;
            }
            Err(_still_away) => {}
        }
    }
}
