//! What every store must do with what is learned of the size of meetings.

use std::collections::BTreeMap;

use crate::model::{
    HistoryKey, HistoryRow, Hour, MeetingKey, Moments, Past, Peak, Scope, Slug, SubId,
};
use crate::store::{Aged, Forgotten, Sought, Store};

fn key(scope: &str, id: &str) -> MeetingKey {
    MeetingKey { scope: Scope::parse(scope).unwrap(), id: id.to_owned() }
}

fn peak(scope: &str, id: &str, hour: u8, attendees: u32) -> Peak {
    Peak { key: key(scope, id), hour: Hour::new(hour).unwrap(), attendees }
}

async fn all(store: &dyn Store) -> Vec<HistoryRow> {
    store.history(&Sought { limit: 1000, ..Sought::default() }).await.unwrap().rows
}

/// All rows, a few at a time, and how many cannot be read.
async fn by_pages(store: &dyn Store, limit: u32) -> (Vec<HistoryRow>, usize) {
    let mut sought = Sought { limit, ..Sought::default() };
    let (mut rows, mut skipped) = (Vec::new(), 0);
    loop {
        let page = store.history(&sought).await.unwrap();
        rows.extend(page.rows);
        skipped += page.skipped;
        let Some(last) = page.last else { return (rows, skipped) };
        assert_ne!(sought.after.as_ref(), Some(&last), "it goes on");
        // As a client of the API hands it back.
        sought.after = Some(last.to_string().parse().unwrap());
    }
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
    assert_eq!(by_pages(store, 4).await, (whole.clone(), 0));
    let count = async |sought: Sought| {
        store.history(&Sought { limit: 1000, ..sought }).await.unwrap().rows.len()
    };
    assert_eq!(count(Sought { tenant: Some(acme.clone()), ..Sought::default() }).await, 7);
    assert_eq!(count(Sought { room: Some("b".to_owned()), ..Sought::default() }).await, 4);
    assert_eq!(count(Sought { since_s: 300, ..Sought::default() }).await, 1 + 2 + 4);

    // Put back as it was, and in place of what was learned since.
    assert_eq!(store.reset_history(&room(&acme, None, "a")).await.unwrap(), 2);
    assert_eq!(store.reset_history(&Forgotten::Tenant(beta)).await.unwrap(), 7);
    store.put_history(&whole).await.unwrap();
    assert_eq!(all(store).await, whole);

    // Two rooms, at any time and at nine.
    let old = Aged { before_s: 200, most: 1000, now_s: 1000, limit: 3 };
    for gone in [3, 1, 0] {
        assert_eq!(store.forget_history(&old).await.unwrap(), gone, "three at a time");
    }
    // Of the youngest, as many as there may be.
    let many = Aged { before_s: 0, most: 7, ..old };
    for gone in [3, 1, 0] {
        assert_eq!(store.forget_history(&many).await.unwrap(), gone, "three at a time");
    }
    let left = all(store).await;
    assert_eq!(left.len(), 7);
    assert!(left.iter().all(|row| row.learned_at_s == 300), "{left:?}");
    assert_eq!(store.reset_history(&Forgotten::All).await.unwrap(), 7);
    assert_eq!(all(store).await, []);
    what_was_learned_by_a_clock_ahead_goes_as_well(store).await;
    a_tenants_rows_are_read_from_any_place(store).await;
}

async fn what_was_learned_by_a_clock_ahead_goes_as_well(store: &dyn Store) {
    store.learn(&[peak("acme", "ahead", 9, 10)], 5000).await.unwrap();
    let full = Aged { before_s: 0, most: 3, now_s: 1000, limit: 100 };
    assert_eq!(store.forget_history(&full).await.unwrap(), 1);
    store.learn(&[peak("acme", "good", 9, 10)], 1500).await.unwrap();
    store.forget_history(&Aged { most: 4, now_s: 2000, ..full }).await.unwrap();
    let left: Vec<_> = all(store).await.iter().map(|row| row.learned_at_s).collect();
    assert_eq!(left, [1500; 4]);
    store.reset_history(&Forgotten::All).await.unwrap();
}

async fn a_tenants_rows_are_read_from_any_place(store: &dyn Store) {
    for scope in ["acme", "acme-5", "beta", "gamma"] {
        store.learn(&[peak(scope, "m", 9, 10)], 100).await.unwrap();
    }
    let rows = async |tenant: &str, after: &str| {
        let (tenant, after) = (tenant.parse().ok(), after.parse().ok());
        let sought = Sought { tenant, after, limit: 1000, ..Sought::default() };
        store.history(&sought).await.unwrap().rows.len()
    };
    // Behind nothing, others before it, its first row, others behind it; and what nobody was ever told.
    assert_eq!((rows("acme", "").await, rows("beta", "61636d65 5 6d 9").await), (5, 3));
    assert_eq!((rows("beta", "62657461 -1  -1").await, rows("beta", "67 0 6d 9").await), (2, 0));
    assert_eq!(rows("beta", "0061 0 006d 9").await, 3);
    store.reset_history(&Forgotten::All).await.unwrap();
}

fn room(tenant: &Slug, sub: Option<u16>, id: &str) -> Forgotten {
    let sub = sub.and_then(SubId::new);
    Forgotten::Room { tenant: tenant.clone(), sub, id: id.to_owned() }
}

