//! What one instance missed, or told too late, and what became of the key of a meeting.

use std::collections::HashSet;
use std::sync::Arc;

use super::alike;
use super::pool::Pool;
use crate::fleet::doubles::{Double, Here};
use crate::fleet::instances::event::{Created, Event};
use crate::fleet::tests::fixture::{key, meeting, scope};
use crate::fleet::{Entry, Phase};
use crate::model::{Health, NodeName};

/// What an instance has under an id of `acme`.
fn get(pool: &Pool, instance: usize, id: &str) -> Option<Arc<Entry>> {
    pool.fleets[instance].directory.get(&scope("acme"), id)
}

/// Cuts an instance off, and waits until it knows.
async fn cut_off(pool: &Pool, instance: usize) {
    pool.set_away(instance, true);
    while pool.fleets[instance].instances.in_touch() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_over_by_the_end_of_an_outage_is_not_told() {
    let pool = Pool::start(3, 2).await;
    cut_off(&pool, 0).await;
    pool.create(0, &key("acme", "daily"), 7).await.unwrap();
    let first = get(&pool, 0, "daily").unwrap().internal_id().to_owned();
    let node = pool.fleets[0].snapshot().node("n0").unwrap().clone();
    pool.fleets[0].doubt(&node, "refused".into(), 5);
    pool.vanish(&first);
    for _ in 0..2 {
        (0..2).for_each(|node| drop(pool.poll(0, node)));
    }
    assert!(get(&pool, 0, "daily").is_none());
    pool.create(1, &key("acme", "daily"), 9).await.unwrap();
    let second = get(&pool, 1, "daily").unwrap().internal_id().to_owned();
    pool.quiet().await;
    pool.set_away(0, false);
    pool.quiet().await;
    for instance in 0..3 {
        assert_eq!(get(&pool, instance, "daily").unwrap().internal_id(), second, "{instance}");
        assert!(pool.fleets[instance].directory.get_internal(&first).is_none(), "{instance}");
        let snapshot = pool.fleets[instance].snapshot();
        assert_eq!(snapshot.node("n0").unwrap().live.health(), Health::Up);
        assert_eq!(
            pool.fleets[instance].directory.tally(&scope("acme").tenant).whole().meetings,
            1
        );
    }
}

#[tokio::test]
async fn a_create_that_is_told_late_takes_no_key_from_a_younger_one() {
    let pool = Pool::start(2, 2).await;
    cut_off(&pool, 0).await;
    pool.create(0, &key("acme", "daily"), 7).await.unwrap();
    pool.create(1, &key("acme", "daily"), 9).await.unwrap();
    let second = get(&pool, 1, "daily").unwrap().internal_id().to_owned();
    pool.quiet().await;
    pool.set_away(0, false);
    pool.quiet().await;
    assert_eq!(get(&pool, 1, "daily").unwrap().internal_id(), second);
    assert_eq!(pool.fleets[1].directory.len(), 2);
}

/// A meeting on each of two nodes, of one key that the second instance moves from the younger to the older.
fn moved_to_the_older(pool: &Pool) -> (Arc<Entry>, Arc<Entry>) {
    let [older, younger] = [("n1", 7), ("n0", 9)]
        .map(|(node, ms)| meeting(&key("acme", "m"), &NodeName::new(node), "m@acme", ms));
    for instance in 0..pool.fleets.len() {
        pool.fleets[instance].directory.adopt(younger.clone(), true);
    }
    let fleet = &pool.fleets[1];
    let rival = get(pool, 1, "m").unwrap();
    let here = Here::Stranger(Box::new(older));
    let winner = fleet.move_to_double(&Double { here, rival: rival.clone() }).unwrap();
    (winner, rival)
}

#[tokio::test]
async fn a_key_that_moves_moves_everywhere_whatever_is_younger() {
    let pool = Pool::start(3, 2).await;
    let (winner, loser) = moved_to_the_older(&pool);
    pool.quiet().await;
    for instance in 0..3 {
        let entry = get(&pool, instance, "m").unwrap();
        assert_eq!(entry.internal_id(), winner.internal_id(), "{instance}");
        let other = pool.fleets[instance].directory.get_internal(loser.internal_id()).unwrap();
        assert_eq!(other.phase(), Phase::Lost, "{instance}");
        assert_eq!(
            pool.fleets[instance].directory.tally(&scope("acme").tenant).whole().meetings,
            1
        );
    }
    // And back again, to one that all know.
    let fleet = &pool.fleets[2];
    let double = Double {
        here: Here::Displaced(fleet.directory.get_internal(loser.internal_id()).unwrap()),
        rival: get(&pool, 2, "m").unwrap(),
    };
    fleet.move_to_double(&double).unwrap();
    pool.quiet().await;
    for instance in 0..3 {
        let entry = get(&pool, instance, "m").unwrap();
        assert_eq!(entry.internal_id(), loser.internal_id(), "{instance}");
        let other = pool.fleets[instance].directory.get_internal(winner.internal_id()).unwrap();
        assert_eq!(other.phase(), Phase::Lost, "{instance}");
    }
}

#[tokio::test]
async fn what_the_store_says_of_a_key_is_followed_everywhere() {
    let pool = Pool::start(3, 2).await;
    let [older, younger] = [("n1", 7), ("n0", 9)]
        .map(|(node, ms)| meeting(&key("acme", "m"), &NodeName::new(node), "m@acme", ms));
    for fleet in &pool.fleets {
        fleet.directory.adopt(younger.clone(), true);
    }
    let followed = pool.fleets[0].follow(older.clone()).unwrap();
    assert!(followed.is_saved());
    pool.quiet().await;
    for instance in 0..3 {
        assert_eq!(get(&pool, instance, "m").unwrap().internal_id(), older.internal_id);
        let other = pool.fleets[instance].directory.get_internal(&younger.internal_id).unwrap();
        assert_eq!(other.phase(), Phase::Running, "it may have people in it");
    }
    // Known, but not by its key; and one that was given up is not looked up again.
    assert_eq!(pool.fleets[1].learn(younger.clone()).unwrap().internal_id(), younger.internal_id);
    pool.quiet().await;
    for instance in 0..3 {
        assert_eq!(get(&pool, instance, "m").unwrap().internal_id(), younger.internal_id);
    }
    let fleet = &pool.fleets[2];
    fleet.lose_meetings_on(&NodeName::new("n1"));
    assert!(fleet.learn(older).is_none());
}

#[tokio::test]
async fn a_meeting_gets_its_key_back_where_its_node_is_not_polled() {
    let pool = Pool::start(2, 2).await;
    pool.create(0, &key("acme", "m"), 9).await.unwrap();
    pool.quiet().await;
    let node = get(&pool, 0, "m").unwrap().node().clone();
    let (number, elsewhere) = if node.as_str() == "n0" { (0, "n1") } else { (1, "n0") };
    pool.poll(0, number);
    pool.quiet().await;
    let first = get(&pool, 0, "m").unwrap().internal_id().to_owned();
    let other = meeting(&key("acme", "m"), &NodeName::new(elsewhere), "m@acme", 7);
    let other = pool.fleets[0].follow(other).unwrap();
    pool.quiet().await;
    assert_eq!(get(&pool, 1, "m").unwrap().internal_id(), other.internal_id());
    pool.fleets[0].remove(&other);
    pool.quiet().await;
    assert!(get(&pool, 1, "m").is_none());
    pool.poll(0, number);
    pool.quiet().await;
    assert_eq!(get(&pool, 1, "m").unwrap().internal_id(), first);
    alike(&pool);
}

#[tokio::test]
async fn what_is_looked_up_gets_its_key_back_everywhere_and_takes_it_from_none() {
    let pool = Pool::start(2, 2).await;
    let [first, second] = [("n0", 7), ("n1", 9)]
        .map(|(node, ms)| meeting(&key("acme", "m"), &NodeName::new(node), "m@acme", ms));
    for fleet in &pool.fleets {
        fleet.directory.adopt(first.clone(), true);
        let holder = fleet.directory.adopt(second.clone(), true);
        fleet.directory.remove(&holder);
    }
    assert!((0..2).all(|instance| get(&pool, instance, "m").is_none()));
    pool.fleets[0].learn_missing(first.clone());
    pool.quiet().await;
    for instance in 0..2 {
        let entry = get(&pool, instance, "m").expect("it has its key");
        assert_eq!(entry.internal_id(), first.internal_id, "{instance}");
    }
    // What has come under it since the store was asked stays.
    pool.fleets[0].directory.adopt(second.clone(), true);
    pool.fleets[0].learn_missing(first);
    assert_eq!(get(&pool, 0, "m").unwrap().internal_id(), second.internal_id);
}

/// Tells something in the name of an instance that knows no more of it.
async fn say(pool: &Pool, instance: usize, event: Event) {
    pool.fleets[instance].instances.tell(&event);
    pool.quiet().await;
}

#[tokio::test]
async fn an_end_that_is_heard_before_the_create_counts() {
    let pool = Pool::start(2, 1).await;
    let created = |id: &str| {
        let meeting = meeting(&key("acme", id), &NodeName::new("n0"), &format!("{id}@acme"), 7);
        let internal_id = meeting.internal_id.clone();
        let (meeting, xml) = meeting.into();
        let created = Created { token: None, meeting, xml, saved: true, tried: Vec::new() };
        (internal_id, Event::Created(Box::new(created)))
    };
    let (internal_id, event) = created("gone");
    say(&pool, 0, Event::Removed { internal_id: internal_id.clone() }).await;
    say(&pool, 0, event).await;
    assert!(pool.fleets[1].directory.get_internal(&internal_id).is_none());
    let (internal_id, event) = created("ended");
    say(&pool, 0, Event::Ended { internal_id: internal_id.clone() }).await;
    say(&pool, 0, event).await;
    assert_eq!(get(&pool, 1, "ended").unwrap().phase(), Phase::Ended);
}

#[tokio::test]
async fn an_old_reading_of_the_store_brings_nothing_back_and_takes_no_key() {
    let pool = Pool::start(1, 2).await;
    let (fleet, snapshot) = (&pool.fleets[0], pool.fleets[0].snapshot());
    let row = |ms, node| meeting(&key("acme", "m"), &NodeName::new(node), "m@acme", ms);
    let nothing = HashSet::new();
    let removed = fleet.directory.adopt(row(7, "n0"), true);
    fleet.directory.remove(&removed);
    assert!(!fleet.adopt_saved(&snapshot, &nothing, row(7, "n0")));
    // Entered, and saved, since the reading began.
    let newer = fleet.directory.adopt(row(9, "n1"), true);
    assert!(!fleet.adopt_saved(&snapshot, &nothing, row(8, "n0")));
    assert_eq!(get(&pool, 0, "m").unwrap().internal_id(), newer.internal_id());
    // The store had it before: by now it has another one, younger or not.
    let before = HashSet::from([newer.internal_id().into()]);
    assert!(fleet.adopt_saved(&snapshot, &before, row(8, "n0")));
    assert_eq!(get(&pool, 0, "m").unwrap().created_at_ms(), 8);
}
