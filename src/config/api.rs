//! `api`: the operators' REST API.

use std::path::{Path, PathBuf};

use super::reader::Item;
use super::secrets::FORMS;
use crate::model::Secret;

/// Who may call the REST API, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Api {
    /// Signs the tokens of the API; without it there are none, and nobody gets in over the network.
    pub jwt_secret: Option<Secret>,
    /// Others that tokens may be signed with, so that one can take the place of another.
    pub former_jwt_secrets: Vec<Secret>,
    /// Whether b3scale's `/api/v1` is served on the public listener too. Default: no.
    pub public: bool,
    /// The socket of this machine. Default: in `data_dir`.
    pub socket: LocalSocket,
}

/// Where those of this machine call the API without a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LocalSocket {
    /// [`SOCKET`] in `data_dir`.
    #[default]
    InDataDir,
    /// There.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// The name of the socket in `data_dir`.
pub const SOCKET: &str = "portico.sock";

/// RFC 7518 §3.2: a key for HS256 has at least as many bits as its hash.
const MIN_JWT_SECRET_BYTES: usize = 32;

impl Api {
    /// Where the socket is.
    pub fn socket_path(&self, data_dir: &Path) -> Option<PathBuf> {
        match &self.socket {
            LocalSocket::InDataDir => Some(data_dir.join(SOCKET)),
            LocalSocket::At(path) => Some(path.clone()),
            LocalSocket::Off => None,
        }
    }

    /// All secrets that tokens may be signed with; the first one signs.
    pub fn jwt_secrets(&self) -> Vec<Secret> {
        self.jwt_secret.iter().chain(&self.former_jwt_secrets).cloned().collect()
    }
}

pub(super) fn read(item: &Item<'_>) -> Option<Api> {
    item.fields(|fields| {
        let jwt_item = fields.optional("jwt_secret");
        let mut jwt_secrets = if jwt_item.is_list() {
            jwt_item.list(jwt_secret)
        } else {
            jwt_secret(&jwt_item).into_iter().collect()
        };
        let public_item = fields.optional("public");
        let public = public_item.flag().unwrap_or(false);
        if public && jwt_item.is_absent() {
            public_item.problem(format_args!("a public API needs api.jwt_secret: {FORMS}"));
        }
        let socket = socket(&fields.optional("socket"));
        let former_jwt_secrets = jwt_secrets.split_off(jwt_secrets.len().min(1));
        let jwt_secret = jwt_secrets.pop();
        Some(Api { jwt_secret, former_jwt_secrets, public, socket })
    })
}

fn jwt_secret(item: &Item<'_>) -> Option<Secret> {
    let secret = item.secret();
    if secret.as_ref().is_some_and(|key| key.expose().len() < MIN_JWT_SECRET_BYTES) {
        item.warn("tokens signed with less than 32 characters can be guessed");
    }
    secret
}

fn socket(item: &Item<'_>) -> LocalSocket {
    if item.is_absent() {
        return LocalSocket::InDataDir;
    }
    let is_off = item.parse("a path, or false", |text| (!text.is_empty()).then(|| text == "false"));
    let path = if is_off == Some(false) { item.path() } else { None };
    path.map_or(LocalSocket::Off, LocalSocket::At)
}
