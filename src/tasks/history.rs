//! Keeps what is learned of the size of meetings, and takes up what was kept.
//!
//! Whoever ends a meeting learns from it at once; the store is told a moment later, and adds up what all instances
//! tell. What others have learned comes back from it now and then. Nothing waits for any of this: without the store
//! the history grows in memory, and within bounds.

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
use crate::store::{Error, Sought, Store};

/// A crash loses no more.
const EVERY: Duration = Duration::from_secs(5);
/// What others have learned is of use a week later.
const HEAR_EVERY: Duration = Duration::from_mins(5);
/// Clocks differ, and what was written last may be seen late.
const HEARD_TWICE_S: u64 = 10 * 60;
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// Rows that are read at once; some 200 KiB.
const PAGE: u32 = 2_000;

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
}

impl History {
    /// Nothing is taken up yet.
    pub fn new(fleet: Arc<Fleet>, store: Arc<dyn Store>, keep: Duration, max_rows: usize) -> Self {
        let (heard, forgot_at) = (Mutex::default(), Mutex::default());
        Self { fleet, store, keep, max_rows, heard, forgot_at }
    }

    /// Goes on until `stop` turns true, and tells what was learned by then.
    pub async fn run(&self, metrics: &Metrics, stop: watch::Receiver<bool>) {
        run(self, Duration::ZERO, EVERY, metrics, stop).await;
        activate(self, metrics).await;
    }

    async fn tell(&self) -> Result<(), Error> {
        let peaks = self.fleet.history.take_unsaved();
        if peaks.is_empty() {
            return Ok(());
        }
        let told = self.store.learn(&peaks, now_ms() / 1000).await;
        if told.is_err() {
            self.fleet.history.give_back_unsaved(peaks);
        }
        told
    }

    /// Takes up what is kept: all of it the first time, later what is new.
    async fn hear(&self) -> Result<(), Error> {
        let (since_s, asked_at) = *self.heard.lock();
        let is_due = asked_at.is_none_or(|at| self.store.is_shared() && at.elapsed() >= HEAR_EVERY);
        if !is_due {
            return Ok(());
        }
        let begun_s = now_ms() / 1000;
        let mut sought = Sought { since_s, limit: PAGE, ..Sought::default() };
        let mut skipped = 0;
        loop {
            let page = self.store.history(&sought).await?;
            skipped += page.skipped;
            for row in page.rows {
                self.fleet.history.take_up(&row.key, row.moments, row.learned_at_s);
            }
            let Some(last) = page.last else { break };
            sought.after = Some(last);
        }
        *self.heard.lock() = (begun_s.saturating_sub(HEARD_TWICE_S), Some(Instant::now()));
        self.fleet.history.set_skipped(skipped);
        if skipped > 0 {
            let rows = if skipped == 1 { "row" } else { "rows" };
            warn!(
                "{skipped} {rows} of the history of meetings cannot be right, and are passed over"
            );
        }
        if asked_at.is_none() {
            info!("{} rows tell how large earlier meetings have become", self.fleet.history.len());
        }
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
            // What is known before is not to be learned again on top of what is taken up.
            self.tell().await?;
            self.hear().await?;
            self.forget().await
        };
        done.await.map_err(|trouble| {
            warn!("the history of meetings is not kept for now: {}", Chain(&trouble));
            Failed
        })
    }
}
