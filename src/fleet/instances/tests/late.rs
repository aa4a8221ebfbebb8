//! One that joins late, when there is much to be told.

use std::sync::Arc;

use super::pool::Pool;
use super::{alike, burst};
use crate::fleet::instances::event::{Event, MAX_TOLD_BYTES};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_joins_late_has_the_same_picture_of_thousands_of_meetings() {
    const MEETINGS: usize = 5_000;
    let mut pool = Arc::new(Pool::start(2, 2).await);
    assert_eq!(burst(&pool, MEETINGS).await, MEETINGS);
    for number in 0..2 {
        pool.people_come(number, 3);
        pool.poll(number, number);
    }
    pool.quiet().await;
    alike(&pool);
    let told = pool.told().len();
    let late = Arc::get_mut(&mut pool).expect("the creates are over").add(|_| ());
    pool.quiet().await;
    for number in 0..2 {
        pool.poll(number, number);
    }
    pool.quiet().await;
    alike(&pool);
    assert_eq!(pool.fleets[late].directory.len(), MEETINGS);
    assert!(pool.fleets[late].all_entries().iter().all(|entry| entry.attendees() == 3));

    // Each poll was told in parts, none much larger than one may be.
    let parts = pool.told().split_off(told);
    let polled = |bytes: &&bytes::Bytes| matches!(Event::read(bytes), Some(Event::Polled(_)));
    let parts: Vec<_> = parts.iter().filter(polled).collect();
    assert!(parts.len() >= 10, "{} parts", parts.len());
    let largest = parts.iter().map(|bytes| bytes.len()).max().unwrap_or_default();
    assert!(largest < MAX_TOLD_BYTES * 2, "{largest} bytes");
}
