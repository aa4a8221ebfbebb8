//! Whether the store takes what it is given, and how long that takes, for operators.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

/// From a row in the page cache to what is given up.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// See the module. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Health {
    is_up: IntGauge,
    seconds: HistogramVec,
    failures: IntCounterVec,
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asking {
    /// A change that waits its turn; several share a transaction.
    Write,
    /// Anything else: rows that are looked up, or changed by themselves.
    Ask,
}

impl Asking {
    const ALL: [Self; 2] = [Self::Write, Self::Ask];

    fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Ask => "ask",
        }
    }
}

impl Health {
    /// Makes it known to `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let health = Self::default();
        registry.register(Box::new(health.is_up.clone()))?;
        registry.register(Box::new(health.seconds.clone()))?;
        registry.register(Box::new(health.failures.clone()))?;
        for asking in Asking::ALL {
            health.seconds.with_label_values(&[asking.as_str()]);
            health.failures.with_label_values(&[asking.as_str()]);
        }
        Ok(health)
    }

    pub(super) fn set(&self, is_up: bool) {
        self.is_up.set(is_up.into());
    }

    /// Waits for a call and counts it, also one that is dropped.
    pub(super) async fn timed<T, E>(
        &self,
        asking: Asking,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let _timer = self.seconds.with_label_values(&[asking.as_str()]).start_timer();
        self.count(asking, call.await)
    }

    /// Counts the call if it came to nothing.
    pub(super) fn count<T, E>(&self, asking: Asking, outcome: Result<T, E>) -> Result<T, E> {
        if outcome.is_err() {
            self.failures.with_label_values(&[asking.as_str()]).inc();
        }
        outcome
    }
}

impl Default for Health {
    /// Known to nobody.
    fn default() -> Self {
        let valid = "the names are those of metrics";
        let help = "Whether the store takes what it is given: without it no new meeting begins, or none is saved.";
        let is_up = IntGauge::new("portico_store_up", help).expect(valid);
        let help = "Seconds that a call to the store took, its waiting for a turn included: a change (write) or \
                    any other question (ask).";
        let seconds = HistogramOpts::new("portico_store_call_seconds", help);
        let seconds = HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["call"]);
        let help = "Calls to the store that came to nothing, by their kind.";
        let failures = Opts::new("portico_store_call_failures_total", help);
        let failures = IntCounterVec::new(failures, &["call"]);
        Self { is_up, seconds: seconds.expect(valid), failures: failures.expect(valid) }
    }
}
