//! Runs a task again and again, once at a time, until shutdown.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use log::error;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::fleet::now_ms;

/// Something to be done again and again.
#[async_trait]
pub trait Task: Send + Sync {
    /// A word from a closed set, for metrics.
    fn name(&self) -> &'static str;

    /// Does it once. An error is counted; whoever returns it has logged it, if it matters.
    async fn activate(&self) -> Result<(), Failed>;
}

/// An activation did not reach its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// What is counted of all tasks.
#[derive(Clone)]
pub struct Metrics {
    runs: IntCounterVec,
    seconds: HistogramVec,
    last: IntGaugeVec,
    last_run: IntGaugeVec,
    period: GaugeVec,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let runs = IntCounterVec::new(
            Opts::new("portico_task_runs_total", "Activations of periodic tasks, by outcome."),
            &["task", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("portico_task_seconds", "Duration of an activation, in seconds."),
            &["task"],
        )?;
        let last = IntGaugeVec::new(
            Opts::new(
                "portico_task_last_success_timestamp_seconds",
                "When an activation last succeeded, in seconds since 1970.",
            ),
            &["task"],
        )?;
        let last_run = IntGaugeVec::new(
            Opts::new(
                "portico_task_last_run_timestamp_seconds",
                "When an activation last ended, however it went, in seconds since 1970.",
            ),
            &["task"],
        )?;
        let period = GaugeVec::new(
            Opts::new(
                "portico_task_period_seconds",
                "How often a task is to be activated: seconds from one activation to the next.",
            ),
            &["task"],
        )?;
        registry.register(Box::new(runs.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(last.clone()))?;
        registry.register(Box::new(last_run.clone()))?;
        registry.register(Box::new(period.clone()))?;
        Ok(Self { runs, seconds, last, last_run, period })
    }

    /// Shows a task before its first activation: what never succeeds is late as well, and a first panic is one more.
    fn begin(&self, task: &dyn Task, period: Duration) {
        let name = task.name();
        self.period.with_label_values(&[name]).set(period.as_secs_f64());
        for outcome in ["ok", "failed", "panicked"] {
            self.runs.with_label_values(&[name, outcome]);
        }
        let last = self.last.with_label_values(&[name]);
        if last.get() == 0 {
            last.set(i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX));
        }
    }

    fn count(&self, task: &dyn Task, outcome: &str, took: Duration) {
        self.runs.with_label_values(&[task.name(), outcome]).inc();
        self.seconds.with_label_values(&[task.name()]).observe(took.as_secs_f64());
        let seconds = i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
        self.last_run.with_label_values(&[task.name()]).set(seconds);
        if outcome == "ok" {
            self.last.with_label_values(&[task.name()]).set(seconds);
        }
    }
}

/// Activates `task` after `first`, then every `period`, each time a tenth earlier or later, so that many
/// tasks spread by themselves. Ends when `stop` turns true; an activation under way is dropped then.
pub async fn run(
    task: &dyn Task,
    first: Duration,
    period: Duration,
    metrics: &Metrics,
    stop: watch::Receiver<bool>,
) {
    let (_release, released) = watch::channel(false);
    run_until_released(task, first, period, metrics, stop, released).await;
}

/// As [`run`], but an activation under way comes to its end: for what would lose what it has taken to tell it.
pub async fn run_to_the_end(
    task: &dyn Task,
    first: Duration,
    period: Duration,
    metrics: &Metrics,
    stop: watch::Receiver<bool>,
) {
    let (_never, stopped) = watch::channel(false);
    run_until_released(task, first, period, metrics, stopped, stop).await;
}

/// As [`run`]; when `released` turns true it also ends, and an activation under way comes to its end.
pub(super) async fn run_until_released(
    task: &dyn Task,
    first: Duration,
    period: Duration,
    metrics: &Metrics,
    mut stop: watch::Receiver<bool>,
    mut released: watch::Receiver<bool>,
) {
    metrics.begin(task, period);
    let mut wait = first;
    loop {
        tokio::select! {
            // An error is a sender that is gone, which also means to stop.
            _ = stop.wait_for(|stop| *stop) => return,
            _ = released.wait_for(|released| *released) => return,
            () = sleep(wait) => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = activate(task, metrics) => {}
        }
        wait = period.mul_f64(rand::random_range(0.9..1.1));
    }
}

/// Activates a task once, counts it, and survives its panic.
pub(super) async fn activate(task: &dyn Task, metrics: &Metrics) {
    let begun = Instant::now();
    let outcome = match AssertUnwindSafe(task.activate()).catch_unwind().await {
        Ok(Ok(())) => "ok",
        Ok(Err(Failed)) => "failed",
        Err(_panic) => {
            // The panic hook has printed where; the next activation begins afresh.
            error!("task {} panicked; it goes on with its next activation", task.name());
            "panicked"
        }
    };
    metrics.count(task, outcome, begun.elapsed());
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Shaky(AtomicU32);

    #[async_trait]
    impl Task for Shaky {
        fn name(&self) -> &'static str {
            "shaky"
        }

        async fn activate(&self) -> Result<(), Failed> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Failed),
                1 => panic!("a test's panic"),
                _ => Ok(()),
            }
        }
    }

    /// Its activations take longer than it is waited before it is stopped.
    struct Slow(AtomicU32);

    #[async_trait]
    impl Task for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        async fn activate(&self) -> Result<(), Failed> {
            sleep(Duration::from_secs(10)).await;
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_activation_is_dropped_at_a_stop_or_comes_to_its_end() {
        let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
        let (period, stopped_after) = (Duration::from_mins(1), Duration::from_secs(5));
        for (goes_on, activations) in [(false, 0), (true, 1)] {
            let task = Slow(AtomicU32::new(0));
            let (stop, stopped) = watch::channel(false);
            let running = async {
                if goes_on {
                    run_to_the_end(&task, Duration::ZERO, period, &metrics, stopped).await;
                } else {
                    run(&task, Duration::ZERO, period, &metrics, stopped).await;
                }
            };
            let stopping = async {
                sleep(stopped_after).await;
                stop.send(true).expect("the task listens");
            };
            tokio::join!(running, stopping);
            assert_eq!(task.0.into_inner(), activations);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_goes_on_after_failures_and_panics_until_it_is_stopped() {
        let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
        let task = Shaky(AtomicU32::new(0));
        let (stop, stopped) = watch::channel(false);
        let second = Duration::from_secs(1);
        let running = run(&task, Duration::ZERO, second, &metrics, stopped);
        let stopping = async {
            sleep(second * 10).await;
            stop.send(true).expect("the task listens");
        };
        tokio::join!(running, stopping);
        let runs = |outcome| metrics.runs.with_label_values(&["shaky", outcome]).get();
        assert_eq!((runs("failed"), runs("panicked")), (1, 1));
        assert!((6..=9).contains(&runs("ok")), "{}", runs("ok"));
    }
}
