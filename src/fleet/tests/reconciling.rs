//! Doubles, strangers and hand-overs, one by one and in any order.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::fixture::{
    THRESHOLDS, create, doubles, fleet, internal_id, key, listed, meeting, poll, scope,
};
use crate::fleet::{
    Claim, Double, Fleet, Phase, Place, Seen, Told, Verdict, Wanted, identity, judge,
};
use crate::model::{Health, Meeting, MeetingIds, MeetingKey, NodeName};

/// Polls with what the store says of strangers.
fn poll_told(fleet: &Fleet, name: &str, told: Told, shown: &[(&str, u64)]) -> super::Reconciled {
    let snapshot = fleet.snapshot();
    let mut poll = fleet.begin_poll(snapshot.node(name).unwrap());
    for (id, created_ms) in shown {
        poll.meeting(listed(id, *created_ms, 0));
    }
    poll.hear(told);
    poll.finish(THRESHOLDS, 1).1
}

fn said(rows: Vec<Meeting>, claimed: &[MeetingKey]) -> Told {
    let rows = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
    Told::Said { rows, claimed: claimed.iter().cloned().collect() }
}

fn node_of(fleet: &Fleet, id: &str) -> Option<String> {
    fleet.directory.get(&scope("acme"), id).map(|entry| entry.node().to_string())
}

#[test]
fn a_stranger_that_the_store_knows_is_adopted_as_saved() {
    let fleet = fleet(&["a", "b"]);
    let row = meeting(&key("acme", "m"), &NodeName::new("a"), "m@acme", 7);
    let reconciled = poll_told(&fleet, "a", said(vec![row], &[]), &[("m@acme", 7)]);
    assert!(reconciled.adopted[0].is_saved() && reconciled.doubles.is_empty());
}

#[test]
fn a_stranger_whose_key_is_another_ones_in_the_store_is_its_double() {
    let fleet = fleet(&["a", "b"]);
    let row = meeting(&key("acme", "m"), &NodeName::new("b"), "m@acme", 9);
    let reconciled = poll_told(&fleet, "a", said(vec![row], &[]), &[("m@acme", 7)]);
    assert_eq!(doubles(&reconciled), [internal_id("m@acme", 7)]);
    assert!(reconciled.adopted.is_empty());
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("b"));
}

#[test]
fn a_stranger_that_is_being_created_is_left_for_the_next_poll() {
    let fleet = fleet(&["a", "b"]);
    let told = said(Vec::new(), &[key("acme", "m")]);
    let reconciled = poll_told(&fleet, "a", told, &[("m@acme", 7)]);
    assert!(reconciled.adopted.is_empty() && reconciled.doubles.is_empty());
    let reconciled = poll_told(&fleet, "a", said(Vec::new(), &[]), &[("m@acme", 7)]);
    assert_eq!(reconciled.adopted.len(), 1);
}

#[test]
fn the_stores_row_decides_where_memory_has_another_one() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "b", Vec::new());
    create(&fleet, &key("acme", "m"), 9);
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("b"));
    let row = meeting(&key("acme", "m"), &NodeName::new("a"), "m@acme", 7);
    let reconciled = poll_told(&fleet, "a", said(vec![row], &[]), &[("m@acme", 7)]);
    assert!(reconciled.doubles.is_empty());
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("a"));
    // What memory had is the double from then on.
    let reconciled = poll(&fleet, "b", vec![listed("m@acme", 9, 0)]);
    assert_eq!(doubles(&reconciled), [internal_id("m@acme", 9)]);
}

#[test]
fn without_the_store_only_what_conflicts_with_nothing_is_adopted_and_nothing_is_a_double() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "b", Vec::new());
    create(&fleet, &key("acme", "m"), 9);
    let shown = [("m@acme", 7), ("free@acme", 7)];
    let reconciled = poll_told(&fleet, "a", Told::Away, &shown);
    assert!(reconciled.doubles.is_empty());
    assert_eq!(reconciled.adopted.len(), 1);
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("b"));
    assert_eq!(node_of(&fleet, "free").as_deref(), Some("a"));
}

