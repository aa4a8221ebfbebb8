//! What tenants use, counted into the store: meetings begun, the time of attendees, peaks.
//!
//! Each instance adds the meetings that it has begun. What runs is the same for all, so who comes first counts it,
//! and the store sees to it that nobody else does until it is time again: an instance that dies is missed by nobody.
//! Who dies takes with him the meetings that he has begun since the last time, [`EVERY`] at most. Whoever cannot
//! know whether the store has heard of his says the same again, and it counts once. All of them go by the store's
//! clock: their own may be minutes apart.
//!
//! The hours of the pool are read back now and then, for what is foreseen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::warn;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::driver::{Failed, Metrics, Task, activate, run};
use super::ending::Ending;
use crate::chain::Chain;
use crate::fleet::{Fleet, now_ms};
use crate::model::Health;
use crate::store::{Begun, Error, Of, Per, Running, Store, Wanted};

/// Peaks that are shorter may be missed.
const EVERY: Duration = Duration::from_secs(15);
/// Nodes were polled by then, if they answer.
const FIRST: Duration = Duration::from_secs(2);
/// Turns are not taken to the second.
const GAP: Duration = Duration::from_secs(12);
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
    /// What the store was told and may not have heard.
    untold: Mutex<Untold>,
    learned_at: Mutex<Option<Instant>>,
    forgot_at: Mutex<Option<Instant>>,
}

/// A batch, and the number of the last one.
#[derive(Default)]
struct Untold {
    batch: Option<Arc<Begun>>,
    number: u64,
}

impl Statistics {
    /// Those of a fleet.
    pub fn new(fleet: Arc<Fleet>, store: Arc<dyn Store>, kept: Option<Duration>) -> Self {
        Self {
            fleet,
            store,
            kept,
            untold: Mutex::default(),
            learned_at: Mutex::default(),
            forgot_at: Mutex::default(),
        }
    }

    /// Goes on until `stop` turns true, and then to the [end](Ending).
    pub async fn run(&self, metrics: &Metrics, ending: &Ending, stop: watch::Receiver<bool>) {
        let _telling = ending.begin();
        run(self, FIRST, EVERY, metrics, stop).await;
        let mut turns = ending.turns();
        while turns.next().await.is_some() {
            activate(self, metrics).await;
        }
    }

    async fn add(&self) -> Result<(), Error> {
        let now = self.store.clock_ms(now_ms()).await?;
        // What was told before, then what has come since.
        for _ in 0..2 {
            let Some(batch) = self.begun_until(now) else { break };
            self.store.add_begun(&batch).await?;
            self.untold.lock().batch = None;
        }
        // What runs on a node that was never polled nobody knows.
        let snapshot = self.fleet.snapshot();
        if snapshot.nodes().any(|node| node.live.health() == Health::Unknown) {
            return Ok(());
        }
        self.store.add_running(now, GAP, &self.running()).await.map(drop)
    }

    /// The next batch to be told: as it was, until it is known that it was heard, however often we are cut short.
    fn begun_until(&self, now: u64) -> Option<Arc<Begun>> {
        let mut untold = self.untold.lock();
        if untold.batch.is_none() {
            let begun = self.fleet.directory.tallies().into_iter();
            let begun = begun.map(|(tenant, tally)| (Of::Tenant(tenant), tally.take_begun()));
            let mut meetings: Vec<_> = begun.filter(|(_, more)| *more > 0).collect();
            if meetings.is_empty() {
                return None;
            }
            meetings.push((Of::Pool, meetings.iter().map(|(_, more)| more).sum()));
            untold.number += 1;
            let (process, number) = (self.fleet.leases.instance().to_string(), untold.number);
            untold.batch = Some(Arc::new(Begun { process, number, at_ms: now, meetings }));
        }
        untold.batch.clone()
    }

    fn running(&self) -> Vec<Running> {
        let mut whole = Running { of: Of::Pool, meetings: 0, attendees: 0 };
        let mut running = Vec::new();
        for (tenant, tally) in self.fleet.directory.tallies() {
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
        running
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

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;
    use crate::model::{
        AdminState, Extent, Inventory, Meeting, MeetingKey, NodeName, Scope, SubId, Tenant,
    };
    use crate::store::Embedded;

    #[tokio::test]
    async fn who_is_cut_short_loses_no_meeting_and_counts_none_twice() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path()).unwrap());
        let tenants = vec![Tenant::sample("acme", &[0])];
        let inventory = Inventory { tenants, ..Inventory::default() };
        let fleet = Arc::new(Fleet::new(inventory, |_| AdminState::Ready));
        let statistics = Statistics::new(fleet.clone(), store.clone(), None);
        let scope = Scope::parse("acme").unwrap();
        let begin = |id: &str| {
            let place = fleet.snapshot().tenant("acme").unwrap().admit(SubId::MAIN).unwrap();
            let meeting = Meeting {
                key: MeetingKey { scope: scope.clone(), id: id.to_owned() },
                node: NodeName::new("bbb01"),
                node_meeting_id: id.to_owned(),
                internal_id: id.to_owned(),
                created_at_ms: 1,
                parent_internal_id: None,
                extent: Extent::default(),
                xml: Box::from(*b"<meeting/>"),
            };
            fleet.directory.enter(meeting, None, place, Vec::new());
        };
        for round in 0..20 {
            begin(&format!("{round}a"));
            // As when we are to stop: in the midst of it, once it is clear what is told.
            let mut add = Box::pin(statistics.add());
            while statistics.untold.lock().batch.is_none() {
                assert!(poll!(add.as_mut()).is_pending());
                tokio::task::yield_now().await;
            }
            drop(add);
            begin(&format!("{round}b"));
            statistics.add().await.unwrap();
        }
        let wanted = Wanted {
            per: Per::Day,
            of: Some(Of::Tenant(scope.tenant.clone())),
            from_s: 0,
            before_s: u64::MAX,
            after: None,
            limit: 10,
        };
        let days = store.usage(&wanted).await.unwrap();
        assert_eq!(days.iter().map(|day| day.meetings).sum::<u64>(), 40);
    }
}
