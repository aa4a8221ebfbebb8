//! What every [`Store`] must do with callbacks, as functions over one: each expects an empty store.

use std::time::Duration;

use super::callbacks::{Holder, MAX_DEAD, MAX_PENDING, MAX_PENDING_BYTES};
use super::contract::meeting;
use super::{CALLBACKS_KEPT_MS, Places, Put, Store, Taking};
use crate::model::{
    Callback, CallbackKind, CallbackToken, Delivery, Hook, MeetingKey, NewDelivery, NodeName,
    Scope, Settled, Waiting, WantedDeliveries,
};

pub(super) const ANY: Places = Places { of_origin: 9, of_tenant: 99, all: 99 };
/// By one who has forgotten all that it took before.
pub(super) const ANYBODYS: Taking<'static> =
    Taking { holder: Holder(1), lease: Duration::from_mins(1), under_way: &[] };
const HOUR_MS: u64 = 60 * 60 * 1000;

fn token(number: u8) -> CallbackToken {
    CallbackToken::new([number; CallbackToken::BYTES])
}

pub(super) fn callback(number: u8) -> Callback {
    Callback {
        token: token(number),
        kind: CallbackKind::End,
        key: MeetingKey { scope: Scope::parse("acme-7").unwrap(), id: "m ü".to_owned() },
        node: NodeName::new("bbb01"),
        node_meeting_id: "m ü@acme-7".to_owned(),
        internal_id: None,
        target: Some(format!("https://front{number}.example/end?a=1")),
        created_at_ms: 1000,
    }
}

pub(super) fn delivery(number: u8, subject: &str, received_at_ms: u64) -> NewDelivery {
    NewDelivery {
        token: token(number),
        subject: subject.to_owned(),
        origin: format!("https://front{number}.example"),
        payload: b"true".to_vec(),
        received_at_ms,
    }
}

pub(super) async fn due(store: &dyn Store, now_ms: u64) -> Vec<Delivery> {
    store.take_deliveries(now_ms, ANY, ANYBODYS).await.unwrap().taken
}

pub(super) async fn callbacks_come_back_as_they_were_put(store: &dyn Store) {
    let kinds = CallbackKind::ALL.into_iter().zip(1..);
    let all: Vec<_> = kinds.map(|(kind, n)| Callback { kind, ..callback(n) }).collect();
    let own = Callback { target: None, ..callback(9) };
    store.put_callbacks(&all).await.unwrap();
    store.put_callbacks(std::slice::from_ref(&own)).await.unwrap();
    for callback in all.iter().chain([&own]) {
        assert_eq!(store.find_callback(&callback.token).await.unwrap().as_ref(), Some(callback));
    }
    assert_eq!(store.find_callback(&token(77)).await.unwrap(), None);

    store.bind_callbacks(&[token(1), token(2)], "digest-1").await.unwrap();
    store.bind_callbacks(&[token(3)], "digest-2").await.unwrap();
    let found = store.callbacks_of(&own.key, "digest-1").await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|found| found.internal_id.as_deref() == Some("digest-1")));
    let other = MeetingKey { id: "other".to_owned(), ..own.key.clone() };
    assert_eq!(store.callbacks_of(&other, "digest-1").await.unwrap(), []);
    assert_eq!(store.callbacks_of_internal("digest-1").await.unwrap(), found);
    assert_eq!(store.callbacks_of_internal("digest-3").await.unwrap(), []);

    store.remove_callbacks(&[token(1), token(9)]).await.unwrap();
    assert_eq!(store.find_callback(&token(1)).await.unwrap(), None);
    assert!(store.find_callback(&token(2)).await.unwrap().is_some());
}

