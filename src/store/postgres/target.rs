//! `store.url`, read.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::error::Trouble;
use super::tls::{self, Mode, Tls};
use crate::model::Secret;

/// A server in the same network answers in a hundredth of this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// What was sent and is not acknowledged for so long was sent to nobody.
const USER_TIMEOUT: Duration = Duration::from_secs(8);
/// An idle connection is tried after this time, then every [`KEEPALIVE_EVERY`].
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVES: u32 = 3;

/// Where the database is and how to speak with it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) mode: Mode,
    /// Host, port and database, for people.
    pub(super) place: Arc<str>,
    pub(super) user: Arc<str>,
}

impl Target {
    /// Reads a URL as libpq knows it, with `sslmode` and `sslrootcert`.
    pub(super) fn parse(url: &Secret) -> Result<Self, Trouble> {
        let (base, query) = url.expose().split_once('?').unwrap_or((url.expose(), ""));
        let mut mode = Mode::default();
        let (mut roots, mut names, mut rest) = (None, Vec::new(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            match name {
                "sslmode" => mode = value.parse().map_err(Trouble::Url)?,
                "sslrootcert" => roots = Some(value.into_owned()),
                // The driver would take them for one.
                "host" => rest.extend(value.split(',').map(|host| format!("host={host}"))),
                _ => rest.push(pair.to_owned()),
            }
            names.push(name);
        }
        let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
        let mut config: Config = format!("{base}{query}").parse().map_err(wrong)?;
        if config.get_hosts().is_empty() {
            return Err(Trouble::Url("names no host".to_owned()));
        }
        let user = config.get_user().unwrap_or_default();
        if user.is_empty() {
            return Err(Trouble::Url(
                "names no user; write postgres://user@host/database".to_owned(),
            ));
        }
        let user: Arc<str> = user.into();
        let place = place(&config).into();
        if config.get_application_name().is_none() {
            config.application_name("portico");
        }
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        // What the operator has said stays.
        if config.get_hosts().len() > 1 && !names.contains(&"target_session_attrs") {
            // Of a primary and its standbys the one that can be written to, whichever comes first.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(USER_TIMEOUT);
        }
        if !names.contains(&"keepalives_idle") {
            config.keepalives_idle(KEEPALIVE_AFTER);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVE_EVERY);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEPALIVES);
        }
        let tls = tls::connector(mode, roots.as_deref()).map_err(Trouble::Url)?;
        Ok(Self { config, tls, mode, place, user })
    }
}

fn wrong(error: tokio_postgres::Error) -> Trouble {
    // The cause names the key that is wrong and never its value.
    let cause = error.into_source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Trouble::Url(format!("is no URL of a database{cause}"))
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<_> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        })
        .collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, Trouble> {
        Target::parse(&Secret::new(url))
    }

    #[test]
    fn a_url_names_its_place_without_its_password() {
        for (url, place) in [
            ("postgres://portico:hush@db.example:6432/pool", "db.example:6432/pool"),
            ("postgresql://portico:hush@db.example", "db.example:5432/portico"),
            ("postgres://u:hush@a,b:6432/pool?sslmode=disable", "a:5432,b:6432/pool"),
            ("postgres://u:hush@%2Frun%2Fpostgresql/pool", "/run/postgresql/pool"),
        ] {
            let target = parse(url).unwrap_or_else(|trouble| panic!("{url}: {trouble}"));
            assert_eq!((&*target.place, target.place.contains("hush")), (place, false));
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for (url, said) in [
            ("postgres://u:hush@h/d?sslmode=always", "sslmode=always is not one of disable, allow"),
            (
                "postgres://u:hush@h/d?sslmode=verify-ca&sslrootcert=/no/such",
                "sslrootcert /no/such cannot be read",
            ),
            ("postgres://u:hush@h/d?sslcert=x", "unknown option `sslcert`"),
            ("postgres://u:hush@h:port/d", "invalid value for option `port`"),
            ("postgres://h/d", "names no user"),
        ] {
            let said_of = parse(url).err().unwrap_or_else(|| panic!("{url} is taken")).to_string();
            assert!(said_of.contains(said), "{url}: {said_of}");
            assert!(said_of.starts_with("store.url: ") && !said_of.contains("hush"), "{said_of}");
        }
    }

    #[test]
    fn of_several_hosts_the_one_that_can_be_written_to_is_taken() {
        use TargetSessionAttrs::{Any, ReadWrite};
        for (url, attributes) in [
            ("postgres://u@a,b/d", ReadWrite),
            ("postgres://u@/d?host=a,b", ReadWrite),
            ("postgres://u@/d?host=a", Any),
            ("postgres://u@a,b/d?target_session_attrs=any", Any),
        ] {
            let target = parse(url).unwrap_or_else(|trouble| panic!("{url}: {trouble}"));
            assert_eq!(target.config.get_target_session_attrs(), attributes, "{url}");
        }
    }

    #[test]
    fn timeouts_of_the_url_stay() {
        let target = parse("postgres://u@h/d?connect_timeout=7&keepalives_idle=99").unwrap();
        assert_eq!(target.config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(target.config.get_keepalives_idle(), Duration::from_secs(99));
        assert_eq!(target.config.get_tcp_user_timeout(), Some(&USER_TIMEOUT));
    }
}
