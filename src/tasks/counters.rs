//! Counters that must not start again at 0: what we have counted is added to the store, and what others have
//! counted there is added to ours. So everybody shows the sum, a few seconds late.
//!
//! Whoever dies takes with him what he counted since the last time, [`EVERY`] at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::warn;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::driver::{Failed, Metrics, Task, activate, run_to_the_end};
use super::ending::Ending;
use crate::chain::Chain;
use crate::fleet::{Fleet, Uses};
use crate::model::SubId;
use crate::store::{Count, CountKey, Error, Store};

/// One statement of as many rows as have changed.
const EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub struct Counters {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    /// Whether others may count for the same store.
    is_shared: bool,
    /// What of ours is in the store.
    kept: Mutex<Option<HashMap<CountKey, u64>>>,
}

/// What was counted of a secret.
enum Used {
    Joins(Uses),
    Value(Uses, usize),
}

impl Used {
    fn get(&self) -> u64 {
        match self {
            Self::Joins(uses) => uses.joins(),
            Self::Value(uses, value) => uses.of_values().get(*value).copied().unwrap_or_default(),
        }
    }

    fn add(&self, more: u64) {
        match self {
            Self::Joins(uses) => uses.add_joins(more),
            Self::Value(uses, value) => uses.add(*value, more),
        }
    }
}

impl Counters {
    /// The counters of a fleet.
    pub fn new(fleet: Arc<Fleet>, store: Arc<dyn Store>, is_shared: bool) -> Self {
        Self { fleet, store, is_shared, kept: Mutex::default() }
    }

    /// Goes on until `stop` turns true, and then to the [end](Ending).
    pub async fn run(&self, metrics: &Metrics, ending: &Ending, stop: watch::Receiver<bool>) {
        let _telling = ending.begin();
        // The store may add up what we would not know that it has.
        run_to_the_end(self, EVERY, EVERY, metrics, stop).await;
        let mut turns = ending.turns();
        while turns.next().await.is_some() {
            activate(self, metrics).await;
        }
    }

    /// Adds ours to the store and those of others to ours. The first time all that the store has is others'.
    ///
    /// # Errors
    /// When the store cannot be read or written. Nothing is lost by that.
    pub async fn sync(&self) -> Result<(), Error> {
        let used = self.used();
        let own = self.own(&used);
        let (more, is_first) = {
            let kept = self.kept.lock();
            let is_kept = |key: &CountKey| kept.as_ref().and_then(|kept| kept.get(key)).copied();
            let more = own.iter().filter_map(|(key, value)| {
                let before = is_kept(key).unwrap_or_default();
                // What has begun again at 0 is another one of the same name.
                let value = value.checked_sub(before).unwrap_or(*value);
                (value > 0).then(|| Count { key: key.clone(), value })
            });
            (more.collect::<Vec<_>>(), kept.is_none())
        };
        if !more.is_empty() {
            self.store.add_counts(&more).await?;
        }
        let mut now_kept = own;
        if !is_first {
            *self.kept.lock() = Some(now_kept.clone());
        }
        if is_first || self.is_shared || self.fleet.is_overlapping() {
            for Count { key, value } in self.store.counts().await? {
                let before = now_kept.get(&key).copied().unwrap_or_default();
                let others = value.saturating_sub(before);
                if others > 0 && self.add(&used, &key, others) {
                    now_kept.insert(key, value);
                }
            }
            *self.kept.lock() = Some(now_kept);
        }
        Ok(())
    }

    /// The counters of secrets.
    fn used(&self) -> HashMap<CountKey, Used> {
        let mut all = HashMap::new();
        for entry in self.fleet.snapshot().tenants() {
            for (secret, uses) in entry.tenant.secrets.iter().zip(&entry.uses) {
                let key =
                    |name| CountKey { tenant: entry.tenant.slug.clone(), sub: secret.sub_id, name };
                all.insert(key("joins".to_owned()), Used::Joins(uses.clone()));
                for (at, value) in secret.values().enumerate() {
                    // Another value begins at 0.
                    let name = format!("uses{}_{}", at + 1, self.store.mark_of(value));
                    all.insert(key(name), Used::Value(uses.clone(), at));
                }
            }
        }
        all
    }

    fn own(&self, used: &HashMap<CountKey, Used>) -> HashMap<CountKey, u64> {
        let mut own: HashMap<_, _> =
            used.iter().map(|(key, used)| (key.clone(), used.get())).collect();
        for (tenant, tally) in self.fleet.directory.tallies() {
            for (sub, name, value) in tally.totals() {
                own.insert(CountKey { tenant: tenant.clone(), sub, name }, value);
            }
        }
        own
    }

    /// False where it is of nobody's that we know.
    fn add(&self, used: &HashMap<CountKey, Used>, key: &CountKey, more: u64) -> bool {
        if let Some(used) = used.get(key) {
            used.add(more);
            return true;
        }
        let snapshot = self.fleet.snapshot();
        let Some(entry) = snapshot.tenant(key.tenant.as_str()) else { return false };
        let is_there = key.sub == SubId::MAIN || entry.tenant.secret(key.sub).is_some();
        if is_there {
            entry.tally.add(key.sub, &key.name, more);
        }
        is_there
    }
}

#[async_trait]
impl Task for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    async fn activate(&self) -> Result<(), Failed> {
        self.sync().await.map_err(|trouble| {
            warn!("counters are not kept for now: {}", Chain(&trouble));
            Failed
        })
    }
}
