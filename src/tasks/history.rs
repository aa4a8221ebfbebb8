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
use tokio::time::Instant;

use super::driver::{Failed, Metrics, Task, activate, run};
use super::peaks;
use crate::chain::Chain;
use crate::fleet::{Fleet, now_ms};
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
    /// From when on rows are new, in seconds since 1970; and when they were last asked for.
    heard: Mutex<(u64, Option<Instant>)>,
    forgot_at: Mutex<Option<Instant>>,
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

    /// Takes up what is kept: all of it the first time and when operators have changed it, else what is new.
    async fn hear(&self, in_force: &mut InForce<'_>) -> Result<(), Error> {
        let (fleet, store) = (&*self.fleet, &*self.store);
        let begun_s = now_ms() / 1000;
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
            if is_alone || asked_at.is_some_and(|at| at.elapsed() < HEAR_EVERY) {
                return Ok(());
            }
            recall::hear(fleet, store, since_s, in_force).await?;
        }
        *self.heard.lock() = (begun_s.saturating_sub(HEARD_TWICE_S), Some(Instant::now()));
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        if self.forgot_at.lock().is_some_and(|at| at.elapsed() < FORGET_EVERY) {
            return Ok(());
        }
        let before_s = (now_ms() / 1000).saturating_sub(self.keep.as_secs());
        let gone = self.store.forget_history(before_s, self.max_rows as u64).await?;
        if gone > 0 {
            info!("{gone} rows of the history of meetings are forgotten");
        }
        *self.forgot_at.lock() = Some(Instant::now());
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
