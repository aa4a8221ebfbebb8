//! What every store must do with the inventory.

use std::sync::Arc;

use super::{HUSH, retired_node};
use crate::bbb::Algorithm;
use crate::model::{
    Asset, AssetKind, B3lbFactors, Branding, Cluster, ClusterGroup, Inventory, Kind, Limits, Look,
    LostFile, MeetingIds, ObjectName, Policy, RecordingSettings, Rule, RuleMode, Rules, Secret,
    Spread, Tenant, TenantPlacement,
};
use crate::store::{Applied, Applying, Part, SavedInventory, Store, digest_of};

/// With everything set that there is.
pub(in crate::store) fn inventory() -> Inventory {
    let rule = |name: &str, mode| Rule { name: name.to_owned(), mode };
    let rules = Rules {
        create: vec![
            rule("record", RuleMode::Override("fal\0se".to_owned())),
            rule("meta_a", RuleMode::Block),
            rule("maxParticipants", RuleMode::Max(300)),
        ]
        .into(),
        join: vec![
            rule("userdata-x", RuleMode::Set("\"ü\"".to_owned())),
            rule("disabledFeatures", RuleMode::Append("chat".to_owned())),
        ]
        .into(),
    };
    let limits = Limits { meetings: 1, attendees: 2, limit_joins: true, requests_per_second: 3 };
    let mut full = Tenant {
        name: "Acmé \0".to_owned(),
        is_enabled: false,
        account: Some("one & all".to_owned()),
        is_default: true,
        domains: vec!["meet.acme.example".to_owned()],
        required_tags: vec!["sip".to_owned()],
        checksums: vec![Algorithm::Sha1, Algorithm::Sha512],
        limits,
        rules: rules.clone(),
        meeting_ids: MeetingIds::Plain,
        branding: Branding {
            logo: Some(Look::Url("https://acme.example/logo.svg".to_owned())),
            force: true,
            ..Branding::default()
        },
        recording: RecordingSettings { enabled: false, retention_days: 14 },
        placement: TenantPlacement {
            max_size: Some(500),
            spread: Spread::Meetings,
            ..TenantPlacement::default()
        },
        stats_token: Some(Secret::new(HUSH)),
        ..Tenant::sample("acme", &[0, 5])
    };
    full.secrets[0].secret2 = Some(Secret::new(HUSH));
    full.secrets[1].secret = Secret::new(HUSH);
    full.secrets[1].limits = limits;
    full.secrets[1].rules = rules;
    let mut nodes = vec![retired_node("n1").spec.unwrap(), retired_node("n0").spec.unwrap()];
    nodes[1].secret = Secret::new(HUSH);
    let b3lb = B3lbFactors { attendee_factor: 0.1, ..B3lbFactors::default() };
    let policies = [Policy::Predictive, Policy::B3lb(b3lb), Policy::B3scale];
    let cluster = |(at, policy)| Cluster {
        name: format!("cluster{at}"),
        checksum: Algorithm::Sha384,
        policy,
    };
    let clusters = ["cluster1".to_owned(), "cluster0".to_owned()].to_vec();
    Inventory {
        clusters: (0..).zip(policies).map(cluster).collect(),
        groups: vec![ClusterGroup { name: "all".to_owned(), clusters }],
        nodes,
        tenants: vec![full, Tenant::sample("other", &[0])],
        ..Inventory::default()
    }
}

