//! What nodes are said to carry is the sum of what their meetings weigh, however much happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fixture::{inventory, key, listed, meeting, node, poll};
use crate::fleet::limits::People;
use crate::fleet::predict;
use crate::fleet::{Entry, Fleet, Hints, Phase, Reconciled, Reservation, Wanted, identity};
use crate::model::{AdminState, Health, MeetingIds, MeetingKey, NodeName, Policy};

const EVENTS: u32 = 1_000_000;
const ROOMS: usize = 24;
const NODES: [&str; 4] = ["n0", "n1", "n2", "n3"];
/// A Monday.
const BEGIN_MS: u64 = 1_704_067_200_000;

/// What nodes truly run, by node and internal id.
type World = BTreeMap<&'static str, BTreeMap<String, Run>>;

/// A meeting on a node.
struct Run {
    name: String,
    created_ms: u64,
    attendees: u32,
}

struct Day {
    fleet: Fleet,
    world: World,
    /// Creates in flight.
    in_flight: Vec<Reservation>,
    now_ms: u64,
    random: u64,
    events: BTreeMap<&'static str, u32>,
}

impl Day {
    fn begin() -> Self {
        let nodes = NODES.iter().zip([1.0, 1.0, 2.0, 0.5]);
        let nodes = nodes.map(|(name, weight)| node(name, weight, &[])).collect();
        let fleet = Fleet::new(inventory(nodes, Policy::Predictive), |_| AdminState::Ready);
        let fleet = fleet.simulated();
        fleet.clock().set(BEGIN_MS);
        let day = Self {
            fleet,
            world: NODES.iter().map(|name| (*name, BTreeMap::new())).collect(),
            in_flight: Vec::new(),
            now_ms: BEGIN_MS,
            random: 0x9e37_79b9_7f4a_7c15,
            events: BTreeMap::new(),
        };
        for name in NODES {
            poll(&day.fleet, name, Vec::new());
        }
        day
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn some_node(&mut self) -> &'static str {
        NODES[usize::try_from(self.random(NODES.len() as u64)).unwrap()]
    }

    fn some_room(&mut self) -> MeetingKey {
        key("acme", &self.random(ROOMS as u64).to_string())
    }

    fn running(&self, key: &MeetingKey) -> Option<Arc<Entry>> {
        let found = self.fleet.directory.get(&key.scope, &key.id);
        found.filter(|entry| entry.phase() == Phase::Running)
    }

    fn happen(&mut self) {
        let (room, name) = (self.some_room(), self.some_node());
        let event = match self.random(1000) {
            0..750 => self.join(&room),
            750..880 => self.create(&room),
            880..930 => self.end(&room),
            930..945 => self.reserve(&room),
            945..960 => self.give_up(),
            960..985 => self.go_on(),
            985..997 => self.poll_and_move(name),
            997..999 => self.fail(name),
            _ => self.restart(name),
        };
        *self.events.entry(event).or_default() += 1;
    }

