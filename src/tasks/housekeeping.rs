//! Forgets what nobody will ask for again: retired nodes and tenants without meetings, and the meetings
//! of nodes that have been down for a day or are not in the inventory at all. Until then what is lost on a node
//! keeps it: what it still runs when it is back is ended there.
//!
//! Instances that share a store and do not hear each other may each have a path to a node that the others do not
//! have. There only what is so old that nobody can be in it any more is forgotten.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};

use super::driver::{Failed, Task};
use crate::bus::Duties;
use crate::chain::Chain;
use crate::fleet::{Entry, Fleet};
use crate::model::Health;
use crate::store::Store;

/// A node that was down for so long has not kept its meetings: BigBlueButton does not survive a restart
/// with them.
const MEETINGS_KEPT: Duration = Duration::from_hours(24);
/// The same where others may reach the node; the meeting must be as old, too, as we may have just learned of it.
const KEPT_ALONE: Duration = Duration::from_hours(7 * 24);

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
        self.tidy(self.fleet.judges_alone(&*self.store)).await
    }
}

impl Housekeeping {
    /// `is_alone`: others may reach what we do not, and we do not hear of it.
    async fn tidy(&self, is_alone: bool) -> Result<(), Failed> {
        let _under_way = self.fleet.under_way.token();
        let (mut is_done, is_ours) = (true, self.duties.is_ours(DUTY));
        let kept = if is_alone { KEPT_ALONE } else { MEETINGS_KEPT };
        let clock = self.fleet.clock();
        let is_old = |entry: &Entry| clock.is_past(entry.began_ms(), kept);
        let snapshot = self.fleet.snapshot();
        for name in self.fleet.directory.nodes() {
            let nobody_there =
                snapshot.node(name.as_str()).is_none_or(|node| self.fleet.is_down_for(node, kept));
            if !nobody_there {
                continue;
            }
            for entry in self.fleet.directory.on_node(&name) {
                if is_alone && !is_old(&entry) {
                    continue;
                }
                self.fleet.directory.remove(&entry);
                if !is_ours {
                    continue;
                }
                let removed = self.store.remove_meeting(entry.key(), entry.internal_id()).await;
                is_done &= logged("forgetting a meeting", &removed);
                self.fleet.learn_removed(&entry, &*self.store, removed.unwrap_or_default());
                let hooks_of =
                    self.fleet.remove_hooks_of(&*self.store, entry.key(), entry.internal_id());
                hooks_of.await;
            }
        }
        for name in self.fleet.drop_idle_retired() {
            info!("node {name} is retired and empty: gone");
            // Another one may reach it, and have meetings on it that we know nothing of.
            let is_in_doubt = is_alone
                && snapshot.node(name.as_str()).is_some_and(|node| {
                    node.live.health() == Health::Down && !self.fleet.is_down_for(node, kept)
                });
            if !is_ours || is_in_doubt {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Thresholds, now_ms};
    use crate::model::{
        AdminState, Cluster, Extent, Inventory, Meeting, MeetingKey, Node, NodeName, Scope, Secret,
        Tenant,
    };
    use crate::store::{Embedded, SavedNode};

    const HOUR_MS: u64 = 60 * 60 * 1000;

    /// A retired node with one meeting, and a store that has both.
    struct Left {
        _dir: tempfile::TempDir,
        tidy: Housekeeping,
        name: NodeName,
    }

    impl Left {
        async fn begun_at(created_at_ms: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path()).unwrap());
            let name = NodeName::new("bbb01");
            let node = Node {
                name: name.clone(),
                cluster: "main".to_owned(),
                url: "http://bbb01.example/bigbluebutton/api".parse().unwrap(),
                secret: Secret::new("s"),
                weight: 1.0,
                capacity: 200,
                tags: Vec::new(),
                load_url: None,
            };
            let without = Inventory {
                clusters: vec![Cluster { name: "main".to_owned(), ..Cluster::default() }],
                tenants: vec![Tenant::sample("acme", &[0])],
                ..Inventory::default()
            };
            let with = Inventory { nodes: vec![node.clone()], ..without.clone() };
            let fleet = Arc::new(Fleet::new(with, |_| AdminState::Ready).simulated());
            fleet.clock().set(now_ms());
            let meeting = Meeting {
                key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: "m".to_owned() },
                node: name.clone(),
                node_meeting_id: "m@acme".to_owned(),
                internal_id: "m-1".to_owned(),
                created_at_ms,
                parent_internal_id: None,
                extent: Extent { peak: 7, ..Extent::default() },
                xml: Box::from(*b"<meeting/>"),
            };
            store.put_meeting(&meeting).await.unwrap();
            let state = AdminState::Retired;
            let saved = SavedNode { name: name.clone(), state, spec: Some(node) };
            store.put_node(&saved).await.unwrap();
            fleet.directory.adopt(meeting, true);
            fleet.apply(without);
            let tidy = Housekeeping { fleet, store, duties: Duties::all() };
            Self { _dir: dir, tidy, name }
        }

