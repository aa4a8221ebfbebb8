//! The journal: what has happened a moment ago, for operators who follow it.
//!
//! A ring of the last 10,000. Whoever follows reads it from where it has come to, so that a slow reader keeps
//! nobody waiting and costs no memory: what it was too slow for is gone, and it is told so. Each instance has its
//! own, of what it has seen itself and heard of others. It is no log: nothing survives a restart.
//!
//! Numbers grow over restarts, too: they begin at the time of the start, in µs.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use log::warn;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::entry::Entry;
use super::health::Change;
use super::{Fleet, now_ms};
use crate::model::{
    self, AdminState, CallbackKind, Cluster, ClusterGroup, Health, InstanceId, Inventory, Kind,
    MeetingKey, NodeName, ObjectName, Scope, Tenant,
};

/// An hour of a large pool.
const KEPT: usize = 10_000;
/// Operators and their tools; each holds a connection.
const MAX_FOLLOWERS: usize = 64;
/// Objects that one change of the inventory names.
const MAX_NAMED: usize = 20;
/// Of a reason. Nodes have a say in it.
const MAX_REASON_CHARS: usize = 500;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// Grows with everything that happens.
    pub id: u64,
    /// ms since 1970.
    pub at_ms: u64,
    /// What it was.
    pub what: What,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Polls, or a request, say something else of a node.
    Health {
        /// Which.
        node: NodeName,
        /// What they said before.
        before: Health,
        /// What they say now.
        after: Health,
        /// Why, unless all is well.
        reason: Option<String>,
    },
    /// An operator wants something else of a node.
    State {
        /// Which.
        node: NodeName,
        /// What was wanted.
        before: AdminState,
        /// What is wanted now.
        after: AdminState,
    },
    /// Another inventory is in force.
    Inventory {
        /// Its revision.
        revision: u64,
        /// What was added, changed and removed; the first of it.
        changes: Vec<String>,
        /// How much more was.
        more: usize,
    },
    /// Something became of a meeting.
    Meeting {
        /// What.
        fate: Fate,
        /// Whose it is, and what its front end calls it.
        key: MeetingKey,
        /// BigBlueButton's own id.
        internal_id: String,
        /// Its node.
        node: NodeName,
    },
    /// Another instance has come or gone.
    Instance {
        /// Which.
        instance: InstanceId,
        /// Whether it has come.
        is_alive: bool,
    },
    /// A callback was given up.
    CallbackDead {
        /// Whose.
        scope: Scope,
        /// What it was to tell.
        kind: CallbackKind,
        /// Why it failed last, without secrets.
        reason: String,
    },
}

/// What becomes of a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in the directory.
    Begun,
    /// It is over, and out of the directory.
    Ended,
    /// Its node was down for too long.
    Lost,
    /// It was lost, and is there again.
    Back,
}

/// What a reader has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Nothing.
    None,
    /// So many.
    Of(u64),
    /// Whatever happened before we started, or is known to another instance.
    Unknown,
}

/// A part of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What has happened, in order.
    pub happenings: Vec<Arc<Happening>>,
    /// What is missing before the first.
    pub gap: Gap,
    /// Where the next reading begins.
    pub until: u64,
}

/// See the module. It is silent until it is opened.
pub struct Journal {
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
    followers: Arc<Semaphore>,
    /// Of these places, those that tenants may take.
    tenants: Arc<Semaphore>,
    living: Mutex<HashSet<InstanceId>>,
}

/// A place among those who follow, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    _of_all: OwnedSemaphorePermit,
    _of_tenants: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Ring {
    is_open: bool,
    /// The number before the first.
    start: u64,
    last: u64,
    happenings: VecDeque<Arc<Happening>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            last: watch::Sender::new(0),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            tenants: Arc::new(Semaphore::new(MAX_FOLLOWERS / 2)),
            living: Mutex::default(),
        }
    }
}

impl Journal {
    /// Takes up what happens from now on: what was found at a start has happened before.
    pub fn open(&self) {
        let mut ring = self.ring.lock();
        let start = now_ms().saturating_mul(1000).max(ring.last);
        (ring.is_open, ring.start, ring.last) = (true, start, start);
    }