#[test]
fn an_older_row_of_the_same_node_makes_room_and_a_younger_one_does_not() {
    for (row_ms, adopted, outdated) in [(5, 1, 1), (9, 0, 0)] {
        let fleet = fleet(&["a"]);
        let row = meeting(&key("acme", "m"), &NodeName::new("a"), "m@acme", row_ms);
        let reconciled = poll_told(&fleet, "a", said(vec![row], &[]), &[("m@acme", 7)]);
        assert_eq!((reconciled.adopted.len(), reconciled.outdated.len()), (adopted, outdated));
    }
}

#[test]
fn whoever_takes_a_node_over_begins_to_count_anew() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    let node = fleet.snapshot().node("a").unwrap().clone();
    for _ in 0..5 {
        assert!(poll(&fleet, "a", Vec::new()).over.is_empty());
        node.live.begin_watch();
    }
    assert!(poll(&fleet, "a", Vec::new()).over.is_empty());
    assert_eq!(poll(&fleet, "a", Vec::new()).over.len(), 1);
}

#[test]
fn a_poll_that_began_before_the_create_was_answered_does_not_count() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    let snapshot = fleet.snapshot();
    let stale: Vec<_> = (0..5).map(|_| fleet.begin_poll(snapshot.node("a").unwrap())).collect();
    create(&fleet, &key("acme", "m"), 7);
    for stale in stale {
        assert!(stale.finish(THRESHOLDS, 1).1.over.is_empty());
    }
    assert!(poll(&fleet, "a", Vec::new()).over.is_empty(), "the first that counts");
    assert_eq!(poll(&fleet, "a", Vec::new()).over.len(), 1);
}

#[tokio::test]
async fn a_meeting_whose_key_is_claimed_is_not_closed() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    let claim = fleet.claims.claim(&key("acme", "m")).await;
    for _ in 0..5 {
        assert!(poll(&fleet, "a", Vec::new()).over.is_empty());
    }
    drop(claim);
    assert_eq!(poll(&fleet, "a", Vec::new()).over.len(), 1);
}

#[test]
fn the_loser_of_a_double_stays_one_until_its_node_no_longer_shows_it() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "b", Vec::new());
    create(&fleet, &key("acme", "m"), 9);
    let reconciled = poll(&fleet, "a", vec![listed("m@acme", 7, 3)]);
    let winner = fleet.move_to_double(&reconciled.doubles[0]).unwrap();
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("a"));
    assert!(fleet.move_to_double(&reconciled.doubles[0]).is_none(), "once is enough");
    let again = poll(&fleet, "b", vec![listed("m@acme", 9, 0)]);
    assert_eq!(doubles(&again), [internal_id("m@acme", 9)]);
    assert!(again.doubles[0].is_given_up(fleet.snapshot().node("b").unwrap()));
    assert!(std::sync::Arc::ptr_eq(again.doubles[0].rival(), &winner));
    // And back again, should its people have come from the other side.
    fleet.move_to_double(&again.doubles[0]).unwrap();
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("b"));
    let counted = fleet.directory.tally(&scope("acme").tenant).whole().meetings;
    assert_eq!((counted, fleet.directory.len()), (1, 2));
}

#[test]
fn a_twin_that_wins_leaves_the_other_to_be_ended() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "a", Vec::new());
    let (key, b) = (key("acme", "m"), NodeName::new("b"));
    let snapshot = fleet.snapshot();
    let tenant = snapshot.tenant("acme").unwrap();
    let (reservation, place) =
        (tenant.place(&Wanted::new(&key)).unwrap(), tenant.admit(key.scope.sub));
    let placed = meeting(&key, &NodeName::new("a"), "m@acme", 7);
    fleet.directory.enter(placed, Some(reservation), place.unwrap(), vec![b]);
    let reconciled = poll(&fleet, "b", vec![listed("m@acme", 7, 5)]);
    fleet.move_to_double(&reconciled.doubles[0]).unwrap();
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("b"));
    let reconciled = poll(&fleet, "a", vec![listed("m@acme", 7, 0)]);
    assert_eq!(doubles(&reconciled), [internal_id("m@acme", 7)]);
    assert_eq!(fleet.directory.len(), 1);
}

