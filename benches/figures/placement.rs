//! What a choice of a node costs, beside pingora-load-balancing's round robin, and what the history of rooms takes.

use std::hint::black_box;

use anyhow::Context;
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::RoundRobin;
use portico::fleet::predict::{Ask, History};
use portico::fleet::{Fleet, Hints, Thresholds, Wanted};
use portico::model::{
    AdminState, Cluster, ClusterGroup, Extent, Hour, Inventory, Meeting, MeetingKey, Node,
    NodeName, Peak, Scope, Secret, Tenant, TenantSecret,
};

use tokio::time::Instant;

use crate::table::{Bound, Row, Table, note};

const MEETINGS_PER_NODE: usize = 50;
const ROUNDS: usize = 5;
/// Rounds of this many decisions each; fewer where there are many nodes.
const LOOKED_AT: usize = 20_000_000;
const ROOMS: usize = 100_000;

pub(crate) fn measure(table: &mut Table) -> anyhow::Result<()> {
    for nodes in [10, 100, 1_000] {
        note(&format!("placement among {nodes} nodes"));
        decisions(table, nodes)?;
    }
    history(table)
}

fn decisions(table: &mut Table, nodes: usize) -> anyhow::Result<()> {
    let fleet = pool(nodes)?;
    let snapshot = fleet.snapshot();
    let tenant = snapshot.tenant("acme").context("the tenant is there")?;
    let keys: Vec<MeetingKey> =
        (0..1000).map(|number| key(&format!("new-{number}"))).collect::<Result<_, _>>()?;
    let addresses: Vec<String> =
        (0..nodes).map(|node| format!("127.0.{}.{}:80", node / 250, node % 250 + 1)).collect();
    let round_robin = LoadBalancer::<RoundRobin>::try_from_iter(&addresses)?;
    let count = u32::try_from(LOOKED_AT / nodes / 20)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for number in 0..count {
            let key = &keys[number as usize % keys.len()];
            let expected = fleet.expect(tenant, key, Hints::default());
            let wanted = Wanted { expected, ..Wanted::new(key) };
            drop(black_box(tenant.place(&wanted).ok().context("a node is free")?));
        }
        ours.push(ns_each(begun.elapsed(), count));
        let begun = Instant::now();
        for _ in 0..count {
            black_box(round_robin.select(b"", 256));
        }
        theirs.push(ns_each(begun.elapsed(), count));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    table.push(Row {
        figure: format!("placement: {nodes} nodes, {MEETINGS_PER_NODE} meetings each: ns/decision"),
        portico: format!("{ours:.0}"),
        baseline: format!("{theirs:.0}"),
        ratio: Some(ours / theirs),
        bound: Bound::None,
    });
    Ok(())
}

/// Rooms that were seen once each, and what they take beyond an empty history.
fn history(table: &mut Table) -> anyhow::Result<()> {
    note(&format!("the history of {ROOMS} rooms"));
    let history = History::of_at_most(ROOMS * 4);
    let hour = Hour::new(9).context("an hour")?;
    let before = resident()?;
    for number in 0..ROOMS {
        let peak = Peak { key: key(&format!("room-{number}"))?, hour, attendees: 20 };
        history.learn(&peak, 1);
    }
    let taken = resident()?.saturating_sub(before);
    let key = key("room-77")?;
    black_box(history.expect(&Ask::new(&key, hour)));
    let mib = f64::from(u32::try_from(taken / 1024)?) / 1024.0;
    table.push(Row::told(
        format!("memory: history of {ROOMS} rooms"),
        format!("{mib:.1} MiB"),
        format!("{} B/room", taken / ROOMS as u64),
    ));
    Ok(())
}

/// What this process has in memory. The allocator takes it in large steps, which many rooms even out.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 =
        line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?.parse()?;
    Ok(kib * 1024)
}

fn ns_each(taken: std::time::Duration, count: u32) -> f64 {
    taken.as_secs_f64() * 1e9 / f64::from(count)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn key(id: &str) -> anyhow::Result<MeetingKey> {
    let scope = Scope::parse("acme").context("a scope")?;
    Ok(MeetingKey { scope, id: id.to_owned() })
}

/// A pool whose nodes are up, with meetings on each of them.
fn pool(nodes: usize) -> anyhow::Result<Fleet> {
    let spec = |number: usize| {
        anyhow::Ok(Node {
            name: NodeName::new(format!("node{number}")),
            cluster: "main".to_owned(),
            url: format!("http://node{number}.example/bigbluebutton/api").parse()?,
            secret: Secret::new("secret"),
            weight: f64::from(u8::try_from(number % 3)? + 1),
            capacity: 200,
            tags: Vec::new(),
            load_url: None,
        })
    };
    let mut tenant = Tenant::new("acme".parse()?, "all".to_owned());
    let scope = Scope::parse("acme").context("a scope")?;
    tenant.secrets = vec![TenantSecret {
        sub_id: scope.sub,
        secret: Secret::new("secret"),
        secret2: None,
        limits: portico::model::Limits::default(),
        rules: portico::model::Rules::default(),
    }];
    let inventory = Inventory {
        clusters: vec![Cluster { name: "main".to_owned(), ..Cluster::default() }],
        groups: vec![ClusterGroup { name: "all".to_owned(), clusters: vec!["main".to_owned()] }],
        nodes: (0..nodes).map(spec).collect::<Result<_, _>>()?,
        tenants: vec![tenant],
        ..Inventory::default()
    };
    let fleet = Fleet::new(inventory, |_| AdminState::Ready);
    let snapshot = fleet.snapshot();
    for node in snapshot.nodes() {
        fleet.begin_poll(node).finish(Thresholds { down_after: 1, up_after: 1 }, 1);
    }
    let tenant = snapshot.tenant("acme").context("the tenant is there")?;
    for number in 0..nodes * MEETINGS_PER_NODE {
        let key = key(&format!("m-{number}"))?;
        let expected = fleet.expect(tenant, &key, Hints::default());
        let wanted = Wanted { expected, ..Wanted::new(&key) };
        let reservation = tenant.place(&wanted).ok().context("a node is free")?;
        let place = tenant.admit(key.scope.sub).ok().context("there are no limits")?;
        let meeting = Meeting {
            node: reservation.node().name().clone(),
            node_meeting_id: format!("m-{number}@acme"),
            internal_id: format!("m-{number}-1"),
            created_at_ms: portico::fleet::now_ms(),
            parent_internal_id: None,
            extent: Extent::default(),
            xml: Box::default(),
            key,
        };
        fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
    }
    Ok(fleet)
}
