//! Forgets what nobody will ask for again: retired nodes and tenants without meetings, or with none but lost ones on
//! a node that is down, and the meetings of nodes that have been down for a day or are not in the inventory at all.

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
        // What is lost on a node that is down does not keep it, and goes with it.
        let mut gone = self.fleet.drop_idle_retired();
        for name in &gone {
            info!("node {name} is retired and empty: gone");
        }
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
            if snapshot.node(name.as_str()).is_none() && !gone.contains(&name) {
                gone.push(name);
            }
        }
        // Their rows stay in the store as long as those of their meetings.
        for name in gone.iter().filter(|_| is_ours) {
            is_done &= logged("forgetting a node", &self.store.remove_node(name).await);
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
    use crate::fleet::Thresholds;
    use crate::model::{
        AdminState, Cluster, Inventory, Meeting, MeetingKey, Node, NodeName, Scope, Secret, Tenant,
    };
    use crate::store::{Embedded, SavedNode};

    #[tokio::test]
    async fn a_retired_node_goes_with_what_is_lost_on_it() {
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
        let fleet = Arc::new(Fleet::new(with, |_| AdminState::Ready));
        let meeting = Meeting {
            key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: "m".to_owned() },
            node: name.clone(),
            node_meeting_id: "m@acme".to_owned(),
            internal_id: "m-1".to_owned(),
            created_at_ms: 1,
            parent_internal_id: None,
            xml: Box::from(*b"<meeting/>"),
        };
        store.put_meeting(&meeting).await.unwrap();
        let saved = SavedNode { name: name.clone(), state: AdminState::Retired, spec: Some(node) };
        store.put_node(&saved).await.unwrap();
        fleet.directory.adopt(meeting, true);
        fleet.apply(without);
        let tidy =
            Housekeeping { fleet: fleet.clone(), store: store.clone(), duties: Duties::all() };
        tidy.activate().await.unwrap();
        let live = fleet.snapshot().node("bbb01").expect("it is held").live.clone();
        let limits = Thresholds { down_after: 1, up_after: 1 };
        live.poll_failed("refused".to_owned(), limits, now_ms());
        fleet.lose_meetings_on(&name);
        tidy.activate().await.unwrap();
        assert!(fleet.snapshot().node("bbb01").is_none() && fleet.directory.is_empty());
        let left = store.load().await.unwrap();
        assert_eq!((left.meetings, left.nodes), (Vec::new(), Vec::new()));
    }
}
