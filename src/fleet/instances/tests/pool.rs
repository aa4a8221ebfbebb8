//! A log in memory, the fleets of several instances on it, and the nodes that they share.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::super::event;
use super::super::mirror::REPEATED_WITHIN;
use crate::bbb::{Element, MeetingInfo};
use crate::bus::{Appended, Away, Event, Log, News, Position};
use crate::fleet::tests::fixture::{
    THRESHOLDS, internal_id, inventory, listed, meeting, node, scope, with_text,
};
use crate::fleet::{Entry, Fleet, Phase, Reconciled, Unplaced, Wanted, identity};
use crate::model::{
    AdminState, InstanceId, Inventory, MeetingIds, MeetingKey, NodeName, Policy, SubId,
};
use crate::store::{Embedded, Store};

/// The log, as all see it.
#[derive(Default)]
pub(super) struct Shared {
    events: Vec<Event>,
    listeners: Vec<(InstanceId, mpsc::Sender<News>)>,
    away: HashSet<InstanceId>,
}

/// The way of one instance to it.
pub(super) struct MemoryLog {
    me: InstanceId,
    shared: Arc<Mutex<Shared>>,
}

impl Shared {
    fn last(&self) -> Position {
        self.events.last().map(|event| event.at).unwrap_or_default()
    }

    fn push(&mut self, author: &InstanceId, payloads: Vec<Bytes>) -> Position {
        let at = |seq| Position { ms: 1, seq };
        let next = self.events.len() as u64 + 1;
        let events: Vec<Event> = (next..)
            .zip(payloads)
            .map(|(seq, payload)| Event { at: at(seq), author: author.clone(), payload })
            .collect();
        self.events.extend(events.clone());
        for (name, listener) in &self.listeners {
            if !self.away.contains(name) {
                listener.try_send(News::Events(events.clone())).expect("a test tells less");
            }
        }
        self.last()
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, payloads: Vec<Bytes>) -> Result<(), Away> {
        yield_now().await;
        let mut shared = self.shared.lock();
        if shared.away.contains(&self.me) {
            return Err(Away);
        }
        shared.push(&self.me, payloads);
        Ok(())
    }

    async fn append_if(&self, seen: Position, payloads: Vec<Bytes>) -> Result<Appended, Away> {
        for _ in 0..rand::random_range(0..4) {
            yield_now().await;
        }
        let mut shared = self.shared.lock();
        if shared.away.contains(&self.me) {
            return Err(Away);
        }
        if shared.last() != seen {
            let newer = shared.events.iter().filter(|event| event.at > seen).cloned();
            return Ok(Appended::Behind(newer.collect()));
        }
        Ok(Appended::At(shared.push(&self.me, payloads)))
    }
}

/// What a node runs: by internal id.
type Runs = BTreeMap<String, Run>;

/// A meeting on a node.
#[derive(Clone)]
struct Run {
    id: String,
    created_ms: u64,
    attendees: u32,
    is_ended: bool,
}