        /// The node is down since then, and its meetings are lost.
        fn down_since(&self, since_ms: u64) {
            let live = self.tidy.fleet.snapshot().node("bbb01").expect("it is held").live.clone();
            let limits = Thresholds { down_after: 1, up_after: 1 };
            let since = self.tidy.fleet.clock().moment_of(since_ms);
            live.poll_failed("refused".to_owned(), limits, since);
            self.tidy.fleet.lose_meetings_on(&self.name);
        }

        /// Whether the node and its meeting are still known, here and in the store.
        async fn is_kept_by(&self, is_alone: bool) -> (bool, bool) {
            self.tidy.tidy(is_alone).await.unwrap();
            let fleet = &self.tidy.fleet;
            let here = [fleet.snapshot().node("bbb01").is_some(), !fleet.directory.is_empty()];
            let saved = self.tidy.store.load().await.unwrap();
            let there = [!saved.nodes.is_empty(), !saved.meetings.is_empty()];
            assert!(here[0] == here[1] && there[0] == there[1], "{here:?} {there:?}");
            (here[0], there[0])
        }
    }

    #[tokio::test]
    async fn what_is_lost_keeps_a_retired_node_for_a_day() {
        for (hours, is_kept) in [(0, true), (23, true), (25, false)] {
            let left = Left::begun_at(1).await;
            assert_eq!(left.is_kept_by(false).await, (true, true));
            left.down_since(now_ms() - hours * HOUR_MS);
            assert_eq!(left.is_kept_by(false).await, (is_kept, is_kept), "{hours} hours");
            let learned = left.tidy.fleet.history.take_unsaved();
            assert_eq!(learned.len(), usize::from(!is_kept), "what is forgotten is learned");
        }
    }

    #[tokio::test]
    async fn what_others_may_serve_is_left_to_them() {
        for (age, down, is_kept) in [(200, 25, true), (2, 200, true), (200, 200, false)] {
            let left = Left::begun_at(now_ms() - age * HOUR_MS).await;
            left.down_since(now_ms() - down * HOUR_MS);
            let kept = left.is_kept_by(true).await;
            assert_eq!(kept, (is_kept, is_kept), "{age} hours, down for {down}");
        }
        let left = Left::begun_at(now_ms() - 2 * HOUR_MS).await;
        left.down_since(now_ms() - 200 * HOUR_MS);
        left.tidy.fleet.clock().correct(now_ms() + 300 * HOUR_MS);
        assert_eq!(left.is_kept_by(true).await, (true, true), "the clock was set, no time passed");
        // Nothing of it is known here, which says nothing of the others.
        let left = Left::begun_at(now_ms()).await;
        left.down_since(now_ms());
        for entry in left.tidy.fleet.directory.on_node(&left.name) {
            left.tidy.fleet.directory.remove(&entry);
        }
        assert_eq!(left.is_kept_by(true).await, (false, true));
    }
}
