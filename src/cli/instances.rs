//! The instances that share a store, one of which we are.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::Context;
use futures::FutureExt;
use log::{error, info};
use pingora::services::background::GenBackgroundService;
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::background::{Work, background};
use crate::bus::{self, Bus, Duties, Living, Log, Membership, News};
use crate::config::Settings;
use crate::fleet::{Fleet, now_ms};
use crate::model::InstanceId;
use crate::store::Store;

/// Linux's own word for it.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// A name for this process.
pub(super) fn own_name() -> InstanceId {
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    InstanceId::new(host.trim())
}

/// What we have in common with the others.
pub(super) struct Instances {
    /// Who we are.
    pub(super) instance: InstanceId,
    /// What of the work for one is ours.
    pub(super) duties: Duties,
    /// What instances tell each other, where there is a bus.
    pub(super) bus: Option<(Arc<dyn Log>, mpsc::Receiver<News>)>,
    /// To be kept as long as we serve.
    pub(super) membership: Option<Arc<Membership>>,
    /// Who is alive, for the fleet.
    living: Option<watch::Receiver<Living>>,
}

impl Instances {
    /// Takes part in the bus, if there is to be one. It is not waited for.
    ///
    /// # Errors
    /// When its URL cannot be understood.
    pub(super) fn open(
        settings: &Settings,
        fleet: &Fleet,
        runtime: &Runtime,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let instance = fleet.leases.instance().clone();
        let Some(url) = &settings.redis else {
            return Ok(Self {
                instance,
                duties: Duties::all(),
                bus: None,
                membership: None,
                living: None,
            });
        };
        let bus_settings = bus::Settings {
            instance: instance.clone(),
            interval: settings.polling.interval,
            clock: now_ms,
            metrics: bus::Metrics::register(registry)?,
        };
        let _on = runtime.enter();
        let opened = bus::open(url, bus_settings).context("the bus between instances")?;
        let Bus { log, news, living, membership } = opened;
        let duties = Duties::among(living.clone());
        Ok(Self {
            instance,
            duties,
            bus: Some((log, news)),
            membership: Some(Arc::new(membership)),
            living: Some(living),
        })
    }

    /// Keeps the fleet in step with the other instances' from now on, for as long as the process lives: what
    /// is under way while we stop is told, too.
    pub(super) fn keep_in_step(
        &mut self,
        runtime: &Runtime,
        fleet: &Arc<Fleet>,
        store: &Arc<dyn Store>,
    ) {
        let Some((log, news)) = self.bus.take() else { return };
        info!("this is instance {}", self.instance);
        fleet.instances.link(self.instance.clone(), log);
        let (following, store) = (fleet.clone(), store.clone());
        let living = self.living.take();
        // Both end with the runtime, which is the process's.
        drop(runtime.spawn(async move {
            let in_step = AssertUnwindSafe(following.keep_in_step(news, store)).catch_unwind();
            if in_step.await.is_err() {
                // The panic hook has printed where. The news were dropped with it, which takes us off the
                // living: others poll our nodes, and we poll all.
                error!(
                    "this instance no longer follows the others and goes on by itself: restart it"
                );
                following.instances.break_off();
            }
        }));
        if let Some(living) = living {
            drop(runtime.spawn(follow(fleet.clone(), living)));
        }
    }
}

/// Tells the fleet who is alive.
async fn follow(fleet: Arc<Fleet>, mut living: watch::Receiver<Living>) {
    while living.changed().await.is_ok() {
        let now = living.borrow_and_update().clone();
        // Who is out of touch knows of nobody that is gone.
        if now.is_in_touch() {
            fleet.journal().instances(now.all());
            fleet.instances.set_living(now.all().iter().cloned());
        }
    }
}

/// Leaves the living when we are to stop, so that others take over at once. What is still under way goes
/// on, and is told.
pub(super) fn leaving(membership: Arc<Membership>) -> GenBackgroundService<Work> {
    background("instances", move |mut stop| {
        let membership = membership.clone();
        async move {
            drop(stop.wait_for(|stop| *stop).await);
            membership.leave().await;
        }
    })
}
