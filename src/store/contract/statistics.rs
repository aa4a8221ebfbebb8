//! What every store must do with statistics.

use std::time::Duration;

use futures::future::join_all;

use crate::store::{Begun, Of, Per, Running, Store, Usage, Wanted};

const HOUR_MS: u64 = 60 * 60 * 1000;
/// 2026-11-21, 23:59:50 UTC.
const BEFORE_MIDNIGHT_MS: u64 = 1_795_305_590_000;
const GAP: Duration = Duration::from_secs(10);

fn of(tenant: &str) -> Of {
    Of::Tenant(tenant.parse().unwrap())
}

fn running(tenant: &str, meetings: u32, attendees: u32) -> Running {
    Running { of: of(tenant), meetings, attendees }
}

fn begun(process: &str, number: u64, at_ms: u64, meetings: &[(Of, u64)]) -> Begun {
    Begun { process: process.to_owned(), number, at_ms, meetings: meetings.to_vec() }
}

fn wanted(per: Per) -> Wanted {
    Wanted { per, of: None, from_s: 0, before_s: u64::MAX, after: None, limit: 100 }
}

/// Tenant, beginning, meetings, attendee-seconds, peaks.
fn short(rows: &[Usage]) -> Vec<(&str, u64, u64, u64, u32, u32)> {
    let each = |row: &Usage| {
        let Of::Tenant(tenant) = &row.of else { panic!("{row:?}") };
        let name = if tenant.as_str() == "acme" { "acme" } else { "beta" };
        let seconds = row.attendee_ms / 1000;
        (name, row.begins_at_s, row.meetings, seconds, row.peak_meetings, row.peak_attendees)
    };
    rows.iter().map(each).collect()
}

pub(in crate::store) async fn usage_adds_up_by_hours_and_days(store: &dyn Store) {
    assert_eq!(store.usage(&wanted(Per::Day)).await.unwrap(), []);
    let (first, midnight_s) = (BEFORE_MIDNIGHT_MS, BEFORE_MIDNIGHT_MS / 1000 + 10);
    let (day, next_day) = (midnight_s - 24 * 3600, midnight_s);
    let pool = Running { of: Of::Pool, meetings: 3, attendees: 30 };
    let all = [pool.clone(), running("beta", 1, 10), running("acme", 2, 20)];
    // Of the time before the first nothing is known.
    assert!(store.add_running(first - 10_000, GAP, &all).await.unwrap());
    assert!(store.add_running(first, GAP, &all).await.unwrap());
    let batch = begun("a", 1, first, &[(of("acme"), 2), (Of::Pool, 3), (of("beta"), 1)]);
    store.add_begun(&batch).await.unwrap();
    store.add_begun(&begun("a", 2, first, &[])).await.unwrap();
    // Somebody else has counted just now.
    assert!(!store.add_running(first + 9_999, GAP, &all).await.unwrap());
    let after = first + 20_000;
    assert!(store.add_running(after, GAP, &[running("acme", 1, 50)]).await.unwrap());
    store.add_begun(&begun("a", 3, after, &[(of("acme"), 1)])).await.unwrap();
    let rows = store.usage(&wanted(Per::Day)).await.unwrap();
    let expected = [
        ("acme", day, 2, 200, 2, 20),
        ("beta", day, 1, 100, 1, 10),
        ("acme", next_day, 1, 1000, 1, 50),
    ];
    assert_eq!(short(&rows), expected);
    let hours = store.usage(&wanted(Per::Hour)).await.unwrap();
    assert_eq!(hours.len(), 3);
    assert_eq!(hours[0].begins_at_s, midnight_s - 3600);

    let of_pool = Wanted { of: Some(Of::Pool), ..wanted(Per::Day) };
    let whole = store.usage(&of_pool).await.unwrap();
    let known = (whole[0].meetings, whole[0].attendee_ms, whole[0].sampled_ms);
    assert_eq!((known, whole.len()), ((3, 300_000, 10_000), 1));
    let of_acme = Wanted { of: Some(of("acme")), from_s: day + 1, ..wanted(Per::Day) };
    assert_eq!(short(&store.usage(&of_acme).await.unwrap()), expected[2..]);
    let early = Wanted { before_s: next_day, ..wanted(Per::Day) };
    assert_eq!(short(&store.usage(&early).await.unwrap()), expected[..2]);
    let mut page = Wanted { limit: 1, ..wanted(Per::Day) };
    for one in expected {
        let rows = store.usage(&page).await.unwrap();
        assert_eq!(short(&rows), [one]);
        page.after = Some((rows[0].begins_at_s, one.0.to_owned()));
    }
    assert_eq!(store.usage(&page).await.unwrap(), []);

    // A long gap counts for a part only, and a clock that is ahead is not waited for.
    assert!(store.add_running(after + HOUR_MS, GAP, &[running("acme", 1, 1)]).await.unwrap());
    let rows = store.usage(&of_acme).await.unwrap();
    assert_eq!(rows[0].attendee_ms, 1_000_000 + 300_000);
    assert!(store.add_running(after, GAP, &[running("acme", 1, 1)]).await.unwrap());
    assert_eq!(store.usage(&of_acme).await.unwrap(), rows, "time does not run backwards");

    store.forget_usage(midnight_s, next_day).await.unwrap();
    assert_eq!(short(&store.usage(&wanted(Per::Day)).await.unwrap())[0].1, next_day);
    assert_eq!(store.usage(&wanted(Per::Hour)).await.unwrap()[0].begins_at_s, midnight_s);
    assert_eq!(store.oldest_delivery().await.unwrap(), None);
}

