//! What every [`Store`] must do with callbacks, as functions over one: each expects an empty store.

use super::contract::meeting;
use super::{CALLBACKS_KEPT_MS, Store};
use crate::model::{
    Callback, CallbackKind, CallbackToken, Delivery, MeetingKey, NewDelivery, NodeName, Scope,
    Settled,
};

const HOUR_MS: u64 = 60 * 60 * 1000;

fn token(number: u8) -> CallbackToken {
    CallbackToken::new([number; CallbackToken::BYTES])
}

fn callback(number: u8) -> Callback {
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

fn delivery(number: u8, subject: &str, received_at_ms: u64) -> NewDelivery {
    NewDelivery {
        token: token(number),
        subject: subject.to_owned(),
        origin: format!("https://front{number}.example"),
        payload: b"true".to_vec(),
        received_at_ms,
    }
}

async fn due(store: &dyn Store, now_ms: u64) -> Vec<Delivery> {
    store.outbox(now_ms, 9, 99).await.unwrap().due
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

    store.settle_delivery(first.id, 60, &Settled::Delivered).await.unwrap();
    assert_eq!(store.payload_of(first.id).await.unwrap(), b"");
    store.put_delivery(&delivery(1, "", 70)).await.unwrap();
    assert_eq!(due(store, 100).await, std::slice::from_ref(&second));

    let again = Settled::Again { at_ms: 200, error: "status 503".to_owned() };
    store.settle_delivery(second.id, 100, &again).await.unwrap();
    let outbox = store.outbox(199, 9, 99).await.unwrap();
    assert_eq!((outbox.due.len(), outbox.next_due_ms, outbox.pending), (0, Some(200), 1));
    assert_eq!(due(store, 200).await, [Delivery { attempts: 1, ..second.clone() }]);

    let dead = Settled::Dead { error: "status 503".to_owned() };
    store.settle_delivery(second.id, 300, &dead).await.unwrap();
    let outbox = store.outbox(400, 9, 99).await.unwrap();
    assert_eq!((outbox.due.len(), outbox.pending, outbox.dead), (0, 0, 1));
}

pub(super) async fn one_origin_does_not_crowd_out_the_others(store: &dyn Store) {
    store.put_callbacks(&[callback(1), callback(2)]).await.unwrap();
    for number in 0..50 {
        store.put_delivery(&delivery(1, &number.to_string(), number)).await.unwrap();
    }
    store.put_delivery(&delivery(2, "", 99)).await.unwrap();
    let outbox = store.outbox(100, 2, 10).await.unwrap();
    let received: Vec<_> = outbox.due.iter().map(|due| due.received_at_ms).collect();
    assert_eq!((received, outbox.pending), (vec![0, 1, 99], 51));
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

pub(super) async fn what_is_not_delivered_stays(store: &dyn Store) {
    store.put_callbacks(&[callback(1), callback(2)]).await.unwrap();
    store.put_delivery(&delivery(1, "", 10)).await.unwrap();
    store.put_delivery(&delivery(2, "", 20)).await.unwrap();
    store.end_callbacks(&token(1), 10).await.unwrap();
    store.end_callbacks(&token(2), 10).await.unwrap();
    let [pending, dead] = due(store, 50).await.try_into().unwrap();
    let given_up_ms = 24 * HOUR_MS;
    let settled = Settled::Dead { error: "refused".to_owned() };
    store.settle_delivery(dead.id, given_up_ms, &settled).await.unwrap();

    store.expire_callbacks(given_up_ms + CALLBACKS_KEPT_MS).await.unwrap();
    let outbox = store.outbox(given_up_ms, 9, 99).await.unwrap();
    assert_eq!((outbox.due, outbox.dead), (vec![pending], 1));
    store.expire_callbacks(given_up_ms + CALLBACKS_KEPT_MS + 1).await.unwrap();
    let outbox = store.outbox(given_up_ms, 9, 99).await.unwrap();
    assert_eq!((outbox.pending, outbox.dead), (1, 0));
}
