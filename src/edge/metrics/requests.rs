//! Requests by call, how long they took, and how many there are.
//!
//! Every thread counts for itself, and what all have counted is gathered when somebody looks: a counter to
//! which all threads write for every request costs more than what it counts, and more with every core.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};
use thread_local::ThreadLocal;

use crate::bbb::Call;
use crate::edge::track::Notes;

/// From a redirect made in memory to a create that waited for three nodes.
const BUCKETS: &[f64] =
    &[0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// The counters of requests; clones count into the same ones.
#[derive(Clone)]
pub(in crate::edge) struct Requests(Arc<Shared>);

struct Shared {
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    of_threads: ThreadLocal<CachePadded<OfThread>>,
}

/// What one thread has counted since somebody looked.
#[derive(Default)]
struct OfThread {
    /// Requests begun less those that were over; a request may move to another thread in between.
    in_flight: Arc<AtomicI64>,
    usual: Mutex<[Option<Usual>; Call::ALL.len()]>,
}

/// The counters of a call that went well.
struct Usual {
    seconds: LocalHistogram,
    answered: LocalIntCounter,
    redirected: LocalIntCounter,
}

/// A request that is being served, until it is dropped.
pub(in crate::edge) struct InFlight(Arc<AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Requests {
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Self(Arc::new(Shared {
            requests: IntCounterVec::new(
                Opts::new(
                    "portico_requests_total",
                    "Requests by call, outcome and whose fault a failure was.",
                ),
                &["call", "outcome", "fault"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "portico_request_seconds",
                    "Seconds from the head of a request to its answer, by call.",
                )
                .buckets(BUCKETS.to_vec()),
                &["call"],
            )?,
            in_flight: IntGauge::new(
                "portico_requests_in_flight",
                "Requests that are not answered yet.",
            )?,
            of_threads: ThreadLocal::new(),
        })))
    }

    /// Counts a request that has come.
    pub(in crate::edge) fn begin(&self) -> InFlight {
        let in_flight = self.0.of_threads.get_or_default().in_flight.clone();
        in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(in_flight)
    }

    /// Requests whose answer is not out yet.
    pub(in crate::edge) fn in_flight(&self) -> i64 {
        self.0.of_threads.iter().map(|own| own.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// Counts a finished request.
    pub(in crate::edge) fn count(&self, notes: &Notes, status: u16, seconds: f64) {
        let all = &*self.0;
        let is_well = matches!(status, 200..=399);
        if let (Some(call), None, true) = (notes.call, &notes.failure, is_well) {
            let mut usual = all.of_threads.get_or_default().usual.lock();
            let usual = usual[call as usize].get_or_insert_with(|| all.usual(call));
            usual.seconds.observe(seconds);
            let counter = if status < 300 { &usual.answered } else { &usual.redirected };
            counter.inc();
            return;
        }
        let call = notes.call.map_or("other", label);
        let outcome = match (&notes.failure, status) {
            (Some(_), _) => "failed",
            (None, 300..=399) => "redirected",
            (None, 200..=299) => "answered",
            (None, _) => "refused",
        };
        let fault = notes.failure.as_ref().map_or("none", |(_, fault)| fault.as_str());
        all.requests.with_label_values(&[call, outcome, fault]).inc();
        all.seconds.with_label_values(&[call]).observe(seconds);
    }
}

impl Shared {
    fn usual(&self, call: Call) -> Usual {
        let call = label(call);
        let requests = |outcome| self.requests.with_label_values(&[call, outcome, "none"]).local();
        Usual {
            seconds: self.seconds.with_label_values(&[call]).local(),
            answered: requests("answered"),
            redirected: requests("redirected"),
        }
    }

    /// Adds up what the threads have counted.
    fn gather(&self) {
        for own in &self.of_threads {
            for usual in own.usual.lock().iter().flatten() {
                usual.seconds.flush();
                usual.answered.flush();
                usual.redirected.flush();
            }
        }
    }
}

impl Collector for Requests {
    fn desc(&self) -> Vec<&Desc> {
        let Shared { requests, seconds, in_flight, .. } = &*self.0;
        [requests.desc(), seconds.desc(), in_flight.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.gather();
        let Shared { requests, seconds, in_flight, .. } = &*self.0;
        in_flight.set(self.in_flight());
        [requests.collect(), seconds.collect(), in_flight.collect()].concat()
    }
}

fn label(call: Call) -> &'static str {
    match call {
        Call::Root => "version",
        call => call.as_str(),
    }
}
