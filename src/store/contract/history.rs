//! What every store must do with what is learned of the size of meetings.

use std::collections::BTreeMap;

use crate::model::{HistoryKey, HistoryRow, Hour, MeetingKey, Moments, Peak, Scope, Slug};
use crate::store::{Sought, Store};

fn key(scope: &str, id: &str) -> MeetingKey {
    MeetingKey { scope: Scope::parse(scope).unwrap(), id: id.to_owned() }
}

fn peak(scope: &str, id: &str, hour: u8, attendees: u32) -> Peak {
    Peak { key: key(scope, id), hour: Hour::new(hour).unwrap(), attendees }
}

async fn all(store: &dyn Store) -> Vec<HistoryRow> {
    store.history(&Sought { limit: 1000, ..Sought::default() }).await.unwrap().rows
}

pub(in crate::store) async fn what_is_learned_is_what_memory_learns(store: &dyn Store) {
    let peaks = [
        peak("acme", "m", 9, 10),
        peak("acme", "m", 9, 20),
        peak("acme", "m", 33, 200),
        peak("acme-5", "m", 9, 7),
        peak("beta", "\0 odd 'id' \\", 9, 3),
        peak("beta", "empty", 9, 0),
    ];
    store.learn(&peaks[..2], 100).await.unwrap();
    store.learn(&peaks[2..], 200).await.unwrap();
    let mut expected: BTreeMap<HistoryKey, (Moments, u64)> = BTreeMap::new();
    for (number, peak) in peaks.iter().enumerate().filter(|(_, peak)| peak.attendees > 0) {
        for about in peak.teaches() {
            let (moments, at_s) = expected.entry(about.clone()).or_default();
            moments.learn(peak.attendees.into(), about.share());
            *at_s = if number < 2 { 100 } else { 200 };
        }
    }
    let rows = all(store).await;
    assert_eq!(rows.len(), expected.len());
    for row in &rows {
        let (moments, at_s) = expected[&row.key];
        let is_near = |one: f32, other: f32| (one - other).abs() <= one.abs() * 1e-4 + 1e-3;
        assert!(is_near(row.moments.mean, moments.mean), "{row:?} {moments:?}");
        assert!(is_near(row.moments.variance, moments.variance), "{row:?} {moments:?}");
        assert_eq!((row.moments.seen, row.learned_at_s), (moments.seen, at_s), "{row:?}");
    }
}

pub(in crate::store) async fn history_is_read_in_pages_and_forgotten(store: &dyn Store) {
    let (acme, beta): (Slug, Slug) = ("acme".parse().unwrap(), "beta".parse().unwrap());
    for (at_s, room) in [(100, "a"), (200, "b"), (300, "c")] {
        store.learn(&[peak("acme", room, 9, 10), peak("beta", room, 9, 10)], at_s).await.unwrap();
    }
    let whole = all(store).await;
    assert_eq!(whole.len(), 1 + 2 + 6 + 6);
    let mut sought = Sought { limit: 4, ..Sought::default() };
    let mut paged = Vec::new();
    loop {
        let page = store.history(&sought).await.unwrap();
        paged.extend(page.rows);
        let Some(last) = page.last else { break };
        sought.after = Some(last);
    }
    assert_eq!(paged, whole);
    let count = async |sought: Sought| {
        store.history(&Sought { limit: 1000, ..sought }).await.unwrap().rows.len()
    };
    assert_eq!(count(Sought { tenant: Some(acme.clone()), ..Sought::default() }).await, 7);
    assert_eq!(count(Sought { room: Some("b".to_owned()), ..Sought::default() }).await, 4);
    assert_eq!(count(Sought { since_s: 300, ..Sought::default() }).await, 1 + 2 + 4);

    // Put back as it was, and in place of what was learned since.
    assert_eq!(store.reset_history(Some(&acme), Some("a")).await.unwrap(), 2);
    assert_eq!(store.reset_history(Some(&beta), None).await.unwrap(), 7);
    store.put_history(&whole).await.unwrap();
    assert_eq!(all(store).await, whole);

    assert_eq!(
        store.forget_history(200, 1000).await.unwrap(),
        4,
        "two rooms, at any time and at nine"
    );
    // Of the youngest, as many as there may be.
    store.forget_history(0, 7).await.unwrap();
    let left = all(store).await;
    assert_eq!(left.len(), 7);
    assert!(left.iter().all(|row| row.learned_at_s == 300), "{left:?}");
    assert_eq!(store.reset_history(None, None).await.unwrap(), 7);
    assert_eq!(all(store).await, []);
}