pub(super) async fn what_comes_twice_is_delivered_once(store: &dyn Store) {
    store.put_callbacks(&[callback(1)]).await.unwrap();
    store.put_delivery(&delivery(1, "", 10)).await.unwrap();
    store.put_delivery(&delivery(1, "", 20)).await.unwrap();
    store.put_delivery(&delivery(1, "another", 30)).await.unwrap();
    let [first, second] = due(store, 50).await.try_into().unwrap();
    assert_eq!((first.received_at_ms, second.received_at_ms), (10, 30));
    assert_eq!((first.attempts, store.payload_of(first.id).await.unwrap()), (0, b"true".to_vec()));
    assert_eq!(Some(&first.target), callback(1).target.as_ref());
    assert_eq!((first.kind, &first.key), (CallbackKind::End, &callback(1).key));
    assert_eq!(first.node, callback(1).node);

    store.settle_delivery(first.id, ANYBODYS.holder, 60, &Settled::Delivered).await.unwrap();
    assert_eq!(store.payload_of(first.id).await.unwrap(), b"");
    store.put_delivery(&delivery(1, "", 70)).await.unwrap();
    assert_eq!(due(store, 100).await, std::slice::from_ref(&second));

    let again = Settled::Again { at_ms: 200, error: "status 503".to_owned() };
    store.settle_delivery(second.id, ANYBODYS.holder, 100, &again).await.unwrap();
    let outbox = store.take_deliveries(199, ANY, ANYBODYS).await.unwrap();
    assert_eq!((outbox.taken.len(), outbox.next_due_ms, outbox.pending), (0, Some(200), 1));
    assert_eq!(due(store, 200).await, [Delivery { attempts: 1, ..second.clone() }]);

    let waits = Settled::Waits { at_ms: 250, error: "not listed".to_owned() };
    store.settle_delivery(second.id, ANYBODYS.holder, 200, &waits).await.unwrap();
    assert_eq!(store.take_deliveries(249, ANY, ANYBODYS).await.unwrap().next_due_ms, Some(250));
    assert_eq!(due(store, 250).await, [Delivery { attempts: 1, ..second.clone() }]);

    let dead = Settled::Dead { error: "status 503".to_owned() };
    store.settle_delivery(second.id, ANYBODYS.holder, 300, &dead).await.unwrap();
    let outbox = store.take_deliveries(400, ANY, ANYBODYS).await.unwrap();
    assert_eq!((outbox.taken.len(), outbox.pending, outbox.dead), (0, 0, 1));
}

pub(super) async fn what_is_expected_gives_way_to_what_is_said(store: &dyn Store) {
    store.put_callbacks(&[callback(1), callback(2)]).await.unwrap();
    let said = |number, payload: &[u8], at_ms| NewDelivery {
        payload: payload.to_vec(),
        ..delivery(number, "", at_ms)
    };
    store.put_delivery(&said(1, b"a guess", 1000)).await.unwrap();
    assert_eq!(due(store, 999).await, []);
    // Whoever else expects it does not put it off.
    store.put_delivery(&said(1, b"another", 2000)).await.unwrap();
    store.put_delivery(&said(1, b"true", 500)).await.unwrap();
    let [first] = due(store, 500).await.try_into().unwrap();
    assert_eq!(first.received_at_ms, 500);
    assert_eq!(store.payload_of(first.id).await.unwrap(), b"true");
    store.settle_delivery(first.id, ANYBODYS.holder, 600, &Settled::Delivered).await.unwrap();

    // What was tried, or told, stays as it was.
    store.put_delivery(&said(2, b"a guess", 1000)).await.unwrap();
    let [second] = due(store, 1000).await.try_into().unwrap();
    let again = Settled::Again { at_ms: 1200, error: "status 503".to_owned() };
    store.settle_delivery(second.id, ANYBODYS.holder, 1000, &again).await.unwrap();
    for number in [1, 2] {
        store.put_delivery(&said(number, b"true", 400)).await.unwrap();
    }
    assert_eq!(due(store, 1100).await, []);
    let [second] = due(store, 1200).await.try_into().unwrap();
    assert_eq!(store.payload_of(second.id).await.unwrap(), b"a guess");
}