/// Whoever does not know whether a batch was heard tells it again.
pub(in crate::store) async fn a_batch_is_counted_once(stores: [&dyn Store; 2]) {
    let meetings = [(Of::Pool, 3), (of("acme"), 3)];
    let batch = |process, number| begun(process, number, BEFORE_MIDNIGHT_MS, &meetings);
    let counted = || async {
        let rows = stores[0].usage(&wanted(Per::Day)).await.unwrap();
        rows.iter().map(|row| row.meetings).sum::<u64>()
    };
    // The first coming may still be under way.
    let one = batch("one", 1);
    let twice = join_all((0..4).map(|number| stores[number % 2].add_begun(&one))).await;
    twice.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(counted().await, 3);
    stores[0].add_begun(&batch("another", 1)).await.unwrap();
    stores[0].add_begun(&batch("one", 2)).await.unwrap();
    assert_eq!(counted().await, 9);
    // What was sent before a connection broke may come late.
    stores[1].add_begun(&batch("one", 1)).await.unwrap();
    stores[1].add_begun(&batch("one", 2)).await.unwrap();
    assert_eq!(counted().await, 9);
    // Who is silent for as long as hours are kept has nothing to tell again.
    stores[0].forget_usage(BEFORE_MIDNIGHT_MS / 1000 + 1, 0).await.unwrap();
    stores[0].add_begun(&batch("one", 1)).await.unwrap();
    assert_eq!(counted().await, 12);
}

/// Those whose own clocks differ count by the one that they share.
pub(in crate::store) async fn clocks_apart_are_one(stores: [&dyn Store; 2]) {
    let own = [BEFORE_MIDNIGHT_MS, BEFORE_MIDNIGHT_MS + 2 * HOUR_MS];
    let running = [running("acme", 1, 10)];
    let mut counted = 0;
    for number in 0..6 {
        let at_ms = stores[number % 2].clock_ms(own[number % 2]).await.unwrap();
        counted += u32::from(stores[number % 2].add_running(at_ms, GAP, &running).await.unwrap());
    }
    assert_eq!(counted, 1);
    let rows = stores[0].usage(&wanted(Per::Hour)).await.unwrap();
    assert_eq!((rows.len(), rows[0].sampled_ms), (1, 0));
}

/// Several at once, of whom one counts at a time.
pub(in crate::store) async fn one_of_many_counts_what_runs(stores: [&dyn Store; 2]) {
    for tick in 1..=10_u64 {
        let at_ms = BEFORE_MIDNIGHT_MS + tick * 60_000;
        let count = |number: usize| async move {
            let running =
                [running("acme", 1, 10), Running { of: Of::Pool, meetings: 1, attendees: 10 }];
            let batch = begun(&number.to_string(), tick, at_ms, &[(Of::Pool, 1), (of("acme"), 1)]);
            stores[number % 2].add_begun(&batch).await.unwrap();
            stores[number % 2].add_running(at_ms, GAP, &running).await.unwrap()
        };
        let counted = join_all((0..6).map(count)).await;
        assert_eq!(counted.iter().filter(|counted| **counted).count(), 1, "{counted:?}");
    }
    let rows = stores[0].usage(&wanted(Per::Day)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.meetings).sum::<u64>(), 60);
    assert_eq!(rows.iter().map(|row| row.attendee_ms).sum::<u64>(), 9 * 60_000 * 10);
}
