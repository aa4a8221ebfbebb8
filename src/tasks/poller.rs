//! Keeps one polling task for every node of the inventory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::driver::{self, Metrics, Task};
use super::poll::Poll;
use crate::fleet::{Fleet, Thresholds};
use crate::model::NodeName;
use crate::node::Client;
use crate::store::Store;

/// First polls come within this time, so that a start is ready soon and yet no thundering herd.
const FIRST_WITHIN: Duration = Duration::from_millis(250);

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
    /// The way to the nodes.
    pub client: Client,
    /// How nodes are polled.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
}

impl Poller {
    /// Runs until `stop` turns true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.fleet.changes();
        let mut polls = JoinSet::new();
        let mut handles: HashMap<NodeName, AbortHandle> = HashMap::new();
        loop {
            changes.mark_unchanged();
            let snapshot = self.fleet.snapshot();
            handles.retain(|name, handle| {
                let stays = snapshot.node(name.as_str()).is_some();
                if !stays {
                    handle.abort();
                }
                stays && !handle.is_finished()
            });
            for node in snapshot
                .nodes()
                .filter(|node| !handles.contains_key(node.name()))
                .cloned()
                .collect::<Vec<_>>()
            {
                let poll = self.poll(node.name());
                let (metrics, interval, stop) =
                    (self.metrics.clone(), self.settings.interval, stop.clone());
                let first = FIRST_WITHIN.mul_f64(rand::random());
                let running =
                    async move { driver::run(&poll, first, interval, &metrics, stop).await };
                handles.insert(node.name().clone(), polls.spawn(running));
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                end = changes.changed() => if end.is_err() { break },
                // One that has ended by itself is started again.
                Some(_ended) = polls.join_next() => {}
            }
        }
        polls.shutdown().await;
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
            client: self.client.clone(),
            settings: self.settings,
            node: node.clone(),
        }
    }
}
