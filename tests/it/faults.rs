//! A bad node harms nobody who does not need it.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use portico::sim::Fault;
use tokio::time::Instant;

use crate::harness::{Client, Config, Pool, Tenant};

/// Requests for meetings on the good nodes, and creates.
const REQUESTS: usize = 900;
const CREATES: usize = 100;
const AT_ONCE: usize = 16;
/// Below any time-out towards a node, and far above what a request takes on a busy machine.
const SLOW: Duration = Duration::from_secs(10);

/// Three nodes with meetings on all of them, the first of them with this fault from now on.
async fn pool_with(fault: Fault) -> (Pool, Vec<(String, String)>) {
    let config = Config::new()
        .nodes(3)
        .tenant(Tenant::new("acme"))
        .set("polling.timeout", "1s")
        .set("polling.node_down_grace", "10m");
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    join_all((0..30).map(|number| {
        let (acme, id) = (acme.clone(), format!("room{number}"));
        async move { acme.create(&id).await }
    }))
    .await;
    let meetings = pool.nodes()[1..]
        .iter()
        .flat_map(|node| {
            let id = |id: &str| id.trim_end_matches("@acme").to_owned();
            node.meetings().into_iter().map(move |meeting| (id(&meeting.external_id), node.url()))
        })
        .collect();
    pool.node(0).set_fault(Some(fault));
    (pool, meetings)
}

/// One request of the mix, which must be answered well and in time.
async fn ask(acme: Client, number: usize, id: &str, node: &str) {
    let begun = Instant::now();
    match number % 4 {
        0 => {
            let reply = acme.get("join", &format!("fullName=Ada&meetingID={id}")).await;
            assert_eq!(reply.status, 302, "{}", reply.body);
            assert!(reply.header("location").starts_with(node), "{}", reply.header("location"));
        }
        1 => {
            let reply = acme.get("getMeetingInfo", &format!("meetingID={id}&n={number}")).await;
            assert_eq!(reply.success().text("meetingID"), id);
        }
        2 => {
            acme.get("isMeetingRunning", &format!("meetingID={id}&n={number}")).await.success();
        }
        _ => {
            assert!(acme.listed().await.len() >= 20);
        }
    }
    assert!(begun.elapsed() < SLOW, "request {number} took {:?}", begun.elapsed());
}

async fn others_go_on_with(fault: Fault) {
    let (pool, meetings) = pool_with(fault).await;
    let acme = pool.tenant("acme");
    let asked = ["join", "getMeetingInfo", "isMeetingRunning", "end"];
    let before = asked.map(|call| pool.node(0).calls(call));
    let requests = async {
        stream::iter(0..REQUESTS)
            .map(|number| {
                let (id, node) = &meetings[number % meetings.len()];
                ask(acme.clone(), number, id, node)
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
        for (id, _) in &meetings {
            acme.get("end", &format!("meetingID={id}")).await.success();
        }
    };
    // The first of them may be placed on the bad node and go on from there.
    let creates = async {
        stream::iter(0..CREATES)
            .map(|number| {
                let (acme, id) = (acme.clone(), format!("new{number}"));
                async move { acme.create(&id).await }
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
    };
    tokio::join!(requests, creates);
    // Nobody asked it for anything that another node runs.
    assert_eq!(asked.map(|call| pool.node(0).calls(call)), before);
}

#[tokio::test]
async fn others_go_on_when_a_node_is_slow() {
    others_go_on_with(Fault::Delay(Duration::from_secs(5))).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_refuses() {
    others_go_on_with(Fault::Refuse).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_resets() {
    others_go_on_with(Fault::Reset).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_answers_5xx() {
    others_go_on_with(Fault::Status(503)).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_answers_half_xml() {
    others_go_on_with(Fault::BadXml).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_answers_html() {
    others_go_on_with(Fault::Html).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_answers_for_another_meeting() {
    others_go_on_with(Fault::WrongId).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_answers_without_end() {
    others_go_on_with(Fault::EndlessBody).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_dribbles() {
    others_go_on_with(Fault::Dribble).await;
}

#[tokio::test]
async fn others_go_on_when_a_node_never_answers() {
    others_go_on_with(Fault::Hang).await;
}

/// A value of `/proc/PID/status` in KiB.
fn memory_kib(pool: &Pool, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pool.process_id()));
    let status = status.expect("Portico runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line.and_then(|rest| rest.trim().strip_suffix("kB")).expect("a size");
    value.trim().parse().expect("a number")
}

#[tokio::test]
async fn answers_without_end_cost_bounded_memory() {
    let config = Config::new().nodes(2).tenant(Tenant::new("acme"));
    let pool = Pool::start(config.set("polling.down_after", 100)).await;
    let acme = pool.tenant("acme");
    join_all((0..20).map(|number| {
        let (acme, id) = (acme.clone(), format!("room{number}"));
        async move { acme.create(&id).await }
    }))
    .await;
    let before = memory_kib(&pool, "VmRSS");
    for node in pool.nodes() {
        node.set_fault(Some(Fault::EndlessBody));
    }
    for number in 0..20 {
        let meeting = format!("meetingID=room{number}");
        join_all([
            acme.get("isMeetingRunning", &meeting),
            acme.get("create", &format!("name=Again&{meeting}")),
            acme.get("end", &meeting),
            acme.get("create", &format!("name=New&meetingID=new{number}")),
        ])
        .await;
        acme.get("getMeetingInfo", &meeting).await;
    }
    let peak = memory_kib(&pool, "VmHWM");
    assert!(peak < before + 64 * 1024, "{before} KiB before, {peak} KiB at the peak");
    assert_eq!(pool.admin("/healthz").await.status, 200);
}
