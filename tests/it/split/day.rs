//! What happens on a day, at one instance or the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portico::bbb::{Element, MeetingInfo};
use portico::fleet::instances::Event;
use portico::fleet::{Entry, Hints, Phase, Thresholds, Wanted, identity};
use portico::model::{
    Cluster, ClusterGroup, Extent, Health, HistoryKey, HistoryRow, Hour, Inventory, Meeting,
    MeetingIds, MeetingKey, Moments, Node, NodeName, Peak, Scope, Secret, Slug, SubId, Tenant,
};
use portico::trace::{Room, Row, What};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::instance::Instance;
use crate::harness::{PATIENCE, Redis, eventually};

/// The Monday that time 0 of a trace stands for, as where one instance plays it.
const MONDAY_MS: i64 = 1_704_067_200_000;
const THRESHOLDS: Thresholds = Thresholds { down_after: 1, up_after: 1 };
const CAPACITY: u32 = 200;
const POLLED_EVERY_MS: i64 = 5_000;
const POOL: &str = "pool";

/// A meeting on a node.
struct Run {
    node_meeting_id: String,
    attendees: u32,
}

/// Instances that live through a trace.
pub(super) struct Day {
    pub(super) instances: Vec<Instance>,
    inventory: Inventory,
    slugs: HashMap<String, Slug>,
    /// What nodes truly run, by internal id.
    world: BTreeMap<NodeName, BTreeMap<String, Run>>,
    /// What has become of former meetings, until the day begins.
    past: HashMap<HistoryKey, Moments>,
    changed: BTreeSet<NodeName>,
    polled_at_ms: HashMap<NodeName, i64>,
    now_ms: i64,
    random: u64,
    /// What each had heard before it began, and what was told since.
    heard_before: Vec<u64>,
    told: u64,
    /// How often each was chosen.
    pub(super) chosen: Vec<u64>,
}

impl Day {
    pub(super) async fn begin(redis: &Redis, database: &str, count: usize) -> Self {
        let inventory = Inventory {
            clusters: vec![Cluster { name: POOL.to_owned(), ..Cluster::default() }],
            groups: vec![ClusterGroup { name: POOL.to_owned(), clusters: vec![POOL.to_owned()] }],
            ..Inventory::default()
        };
        let mut instances = Vec::new();
        for number in 0..count {
            let inventory = inventory.clone();
            instances.push(Instance::start(redis, database, number, inventory, moment(0)).await);
        }
        let mut rates: Vec<_> = instances.iter().map(|one| one.fleet.instances.rates()).collect();
        eventually("they know of each other", async || instances.iter().all(|one| one.sees(count)))
            .await;
        // Behind everything that is told at the beginning.
        for (number, instance) in (0..).zip(&instances) {
            let counts = vec![("mark".to_owned(), number)];
            instance.fleet.instances.tell(&Event::Rates { counts });
        }
        for heard in &mut rates {
            for _ in 1..count {
                timeout(PATIENCE, heard.recv()).await.expect("it is told").expect("it is heard");
            }
        }
        let own = || instances.iter().map(|one| one.fleet.instances.figures().own);
        eventually("all came back", async || own().all(|own| own >= 2)).await;
        Self {
            heard_before: instances.iter().map(|one| one.heard().0).collect(),
            chosen: vec![0; count],
            instances,
            inventory,
            slugs: HashMap::new(),
            world: BTreeMap::new(),
            past: HashMap::new(),
            changed: BTreeSet::new(),
            polled_at_ms: HashMap::new(),
            now_ms: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            told: 0,
        }
    }

