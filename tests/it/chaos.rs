//! Everything breaks, again and again, while front ends go on: three instances, ten nodes, Redis, PostgreSQL.
//!
//! `make chaos` breaks things for a minute. `CHAOS_SEED` repeats what is broken when, and what front ends do; how
//! the two meet is never quite the same. `CHAOS_SECONDS` says for how long.

mod faults;
mod front_end;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portico::sim::Node;
use tokio::time::Instant;

use crate::harness::{Balancer, Cluster, Config, Front, Plan, Tenant, eventually};
use faults::{Broken, inject};
use front_end::{End, FrontEnd, Meeting, Notes};

const INSTANCES: usize = 3;
const NODES: usize = 10;
const FRONT_ENDS: u64 = 6;
/// For `make test`: once through all that can break.
const SECONDS: u64 = 1;
/// An instance that dies so shortly after it delivered a callback may not have written that down.
const RECORDED_WITHIN: Duration = Duration::from_secs(2);

/// A number of the environment.
fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test is repeated by its environment")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Callbacks of nodes come by way of the balancer, and soon again when they fail: minutes are short.
fn config(balancer: &str) -> Config {
    let config = Config::new()
        .nodes(NODES)
        .tenant(Tenant::new("acme"))
        .set("callbacks.allow_targets", "[127.0.0.0/8]")
        .set("server.public_url", format!("http://{balancer}"))
        .set("polling.interval", "500ms");
    (0..NODES)
        .fold(config, |config, node| config.sim(node, |node| node.minute = Duration::from_secs(2)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_or_doubled_whatever_breaks() {
    let seed = setting("CHAOS_SEED").unwrap_or_else(rand::random);
    let time = Duration::from_secs(setting("CHAOS_SECONDS").unwrap_or(SECONDS));
    eprintln!("CHAOS_SEED={seed}");
    let balancer = Balancer::bind().await;
    let plan = Plan::new(config(&balancer.address().to_string()), INSTANCES).own_postgres();
    let mut cluster = plan.start().await;
    let _balancer = balancer.start(cluster.instances()).await;
    let front = Front::start(&[]).await;
    let (broken, stop) = (Arc::new(Broken::default()), Arc::new(AtomicBool::new(false)));
    let front_ends: Vec<_> = (0..FRONT_ENDS)
        .map(|number| {
            let front_end = FrontEnd {
                number: usize::try_from(number).expect("a few"),
                clients: cluster.instances().iter().map(|pool| pool.tenant("acme")).collect(),
                nodes: cluster.shared_nodes(),
                broken: broken.clone(),
                end_url: front.encoded("/end?id="),
                notes: Notes::default(),
            };
            tokio::spawn(front_end.run(seed.wrapping_add(number), stop.clone()))
        })
        .collect();
    inject(&mut cluster, &broken, seed, time).await;
    stop.store(true, Ordering::SeqCst);
    let mut all = Notes::default();
    for front_end in front_ends {
        let notes = front_end.await.expect("it does not panic");
        all.answered += notes.answered;
        all.meetings.extend(notes.meetings);
        all.unexcused.extend(notes.unexcused);
        for (kind, count) in notes.failed {
            *all.failed.entry(kind).or_default() += count;
        }
    }
    eprintln!("{} of {} calls failed; {}", failures(&all), all.answered, broken.summary());
    for ((call, cause), count) in &all.failed {
        eprintln!("  {call}: {cause}: {count}");
    }
    for unexcused in &all.unexcused {
        eprintln!("  touched nothing broken: {unexcused}");
    }
    each_meeting_runs_once(&cluster, &all.meetings).await;
    for meeting in all.meetings.iter().filter(|meeting| meeting.end == End::None) {
        is_known_everywhere(&cluster, meeting).await;
    }
    no_end_is_lost(&cluster, &front, &all.meetings, &broken).await;
    for pool in cluster.instances() {
        assert!(!pool.log().contains("panicked"), "{}", pool.log());
    }
    let touched = all.unexcused.len();
    assert_eq!(touched, 0, "calls that touched nothing broken failed; seed {seed}");
    assert!(all.answered > 100, "hardly anything was asked: {}", all.answered);
}

fn failures(notes: &Notes) -> usize {
    notes.failed.values().sum::<usize>() + notes.unexcused.len()
}

/// The internal ids of the live meetings with each id.
fn live(nodes: &[Node]) -> BTreeMap<String, Vec<String>> {
    let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for meeting in nodes.iter().flat_map(Node::meetings).filter(|meeting| !meeting.ended) {
        live.entry(meeting.external_id).or_default().push(meeting.internal_id);
    }
    live
}

/// Says of meetings that run what they should not.
fn wrong(nodes: &[Node], meetings: &[Meeting]) -> Vec<String> {
    let live = live(nodes);
    let none = Vec::new();
    let judge = |meeting: &Meeting| {
        let runs = live.get(&format!("{}@acme", meeting.id)).unwrap_or(&none);
        let is_right = match (&meeting.internal_id, meeting.end) {
            (Some(id), End::None) => *runs == [id.as_str()],
            (Some(_), End::Acknowledged) => runs.is_empty(),
            (None, _) | (_, End::Doubtful) => runs.len() <= 1,
        };
        (!is_right).then(|| format!("{meeting:?}: runs as {runs:?}"))
    };
    meetings.iter().filter_map(judge).collect()
}

/// What was acknowledged runs once, unless its end was acknowledged; nothing runs twice.
async fn each_meeting_runs_once(cluster: &Cluster, meetings: &[Meeting]) {
    let mut last = Vec::new();
    let begun = Instant::now();
    let is_right = async || {
        last = wrong(cluster.nodes(), meetings);
        if begun.elapsed() > Duration::from_secs(25) {
            eprintln!("still wrong:\n{}", last.join("\n"));
        }
        last.is_empty()
    };
    eventually("each meeting runs once", is_right).await;
}

/// Each instance says of it the same, and where it runs.
async fn is_known_everywhere(cluster: &Cluster, meeting: &Meeting) {
    let Some(internal_id) = &meeting.internal_id else { return };
    let runs = |node: &&Node| node.meetings().iter().any(|own| own.internal_id == *internal_id);
    let node = cluster.nodes().iter().find(runs).expect("just seen").url();
    for (index, pool) in cluster.instances().iter().enumerate() {
        let acme = pool.tenant("acme");
        let id = &meeting.id;
        eventually(&format!("instance {index} knows {id}"), async || {
            let info = acme.get("getMeetingInfo", &format!("meetingID={id}")).await;
            let join = acme.get("join", &format!("fullName=Ada&meetingID={id}")).await;
            info.text("internalMeetingID") == *internal_id
                && join.status == 302
                && join.header("location").starts_with(&node)
        })
        .await;
    }
}

/// Each end that was acknowledged was told; twice only where an instance died meanwhile.
async fn no_end_is_lost(cluster: &Cluster, front: &Front, meetings: &[Meeting], broken: &Broken) {
    let told = || {
        let mut told: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
        for heard in front.heard("/end?id=") {
            let rest = heard.target.trim_start_matches("/end?id=");
            let id = rest.split('&').next().expect("there is a first");
            told.entry(id.to_owned()).or_default().push(heard.at);
        }
        told
    };
    let ended = meetings.iter().filter(|meeting| meeting.end == End::Acknowledged);
    let ended: Vec<_> = ended.map(|meeting| meeting.id.as_str()).collect();
    eventually("every end is told", async || {
        let told = told();
        ended.iter().all(|id| told.contains_key(*id))
    })
    .await;
    eventually("nothing is left to be told", async || {
        let mut pending = 0.0;
        for pool in cluster.instances() {
            pending += pool.metrics().await.get("portico_callbacks_pending");
        }
        pending < 0.5
    })
    .await;
    let told = told();
    let twice = told.iter().filter(|(_, times)| times.len() > 1);
    let (excused, unexcused): (Vec<_>, Vec<_>) = twice.partition(|(_, times)| {
        times.windows(2).all(|pair| broken.killed_between(pair[0] - RECORDED_WITHIN, pair[1]))
    });
    let (told, doubled) = (told.len(), excused.len());
    eprintln!("{} ends were acknowledged, {told} told, {doubled} of them twice", ended.len());
    assert!(unexcused.is_empty(), "told twice, and no instance died meanwhile: {unexcused:?}");
}
