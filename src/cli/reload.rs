//! SIGHUP: the configuration is read again, and what can change while we serve is put in force.

use std::path::PathBuf;
use std::sync::Arc;

use log::{error, info, warn};
use pingora::server::ShutdownWatch;
use tokio::task::spawn_blocking;

use super::signals::hangup;
use super::{check, environment, own};
use crate::chain::Chain;
use crate::config::{self, Settings};
use crate::edge::Certificate;
use crate::inventory::{Keeper, branding};
use crate::store::Store;

/// What is read again on a hangup.
pub(super) struct Reloader {
    pub(super) path: Option<PathBuf>,
    /// As at the start: what differs and is not taken over needs a restart.
    pub(super) settings: Settings,
    pub(super) keeper: Arc<Keeper>,
    pub(super) store: Arc<dyn Store>,
    pub(super) certificates: Vec<Option<Arc<Certificate>>>,
}

pub(super) async fn follow_hangups(reloader: Arc<Reloader>, mut stop: ShutdownWatch) {
    let mut hangups = match hangup() {
        Ok(hangups) => hangups,
        Err(trouble) => {
            error!("SIGHUP cannot be listened to: {trouble}");
            return;
        }
    };
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = hangups.recv() => {}
        }
        // Outside of the select: the watch's guard must not live across an await.
        reloader.reload().await;
    }
}

/// Reads the file and those it names, away from the threads that serve.
async fn load(path: PathBuf, store: &dyn Store) -> Result<Settings, String> {
    let file = path.clone();
    let reading = spawn_blocking(move || config::load(&file, &environment));
    let read = reading.await.map_err(|stopped| format!("reading it was cut short: {stopped}"))?;
    let mut settings = read.map_err(|report| report.to_string())?;
    let completed = branding::complete(&mut settings, &path, store).await;
    completed.map_err(|refused| format!("{refused:#}"))?;
    Ok(settings)
}

impl Reloader {
    /// Puts the file in force as it is now. With a mistake in it, everything stays as it is.
    async fn reload(&self) {
        let Some(path) = &self.path else { return };
        let settings = match load(path.clone(), self.store.as_ref()).await {
            Ok(settings) => settings,
            Err(report) => {
                error!("the configuration stays as it was:\n{report}");
                return;
            }
        };
        if let Err(wrong) = check::supported(path, &settings) {
            error!("the configuration stays as it was:\n{wrong}");
            return;
        }
        if let Some(refused) = own::refuse(path, &settings, &self.settings.server).await {
            error!("the configuration stays as it was:\n{refused}");
            return;
        }
        for warning in settings.warnings.iter().chain(&check::unused(&settings)) {
            warn!("{warning}");
        }
        for certificate in self.certificates.iter().flatten() {
            if let Err(unusable) = certificate.reload() {
                error!("a certificate stays as it was: {}", Chain(&unusable));
            }
        }
        if self.keeper.apply(&settings).await {
            info!("configuration read again: {}", check::summary(&settings));
        } else {
            info!("configuration read again; its clusters, nodes and tenants are not in force");
        }
        let restart_for = self.needs_restart(&settings);
        if !restart_for.is_empty() {
            warn!("changes of {} take effect with the next restart", restart_for.join(", "));
        }
    }

    fn needs_restart(&self, next: &Settings) -> Vec<&'static str> {
        let now = &self.settings;
        [
            ("server", now.server != next.server),
            ("data_dir", now.data_dir != next.data_dir),
            ("store", now.store != next.store),
            ("redis", now.redis != next.redis),
            ("api", now.api != next.api),
            ("polling", now.polling != next.polling),
            ("callbacks", now.callbacks != next.callbacks),
            ("limits", now.limits != next.limits),
            ("metrics", now.metrics != next.metrics),
            ("placement", now.placement != next.placement),
            ("statistics", now.statistics != next.statistics),
        ]
        .into_iter()
        .filter_map(|(section, differs)| differs.then_some(section))
        .collect()
    }
}
