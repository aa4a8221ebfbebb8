//! What every [`Store`] must do, as functions over one: each expects an empty store.

mod arbiter;
mod assets;
mod chronicle;
mod commands;
mod counters;
mod history;
mod inventory;
mod ledger;
mod peaks;
mod statistics;

use std::collections::HashMap;

use proptest::prelude::*;
use url::Url;

pub(super) use self::arbiter::{
    a_breakout_room_is_claimed_by_the_name_it_is_created_as,
    a_saved_meeting_is_not_written_over_by_another, claim,
    one_instance_at_a_time_creates_a_meeting,
};
pub(super) use self::assets::a_look_comes_back_as_it_was_put;
pub(super) use self::chronicle::{
    of_nodes_is_written_down_what_is_news, what_is_written_down_adds_up,
};
pub(super) use self::commands::what_is_done_gives_way_and_what_is_not_does_not;
pub(super) use self::counters::{count, counts_add_up, counts_of_many_add_up};
pub(super) use self::history::{
    history_is_read_in_pages_and_forgotten, rows_behind_broken_ones_are_read,
    what_is_learned_is_what_memory_learns, what_operators_change_counts_up,
};
pub(super) use self::inventory::{
    any_change_makes_another_digest, inventory, the_last_inventory_is_in_force,
};
pub(super) use self::ledger::{a_revoked_token_stays_revoked, changes_come_back_the_latest_first};
pub(super) use self::peaks::what_is_known_of_a_running_meeting_only_grows;
pub(super) use self::statistics::{
    a_batch_is_counted_once, clocks_apart_are_one, one_of_many_counts_what_runs,
    usage_adds_up_by_hours_and_days,
};
use super::{Adding, Applying, Older, Opening, SavedNode, Store};
use crate::model::{
    AdminState, CallbackToken, Extent, Hook, Meeting, MeetingKey, Node, NodeName, Scope, Secret,
};

pub(super) fn meeting(scope: &str, id: &str, internal_id: &str) -> Meeting {
    Meeting {
        key: MeetingKey { scope: Scope::parse(scope).unwrap(), id: id.to_owned() },
        node: NodeName::new("bbb01"),
        node_meeting_id: format!("{id}@{scope}"),
        internal_id: internal_id.to_owned(),
        created_at_ms: 1_795_000_000_123,
        parent_internal_id: None,
        extent: Extent::default(),
        xml: Box::from(*b"<meeting/>"),
    }
}

pub(super) fn retired_node(name: &str) -> SavedNode {
    let node = Node {
        name: NodeName::new(name),
        cluster: "main".to_owned(),
        url: Url::parse("https://bbb01.example.org/bigbluebutton/api").unwrap(),
        secret: Secret::new("\"\u{0}🗝"),
        weight: 0.1,
        capacity: 200,
        tags: vec!["sip".to_owned(), String::new()],
        load_url: Some(Url::parse("https://bbb01.example.org/b3lb/load").unwrap()),
    };
    SavedNode { name: node.name.clone(), state: AdminState::Retired, spec: Some(node) }
}

async fn meetings(store: &dyn Store) -> HashMap<MeetingKey, Meeting> {
    let saved = store.load().await.unwrap();
    saved.meetings.into_iter().map(|meeting| (meeting.key.clone(), meeting)).collect()
}