pub(super) async fn one_origin_does_not_crowd_out_the_others(store: &dyn Store) {
    store.put_callbacks(&[callback(1), callback(2)]).await.unwrap();
    for number in 0..50 {
        store.put_delivery(&delivery(1, &number.to_string(), number)).await.unwrap();
    }
    store.put_delivery(&delivery(2, "", 99)).await.unwrap();
    let outbox = store
        .take_deliveries(100, Places { of_origin: 2, of_tenant: 9, all: 10 }, ANYBODYS)
        .await
        .unwrap();
    let received: Vec<_> = outbox.taken.iter().map(|due| due.received_at_ms).collect();
    assert_eq!((received, outbox.pending), (vec![0, 1, 99], 51));
}

/// A callback of another tenant.
pub(super) fn callback_of(tenant: &str, number: u8) -> Callback {
    let key = MeetingKey { scope: Scope::parse(tenant).unwrap(), id: "m".to_owned() };
    Callback { key, ..callback(number) }
}

fn received(due: &[Delivery]) -> Vec<u64> {
    due.iter().map(|due| due.received_at_ms).collect()
}

/// However many origins it has, and however long its deliveries have waited.
pub(super) async fn one_tenant_does_not_crowd_out_the_others(store: &dyn Store) {
    let mut own: Vec<_> = (1..=20).map(|number| callback_of("acme", number)).collect();
    own.extend([callback_of("other", 21), callback_of("third", 22)]);
    store.put_callbacks(&own).await.unwrap();
    for number in 1..=20 {
        for subject in 0..3 {
            let at_ms = u64::from(number) * 3 + subject;
            store.put_delivery(&delivery(number, &subject.to_string(), at_ms)).await.unwrap();
        }
    }
    for (number, subject, at_ms) in [(21, "", 70), (21, "second", 90), (22, "", 80)] {
        store.put_delivery(&delivery(number, subject, at_ms)).await.unwrap();
    }
    let places = Places { of_origin: 2, of_tenant: 4, all: 10 };
    let outbox = store.take_deliveries(100, places, ANYBODYS).await.unwrap();
    // Of the first origin the third has no place.
    assert_eq!(received(&outbox.taken), [3, 70, 80, 4, 90, 6, 7]);
    assert_eq!(outbox.pending, 63);
    // Where there is not enough for all, everybody's first comes first.
    let few = store.take_deliveries(100, Places { all: 3, ..places }, ANYBODYS).await.unwrap();
    assert_eq!(received(&few.taken), [3, 70, 80]);
    // What is not due yet has no place, and is waited for.
    let early = store.take_deliveries(6, places, ANYBODYS).await.unwrap();
    assert_eq!((received(&early.taken), early.next_due_ms), (vec![3, 4, 6], Some(7)));
}

/// Whoever delivers gets those again that are under way, and nothing in their places.
pub(super) async fn those_under_way_keep_their_places(store: &dyn Store) {
    let own = [callback_of("acme", 1), callback_of("acme", 2), callback_of("acme", 3)];
    store.put_callbacks(&own).await.unwrap();
    for number in 1..=3 {
        store.put_delivery(&delivery(number, "", u64::from(number))).await.unwrap();
    }
    let places = Places { of_origin: 1, of_tenant: 2, all: 9 };
    let due = async |now_ms| store.take_deliveries(now_ms, places, ANYBODYS).await.unwrap().taken;
    let under_way = due(10).await;
    assert_eq!(received(&under_way), [1, 2]);
    store.put_delivery(&delivery(1, "another", 11)).await.unwrap();
    assert_eq!(due(20).await, under_way);
    // One that failed makes room, and comes behind who waits by then.
    let again = Settled::Again { at_ms: 50, error: "status 503".to_owned() };
    store.settle_delivery(under_way[0].id, ANYBODYS.holder, 20, &again).await.unwrap();
    assert_eq!(received(&due(60).await), [2, 3]);
    store.settle_delivery(under_way[1].id, ANYBODYS.holder, 60, &Settled::Delivered).await.unwrap();
    assert_eq!(received(&due(60).await), [3, 11]);
    for place in due(60).await {
        store.settle_delivery(place.id, ANYBODYS.holder, 60, &Settled::Delivered).await.unwrap();
    }
    assert_eq!(received(&due(60).await), [1]);
    store.remove_callbacks(&[token(1)]).await.unwrap();
    let outbox = store.take_deliveries(60, places, ANYBODYS).await.unwrap();
    assert_eq!((outbox.taken, outbox.pending, outbox.next_due_ms), (Vec::new(), 0, None));
}

