//! What tenants use, counted into the store: meetings begun, the time of attendees, peaks.
//!
//! Each instance adds the meetings that it has begun. What runs is the same for all, so who comes first counts it,
//! and the store sees to it that nobody else does until it is time again: an instance that dies is missed by nobody.
//! Who dies takes with him the meetings that he has begun since the last time, [`EVERY`] at most.
//!
//! The hours of the pool are read back now and then, for what is foreseen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::warn;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::driver::{Failed, Metrics, Task, activate, run};
use crate::chain::Chain;
use crate::fleet::{Fleet, now_ms};
use crate::model::Health;
use crate::store::{Error, Of, Per, Running, Store, Wanted};

/// Peaks that are shorter may be missed.
const EVERY: Duration = Duration::from_secs(15);
/// Nodes were polled by then, if they answer.
const FIRST: Duration = Duration::from_secs(2);
/// Turns are not taken to the second.
const GAP: Duration = Duration::from_secs(12);
/// While we stop, creates still come to their ends.
const EVERY_AT_THE_END: Duration = Duration::from_secs(1);
const LEARN_EVERY: Duration = Duration::from_mins(5);
/// Hours tell what to expect of their like, for five weeks.
const HOURS_KEPT: Duration = Duration::from_hours(35 * 24);
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// See the module.
pub struct Statistics {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    /// How long days are kept; none: for ever.
    kept: Option<Duration>,
    learned_at: Mutex<Option<Instant>>,
    forgot_at: Mutex<Option<Instant>>,
}

impl Statistics {
    /// Those of a fleet.
    pub fn new(fleet: Arc<Fleet>, store: Arc<dyn Store>, kept: Option<Duration>) -> Self {
        Self { fleet, store, kept, learned_at: Mutex::default(), forgot_at: Mutex::default() }
    }

    /// Goes on until `stop` turns true, and for `grace` after that.
    pub async fn run(&self, metrics: &Metrics, grace: Duration, stop: watch::Receiver<bool>) {
        run(self, FIRST, EVERY, metrics, stop).await;
        let end = Instant::now() + grace;
        loop {
            activate(self, metrics).await;
            if Instant::now() >= end {
                return;
            }
            sleep(EVERY_AT_THE_END).await;
        }
    }

    async fn add(&self) -> Result<(), Error> {
        let now = now_ms();
        let (mut taken, mut begun, mut running) = (Vec::new(), Vec::new(), Vec::new());
        let mut whole = Running { of: Of::Pool, meetings: 0, attendees: 0 };
        for (tenant, tally) in self.fleet.directory.tallies() {
            let more = tally.take_begun();
            if more > 0 {
                begun.push((Of::Tenant(tenant.clone()), more));
                taken.push((tally.clone(), more));
            }
            let figures = tally.whole();
            let (meetings, attendees) = (figures.meetings, figures.people.attendees);
            whole.meetings += meetings;
            whole.attendees += attendees;
            if meetings > 0 || attendees > 0 {
                running.push(Running { of: Of::Tenant(tenant), meetings, attendees });
            }
        }
        // An hour in which nothing ran is known, too.
        running.push(whole);
        if !begun.is_empty() {
            begun.push((Of::Pool, begun.iter().map(|(_, more)| more).sum()));
            if let Err(trouble) = self.store.add_begun(now, &begun).await {
                for (tally, more) in taken {
                    tally.give_back_begun(more);
                }
                return Err(trouble);
            }
        }
        // What runs on a node that was never polled nobody knows.
        let snapshot = self.fleet.snapshot();
        if snapshot.nodes().any(|node| node.live.health() == Health::Unknown) {
            return Ok(());
        }
        self.store.add_running(now, GAP, &running).await.map(drop)
    }

    /// Reads what is known of past hours.
    async fn learn(&self) -> Result<(), Error> {
        let now = now_ms();
        let from_s = Per::Hour.begin_of(now).saturating_sub(HOURS_KEPT.as_secs());
        let wanted = Wanted {
            per: Per::Hour,
            of: Some(Of::Pool),
            from_s,
            before_s: now / 1000,
            after: None,
            limit: u32::try_from(HOURS_KEPT.as_secs() / 3600 + 2).unwrap_or(u32::MAX),
        };
        let hours = self.store.usage(&wanted).await?;
        self.fleet
            .outlook
            .learn(hours.iter().map(|hour| (hour.begins_at_s, hour.attendee_ms, hour.sampled_ms)));
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        let now_s = now_ms() / 1000;
        let before = |kept: Duration| now_s.saturating_sub(kept.as_secs());
        // What began longer ago than days are kept is of no use by the hour either.
        let days_before_s = self.kept.map_or(0, before);
        self.store.forget_usage(before(HOURS_KEPT).max(days_before_s), days_before_s).await
    }
}

/// Whether it is time, and if so from when on it is not.
fn is_due(last: &Mutex<Option<Instant>>, every: Duration) -> bool {
    last.lock().is_none_or(|last| last.elapsed() >= every)
}

#[async_trait]
impl Task for Statistics {
    fn name(&self) -> &'static str {
        "statistics"
    }

    async fn activate(&self) -> Result<(), Failed> {
        let done = async {
            self.add().await?;
            if is_due(&self.learned_at, LEARN_EVERY) {
                self.learn().await?;
                *self.learned_at.lock() = Some(Instant::now());
            }
            if is_due(&self.forgot_at, FORGET_EVERY) {
                self.forget().await?;
                *self.forgot_at.lock() = Some(Instant::now());
            }
            Ok::<_, Error>(())
        };
        done.await.map_err(|trouble| {
            warn!("statistics are not kept for now: {}", Chain(&trouble));
            Failed
        })
    }
}
