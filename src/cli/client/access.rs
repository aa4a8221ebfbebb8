//! Which API, and by what right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::failure::Failure;
use super::lost::{self, Place};
use super::output::Format;
use crate::admin::Scope;
use crate::bbb::jwt;
use crate::cli::environment;
use crate::config::{self, Settings};
use crate::fleet::now_ms;
use crate::model::Secret;

/// Each call has a token of its own, for clocks that differ by no more.
const GOOD_FOR_S: u64 = 300;
const DAY_S: u64 = 24 * 60 * 60;
/// Where the API listens.
const ADMIN: &str = "server.admin";
/// Of a user's name, in a token.
const MAX_NAME: usize = 64;

/// What all commands that ask the API have in common.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Access {
    /// Configuration file of the Portico that is meant; without it `PORTICO_API` (a URL) and `PORTICO_TOKEN`, or the
    /// one of this machine
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print what is asked for
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    /// Do not ask before something is taken away
    #[arg(long, global = true)]
    pub(super) yes: bool,
}

/// By what right.
pub(super) enum Right {
    /// The key that signs tokens, and who is here.
    Key { key: Secret, user: String },
    /// A token that somebody else has signed.
    Token(String),
    /// The socket of this machine, which needs none.
    Local(PathBuf),
}

impl Access {
    /// The base URL of the API's server, and the right to ask it.
    pub(super) fn find(&self) -> Result<(String, Right, Place), Failure> {
        if let Some(file) = &self.config {
            return of_file(file);
        }
        match (environment("PORTICO_API"), environment("PORTICO_TOKEN")) {
            (Some(api), Some(token)) => {
                let tried = api.trim().trim_end_matches('/').to_owned();
                let named_by =
                    "PORTICO_API says so; -c FILE asks the Portico of a configuration file"
                        .to_owned();
                Ok((
                    api,
                    Right::Token(token),
                    Place { tried, listener: ADMIN, named_by, before: None },
                ))
            }
            (Some(_), None) => Err(Failure::wrong(
                "PORTICO_TOKEN is not set: `portico token create` makes one where the configuration file is",
            )),
            (None, Some(_)) => Err(Failure::wrong(
                "PORTICO_API is not set: it says which Portico PORTICO_TOKEN is for, such as http://127.0.0.1:8081",
            )),
            (None, None) => {
                let usual = Path::new(config::DEFAULT_DATA_DIR).join(config::SOCKET);
                by_socket(&usual).map_err(|why| {
                    Failure::wrong(format_args!(
                        "which Portico? Say -c FILE, or set PORTICO_API (such as http://127.0.0.1:8081) and \
                         PORTICO_TOKEN, which `portico token create` makes\nthat of this machine was tried: {}",
                        lost::of_socket(&usual, &why)
                    ))
                })
            }
        }
    }

    /// The configuration file that was named.
    pub(super) fn settings(&self) -> Result<Option<Settings>, Failure> {
        let load = |file: &PathBuf| config::load(file, &environment).map_err(Failure::wrong);
        self.config.as_ref().map(load).transpose()
    }
}

/// Those of this machine need no token. Whether one listens is found out here, so that there is another way.
fn by_socket(path: &Path) -> std::io::Result<(String, Right, Place)> {
    UnixStream::connect(path)?;
    let place = Place {
        tried: path.display().to_string(),
        listener: "api.socket",
        named_by: "-c FILE, or PORTICO_API and PORTICO_TOKEN, ask another Portico".to_owned(),
        before: None,
    };
    Ok(("http://localhost".to_owned(), Right::Local(path.to_owned()), place))
}

fn of_file(file: &Path) -> Result<(String, Right, Place), Failure> {
    let settings = config::load(file, &environment).map_err(Failure::wrong)?;
    let mut no_socket = None;
    if let Some(path) = settings.api.socket_path(&settings.data_dir) {
        match by_socket(&path) {
            Ok(found) => return Ok(found),
            Err(why) => no_socket = Some(lost::of_socket(&path, &why)),
        }
    }
    let key = settings.api.jwt_secret.ok_or_else(|| {
        let before = no_socket.as_ref().map(|why| format!("{why}\n")).unwrap_or_default();
        Failure::wrong(format_args!(
            "{before}{}: api.jwt_secret is missing, so nobody gets in over the network: add it, or use api.socket on \
             the machine itself",
            file.display()
        ))
    })?;
    let user = environment("USER").or_else(|| environment("LOGNAME"));
    let user: String =
        user.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(MAX_NAME).collect();
    let user = if user.is_empty() { "portico".to_owned() } else { user };
    let base = format!("http://{}", reachable(settings.server.admin));
    let named_by = format!(
        "server.admin of {} says so; PORTICO_API and PORTICO_TOKEN, without -c, ask another Portico",
        file.display()
    );
    let place = Place { tried: base.clone(), listener: ADMIN, named_by, before: no_socket };
    Ok((base, Right::Key { key, user }, place))
}

/// Who listens on all addresses is asked on the loopback.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl Right {
    /// A token for the next call. All of a user's on one day have the same id: each id is listed for ever.
    pub(super) fn token(&self) -> Option<String> {
        match self {
            Self::Local(_) => None,
            Self::Token(token) => Some(token.trim().to_owned()),
            Self::Key { key, user } => {
                let issued = now_ms() / 1000;
                let claims = json!({
                    "scope": Scope::Admin.claim(),
                    "sub": user,
                    // Ids are logged, and nobody's name is.
                    "jti": format!("cli-{:.8}-{}", hex::encode(Sha256::digest(user)), issued / DAY_S),
                    "iat": issued,
                    "exp": issued + GOOD_FOR_S,
                });
                Some(jwt::hs384(&claims, key.expose()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_at_home() {
        for (listens, asked) in [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), asked);
        }
    }
}
