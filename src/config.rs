//! The configuration file: YAML in, checked settings out.
//!
//! `tree` reads YAML and remembers lines, `reader` walks it and collects mistakes, and every section of
//! the file has a module that says what it allows. [`load`] gives either settings on which everyone else
//! can rely without checking again, or a [`Report`] of everything that is wrong.
//!
//! serde alone would not do: it stops at the first mistake, and it makes numbers of secrets.

mod api;
mod branding;
mod callbacks;
mod chronicle;
mod clusters;
mod files;
mod formats;
mod limits;
mod metrics;
mod object;
mod own;
mod placement;
mod polling;
mod reader;
mod report;
mod rules;
mod scalars;
mod secrets;
mod server;
mod statistics;
mod storage;
mod tenants;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use api::{Api, LocalSocket, SOCKET};
pub use branding::{MissingAsset, check_upload};
pub use callbacks::Callbacks;
pub use chronicle::Chronicle;
pub use limits::Limits;
pub use metrics::Metrics;
pub use object::read as read_object;
pub use own::Own;
pub use placement::Placement;
pub use polling::Polling;
pub(crate) use reader::{nearest, unknown_key};
pub use report::{Problem, Report};
pub use server::{Listen, Server, TlsFiles};
pub use statistics::Statistics;
pub use storage::{DEFAULT_DATA_DIR, Storage, StoreKind};

use sha2::{Digest, Sha256};

use crate::model::{Inventory, Secret};
use reader::{Item, Reading};

/// A whole configuration, checked. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Listeners.
    pub server: Server,
    /// Where state is kept.
    pub data_dir: PathBuf,
    /// What keeps it.
    pub store: Storage,
    /// The URL of the bus between instances, which may hold a password.
    pub redis: Option<Secret>,
    /// The operators' API.
    pub api: Api,
    /// How nodes are watched.
    pub polling: Polling,
    /// Where tenants may have us call.
    pub callbacks: Callbacks,
    /// What the public side bears.
    pub limits: Limits,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// How the size of meetings is foreseen.
    pub placement: Placement,
    /// How many times faster meetings grow old: 1, unless the demo was told otherwise. No key sets it.
    pub clock_speed: f64,
    /// What is kept of what tenants have used.
    pub statistics: Statistics,
    /// Clusters, nodes and tenants.
    pub inventory: Inventory,
    /// Files of `branding` that are not there. Whoever has no copy of one refuses the configuration.
    pub missing_assets: Vec<MissingAsset>,
    /// Where URLs of other servers stand, which only their drivers understand in full.
    lines: HashMap<String, u64>,
    /// What works but should be looked at, to be logged once.
    pub warnings: Vec<String>,
    /// SHA-256 of the text.
    pub text_digest: [u8; 32],
}

impl Settings {
    /// The refusal of the file that they come from, for these keys and what is wrong with each. None of the
    /// reasons may hold a secret.
    pub fn refuse(&self, file: &Path, wrong: Vec<(&str, String)>) -> Report {
        let problem = |(path, message): (&str, String)| Problem {
            line: self.lines.get(path).copied(),
            path: path.to_owned(),
            message,
        };
        Report::new(file, wrong.into_iter().map(problem).collect())
    }
}

/// A file of 10,000 tenants has some 10 MiB; larger ones are something else.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Reads and checks a configuration file; `env` looks up environment variables.
///
/// # Errors
/// Every mistake in the file, or why it cannot be read.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Report> {
    let refused =
        |line, message| Report::new(path, vec![Problem { line, path: String::new(), message }]);
    let bytes = files::read(path, MAX_FILE_BYTES).map_err(|reason| refused(None, reason))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.split(|byte| *byte == b'\n').count() as u64;
        refused(Some(line), "is not UTF-8 text; save the file as UTF-8".to_owned())
    })?;
    if text.trim().is_empty() {
        // As a disk that is full leaves it. Read as a configuration, it would retire the whole pool.
        let empty = "is empty; write at least `clusters: []` to run without nodes and tenants";
        return Err(refused(None, empty.to_owned()));
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    let (mut settings, has_inline_secrets) =
        check(&text, dir, env).map_err(|problems| Report::new(path, problems))?;
    if has_inline_secrets && is_open_to_others(path) {
        settings.warnings.push(format!(
            "{} holds secrets and every user of this machine may read it; chmod o-rwx it, or write \
             {{file: path}} or {{env: NAME}} instead",
            path.display()
        ));
    }
    Ok(settings)
}

/// Checks a configuration that is no file; relative paths start at `origin_dir`.
///
/// # Errors
/// Every mistake in the text.
pub fn parse(
    text: &str,
    origin_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, Report> {
    check(text, origin_dir, env)
        .map(|(settings, _)| settings)
        .map_err(|problems| Report::new("configuration", problems))
}

/// The settings and whether secrets stand in the text, or what is wrong.
fn check(
    text: &str,
    dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Settings, bool), Vec<Problem>> {
    let reading = Reading::new(dir, env);
    let (tree, malformed) = tree::read(text);
    let settings = tree.and_then(|tree| settings(&Item::root(&reading, &tree)));
    let malformed = malformed.into_iter().map(|malformed| Problem {
        line: malformed.line,
        path: String::new(),
        message: malformed.message,
    });
    let missing_assets = reading.missing_assets.into_inner();
    let lines = reading.lines.into_inner();
    let mut problems = reading.problems.into_inner();
    problems.extend(malformed);
    match settings {
        Some(mut settings) if problems.is_empty() => {
            settings.warnings = reading.warnings.into_inner();
            settings.missing_assets = missing_assets;
            settings.lines = lines;
            settings.text_digest = Sha256::digest(text).into();
            Ok((settings, reading.has_inline_secrets.get()))
        }
        _ => {
            problems.extend(missing_assets.into_iter().map(|missing| missing.problem));
            Err(problems)
        }
    }
}

fn settings(root: &Item<'_>) -> Option<Settings> {
    root.fields(|fields| {
        let server = server::read(&fields.optional("server"));
        let data_dir = storage::data_dir(&fields.optional("data_dir"));
        let store = storage::store(&fields.optional("store"));
        let redis = storage::redis(&fields.optional("redis"), store.as_ref());
        let api = api::read(&fields.optional("api"));
        let polling = polling::read(&fields.optional("polling"));
        let callbacks = callbacks::read(&fields.optional("callbacks"));
        let limits = limits::read(&fields.optional("limits"));
        let metrics = metrics::read(&fields.optional("metrics"));
        let placement = placement::read(&fields.optional("placement"));
        let statistics = statistics::read(&fields.optional("statistics"));
        let clusters = clusters::read(&fields.optional("clusters"));
        let (groups, group_names) = clusters::groups(&fields.optional("cluster_groups"), &clusters);
        let base_domain = server.as_ref().and_then(|server| server.base_domain.as_deref());
        let tenants = tenants::read(&fields.optional("tenants"), &group_names, base_domain);
        Some(Settings {
            server: server?,
            data_dir,
            store: store?,
            redis,
            api: api?,
            polling: polling?,
            callbacks: callbacks?,
            limits: limits?,
            metrics: metrics?,
            placement: placement?,
            clock_speed: 1.0,
            statistics: statistics?,
            inventory: Inventory {
                clusters: clusters.clusters,
                groups,
                nodes: clusters.nodes,
                tenants,
                managed: BTreeSet::new(),
            },
            missing_assets: Vec::new(),
            lines: HashMap::new(),
            warnings: Vec::new(),
            text_digest: [0; 32],
        })
    })
}

fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests;
