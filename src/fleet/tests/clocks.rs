//! A time of day that is set back, or far ahead, makes no load negative and stops nothing from fading.

use std::time::Duration;

use proptest::prelude::*;

use super::THRESHOLDS;
use super::fixture::{create, fleet, internal_id, key, listed, meeting, poll, scope};
use crate::fleet::predict::Source;
use crate::fleet::{Fleet, Hints, Phase};
use crate::model::NodeName;

const MINUTE_MS: u64 = 60_000;
const YEAR_MS: u64 = 365 * 24 * 60 * MINUTE_MS;
const BEGIN_MS: u64 = 1_704_067_200_000;

/// A node that is up, at this time.
fn one(now_ms: u64) -> Fleet {
    let fleet = fleet(&["a"]).simulated();
    fleet.clock().set(now_ms);
    poll(&fleet, "a", Vec::new());
    fleet
}

fn occupied(fleet: &Fleet) -> f64 {
    fleet.snapshot().node("a").unwrap().live.occupied()
}

/// The time goes on by so much, as it does.
fn go_on(fleet: &Fleet, ms: u64) {
    let clock = fleet.clock();
    clock.set(clock.now_ms().saturating_add(ms));
}

#[test]
fn what_is_expected_fades_however_the_time_of_day_is_set_back() {
    let fleet = one(BEGIN_MS);
    create(&fleet, &key("acme", "m"), BEGIN_MS);
    go_on(&fleet, 12 * MINUTE_MS);
    let shown = || vec![listed("m@acme", BEGIN_MS, 5)];
    poll(&fleet, "a", shown());
    let before = occupied(&fleet);
    assert!(before > 5.0 && before < 20.0, "{before}");
    fleet.clock().set(BEGIN_MS - YEAR_MS);
    poll(&fleet, "a", shown());
    assert!((occupied(&fleet) - before).abs() < 1e-6, "{}", occupied(&fleet));
    go_on(&fleet, 13 * MINUTE_MS);
    poll(&fleet, "a", shown());
    assert!((occupied(&fleet) - 5.0).abs() < 1e-6, "{}", occupied(&fleet));
    // What is over then is learned from, and did not last less than no time.
    let entry = fleet.directory.get(&scope("acme"), "m").unwrap();
    fleet.directory.remove(&entry);
    fleet.learn_end(&entry);
    assert_eq!(fleet.history.len(), 4);
    assert!(occupied(&fleet).abs() < 1e-6);
}

#[test]
fn a_meeting_of_a_clock_that_is_ahead_begins_when_it_is_seen_and_fades() {
    let fleet = one(BEGIN_MS);
    // Another instance has placed it, or we did before the time of day was set back.
    create(&fleet, &key("acme", "m"), BEGIN_MS + YEAR_MS);
    let restored =
        meeting(&key("acme", "old"), &NodeName::new("a"), "old@acme", BEGIN_MS + YEAR_MS);
    fleet.restore(vec![restored], Vec::new());
    let shown = || {
        ["m@acme", "old@acme"].map(|name| listed(name, BEGIN_MS + YEAR_MS, 3)).into_iter().collect()
    };
    poll(&fleet, "a", shown());
    assert!(occupied(&fleet) >= 6.0 && occupied(&fleet) <= 23.0, "{}", occupied(&fleet));
    go_on(&fleet, 26 * MINUTE_MS);
    poll(&fleet, "a", shown());
    assert!((occupied(&fleet) - 6.0).abs() < 1e-6, "{}", occupied(&fleet));
    assert!(fleet.directory.get_internal(&internal_id("old@acme", BEGIN_MS + YEAR_MS)).is_some());
}