    /// What has happened since `after`, the oldest first; without it, the last.
    pub fn read(&self, after: Option<u64>, limit: usize) -> Reading {
        let ring = self.ring.lock();
        let kept = ring.happenings.len();
        let Some(after) = after else {
            let happenings: Vec<_> =
                ring.happenings.iter().skip(kept.saturating_sub(limit)).cloned().collect();
            return Reading { happenings, gap: Gap::None, until: ring.last };
        };
        if after > ring.last {
            return Reading { happenings: Vec::new(), gap: Gap::Unknown, until: ring.last };
        }
        // All that is kept is without a gap.
        let before_first = ring.last - kept as u64;
        let gap = match after {
            after if after < ring.start => Gap::Unknown,
            after if after < before_first => Gap::Of(before_first - after),
            _ => Gap::None,
        };
        let known = usize::try_from(after.saturating_sub(before_first)).unwrap_or(kept);
        let happenings: Vec<_> = ring.happenings.iter().skip(known).take(limit).cloned().collect();
        let until = happenings.last().map_or(ring.last, |last| last.id);
        Reading { happenings, gap, until }
    }

    /// Changes with everything that happens.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// A place among those who follow, unless there are too many. Tenants have no more than half of them, so that
    /// operators find one.
    pub fn take_place(&self, is_tenant: bool) -> Option<Seat> {
        let take = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        let of_tenants = if is_tenant { Some(take(&self.tenants)?) } else { None };
        Some(Seat { _of_all: take(&self.followers)?, _of_tenants: of_tenants })
    }

    /// Something has happened.
    pub fn tell(&self, what: impl FnOnce() -> What) {
        let mut ring = self.ring.lock();
        if !ring.is_open {
            return;
        }
        ring.last += 1;
        let id = ring.last;
        if ring.happenings.len() >= KEPT {
            ring.happenings.pop_front();
        }
        ring.happenings.push_back(Arc::new(Happening { id, at_ms: now_ms(), what: what() }));
        drop(ring);
        self.last.send_replace(id);
    }

    /// A node's health has changed.
    pub fn health(&self, node: &NodeName, change: &Change, reason: Option<&str>) {
        self.tell(|| What::Health {
            node: node.clone(),
            before: change.from,
            after: change.to,
            reason: reason.map(cut),
        });
    }

    /// An operator wants something of a node.
    pub fn state(&self, node: &NodeName, before: AdminState, after: AdminState) {
        if before != after {
            self.tell(|| What::State { node: node.clone(), before, after });
        }
    }

    /// Something became of a meeting.
    pub(super) fn meeting(&self, fate: Fate, entry: &Entry) {
        self.tell(|| What::Meeting {
            fate,
            key: entry.key().clone(),
            internal_id: entry.internal_id().to_owned(),
            node: entry.node().clone(),
        });
    }

    /// Another inventory is in force.
    pub fn inventory(&self, before: &Inventory, after: &Inventory, revision: u64) {
        let (before, after) = (objects(before), objects(after));
        let mut changes = Vec::new();
        for (name, object) in &after {
            match before.get(name) {
                None => changes.push(format!("added {name}")),
                Some(known) if known != object => changes.push(format!("changed {name}")),
                Some(_) => {}
            }
        }
        let gone = before.keys().filter(|name| !after.contains_key(name));
        changes.extend(gone.map(|name| format!("removed {name}")));
        if changes.is_empty() {
            return;
        }
        let more = changes.len().saturating_sub(MAX_NAMED);
        changes.truncate(MAX_NAMED);
        self.tell(|| What::Inventory { revision, changes, more });
    }

    /// These instances are alive.
    pub fn instances(&self, living: &[InstanceId]) {
        let now: HashSet<InstanceId> = living.iter().cloned().collect();
        let mut known = self.living.lock();
        let before = std::mem::replace(&mut *known, now.clone());
        let came = now.difference(&before).map(|instance| (instance, true));
        for (instance, is_alive) in came.chain(before.difference(&now).map(|one| (one, false))) {
            if !is_alive {
                warn!("instance {instance} is gone: others poll its nodes from now on");
            }
            self.tell(|| What::Instance { instance: instance.clone(), is_alive });
        }
    }

    /// A callback was given up.
    pub fn callback_dead(&self, scope: &Scope, kind: CallbackKind, reason: &str) {
        self.tell(|| What::CallbackDead { scope: scope.clone(), kind, reason: cut(reason) });
    }
}

