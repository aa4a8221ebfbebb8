//! Forgets what nobody will ask for again: retired nodes and tenants without meetings, and the meetings
//! of nodes that have been down for a day or are not in the inventory at all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};

use super::driver::{Failed, Task};
use crate::bus::Duties;
use crate::chain::Chain;
use crate::fleet::{Fleet, now_ms};
use crate::model::Health;
use crate::store::Store;

/// A node that was down for so long has not kept its meetings: BigBlueButton does not survive a restart
/// with them.
const MEETINGS_KEPT: Duration = Duration::from_hours(24);

/// See the module.
pub struct Housekeeping {
    /// The pool.
    pub fleet: Arc<Fleet>,
    /// What survives.
    pub store: Arc<dyn Store>,
    /// One instance is enough to forget what stands in the store.
    pub duties: Duties,
}

/// What the duty to forget is called.
const DUTY: &str = "housekeeping";

#[async_trait]
impl Task for Housekeeping {
    fn name(&self) -> &'static str {
        "housekeeping"
    }

    async fn activate(&self) -> Result<(), Failed> {
        let (mut is_done, is_ours) = (true, self.duties.is_ours(DUTY));
        let kept_ms = u64::try_from(MEETINGS_KEPT.as_millis()).unwrap_or(u64::MAX);
        let snapshot = self.fleet.snapshot();
        for name in self.fleet.directory.nodes() {
            let nobody_there = snapshot.node(name.as_str()).is_none_or(|node| {
                let (since_ms, _) = node.live.health_since();
                node.live.health() == Health::Down && now_ms().saturating_sub(since_ms) >= kept_ms
            });
            if !nobody_there {
                continue;
            }
            for entry in self.fleet.directory.on_node(&name) {
                self.fleet.directory.remove(&entry);
                if !is_ours {
                    continue;
                }
                let removed = self.store.remove_meeting(entry.key(), entry.internal_id()).await;
                is_done &= logged("forgetting a meeting", &removed);
                let hooks_of =
                    self.fleet.remove_hooks_of(&*self.store, entry.key(), entry.internal_id());
                hooks_of.await;
            }
        }
        for name in self.fleet.drop_idle_retired() {
            info!("node {name} is retired and empty: gone");
            if !is_ours {
                continue;
            }
            is_done &= logged("forgetting a node", &self.store.remove_node(&name).await);
        }
        if is_done { Ok(()) } else { Err(Failed) }
    }
}

fn logged<T, E: std::error::Error>(what: &str, result: &Result<T, E>) -> bool {
    if let Err(error) = result {
        warn!("{what}: {}", Chain(error));
    }
    result.is_ok()
}
