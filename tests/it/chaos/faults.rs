//! What breaks, and when it was broken.

use std::ops::RangeInclusive;
use std::time::Duration;

use parking_lot::Mutex;
use portico::sim::Fault;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout};

use super::{INSTANCES, NODES};
use crate::harness::{Cluster, eventually};

/// Something that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Killed with SIGKILL, and started again.
    Instance(usize),
    /// Killed, and started again empty.
    Redis,
    /// Killed, and started again.
    Postgres,
    /// Its port and its connections closed; its meetings go on.
    Node(usize),
}

/// A database that could not be asked is left alone for 2 s, and what it was not asked for counts as missing
/// for a moment more.
const LEFT_ALONE: Duration = Duration::from_secs(3);

impl Part {
    /// How long it is felt that it was broken.
    fn felt_for(self) -> Duration {
        if self == Self::Postgres { LEFT_ALONE } else { Duration::ZERO }
    }
}

/// Calls of front ends that an outage lasts for, and those between two of them.
const CALLS_BROKEN: RangeInclusive<usize> = 100..=400;
const CALLS_BETWEEN: RangeInclusive<usize> = 20..=100;
/// Where all of them hang there may not be so many.
const CALLS_WITHIN: Duration = Duration::from_secs(3);

/// When what was broken.
#[derive(Debug, Default)]
pub(super) struct Broken {
    spans: Mutex<Vec<Span>>,
    /// Those that front ends have made.
    calls: watch::Sender<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    part: Part,
    from: Instant,
    until: Option<Instant>,
}

impl Broken {
    /// Whether a part was broken at any moment of a call that began at `from` and ends now.
    pub(super) fn since(&self, from: Instant, is_meant: impl Fn(Part) -> bool) -> bool {
        let touches = |span: &Span| {
            is_meant(span.part) && span.until.is_none_or(|end| end + span.part.felt_for() >= from)
        };
        self.spans.lock().iter().any(touches)
    }

    /// Whether an instance was killed in this time.
    pub(super) fn killed_between(&self, from: Instant, until: Instant) -> bool {
        let spans = self.spans.lock();
        let kills = spans.iter().filter(|span| matches!(span.part, Part::Instance(_)));
        kills.map(|span| span.from).any(|at| (from..=until).contains(&at))
    }

    /// Each kind that was broken, and how often.
    pub(super) fn summary(&self) -> String {
        let spans = self.spans.lock();
        let count = |is: fn(Part) -> bool| {
            spans.iter().map(|span| span.part).filter(|part| is(*part)).count()
        };
        format!(
            "instances killed {}, Redis stopped {}, PostgreSQL stopped {}, nodes gone {}",
            count(|part| matches!(part, Part::Instance(_))),
            count(|part| part == Part::Redis),
            count(|part| part == Part::Postgres),
            count(|part| matches!(part, Part::Node(_))),
        )
    }

    /// A front end has made a call.
    pub(super) fn count_call(&self) {
        self.calls.send_modify(|calls| *calls += 1);
    }

    /// Waits until front ends have made so many more.
    async fn more_calls(&self, more: usize) {
        let mut calls = self.calls.subscribe();
        let enough = *calls.borrow() + more;
        // Without them it goes on, too.
        drop(timeout(CALLS_WITHIN, calls.wait_for(|calls| *calls >= enough)).await);
    }

    fn begins(&self, part: Part) {
        self.spans.lock().push(Span { part, from: Instant::now(), until: None });
    }

    fn ends(&self, part: Part) {
        let mut spans = self.spans.lock();
        let open = spans.iter_mut().filter(|span| span.part == part);
        for span in open.filter(|span| span.until.is_none()) {
            span.until = Some(Instant::now());
        }
    }
}

/// Breaks and mends one part after the other, sometimes together with a node, until the time is over and each
/// kind had its turn.
pub(super) async fn inject(cluster: &mut Cluster, broken: &Broken, seed: u64, time: Duration) {
    let mut random = StdRng::seed_from_u64(seed);
    let until = Instant::now() + time;
    let mut probes = 0;
    while Instant::now() < until {
        let mut turns =
            [Part::Instance(random.random_range(0..INSTANCES)), Part::Redis, Part::Postgres];
        turns.shuffle(&mut random);
        for (number, part) in turns.into_iter().enumerate() {
            let with_node = number == 0 || random.random_bool(0.4);
            let node = with_node.then(|| Part::Node(random.random_range(0..NODES)));
            let parts: Vec<_> = [Some(part), node].into_iter().flatten().collect();
            for part in &parts {
                broken.begins(*part);
                break_part(cluster, *part);
            }
            broken.more_calls(random.random_range(CALLS_BROKEN)).await;
            for part in parts {
                mend(cluster, part).await;
            }
            probes += 1;
            settle(cluster, probes).await;
            for part in [Some(part), node].into_iter().flatten() {
                broken.ends(part);
            }
            broken.more_calls(random.random_range(CALLS_BETWEEN)).await;
        }
    }
}

fn break_part(cluster: &mut Cluster, part: Part) {
    block_in_place(|| match part {
        Part::Instance(index) => cluster.instance_mut(index).kill9(),
        Part::Redis => cluster.redis().stop(),
        Part::Postgres => cluster.postgres().stop(),
        Part::Node(index) => cluster.nodes()[index].set_fault(Some(Fault::Refuse)),
    });
}

async fn mend(cluster: &mut Cluster, part: Part) {
    match part {
        Part::Instance(index) => cluster.instance_mut(index).restart().await,
        Part::Redis => block_in_place(|| cluster.redis().start()),
        Part::Postgres => block_in_place(|| cluster.postgres().start()),
        Part::Node(index) => cluster.nodes()[index].set_fault(None),
    }
}

/// Waits until each instance creates and finds all nodes up.
async fn settle(cluster: &Cluster, number: usize) {
    for (index, pool) in cluster.instances().iter().enumerate() {
        let acme = pool.tenant("acme");
        let id = format!("meetingID=probe{number}-{index}");
        let creates = async || {
            let query = format!("name=A+probe&{id}");
            acme.try_get("create", &query).await.is_ok_and(|reply| reply.is_success())
        };
        eventually("an instance creates", creates).await;
        acme.get("end", &id).await;
        eventually("an instance finds all nodes up", async || {
            let metrics = pool.metrics().await;
            let count = |labels: &[&str]| metrics.sum("portico_node_health", labels);
            let up = count(&["health=\"up\""]);
            up > 0.5 && count(&[]) - up < 0.5
        })
        .await;
    }
}