    /// What a row tells happens; for a create, the node that it goes to.
    pub(super) async fn play(&mut self, row: Row) -> Option<NodeName> {
        let is_count = matches!(row.what, What::Count { .. });
        if !self.changed.is_empty() && (!is_count || row.at_ms != self.now_ms) {
            let changed: Vec<_> = std::mem::take(&mut self.changed).into_iter().collect();
            self.poll(&changed, true).await;
        }
        if !matches!(row.what, What::Past { .. }) && !self.past.is_empty() {
            self.take_up_the_past().await;
        }
        if matches!(row.what, What::Create { .. }) {
            self.poll_all(row.at_ms).await;
        }
        self.go_on(row.at_ms);
        match row.what {
            What::Past { room, peak, .. } => self.remember(&room, peak, row.at_ms),
            What::NodeUp { node, weight } => self.node_up(&node, weight).await,
            What::NodeDown { node } => self.node_down(&node).await,
            What::Create { room, max_participants, hint } => {
                return Some(self.create(&room, Hints { max_participants, size: hint }).await);
            }
            What::Join { room, .. } => {
                let number = self.pick();
                let entry = self.known(number, &room).await;
                let snapshot = self.instances[number].fleet.snapshot();
                let node = snapshot.node(entry.node().as_str()).expect("it is known");
                node.live.count_join();
                entry.count_join();
            }
            // A load balancer learns of it from its polls.
            What::Leave { .. } => {}
            What::End { room } => self.end_of(&room).await,
            What::Count { room, attendees, .. } => {
                if let Some(entry) = self.running(0, &room) {
                    let runs = self.world.get_mut(entry.node()).expect("it has a meeting");
                    runs.get_mut(entry.internal_id()).expect("it runs there").attendees = attendees;
                    self.changed.insert(entry.node().clone());
                }
            }
        }
        None
    }

    /// All is over, and all have seen the same.
    pub(super) fn end(&self) {
        assert!(self.chosen.iter().all(|chosen| *chosen > 20), "{:?}", self.chosen);
        for instance in &self.instances {
            let figures = instance.fleet.instances.figures();
            assert_eq!(figures.ignored, 0, "{figures:?}");
        }
    }