pub(super) async fn everything_comes_back_as_it_was_put(store: &dyn Store) {
    assert_eq!(store.load().await.unwrap(), super::Saved::default());

    let odd = Meeting {
        created_at_ms: 0,
        parent_internal_id: Some("sha1-of-parent-17".to_owned()),
        extent: Extent { expected_thousandths: 150_000, peak: 60 },
        xml: Box::from(*b"\0\xff not even text"),
        ..meeting("acme-999", "'; DROP TABLE meetings; -- \u{0} ü 🎥", "")
    };
    let cordoned = SavedNode { name: NodeName::new(""), state: AdminState::Cordoned, spec: None };
    let retired = retired_node("bbb01");
    store.put_meeting(&odd).await.unwrap();
    store.put_node(&cordoned).await.unwrap();
    store.put_node(&retired).await.unwrap();

    let saved = store.load().await.unwrap();
    assert_eq!(saved.meetings, [odd]);
    assert_eq!(saved.nodes, [cordoned.clone(), retired.clone()]);
    assert_eq!(saved.skipped, 0);

    // Another instance may know of a meeting there that we do not.
    let there = Meeting { node: retired.name.clone(), ..meeting("acme", "there", "there-1") };
    store.put_meeting(&there).await.unwrap();
    store.remove_node(&retired.name).await.unwrap();
    assert_eq!(store.load().await.unwrap().nodes, [cordoned.clone(), retired.clone()]);
    for Meeting { key, internal_id, .. } in store.load().await.unwrap().meetings {
        store.remove_meeting(&key, &internal_id).await.unwrap();
    }
    store.remove_node(&retired.name).await.unwrap();
    let saved = store.load().await.unwrap();
    assert_eq!(saved.nodes, [cordoned]);
}

/// What no file and no column may hold in clear.
pub(super) const HUSH: &str = "hush, this is between us";

fn chain(error: &crate::store::Error) -> String {
    crate::chain::Chain(error).to_string()
}

/// A store that seals.
pub(super) fn sealing() -> Opening {
    let key = Some(Secret::new("a key of thirty-two characters or more"));
    Opening { key, ..Older::Migrate.into() }
}

/// `store` was opened as [`sealing`]; `open` opens the same one anew.
pub(super) async fn secrets_are_sealed<S: Store>(store: &S, open: impl AsyncFn(Opening) -> S) {
    let mut node = retired_node("sealed");
    node.spec.as_mut().unwrap().secret = Secret::new(HUSH);
    store.put_node(&node).await.unwrap();
    assert!(store.load().await.unwrap().nodes.contains(&node));
    assert!(open(sealing()).await.load().await.unwrap().nodes.contains(&node));
    the_last_inventory_is_in_force(store).await;
    let inventory = inventory();
    let base = store.inventory_in_force().await.unwrap().map_or(0, |applied| applied.revision);
    let applying = Applying { digest: "sealed", by: "edge", base, change: None };
    store.apply_inventory(&inventory, applying).await.unwrap().unwrap();
    let saved =
        open(sealing()).await.load_inventory(crate::store::Part::Whole).await.unwrap().unwrap();
    assert_eq!(saved.inventory, inventory);
    // Of the inventory all or nothing.
    let another = Some(Secret::new("another key of thirty-two characters"));
    for (key, said) in
        [(another, "another key than `store.key`"), (None, "sealed, and `store.key` is missing")]
    {
        let opened = open(Opening { key, ..Older::Migrate.into() }).await;
        let refused = opened.load_inventory(crate::store::Part::Whole).await.unwrap_err();
        assert!(chain(&refused).contains(said), "{}", chain(&refused));
        let first = opened.load().await.unwrap().first_skipped.unwrap();
        assert!(first.contains(said), "{first}");
    }
    // Without the key it is not known where that node is, but what is wanted of it.
    let own = Meeting { node: node.name.clone(), ..meeting("acme", "there", "there-1") };
    store.put_meeting(&own).await.unwrap();
    let without = open(Older::Migrate.into()).await.load().await.unwrap();
    let known = SavedNode { spec: None, ..node.clone() };
    assert!(without.skipped >= 1 && without.nodes.contains(&known));
    assert_eq!(without.lost_with_key(|_| false), (vec![&node.name], 1));
    assert_eq!(without.lost_with_key(|name| *name == node.name), (Vec::new(), 0));
    store.remove_meeting(&own.key, &own.internal_id).await.unwrap();
    let without = open(Older::Migrate.into()).await.load().await.unwrap();
    assert_eq!(without.lost_with_key(|_| false), (Vec::new(), 0));
}

