//! What every store must do with tokens and changes.

use crate::model::{Change, Inventory, Token};
use crate::store::{Applying, Store};

fn token(id: &str) -> Token {
    Token {
        id: id.to_owned(),
        scopes: "portico:operator".to_owned(),
        subject: "Zoë \0".to_owned(),
        tenant: Some("acme".to_owned()),
        issued_at_s: Some(7),
        expires_at_s: None,
        seen_at_ms: Some(u64::try_from(i64::MAX).unwrap()),
        revoked_at_ms: None,
    }
}

pub(in crate::store) async fn a_revoked_token_stays_revoked(store: &dyn Store) {
    assert_eq!(store.tokens().await.unwrap(), []);
    store.add_token(&token("b")).await.unwrap();
    store.add_token(&Token { subject: "another".to_owned(), ..token("b") }).await.unwrap();
    store.revoke_token("a", 5).await.unwrap();
    store.revoke_token("b", 6).await.unwrap();
    store.revoke_token("b", 7).await.unwrap();
    store.add_token(&token("a")).await.unwrap();
    let revoked = |id, at| Token { revoked_at_ms: Some(at), ..token(id) };
    let tokens = store.tokens().await.unwrap();
    assert_eq!((tokens[0].id.as_str(), tokens[0].revoked_at_ms), ("a", Some(5)));
    assert_eq!(tokens[1..], [revoked("b", 6)]);

    // Those that would be good for ever must stay revoked for ever.
    let expires = |id, at| Token { expires_at_s: Some(at), ..token(id) };
    for token in [expires("c", 99), expires("d", 100)] {
        store.add_token(&token).await.unwrap();
    }
    store.revoke_token("c", 8).await.unwrap();
    store.forget_tokens(100).await.unwrap();
    let ids = store.tokens().await.unwrap().into_iter().map(|token| token.id);
    assert_eq!(ids.collect::<Vec<_>>(), ["a", "b", "d"]);
    let revoked = store.revoked_tokens().await.unwrap();
    assert_eq!(revoked, ["a", "b"].map(str::to_owned).into());
}

pub(in crate::store) async fn changes_come_back_the_latest_first(store: &dyn Store) {
    assert_eq!(store.changes(None, 10).await.unwrap(), []);
    let change = |action: &str, before: Option<&str>| Change {
        at_ms: 1,
        who: "ann".to_owned(),
        action: action.to_owned(),
        object: "tenant acme".to_owned(),
        before: before.map(str::to_owned),
        after: Some("{\"slug\":\"acme\"}".to_owned()),
    };
    let all = [change("create", None), change("update", Some("{}")), change("delete", Some("{}"))];
    for change in &all {
        store.add_change(change).await.unwrap();
    }
    let last = store.changes(None, 2).await.unwrap();
    let (numbers, changes): (Vec<_>, Vec<_>) = last.into_iter().unzip();
    assert_eq!(changes, [all[2].clone(), all[1].clone()]);
    let first = store.changes(Some(numbers[1]), 2).await.unwrap();
    assert_eq!(first.into_iter().map(|(_, change)| change).collect::<Vec<_>>(), all[..1]);

    // With the inventory that it makes, or neither.
    let inventory = Inventory::default();
    let base = store.inventory_in_force().await.unwrap().map_or(0, |applied| applied.revision);
    let with = change("with", None);
    let applying = Applying { digest: "", by: "edge", base, change: Some(&with) };
    assert!(store.apply_inventory(&inventory, applying).await.unwrap().is_some());
    let late = change("late", None);
    let applying = Applying { change: Some(&late), ..applying };
    assert_eq!(store.apply_inventory(&inventory, applying).await.unwrap(), None);
    let last = store.changes(None, 1).await.unwrap();
    assert_eq!((last[0].0, &last[0].1), (numbers[0] + 1, &with));
}
