//! Secrets: written in the file, in a file of their own, or in the environment. Never shown.

use std::path::Path;

use super::files;
use super::reader::{Fields, Item};
use crate::model::Secret;

/// The longest secret anyone will have; a file beyond it is something else.
const MAX_SECRET_BYTES: u64 = 4096;

/// What an operator may write where a secret stands.
pub(super) const FORMS: &str = "a text, {file: path} or {env: NAME}";

/// What may be sent over the network: who sends must not learn what is in our files and environment.
const SENT: &str = "a text";

impl Item<'_> {
    /// What may be written here where a secret stands.
    pub(super) fn secret_forms(&self) -> &'static str {
        if self.reading.is_remote { SENT } else { FORMS }
    }

    /// A secret that must not be empty.
    pub(super) fn secret(&self) -> Option<Secret> {
        let secret = self.secret_or_empty()?;
        if secret.expose().is_empty() {
            self.problem(format_args!("must not be empty; write {}", self.secret_forms()));
            return None;
        }
        Some(secret)
    }

    /// A secret that is switched off by leaving it empty.
    pub(super) fn secret_unless_empty(&self) -> Option<Secret> {
        self.secret_or_empty().filter(|secret| !secret.expose().is_empty())
    }

    fn secret_or_empty(&self) -> Option<Secret> {
        let text = if self.is_mapping() && !self.reading.is_remote {
            self.fields(|fields| {
                let (file, env) = (fields.optional("file"), fields.optional("env"));
                match (file.is_absent(), env.is_absent()) {
                    (false, true) => secret_file(&file),
                    (true, false) => variable(&env),
                    _ => {
                        self.problem(format_args!("is no secret; write {FORMS}"));
                        None
                    }
                }
            })?
        } else {
            let text = self.text(self.secret_forms())?;
            if !text.is_empty() {
                self.reading.has_inline_secrets.set(true);
            }
            text.to_owned()
        };
        if text.contains(char::is_control) {
            self.problem("holds a line break or another control character; a secret is one line");
            return None;
        }
        Some(Secret::new(text))
    }
}

impl Fields<'_, '_> {
    /// A secret that must be there.
    pub(super) fn required_secret(&self, key: &'static str) -> Option<Secret> {
        let item = self.optional(key);
        if item.is_absent() {
            item.problem(format_args!("is missing: {}", item.secret_forms()));
        }
        item.secret()
    }
}

fn secret_file(item: &Item<'_>) -> Option<String> {
    let path = item.path()?;
    let text = files::read(&path, MAX_SECRET_BYTES).and_then(utf8);
    match text {
        Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(reason) => {
            item.problem(cannot_read(&path, &reason));
            None
        }
    }
}

fn variable(item: &Item<'_>) -> Option<String> {
    let allowed = "the name of an environment variable: letters, digits and underscores";
    let name = item.parse(allowed, |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!text.is_empty() && text.chars().all(plain)).then_some(text)
    })?;
    let value = (item.reading.env)(name);
    if value.is_none() {
        item.problem(format_args!(
            "the environment variable {name} is not set; set it to the secret"
        ));
    }
    value.map(|value| value.trim_end_matches(['\r', '\n']).to_owned())
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_error| "is not UTF-8 text".to_owned())
}

fn cannot_read(path: &Path, reason: &str) -> String {
    format!("{} {reason}; name a file that holds the secret", path.display())
}