    /// At random, the same ones each time.
    fn pick(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).expect("31 bits") % self.instances.len()
    }

    fn go_on(&mut self, at_ms: i64) {
        self.now_ms = at_ms;
        for instance in &self.instances {
            instance.fleet.clock().set(moment(at_ms));
        }
    }

    /// Waits until each has heard what all have told.
    async fn in_step(&self) {
        let untold: u64 = self.instances.iter().map(|instance| instance.heard().1).sum();
        let told = self.told.saturating_sub(untold);
        let behind = |(instance, before): (&Instance, &u64)| instance.heard().0 < before + told;
        let waited = timeout(PATIENCE, async {
            while self.instances.iter().zip(&self.heard_before).any(behind) {
                yield_now().await;
            }
        });
        if waited.await.is_err() {
            let figures = self.instances.iter().map(|one| one.fleet.instances.figures());
            panic!("they are not in step: {} told, {:?}", self.told, figures.collect::<Vec<_>>());
        }
    }

    fn remember(&mut self, room: &Room, peak: u32, at_ms: i64) {
        let hour = Hour::of(moment(at_ms), &jiff::tz::TimeZone::UTC);
        let peak = Peak { key: self.key(room), hour, attendees: peak };
        for key in peak.teaches() {
            let share = key.share();
            self.past.entry(key).or_default().learn(f64::from(peak.attendees), share);
        }
    }

    /// What was before the day is in the database when the instances begin.
    async fn take_up_the_past(&mut self) {
        let learned_at_s = moment(0) / 1000;
        let row = |(key, moments)| HistoryRow { key, moments, learned_at_s };
        let rows: Vec<_> = std::mem::take(&mut self.past).into_iter().map(row).collect();
        self.instances[0].store.put_history(&rows).await.expect("it is kept");
        for instance in &self.instances {
            instance.learn().await;
            assert_eq!(instance.fleet.history.len(), rows.len());
        }
    }

    async fn create(&mut self, room: &Room, hints: Hints) -> NodeName {
        let key = self.key(room);
        if let Some(entry) = self.running(0, room) {
            return entry.node().clone();
        }
        self.in_step().await;
        let number = self.pick();
        self.chosen[number] += 1;
        let Instance { fleet, store, .. } = &self.instances[number];
        let snapshot = fleet.snapshot();
        let tenant = snapshot.tenant(key.scope.tenant.as_str()).expect("its tenant is known");
        let mut place = tenant.admit(key.scope.sub).expect("there are no limits");
        let _claim = fleet.claims.claim(&key).await;
        let expected = fleet.expect(tenant, &key, hints);
        let wanted = Wanted { expected, ..Wanted::new(&key) };
        let reservation = fleet.place(tenant, &wanted, &mut place).await.expect("a node");
        let node = reservation.node().name().clone();
        let node_meeting_id = identity::node_meeting_id(&key.scope, MeetingIds::Scoped, &key.id);
        let created_at_ms = moment(self.now_ms);
        let internal_id = format!("{node_meeting_id}-{created_at_ms}");
        let run = Run { node_meeting_id: node_meeting_id.clone(), attendees: 0 };
        self.world.entry(node.clone()).or_default().insert(internal_id.clone(), run);
        let meeting = Meeting {
            key,
            node: node.clone(),
            node_meeting_id,
            internal_id,
            created_at_ms,
            parent_internal_id: None,
            extent: Extent::default(),
            xml: Box::default(),
        };
        let entry = fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
        store.put_meeting(&entry.to_meeting()).await.expect("it is kept");
        entry.mark_saved();
        fleet.tell_created(&entry).await;
        // The placement, and the meeting.
        self.told += 2;
        self.in_step().await;
        node
    }

    async fn end_of(&mut self, room: &Room) {
        self.in_step().await;
        let number = self.pick();
        let Some(entry) = self.running(number, room) else { return };
        self.instances[number].fleet.end(&entry);
        self.told += 1;
        let runs = self.world.get_mut(entry.node()).expect("it has a meeting");
        runs.remove(entry.internal_id());
        self.in_step().await;
    }

    async fn node_up(&mut self, name: &str, weight: Option<f64>) {
        let name = NodeName::new(name);
        if let Some(weight) = weight {
            self.inventory.nodes.retain(|node| node.name != name);
            self.inventory.nodes.push(Node {
                name: name.clone(),
                cluster: POOL.to_owned(),
                url: format!("http://{name}.example/bigbluebutton/api").parse().expect("a URL"),
                secret: Secret::new("none"),
                weight,
                capacity: CAPACITY,
                tags: Vec::new(),
                load_url: None,
            });
            self.apply();
        }
        // The first poll that misses what it ran before may be a race, the second is sure.
        for _ in 0..2 {
            self.poll(std::slice::from_ref(&name), false).await;
        }
    }

    async fn node_down(&mut self, name: &str) {
        self.in_step().await;
        let name = NodeName::new(name);
        let fleet = &self.instances[self.owner(&name)].fleet;
        let snapshot = fleet.snapshot();
        let node = snapshot.node(name.as_str()).expect("it is known");
        node.live.poll_failed("it is gone".to_owned(), THRESHOLDS, fleet.clock().moment());
        fleet.lose_meetings_on(&name);
        fleet.tell_failed_poll(node, true);
        self.told += u64::from(fleet.instances.in_touch());
        self.world.remove(&name);
        self.in_step().await;
    }

    /// Who polls a node.
    fn owner(&self, name: &NodeName) -> usize {
        let is_its = |instance: &Instance| instance.duties.is_ours(name.as_str());
        self.instances.iter().position(is_its).unwrap_or_default()
    }

    /// Polls the others as of the last time that they would have been polled before then, or as of what has happened
    /// last: what is expected fades.
    async fn poll_all(&mut self, at_ms: i64) {
        let tick = at_ms.div_euclid(POLLED_EVERY_MS) * POLLED_EVERY_MS;
        self.go_on(tick.max(self.now_ms));
        let nodes = self.inventory.nodes.iter().map(|node| node.name.clone());
        let is_due =
            |name: &NodeName| self.polled_at_ms.get(name).is_none_or(|at_ms| *at_ms < tick);
        let due: Vec<_> = nodes.filter(is_due).collect();
        if !due.is_empty() {
            self.poll(&due, true).await;
        }
    }

    /// Polls nodes, each by whoever has to; `finds_all` is whether those that are down are left alone.
    async fn poll(&mut self, names: &[NodeName], finds_all: bool) {
        let joins = self.instances.iter().filter(|instance| instance.tell_joins()).count();
        self.told += joins as u64;
        for name in names {
            let Instance { fleet, store, .. } = &self.instances[self.owner(name)];
            let snapshot = fleet.snapshot();
            let node = snapshot.node(name.as_str()).expect("it is known");
            if finds_all && node.live.health() != Health::Up {
                continue;
            }
            let mut poll = fleet.begin_poll(node);
            for (internal_id, run) in self.world.get(name).into_iter().flatten() {
                poll.meeting(listed(internal_id, run));
            }
            let (_, found) = poll.finish(THRESHOLDS, moment(self.now_ms));
            self.told += u64::from(fleet.instances.in_touch());
            assert!(found.adopted.is_empty() && found.doubles.is_empty(), "{name}");
            for entry in &found.over {
                if store
                    .remove_meeting(entry.key(), entry.internal_id())
                    .await
                    .expect("it is there")
                {
                    fleet.learn_end(entry);
                }
            }
            self.polled_at_ms.insert(name.clone(), self.now_ms);
        }
        self.in_step().await;
        for instance in &self.instances {
            instance.learn().await;
        }
    }

    /// A meeting that runs, once an instance has heard of it.
    async fn known(&mut self, number: usize, room: &Room) -> Arc<Entry> {
        let waited = timeout(PATIENCE, async {
            loop {
                if let Some(entry) = self.running(number, room) {
                    return entry;
                }
                yield_now().await;
            }
        });
        waited.await.expect("joins come while it runs")
    }

    fn running(&mut self, number: usize, room: &Room) -> Option<Arc<Entry>> {
        let key = self.key(room);
        let found = self.instances[number].fleet.directory.get(&key.scope, &key.id);
        found.filter(|entry| entry.phase() == Phase::Running)
    }

    /// The meeting's key, as where one instance plays it: lots fall alike then.
    fn key(&mut self, room: &Room) -> MeetingKey {
        let slug = if let Some(slug) = self.slugs.get(&room.tenant) {
            slug.clone()
        } else {
            let slug: Slug = format!("t{}", self.slugs.len()).parse().expect("a name");
            self.inventory.tenants.push(Tenant::new(slug.clone(), POOL.to_owned()));
            self.slugs.insert(room.tenant.clone(), slug.clone());
            self.apply();
            slug
        };
        let scope = Scope { tenant: slug, sub: SubId::MAIN };
        MeetingKey { scope, id: room.meeting_id.clone() }
    }

    fn apply(&self) {
        for instance in &self.instances {
            instance.fleet.apply(self.inventory.clone());
        }
    }
}

/// A moment of the trace, ms since 1970.
pub(super) fn moment(at_ms: i64) -> u64 {
    u64::try_from(MONDAY_MS + at_ms).expect("after 1970")
}

/// A main meeting as a node lists it.
fn listed(internal_id: &str, run: &Run) -> MeetingInfo<'static> {
    let mut meeting = Element::new("meeting");
    meeting.push_text("meetingID", &run.node_meeting_id);
    meeting.push_text("internalMeetingID", internal_id);
    meeting.push_text("participantCount", &run.attendees.to_string());
    meeting.push_text("endTime", "0");
    MeetingInfo::from_element(meeting)
}