pub(in crate::store) async fn what_operators_change_counts_up(store: &dyn Store) {
    let acme: Slug = "acme".parse().unwrap();
    assert_eq!(store.history_generation().await.unwrap(), 0);
    for scope in ["acme", "acme-5", "acme-6", "beta"] {
        store.learn(&[peak(scope, "m", 9, 10)], 100).await.unwrap();
    }
    store.forget_history(&Aged { before_s: 0, most: 1000, now_s: 100, limit: 9 }).await.unwrap();
    assert_eq!(store.history_generation().await.unwrap(), 0, "learning and forgetting do not");
    let whole = all(store).await;

    assert_eq!(store.reset_history(&room(&acme, Some(5), "m")).await.unwrap(), 2);
    assert_eq!(store.reset_history(&room(&acme, None, "n")).await.unwrap(), 0);
    assert_eq!(store.reset_history(&room(&acme, None, "m")).await.unwrap(), 4);
    assert_eq!(store.history_generation().await.unwrap(), 3);
    assert_eq!(store.put_history(&whole).await.unwrap(), 4);
    assert_eq!(all(store).await, whole);
    assert_eq!(store.put_history(&[]).await.unwrap(), 5);

    // The past is learned like any meeting, and makes nothing older that was learned since.
    let past = |id: &str, attendees, at_s| Past { peak: peak("acme", id, 9, attendees), at_s };
    let seeds = [past("m", 20, 50), past("old", 30, 60), past("old", 40, 70), past("old", 0, 80)];
    assert_eq!(store.seed_history(&seeds, 1000).await.unwrap(), 6);
    assert_eq!(store.history_generation().await.unwrap(), 6);
    let rows = all(store).await;
    let find = |key: HistoryKey| rows.iter().find(|row| row.key == key).unwrap();
    let known = find(HistoryKey::Room(key("acme", "m")));
    assert_eq!((known.moments.seen, known.moments.mean, known.learned_at_s), (2, 15.0, 100));
    let old = find(HistoryKey::Room(key("acme", "old")));
    assert_eq!((old.moments.seen, old.moments.mean, old.learned_at_s), (2, 35.0, 70));
    assert_eq!(find(HistoryKey::Everywhere).moments.seen, 7);
}

/// `sql` does something to the store that nobody of us does, `odd` is a number that is none.
pub(in crate::store) async fn rows_behind_broken_ones_are_read(
    store: &dyn Store,
    sql: impl AsyncFn(String),
    odd: &str,
) {
    for room in ["a", "c", "e", "g"] {
        store.learn(&[peak("acme", room, 9, 10)], 100).await.unwrap();
    }
    let whole = all(store).await;
    let broken = [
        "('', -1, '', 3, 1, 1, 0, 1)".to_owned(),
        "('', -1, 'x', -1, 1, 1, 0, 1)".to_owned(),
        "('', 0, 'x', -1, 1, 1, 0, 1)".to_owned(),
        "('No Slug', 0, 'x', -1, 1, 1, 0, 1)".to_owned(),
        "('acme', -7, '', -1, 1, 1, 0, 1)".to_owned(),
        "('acme', 1000, 'x', -1, 1, 1, 0, 1)".to_owned(),
        "('acme', 0, 'b', 999, 1, 1, 0, 1)".to_owned(),
        "('acme', 0, 'b', -2, 1, 1, 0, 1)".to_owned(),
        "('acme', 0, 'c', 1, -1, 1, 0, 1)".to_owned(),
        "('acme', 0, 'c', 2, 0, 1, 0, 1)".to_owned(),
        "('acme', 0, 'd', 2, 5000000000, 1, 0, 1)".to_owned(),
        format!("('acme', 0, 'd', 3, 1, {odd}, 0, 1)"),
        format!("('acme', 0, 'd', 4, 1, 1, {odd}, 1)"),
        "('acme', 0, 'f', 3, 1, -1, 0, 1)".to_owned(),
        "('acme', 0, 'f', 4, 1, 1, -1, 1)".to_owned(),
        "('acme', 0, 'h', 5, 1, 200000, 0, 1)".to_owned(),
        "('acme', 0, 'h', 6, 1, 1, 0, -1)".to_owned(),
        "('acme', 0, 'h', 7, 9223372036854775807, 1, 0, 1)".to_owned(),
        "('zeta', 0, 'x', 168, 1, 1, 0, 1)".to_owned(),
    ];
    for row in &broken {
        sql(format!("INSERT INTO history VALUES {row}")).await;
    }
    for limit in [1, 2, 3, 7, 1000] {
        assert_eq!(by_pages(store, limit).await, (whole.clone(), broken.len()), "{limit}");
    }
    // Who meets in such a room teaches it anew.
    let anew = [("d", 3), ("c", 1), ("d", 2), ("h", 7)];
    store.learn(&anew.map(|(room, hour)| peak("acme", room, hour, 8)), 100).await.unwrap();
    let rows = all(store).await;
    for (room, hour) in anew {
        let key = HistoryKey::RoomAtHour(key("acme", room), Hour::new(hour).unwrap());
        let known = rows.iter().find(|row| row.key == key).unwrap();
        assert_eq!(known.moments, Moments { seen: 1, mean: 8.0, variance: 0.0 });
    }
    assert_eq!(store.reset_history(&Forgotten::All).await.unwrap(), 1 + 1 + 8 + 19 + 2);
}