/// While one waits or is under way, none of those behind it.
pub(super) async fn events_of_a_hook_are_due_one_after_the_other(store: &dyn Store) {
    let hook = |number| Callback {
        kind: CallbackKind::Hook,
        target: Some("https://front/".to_owned()),
        ..callback_of("acme", number)
    };
    let end = Callback { kind: CallbackKind::End, ..hook(3) };
    store.put_callbacks(&[hook(1), hook(2), end]).await.unwrap();
    for (number, at_ms) in [(1, 1), (1, 2), (2, 3), (1, 4), (3, 5), (3, 6)] {
        let delivery = delivery(number, &at_ms.to_string(), at_ms);
        let origin = "https://front".to_owned();
        store.put_delivery(&NewDelivery { origin, ..delivery }).await.unwrap();
    }
    let found = due(store, 10).await;
    assert_eq!(received(&found), [1, 3, 5, 6]);
    let settle = async |delivery: &Delivery, at_ms, settled| {
        store.settle_delivery(delivery.id, ANYBODYS.holder, at_ms, &settled).await.unwrap();
    };
    let error = || "status 503".to_owned();
    settle(&found[0], 10, Settled::Again { at_ms: 50, error: error() }).await;
    let outbox = store.take_deliveries(20, ANY, ANYBODYS).await.unwrap();
    assert_eq!((received(&outbox.taken), outbox.next_due_ms), (vec![3, 5, 6], Some(50)));
    // Those of another hook, and what is not an event, do not wait for it.
    settle(&found[1], 20, Settled::Delivered).await;
    let first = &due(store, 50).await[2];
    assert_eq!(first.received_at_ms, 1);
    settle(first, 60, Settled::Delivered).await;
    let outbox = store.take_deliveries(60, ANY, ANYBODYS).await.unwrap();
    assert_eq!((received(&outbox.taken), outbox.next_due_ms), (vec![5, 6, 2], None));
    // What is given up makes way, too.
    settle(&outbox.taken[2], 70, Settled::Dead { error: error() }).await;
    let last = due(store, 70).await;
    assert_eq!((received(&last), last[2].attempts), (vec![5, 6, 4], 0));
    settle(&last[2], 80, Settled::Delivered).await;
    let again = NewDelivery { origin: "https://front".to_owned(), ..delivery(1, "new", 90) };
    store.put_delivery(&again).await.unwrap();
    assert_eq!(received(&due(store, 90).await), [5, 6, 90]);
}

