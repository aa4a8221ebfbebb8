//! The background services of `portico serve`: each made of the narrow parts that it needs.

use std::sync::Arc;
use std::time::Duration;

use pingora::services::background::GenBackgroundService;
use prometheus::Registry;
use tokio::sync::Notify;

use super::background::{Work, background};
use crate::bus::Duties;
use crate::config::{self, Settings, StoreKind};
use crate::fleet::{Fleet, Thresholds};
use crate::model::Reach;
use crate::node::{self, Client};
use crate::store::Store;
use crate::tasks::{
    self, Counters, Ending, Housekeeping, NodeHooks, Outbox, OutboxMetrics, Poller, Sender,
};

/// A claim survives two renewals that fail.
const RENEW_EVERY: Duration = Duration::from_secs(5);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(10);

pub(super) fn poller(
    settings: &Settings,
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
    client: &Client,
    metrics: &tasks::Metrics,
    duties: &Duties,
    wake: &Arc<Notify>,
) -> Arc<Poller> {
    let polling = &settings.polling;
    let (known, saved, wake) = (fleet.clone(), store.clone(), wake.clone());
    Arc::new(Poller {
        fleet: fleet.clone(),
        store: store.clone(),
        ends: Arc::new(tasks::Ends::new(known, saved, wake, polling.node_down_grace)),
        client: client.clone(),
        settings: tasks::Settings {
            interval: polling.interval,
            timeout: polling.timeout,
            thresholds: Thresholds { down_after: polling.down_after, up_after: polling.up_after },
            node_down_grace: polling.node_down_grace,
        },
        metrics: metrics.clone(),
        duties: duties.clone(),
    })
}

/// Where front ends may want to be called.
pub(super) fn reach(settings: &Settings) -> Reach {
    Reach { allowed: settings.callbacks.allow_targets.clone() }
}

pub(super) fn outbox(
    settings: &Settings,
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
    client: &Client,
    registry: &Registry,
    duties: &Duties,
) -> anyhow::Result<Arc<Outbox>> {
    Ok(Arc::new(Outbox {
        fleet: fleet.clone(),
        store: store.clone(),
        client: client.clone(),
        sender: Sender::new(reach(settings), node::load_roots()?),
        wake: Arc::default(),
        metrics: OutboxMetrics::register(registry)?,
        duties: duties.clone(),
    }))
}

pub(super) fn housekeeping(
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
    metrics: &tasks::Metrics,
    duties: &Duties,
) -> GenBackgroundService<Work> {
    let (fleet, store, duties) = (fleet.clone(), store.clone(), duties.clone());
    let task = Arc::new(Housekeeping { fleet, store, duties });
    let metrics = metrics.clone();
    background("housekeeping", move |stop| {
        let (task, metrics) = (task.clone(), metrics.clone());
        let every = HOUSEKEEPING_EVERY;
        async move { tasks::run_to_the_end(task.as_ref(), every, every, &metrics, stop).await }
    })
}

pub(super) fn leases(
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
    grace: Duration,
    metrics: &tasks::Metrics,
) -> GenBackgroundService<Work> {
    let task = Arc::new(tasks::Leases::new(fleet.clone(), store.clone()));
    let metrics = metrics.clone();
    background("leases", move |stop| {
        let (task, metrics) = (task.clone(), metrics.clone());
        async move { task.run(RENEW_EVERY, &metrics, grace, stop).await }
    })
}

pub(super) fn counters(
    settings: &Settings,
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
) -> Counters {
    let is_shared = settings.store.kind != StoreKind::Embedded;
    Counters::new(fleet.clone(), store.clone(), is_shared)
}

pub(super) fn counting(
    counters: Counters,
    metrics: &tasks::Metrics,
    ending: &Ending,
) -> GenBackgroundService<Work> {
    let (counters, metrics, ending) = (Arc::new(counters), metrics.clone(), ending.clone());
    background("counters", move |stop| {
        let (counters, metrics, ending) = (counters.clone(), metrics.clone(), ending.clone());
        async move { counters.run(&metrics, &ending, stop).await }
    })
}

pub(super) fn statistics(
    settings: &Settings,
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
    metrics: &tasks::Metrics,
    ending: &Ending,
) -> GenBackgroundService<Work> {
    let days = settings.statistics.retention_days;
    let kept = (days > 0).then(|| Duration::from_hours(u64::from(days) * 24));
    let task = Arc::new(tasks::Statistics::new(fleet.clone(), store.clone(), kept));
    let (metrics, ending) = (metrics.clone(), ending.clone());
    background("statistics", move |stop| {
        let (task, metrics, ending) = (task.clone(), metrics.clone(), ending.clone());
        async move { task.run(&metrics, &ending, stop).await }
    })
}

pub(super) fn history(
    settings: &Settings,
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
    metrics: &tasks::Metrics,
    ending: &Ending,
) -> GenBackgroundService<Work> {
    let (keep, max_rows) = (settings.placement.keep, settings.placement.max_rows);
    let task = Arc::new(tasks::History::new(fleet.clone(), store.clone(), keep, max_rows));
    let (metrics, ending) = (metrics.clone(), ending.clone());
    background("history", move |stop| {
        let (task, metrics, ending) = (task.clone(), metrics.clone(), ending.clone());
        async move { task.run(&metrics, &ending, stop).await }
    })
}

pub(super) fn chronicle(
    settings: &Settings,
    fleet: &Arc<Fleet>,
    store: &Arc<dyn Store>,
    metrics: &tasks::Metrics,
    duties: &Duties,
    ending: &Ending,
) -> Option<GenBackgroundService<Work>> {
    let config::Chronicle { enabled, keep, max_meetings } = settings.placement.chronicle;
    let (fleet, store, duties) = (fleet.clone(), store.clone(), duties.clone());
    let task = enabled
        .then(|| Arc::new(tasks::Chronicle::new(fleet, store, duties, keep, max_meetings)))?;
    let (metrics, ending) = (metrics.clone(), ending.clone());
    Some(background("chronicle", move |stop| {
        let (task, metrics, ending) = (task.clone(), metrics.clone(), ending.clone());
        async move { task.run(&metrics, &ending, stop).await }
    }))
}

pub(super) fn hooks(hooks: NodeHooks, metrics: &tasks::Metrics) -> GenBackgroundService<Work> {
    let (hooks, metrics) = (Arc::new(hooks), metrics.clone());
    background("hooks", move |stop| {
        let (hooks, metrics) = (hooks.clone(), metrics.clone());
        async move { hooks.run(&metrics, stop).await }
    })
}
