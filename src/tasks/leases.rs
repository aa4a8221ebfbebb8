//! What instances over one store do now and then: renew the claims of creates that take long, so that nobody
//! takes them for those of a process that died, and look for webhooks that others were asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use log::{debug, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::driver::{Failed, Metrics, Task, activate, run};
use super::ending::EVERY_AT_THE_END;
use crate::chain::Chain;
use crate::fleet::Fleet;
use crate::store::Store;

/// Every so many times it looks for what others have left behind, too.
const SWEEP_EVERY: u32 = 12;
/// The claims are to be renewed again before they run out.
const HOOKS_WITHIN: Duration = Duration::from_secs(5);

/// See the module.
pub struct Leases {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    count: AtomicU32,
}

impl Leases {
    /// For the claims of this fleet.
    pub fn new(fleet: Arc<Fleet>, store: Arc<dyn Store>) -> Self {
        Self { fleet, store, count: AtomicU32::new(0) }
    }

    /// Goes on until `stop` turns true, and for `grace` after that, or as long as a create is under way.
    pub async fn run(
        &self,
        every: Duration,
        metrics: &Metrics,
        grace: Duration,
        stop: watch::Receiver<bool>,
    ) {
        run(self, every, every, metrics, stop).await;
        let end = Instant::now() + grace;
        while Instant::now() < end || !self.fleet.leases.held().is_empty() {
            activate(self, metrics).await;
            sleep(EVERY_AT_THE_END).await;
        }
    }

    async fn renew(&self) -> Result<(), Failed> {
        let held = self.fleet.leases.held();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let sweeps = self.store.is_shared() && count.is_multiple_of(SWEEP_EVERY);
        if held.is_empty() && !sweeps {
            return Ok(());
        }
        let renewed = self.store.renew_claims(self.fleet.leases.instance(), &held).await;
        renewed.map_err(|trouble| {
            if !held.is_empty() {
                warn!("claims of {} creates are not renewed: {}", held.len(), Chain(&trouble));
            }
            Failed
        })
    }

    /// Webhooks that other instances have made or removed.
    async fn follow_hooks(&self) {
        let since = *self.fleet.hooks.changes().borrow();
        match self.store.find_hooks(None).await {
            Ok(hooks) => self.fleet.hooks.follow(None, hooks, since),
            Err(trouble) => debug!("webhooks of others are not known: {}", Chain(&trouble)),
        }
    }
}

#[async_trait]
impl Task for Leases {
    fn name(&self) -> &'static str {
        "leases"
    }

    async fn activate(&self) -> Result<(), Failed> {
        // First what others wait for.
        let renewed = self.renew().await;
        if self.store.is_shared() {
            let following = timeout(HOOKS_WITHIN, self.follow_hooks()).await;
            if following.is_err() {
                debug!("webhooks of others are not known: the store is silent");
            }
        }
        renewed
    }
}