/// What one holds is nobody else's while that one lives, and has its place.
pub(super) async fn two_that_deliver_take_turns(store: &dyn Store) {
    let own = [callback_of("acme", 1), callback_of("acme", 2), callback_of("acme", 3)];
    store.put_callbacks(&own).await.unwrap();
    for number in 1..=3 {
        store.put_delivery(&delivery(number, "", u64::from(number))).await.unwrap();
    }
    let [one, two] = [7, 8].map(|holder| Taking { holder: Holder(holder), ..ANYBODYS });
    let places = Places { of_origin: 1, of_tenant: 2, all: 9 };
    let take = async |taking| store.take_deliveries(10, places, taking).await.unwrap();
    let settle = async |id, taking: Taking<'_>, settled| {
        store.settle_delivery(id, taking.holder, 10, &settled).await.unwrap();
    };
    let held = take(one).await.taken;
    assert_eq!((received(&held), held[0].attempts), (vec![1, 2], 0));
    let ids: Vec<_> = held.iter().map(|delivery| delivery.id).collect();
    // Two places are as many for both of them together.
    let outbox = take(two).await;
    assert_eq!((outbox.taken, outbox.pending), (Vec::new(), 3));
    // Whoever goes on with it does not get it again; whoever has forgotten it does.
    assert_eq!(take(Taking { under_way: &ids, ..one }).await.taken, []);
    assert_eq!(received(&take(Taking { under_way: &ids[..1], ..one }).await.taken), [2]);
    // Nobody settles what is not his.
    settle(ids[0], two, Settled::Delivered).await;
    settle(ids[0], two, Settled::Again { at_ms: 90, error: String::new() }).await;
    assert_eq!(store.payload_of(ids[0]).await.unwrap(), b"true");
    settle(ids[0], one, Settled::Delivered).await;
    let third = take(two).await.taken;
    assert_eq!(received(&third), [3]);
    // What is given back is due at once, and what failed when its time has come.
    store.give_back(&ids, two.holder).await.unwrap();
    assert_eq!(take(two).await.taken, third);
    store.give_back(&ids, one.holder).await.unwrap();
    assert_eq!(received(&take(two).await.taken), [2, 3]);
    settle(ids[1], two, Settled::Again { at_ms: 20, error: String::new() }).await;
    let outbox = store.take_deliveries(20, places, one).await.unwrap();
    assert_eq!(received(&outbox.taken), [2]);
    assert_eq!((outbox.taken[0].attempts, outbox.pending), (1, 2));
}

/// One that died loses what it held when its lease is over, and one that was only slow cannot settle it then.
pub(super) async fn what_was_not_held_on_to_is_anybodys(store: &dyn Store) {
    store.put_callbacks(&[callback(1)]).await.unwrap();
    store.put_delivery(&delivery(1, "", 1)).await.unwrap();
    let slow = Taking { holder: Holder(7), lease: Duration::ZERO, under_way: &[] };
    let other = Taking { holder: Holder(8), ..ANYBODYS };
    let take = async |taking| store.take_deliveries(10, ANY, taking).await.unwrap().taken;
    let id = take(slow).await[0].id;
    // For as long as it is held on to.
    let longer = Taking { lease: ANYBODYS.lease, under_way: &[id], ..slow };
    assert_eq!((take(longer).await, take(other).await), (Vec::new(), Vec::new()));
    store.give_back(&[id], slow.holder).await.unwrap();
    assert_eq!(take(slow).await[0].id, id);
    assert_eq!(take(other).await[0].id, id);
    assert_eq!(take(Taking { under_way: &[id], ..slow }).await, []);
    let dead = Settled::Dead { error: "refused".to_owned() };
    store.settle_delivery(id, slow.holder, 10, &dead).await.unwrap();
    assert_eq!(store.take_deliveries(10, ANY, slow).await.unwrap().pending, 1);
    store.settle_delivery(id, other.holder, 10, &Settled::Delivered).await.unwrap();
    let outbox = store.take_deliveries(10, ANY, slow).await.unwrap();
    assert_eq!((outbox.taken.len(), outbox.pending, outbox.dead), (0, 0, 0));
}

