//! `data_dir`, `store` and `redis`: what survives, and how instances keep in step.

use std::path::PathBuf;

use url::Url;

use super::reader::{Fields, Item};
use crate::model::Secret;

/// Where running meetings and the inventory's state are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreKind {
    /// A database file in the data directory.
    #[default]
    Embedded,
    /// A Postgres database, which several instances may share.
    Postgres {
        /// `postgres://user:password@host/database`; only its scheme is checked.
        url: Secret,
    },
}

/// `store`: where, and what to do with it at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Where.
    pub kind: StoreKind,
    /// Whether `serve` brings an older schema to its own. Off: `portico migrate` does, and nobody else.
    pub migrate: bool,
    /// What the nodes' secrets are sealed with; none: they stand in the store in clear.
    pub key: Option<Secret>,
    /// What they were sealed with before, while `key` takes its place.
    pub former_key: Option<Secret>,
}

/// As many bits as the cipher has.
const MIN_KEY_BYTES: usize = 32;

/// Where Debian and the systemd unit put a service's state.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/portico";

pub(super) fn data_dir(item: &Item<'_>) -> PathBuf {
    item.path().unwrap_or_else(|| DEFAULT_DATA_DIR.into())
}

pub(super) fn store(item: &Item<'_>) -> Option<Storage> {
    item.fields(|fields| {
        let migrate = fields.optional("migrate").flag().unwrap_or(true);
        let key_item = fields.optional("key");
        let [key, former_key] = [&key_item, &fields.optional("former_key")].map(|item| {
            let key = item.secret();
            if key.as_ref().is_some_and(|key| key.expose().len() < MIN_KEY_BYTES) {
                item.problem(
                    "is too short; write 32 characters or more, such as `openssl rand -hex 32` makes",
                );
            }
            key
        });
        let kind = kind(fields)?;
        if kind != StoreKind::Embedded && key_item.is_absent() {
            item.warn("without a `key` the secrets of nodes stand in the database in clear");
        }
        Some(Storage { kind, migrate, key, former_key })
    })
}

fn kind(fields: &Fields<'_, '_>) -> Option<StoreKind> {
    let kind = fields.optional("kind");
    let is_postgres = kind.one_of(&[("embedded", false), ("postgres", true)]);
    let url_item = fields.optional("url");
    if is_postgres != Some(true) {
        if !url_item.is_absent() && (is_postgres.is_some() || kind.is_absent()) {
            url_item.problem("belongs to `kind: postgres`; say so, or remove the url");
        }
        return Some(StoreKind::Embedded);
    }
    if url_item.is_absent() {
        url_item.problem("is missing: the database, such as postgres://portico@localhost/portico");
    }
    Some(StoreKind::Postgres { url: postgres_url(&url_item)? })
}

/// What libpq takes is no URL in the eyes of others: several hosts, or none before the query. The store looks at
/// the rest.
fn postgres_url(item: &Item<'_>) -> Option<Secret> {
    item.remember_line();
    let secret = item.secret()?;
    let schemes = ["postgres://", "postgresql://"];
    if !schemes.iter().any(|scheme| secret.expose().starts_with(scheme)) {
        item.problem("is no URL of the form postgres://user@host/database");
        return None;
    }
    Some(secret)
}

/// Redis only carries news between instances, so it needs a store that they share.
pub(super) fn redis(item: &Item<'_>, store: Option<&Storage>) -> Option<Secret> {
    item.fields(|fields: &Fields<'_, '_>| {
        let url_item = fields.optional("url");
        if item.is_absent() {
            return None;
        }
        if store.is_some_and(|store| store.kind == StoreKind::Embedded) {
            item.problem(
                "redis joins instances that share a store; it needs `store.kind: postgres`",
            );
        }
        if url_item.is_absent() {
            url_item.problem("is missing: the server, such as redis://127.0.0.1:6379/0");
        }
        url_item.remember_line();
        secret_url(&url_item, &["redis", "rediss"])
    })
}

/// A URL that may hold a password.
fn secret_url(item: &Item<'_>, schemes: &[&str]) -> Option<Secret> {
    let secret = item.secret()?;
    let url = Url::parse(secret.expose()).ok();
    if !url.is_some_and(|url| schemes.contains(&url.scheme()) && url.has_host()) {
        let schemes = schemes.join("://… or ");
        item.problem(format_args!("is no URL of the form {schemes}://… with a host"));
        return None;
    }
    Some(secret)
}