pub(super) async fn the_last_put_wins(store: &dyn Store) {
    let name = NodeName::new("bbb01");
    for state in AdminState::ALL {
        let node = SavedNode { name: name.clone(), state, spec: None };
        store.put_node(&node).await.unwrap();
        assert_eq!(store.load().await.unwrap().nodes, [node]);
        assert_eq!(store.node_states().await.unwrap(), HashMap::from([(name.clone(), state)]));
    }
    // What is wanted of it stays, until it is retired, and after that it begins anew.
    for (state, kept) in [
        (AdminState::Retired, AdminState::Retired),
        (AdminState::Ready, AdminState::Ready),
        (AdminState::Cordoned, AdminState::Ready),
        (AdminState::Retired, AdminState::Retired),
    ] {
        let node = SavedNode { name: name.clone(), state, spec: None };
        store.describe_node(&node).await.unwrap();
        assert_eq!(store.node_states().await.unwrap()[&name], kept, "{state:?}");
    }
    store.put_meeting(&meeting("acme", "m", "first-1")).await.unwrap();
    let moved = Meeting { node: NodeName::new("bbb02"), ..meeting("acme", "m", "second-2") };
    store.put_meeting(&moved).await.unwrap();
    assert_eq!(store.load().await.unwrap().meetings, [moved]);
}

pub(super) async fn a_meeting_is_found_by_either_of_its_ids(store: &dyn Store) {
    let own = meeting("acme-1", "m", "digest-1");
    let of_another_secret = meeting("acme", "m", "digest-2");
    let foreign = meeting("other", "m", "digest-3");
    for meeting in [&own, &of_another_secret, &foreign] {
        store.put_meeting(meeting).await.unwrap();
    }
    let find = async |ids: &[(&str, &str)]| {
        let wanted: Vec<_> =
            ids.iter().map(|(tenant, id)| (tenant.parse().unwrap(), (*id).to_owned())).collect();
        let mut found = store.find_meetings(&wanted).await.unwrap();
        found.sort_by_key(|meeting| meeting.internal_id.clone());
        found
    };
    assert_eq!(find(&[("acme", "digest-1")]).await, std::slice::from_ref(&own));
    assert_eq!(find(&[("acme", "m@acme-1")]).await, std::slice::from_ref(&own));
    assert_eq!(find(&[("acme", "m")]).await, [own.clone(), of_another_secret.clone()]);
    assert_eq!(find(&[("acme", "digest-3")]).await, []);
    assert_eq!(find(&[]).await, []);
    let many = [("other", "m"), ("acme", "digest-2"), ("acme", "m"), ("acme", "x"), ("acme", "m")];
    assert_eq!(find(&many).await, [own, of_another_secret, foreign]);
}

pub(super) async fn two_scopes_may_use_the_same_meeting_id(store: &dyn Store) {
    let scopes = ["acme", "acme-1", "other"];
    for scope in scopes {
        store.put_meeting(&meeting(scope, "m", scope)).await.unwrap();
    }
    assert_eq!(meetings(store).await.len(), 3);
    store.remove_meeting(&meeting("acme", "m", "").key, "acme").await.unwrap();
    let left = meetings(store).await;
    assert!(left.keys().all(|key| key.scope != Scope::parse("acme").unwrap()));
    assert_eq!(left.len(), 2);
}

pub(super) async fn the_late_end_of_a_meeting_spares_its_successor(store: &dyn Store) {
    let successor = meeting("acme", "m", "sha1-2");
    store.put_meeting(&successor).await.unwrap();
    assert!(!store.remove_meeting(&successor.key, "sha1-1").await.unwrap());
    assert_eq!(store.load().await.unwrap().meetings, std::slice::from_ref(&successor));
    let remove = || store.remove_meeting(&successor.key, "sha1-2");
    let (one, other) = tokio::join!(remove(), remove());
    assert!(one.unwrap() != other.unwrap(), "one of them has removed it");
    assert!(!remove().await.unwrap());
    assert_eq!(store.load().await.unwrap().meetings, []);
}

