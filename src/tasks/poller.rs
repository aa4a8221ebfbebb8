//! Keeps one polling task for every node of the inventory that is ours to poll.
//!
//! Of several instances each polls some of the nodes; when one is gone, others take over its nodes at once.
//! A node that another has to poll and tells nothing of is polled nevertheless: that one may not know it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::driver::{self, Metrics, Task};
use super::ends::Ends;
use super::poll::Poll;
use crate::bus::Duties;
use crate::fleet::{Fleet, Node, Thresholds};
use crate::model::{Health, NodeName};
use crate::node::Client;
use crate::store::Store;

/// First polls come within this time, so that a start is ready soon and yet no thundering herd.
const FIRST_WITHIN: Duration = Duration::from_millis(250);

/// How soon it is noticed that others have told us of a node.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How nodes are polled.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// From one poll of a node to its next.
    pub interval: Duration,
    /// A poll that takes longer has failed.
    pub timeout: Duration,
    /// How many results in a row change a node's health.
    pub thresholds: Thresholds,
    /// How long the meetings of a node that is down are kept for it.
    pub node_down_grace: Duration,
}

/// Polls all nodes, each at its own pace.
pub struct Poller {
    /// The pool.
    pub fleet: Arc<Fleet>,
    /// Where meetings are saved.
    pub store: Arc<dyn Store>,
    /// Tells of meetings that are over.
    pub ends: Arc<Ends>,
    /// The way to the nodes.
    pub client: Client,
    /// How nodes are polled.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    /// Which nodes are ours to poll.
    pub duties: Duties,
}

/// A node that is polled.
struct Polled {
    handle: AbortHandle,
    /// True: the poll under way is the last one.
    release: watch::Sender<bool>,
    /// Whether it was ours to poll when that was looked at last.
    is_ours: bool,
}

/// Who polls a node.
enum Whose {
    /// We do.
    Ours,
    /// Another instance has to, but has not told us anything of it for too long: so do we, until it does.
    Awaited,
    /// Another instance does.
    Theirs,
}

impl Poller {
    /// Runs until `stop` turns true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let (mut changes, mut duties) = (self.fleet.changes(), self.duties.clone());
        let mut polls = JoinSet::new();
        let mut polled: HashMap<NodeName, Polled> = HashMap::new();
        loop {
            changes.mark_unchanged();
            duties.mark_unchanged();
            let snapshot = self.fleet.snapshot();
            // What is ours stays ours until somebody comes or goes.
            let mut look_again: Option<Duration> = None;
            polled.retain(|name, polled| {
                let Some(node) = snapshot.node(name.as_str()) else {
                    polled.handle.abort();
                    return false;
                };
                let is_ours = self.duties.is_ours(node.name().as_str());
                if polled.is_ours && !is_ours {
                    node.live.rely_on_others();
                }
                polled.is_ours = is_ours;
                match self.whose(node, is_ours) {
                    Whose::Ours => {}
                    Whose::Awaited => look_again = Some(LOOK_AGAIN),
                    Whose::Theirs => {
                        look_again = look_again.or(Some(self.settings.interval));
                        polled.release.send_replace(true);
                    }
                }
                !polled.handle.is_finished()
            });
            for node in snapshot
                .nodes()
                .filter(|node| !polled.contains_key(node.name()))
                .cloned()
                .collect::<Vec<_>>()
            {
                let is_ours = self.duties.is_ours(node.name().as_str());
                match self.whose(&node, is_ours) {
                    Whose::Ours => {}
                    Whose::Awaited => look_again = Some(LOOK_AGAIN),
                    Whose::Theirs => {
                        look_again = look_again.or(Some(self.settings.interval));
                        continue;
                    }
                }
                node.live.begin_watch();
                let poll = self.poll(node.name());
                let (metrics, interval, stop) =
                    (self.metrics.clone(), self.settings.interval, stop.clone());
                let first = FIRST_WITHIN.mul_f64(rand::random());
                let (release, released) = watch::channel(false);
                let handle = polls.spawn(async move {
                    driver::run_until_released(&poll, first, interval, &metrics, stop, released)
                        .await;
                });
                polled.insert(node.name().clone(), Polled { handle, release, is_ours });
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                end = changes.changed() => if end.is_err() { break },
                () = duties.changed() => {}
                () = sleep(look_again.unwrap_or_default()), if look_again.is_some() => {}
                // One that has ended by itself is started again, if it is still ours.
                Some(_ended) = polls.join_next() => {}
            }
        }
        polls.shutdown().await;
    }

    fn whose(&self, node: &Node, is_ours: bool) -> Whose {
        // Who polls a node that says nothing tells of it after the poll's whole time.
        let within = self.settings.interval * 2 + self.settings.timeout;
        if is_ours {
            Whose::Ours
        } else if node.live.health() == Health::Unknown || !node.live.is_watched_by_others(within) {
            Whose::Awaited
        } else {
            Whose::Theirs
        }
    }

    /// Polls every node once, all at the same time.
    pub async fn poll_all(&self) {
        let snapshot = self.fleet.snapshot();
        let polls: Vec<_> = snapshot.nodes().map(|node| self.poll(node.name())).collect();
        // What became of each is noted at its node.
        futures::future::join_all(polls.iter().map(Task::activate)).await;
    }

    fn poll(&self, node: &NodeName) -> Poll {
        Poll {
            fleet: self.fleet.clone(),
            store: self.store.clone(),
            ends: self.ends.clone(),
            client: self.client.clone(),
            settings: self.settings,
            node: node.clone(),
            warned: Arc::default(),
            following: Arc::default(),
        }
    }
}
