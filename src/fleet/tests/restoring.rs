//! What a fleet knows of running meetings that it takes up after a restart, and what the time of day does to it.

use super::fixture::{fleet, internal_id, inventory, key, listed, meeting, node, poll, reserved};
use crate::fleet::predict::Source;
use crate::fleet::{Fleet, Hints, Wanted, now_ms};
use crate::model::{
    AdminState, Extent, HistoryKey, HistoryRow, MOST_ATTENDEES, Meeting, Moments, NodeName, Policy,
};

const MINUTE_MS: u64 = 60_000;
/// Some day of 2026, in ms since 1970.
const NOON_MS: u64 = 1_795_000_000_000;

fn saved(node: &str, created_at_ms: u64, expected: u32, peak: u32) -> Meeting {
    let extent = Extent { expected_thousandths: expected * 1000, peak };
    let name = NodeName::new(node);
    let id = format!("m-{created_at_ms}");
    let meeting = meeting(&key("acme", &id), &name, &format!("{id}@acme"), created_at_ms);
    Meeting { extent, ..meeting }
}

fn occupied(fleet: &Fleet, node: &str) -> f64 {
    fleet.snapshot().node(node).unwrap().live.occupied()
}

fn played() -> Fleet {
    let nodes = ["a", "b"].map(|name| node(name, 1.0, &[])).to_vec();
    let fleet = Fleet::new(inventory(nodes, Policy::Predictive), |_| AdminState::Ready).simulated();
    fleet.clock().set(NOON_MS);
    fleet
}

fn assert_near(left: f64, right: f64) {
    assert!((left - right).abs() < 0.01, "{left} is not {right}");
}

#[test]
fn what_is_expected_of_a_running_meeting_weighs_before_the_first_poll() {
    let fleet = played();
    let rows = vec![
        saved("a", NOON_MS - 5 * MINUTE_MS, 1000, 12),
        // Half of what it was expected to be is still given to it.
        saved("b", NOON_MS - 17 * MINUTE_MS - MINUTE_MS / 2, 100, 30),
        // Long enough there that only those count who are there.
        saved("b", NOON_MS - 120 * MINUTE_MS, 500, 400),
        // Of an older version.
        saved("b", NOON_MS - MINUTE_MS, 0, 0),
    ];
    assert!(fleet.restore(rows, Vec::new()).is_empty());
    assert_near(occupied(&fleet, "a"), 1000.0);
    assert_near(occupied(&fleet, "b"), 50.0);
    assert_eq!(reserved(&fleet, "a"), 0);
    let entry = fleet.directory.on_node(&NodeName::new("a")).pop().unwrap();
    assert_eq!(entry.to_meeting().extent, Extent { expected_thousandths: 1_000_000, peak: 12 });
    // The first poll finds nobody in it yet.
    for name in ["a", "b"] {
        let of = fleet.directory.on_node(&NodeName::new(name));
        let list =
            of.iter().map(|entry| listed(&entry.node_meeting_id(), entry.created_at_ms(), 0));
        poll(&fleet, name, list.collect());
    }
    assert_near(occupied(&fleet, "a"), 1000.0);
    let next = key("acme", "next");
    let snapshot = fleet.snapshot();
    let place = snapshot.tenant("acme").unwrap().place(&Wanted::new(&next)).unwrap();
    assert_eq!(place.node().name().as_str(), "b");
}

#[test]
fn what_a_meeting_has_had_is_learned_at_its_end_whoever_has_counted_it() {
    let fleet = played();
    let row = saved("a", NOON_MS - 60 * MINUTE_MS, 20, 60);
    fleet.restore(vec![row.clone()], Vec::new());
    let list = |attendees| vec![listed(&row.node_meeting_id, row.created_at_ms, attendees)];
    poll(&fleet, "a", list(10));
    assert!(fleet.grown.take().is_empty(), "there were more before");
    poll(&fleet, "a", list(61));
    let grown = fleet.grown.take();
    assert_eq!((grown.len(), grown[0].peak()), (1, 61));
    fleet.grown.give_back(grown);
    poll(&fleet, "a", list(62));
    assert_eq!(fleet.grown.take().len(), 1, "each is told once");
    let entry = fleet.directory.get_internal(&internal_id(&row.node_meeting_id, row.created_at_ms));
    let entry = entry.unwrap();
    fleet.directory.remove(&entry);
    fleet.learn_end(&entry);
    assert_eq!(fleet.history.take_unsaved()[0].attendees, 62);
}

/// The node goes down and its meetings are given up.
fn fail(fleet: &Fleet, name: &str) {
    let snapshot = fleet.snapshot();
    for _ in 0..3 {
        let live = &snapshot.node(name).unwrap().live;
        live.poll_failed("gone".to_owned(), super::THRESHOLDS, fleet.clock().moment());
    }
    fleet.lose_meetings_on(&NodeName::new(name));
}

fn expected(fleet: &Fleet, row: &Meeting, size: u32) -> (f64, Source) {
    let snapshot = fleet.snapshot();
    let hints = Hints { max_participants: None, size: Some(size) };
    let expected = fleet.expect(snapshot.tenant("acme").unwrap(), &row.key, hints);
    (expected.size, expected.source)
}