#[test]
fn a_node_is_down_for_as_long_as_it_is_however_the_time_of_day_is_set() {
    let minute = Duration::from_millis(MINUTE_MS);
    for set_to in [BEGIN_MS + YEAR_MS, BEGIN_MS - YEAR_MS] {
        let fleet = one(BEGIN_MS);
        let room = key("acme", "m");
        create(&fleet, &room, BEGIN_MS);
        poll(&fleet, "a", vec![listed("m@acme", BEGIN_MS, 40)]);
        let snapshot = fleet.snapshot();
        let node = snapshot.node("a").unwrap();
        assert!(!fleet.is_down_for(node, Duration::ZERO));
        for _ in 0..3 {
            node.live.poll_failed("gone".to_owned(), THRESHOLDS, fleet.clock().moment());
        }
        fleet.clock().correct(set_to);
        let source =
            || fleet.expect(snapshot.tenant("acme").unwrap(), &room, Hints::default()).source;
        assert!(!fleet.is_down_for(node, minute), "the grace has just begun");
        go_on(&fleet, MINUTE_MS);
        assert!(fleet.is_down_for(node, minute), "and it ends");
        fleet.lose_meetings_on(node.name());
        assert_eq!(source(), Source::LostNode);
        go_on(&fleet, 28 * MINUTE_MS);
        assert_eq!(source(), Source::LostNode, "they may still come back");
        go_on(&fleet, 2 * MINUTE_MS);
        assert_ne!(source(), Source::LostNode, "the next one is another meeting");
        assert_eq!(node.live.health_since().0, BEGIN_MS, "as the clock was then");
    }
}

/// What may happen to a clock and a meeting.
#[derive(Debug, Clone)]
enum Event {
    Set(u64),
    GoOn(u64),
    Create(u8, u64),
    Join(u8),
    End(u8),
    Poll(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // To the year 2500, and anywhere near.
    let times = || prop_oneof![0..530 * YEAR_MS, BEGIN_MS..BEGIN_MS + 60 * MINUTE_MS];
    let event = prop_oneof![
        times().prop_map(Event::Set),
        (0..40 * MINUTE_MS).prop_map(Event::GoOn),
        (0u8..4, times()).prop_map(|(room, created_ms)| Event::Create(room, created_ms)),
        (0u8..4).prop_map(Event::Join),
        (0u8..4).prop_map(Event::End),
        (0u32..100).prop_map(Event::Poll),
    ];
    prop::collection::vec(event, 0..60)
}

proptest! {
    #[test]
    fn loads_stay_finite_and_what_is_expected_fades_once_time_goes_on(events in events()) {
        let fleet = one(BEGIN_MS);
        let room = |number: u8| key("acme", &format!("room-{number}"));
        let running = |number: u8| fleet.directory.get(&scope("acme"), &room(number).id);
        let poll_all = |attendees: u32| {
            let entries = fleet.directory.on_node(&NodeName::new("a"));
            let running = entries.iter().filter(|entry| entry.phase() == Phase::Running);
            let shown = running
                .map(|entry| listed(&entry.to_meeting().node_meeting_id, entry.created_at_ms(), attendees));
            let shown: Vec<_> = shown.collect();
            let count = shown.len();
            poll(&fleet, "a", shown);
            count
        };
        for event in events {
            match event {
                Event::Set(at_ms) => fleet.clock().set(at_ms),
                Event::GoOn(ms) => go_on(&fleet, ms),
                Event::Create(number, created_ms) => {
                    if running(number).is_none() {
                        create(&fleet, &room(number), created_ms);
                    }
                }
                Event::Join(number) => {
                    if let Some(entry) = running(number) {
                        entry.count_join();
                    }
                }
                Event::End(number) => {
                    if let Some(entry) = running(number) {
                        entry.mark_ended();
                        fleet.directory.remove(&entry);
                        fleet.learn_end(&entry);
                    }
                }
                Event::Poll(attendees) => drop(poll_all(attendees)),
            }
            let node = fleet.snapshot().node("a").unwrap().clone();
            prop_assert!(node.load().is_finite() && node.load() >= 0.0);
            prop_assert!(occupied(&fleet) >= 0.0 && occupied(&fleet) < 1e6);
        }
        let mut count = 0;
        for _ in 0..3 {
            go_on(&fleet, 26 * MINUTE_MS);
            count = poll_all(7);
        }
        let here = 7.0 * f64::from(u32::try_from(count).unwrap());
        prop_assert!((occupied(&fleet) - here).abs() < 1e-6, "{} of {here}", occupied(&fleet));
    }
}
