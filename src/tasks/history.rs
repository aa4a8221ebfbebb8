//! Keeps what is learned of the size of meetings, and takes up what was kept.
//!
//! Whoever ends a meeting learns from it at once; the store is told a moment later, and adds up what all instances
//! tell. What others have learned comes back from it now and then, what operators have changed at the next beat.
//! Nothing waits for any of this: without the store the history grows in memory, and within bounds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::driver::{Failed, Metrics, Task, activate, run};
use super::peaks;
use crate::chain::Chain;
use crate::fleet::Fleet;
use crate::recall::{self, InForce};
use crate::sparing::Sparing;
use crate::store::{Error, Store};

/// A crash loses no more.
const EVERY: Duration = Duration::from_secs(5);
/// What others have learned is of use a week later.
const HEAR_EVERY: Duration = Duration::from_mins(5);
/// Clocks differ, and what was written last may be seen late.
const HEARD_TWICE_S: u64 = 10 * 60;
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// See the module.
pub struct History {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    /// How long what is not used is kept, and how much there may be.
    keep: Duration,
    max_rows: usize,
    /// From when on rows are new, in seconds since 1970; and when they were last asked for, by the steady clock.
    heard: Mutex<(u64, Option<u64>)>,
    forgot_at: Mutex<Option<u64>>,
    away: Sparing,
}

impl History {
    /// Nothing is taken up yet.
    pub fn new(fleet: Arc<Fleet>, store: Arc<dyn Store>, keep: Duration, max_rows: usize) -> Self {
        let (heard, forgot_at) = (Mutex::default(), Mutex::default());
        Self { fleet, store, keep, max_rows, heard, forgot_at, away: Sparing::default() }
    }

    /// Goes on until `stop` turns true, and tells what was learned by then.
    pub async fn run(&self, metrics: &Metrics, stop: watch::Receiver<bool>) {
        run(self, Duration::ZERO, EVERY, metrics, stop).await;
        activate(self, metrics).await;
    }

    fn now_s(&self) -> u64 {
        self.fleet.clock().now_ms() / 1000
    }

    /// Whether what was last done then, by the steady clock, is to be done again: however the time of day is set.
    fn is_due(&self, last_ms: Option<u64>, every: Duration) -> bool {
        let elapsed = |at_ms| self.fleet.clock().steady_ms().saturating_sub(at_ms);
        last_ms.is_none_or(|at_ms| Duration::from_millis(elapsed(at_ms)) >= every)
    }

    /// Takes up what is kept: all of it the first time and when operators have changed it, else what is new.
    async fn hear(&self, in_force: &mut InForce<'_>) -> Result<(), Error> {
        let (fleet, store) = (&*self.fleet, &*self.store);
        let begun_s = self.now_s();
        let is_first = in_force.is_none();
        let is_alone = !store.is_shared() && !fleet.is_overlapping();
        if is_first || !is_alone && **in_force != Some(store.history_generation().await?) {
            let skipped = recall::renew(fleet, store, in_force).await?;
            if skipped > 0 {
                let rows = if skipped == 1 { "row" } else { "rows" };
                warn!(
                    "{skipped} {rows} of the history of meetings cannot be right, and are passed over"
                );
            }
            let rows = fleet.history.len();
            if is_first {
                info!("{rows} rows tell how large earlier meetings have become");
            } else {
                info!(
                    "the history of meetings was changed elsewhere, and is taken up anew: {rows} rows"
                );
            }
        } else {
            let (since_s, asked_at) = *self.heard.lock();
            if is_alone || !self.is_due(asked_at, HEAR_EVERY) {
                return Ok(());
            }
            // Where our clock was set back, others' rows and our own are older than what we have asked for last.
            let since_s = since_s.min(begun_s.saturating_sub(HEARD_TWICE_S + HEAR_EVERY.as_secs()));
            recall::hear(fleet, store, since_s, in_force).await?;
        }
        *self.heard.lock() =
            (begun_s.saturating_sub(HEARD_TWICE_S), Some(fleet.clock().steady_ms()));
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        let forgot_at = *self.forgot_at.lock();
        if !self.is_due(forgot_at, FORGET_EVERY) {
            return Ok(());
        }
        let before_s = self.now_s().saturating_sub(self.keep.as_secs());
        let gone = self.store.forget_history(before_s, self.max_rows as u64).await?;
        if gone > 0 {
            info!("{gone} rows of the history of meetings are forgotten");
        }
        *self.forgot_at.lock() = Some(self.fleet.clock().steady_ms());
        Ok(())
    }
}

#[async_trait]
impl Task for History {
    fn name(&self) -> &'static str {
        "history"
    }

    async fn activate(&self) -> Result<(), Failed> {
        let done = async {
            peaks::keep(&self.fleet, self.store.as_ref()).await?;
            let mut in_force = self.fleet.history.in_force().await;
            // What is known before is not to be learned again on top of what is taken up.
            recall::tell(&self.fleet, &*self.store, &in_force).await?;
            self.hear(&mut in_force).await?;
            self.forget().await
        };
        done.await.map_err(|trouble| {
            if let Some(left_out) = self.away.turn() {
                let why = Chain(&trouble);
                warn!("the history of meetings is not kept for now: {why}{left_out}");
            }
            Failed
        })
    }
}
