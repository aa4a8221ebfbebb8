//! The store as the configuration wants it, and waiting for one that is away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use log::{info, warn};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::serve::{Upgrade, notify};
use crate::admin;
use crate::chain::Chain;
use crate::config::{Settings, Storage, StoreKind};
use crate::fleet::now_ms;
use crate::store::{Embedded, Error, Health, Older, Opening, Postgres, Store};

/// Between two attempts to reach the store: at first, and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(5);
/// What takes longer is told of.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// Between two lines in the log that say the same.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);
/// How much longer systemd is to wait for us each time; more than an attempt and the pause after it.
const LONGER: Duration = Duration::from_mins(1);

/// Opens the store.
///
/// # Errors
/// What does not go by by itself.
pub(super) async fn open(
    settings: &Settings,
    patience: &mut Patience,
    health: Health,
) -> anyhow::Result<Arc<dyn Store>> {
    let older = if settings.store.migrate { Older::Migrate } else { Older::Refuse };
    let Storage { key, former_key, .. } = settings.store.clone();
    let opening = Opening { older, key, former_key, clock: Some(now_ms), health };
    match &settings.store.kind {
        StoreKind::Embedded => {
            let open = async || Ok(Embedded::open_as(&settings.data_dir, opening.clone())?);
            Ok(Arc::new(patience.until("opening the store", open).await?))
        }
        StoreKind::Postgres { url } => {
            let open = async || Ok(Postgres::open(url, opening.clone()).await?);
            let place = Postgres::place(url)?;
            let what =
                format!("opening the store: waiting for PostgreSQL at {place} (`store.url`)");
            Ok(Arc::new(patience.until(&what, open).await?))
        }
    }
}

/// What a start does with a store that cannot be reached, is read-only, full or takes its time: it waits, however long
/// that takes, as the machines of a pool start in any order and databases fail over. Meanwhile operators can
/// read why, and systemd is told to wait too. Not in an upgrade, as the process that is to leave serves very well.
pub(super) struct Patience {
    admin: SocketAddr,
    upgrade: Upgrade,
    begun: Instant,
    door: Option<(Door, watch::Sender<String>)>,
    said: String,
    said_at: Instant,
}

impl Patience {
    pub(super) fn new(settings: &Settings, upgrade: Upgrade) -> Self {
        let begun = Instant::now();
        let admin = settings.server.admin;
        Self { admin, upgrade, begun, door: None, said: String::new(), said_at: begun }
    }

    /// Attempts something until it works.
    ///
    /// # Errors
    /// What does not go by by itself.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        mut attempt: impl AsyncFnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut pause = AGAIN_AFTER;
        loop {
            let failed = {
                let mut attempt = Box::pin(attempt());
                loop {
                    match timeout(SLOW_AFTER, &mut attempt).await {
                        Ok(Ok(done)) => return Ok(done),
                        Ok(Err(failed)) => break failed,
                        Err(_slow) => self.say(what.to_owned()).await?,
                    }
                }
            };
            match failed.downcast_ref::<Error>() {
                Some(away) if away.is_worth_waiting_for() && self.upgrade == Upgrade::No => {
                    self.say(format!("waiting for the store: {}", Chain(away))).await?;
                }
                _ => return Err(failed),
            }
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AFTER_AT_MOST);
        }
    }

    async fn say(&mut self, reason: String) -> anyhow::Result<()> {
        if reason != self.said || self.said_at.elapsed() >= SAY_AGAIN_AFTER {
            warn!("{reason}");
            (self.said, self.said_at) = (reason.clone(), Instant::now());
        }
        let longer = u32::try_from(LONGER.as_micros()).unwrap_or(u32::MAX);
        notify(&[NotifyState::Status(&reason), NotifyState::ExtendTimeoutUsec(longer)]);
        match &self.door {
            Some((_, say)) => drop(say.send_replace(reason)),
            // In an upgrade the other process still has the port.
            None if self.upgrade == Upgrade::No => {
                let (say, why) = watch::channel(reason);
                self.door = Some((Door::open(self.admin, why).await?, say));
            }
            None => {}
        }
        Ok(())
    }

    /// The store is there and read: the port of operators is free again.
    pub(super) async fn end(self) {
        if let Some((door, _)) = self.door {
            door.close().await;
        }
        if !self.said.is_empty() {
            info!("the store is there after {:.1} s", self.begun.elapsed().as_secs_f64());
            notify(&[NotifyState::Status("")]);
        }
    }
}

/// The operators' listener for as long as we wait; pingora's takes its place.
struct Door(JoinHandle<std::io::Result<()>>);

impl Door {
    async fn open(admin: SocketAddr, why: watch::Receiver<String>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(admin)
            .await
            .with_context(|| format!("listening on {admin}: choose another `server.admin`"))?;
        let serving = axum::serve(listener, admin::waiting(why));
        Ok(Self(tokio::spawn(serving.into_future())))
    }

    async fn close(self) {
        self.0.abort();
        // Cancelled, which is what we wanted; the port is free now.
        drop(self.0.await);
    }
}