#[test]
fn who_was_in_a_lost_meeting_is_expected_back_for_half_an_hour_by_whoever_has_counted_them() {
    // Down before a poll of ours has shown it: after a restart.
    let fleet = played();
    let row = saved("a", NOON_MS - 60 * MINUTE_MS, 20, 60);
    let unknown = saved("a", NOON_MS - 61 * MINUTE_MS, 20, 0);
    fleet.restore(vec![row.clone(), unknown.clone()], Vec::new());
    fail(&fleet, "a");
    assert_eq!(expected(&fleet, &row, 5), (60.0, Source::LostNode));
    assert_eq!(expected(&fleet, &unknown, 5), (5.0, Source::Hint));
    // Of those who were there at first, ten were left, and two have come since.
    let fleet = played();
    fleet.restore(vec![row.clone()], Vec::new());
    poll(&fleet, "a", vec![listed(&row.node_meeting_id, row.created_at_ms, 10)]);
    let entry = fleet.directory.on_node(&row.node).pop().unwrap();
    (0..2).for_each(|_| entry.count_join());
    fail(&fleet, "a");
    assert_eq!(expected(&fleet, &row, 5), (12.0, Source::LostNode));
    fleet.clock().set(NOON_MS + 29 * MINUTE_MS);
    assert_eq!(expected(&fleet, &row, 5), (12.0, Source::LostNode));
    fleet.clock().set(NOON_MS + 31 * MINUTE_MS);
    assert_eq!(expected(&fleet, &row, 5), (5.0, Source::Hint), "the next one is another meeting");
}

#[test]
fn what_a_node_says_beyond_all_measure_is_cut() {
    let fleet = played();
    let rows: Vec<_> = (0..3).map(|number| saved("a", NOON_MS - number, 20, 1)).collect();
    fleet.restore(rows.clone(), Vec::new());
    let list = rows.iter().map(|row| listed(&row.node_meeting_id, row.created_at_ms, u32::MAX));
    poll(&fleet, "a", list.collect());
    assert_near(occupied(&fleet, "a"), 3.0 * f64::from(MOST_ATTENDEES));
    assert!(fleet.grown.take().iter().all(|entry| entry.peak() == MOST_ATTENDEES));
}

#[test]
fn a_clock_that_is_set_back_freezes_nothing() {
    let fleet = played();
    // Created when the clock was an hour ahead.
    let ahead = saved("a", NOON_MS + 60 * MINUTE_MS, 100, 5);
    fleet.restore(vec![ahead.clone()], Vec::new());
    assert_near(occupied(&fleet, "a"), 100.0);
    let snapshot = fleet.snapshot();
    let weigh = |after_min: u64| {
        fleet.clock().set(fleet.clock().now_ms() + after_min * MINUTE_MS);
        fleet.weigh(snapshot.node("a").unwrap());
        occupied(&fleet, "a")
    };
    let before = weigh(12);
    assert!(before < 100.0, "it fades from when it was taken up: {before}");
    // Two hours back: ages go on where they were.
    let steady = fleet.clock().steady_ms();
    fleet.clock().set(NOON_MS - 120 * MINUTE_MS);
    assert_eq!(fleet.clock().steady_ms(), steady);
    assert_near(weigh(0), before);
    assert!(weigh(5) < before);
    assert_near(weigh(60), 0.0);
    // What ends is learned, and counted with an age that is not negative.
    let id = internal_id(&ahead.node_meeting_id, ahead.created_at_ms);
    let entry = fleet.directory.get_internal(&id).unwrap();
    fleet.learn_end(&entry);
    assert_eq!(fleet.history.take_unsaved().len(), 1);
}

#[test]
fn what_is_learned_with_a_clock_that_is_wrong_neither_stays_for_ever_nor_drives_others_out() {
    let fleet = played();
    let learn = |fleet: &Fleet, id: &str| {
        let entry = fleet.directory.adopt(saved("a", 1, 20, 5), true);
        let peak = crate::model::Peak {
            key: key("acme", id),
            hour: fleet.hour_of(entry.created_at_ms()),
            attendees: 5,
        };
        fleet.history.learn(&peak, fleet.clock().now_ms() / 1000);
    };
    learn(&fleet, "before");
    fleet.clock().set(NOON_MS - 120 * MINUTE_MS);
    learn(&fleet, "after");
    learn(&fleet, "before");
    assert_eq!(fleet.history.len(), 6);
    // A row from the future is one like others.
    let moments = Moments { seen: 1, mean: 3.0, variance: 0.0 };
    let future = HistoryKey::Room(key("acme", "future"));
    let row = HistoryRow { key: future, moments, learned_at_s: u64::MAX };
    fleet.history.take_up(&[row], fleet.clock().now_ms() / 1000);
    assert_eq!(fleet.history.len(), 7);
}

#[test]
fn a_real_clock_gives_a_meeting_from_the_future_no_age() {
    let fleet = fleet(&["a"]);
    let now = fleet.clock().steady_ms();
    let began = fleet.clock().steady_of(now_ms() + 3_600_000);
    assert!(began >= now, "{began} {now}");
    assert!(fleet.clock().steady_of(now_ms() - 3_600_000) <= began - 3_599_000);
}
