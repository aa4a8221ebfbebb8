//! How instances that share a store keep in step: each has everything in memory, and what one does the
//! others do after it.
//!
//! Whatever changes the fleet at one instance is told as an [`Event`] into one [`Log`], and applied by the
//! others in the log's order (`mirror.rs`). What only takes away or corrects is done first and told then
//! (`telling.rs`). A placement is the other way round (`placing.rs`): it stands in the log before it counts, and
//! only directly after the last event that its choice has seen, so that nobody chooses on an older picture.
//! `joining.rs` begins anew from the store whenever we are in touch again. What was missed nevertheless shows
//! in the digest that each poll's event carries, and is asked for.
//!
//! Out of touch nothing of this is waited for: we go on by ourselves, as one instance does that has no log.

pub mod event;
mod joining;
mod mirror;
mod moves;
mod placing;
mod polls;
mod row;
mod telling;
#[cfg(test)]
mod tests;
mod words;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::timeout;

pub use self::event::Event;
use self::mirror::Mirror;
pub(super) use self::mirror::with_known_names;
use self::placing::Queue;
pub use self::placing::Unplaced;
pub(super) use self::polls::{Outcome, TOLD_ONCE};
use self::telling::Telling;
pub(super) use self::telling::Ticket;
use crate::bus::Log;
use crate::model::InstanceId;

/// Rates that nobody has counted yet, for the one who does. Whoever is slower misses some.
const MAX_UNHEARD: usize = 1024;

/// Reading the store after an outage takes seconds at most, unless it is away, too.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);

/// Our place among the instances.
pub struct Instances {
    /// What we are to the others; nothing where we are alone.
    link: OnceLock<Link>,
    in_touch: AtomicBool,
    /// In touch, and the store is being read: what was missed before is not known yet.
    is_reading: watch::Sender<bool>,
    mirror: Mutex<Mirror>,
    telling: Arc<Telling>,
    queue: Queue,
    /// Somebody needs what is not in ours.
    inventory_wanted: Notify,
    rates: broadcast::Sender<Vec<(String, u64)>>,
    figures: Counted,
    /// Its numbers never leave the process.
    hasher: RandomState,
}

/// Ourselves, and the way to the others.
struct Link {
    me: InstanceId,
    log: Arc<dyn Log>,
}

impl Default for Instances {
    fn default() -> Self {
        Self {
            link: OnceLock::new(),
            in_touch: AtomicBool::new(false),
            is_reading: watch::Sender::new(false),
            mirror: Mutex::default(),
            telling: Arc::default(),
            queue: Queue::default(),
            inventory_wanted: Notify::new(),
            rates: broadcast::Sender::new(MAX_UNHEARD),
            figures: Counted::default(),
            hasher: RandomState::default(),
        }
    }
}

#[derive(Default)]
struct Counted {
    applied: AtomicU64,
    own: AtomicU64,
    ignored: AtomicU64,
    told: AtomicU64,
    untold: AtomicU64,
    placed_in_log: AtomicU64,
    placed_alone: AtomicU64,
    behind: AtomicU64,
    asked: AtomicU64,
}

/// What we have heard and told since we started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventFigures {
    /// Events of others that were applied.
    pub applied: u64,
    /// Our own that came back.
    pub own: u64,
    /// Events that we do not understand.
    pub ignored: u64,
    /// Events that stand in the log.
    pub told: u64,
    /// Events that could not be told.
    pub untold: u64,
    /// Placements that were decided in the log.
    pub placed_in_log: u64,
    /// Placements that were decided without it.
    pub placed_alone: u64,
    /// Times that a placement was chosen anew because another came before.
    pub behind: u64,
    /// Nodes of which our picture was another than the one of who polls them.
    pub asked: u64,
}

impl Instances {
    /// Gives us a name and a way to the others. Only the first time has an effect.
    pub fn link(&self, me: InstanceId, log: Arc<dyn Log>) {
        // A second link would be a mistake in assembly, and the first one stands.
        drop(self.link.set(Link { me, log }));
    }

    /// Whether there are, or may be, others.
    pub fn is_linked(&self) -> bool {
        self.link.get().is_some()
    }

    /// Whether the others hear us at this moment.
    pub fn in_touch(&self) -> bool {
        self.in_touch.load(Ordering::Acquire)
    }

    /// The others are no longer heard: from now on we are alone.
    pub fn break_off(&self) {
        self.in_touch.store(false, Ordering::Release);
        self.set_reading(false);
        self.telling.break_off();
        self.queue.give_up();
    }

    pub(super) fn set_reading(&self, is_reading: bool) {
        self.is_reading.send_replace(is_reading);
    }

    /// Waits until all is known that happened while we were not in touch, but not for long.
    async fn all_is_known(&self) {
        let mut is_reading = self.is_reading.subscribe();
        let known = is_reading.wait_for(|is_reading| !is_reading);
        // Late: it goes on with what is known, as one does that is out of touch.
        drop(timeout(KNOWN_WITHIN, known).await);
    }

    /// Tells the others something that is no business of the fleet's own; without effect where there are none.
    pub fn tell(&self, event: &Event) {
        if self.is_linked() {
            self.telling.push(event);
        }
    }

    /// Others know of a node that we do not: what is in force in the store is to be read now.
    pub fn want_inventory(&self) {
        self.inventory_wanted.notify_one();
    }

    /// Waits until somebody [wants](Self::want_inventory) it; for one listener.
    pub async fn inventory_wanted(&self) {
        self.inventory_wanted.notified().await;
    }

    /// What others tell of rates, from now on.
    pub fn rates(&self) -> broadcast::Receiver<Vec<(String, u64)>> {
        self.rates.subscribe()
    }

    /// What was heard and told.
    pub fn figures(&self) -> EventFigures {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counted {
            applied,
            own,
            ignored,
            told,
            untold,
            placed_in_log,
            placed_alone,
            behind,
            asked,
        } = &self.figures;
        EventFigures {
            applied: get(applied),
            own: get(own),
            ignored: get(ignored),
            told: get(told),
            untold: get(untold) + self.telling.dropped(),
            placed_in_log: get(placed_in_log),
            placed_alone: get(placed_alone),
            behind: get(behind),
            asked: get(asked),
        }
    }

    fn count(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }
}