    fn join(&mut self, room: &MeetingKey) -> &'static str {
        let Some(entry) = self.running(room) else { return "nothing" };
        entry.count_join();
        let runs = self.world.get_mut(entry.node().as_str()).unwrap();
        if let Some(run) = runs.get_mut(entry.internal_id()) {
            // Some leave.
            run.attendees = if run.attendees > 300 { 7 } else { run.attendees + 1 };
        }
        "join"
    }

    fn place(&self, room: &MeetingKey) -> Option<Reservation> {
        let snapshot = self.fleet.snapshot();
        let tenant = snapshot.tenant("acme").unwrap();
        let expected = self.fleet.expect(tenant, room, Hints::default());
        tenant.place(&Wanted { expected, ..Wanted::new(room) }).ok()
    }

    fn create(&mut self, room: &MeetingKey) -> &'static str {
        if self.running(room).is_some() {
            return "nothing";
        }
        let is_again = self.fleet.directory.get_lost(room).is_some();
        let Some(reservation) = self.place(room) else { return "no node" };
        let snapshot = self.fleet.snapshot();
        let place = snapshot.tenant("acme").unwrap().admit(room.scope.sub).unwrap();
        let on = reservation.node().name().clone();
        let name = identity::node_meeting_id(&room.scope, MeetingIds::Scoped, &room.id);
        let created = meeting(room, &on, &name, self.now_ms);
        let run = Run { name, created_ms: self.now_ms, attendees: 0 };
        let runs = self.world.get_mut(on.as_str()).unwrap();
        runs.insert(created.internal_id.clone(), run);
        self.fleet.directory.enter(created, Some(reservation), place, Vec::new());
        if is_again { "create again" } else { "create" }
    }

    fn end(&mut self, room: &MeetingKey) -> &'static str {
        let Some(entry) = self.running(room) else { return "nothing" };
        self.world.get_mut(entry.node().as_str()).unwrap().remove(entry.internal_id());
        // By a front end, or by itself, which two polls show.
        if self.random(2) == 0 {
            entry.mark_ended();
        }
        "end"
    }

    fn reserve(&mut self, room: &MeetingKey) -> &'static str {
        if self.in_flight.len() > 8 {
            return "nothing";
        }
        let Some(reservation) = self.place(room) else { return "no node" };
        self.in_flight.push(reservation);
        "reserve"
    }

    fn give_up(&mut self) -> &'static str {
        if self.in_flight.pop().is_some() { "give up" } else { "nothing" }
    }

    fn go_on(&mut self) -> &'static str {
        self.now_ms += 1 + self.random(20_000);
        self.fleet.clock().set(self.now_ms);
        "time"
    }

    fn poll(&mut self, name: &'static str) -> &'static str {
        self.listed(name);
        "poll"
    }

    fn listed(&mut self, name: &'static str) -> Reconciled {
        let runs = &self.world[name];
        let shown = runs.values().map(|run| listed(&run.name, run.created_ms, run.attendees));
        let reconciled = poll(&self.fleet, name, shown.collect());
        for over in &reconciled.over {
            self.fleet.learn_end(over);
        }
        reconciled
    }

    /// Of meetings that run twice some go on where they were found.
    fn poll_and_move(&mut self, name: &'static str) -> &'static str {
        let Reconciled { doubles, .. } = self.listed(name);
        for double in doubles {
            if self.random(2) == 0 && self.fleet.move_to_double(&double).is_some() {
                *self.events.entry("move").or_default() += 1;
            }
        }
        "poll"
    }

    fn fail(&mut self, name: &'static str) -> &'static str {
        let snapshot = self.fleet.snapshot();
        let node = snapshot.node(name).unwrap();
        let is_last = snapshot.nodes().filter(|node| node.live.health() == Health::Up).count() < 3;
        if is_last {
            return "nothing";
        }
        for _ in 0..3 {
            node.live.poll_failed(
                "gone".to_owned(),
                super::THRESHOLDS,
                self.fleet.clock().moment(),
            );
        }
        self.fleet.lose_meetings_on(&NodeName::new(name));
        "down"
    }

    /// A node that was away comes back, with its meetings or without them.
    fn restart(&mut self, name: &'static str) -> &'static str {
        if self.random(2) == 0 {
            self.world.get_mut(name).unwrap().clear();
        }
        self.poll(name);
        self.poll(name);
        "up"
    }

    /// To the last thousandth of an attendee: each is counted as often on its node as by its meeting. And so is each
    /// meeting among its tenant's.
    fn adds_up(&self) {
        let snapshot = self.fleet.snapshot();
        let tally = &snapshot.tenant("acme").unwrap().tally;
        for node in snapshot.nodes() {
            let entries = self.fleet.directory.on_node(node.name());
            let running = entries.iter().filter(|entry| entry.phase() == Phase::Running).count();
            let coming = self.in_flight.iter().filter(|held| held.node().name() == node.name());
            assert_eq!(tally.on_node(node.name()) as usize, running + coming.count());
            let ours: i64 = entries.iter().map(|entry| i64::from(entry.weighs())).sum();
            let held = self.in_flight.iter().filter(|held| held.node().name() == node.name());
            let held: i64 = held.map(|held| i64::from(held.weighs())).sum();
            assert_eq!(node.live.burdens(), ours + held, "{}", node.name());
        }
    }

    /// What nodes are said to carry, once polls have counted everybody, is what follows from who is there and from
    /// the age of each meeting.
    fn is_as_reckoned_anew(&mut self) {
        self.in_flight.clear();
        for name in NODES {
            // Joins are not known to be counted until two polls were made ten seconds apart.
            for _ in 0..4 {
                self.now_ms += 10_000;
                self.fleet.clock().set(self.now_ms);
                self.poll(name);
            }
            let weighs = |(internal_id, run): (&String, &Run)| {
                let live = f64::from(run.attendees);
                let entry = self.fleet.directory.get_internal(internal_id);
                // What is created again in the same millisecond elsewhere has the same id.
                let is_here = |entry: &Arc<Entry>| {
                    entry.phase() == Phase::Running && entry.node().as_str() == name
                };
                match entry.filter(is_here) {
                    Some(entry) => {
                        let age_ms = self.now_ms - run.created_ms;
                        predict::occupied(live, entry.expected().into(), age_ms)
                    }
                    None => live,
                }
            };
            let anew: f64 = self.world[name].iter().map(weighs).sum();
            let said = self.fleet.snapshot().node(name).unwrap().live.occupied();
            // Each is rounded to a thousandth.
            assert!((anew - said).abs() < 0.05, "{name}: {said}, reckoned {anew}");
        }
    }
}

#[test]
fn a_million_events_leave_no_drift() {
    let mut day = Day::begin();
    for number in 1..=EVENTS {
        day.happen();
        if number % 500 == 0 {
            day.adds_up();
        }
        if number % 20_000 == 0 {
            day.is_as_reckoned_anew();
        }
    }
    // All of it has happened often enough to mean something.
    for (event, least) in [
        ("join", 300_000),
        ("create", 10_000),
        ("create again", 300),
        ("end", 10_000),
        ("poll", 10_000),
        ("move", 100),
        ("down", 300),
        ("up", 500),
    ] {
        assert!(
            day.events.get(event).is_some_and(|count| *count > least),
            "{event}: {:?}",
            day.events
        );
    }
    // And when all is over, nothing weighs any more.
    for name in NODES {
        day.world.get_mut(name).unwrap().clear();
        for _ in 0..3 {
            day.poll(name);
        }
    }
    day.in_flight.clear();
    assert!(day.fleet.directory.is_empty());
    assert!(day.fleet.snapshot().nodes().all(|node| node.live.burdens() == 0));
    let snapshot = day.fleet.snapshot();
    let tally = &snapshot.tenant("acme").unwrap().tally;
    assert!(snapshot.nodes().all(|node| tally.on_node(node.name()) == 0));
    let figures = tally.whole();
    assert_eq!((figures.meetings, figures.people), (0, People::default()));
}
