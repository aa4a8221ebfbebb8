//! `portico check`: says all that is wrong with a configuration file, or what it amounts to.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use super::{DONE, WRONG, environment, own};
use crate::bus;
use crate::chain::Chain;
use crate::config::{self, MissingAsset, Report, Settings, StoreKind};
use crate::edge::Certificate;
use crate::inventory::{self, Clashed, Compared};
use crate::model::RecordingSettings;
use crate::store::{self, Embedded, Postgres};

/// For all that a shared store is asked: an upgrade waits for the check, and a stop for the upgrade.
const WITHIN: Duration = Duration::from_secs(4);

pub(super) fn check(path: &Path) -> anyhow::Result<u8> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let settings = match config::load(path, &environment) {
        Ok(settings) => settings,
        Err(report) => {
            writeln!(err, "{report}")?;
            return Ok(WRONG);
        }
    };
    if !settings.missing_assets.is_empty() {
        writeln!(err, "{}", MissingAsset::refuse(path, settings.missing_assets))?;
        return Ok(WRONG);
    }
    for warning in settings.warnings.iter().chain(&unused(&settings)) {
        writeln!(err, "warning: {warning}")?;
    }
    if let Err(wrong) = supported(path, &settings) {
        writeln!(err, "{wrong}")?;
        return Ok(WRONG);
    }
    if let Some(refused) = own::refuse_at_start(path, &settings)? {
        writeln!(err, "{refused}")?;
        return Ok(WRONG);
    }
    for tls in settings.server.listen.iter().filter_map(|listen| listen.tls.as_ref()) {
        if let Err(unusable) = Certificate::load(tls.cert.clone(), tls.key.clone()) {
            writeln!(err, "{:#}", anyhow::Error::new(unusable))?;
            return Ok(WRONG);
        }
    }
    match compared(&settings) {
        Ok(Some(compared)) => match compared {
            Ok(Compared::Older(told)) => {
                for warning in told {
                    writeln!(err, "warning: {warning}")?;
                }
            }
            Ok(Compared::Together(taken_over)) => {
                for name in taken_over {
                    writeln!(
                        err,
                        "warning: {name} came through the API: it is the file's from the next start or SIGHUP on, and \
                         what the API has made of it goes"
                    )?;
                }
            }
            Err(refusal) => {
                writeln!(err, "{}: {refusal}", path.display())?;
                return Ok(WRONG);
            }
        },
        // Nothing was ever applied there.
        Ok(None) => {}
        Err(trouble) => writeln!(
            err,
            "warning: whether it goes together with what came through the API was not checked, as the store cannot be \
             read: {}",
            Chain(trouble.as_ref())
        )?,
    }
    writeln!(out, "{} is fine: {}", path.display(), summary(&settings))?;
    Ok(DONE)
}

/// What would become of the file with what the store has; nothing where nothing was ever applied. Nothing is changed
/// there.
fn compared(settings: &Settings) -> anyhow::Result<Option<Result<Compared, Clashed>>> {
    let (key, former_key) = (settings.store.key.as_ref(), settings.store.former_key.as_ref());
    match &settings.store.kind {
        StoreKind::Embedded => {
            let file = Embedded::file(&settings.data_dir);
            let saved = match std::fs::File::open(&file) {
                Ok(_) => Embedded::peek(&settings.data_dir, key, former_key)?,
                // It was never started.
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => {
                    return Err(anyhow::anyhow!(
                        "{}: {error}: run `portico check` as root, or as the user that Portico runs as",
                        file.display()
                    ));
                }
            };
            Ok(saved.map(|saved| inventory::compare(settings, &saved.inventory)))
        }
        StoreKind::Postgres { url } => {
            let digest = store::digest_with(&settings.inventory, store::marks(key));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let peeked = async {
                tokio::time::timeout(WITHIN, Postgres::peek(url, key, former_key, &digest)).await
            };
            let peeked = runtime.block_on(peeked);
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
            let Ok(peeked) = peeked else {
                let place = Postgres::place(url)?;
                anyhow::bail!("{place} does not answer within {} s", WITHIN.as_secs());
            };
            Ok(peeked?.map(|(saved, was_applied)| {
                inventory::compare_shared(settings, &saved, was_applied)
            }))
        }
    }
}

/// Whether the servers that it names can be asked at all, as far as their drivers understand it.
pub(super) fn supported(path: &Path, settings: &Settings) -> Result<(), Report> {
    let store = match &settings.store.kind {
        StoreKind::Embedded => None,
        StoreKind::Postgres { url } => Postgres::place(url).err().map(|wrong| match wrong {
            store::Error::Postgres(store::Trouble::Url(reason)) => reason,
            wrong => wrong.to_string(),
        }),
    };
    let redis = settings.redis.as_ref().and_then(|url| bus::check(url).err());
    let redis = redis.map(|wrong| match wrong {
        bus::Trouble::Url(reason) => reason,
        wrong => wrong.to_string(),
    });
    let wrong = [("store.url", store), ("redis.url", redis)];
    let wrong: Vec<_> =
        wrong.into_iter().filter_map(|(key, reason)| Some((key, reason?))).collect();
    if wrong.is_empty() { Ok(()) } else { Err(settings.refuse(path, wrong)) }
}

/// What is written in the file and has no effect in this version, so that nobody relies on it.
pub(super) fn unused(settings: &Settings) -> Vec<String> {
    let tenants = &settings.inventory.tenants;
    [(
        "tenants[].recording",
        tenants.iter().any(|tenant| tenant.recording != RecordingSettings::default()),
    )]
    .into_iter()
    .filter(|(_, is_set)| *is_set)
    .map(|(key, _)| format!("{key}: checked, but without effect in this version"))
    .collect()
}

/// What a configuration amounts to, in one line.
pub(super) fn summary(settings: &Settings) -> String {
    let inventory = &settings.inventory;
    [
        counted(inventory.clusters.len(), "cluster"),
        counted(inventory.nodes.len(), "node"),
        counted(inventory.tenants.len(), "tenant"),
    ]
    .join(", ")
}

/// A number of things, in the singular if it is one.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
