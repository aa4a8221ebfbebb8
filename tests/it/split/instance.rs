//! One of the instances, as `portico serve` puts it together, but for what speaks HTTP.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use portico::bus::{self, Bus, Duties, Membership};
use portico::fleet::instances::Event;
use portico::fleet::{Fleet, now_ms};
use portico::model::{AdminState, InstanceId, Inventory, Secret};
use portico::store::{Older, Postgres, Store};
use portico::tasks::{self, Task};
use prometheus::Registry;

use crate::harness::Redis;

/// As long as anything is kept where nothing else is said.
const KEEP: Duration = Duration::from_hours(180 * 24);
const MAX_ROWS: usize = 500_000;

pub(super) struct Instance {
    pub(super) fleet: Arc<Fleet>,
    pub(super) store: Arc<dyn Store>,
    pub(super) duties: Duties,
    history: tasks::History,
    _membership: Membership,
}

impl Instance {
    /// In a time that is set, with a number that makes its name: who polls which node is the same each time.
    pub(super) async fn start(
        redis: &Redis,
        database: &str,
        number: usize,
        inventory: Inventory,
        at_ms: u64,
    ) -> Self {
        let store =
            Postgres::open(&Secret::new(database), Older::Migrate).await.expect("a database");
        let store: Arc<dyn Store> = Arc::new(store);
        let fleet = Fleet::new(inventory, |_| AdminState::Ready);
        let fleet = Arc::new(fleet.in_zone(TimeZone::UTC).simulated());
        fleet.clock().set(at_ms);
        let instance = InstanceId::named(&format!("split-{number}"));
        let settings = bus::Settings {
            instance: instance.clone(),
            interval: Duration::from_secs(5),
            clock: now_ms,
            metrics: bus::Metrics::register(&Registry::new()).expect("new metrics"),
        };
        let opened = bus::open(&Secret::new(redis.url()), settings).expect("a URL");
        let Bus { log, news, living, membership } = opened;
        fleet.instances.link(instance, log);
        let (following, saved) = (fleet.clone(), store.clone());
        tokio::spawn(async move { following.keep_in_step(news, saved).await });
        let history = tasks::History::new(fleet.clone(), store.clone(), KEEP, MAX_ROWS);
        Self { fleet, store, duties: Duties::among(living), history, _membership: membership }
    }

    /// Whether it is in touch with all of so many.
    pub(super) fn sees(&self, instances: usize) -> bool {
        let living = self.duties.living().expect("it has a bus");
        self.fleet.instances.in_touch() && living.all().len() == instances
    }

    /// Tells and hears what was learned, if it is time.
    pub(super) async fn learn(&self) {
        self.history.activate().await.expect("the database is there");
    }

    /// Tells what joins it has signed; says whether there were any.
    pub(super) fn tell_joins(&self) -> bool {
        let snapshot = self.fleet.snapshot();
        let joins =
            snapshot.nodes().map(|node| (node.name().clone(), node.live.take_untold_joins()));
        let nodes: Vec<_> = joins.filter(|(_, joins)| *joins > 0).collect();
        let is_any = !nodes.is_empty() && self.fleet.instances.in_touch();
        if is_any {
            self.fleet.instances.tell(&Event::Joins { nodes });
        }
        is_any
    }

    /// How many events it has heard, its own among them, and how many it could not tell.
    pub(super) fn heard(&self) -> (u64, u64) {
        let figures = self.fleet.instances.figures();
        (figures.applied + figures.own + figures.ignored, figures.untold)
    }
}