/// Instances on one log, over the same nodes.
pub(super) struct Pool {
    pub(super) fleets: Vec<Arc<Fleet>>,
    names: Vec<InstanceId>,
    shared: Arc<Mutex<Shared>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) nodes: Vec<NodeName>,
    world: Mutex<BTreeMap<NodeName, Runs>>,
    running: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Pool {
    /// So many instances and nodes, all in touch, all nodes up.
    pub(super) async fn start(instances: usize, nodes: usize) -> Self {
        Self::with(instances, nodes, |_| ()).await
    }

    pub(super) async fn with(
        instances: usize,
        nodes: usize,
        change: impl Fn(&mut Inventory),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path()).unwrap());
        let nodes: Vec<_> = (0..nodes).map(|number| format!("n{number}")).collect();
        let mut pool = Self {
            fleets: Vec::new(),
            names: Vec::new(),
            shared: Arc::default(),
            store,
            nodes: nodes.iter().map(|name| NodeName::new(name.as_str())).collect(),
            world: Mutex::default(),
            running: JoinSet::new(),
            _dir: dir,
        };
        for _ in 0..instances {
            pool.add(&change);
        }
        pool.quiet().await;
        for number in 0..pool.nodes.len() {
            pool.poll(number % instances, number);
        }
        pool.quiet().await;
        pool
    }

    /// One more instance; returns its number.
    pub(super) fn add(&mut self, change: impl Fn(&mut Inventory)) -> usize {
        let nodes = self.nodes.iter().map(|name| node(name.as_str(), 1.0, &[])).collect();
        let mut inventory = inventory(nodes, Policy::default());
        change(&mut inventory);
        let fleet = Arc::new(Fleet::new(inventory, |_| AdminState::Ready));
        let me = InstanceId::new("test");
        let log = MemoryLog { me: me.clone(), shared: self.shared.clone() };
        fleet.instances.link(me.clone(), Arc::new(log));
        let (news, heard) = mpsc::channel(100_000);
        {
            let mut shared = self.shared.lock();
            news.try_send(News::Joined(shared.last())).unwrap();
            shared.listeners.push((me.clone(), news));
        }
        let (following, store) = (fleet.clone(), self.store.clone());
        self.running.spawn(async move { following.keep_in_step(heard, store).await });
        self.fleets.push(fleet);
        self.names.push(me);
        self.fleets.len() - 1
    }

    /// Cuts an instance off, or lets it back.
    pub(super) fn set_away(&self, instance: usize, is_away: bool) {
        let mut shared = self.shared.lock();
        let name = &self.names[instance];
        let news = if is_away {
            shared.away.insert(name.clone()).then_some(News::Away)
        } else {
            shared.away.remove(name).then(|| News::Joined(shared.last()))
        };
        let listener = &shared.listeners.iter().find(|(own, _)| own == name).unwrap().1;
        if let Some(news) = news {
            listener.try_send(news).unwrap();
        }
    }

    /// Has something stand in the log at once, before what anybody tells from now on.
    pub(super) fn put_in_log(&self, instance: usize, event: &event::Event) {
        self.shared.lock().push(&self.names[instance], vec![event.to_bytes()]);
    }

    /// All but this one hear that it is gone.
    pub(super) fn bury(&self, instance: usize) {
        let alive = |name: &&InstanceId| **name != self.names[instance];
        for fleet in &self.fleets {
            fleet.instances.set_living(self.names.clone());
            fleet.instances.set_living(self.names.iter().filter(alive).cloned());
        }
    }

    /// Creates a meeting as an instance does; `created_ms` makes its internal id.
    pub(super) async fn create(
        &self,
        instance: usize,
        key: &MeetingKey,
        created_ms: u64,
    ) -> Result<NodeName, Unplaced> {
        let fleet = &self.fleets[instance];
        let snapshot = fleet.snapshot();
        let tenant = snapshot.tenant(key.scope.tenant.as_str()).unwrap();
        let mut place = tenant.admit(key.scope.sub).map_err(Unplaced::Reached)?;
        let _claim = fleet.claims.claim(key).await;
        let reservation = fleet.place(tenant, &Wanted::new(key), &mut place).await?;
        let node = reservation.node().name().clone();
        let id = identity::node_meeting_id(&key.scope, MeetingIds::Scoped, &key.id);
        let meeting = meeting(key, &node, &id, created_ms);
        let runs = Run { id: id.clone(), created_ms, attendees: 0, is_ended: false };
        self.world
            .lock()
            .entry(node.clone())
            .or_default()
            .insert(internal_id(&id, created_ms), runs);
        let entry = fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
        self.store.put_meeting(&entry.to_meeting()).await.unwrap();
        entry.mark_saved();
        fleet.tell_created(&entry).await;
        Ok(node)
    }

    /// Changes who is in the meetings of a node.
    pub(super) fn people_come(&self, node: usize, attendees: u32) {
        let mut world = self.world.lock();
        let Some(runs) = world.get_mut(&self.nodes[node]) else { return };
        for run in runs.values_mut() {
            run.attendees = attendees;
        }
    }

    /// A front end ends a meeting: its node does, and shows it for a while.
    pub(super) fn end(&self, instance: usize, entry: &Entry) {
        for runs in self.world.lock().values_mut() {
            if let Some(run) = runs.get_mut(entry.internal_id()) {
                run.is_ended = true;
            }
        }
        self.fleets[instance].end(entry);
    }

    /// A meeting is gone from its node.
    pub(super) fn vanish(&self, internal_id: &str) {
        self.world.lock().values_mut().for_each(|runs| {
            runs.remove(internal_id);
        });
    }

    /// An instance polls a node.
    pub(super) fn poll(&self, instance: usize, node: usize) -> Reconciled {
        let (fleet, name) = (&self.fleets[instance], &self.nodes[node]);
        let snapshot = fleet.snapshot();
        let mut poll = fleet.begin_poll(snapshot.node(name.as_str()).unwrap());
        let runs = self.world.lock().get(name).cloned().unwrap_or_default();
        for run in runs.values() {
            let mut listed = listed(&run.id, run.created_ms, run.attendees);
            if run.is_ended {
                listed = with_text(listed, "endTime", "9");
            }
            poll.meeting(present(listed));
        }
        poll.finish(THRESHOLDS, 1).1
    }

    /// All that was told, in order.
    pub(super) fn told(&self) -> Vec<Bytes> {
        self.shared.lock().events.iter().map(|event| event.payload.clone()).collect()
    }

    /// Waits until all that is in touch has told and heard everything.
    pub(super) async fn quiet(&self) {
        let is_quiet = || {
            let shared = self.shared.lock();
            self.fleets.iter().zip(&self.names).all(|(fleet, name)| {
                let mirror = fleet.instances.mirror.lock();
                let hears = fleet.instances.in_touch() && !*fleet.instances.is_reading.borrow();
                shared.away.contains(name)
                    || (hears
                        && fleet.instances.telling.is_empty()
                        && mirror.applied == shared.last())
            })
        };
        let quiet = async {
            let mut in_a_row = 0;
            while in_a_row < 3 {
                sleep(Duration::from_millis(1)).await;
                in_a_row = if is_quiet() { in_a_row + 1 } else { 0 };
            }
        };
        timeout(Duration::from_secs(20), quiet).await.expect("all is told and heard");
    }

    /// Lets the time pass in which placements are repeated to who was away.
    pub(super) fn forget_unrepeated(&self) {
        let later = tokio::time::Instant::now() + REPEATED_WITHIN;
        self.fleets.iter().for_each(|fleet| fleet.instances.sweep(later));
    }

    /// What an instance believes, for comparison: nodes, meetings, the tally of `acme`.
    pub(super) fn view(&self, instance: usize) -> Vec<String> {
        let fleet = &self.fleets[instance];
        let snapshot = fleet.snapshot();
        let mut view: Vec<String> = snapshot
            .nodes()
            .map(|node| {
                let live = &node.live;
                let counters = (live.meetings(), live.attendees(), live.reserved(), live.cpu());
                format!("{} {:?} {} {}", node.name(), counters, live.health(), live.admin())
            })
            .collect();
        let mut entries: Vec<_> = fleet.all_entries().iter().map(|entry| shown(entry)).collect();
        entries.sort();
        view.extend(entries);
        let tally = fleet.directory.tally(&scope("acme").tenant);
        view.push(format!("{} {:?}", tally.whole().meetings, tally.whole().people));
        view.push(format!("{:?}", tally.part(SubId::MAIN).people));
        view
    }
}

fn shown(entry: &Entry) -> String {
    let phase = match entry.phase() {
        Phase::Running => "runs",
        Phase::Ended => "ended",
        Phase::Lost => "lost",
    };
    let xml = String::from_utf8_lossy(&entry.xml()).into_owned();
    format!("{} on {} {phase} {} {xml}", entry.internal_id(), entry.node(), entry.attendees())
}

/// With somebody's name in it.
fn present(meeting: MeetingInfo<'_>) -> MeetingInfo<'static> {
    let mut element = meeting.into_element();
    let mut attendees = Element::new("attendees");
    attendees.push_text("fullName", "Ada");
    element.push(attendees);
    MeetingInfo::from_element(element)
}
