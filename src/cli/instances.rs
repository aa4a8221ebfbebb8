//! The instances that share a store, one of which we are.

use std::sync::Arc;

use anyhow::Context;
use pingora::services::background::GenBackgroundService;
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::background::{Work, background};
use crate::bus::{self, Bus, Duties, Log, Membership, News};
use crate::config::Settings;
use crate::fleet::now_ms;
use crate::model::InstanceId;

/// Linux's own word for it.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

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
}

impl Instances {
    /// Takes part in the bus, if there is to be one. It is not waited for.
    ///
    /// # Errors
    /// When its URL cannot be understood.
    pub(super) fn open(
        settings: &Settings,
        runtime: &Runtime,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
        let instance = InstanceId::new(host.trim());
        let Some(url) = &settings.redis else {
            return Ok(Self { instance, duties: Duties::all(), bus: None, membership: None });
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
        let duties = Duties::among(living);
        Ok(Self {
            instance,
            duties,
            bus: Some((log, news)),
            membership: Some(Arc::new(membership)),
        })
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