impl Fleet {
    /// What has happened a moment ago.
    pub fn journal(&self) -> &Journal {
        &self.directory.journal
    }
}

/// An object where it is.
#[derive(PartialEq)]
enum Known<'i> {
    Cluster(&'i Cluster),
    Group(&'i ClusterGroup),
    Node(&'i model::Node),
    Tenant(&'i Tenant),
}

fn objects(inventory: &Inventory) -> BTreeMap<ObjectName, Known<'_>> {
    let Inventory { clusters, groups, nodes, tenants, .. } = inventory;
    let clusters = clusters
        .iter()
        .map(|cluster| (ObjectName::new(Kind::Cluster, &*cluster.name), Known::Cluster(cluster)));
    let groups = groups
        .iter()
        .map(|group| (ObjectName::new(Kind::ClusterGroup, &*group.name), Known::Group(group)));
    let nodes = nodes
        .iter()
        .map(|node| (ObjectName::new(Kind::Node, node.name.as_str()), Known::Node(node)));
    let tenants = tenants
        .iter()
        .map(|tenant| (ObjectName::new(Kind::Tenant, tenant.slug.as_str()), Known::Tenant(tenant)));
    clusters.chain(groups).chain(nodes).chain(tenants).collect()
}

fn cut(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (Journal, u64) {
        let journal = Journal::default();
        journal.open();
        let start = journal.read(None, 1).until;
        (journal, start)
    }

    fn gone(journal: &Journal, times: usize) {
        for _ in 0..times {
            let instance = InstanceId::new("other");
            journal.tell(|| What::Instance { instance, is_alive: false });
        }
    }

    fn ids(reading: &Reading, start: u64) -> Vec<u64> {
        reading.happenings.iter().map(|one| one.id - start).collect()
    }

    #[test]
    fn who_follows_reads_everything_once() {
        let (journal, start) = open();
        gone(&journal, 5);
        let first = journal.read(Some(start), 2);
        assert_eq!((ids(&first, start), first.gap), (vec![1, 2], Gap::None));
        let rest = journal.read(Some(first.until), 9);
        assert_eq!((ids(&rest, start), rest.gap), (vec![3, 4, 5], Gap::None));
        let nothing = journal.read(Some(rest.until), 9);
        assert_eq!((ids(&nothing, start), nothing.until), (vec![], rest.until));
        assert_eq!(ids(&journal.read(None, 2), start), [4, 5]);
    }

    #[test]
    fn what_a_reader_was_too_slow_for_is_told() {
        let (journal, start) = open();
        gone(&journal, KEPT + 7);
        let late = journal.read(Some(start + 2), 1);
        assert_eq!((ids(&late, start), late.gap), (vec![8], Gap::Of(5)));
        assert_eq!(journal.read(Some(start + 7), 1).gap, Gap::None);
        // From before a restart, and from an instance whose clock is ahead.
        let before = journal.read(Some(start - 1), 1);
        assert_eq!((ids(&before, start), before.gap), (vec![8], Gap::Unknown));
        let ahead = journal.read(Some(before.until + 1_000_000), 1);
        assert_eq!((ids(&ahead, start), ahead.gap), (vec![], Gap::Unknown));
        assert!(journal.read(Some(ahead.until), 1).happenings.is_empty());
    }

    #[test]
    fn what_was_there_at_the_start_has_not_happened() {
        let journal = Journal::default();
        gone(&journal, 1);
        assert!(journal.read(None, 1).happenings.is_empty());
        journal.open();
        let names = ["one", "two"].map(InstanceId::new);
        journal.instances(&names);
        journal.instances(&names[1..]);
        let told: Vec<_> = journal
            .read(None, 9)
            .happenings
            .iter()
            .map(|one| matches!(one.what, What::Instance { is_alive: true, .. }))
            .collect();
        assert_eq!(told, [true, true, false]);
    }

    #[test]
    fn followers_are_bounded() {
        let journal = Journal::default();
        let tenants: Vec<_> = std::iter::from_fn(|| journal.take_place(true)).collect();
        let others: Vec<_> = std::iter::from_fn(|| journal.take_place(false)).collect();
        assert_eq!((tenants.len(), others.len()), (MAX_FOLLOWERS / 2, MAX_FOLLOWERS / 2));
        drop(others);
        assert!(journal.take_place(true).is_none() && journal.take_place(false).is_some());
    }
}