pub(super) async fn what_waits_for_a_tenant_is_bounded(store: &dyn Store) {
    let hook = Callback { kind: CallbackKind::Hook, ..callback_of("acme", 1) };
    let other = Callback { kind: CallbackKind::Hook, ..callback_of("other", 3) };
    store.put_callbacks(&[hook, callback_of("acme", 2), other]).await.unwrap();
    let put = async |number, subject: u64| {
        store.put_delivery(&delivery(number, &subject.to_string(), subject)).await.unwrap()
    };
    let all = async |number, subjects: std::ops::Range<u64>| {
        use futures::StreamExt;
        let puts = futures::stream::iter(subjects.map(|subject| put(number, subject)));
        puts.buffered(500).collect::<Vec<_>>().await
    };
    let (half, full) = (MAX_PENDING / 2, MAX_PENDING);
    assert!(all(1, 0..half).await.iter().all(|put| *put == Put::Kept));
    // No more events, but there is room for what nodes tell but once.
    assert_eq!(put(1, half).await, Put::GivenUp);
    assert!(all(2, half..full).await.iter().all(|put| *put == Put::Kept));
    assert_eq!(put(2, full).await, Put::GivenUp);
    // What comes twice is neither new nor given up; other tenants have room of their own.
    for (number, subject) in [(1, 0), (1, half), (2, half), (2, full), (3, 0)] {
        assert_eq!(put(number, subject).await, Put::Kept);
    }
    let outbox = store.take_deliveries(full, ANY, ANYBODYS).await.unwrap();
    assert_eq!((outbox.pending, outbox.dead), (full + 1, 2));
    // Nothing was kept of it that could be told.
    let state = Some(Waiting::Dead);
    let wanted = WantedDeliveries { tenant: None, state, after: 0, limit: 9 };
    let given_up = store.undelivered(&wanted).await.unwrap();
    assert!(given_up.len() == 2 && given_up.iter().all(|one| one.is_empty), "{given_up:?}");
    assert!(!store.retry_delivery(given_up[0].delivery.id, full).await.unwrap());
    // What is delivered makes room.
    let own = outbox.taken.iter().find(|due| due.key.scope.tenant.as_str() == "acme").unwrap();
    store.settle_delivery(own.id, ANYBODYS.holder, full, &Settled::Delivered).await.unwrap();
    assert_eq!((put(1, full + 1).await, put(2, full + 2).await), (Put::GivenUp, Put::Kept));

    // Bytes count, too.
    let large = vec![b'x'; 4 * 1024 * 1024];
    for number in 0..MAX_PENDING_BYTES / 2 / (large.len() as u64) - 1 {
        let delivery = delivery(3, &format!("large {number}"), 9);
        let delivery = NewDelivery { payload: large.clone(), ..delivery };
        assert_eq!(store.put_delivery(&delivery).await.unwrap(), Put::Kept);
    }
    let delivery = NewDelivery { payload: large, ..delivery(3, "too large", 9) };
    assert_eq!(store.put_delivery(&delivery).await.unwrap(), Put::GivenUp);
    assert_eq!(put(3, 10).await, Put::Kept);
}

pub(super) async fn what_was_given_up_is_bounded(store: &dyn Store) {
    store.put_callbacks(&[callback_of("acme", 1), callback_of("other", 2)]).await.unwrap();
    let give_up = async |number, at_ms: u64| {
        store.put_delivery(&delivery(number, &at_ms.to_string(), at_ms)).await.unwrap();
        let due = due(store, at_ms).await;
        let settled = Settled::Dead { error: "refused".to_owned() };
        store.settle_delivery(due[0].id, ANYBODYS.holder, at_ms, &settled).await.unwrap();
        due[0].id
    };
    let of_other = give_up(2, 0).await;
    let first = give_up(1, 1).await;
    let second = give_up(1, 2).await;
    for at_ms in 3..=MAX_DEAD + 1 {
        give_up(1, at_ms).await;
    }
    assert_eq!(store.take_deliveries(0, ANY, ANYBODYS).await.unwrap().dead, MAX_DEAD + 1);
    // The oldest of those who have too many.
    for (id, kept) in [(of_other, "true"), (first, ""), (second, "true")] {
        assert_eq!(store.payload_of(id).await.unwrap(), kept.as_bytes());
    }
}

