//! Connections, and what is asked of a server before it is trusted with anything.

use std::future::Future;
use std::pin::Pin;

use deadpool_postgres::Connect;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};
use tokio_util::task::AbortOnDropHandle;

use super::error::Trouble;
use super::target::Target;
use super::tls::Tls;
use crate::skew;

/// The oldest version that is still maintained, and the first whose backends can be ended and waited for.
pub(super) const OLDEST: i32 = 14;

/// Nothing that we ask for while requests wait takes a tenth of this. A transaction that we forget about
/// must not hold its rows, and idle we are often. And "durable" is our promise, whatever the server's default.
/// A plan may have been made when a table was small, and is kept: for all that we ask often there is an index.
/// Whatever else then looks costly is not worth compiling.
pub(super) const SETTINGS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '4s';
    SET idle_in_transaction_session_timeout = '10s'; SET idle_session_timeout = 0;
    SET client_min_messages = 'warning'; SET jit = off;
    SET enable_seqscan = off; SET enable_bitmapscan = off;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off'";

const HELLO: &str = "SELECT pg_backend_pid(),
        (SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()),
        current_setting('server_version_num')::integer,
        pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
        current_setting('server_encoding'),
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Makes connections on the runtime that was current when it was made, so that they outlive those of
/// pingora's services.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Tls,
    runtime: Handle,
    clock: Option<fn() -> u64>,
    only_reads: bool,
}

impl Connector {
    pub(super) fn new(target: &Target) -> Self {
        Self { tls: target.tls.clone(), runtime: Handle::current(), clock: None, only_reads: false }
    }

    /// Says where a server's clock differs from this one.
    pub(super) fn comparing(self, clock: Option<fn() -> u64>) -> Self {
        Self { clock, ..self }
    }

    /// Takes a server that cannot be written to as well.
    pub(super) fn only_reading(self) -> Self {
        Self { only_reads: true, ..self }
    }

    fn now_ms(&self) -> Option<u64> {
        self.clock.map(|clock| clock())
    }

    /// A connection as the server gives it.
    async fn connect_bare(&self, config: &Config) -> Result<Fresh, tokio_postgres::Error> {
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let driver = self.runtime.spawn(async move {
            // Whoever uses the connection gets the error as well.
            if let Err(error) = connection.await {
                log::debug!("a connection to PostgreSQL ended: {error}");
            }
        });
        Ok(Fresh { client, driver: AbortOnDropHandle::new(driver) })
    }
}

/// A connection that nobody was given yet. It ends with an attempt that is given up: a driver that waits for a
/// silent server would stay for ever, and so would the connection.
struct Fresh {
    client: Client,
    driver: AbortOnDropHandle<()>,
}

type Connected = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            let Fresh { client, driver } = self.connect_bare(&config).await?;
            client.batch_execute(SETTINGS).await?;
            Ok((client, driver.detach()))
        })
    }
}

/// One process of the server, by what nobody else has.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pid: i32,
    started: String,
}

/// A connection that may be written to.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) driver: JoinHandle<()>,
    pub(super) backend: Backend,
}

impl Session {
    /// Connects, and looks at the server. `before` is the connection that this one takes the place of: what
    /// was sent there and not answered must not take effect after what is sent here.
    pub(super) async fn open(
        connector: &Connector,
        target: &Target,
        before: Option<&Backend>,
    ) -> Result<Self, Trouble> {
        let trouble = |error: tokio_postgres::Error| Trouble::new(target, &error);
        let Fresh { client, driver } =
            connector.connect_bare(&target.config).await.map_err(trouble)?;
        let asked_ms = connector.now_ms();
        let row = client.query_one(HELLO, &[]).await.map_err(trouble)?;
        let heard_ms = connector.now_ms();
        let get = |column| row.try_get::<_, String>(column).map_err(trouble);
        let backend = Backend { pid: row.try_get(0).map_err(trouble)?, started: get(1)? };
        let version: i32 = row.try_get(2).map_err(trouble)?;
        let is_read_only: bool = row.try_get(3).map_err(trouble)?;
        check(target, version, is_read_only && !connector.only_reads, &get(4)?)?;
        let shown_ms: i64 = row.try_get(5).map_err(trouble)?;
        if let (Some(asked_ms), Some(heard_ms)) = (asked_ms, heard_ms) {
            let whose = format!("PostgreSQL at {}", target.place);
            let shown_ms = shown_ms.try_into().unwrap_or_default();
            if let Some(warning) = skew::warning(asked_ms, heard_ms, shown_ms, &whose) {
                log::warn!("{warning}");
            }
        }
        // An older server does not know all of them.
        client.batch_execute(SETTINGS).await.map_err(trouble)?;
        if let Some(Backend { pid, started }) = before {
            let ended = "SELECT pg_terminate_backend(pid, 3000) FROM pg_stat_activity
                WHERE pid = $1 AND backend_start::text = $2";
            let ended = client.query_opt(ended, &[pid, started]).await.map_err(trouble)?;
            let is_gone = ended.is_none_or(|row| row.try_get(0).unwrap_or(false));
            if !is_gone {
                return Err(Trouble::Slow { place: target.place.clone() });
            }
        }
        Ok(Self { client, driver: driver.detach(), backend })
    }
}

/// Whether a server with these properties will do.
fn check(
    target: &Target,
    version_number: i32,
    is_read_only: bool,
    encoding: &str,
) -> Result<(), Trouble> {
    let place = target.place.clone();
    let found = version_number / 10_000;
    if found < OLDEST {
        return Err(Trouble::TooOld { place, found });
    }
    if is_read_only {
        return Err(Trouble::ReadOnly { place });
    }
    if encoding != "UTF8" {
        return Err(Trouble::Encoding { place, found: encoding.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    #[test]
    fn a_server_that_will_not_do_is_told_why() {
        let target = Target::parse(&Secret::new("postgres://u:hush@h/d")).unwrap();
        check(&target, 140_000, false, "UTF8").unwrap();
        for (version, is_read_only, encoding, said) in [
            (130_014, false, "UTF8", "is version 13, and the oldest that Portico works with is 14"),
            (150_018, true, "UTF8", "is read-only: name the primary in `store.url`"),
            (150_018, false, "SQL_ASCII", "has the encoding SQL_ASCII: create one with ENCODING"),
        ] {
            let refused = check(&target, version, is_read_only, encoding).unwrap_err().to_string();
            assert!(refused.contains(said) && refused.contains("h:5432/d"), "{refused}");
        }
    }
}
