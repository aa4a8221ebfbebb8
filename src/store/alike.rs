//! Whatever is done, both stores give the same answers.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use super::contract::{count, meeting, retired_node};
use super::contract_callbacks::ANYBODYS;
use super::postgres::MISCOUNTED;
use super::test_postgres::Postgres as Server;
use super::{
    Claim, Count, Embedded, Older, Outbox, Places, Postgres, Put, Saved, SavedAsset, SavedNode,
    Store, WantedAsset,
};
use crate::model::{
    AdminState, Asset, AssetKey, AssetKind, Callback, CallbackKind, CallbackToken, Extent, Hook,
    InstanceId, Meeting, MeetingKey, NewDelivery, NodeName, Scope, Secret, Settled,
    WantedDeliveries,
};

const SCOPES: [&str; 3] = ["acme", "acme-1", "other"];
const IDS: [&str; 4] = ["", "m", "M", "ü\0\\0\\"];
const INTERNAL_IDS: [&str; 3] = ["digest-1", "digest-2", "\\\0"];
static INSTANCES: LazyLock<[InstanceId; 2]> =
    LazyLock::new(|| [InstanceId::new("one"), InstanceId::new("other")]);
const HOUR_MS: u64 = 60 * 60 * 1000;
/// Past everything that expires.
const HOURS: u64 = 32 * 24;
const ALL: Places = Places { of_origin: 99, of_tenant: 99, all: 99 };

