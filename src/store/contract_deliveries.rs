//! What every [`Store`] must do for operators who look into the outbox, as functions over one: each expects an
//! empty store.

use super::Store;
use super::contract_callbacks::{ANY, ANYBODYS, callback, callback_of, delivery, due};
use super::deliveries::DISCARDED;
use crate::model::{Callback, CallbackKind, Settled, Waiting, WantedDeliveries};

fn all() -> WantedDeliveries {
    WantedDeliveries { tenant: None, state: None, after: 0, limit: 100 }
}

async fn ids(store: &dyn Store, wanted: WantedDeliveries) -> Vec<i64> {
    let found = store.undelivered(&wanted).await.unwrap();
    found.iter().map(|one| one.delivery.id).collect()
}

/// Takes the first that is due, and gives it up.
async fn give_up(store: &dyn Store, at_ms: u64) -> i64 {
    let id = due(store, at_ms).await[0].id;
    let dead = Settled::Dead { error: "status 503".to_owned() };
    store.settle_delivery(id, ANYBODYS.holder, at_ms, &dead).await.unwrap();
    id
}

async fn let_go(store: &dyn Store, ids: &[i64]) {
    store.give_back(ids, ANYBODYS.holder).await.unwrap();
}

pub(super) async fn what_waits_and_what_was_given_up_is_listed(store: &dyn Store) {
    store.put_callbacks(&[callback(1), callback_of("other", 2)]).await.unwrap();
    for (number, subject, at_ms) in [(1, "a", 10), (1, "b", 20), (1, "c", 30), (2, "", 40)] {
        store.put_delivery(&delivery(number, subject, at_ms)).await.unwrap();
    }
    let dead = give_up(store, 10).await;
    let told = due(store, 20).await[0].id;
    store.settle_delivery(told, ANYBODYS.holder, 20, &Settled::Delivered).await.unwrap();
    let under_way = due(store, 30).await[0].id;

    let found = store.undelivered(&all()).await.unwrap();
    let [first, second, third] = &*found else { panic!("{found:?}") };
    assert_eq!((first.delivery.id, first.state), (dead, Waiting::Dead));
    assert_eq!((first.next_attempt_at_ms, first.given_up_at_ms), (None, Some(10)));
    assert_eq!((first.last_error.as_deref(), first.is_empty), (Some("status 503"), false));
    assert_eq!((&first.delivery.key, first.delivery.attempts), (&callback(1).key, 1));
    assert_eq!(Some(&first.delivery.target), callback(1).target.as_ref());
    assert_eq!((second.delivery.id, second.state), (under_way, Waiting::Pending));
    assert_eq!((second.next_attempt_at_ms, second.is_under_way), (Some(30), true));
    assert_eq!((third.is_under_way, third.delivery.key.scope.tenant.as_str()), (false, "other"));

    let of = |tenant: &str| WantedDeliveries { tenant: tenant.parse().ok(), ..all() };
    assert_eq!(ids(store, of("other")).await, [third.delivery.id]);
    assert!(ids(store, of("nobody")).await.is_empty());
    let dead_ones = WantedDeliveries { state: Some(Waiting::Dead), ..all() };
    assert_eq!(ids(store, dead_ones).await, [dead]);
    let page = WantedDeliveries { after: dead, limit: 1, ..all() };
    assert_eq!(ids(store, page).await, [under_way]);
    assert_eq!(store.find_undelivered(dead).await.unwrap().as_ref(), Some(first));
    assert_eq!(store.find_undelivered(told).await.unwrap(), None);
    assert_eq!(store.find_undelivered(999_999).await.unwrap(), None);
}

pub(super) async fn what_was_given_up_is_tried_again_on_demand(store: &dyn Store) {
    store.put_callbacks(&[callback(1)]).await.unwrap();
    store.put_delivery(&delivery(1, "", 10)).await.unwrap();
    let id = give_up(store, 10).await;
    assert!(store.retry_delivery(id, 50).await.unwrap());
    assert!(due(store, 49).await.is_empty());
    let again = due(store, 50).await;
    assert_eq!((again[0].id, again[0].attempts), (id, 1));
    assert_eq!(store.payload_of(id).await.unwrap(), b"true");
    // Somebody delivers it.
    assert!(!store.retry_delivery(id, 60).await.unwrap());
    assert!(!store.discard_delivery(id, 60).await.unwrap());
    let later = Settled::Again { at_ms: 9000, error: "status 503".to_owned() };
    store.settle_delivery(id, ANYBODYS.holder, 60, &later).await.unwrap();
    // What waits for its next attempt need not.
    assert!(store.retry_delivery(id, 70).await.unwrap());
    let outbox = store.take_deliveries(70, ANY, ANYBODYS).await.unwrap();
    assert_eq!((outbox.taken.len(), outbox.pending, outbox.dead), (1, 1, 0));
    store.settle_delivery(id, ANYBODYS.holder, 80, &Settled::Delivered).await.unwrap();
    assert!(!store.retry_delivery(id, 90).await.unwrap());
    assert!(!store.retry_delivery(999_999, 90).await.unwrap());
}

pub(super) async fn what_is_discarded_is_told_to_nobody(store: &dyn Store) {
    store.put_callbacks(&[callback(1), callback(2)]).await.unwrap();
    store.put_delivery(&delivery(1, "", 10)).await.unwrap();
    let dead = give_up(store, 10).await;
    store.put_delivery(&delivery(2, "", 20)).await.unwrap();
    let pending = due(store, 20).await[0].id;
    let_go(store, &[pending]).await;
    for id in [dead, pending] {
        assert!(store.discard_delivery(id, 30).await.unwrap());
        assert_eq!(store.payload_of(id).await.unwrap(), b"");
    }
    // The same does not come in again.
    for number in [1, 2] {
        store.put_delivery(&delivery(number, "", 40)).await.unwrap();
    }
    let outbox = store.take_deliveries(50, ANY, ANYBODYS).await.unwrap();
    assert_eq!((outbox.taken.len(), outbox.pending, outbox.dead), (0, 0, 0));
    assert!(ids(store, all()).await.is_empty());
    assert!(!store.retry_delivery(dead, 60).await.unwrap());
    assert!(!DISCARDED.is_empty());
}

/// Those of one hook go out one after the other, whatever operators do.
pub(super) async fn an_event_that_is_tried_again_waits_for_its_turn(store: &dyn Store) {
    let hook = Callback { kind: CallbackKind::Hook, ..callback(1) };
    store.put_callbacks(&[hook]).await.unwrap();
    for at_ms in [1, 2, 3] {
        store.put_delivery(&delivery(1, &at_ms.to_string(), at_ms)).await.unwrap();
    }
    let first = give_up(store, 10).await;
    let [second, third] = *ids(store, all()).await.split_at(1).1 else { panic!("three") };
    let listed = store.undelivered(&all()).await.unwrap();
    assert_eq!(listed[2].next_attempt_at_ms, None, "it waits for its turn");
    assert!(store.retry_delivery(first, 20).await.unwrap());
    let now = due(store, 20).await;
    assert_eq!(now.iter().map(|one| one.id).collect::<Vec<_>>(), [second]);
    let_go(store, &[second]).await;
    // Who goes makes room for the next one.
    assert!(store.discard_delivery(second, 30).await.unwrap());
    let now = due(store, 30).await;
    assert_eq!(now.iter().map(|one| one.id).collect::<Vec<_>>(), [first]);
    store.settle_delivery(first, ANYBODYS.holder, 40, &Settled::Delivered).await.unwrap();
    assert_eq!(due(store, 40).await[0].id, third);
}
