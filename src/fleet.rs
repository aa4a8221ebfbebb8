//! What is going on right now, in memory: the inventory as one snapshot, every node's live load and
//! health, the directory of running meetings, and the choice of a node for a new one.
//!
//! The drivers above ask and report here; `store/` keeps what must survive. Reading costs no lock that
//! anybody holds across an await. This is the only place where a meeting gets or loses its node:
//! [`TenantEntry::place`] chooses and reserves in one step, [`Claims`] lets one create of a meeting through at
//! a time, a [`Poll`] brings what a node reports together with what we know.

pub mod callback_urls;
mod capacity;
mod chronicle;
mod claims;
mod clock;
mod departed;
mod directory;
mod doubles;
mod entry;
mod forecast;
mod grown;
mod health;
mod hook_events;
mod hooks;
pub mod identity;
pub mod instances;
mod journal;
mod leases;
mod limits;
mod live;
mod origin;
mod outlook;
mod placement;
mod policy;
mod poll_figures;
pub mod predict;
mod reconcile;
pub mod recording;
mod snapshot;
#[cfg(test)]
mod tests;
mod uses;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use predict::History;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use capacity::Capacity;
pub use chronicle::Chronicle;
pub use claims::{Claim, Claims};
pub use clock::{Clock, Moment, now_ms};
pub use directory::{Directory, Sought};
pub use doubles::{Double, Seen, Verdict, judge};
pub use entry::{Entry, Phase};
pub use forecast::{Forecast, Sureness};
pub use grown::Grown;
pub use health::{Change, Thresholds};
pub use hook_events::{MEETING_ENDED, form_of};
pub use hooks::{HOOK_PREFIX, Hooks, Wish, Wished, hook_path};
pub use instances::{EventFigures, Instances, Unplaced};
pub use journal::{Fate, Gap, Happening, Journal, Reading, Seat, What};
pub use leases::Leases;
pub use limits::{Figures, Limit, People, Place, Reached, Tally};
pub use live::Live;
pub use origin::Origin;
pub use outlook::{Hints, Outlook};
pub use placement::{Candidate, NoNode, Reservation, Unfit, Wanted};
pub use poll_figures::{PollCounters, PollFigures};
pub use reconcile::{Poll, Polled, Reconciled, Told};
pub use snapshot::{Node, Snapshot, TenantEntry};
pub use uses::Uses;

use crate::model::{
    self, AdminState, Health, InstanceId, Inventory, Meeting, NodeName, Scope, Slug, SubId, Tenant,
};
use crate::store::Store;

/// The pool at this moment. One per process, shared by all drivers.
pub struct Fleet {
    snapshot: ArcSwap<Snapshot>,
    /// Held by whoever makes the next snapshot of the present one.
    changing: Mutex<()>,
    /// Counts the snapshots, so that tasks can follow changes of the inventory.
    changes: watch::Sender<u64>,
    /// The running meetings.
    pub directory: Directory,
    /// Creates in flight.
    pub claims: Claims,
    /// Claims that this process holds in the store.
    pub leases: Leases,
    /// The webhooks of front ends.
    pub hooks: Hooks,
    /// What was learned of the pool's past.
    pub outlook: Outlook,
    /// What became of earlier meetings.
    pub history: History,
    /// Meetings whose peak the store does not know.
    pub grown: Grown,
    /// What is to be written down of meetings.
    pub chronicle: Chronicle,
    /// What a stop waits for beside the requests of front ends: calls of the API, and what follows from polls.
    pub under_way: TaskTracker,
    /// Where the hours of the week are counted.
    zone: TimeZone,
    /// Other instances that share our store.
    pub instances: Instances,
    /// Another process serves beside us, with a directory of its own.
    overlapping: AtomicBool,
}