#[derive(Debug, Clone)]
enum Act {
    PutMeeting(Meeting),
    RemoveMeeting(MeetingKey, &'static str),
    PutNode(SavedNode),
    DescribeNode(SavedNode),
    RemoveNode(NodeName),
    PutCallbacks(Vec<Callback>),
    BindCallbacks(Vec<CallbackToken>, &'static str),
    RemoveCallbacks(Vec<CallbackToken>),
    EndCallbacks(CallbackToken, u64),
    PutDelivery(NewDelivery),
    /// Of what is due at that time, the one at this place.
    Settle(usize, u64, Settled),
    /// Of what waits or was given up, the one at this place.
    Retry(usize, u64),
    Discard(usize, u64),
    Expire(u64),
    PutAsset(AssetKey, Arc<Asset>),
    RemoveAsset(SavedAsset),
    PutHook(Hook),
    RemoveHook(u64),
    Claim(Claim),
    Release(Claim),
    PutCreated(Meeting, Claim),
    PutFound(Meeting),
    Count(Vec<Count>),
    AddHook(Hook),
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn key() -> impl Strategy<Value = MeetingKey> {
    (one_of(&SCOPES), one_of(&IDS))
        .prop_map(|(scope, id)| MeetingKey { scope: Scope::parse(scope).unwrap(), id: id.into() })
}

fn token() -> impl Strategy<Value = CallbackToken> {
    (0..5_u8).prop_map(|number| CallbackToken::new([number; CallbackToken::BYTES]))
}

fn tokens() -> impl Strategy<Value = Vec<CallbackToken>> {
    prop::collection::vec(token(), 0..3)
}

fn ms() -> impl Strategy<Value = u64> {
    // Few and far apart, so that what expires after an hour, a day or a month does.
    let hours = prop_oneof![one_of(&[0, 1, 3, 26, 30 * 24, 31 * 24]), 0..HOURS];
    hours.prop_map(|hours| hours * HOUR_MS)
}

fn callback() -> impl Strategy<Value = Callback> {
    let ids = (key(), one_of(&IDS), prop::option::of(one_of(&INTERNAL_IDS)));
    (token(), one_of(&CallbackKind::ALL), ids, prop::option::of(one_of(&IDS)), ms()).prop_map(
        |(token, kind, (key, node_meeting_id, internal_id), target, created_at_ms)| Callback {
            token,
            kind,
            key,
            node: NodeName::new("bbb01"),
            node_meeting_id: node_meeting_id.into(),
            internal_id: internal_id.map(Into::into),
            target: target.map(Into::into),
            created_at_ms,
        },
    )
}

fn delivery() -> impl Strategy<Value = NewDelivery> {
    let payload = prop::collection::vec(any::<u8>(), 0..5);
    (token(), one_of(&IDS), one_of(&["a", "b\0"]), payload, ms()).prop_map(
        |(token, subject, origin, payload, received_at_ms)| NewDelivery {
            token,
            subject: subject.into(),
            origin: origin.into(),
            payload,
            received_at_ms,
        },
    )
}

fn settled() -> impl Strategy<Value = Settled> {
    prop_oneof![
        Just(Settled::Delivered),
        ms().prop_map(|at_ms| Settled::Again { at_ms, error: "status 503".into() }),
        Just(Settled::Dead { error: "\0".into() }),
    ]
}

fn asset_key() -> impl Strategy<Value = AssetKey> {
    (one_of(&["acme", "other"]), one_of(&AssetKind::ALL))
        .prop_map(|(tenant, kind)| AssetKey { tenant: tenant.parse().unwrap(), kind })
}

/// Few contents, so that the same come again.
fn asset() -> impl Strategy<Value = Asset> {
    (one_of(&IDS), 0..3_u8).prop_map(|(path, byte)| Asset::new(PathBuf::from(path), vec![byte]))
}

fn hook() -> impl Strategy<Value = Hook> {
    let what = (token(), prop::option::of(one_of(&IDS)), any::<bool>());
    (0..4_u64, key(), what, prop::collection::vec(one_of(&["user-joined", "\\0"]), 0..3)).prop_map(
        |(id, key, (token, meeting_id, raw), events)| Hook {
            id,
            scope: key.scope,
            token,
            callback_url: format!("https://front.example/?{}&{id}", key.id),
            meeting_id: meeting_id.map(Into::into),
            events: events.into_iter().map(Into::into).collect(),
            raw,
            created_at_ms: id,
        },
    )
}

fn saved_meeting() -> impl Strategy<Value = Meeting> {
    let bytes = prop::collection::vec(any::<u8>(), 0..9);
    (key(), one_of(&INTERNAL_IDS), any::<u32>(), prop::option::of(one_of(&INTERNAL_IDS)), bytes)
        .prop_map(|(key, internal_id, created_at_ms, parent, xml)| Meeting {
            key,
            created_at_ms: created_at_ms.into(),
            parent_internal_id: parent.map(Into::into),
            extent: Extent { expected_thousandths: created_at_ms / 2, peak: created_at_ms / 7 },
            xml: xml.into(),
            ..meeting("acme", "m", internal_id)
        })
}

fn saved_node() -> impl Strategy<Value = SavedNode> {
    (one_of(&IDS), one_of(&AdminState::ALL), any::<bool>()).prop_map(|(name, state, has_spec)| {
        let SavedNode { name, spec, .. } = retired_node(name);
        SavedNode { name, state, spec: spec.filter(|_| has_spec) }
    })
}

fn claim() -> impl Strategy<Value = Claim> {
    let names = (key(), prop::option::of(one_of(&INTERNAL_IDS)));
    let over = prop::collection::vec(one_of(&INTERNAL_IDS), 0..3);
    (names, over, 0..2_u64, 0..3_u64).prop_map(|((key, internal_id), over, who, number)| Claim {
        key,
        internal_id: internal_id.map(Into::into),
        over: over.into_iter().map(Into::into).collect(),
        instance: INSTANCES[usize::from(who > 0)].clone(),
        number,
    })
}

fn counted() -> impl Strategy<Value = Count> {
    (one_of(&["acme", "other"]), 0..3_u16, one_of(&IDS), 0..9_u64)
        .prop_map(|(tenant, sub, name, more)| count(tenant, sub, name, more))
}

fn act() -> impl Strategy<Value = Act> {
    let name = one_of(&IDS).prop_map(NodeName::new);
    prop_oneof![
        4 => saved_meeting().prop_map(Act::PutMeeting),
        2 => (key(), one_of(&INTERNAL_IDS)).prop_map(|(key, id)| Act::RemoveMeeting(key, id)),
        2 => saved_node().prop_map(Act::PutNode),
        2 => saved_node().prop_map(Act::DescribeNode),
        1 => name.prop_map(Act::RemoveNode),
        6 => prop::collection::vec(callback(), 0..3).prop_map(Act::PutCallbacks),
        3 => (tokens(), one_of(&INTERNAL_IDS)).prop_map(|(t, id)| Act::BindCallbacks(t, id)),
        1 => tokens().prop_map(Act::RemoveCallbacks),
        2 => (token(), ms()).prop_map(|(token, at_ms)| Act::EndCallbacks(token, at_ms)),
        6 => delivery().prop_map(Act::PutDelivery),
        5 => (0..4_usize, ms(), settled()).prop_map(|(place, at, s)| Act::Settle(place, at, s)),
        3 => (0..4_usize, ms()).prop_map(|(place, at)| Act::Retry(place, at)),
        2 => (0..4_usize, ms()).prop_map(|(place, at)| Act::Discard(place, at)),
        2 => ms().prop_map(Act::Expire),
        2 => (asset_key(), asset()).prop_map(|(key, asset)| Act::PutAsset(key, asset.into())),
        1 => (asset_key(), asset()).prop_map(|(key, asset)| Act::RemoveAsset(SavedAsset {
            key,
            path: asset.path().to_owned(),
            digest: asset.digest().to_owned(),
        })),
        2 => hook().prop_map(Act::PutHook),
        1 => (0..4_u64).prop_map(Act::RemoveHook),
        6 => claim().prop_map(Act::Claim),
        2 => claim().prop_map(Act::Release),
        3 => (saved_meeting(), claim()).prop_map(|(m, claim)| Act::PutCreated(m, claim)),
        3 => saved_meeting().prop_map(Act::PutFound),
        1 => prop::collection::vec(counted(), 0..4).prop_map(Act::Count),
        2 => hook().prop_map(Act::AddHook),
    ]
}

/// Makes a change; returns what is told at once.
async fn perform(store: &dyn Store, act: &Act) -> String {
    match act {
        Act::Claim(claim) => {
            return format!("{:?}", store.claim_meeting(claim).await.unwrap());
        }
        Act::PutCreated(meeting, claim) => {
            return format!("{:?}", store.put_created(meeting, claim).await.unwrap());
        }
        Act::AddHook(hook) => {
            return format!("{:?}", store.add_hook(hook).await.unwrap());
        }
        Act::RemoveMeeting(key, internal_id) => {
            return format!("{:?}", store.remove_meeting(key, internal_id).await.unwrap());
        }
        Act::PutFound(meeting) => {
            return format!("{:?}", store.put_found(meeting).await.unwrap());
        }
        Act::Retry(place, at_ms) => {
            let id = let_go(store, *place).await;
            return format!("{:?}", store.retry_delivery(id, *at_ms).await.unwrap());
        }
        Act::Discard(place, at_ms) => {
            let id = let_go(store, *place).await;
            return format!("{:?}", store.discard_delivery(id, *at_ms).await.unwrap());
        }
        Act::Release(claim) => store.release_claim(claim).await,
        Act::PutMeeting(meeting) => store.put_meeting(meeting).await,
        Act::PutNode(node) => store.put_node(node).await,
        Act::DescribeNode(node) => store.describe_node(node).await,
        Act::RemoveNode(name) => store.remove_node(name).await,
        Act::PutCallbacks(callbacks) => store.put_callbacks(callbacks).await,
        Act::BindCallbacks(tokens, internal_id) => store.bind_callbacks(tokens, internal_id).await,
        Act::RemoveCallbacks(tokens) => store.remove_callbacks(tokens).await,
        Act::EndCallbacks(token, at_ms) => store.end_callbacks(token, *at_ms).await,
        Act::PutDelivery(delivery) => {
            store.put_delivery(delivery).await.map(|put| assert_eq!(put, Put::Kept))
        }
        Act::Settle(place, at_ms, settled) => {
            // The two number their rows differently.
            let due = store.take_deliveries(*at_ms, ALL, ANYBODYS).await.unwrap().taken;
            let id = due.get(*place).map_or(-1, |delivery| delivery.id);
            store.settle_delivery(id, ANYBODYS.holder, *at_ms, settled).await
        }
        Act::Expire(now_ms) => store.expire_callbacks(*now_ms).await,
        Act::PutAsset(key, asset) => store.put_asset(key, asset).await,
        Act::RemoveAsset(asset) => store.remove_asset(asset, Duration::ZERO).await,
        Act::PutHook(hook) => store.put_hook(hook).await,
        Act::RemoveHook(id) => store.remove_hook(*id).await,
        Act::Count(more) => store.add_counts(more).await,
    }
    .unwrap();
    String::new()
}

const UNDELIVERED: WantedDeliveries =
    WantedDeliveries { tenant: None, state: None, after: 0, limit: 1000 };

/// The number of what waits or was given up at this place, which nobody holds any more.
async fn let_go(store: &dyn Store, place: usize) -> i64 {
    let all = store.undelivered(&UNDELIVERED).await.unwrap();
    let id = all.get(place).map_or(-1, |one| one.delivery.id);
    store.give_back(&[id], ANYBODYS.holder).await.unwrap();
    id
}

/// Everything that can be asked, as text and in one order.
async fn answers(store: &dyn Store) -> Vec<String> {
    let mut said = Vec::new();
    let Saved { mut meetings, mut nodes, hooks, skipped, .. } = store.load().await.unwrap();
    meetings.sort_by_key(|meeting| format!("{:?}", meeting.key));
    nodes.sort_by_key(|node| node.name.as_str().to_owned());
    said.push(format!("{meetings:?} {nodes:?} {hooks:?} {skipped}"));
    for secret in nodes.iter().filter_map(|node| Some(&node.spec.as_ref()?.secret)) {
        said.push(secret.expose().to_owned());
    }
    for id in IDS.iter().chain(&INTERNAL_IDS) {
        let mut found =
            store.find_meetings(&[("acme".parse().unwrap(), (*id).into())]).await.unwrap();
        found.sort_by_key(|meeting| format!("{:?}", meeting.key));
        said.push(format!("{found:?}"));
    }
    let keys: Vec<_> = SCOPES
        .iter()
        .flat_map(|scope| IDS.map(|id| (Scope::parse(scope).unwrap(), id.to_owned())))
        .map(|(scope, id)| MeetingKey { scope, id })
        .collect();
    said.push(format!("{:?}", store.find_claims(&keys).await.unwrap()));
    for id in INTERNAL_IDS {
        said.push(format!("{:?}", store.callbacks_of_internal(id).await.unwrap()));
    }
    for number in 0..5 {
        let token = CallbackToken::new([number; CallbackToken::BYTES]);
        let found = store.find_callback(&token).await.unwrap();
        if let Some(Callback { key, internal_id: Some(internal_id), .. }) = &found {
            let mut all = store.callbacks_of(key, internal_id).await.unwrap();
            all.sort_by_key(|callback| callback.token.expose().to_owned());
            said.push(format!("{all:?}"));
        }
        said.push(format!("{found:?}"));
    }
    for mut one in store.undelivered(&UNDELIVERED).await.unwrap() {
        let found = store.find_undelivered(one.delivery.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&one));
        one.delivery.id = 0;
        said.push(format!("{one:?}"));
    }
    let few = Places { of_origin: 2, of_tenant: 3, all: 4 };
    for (at_ms, places) in [(HOURS * HOUR_MS / 2, few), (HOURS * HOUR_MS, ALL)] {
        let Outbox { taken: mut due, next_due_ms, pending, dead } =
            store.take_deliveries(at_ms, places, ANYBODYS).await.unwrap();
        for delivery in &mut due {
            said.push(format!("{:?}", store.payload_of(delivery.id).await.unwrap()));
            delivery.id = 0;
        }
        said.push(format!("{due:?} {next_due_ms:?} {pending} {dead}"));
    }
    let mut assets = store.list_assets().await.unwrap();
    assets.sort_by_key(|asset| format!("{asset:?}"));
    for asset in &assets {
        let wanted = WantedAsset::Digest(&asset.digest);
        said.push(format!("{:?}", store.find_asset(&asset.key, wanted).await.unwrap()));
    }
    said.push(format!("{assets:?}"));
    let mut counts = store.counts().await.unwrap();
    counts.sort_by(|one, other| one.key.cmp(&other.key));
    said.push(format!("{counts:?}"));
    said
}

#[test]
fn any_sequence_of_operations_gives_the_same_answers_on_both() {
    let server = Server::shared();
    let database = server.create_database();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = Secret::new(server.url(&database));
    let postgres = runtime.block_on(Postgres::open(&url, Older::Migrate)).unwrap();
    let acts = prop::collection::vec(act(), 0..100);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) };
    proptest!(config, |(acts in acts)| {
        let tables = "meetings, nodes, callbacks, deliveries, assets, hooks, outbox_lines,
            outbox_tenants, claims, counters";
        server.sql(&database, &format!("TRUNCATE {tables}"));
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path()).unwrap();
        let (one, other) = runtime.block_on(async {
            for act in &acts {
                let (one, other) = tokio::join!(perform(&embedded, act), perform(&postgres, act));
                assert_eq!(one, other, "{act:?}");
            }
            tokio::join!(answers(&embedded), answers(&postgres))
        });
        prop_assert_eq!(one, other);
        let miscounted = server.sql(&database, MISCOUNTED);
        prop_assert_eq!(miscounted.trim(), "");
    });
}
