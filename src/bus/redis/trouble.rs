//! What can go wrong with Redis, with the setting it is about and what the operator can do.

use std::fmt;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::target::Target;

/// Why Redis could not be asked. Never holds the password, nor what was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The URL cannot be understood.
    #[error("redis.url: {0}")]
    Url(String),
    /// Nobody there, or not yet.
    #[error(
        "Redis at {place} cannot be reached: start it, or correct host and port in `redis.url`"
    )]
    Away {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// Somebody is there and hangs up.
    #[error(
        "Redis at {place} has closed the connection: if it has been restarted it will be back; if its port \
         speaks TLS, write rediss:// in `redis.url`"
    )]
    Closed {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// No answer in time.
    #[error("Redis at {place} did not answer in time: look at its load, or correct `redis.url`")]
    Slow {
        /// Host, port and database.
        place: Arc<str>,
    },
    /// No greeting in time where TLS is spoken: so does a server that waits for a line of plain text.
    #[error(
        "Redis at {place} says nothing in TLS: write redis:// in `redis.url` if its port speaks none, else \
         look at its load"
    )]
    Silent {
        /// Host, port and database.
        place: Arc<str>,
    },
    /// It starts, or a script of somebody's keeps it.
    #[error("Redis at {place} is busy: it loads its data or runs somebody's script")]
    Busy {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// Wrong user or password, or none.
    #[error("Redis at {place} does not let us in: correct user and password in `redis.url`")]
    Refused {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// There is no such database.
    #[error(
        "Redis at {place} does not have the database of that number: correct the number at the end of \
         `redis.url`, or raise the server's `databases`"
    )]
    NoDatabase {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// No TLS, or not with a certificate that we trust.
    #[error(
        "no TLS with Redis at {place}: write redis:// in `redis.url` if its port does not speak TLS, else \
         correct the server's certificate, or name its authority's in SSL_CERT_FILE"
    )]
    Tls {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// A replica.
    #[error("Redis at {place} is a read-only replica: name the primary in `redis.url`")]
    ReadOnly {
        /// Host, port and database.
        place: Arc<str>,
    },
    /// A server of an unsupported version.
    #[error(
        "Redis at {place} is version {found}, and the oldest that Portico works with is {}.{}: upgrade the \
         server, or name another one in `redis.url`",
        super::server::OLDEST.0,
        super::server::OLDEST.1
    )]
    TooOld {
        /// Host, port and database.
        place: Arc<str>,
        /// Its version.
        found: String,
    },
    /// Part of a sharded cluster.
    #[error(
        "Redis at {place} runs in cluster mode, which Portico cannot use: name a single server in `redis.url`"
    )]
    Cluster {
        /// Host, port and database.
        place: Arc<str>,
    },
    /// Not enough rights.
    #[error(
        "the user of `redis.url` may not do all that Portico needs in Redis at {place}: give it all commands \
         on the keys portico:*"
    )]
    Forbidden {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// No space left.
    #[error("Redis at {place} has no memory left: raise its `maxmemory`")]
    Full {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
    /// Anything else that it refuses.
    #[error("cannot use Redis at {place}: is another kind of server named in `redis.url`?")]
    Other {
        /// Host, port and database.
        place: Arc<str>,
        /// What the driver said.
        source: Cause,
    },
}

/// What the driver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(Arc<str>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl Trouble {
    pub(super) fn new(target: &Target, error: &RedisError) -> Self {
        let (place, source) = (target.place.clone(), Cause(error.to_string().into()));
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
                Self::Refused { place, source }
            }
            (_, Some("OOM")) => Self::Full { place, source },
            (_, Some("MISCONF")) => Self::Other { place, source },
            (_, Some("BUSY" | "MASTERDOWN" | "TRYAGAIN"))
            | (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => Self::Busy { place, source },
            (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => Self::ReadOnly { place },
            (ErrorKind::Server(ServerErrorKind::NoPerm), _) => Self::Forbidden { place, source },
            (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::CrossSlot), _) => {
                Self::Cluster { place }
            }
            // The driver tells this one apart by its text only.
            (ErrorKind::Server(ServerErrorKind::ResponseError), _)
                if source.0.contains("refused to switch database") =>
            {
                Self::NoDatabase { place, source }
            }
            (ErrorKind::Io, _) if error.is_timeout() => Self::Slow { place },
            (ErrorKind::Io, _) if target.is_tls && is_about_tls(&source.0) => {
                Self::Tls { place, source }
            }
            (ErrorKind::Io, _) if is_closed(&source.0) => {
                if target.is_tls {
                    Self::Tls { place, source }
                } else {
                    Self::Closed { place, source }
                }
            }
            (ErrorKind::Io, _) => Self::Away { place, source },
            (ErrorKind::InvalidClientConfig, _) if target.is_tls => Self::Tls { place, source },
            _ => Self::Other { place, source },
        }
    }

    /// Whether it may be well in a moment, by itself. Else somebody has to do something.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Away { .. }
                | Self::Closed { .. }
                | Self::Slow { .. }
                | Self::Silent { .. }
                | Self::Busy { .. }
        )
    }

    /// Whether an operator who knows of the one need not be told of the other: a server that goes closes
    /// its connections, then is not there, then loads its data.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let is_same = std::mem::discriminant(self) == std::mem::discriminant(other);
        is_same || (self.is_passing() && other.is_passing())
    }
}

fn is_about_tls(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["certificate", "corrupt message", "invalid message", "handshake", "alert", "tls"]
        .iter()
        .any(|sign| said.contains(sign))
}

fn is_closed(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["broken pipe", "reset by peer", "eof", "terminated", "closed", "dropped"]
        .iter()
        .any(|sign| said.contains(sign))
}