pub(in crate::store) async fn the_last_inventory_is_in_force(store: &dyn Store) {
    assert_eq!(store.inventory_in_force().await.unwrap(), None);
    assert_eq!(store.load_inventory(Part::Whole).await.unwrap(), None);
    let mut first = inventory();
    first.managed.insert(ObjectName::new(Kind::Tenant, "other"));
    let apply = async |inventory: &Inventory, digest: &str, by: &str, base: Option<&Applied>| {
        let base = base.map_or(0, |base| base.revision);
        store.apply_inventory(inventory, Applying { digest, by, base, change: None }).await.unwrap()
    };
    let one = apply(&first, "one", "edge-1 (ü)", None).await.unwrap();
    assert_eq!(apply(&first, "late", "edge-2", None).await, None);
    assert_eq!((one.digest.as_str(), one.by.as_str()), ("one", "edge-1 (ü)"));
    // A store's clock is no test's, but nor is it that of another year.
    assert!(one.at_ms.abs_diff(crate::fleet::now_ms()) < 60 * 60 * 1000, "{one:?}");
    let saved = store.load_inventory(Part::Whole).await.unwrap();
    let expected = SavedInventory { applied: one.clone(), inventory: first.clone() };
    assert_eq!(saved, Some(expected));

    let saved = store.load_inventory(Part::Managed).await.unwrap().unwrap();
    let slugs: Vec<_> = saved.inventory.tenants.iter().map(|tenant| tenant.slug.as_str()).collect();
    assert_eq!((slugs.as_slice(), saved.inventory.nodes.len()), (["other"].as_slice(), 0));
    assert_eq!(saved.inventory.managed, first.managed);

    // Of a file only its name and digest.
    let asset = Arc::new(Asset::new("conf/a.css".into(), b"p {}".to_vec()));
    first.tenants[1].branding.set(AssetKind::Css, Look::File(asset.clone()));
    first.tenants.swap(0, 1);
    first.nodes.pop();
    let with_file = first.clone();
    let two = apply(&first, "two", "edge-2", Some(&one)).await.unwrap();
    assert_eq!(apply(&first, "late", "edge-2", Some(&one)).await, None);
    assert!(two.revision > one.revision);
    assert_eq!(store.inventory_in_force().await.unwrap(), Some(two.clone()));
    assert_eq!(store.last_applied("one").await.unwrap(), Some(one));
    assert_eq!(store.last_applied("three").await.unwrap(), None);
    let saved = store.load_inventory(Part::Whole).await.unwrap().unwrap();
    let lost = LostFile { path: "conf/a.css".into(), digest: asset.digest().to_owned() };
    first.tenants[0].branding.set(AssetKind::Css, Look::Lost(lost));
    assert_eq!((saved.applied, &saved.inventory), (two.clone(), &first));
    assert_eq!(digest_of(&saved.inventory, store), digest_of(&with_file, store));

    let again = apply(&Inventory::default(), "one", "edge-1", Some(&two)).await.unwrap();
    assert_eq!(store.last_applied("one").await.unwrap(), Some(again.clone()));
    let saved = store.load_inventory(Part::Whole).await.unwrap().unwrap();
    assert_eq!((saved.applied, saved.inventory), (again, Inventory::default()));
}

pub(in crate::store) async fn any_change_makes_another_digest(store: &dyn Store) {
    let digest = |change: &dyn Fn(&mut Inventory)| {
        let mut changed = inventory();
        change(&mut changed);
        digest_of(&changed, store)
    };
    let same = digest(&|_| ());
    let look = |dir: &str, bytes: &[u8]| {
        Look::File(Arc::new(Asset::new(format!("{dir}/a.css").into(), bytes.to_vec())))
    };
    let css =
        |look: &Look| digest(&|all| all.tenants[0].branding.set(AssetKind::Css, look.clone()));
    let with_css = css(&look("conf", b"p {}"));
    assert_eq!(css(&look("etc", b"p {}")), with_css);
    let others = [
        with_css,
        css(&look("conf", b"q {}")),
        digest(&|all| all.nodes[0].secret = Secret::new("another")),
        digest(&|all| all.tenants[0].stats_token = None),
        digest(&|all| all.tenants[0].secrets[0].secret2 = Some(Secret::new("another"))),
        digest(&|all| all.clusters[0].policy = Policy::B3scale),
        digest(&|all| all.groups[0].clusters.reverse()),
        digest(&|all| all.tenants[1].limits.meetings = 9),
        digest(&|all| _ = all.managed.insert(ObjectName::new(Kind::Tenant, "other"))),
    ];
    let all: std::collections::HashSet<_> = others.iter().chain([&same]).collect();
    assert_eq!(all.len(), others.len() + 1);
    assert_eq!(digest(&|_| ()), same);
}
