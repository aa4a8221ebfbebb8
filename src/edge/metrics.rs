//! The edge's counters. Labels come from closed sets.

mod requests;

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::callbacks::Counters;
use crate::fleet::{NoNode, Node};
use crate::sparing::Sparing;

pub(super) use requests::{InFlight, Requests};

/// Handles to the counters; clones count into the same ones.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) requests: Requests,
    pub(super) connections: IntGauge,
    pub(super) connections_refused: IntCounterVec,
    pub(super) node_failures: IntCounterVec,
    pub(super) placements: IntCounterVec,
    pub(super) placement_retries: IntCounterVec,
    pub(super) placements_refused: IntCounterVec,
    pub(super) placements_on_full_nodes: IntCounter,
    pub(super) full_nodes: Arc<Sparing>,
    pub(super) store_failures: IntCounter,
    pub(super) creates_without_store: IntCounter,
    pub(super) callbacks: Counters,
}

impl Metrics {
    /// Makes the counters known to `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let placements_refused = counters(
            "portico_placements_refused_total",
            "Creates for which no node was eligible, by why: the tenant has none, all are closed by an \
             operator, none is up, some of each, or all that were left have failed this create.",
            &["reason"],
        )?;
        for word in NoNode::WORDS {
            placements_refused.with_label_values(&[word]);
        }
        let requests = Requests::new()?;
        registry.register(Box::new(requests.clone()))?;
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            requests,
            callbacks: Counters::register(registry)?,
            connections: gauge("portico_connections", "Open client connections.")?,
            connections_refused: counters(
                "portico_connections_refused_total",
                "Client connections that were closed unanswered.",
                &["reason"],
            )?,
            node_failures: counters(
                "portico_node_failures_total",
                "Requests to nodes without a usable answer, by call and kind.",
                &["call", "kind"],
            )?,
            placements: counters(
                "portico_placements_total",
                "New meetings placed on a node, by cluster and by why it was this node: it had the least load, it \
                 was the next best after one that failed, or it has the main meeting of a breakout room.",
                &["cluster", "why"],
            )?,
            placement_retries: counters(
                "portico_placement_retries_total",
                "Creates that went on to another node, by what failed.",
                &["kind"],
            )?,
            placements_refused,
            placements_on_full_nodes: counter(
                "portico_placements_on_full_nodes_total",
                "New meetings with which even the least loaded node holds room for more attendees than it is built for.",
            )?,
            full_nodes: Arc::default(),
            creates_without_store: counter(
                "portico_creates_refused_total",
                "Creates of new meetings that were refused because the store could not be asked.",
            )?,
            store_failures: counter(
                "portico_store_failures_total",
                "Meetings that could not be saved at once.",
            )?,
        })
    }

    /// Counts a new meeting that a node has created.
    pub(super) fn placed(&self, node: &Node, has_parent: bool, is_retry: bool) {
        let why = match (has_parent, is_retry) {
            (true, _) => "parent",
            (false, true) => "retry",
            (false, false) => "load",
        };
        self.placements.with_label_values(&[node.spec.cluster.as_str(), why]).inc();
    }
}
