//! What one instance missed, or told too late, and what became of the key of a meeting.

use std::sync::Arc;

use super::alike;
use super::pool::Pool;
use crate::fleet::Entry;
use crate::fleet::tests::fixture::{key, scope};
use crate::model::Health;

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
