//! `portico check`: says all that is wrong with a configuration file, or what it amounts to.

use std::io::Write;
use std::path::Path;

use super::{DONE, WRONG, environment};
use crate::config::{self, Settings};
use crate::edge::Certificate;

pub(super) fn check(path: &Path) -> anyhow::Result<u8> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let settings = match config::load(path, &environment) {
        Ok(settings) => settings,
        Err(report) => {
            writeln!(err, "{report}")?;
            return Ok(WRONG);
        }
    };
    for warning in &settings.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    for tls in settings.server.listen.iter().filter_map(|listen| listen.tls.as_ref()) {
        if let Err(unusable) = Certificate::load(tls.cert.clone(), tls.key.clone()) {
            writeln!(err, "{:#}", anyhow::Error::new(unusable))?;
            return Ok(WRONG);
        }
    }
    writeln!(out, "{} is fine: {}", path.display(), summary(&settings))?;
    Ok(DONE)
}

/// What a configuration amounts to, in one line.
pub(super) fn summary(settings: &Settings) -> String {
    let inventory = &settings.inventory;
    let counted =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    [
        counted(inventory.clusters.len(), "cluster"),
        counted(inventory.nodes.len(), "node"),
        counted(inventory.tenants.len(), "tenant"),
    ]
    .join(", ")
}
