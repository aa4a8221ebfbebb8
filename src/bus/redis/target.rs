//! `redis.url`, read.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo};
use tokio::time::timeout;
use url::Url;

use super::trouble::Trouble;
use crate::model::Secret;

/// A server in the same network answers in a hundredth of this. Also for its greeting: name, password,
/// database.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Commands that wait to be written, past which callers wait.
const PIPELINE: usize = 1024;

/// Where Redis is and how to speak with it.
#[derive(Clone)]
pub(super) struct Target {
    client: Client,
    /// Host, port and database, for people.
    pub(super) place: Arc<str>,
    pub(super) is_tls: bool,
}

impl Target {
    /// Reads a URL; nobody is asked.
    pub(super) fn parse(url: &Secret) -> Result<Self, Trouble> {
        let wrong = |what: &str| Trouble::Url(what.to_owned());
        let form = "is no URL of the form redis://user:password@host:port/number";
        let read = Url::parse(url.expose()).map_err(|_error| wrong(form))?;
        if !matches!(read.scheme(), "redis" | "rediss") || !read.has_host() {
            return Err(wrong(form));
        }
        if read.fragment().is_some() {
            return Err(wrong("has a `#`, which means nothing here; write %23 in a password"));
        }
        let number = read.path().trim_matches('/');
        if !number.is_empty() && number.parse::<u16>().is_err() {
            return Err(wrong("ends in what is no database number, such as /0"));
        }
        // The driver's own words could repeat what stands in the URL.
        let info = read.into_connection_info().map_err(|_error| {
            wrong("cannot be used; look at host, user and password, in which %, @, : and / are to be written as %25, %40, %3A and %2F")
        })?;
        let (place, is_tls) = match info.addr() {
            ConnectionAddr::TcpTls { host, port, .. } => (shown(host, *port), true),
            ConnectionAddr::Tcp(host, port) => (shown(host, *port), false),
            _ => return Err(wrong(form)),
        };
        let place = format!("{place}/{}", info.redis_settings().db()).into();
        let named =
            info.redis_settings().clone().set_lib_name("portico", env!("CARGO_PKG_VERSION"));
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(named).set_tcp_settings(tcp);
        let client = Client::open(info).map_err(|_error| wrong(form))?;
        Ok(Self { client, place, is_tls })
    }

    /// A new connection. Whoever asks on it limits the time.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Trouble> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        match timeout(CONNECT_WITHIN, connecting).await {
            Ok(connected) => connected.map_err(|error| Trouble::new(self, &error)),
            Err(_elapsed) if self.is_tls => Err(Trouble::Silent { place: self.place.clone() }),
            Err(_elapsed) => Err(Trouble::Slow { place: self.place.clone() }),
        }
    }
}

fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_place_without_its_password() {
        for (url, place, is_tls) in [
            ("redis://:hush@bus.example:6380/3", "bus.example:6380/3", false),
            ("rediss://portico:hush@bus.example", "bus.example:6379/0", true),
            ("redis://[::1]", "[::1]:6379/0", false),
        ] {
            let target = Target::parse(&Secret::new(url)).unwrap();
            assert_eq!((&*target.place, target.is_tls), (place, is_tls));
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for (url, said) in [
            ("http://u:hush@h/0", "is no URL of the form redis://"),
            ("redis://u:hush@h/zero", "no database number"),
            ("redis://u:hush@h/-1", "no database number"),
            ("redis://u:hu#sh@h/0", "is no URL"),
            ("rediss://u:hush@h/0#insecure", "has a `#`"),
            ("redis://u:hush%ff@h/0", "cannot be used"),
        ] {
            let trouble = Target::parse(&Secret::new(url)).err();
            let said_of = trouble.unwrap_or_else(|| panic!("{url} is taken")).to_string();
            assert!(said_of.contains(said), "{url}: {said_of}");
            assert!(said_of.starts_with("redis.url: ") && !said_of.contains("hush"), "{said_of}");
        }
    }
}