pub(super) async fn hooks_are_kept_until_they_are_removed(store: &dyn Store) {
    let all = Hook {
        id: 3,
        scope: Scope::parse("acme-5").unwrap(),
        token: CallbackToken::new([7; CallbackToken::BYTES]),
        callback_url: "https://moodle.example.org/hook?a=b,c".to_owned(),
        meeting_id: None,
        events: Vec::new(),
        raw: false,
        created_at_ms: 1_795_000_000_123,
    };
    let some = Hook {
        id: 1,
        callback_url: "https://moodle.example.org/some".to_owned(),
        meeting_id: Some("room, 1".to_owned()),
        events: vec!["user-joined".to_owned(), "user-left".to_owned()],
        raw: true,
        ..all.clone()
    };
    store.put_hook(&all).await.unwrap();
    store.put_hook(&some).await.unwrap();
    assert_eq!(store.load().await.unwrap().hooks, [some, all.clone()]);
    store.remove_hook(1).await.unwrap();
    store.remove_hook(2).await.unwrap();
    assert_eq!(store.load().await.unwrap().hooks, std::slice::from_ref(&all));

    // Whatever number it would have, there is one for a URL; and one of a number.
    let equal = Hook { id: 7, ..all.clone() };
    assert_eq!(store.add_hook(&equal).await.unwrap(), Adding::Known(all.clone().into()));
    let next = Hook { callback_url: "https://moodle.example.org/2".to_owned(), ..all.clone() };
    assert_eq!(store.add_hook(&next).await.unwrap(), Adding::Taken(3));
    let next = Hook { id: 4, ..next };
    assert_eq!(store.add_hook(&next).await.unwrap(), Adding::Kept);
    let of_another = Hook { id: 5, scope: Scope::parse("other").unwrap(), ..all.clone() };
    assert_eq!(store.add_hook(&of_another).await.unwrap(), Adding::Kept);
    assert_eq!(store.find_hooks(None).await.unwrap(), [all.clone(), next.clone(), of_another]);
    let acme = "acme".parse().unwrap();
    assert_eq!(store.find_hooks(Some(&acme)).await.unwrap(), [all, next]);
}

pub(super) async fn writes_of_many_callers_are_all_kept(store: std::sync::Arc<dyn Store>) {
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = store.clone();
        writes.spawn(async move {
            store.put_meeting(&meeting("acme", &number.to_string(), "sha1-1")).await
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap().unwrap();
    }
    assert_eq!(meetings(&*store).await.len(), 500);
}

/// A change, for comparing a store with a map.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Put(Meeting),
    Remove(MeetingKey, String),
}

/// Steps over few keys and internal ids, so that they meet.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let named = (
        prop::sample::select(vec!["acme", "acme-1", "other"]),
        prop::sample::select(vec!["", "m", "ü", "M"]),
        prop::sample::select(vec!["sha1-1", "sha1-2"]),
    );
    let step = (any::<bool>(), named, any::<u32>(), prop::collection::vec(any::<u8>(), 0..9));
    let step = step.prop_map(|(put, (scope, id, internal_id), created_at_ms, xml)| {
        let meeting = meeting(scope, id, internal_id);
        if put {
            let created_at_ms = created_at_ms.into();
            Step::Put(Meeting { created_at_ms, xml: xml.into(), ..meeting })
        } else {
            Step::Remove(meeting.key, meeting.internal_id)
        }
    });
    prop::collection::vec(step, 0..40)
}

/// Applies the steps to the store and to a map; returns the map.
pub(super) async fn follow(store: &dyn Store, steps: &[Step]) -> HashMap<MeetingKey, Meeting> {
    let mut map = HashMap::new();
    for step in steps {
        match step {
            Step::Put(meeting) => {
                store.put_meeting(meeting).await.unwrap();
                map.insert(meeting.key.clone(), meeting.clone());
            }
            Step::Remove(key, internal_id) => {
                store.remove_meeting(key, internal_id).await.unwrap();
                if map.get(key).is_some_and(|meeting| meeting.internal_id == *internal_id) {
                    map.remove(key);
                }
            }
        }
    }
    map
}

pub(super) async fn is_the_map(store: &dyn Store, map: &HashMap<MeetingKey, Meeting>) {
    assert_eq!(&meetings(store).await, map);
}