pub(super) async fn callbacks_stay_for_a_while_after_the_end(store: &dyn Store) {
    let running = meeting("acme-7", "m ü", "digest-1");
    store.put_meeting(&running).await.unwrap();
    store.put_callbacks(&[callback(1), callback(2), callback(3)]).await.unwrap();
    store.bind_callbacks(&[token(1), token(2)], "digest-1").await.unwrap();
    let is_there = async |number| store.find_callback(&token(number)).await.unwrap().is_some();

    // However long a meeting runs. The third belongs to a create that came to nothing.
    let later = 1000 + 2 * HOUR_MS;
    store.expire_callbacks(later).await.unwrap();
    store.expire_callbacks(later + CALLBACKS_KEPT_MS + 1).await.unwrap();
    assert_eq!([is_there(1).await, is_there(2).await, is_there(3).await], [true, true, false]);

    // The end of one is the end of all of its meeting.
    store.put_callbacks(&[callback(3)]).await.unwrap();
    store.end_callbacks(&token(1), later).await.unwrap();
    store.end_callbacks(&token(2), later + HOUR_MS).await.unwrap();
    store.expire_callbacks(later + CALLBACKS_KEPT_MS).await.unwrap();
    assert!(is_there(1).await && is_there(2).await);
    store.expire_callbacks(later + CALLBACKS_KEPT_MS + 1).await.unwrap();
    assert!(!is_there(1).await && !is_there(2).await);
}

/// Whatever crash came between the removal of a webhook and that of its callback.
pub(super) async fn callbacks_of_webhooks_go_after_them(store: &dyn Store) {
    let callback = Callback { kind: CallbackKind::Hook, ..callback(1) };
    let hook = Hook {
        id: 1,
        scope: callback.key.scope.clone(),
        token: callback.token.clone(),
        callback_url: "https://front1.example/".to_owned(),
        meeting_id: None,
        events: Vec::new(),
        raw: false,
        created_at_ms: 1000,
    };
    store.put_callbacks(std::slice::from_ref(&callback)).await.unwrap();
    store.put_hook(&hook).await.unwrap();
    let is_there = async || store.find_callback(&callback.token).await.unwrap().is_some();
    let later = 1000 + 2 * HOUR_MS;
    store.expire_callbacks(later).await.unwrap();
    store.expire_callbacks(later + CALLBACKS_KEPT_MS + 1).await.unwrap();
    assert!(is_there().await);
    let removed = later + CALLBACKS_KEPT_MS + HOUR_MS;
    store.remove_hook(hook.id).await.unwrap();
    store.expire_callbacks(removed).await.unwrap();
    assert!(is_there().await);
    store.expire_callbacks(removed + CALLBACKS_KEPT_MS + 1).await.unwrap();
    assert!(!is_there().await);
}

pub(super) async fn what_is_not_delivered_stays(store: &dyn Store) {
    store.put_callbacks(&[callback(1), callback(2)]).await.unwrap();
    store.put_delivery(&delivery(1, "", 10)).await.unwrap();
    store.put_delivery(&delivery(2, "", 20)).await.unwrap();
    store.end_callbacks(&token(1), 10).await.unwrap();
    store.end_callbacks(&token(2), 10).await.unwrap();
    let [pending, dead] = due(store, 50).await.try_into().unwrap();
    let given_up_ms = 24 * HOUR_MS;
    let settled = Settled::Dead { error: "refused".to_owned() };
    store.settle_delivery(dead.id, ANYBODYS.holder, given_up_ms, &settled).await.unwrap();

    store.expire_callbacks(given_up_ms + CALLBACKS_KEPT_MS).await.unwrap();
    let outbox = store.take_deliveries(given_up_ms, ANY, ANYBODYS).await.unwrap();
    assert_eq!((outbox.taken, outbox.dead), (vec![pending], 1));
    store.expire_callbacks(given_up_ms + CALLBACKS_KEPT_MS + 1).await.unwrap();
    let outbox = store.take_deliveries(given_up_ms, ANY, ANYBODYS).await.unwrap();
    assert_eq!((outbox.pending, outbox.dead), (1, 0));
}