#[test]
fn a_meeting_gets_its_key_back_when_what_had_taken_it_is_gone() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "a", vec![listed("m@acme", 7, 3)]);
    fleet.lose_meetings_on(&NodeName::new("a"));
    fleet.snapshot().node("a").unwrap().live.set_admin(crate::model::AdminState::Cordoned);
    poll(&fleet, "b", Vec::new());
    // Its node returns while it is being created elsewhere.
    poll(&fleet, "a", vec![listed("m@acme", 7, 3)]);
    create(&fleet, &key("acme", "m"), 9);
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("b"));
    fleet.lose_meetings_on(&NodeName::new("b"));
    assert!(poll(&fleet, "a", vec![listed("m@acme", 7, 3)]).doubles.is_empty());
    assert_eq!(node_of(&fleet, "m").as_deref(), Some("a"));
}

const NODES: [&str; 3] = ["a", "b", "c"];
const ROOMS: usize = 4;

/// What can happen to three nodes and four rooms.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A front end creates it; its answer comes later.
    Begin(usize),
    /// The answer is there.
    Answer(usize),
    /// It is there without us: another instance, or a create whose answer was lost.
    Appear(usize, usize),
    Vanish(usize, usize),
    People(usize, usize, u32),
    Restart(usize),
    Down(usize),
    Up(usize),
    /// Whether somebody comes into the loser of a double at the last moment.
    Poll(usize, bool),
    /// The list breaks off after so many.
    Broken(usize, usize),
    HandOver(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let (node, room) = (0..NODES.len(), 0..ROOMS);
    let both = (node.clone(), room.clone());
    let event = prop_oneof![
        3 => room.clone().prop_map(Event::Begin),
        3 => room.prop_map(Event::Answer),
        3 => both.clone().prop_map(|(node, room)| Event::Appear(node, room)),
        1 => both.clone().prop_map(|(node, room)| Event::Vanish(node, room)),
        3 => (both, 0u32..3).prop_map(|((node, room), count)| Event::People(node, room, count)),
        1 => node.clone().prop_map(Event::Restart),
        1 => node.clone().prop_map(Event::Down),
        2 => node.clone().prop_map(Event::Up),
        8 => (node.clone(), any::<bool>()).prop_map(|(node, late)| Event::Poll(node, late)),
        1 => (node.clone(), 0usize..3).prop_map(|(node, count)| Event::Broken(node, count)),
        1 => node.prop_map(Event::HandOver),
    ];
    prop::collection::vec(event, 0..80)
}

/// Three nodes as they are, and the fleet that looks at them.
struct World {
    fleet: Fleet,
    /// By node and room: when it was created, and who is in.
    runs: BTreeMap<(usize, usize), (u64, u32)>,
    down: HashSet<usize>,
    in_flight: HashMap<usize, (Claim, InFlight)>,
    clock: u64,
}

struct InFlight {
    meeting: Meeting,
    reservation: crate::fleet::Reservation,
    place: Place,
}

impl World {
    fn new() -> Self {
        let fleet = fleet(&NODES);
        for name in NODES {
            poll(&fleet, name, Vec::new());
        }
        let (runs, down, in_flight) = Default::default();
        Self { fleet, runs, down, in_flight, clock: 10 }
    }

    fn room(room: usize) -> MeetingKey {
        key("acme", &format!("room-{room}"))
    }

    fn name(room: usize) -> String {
        let key = Self::room(room);
        identity::node_meeting_id(&key.scope, MeetingIds::Scoped, &key.id)
    }

