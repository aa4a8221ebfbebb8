//! Which file this instance has read last, so that one that nobody has touched since is never taken for news.
//!
//! The digest that the store keeps is of what a version makes of a file: it changes with the version and with
//! the key. This one is of the file itself and of what it names.

use std::fs;
use std::path::{Path, PathBuf};

use log::warn;
use sha2::{Digest, Sha256};

use crate::config::Settings;
use crate::model::{AssetKind, Look, Secret, TenantSecret};

const NAME: &str = "file-seen";

/// The file as it was last read here.
pub struct Seen {
    path: PathBuf,
    last: Option<String>,
}

impl Seen {
    /// As it was when this was last written into `data_dir`.
    pub fn load(data_dir: &Path) -> Self {
        let path = data_dir.join(NAME);
        let last = fs::read_to_string(&path).ok().map(|text| text.trim().to_owned());
        Self { path, last }
    }

    /// Whether nothing has changed in it since.
    pub(super) fn is(&self, file: &str) -> bool {
        self.last.as_deref() == Some(file)
    }

    /// Remembers it.
    pub(super) fn put(&mut self, file: String) {
        if self.is(&file) {
            return;
        }
        let beside = self.path.with_extension("new");
        let written = fs::write(&beside, &file).and_then(|()| fs::rename(&beside, &self.path));
        if let Err(trouble) = written {
            warn!("{} cannot be written: {trouble}", self.path.display());
        }
        self.last = Some(file);
    }
}

/// Tells files apart, with the secrets and looks that they name. Secrets take part by their marks.
pub(super) fn print_of(settings: &Settings, mark: impl Fn(&Secret) -> String) -> String {
    let mut digest = Sha256::new_with_prefix(settings.text_digest);
    let mut add = |part: &str| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    for node in &settings.inventory.nodes {
        add(&mark(&node.secret));
    }
    for tenant in &settings.inventory.tenants {
        tenant.stats_token.iter().for_each(|secret| add(&mark(secret)));
        for value in tenant.secrets.iter().flat_map(TenantSecret::values) {
            add(&mark(value));
        }
        for kind in AssetKind::ALL {
            if let Some((_, digest)) = tenant.branding.get(kind).and_then(Look::file) {
                add(digest);
            }
        }
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_file_is_known_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut seen = Seen::load(dir.path());
        assert!(!seen.is("one") && !seen.is(""));
        seen.put("one".to_owned());
        seen.put("two".to_owned());
        assert!(seen.is("two"));
        let again = Seen::load(dir.path());
        assert!(again.is("two") && !again.is("one"));
    }
}
