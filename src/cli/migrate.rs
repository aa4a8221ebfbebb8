//! `portico migrate`: brings the store to this version's schema, or says how far it has come.

use std::io::Write;
use std::path::Path;

use super::{DONE, FAILED, WRONG, check, environment};
use crate::config::{self, StoreKind};
use crate::store::{Embedded, Postgres, SchemaVersion};

pub(super) fn migrate(path: &Path, only_status: bool) -> anyhow::Result<u8> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let settings = match config::load(path, &environment) {
        Ok(settings) => settings,
        Err(report) => {
            writeln!(err, "{report}")?;
            return Ok(WRONG);
        }
    };
    if let Err(wrong) = check::supported(path, &settings) {
        writeln!(err, "{wrong}")?;
        return Ok(WRONG);
    }
    let (place, SchemaVersion { found, known }) = match &settings.store.kind {
        StoreKind::Embedded => {
            let version = Embedded::version(&settings.data_dir)?;
            if !only_status {
                drop(Embedded::open(&settings.data_dir)?);
            }
            (Embedded::file(&settings.data_dir).display().to_string(), version)
        }
        StoreKind::Postgres { url } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let version = runtime.block_on(async {
                if only_status {
                    Postgres::version(url).await
                } else {
                    Postgres::migrate(url).await
                }
            })?;
            (Postgres::place(url)?.to_string(), version)
        }
    };
    let said = match found {
        _ if found == known => format!("schema version {found}, up to date"),
        _ if found > known => {
            format!(
                "schema version {found}, and this Portico knows up to {known}: start the newer one"
            )
        }
        _ if only_status => {
            format!("schema version {found} of {known}; `portico migrate` brings it to {known}")
        }
        _ => format!("schema version {known}, was {found}"),
    };
    writeln!(out, "{place}: {said}")?;
    Ok(if found > known { FAILED } else { DONE })
}
