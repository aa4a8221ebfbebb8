//! What can go wrong with PostgreSQL, with the setting it is about and what the operator can do.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

use super::target::Target;
use super::tls::Mode;

/// Classes of `SQLSTATE` that are about values: what is impossible, what a constraint, a view or a function of the
/// operator's does not let in, and what is too much.
const UNFIT: [&str; 6] = ["21", "22", "23", "44", "54", "P0"];

/// Why PostgreSQL could not be asked. Never holds the password, nor what stands in rows.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trouble {
    /// The URL cannot be understood.
    #[error("store.url: {0}")]
    Url(String),
    /// Nobody there, or not yet.
    #[error(
        "PostgreSQL at {place} cannot be reached: start it, or correct host and port in `store.url`"
    )]
    Away {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// It has no connection to give.
    #[error(
        "PostgreSQL at {place} has no connection left: raise its `max_connections`, or the limit of the user \
         or the database, if they have one"
    )]
    Crowded {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// No answer in time, or another transaction in the way.
    #[error(
        "PostgreSQL at {place} did not answer in time: look at its load and its locks, and whether \
         `store.url` names it"
    )]
    Slow {
        /// Host, port and database.
        place: Arc<str>,
    },
    /// Wrong user or password.
    #[error(
        "PostgreSQL at {place} does not let user {user} in: correct user and password in `store.url`, or \
         the server's pg_hba.conf"
    )]
    Refused {
        /// Host, port and database.
        place: Arc<str>,
        /// The user of the URL.
        user: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// It wants TLS of this user.
    #[error(
        "PostgreSQL at {place} does not let user {user} in without TLS: replace `sslmode=disable` in \
         `store.url`, or correct the user there or the server's pg_hba.conf"
    )]
    Unencrypted {
        /// Host, port and database.
        place: Arc<str>,
        /// The user of the URL.
        user: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// There is no such database.
    #[error("there is no database {place}: create it, or correct the last part of `store.url`")]
    NoDatabase {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// No TLS as the URL demands it.
    #[error(
        "no TLS with PostgreSQL at {place} as `sslmode={mode}` demands: correct `sslmode` or `sslrootcert` \
         in `store.url`, or the server's certificate"
    )]
    Tls {
        /// Host, port and database.
        place: Arc<str>,
        /// The mode in force.
        mode: &'static str,
        /// What the driver said.
        source: Cause,
    },
    /// A standby, or a database that was set read-only.
    #[error(
        "PostgreSQL at {place} is read-only: name the primary in `store.url`, or switch off \
         `default_transaction_read_only`"
    )]
    ReadOnly {
        /// Host, port and database.
        place: Arc<str>,
    },
    /// A server of an unsupported version.
    #[error(
        "PostgreSQL at {place} is version {found}, and the oldest that Portico works with is \
         {}: upgrade the server, or name another one in `store.url`",
        super::session::OLDEST
    )]
    TooOld {
        /// Host, port and database.
        place: Arc<str>,
        /// Its major version.
        found: i32,
    },
    /// A database that cannot keep every text.
    #[error(
        "the database {place} has the encoding {found}: create one with ENCODING 'UTF8' and name it in \
         `store.url`"
    )]
    Encoding {
        /// Host, port and database.
        place: Arc<str>,
        /// Its encoding.
        found: String,
    },
    /// Not enough rights.
    #[error(
        "user {user} may not do all that Portico needs in {place}: make it the database's owner, or grant \
         it CREATE on the schema and all rights on the tables"
    )]
    Forbidden {
        /// Host, port and database.
        place: Arc<str>,
        /// The user of the URL.
        user: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// No space left.
    #[error("PostgreSQL at {place} has no space left: make room on its disk")]
    Full {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// Written by a newer version.
    #[error(
        "the database {place} has schema version {found}, this Portico knows up to {known}: start the newer \
         version that wrote it, or restore a backup from before the upgrade"
    )]
    Newer {
        /// Host, port and database.
        place: Arc<str>,
        /// Its version.
        found: u32,
        /// The last version that we know.
        known: u32,
    },
    /// Older than this version needs, and `store.migrate` is off.
    #[error(
        "the database {place} has schema version {found}, this Portico needs {known}: run `portico migrate`, \
         or remove `migrate: false` from `store`"
    )]
    Older {
        /// Host, port and database.
        place: Arc<str>,
        /// Its version; 0 is an empty database.
        found: u32,
        /// The version that is needed.
        known: u32,
    },
    /// What was there is gone.
    #[error(
        "the database {place} is empty, somebody has made it anew: restore a backup; or, to go on without what \
         it held, run `portico migrate` and restart all instances"
    )]
    Emptied {
        /// Host, port and database.
        place: Arc<str>,
    },
    /// A step of the schema failed; it was undone.
    #[error("the schema of {place} cannot be brought to version {known}")]
    Migration {
        /// Host, port and database.
        place: Arc<str>,
        /// The version that was aimed at.
        known: u32,
        /// What the driver said.
        source: Cause,
    },
    /// A row that nobody here has written.
    #[error("a row of {place} cannot be understood: {reason}")]
    Row {
        /// Host, port and database.
        place: Arc<str>,
        /// Which column, and what is wrong with it.
        reason: String,
    },
    /// Values that a constraint, a trigger or a limit of its own does not let in.
    #[error("PostgreSQL at {place} does not take what it is to keep")]
    Unfit {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// Anything else that it refuses.
    #[error("cannot use PostgreSQL at {place}")]
    Other {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// The writer has ended; only after a bug, or when the process ends.
    #[error("the writer to {0} has ended: restart Portico and report this")]
    Ended(Arc<str>),
}

/// What the driver said, without the details in which the server repeats rows.
#[derive(Debug, Clone)]
pub struct Cause(Arc<str>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl Cause {
    pub(super) fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(said) = error.as_db_error() {
            let (severity, message, code) = (said.severity(), said.message(), said.code().code());
            return Self::new(format!("{severity}: {message} (SQLSTATE {code})"));
        }
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(text)
    }
}

impl Trouble {
    pub(super) fn new(target: &Target, error: &tokio_postgres::Error) -> Self {
        let (place, user, source) = (target.place.clone(), target.user.clone(), Cause::of(error));
        let Some(code) = error.code() else {
            // The driver tells its kinds of errors apart by their texts only.
            return match error.to_string().as_str() {
                "authentication error" | "invalid configuration" => {
                    Self::Refused { place, user, source }
                }
                "error performing TLS handshake" => {
                    Self::Tls { place, mode: target.mode.as_str(), source }
                }
                "timeout waiting for server" => Self::Slow { place },
                _ if is_read_only(error) => Self::ReadOnly { place },
                _ if is_about_connection(error) => Self::Away { place, source },
                _ => Self::Other { place, source },
            };
        };
        match *code {
            // Also what has no entry in pg_hba.conf, which may ask for TLS.
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION if target.mode == Mode::Disable => {
                Self::Unencrypted { place, user, source }
            }
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Self::Refused { place, user, source }
            }
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase { place, source },
            SqlState::INSUFFICIENT_PRIVILEGE | SqlState::INVALID_SCHEMA_NAME => {
                Self::Forbidden { place, user, source }
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly { place },
            SqlState::DISK_FULL => Self::Full { place, source },
            SqlState::TOO_MANY_CONNECTIONS => Self::Crowded { place, source },
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => Self::Slow { place },
            // Stopping, starting, or thrown out.
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Self::Away { place, source },
            // What stands in between has lost the server, or never found it.
            ref code if code.code().starts_with("08") => Self::Away { place, source },
            ref code if UNFIT.iter().any(|class| code.code().starts_with(class)) => {
                Self::Unfit { place, source }
            }
            _ => Self::Other { place, source },
        }
    }

    /// Whether it may be well in a moment, by itself.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Crowded { .. } | Self::Slow { .. })
    }
}

/// Whether none of several hosts can be written to, as the driver found before it took one.
fn is_read_only(error: &tokio_postgres::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| {
        cause.kind() == std::io::ErrorKind::PermissionDenied && cause.raw_os_error().is_none()
    })
}

fn is_about_connection(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return true;
        }
        source = cause.source();
    }
    error.is_closed() || error.to_string() == "error connecting to server"
}
