//! The edge's counters. Labels come from closed sets.

use std::sync::{Arc, OnceLock};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::callbacks::Counters;
use super::track::Notes;
use crate::bbb::Call;

/// From a redirect made in memory to a create that waited for three nodes.
const BUCKETS: &[f64] =
    &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// Handles to the counters; clones count into the same ones.
#[derive(Clone)]
pub(super) struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    usual: Arc<[Usual; Call::ALL.len()]>,
    pub(super) in_flight: IntGauge,
    pub(super) connections: IntGauge,
    pub(super) connections_refused: IntCounterVec,
    pub(super) node_failures: IntCounterVec,
    pub(super) placements: IntCounterVec,
    pub(super) placement_retries: IntCounterVec,
    pub(super) placements_refused: IntCounter,
    pub(super) store_failures: IntCounter,
    pub(super) callbacks: Counters,
}

/// The counters of a call that went well, found once: looking them up costs more than counting.
#[derive(Default)]
struct Usual {
    seconds: OnceLock<Histogram>,
    answered: OnceLock<IntCounter>,
    redirected: OnceLock<IntCounter>,
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
        let seconds = HistogramVec::new(
            HistogramOpts::new("portico_request_seconds", "Time from request head to answer.")
                .buckets(BUCKETS.to_vec()),
            &["call"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            requests: counters(
                "portico_requests_total",
                "Requests by call, outcome and whose fault a failure was.",
                &["call", "outcome", "fault"],
            )?,
            callbacks: Counters::register(registry)?,
            seconds,
            usual: Arc::default(),
            in_flight: gauge("portico_requests_in_flight", "Requests that are not answered yet.")?,
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
                "New meetings placed on a node, by cluster.",
                &["cluster"],
            )?,
            placement_retries: counters(
                "portico_placement_retries_total",
                "Creates that went on to another node, by what failed.",
                &["kind"],
            )?,
            placements_refused: counter(
                "portico_placements_refused_total",
                "Creates for which no node was eligible.",
            )?,
            store_failures: counter(
                "portico_store_failures_total",
                "Meetings that could not be saved at once.",
            )?,
        })
    }

    /// Counts a finished request.
    pub(super) fn count(&self, notes: &Notes, status: u16, seconds: f64) {
        let of_call = notes.call.map(|call| &self.usual[call as usize]);
        let call = notes.call.map_or("other", label);
        let outcome = match (&notes.failure, status) {
            (Some(_), _) => "failed",
            (None, 300..=399) => "redirected",
            (None, 200..=299) => "answered",
            (None, _) => "refused",
        };
        let fault = notes.failure.as_ref().map_or("none", |(_, fault)| fault.as_str());
        let requests = || self.requests.with_label_values(&[call, outcome, fault]);
        match (of_call, outcome) {
            (Some(usual), "answered") => usual.answered.get_or_init(requests).inc(),
            (Some(usual), "redirected") => usual.redirected.get_or_init(requests).inc(),
            _ => requests().inc(),
        }
        let histogram = || self.seconds.with_label_values(&[call]);
        match of_call {
            Some(usual) => usual.seconds.get_or_init(histogram).observe(seconds),
            None => histogram().observe(seconds),
        }
    }
}

fn label(call: Call) -> &'static str {
    match call {
        Call::Root => "version",
        call => call.as_str(),
    }
}
