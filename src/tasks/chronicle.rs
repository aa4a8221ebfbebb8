//! Writes down what happens to meetings and nodes, so that a day can be played again: `portico simulate trace`.
//!
//! Creates, polls and ends note it in memory, and nobody waits for what is done here. The store is told a few seconds
//! later, in portions; while it is away what waits is bounded, and what is too much is dropped and counted. Of several
//! instances each tells of its own creates and of the meetings and nodes that it polls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::driver::{Failed, Metrics, Task, activate, run};
use crate::bus::Duties;
use crate::chain::Chain;
use crate::fleet::{Fleet, Node, now_ms};
use crate::model::{Health, NodeLine, NodeName};
use crate::store::{Error, Store};

/// A crash loses no more of what was due.
const EVERY: Duration = Duration::from_secs(5);
/// Written together: others write in between.
const PORTION: usize = 500;
/// And no more than so many each time. The rest is not lost, only coarser.
const PORTIONS: usize = 8;
/// While we stop, all that waits is told.
const PORTIONS_AT_THE_END: usize = 200;
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// See the module.
pub struct Chronicle {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    duties: Duties,
    /// For how long, and how many meetings.
    keep: Duration,
    max_meetings: usize,
    /// What the store was told of nodes that are ours.
    known: Mutex<HashMap<NodeName, Option<f64>>>,
    forgot_at: Mutex<Option<Instant>>,
}

impl Chronicle {
    /// From here on the fleet takes note.
    pub fn new(
        fleet: Arc<Fleet>,
        store: Arc<dyn Store>,
        duties: Duties,
        keep: Duration,
        max_meetings: usize,
    ) -> Self {
        fleet.chronicle.open();
        let (known, forgot_at) = (Mutex::default(), Mutex::default());
        Self { fleet, store, duties, keep, max_meetings, known, forgot_at }
    }

    /// Goes on until `stop` turns true, and tells what has happened by then.
    pub async fn run(&self, metrics: &Metrics, stop: watch::Receiver<bool>) {
        run(self, Duration::ZERO, EVERY, metrics, stop).await;
        activate(self, metrics).await;
        if let Err(trouble) = self.tell_meetings(None, PORTIONS_AT_THE_END).await {
            warn!("the end of the chronicle is not kept: {}", Chain(&trouble));
        }
    }

    async fn tell_meetings(&self, until_ms: Option<u64>, portions: usize) -> Result<(), Error> {
        for _ in 0..portions {
            let lines = self.fleet.chronicle.take(until_ms, PORTION);
            if lines.is_empty() {
                break;
            }
            let told: Vec<_> = lines.iter().map(|line| line.told.clone()).collect();
            if let Err(trouble) = self.store.write_meetings(&told).await {
                self.fleet.chronicle.give_back(lines);
                return Err(trouble);
            }
        }
        Ok(())
    }

    async fn tell_nodes(&self) -> Result<(), Error> {
        let snapshot = self.fleet.snapshot();
        let mut now: HashMap<_, _> = snapshot
            .nodes()
            .filter(|node| self.duties.is_ours(node.name().as_str()))
            .filter_map(|node| Some((node.name().clone(), line(node)?)))
            .collect();
        let mut lines: Vec<NodeLine> = Vec::new();
        {
            let known = self.known.lock();
            for name in known.keys().filter(|name| snapshot.node(name.as_str()).is_none()) {
                let gone = NodeLine { node: name.clone(), at_ms: now_ms(), room: None };
                now.insert(name.clone(), gone);
            }
            let is_news = |line: &&NodeLine| known.get(&line.node) != Some(&line.room);
            lines.extend(now.values().filter(is_news).cloned());
            for line in lines.iter_mut().filter(|line| known.contains_key(&line.node)) {
                // Another weight, while it is up.
                if line.room.is_some() && known[&line.node].is_some() {
                    line.at_ms = now_ms();
                }
            }
        }
        if !lines.is_empty() {
            self.store.write_nodes(&lines).await?;
        }
        let still = now.into_values().filter(|line| snapshot.node(line.node.as_str()).is_some());
        *self.known.lock() = still.map(|line| (line.node, line.room)).collect();
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        if self.forgot_at.lock().is_some_and(|at| at.elapsed() < FORGET_EVERY) {
            return Ok(());
        }
        let keep_ms = u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX);
        let before_ms = now_ms().saturating_sub(keep_ms);
        let gone = self.store.forget_chronicle(before_ms, self.max_meetings as u64).await?;
        if gone > 0 {
            info!("forgotten of the chronicle, in meetings: {gone}");
        }
        *self.forgot_at.lock() = Some(Instant::now());
        Ok(())
    }
}

/// Whether a node is there, if that is known, and for how many attendees.
fn line(node: &Node) -> Option<NodeLine> {
    let (since_ms, _) = node.live.health_since();
    let room = match node.live.health() {
        Health::Unknown => return None,
        Health::Down => None,
        Health::Up | Health::Suspect => Some(node.room()),
    };
    let at_ms = if since_ms == 0 { now_ms() } else { since_ms };
    Some(NodeLine { node: node.name().clone(), at_ms, room })
}

#[async_trait]
impl Task for Chronicle {
    fn name(&self) -> &'static str {
        "chronicle"
    }

    async fn activate(&self) -> Result<(), Failed> {
        let done = async {
            self.tell_nodes().await?;
            self.tell_meetings(Some(self.fleet.clock().steady_ms()), PORTIONS).await?;
            self.forget().await
        };
        done.await.map_err(|trouble| {
            warn!("what happens to meetings is not written down for now: {}", Chain(&trouble));
            Failed
        })
    }
}
