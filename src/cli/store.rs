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
use tokio::time::{Instant, sleep};

use super::serve::{Upgrade, notify};
use crate::admin;
use crate::chain::Chain;
use crate::config::{Settings, StoreKind};
use crate::model::Secret;
use crate::store::{Embedded, Error, Older, Opening, Postgres, Store};

/// Between two attempts to reach the store: at first, and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(5);
/// Between two lines in the log that say the same.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);
/// How much longer systemd is to wait for us each time; more than an attempt and the pause after it.
const LONGER: Duration = Duration::from_mins(1);

/// Opens the store. One that cannot be reached is waited for, however long that takes: the machines of a
/// pool start in any order. Not in an upgrade, as the process that is to leave serves very well.
///
/// # Errors
/// What does not go by by itself.
pub(super) async fn open(settings: &Settings, upgrade: Upgrade) -> anyhow::Result<Arc<dyn Store>> {
    let older = if settings.store.migrate { Older::Migrate } else { Older::Refuse };
    let opening = Opening { older, key: settings.store.key.clone() };
    let url = match &settings.store.kind {
        StoreKind::Embedded => {
            return Ok(Arc::new(Embedded::open_as(&settings.data_dir, opening)?));
        }
        StoreKind::Postgres { url } => url,
    };
    match Postgres::open(url, opening.clone()).await {
        Err(away) if away.is_passing() && upgrade == Upgrade::No => {
            Ok(Arc::new(wait(settings.server.admin, url, &opening, away).await?))
        }
        opened => Ok(Arc::new(opened?)),
    }
}

async fn wait(
    admin: SocketAddr,
    url: &Secret,
    opening: &Opening,
    mut away: Error,
) -> anyhow::Result<Postgres> {
    let begun = Instant::now();
    let (say, why) = watch::channel(String::new());
    let door = Door::open(admin, why).await?;
    let mut pause = AGAIN_AFTER;
    let (mut said, mut said_at) = (String::new(), begun);
    let opened = loop {
        let reason = format!("waiting for the store: {}", Chain(&away));
        if reason != said || said_at.elapsed() >= SAY_AGAIN_AFTER {
            warn!("{reason}");
            (said, said_at) = (reason.clone(), Instant::now());
        }
        let longer = u32::try_from(LONGER.as_micros()).unwrap_or(u32::MAX);
        notify(&[NotifyState::Status(&reason), NotifyState::ExtendTimeoutUsec(longer)]);
        say.send_replace(reason);
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_AFTER_AT_MOST);
        match Postgres::open(url, opening.clone()).await {
            Err(still) if still.is_passing() => away = still,
            opened => break opened,
        }
    };
    door.close().await;
    let store = opened?;
    info!("the store is there after {:.1} s", begun.elapsed().as_secs_f64());
    notify(&[NotifyState::Status("")]);
    Ok(store)
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
