//! What every store must do with counters.

use crate::model::{Secret, SubId};
use crate::store::{Count, CountKey, Store};

pub(in crate::store) fn count(tenant: &str, sub: u16, name: &str, value: u64) -> Count {
    let (tenant, sub) = (tenant.parse().unwrap(), SubId::new(sub).unwrap());
    Count { key: CountKey { tenant, sub, name: name.to_owned() }, value }
}

pub(in crate::store) async fn counts_add_up(store: &dyn Store) {
    assert_eq!(store.counts().await.unwrap(), []);
    store.add_counts(&[]).await.unwrap();
    let more =
        [count("acme", 0, "ü", 1), count("acme", 5, "ü", 2), count("other", 0, "ü", 1 << 40)];
    store.add_counts(&more).await.unwrap();
    store.add_counts(&more[1..]).await.unwrap();
    let mut all = store.counts().await.unwrap();
    all.sort_by(|one, other| one.key.cmp(&other.key));
    let sums =
        [count("acme", 0, "ü", 1), count("acme", 5, "ü", 4), count("other", 0, "ü", 1 << 41)];
    assert_eq!(all, sums);
    let [one, other] = ["one secret", "another"].map(|secret| store.mark_of(&Secret::new(secret)));
    assert_ne!(one, other);
    assert_eq!(store.mark_of(&Secret::new("one secret")), one);
    assert!(!one.contains("secret"));
}

/// Several at once, each in its own order.
pub(in crate::store) async fn counts_of_many_add_up(stores: [&dyn Store; 2]) {
    let more: Vec<_> = (1..50).map(|sub| count("acme", sub, "joins", 1)).collect();
    let reversed: Vec<_> = more.iter().rev().cloned().collect();
    let add = async |store: &dyn Store, more: &[_]| {
        for _ in 0..20 {
            store.add_counts(more).await.unwrap();
        }
    };
    tokio::join!(add(stores[0], &more), add(stores[1], &reversed));
    let all = stores[0].counts().await.unwrap();
    assert_eq!(all.len(), more.len());
    assert!(all.iter().all(|count| count.value == 40), "{all:?}");
}
