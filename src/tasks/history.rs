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

use super::driver::{Failed, Metrics, Task, activate, run_to_the_end};
use super::ending::Ending;
use super::forgetting::Forgetting;
use super::peaks;
use crate::chain::Chain;
use crate::fleet::Fleet;
use crate::recall::{self, InForce};
use crate::sparing::Sparing;
use crate::store::{Aged, Error, Store};

/// A crash loses no more.
const EVERY: Duration = Duration::from_secs(5);
/// What others have learned is of use a week later.
const HEAR_EVERY: Duration = Duration::from_mins(5);
/// Clocks differ, and what was written last may be seen late.
const HEARD_TWICE_S: u64 = 10 * 60;
/// Forgotten at once.
const PORTION: u32 = 2_000;

/// See the module.
pub struct History {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    /// How long what is not used is kept, and how much there may be.
    keep: Duration,
    max_rows: usize,
    /// From when on rows are new, in seconds since 1970; and when they were last asked for, by the steady clock.
    heard: Mutex<(u64, Option<u64>)>,
    forgetting: Forgetting,
    away: Sparing,
}

impl History {
    /// Nothing is taken up yet.
    pub fn new(fleet: Arc<Fleet>, store: Arc<dyn Store>, keep: Duration, max_rows: usize) -> Self {
        let (heard, forgetting) = (Mutex::default(), Forgetting::default());
        Self { fleet, store, keep, max_rows, heard, forgetting, away: Sparing::default() }
    }

    /// Goes on until `stop` turns true, and then to the [end](Ending); tells what was learned by then.
    pub async fn run(&self, metrics: &Metrics, ending: &Ending, stop: watch::Receiver<bool>) {
        let _telling = ending.begin();
        // What it is about to tell stands nowhere else any more.
        run_to_the_end(self, Duration::ZERO, EVERY, metrics, stop).await;
        let mut turns = ending.turns();
        while turns.next().await.is_some() {
            activate(self, metrics).await;
        }
    }

    fn now_s(&self) -> u64 {
        self.fleet.clock().now_ms() / 1000
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
            let is_due =
                asked_at.is_none_or(|asked_at| fleet.clock().is_past(asked_at, HEAR_EVERY));
            if is_alone || !is_due {
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
        let clock = self.fleet.clock();
        if !self.forgetting.is_due(clock) {
            return Ok(());
        }
        let now_s = self.now_s();
        let before_s = now_s.saturating_sub(self.keep.as_secs());
        self.fleet.history.forget(before_s);
        let aged = Aged { before_s, most: self.max_rows as u64, now_s, limit: PORTION };
        let some = || self.store.forget_history(&aged);
        let all = self.forgetting.forget(clock, PORTION, some).await?;
        if all > 0 {
            info!("{all} rows of the history of meetings are forgotten");
        }
        Ok(())
    }

    async fn keep_in_step(&self) -> Result<(), Error> {
        let mut in_force = self.fleet.history.in_force().await;
        // What is known before is not to be learned again on top of what is taken up.
        recall::tell(&self.fleet, &*self.store, &in_force).await?;
        self.hear(&mut in_force).await
    }
}

#[async_trait]
impl Task for History {
    fn name(&self) -> &'static str {
        "history"
    }

    async fn activate(&self) -> Result<(), Failed> {
        // What fails keeps none of the others from being done.
        let kept = peaks::keep(&self.fleet, self.store.as_ref()).await;
        let in_step = self.keep_in_step().await;
        let forgotten = self.forget().await;
        kept.and(in_step).and(forgotten).map_err(|trouble| {
            if let Some(left_out) = self.away.turn() {
                let why = Chain(&trouble);
                warn!("the history of meetings is not kept for now: {why}{left_out}");
            }
            Failed
        })
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tokio::time::sleep;

    use super::super::ending::EVERY_AT_THE_END;
    use super::super::forgetting::PORTIONS;
    use super::*;
    use crate::model::{AdminState, Hour, Inventory, MeetingKey, Peak, Scope};
    use crate::store::{Embedded, Sought};

    const NOON_S: u64 = 1_795_000_000;
    const DAY_S: u64 = 24 * 60 * 60;

    /// One that keeps what it knows for ten days, at noon.
    fn begin(dir: &std::path::Path) -> History {
        let store: Arc<dyn Store> = Arc::new(Embedded::open(dir).unwrap());
        let fleet = Fleet::new(Inventory::default(), |_| AdminState::Ready).simulated();
        fleet.clock().set(NOON_S * 1000);
        History::new(Arc::new(fleet), store, Duration::from_hours(10 * 24), 100_000)
    }

    async fn rows(task: &History) -> usize {
        let sought = Sought { limit: 100_000, ..Sought::default() };
        task.store.history(&sought).await.unwrap().rows.len()
    }

    #[tokio::test]
    async fn memory_and_store_forget_what_is_old_and_no_more_when_the_clock_is_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let task = begin(dir.path());
        let learn = |id: &str| {
            let key = MeetingKey { scope: Scope::parse("acme").unwrap(), id: id.to_owned() };
            let peak = Peak { key, hour: Hour::new(9).unwrap(), attendees: 10 };
            task.fleet.history.learn_and_keep(peak, task.now_s());
        };
        learn("old");
        task.activate().await.unwrap();
        assert_eq!((task.fleet.history.len(), rows(&task).await), (4, 4));
        for (after_days, id) in [(9, "new"), (11, "newer")] {
            task.fleet.clock().set((NOON_S + after_days * DAY_S) * 1000);
            learn(id);
        }
        task.activate().await.unwrap();
        assert_eq!((task.fleet.history.len(), rows(&task).await), (6, 6), "without the old room");
        for back_days in [100, 99] {
            task.fleet.clock().set((NOON_S - back_days * DAY_S) * 1000);
            task.activate().await.unwrap();
        }
        assert_eq!((task.fleet.history.len(), rows(&task).await), (6, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_learned_while_we_stop_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let task = begin(dir.path());
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let (_stop, stopped) = watch::channel(true);
        let learning = async {
            sleep(EVERY_AT_THE_END * 3).await;
            let key = MeetingKey { scope: Scope::parse("acme").unwrap(), id: "m".to_owned() };
            let peak = Peak { key, hour: Hour::new(9).unwrap(), attendees: 10 };
            task.fleet.history.learn_and_keep(peak, task.now_s());
        };
        let ending = Ending::new(EVERY_AT_THE_END * 6);
        tokio::join!(task.run(&metrics, &ending, stopped), learning);
        assert_eq!(rows(&task).await, 4);
    }

    #[tokio::test]
    async fn much_is_forgotten_in_portions_and_what_fails_is_not_tried_again_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let task = begin(dir.path());
        let other = rusqlite::Connection::open(dir.path().join("portico.db")).unwrap();
        let most = PORTION as usize * PORTIONS;
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
            INSERT INTO history SELECT 'acme', 0, 'room-' || i, -1, 1, 10, 0, 1000 FROM n;
            CREATE TRIGGER refuse BEFORE DELETE ON history BEGIN SELECT RAISE(ABORT, 'a test'); END",
            most + 5
        );
        other.execute_batch(&fill).unwrap();
        task.activate().await.unwrap_err();
        task.activate().await.unwrap();
        other.execute_batch("DROP TRIGGER refuse").unwrap();
        task.fleet.clock().set((NOON_S + 3601) * 1000);
        task.activate().await.unwrap();
        assert_eq!(rows(&task).await, 5);
        task.activate().await.unwrap();
        assert_eq!(rows(&task).await, 0);
    }
}