    fn appear(&mut self, node: usize, room: usize) -> u64 {
        self.clock += 1;
        self.runs.entry((node, room)).or_insert((self.clock, 0)).0
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(room) => self.begin(room),
            Event::Answer(room) => {
                let Some((_claim, answered)) = self.in_flight.remove(&room) else { return };
                let InFlight { meeting, reservation, place } = answered;
                self.fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
            }
            Event::Appear(node, room) => drop(self.appear(node, room)),
            Event::Vanish(node, room) => drop(self.runs.remove(&(node, room))),
            Event::People(node, room, count) => {
                if let Some(meeting) = self.runs.get_mut(&(node, room)) {
                    meeting.1 = count;
                }
            }
            Event::Restart(node) => self.runs.retain(|(on, _), _| *on != node),
            Event::Down(node) => {
                self.down.insert(node);
                let name = NodeName::new(NODES[node]);
                let live = self.fleet.snapshot().node(NODES[node]).unwrap().live.clone();
                for _ in 0..3 {
                    live.poll_failed("refused".into(), THRESHOLDS, self.fleet.clock().moment());
                }
                assert_eq!(live.health(), Health::Down);
                self.fleet.lose_meetings_on(&name);
            }
            Event::Up(node) => drop(self.down.remove(&node)),
            Event::Poll(node, late) => self.poll(node, late),
            Event::Broken(node, count) => {
                let snapshot = self.fleet.snapshot();
                let mut poll = self.fleet.begin_poll(snapshot.node(NODES[node]).unwrap());
                self.shown(node).into_iter().take(count).for_each(|info| poll.meeting(info));
                drop(poll);
            }
            Event::HandOver(node) => {
                self.fleet.snapshot().node(NODES[node]).unwrap().live.begin_watch();
            }
        }
    }

    fn begin(&mut self, room: usize) {
        let key = Self::room(room);
        let running = self.fleet.directory.get(&key.scope, &key.id);
        if running.is_some_and(|entry| entry.phase() == Phase::Running) {
            return;
        }
        let Some(claim) = self.fleet.claims.try_claim(&key) else { return };
        let snapshot = self.fleet.snapshot();
        let tenant = snapshot.tenant("acme").unwrap();
        let Ok(reservation) = tenant.place(&Wanted::new(&key)) else { return };
        let name = reservation.node().name().clone();
        let node = NODES.iter().position(|node| *node == name.as_str()).unwrap();
        if self.down.contains(&node) {
            return;
        }
        let created_ms = self.appear(node, room);
        let meeting = meeting(&key, &name, &Self::name(room), created_ms);
        let place = tenant.admit(key.scope.sub).unwrap();
        self.in_flight.insert(room, (claim, InFlight { meeting, reservation, place }));
    }

    fn shown(&self, node: usize) -> Vec<crate::bbb::MeetingInfo<'static>> {
        let here = self.runs.iter().filter(|((on, _), _)| *on == node);
        here.map(|((_, room), (ms, people))| listed(&Self::name(*room), *ms, *people)).collect()
    }

    fn poll(&mut self, node: usize, late: bool) {
        if self.down.contains(&node) {
            return;
        }
        let reconciled = poll(&self.fleet, NODES[node], self.shown(node));
        for (_, answered) in self.in_flight.values() {
            let id = &*answered.meeting.internal_id;
            let is_adopted = reconciled.adopted.iter().any(|entry| entry.internal_id() == id);
            assert!(!is_adopted, "{id} is being created");
        }
        for double in &reconciled.doubles {
            self.resolve(node, double, late);
        }
    }

    /// As the task does it.
    fn resolve(&mut self, node: usize, double: &Double, late: bool) {
        let Some(_claim) = self.fleet.claims.try_claim(double.key()) else { return };
        if !self.fleet.is_double(double) {
            return;
        }
        let rival = double.rival();
        let other = NODES.iter().position(|node| *node == rival.node().as_str()).unwrap();
        let here = self.figures(node, double.internal_id());
        let there = self.figures(other, rival.internal_id());
        let snapshot = self.fleet.snapshot();
        let polled = snapshot.node(NODES[node]).unwrap();
        match judge(here, there, double.is_given_up(polled)) {
            Verdict::Wait | Verdict::LeaveBoth => {}
            Verdict::EndHere => self.end(node, double.internal_id()),
            Verdict::MoveHere => {
                self.fleet.move_to_double(double).unwrap();
                if late && let Some(room) = self.find(other, rival.internal_id()) {
                    self.runs.get_mut(&(other, room)).unwrap().1 += 1;
                }
                if self.figures(other, rival.internal_id()) == Seen::With(0) {
                    self.end(other, rival.internal_id());
                }
            }
        }
    }

    fn find(&self, node: usize, wanted: &str) -> Option<usize> {
        let is_wanted = |room: usize, ms| internal_id(&Self::name(room), ms) == wanted;
        let mut here = self.runs.iter().filter(|((on, _), _)| *on == node);
        here.find(|((_, room), (ms, _))| is_wanted(*room, *ms)).map(|((_, room), _)| *room)
    }

    fn figures(&self, node: usize, internal_id: &str) -> Seen {
        if self.down.contains(&node) {
            return Seen::Silent;
        }
        match self.find(node, internal_id) {
            Some(room) => Seen::With(self.runs[&(node, room)].1),
            None => Seen::Gone,
        }
    }

    /// What must hold of every end: another one of the same key runs on a node that answers.
    fn end(&mut self, node: usize, internal_id: &str) {
        let mut in_flight = self.in_flight.values();
        assert!(in_flight.all(|(_, answered)| *answered.meeting.internal_id != *internal_id));
        let room = self.find(node, internal_id).expect("it was asked for a moment ago");
        let elsewhere = self
            .runs
            .keys()
            .any(|(on, other)| *on != node && *other == room && !self.down.contains(on));
        assert!(elsewhere, "the only healthy meeting of room {room} was ended");
        self.runs.remove(&(node, room));
    }

    /// Everything is answered, everybody comes to one of the doubles at most, and all nodes are polled.
    fn settle(&mut self) {
        for room in 0..ROOMS {
            self.happen(Event::Answer(room));
        }
        self.down.clear();
        for _ in 0..4 {
            (0..NODES.len()).for_each(|node| self.poll(node, false));
        }
        for room in 0..ROOMS {
            let places: Vec<_> =
                self.runs.keys().filter(|(_, other)| *other == room).copied().collect();
            for place in places.into_iter().skip(1) {
                self.runs.get_mut(&place).unwrap().1 = 0;
            }
        }
        for _ in 0..4 {
            (0..NODES.len()).for_each(|node| self.poll(node, false));
        }
    }
}