impl Fleet {
    /// A fleet with this inventory and no meetings; `state_of` tells what operators want of a node.
    pub fn new(inventory: Inventory, state_of: impl Fn(&NodeName) -> AdminState) -> Self {
        let directory = Directory::default();
        let tally_of = |tenant: &_| directory.tally(tenant);
        let snapshot = Snapshot::build(inventory, None, &state_of, &tally_of, |_| false, |_| false);
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
            changes: watch::Sender::new(0),
            directory,
            claims: Claims::default(),
            leases: Leases::of(InstanceId::new("portico")),
            hooks: Hooks::default(),
            outlook: Outlook::default(),
            history: History::default(),
            grown: Grown::default(),
            chronicle: Chronicle::default(),
            under_way: TaskTracker::new(),
            zone: TimeZone::system(),
            instances: Instances::default(),
            overlapping: AtomicBool::new(false),
        }
    }

    /// The same with hours of the week counted in this time zone.
    #[must_use]
    pub fn in_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    /// The same with this history of earlier meetings.
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// The same in a day that is played: time goes as it is [set](Clock::set).
    #[must_use]
    pub fn simulated(mut self) -> Self {
        self.directory.clock = Clock::simulated();
        self
    }

    /// The same with meetings that grow old so many times faster.
    #[must_use]
    pub fn at_speed(mut self, speed: f64) -> Self {
        self.directory.clock = Clock::fast(speed);
        self
    }

    /// The time as this fleet sees it.
    pub fn clock(&self) -> &Clock {
        &self.directory.clock
    }

    /// Takes up the meetings that ran when we last looked. Of the nodes in `gone`, those that have any and
    /// are not in the inventory stay, retired. Meetings of tenants that are gone stay as well: operators see them
    /// and can end them.
    ///
    /// Returns the meetings whose node is not known at all.
    pub fn restore(&self, meetings: Vec<Meeting>, gone: Vec<model::Node>) -> Vec<Meeting> {
        let used: HashSet<&NodeName> = meetings.iter().map(|meeting| &meeting.node).collect();
        let retired = gone.into_iter().filter(|node| used.contains(&node.name)).collect();
        let snapshot = self.snapshot().with_retired(retired);
        let mut unknown = Vec::new();
        for mut meeting in meetings {
            let node = snapshot.node(meeting.node.as_str());
            let Some(node) = node else {
                unknown.push(meeting);
                continue;
            };
            // The names share their texts with those of the inventory.
            meeting.node = node.name().clone();
            if let Some(tenant) = snapshot.tenant(meeting.key.scope.tenant.as_str()) {
                meeting.key.scope = tenant.tenant.scope(meeting.key.scope.sub);
            }
            let entry = self.directory.adopt(meeting, true);
            self.weigh_unpolled(node, &entry);
        }
        self.snapshot.store(Arc::new(snapshot));
        unknown
    }

    /// The inventory and the nodes' live state, to be kept as long as one likes.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The snapshot for one request: nobody counts who has it, as long as there are few on each thread.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Puts a new inventory in force. Nodes and tenants that keep their name keep their live state; one
    /// that is gone from the inventory is dropped, or retired while meetings still run on it.
    pub fn apply(&self, inventory: Inventory) {
        self.apply_with(inventory, |_| None);
    }

    /// The same where it is known what is wanted of nodes.
    pub fn apply_with(
        &self,
        inventory: Inventory,
        wanted: impl Fn(&NodeName) -> Option<AdminState>,
    ) {
        let _one_at_a_time = self.changing.lock();
        let old = self.snapshot.load_full();
        let state_of = |name: &NodeName| {
            let known = || old.node(name.as_str()).map(|node| node.live.admin());
            match wanted(name).or_else(known) {
                // Back in the inventory: the operator wants it again.
                None | Some(AdminState::Retired) => AdminState::Ready,
                Some(state) => state,
            }
        };
        let snapshot = Snapshot::build(
            inventory,
            Some(&old),
            &state_of,
            &|tenant| self.directory.tally(tenant),
            |node| self.runs_on(node),
            |tenant| self.directory.runs_for(tenant),
        );
        self.snapshot.store(Arc::new(snapshot));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether a node has meetings, for whose sake it is kept. Lost ones are among them: what it still runs when it
    /// is back is ended there, as by then it may run elsewhere.
    pub fn runs_on(&self, name: &NodeName) -> bool {
        self.directory.has_on(name, |_| true)
    }

    /// Whether a node has meetings that somebody can reach: the lost ones of a node that is down are not.
    pub fn reaches_on(&self, name: &NodeName) -> bool {
        let snapshot = self.snapshot.load();
        let node = snapshot.node(name.as_str());
        let is_down = node.is_some_and(|node| node.live.health() == Health::Down);
        self.directory.has_on(name, |entry| !(is_down && entry.phase() == Phase::Lost))
    }

    /// Whether others may serve what we call down, and we cannot know: instances that share a store and do not hear
    /// each other. What one of them alone believes must not take anything from the store.
    pub fn judges_alone(&self, store: &dyn Store) -> bool {
        store.is_shared() && !(self.instances.is_linked() && self.instances.in_touch())
    }

    /// Tenants that are not in the inventory any more and have meetings, and how many.
    pub fn gone_tenants(&self) -> Vec<(Slug, usize)> {
        let snapshot = self.snapshot.load();
        let is_there =
            |slug: &Slug| snapshot.tenant(slug.as_str()).is_some_and(|entry| !entry.is_retired);
        let mut gone = self.directory.counts_of_tenants();
        gone.retain(|(slug, _)| !is_there(slug));
        gone.sort();
        gone
    }

    /// Drops retired nodes and tenants on which nothing runs any more.
    ///
    /// Returns the names of the nodes that went.
    pub fn drop_idle_retired(&self) -> Vec<NodeName> {
        let _one_at_a_time = self.changing.lock();
        let old = self.snapshot.load_full();
        let (next, gone) = old.without_idle_retired(
            |node| self.runs_on(node),
            |tenant| self.directory.runs_for(tenant),
        );
        if let Some(next) = next {
            self.snapshot.store(Arc::new(next));
            self.changes.send_modify(|count| *count += 1);
        }
        gone
    }

    /// The meeting that a caller in `scope` means by `id`: its own `meetingID` first, then the internal id,
    /// for a breakout room also the id it was created with, and for the main secret its whole tenant's.
    pub fn find(&self, tenant: &Tenant, scope: &Scope, id: &str) -> Option<Arc<Entry>> {
        let internal = |id: &str| {
            let entry = self.directory.get_internal(id)?;
            (entry.phase() != Phase::Lost && scope.sees(&entry.key().scope)).then_some(entry)
        };
        let of_another_secret = || {
            let others = tenant.secrets.iter().filter(|_| scope.sub == SubId::MAIN);
            others
                .map(|secret| tenant.scope(secret.sub_id))
                .find_map(|scope| self.directory.get(&scope, id))
        };
        self.directory
            .get(scope, id)
            .or_else(|| internal(id))
            .or_else(|| self.directory.get_breakout(scope, id))
            .or_else(of_another_secret)
    }

    /// Notes whether another process serves beside us during an upgrade.
    pub fn set_overlapping(&self, overlapping: bool) {
        self.overlapping.store(overlapping, Ordering::Release);
    }

    /// Whether a meeting may be unknown to us because another process has created it.
    pub fn is_overlapping(&self) -> bool {
        self.overlapping.load(Ordering::Acquire)
    }

    /// Changes whenever a new snapshot is in force.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