proptest! {
    /// Whatever nodes report: the only healthy meeting of its key is never ended, and in the end each key runs
    /// once, where the directory has it.
    #[test]
    fn no_healthy_meeting_is_ended_by_mistake_and_each_runs_once(events in events()) {
        let mut world = World::new();
        for event in events {
            let before = world.runs.clone();
            let is_poll = matches!(event, Event::Poll(..));
            world.happen(event);
            if is_poll {
                // A poll takes no key away from everybody.
                for (_, room) in before.keys() {
                    prop_assert!(world.runs.keys().any(|(_, other)| other == room));
                }
            }
        }
        world.settle();
        for room in 0..ROOMS {
            let places: Vec<_> =
                world.runs.iter().filter(|((_, other), _)| *other == room).collect();
            prop_assert!(places.len() <= 1, "room {} runs on {:?}", room, places);
            let key = World::room(room);
            let known = world.fleet.directory.get(&key.scope, &key.id);
            let known = known.filter(|entry| entry.phase() == Phase::Running);
            let expected = places.first().map(|((node, _), (ms, _))| {
                (NODES[*node].to_owned(), internal_id(&World::name(room), *ms))
            });
            let known = known.map(|entry| {
                (entry.node().to_string(), entry.internal_id().to_owned())
            });
            prop_assert_eq!(known, expected);
        }
    }
}
