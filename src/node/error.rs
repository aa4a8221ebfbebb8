//! Why a call to a node has no answer: what, to whom, and whose fault it looks like.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::connect::{TooSlow, Unresolved};
use super::target::Target;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Why there is no answer. `target` is scheme, host, port and path, nothing that is secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system's root certificates cannot be read; only from [`super::Client::new`].
    #[error("cannot read the root certificates of this system; SSL_CERT_FILE can name others")]
    Roots {
        /// What is wrong with which file.
        source: BoxError,
    },
    /// The query has characters or a length that no request line can carry.
    #[error("cannot ask {target}: the query does not fit into a request line")]
    Request {
        /// To whom.
        target: String,
    },
    /// The node's name has no address.
    #[error("cannot resolve the name of {target}")]
    Resolve {
        /// To whom.
        target: String,
        /// What the resolver said.
        source: BoxError,
    },
    /// The node's port refuses connections.
    #[error("cannot connect to {target}: refused")]
    Refused {
        /// To whom.
        target: String,
        /// What the system said.
        source: BoxError,
    },
    /// No connection for another reason: no route, lost on the way.
    #[error("cannot connect to {target}")]
    Unreachable {
        /// To whom.
        target: String,
        /// What the system said.
        source: BoxError,
    },
    /// There is no trusted TLS connection.
    #[error("cannot connect to {target}: {}", tls_reason(*certificate))]
    Tls {
        /// To whom.
        target: String,
        /// Whether it is the certificate that is wrong.
        certificate: bool,
        /// What is wrong with it.
        source: BoxError,
    },
    /// Not done in time.
    #[error("{stage} {target} in time")]
    Timeout {
        /// To whom.
        target: String,
        /// How far it got.
        stage: Stage,
    },
    /// The node hung up before its answer was complete.
    #[error("{target} closed the connection before the end of its answer")]
    Reset {
        /// To whom.
        target: String,
        /// What the connection said.
        source: BoxError,
    },
    /// What the node said is not HTTP.
    #[error("the answer of {target} is not valid HTTP")]
    Protocol {
        /// To whom.
        target: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// The answer is longer than it may be.
    #[error("the answer of {target} is longer than {max_bytes} bytes")]
    TooLarge {
        /// To whom.
        target: String,
        /// How long it may be.
        max_bytes: usize,
    },
    /// The body to send ended early or failed: the caller's fault, not the node's.
    #[error("cannot read what is to be sent to {target}")]
    Body {
        /// To whom.
        target: String,
        /// What reading it said.
        source: BoxError,
    },
    /// A load script answered something else than a load.
    #[error("{target} answers no load: {reason}")]
    Load {
        /// To whom.
        target: String,
        /// What it answered instead.
        reason: Cow<'static, str>,
    },
}

/// How far a call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No connection yet.
    Connect,
    /// Connected; the request is going out or the answer has not begun.
    Answer,
    /// The answer has begun.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection to",
            Self::Answer => "no answer from",
            Self::Body => "no whole answer from",
        })
    }
}

impl Error {
    /// Every [`Error::kind`], for metrics.
    pub const KINDS: [&str; 12] = [
        "setup",
        "request",
        "resolve",
        "refused",
        "unreachable",
        "tls",
        "timeout",
        "reset",
        "protocol",
        "too_large",
        "body",
        "load",
    ];

    /// The label in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Roots { .. } => "setup",
            Self::Request { .. } => "request",
            Self::Resolve { .. } => "resolve",
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Reset { .. } => "reset",
            Self::Protocol { .. } => "protocol",
            Self::TooLarge { .. } => "too_large",
            Self::Body { .. } => "body",
            Self::Load { .. } => "load",
        }
    }

    /// Whether it is certain that the node has seen nothing of the request, so that it may be made
    /// elsewhere whatever it does.
    pub fn before_request(&self) -> bool {
        match self {
            Self::Roots { .. }
            | Self::Request { .. }
            | Self::Resolve { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. } => true,
            Self::Timeout { stage, .. } => *stage == Stage::Connect,
            Self::Reset { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Body { .. }
            | Self::Load { .. } => false,
        }
    }

    /// From connecting.
    pub(super) fn connecting(target: &Target<'_>, source: BoxError) -> Self {
        let target = target.shown();
        if find::<Unresolved>(&*source).is_some() {
            return Self::Resolve { target, source };
        }
        if let Some(error) = find::<rustls::Error>(&*source) {
            let certificate = matches!(error, rustls::Error::InvalidCertificate(_));
            return Self::Tls { target, certificate, source };
        }
        match find::<io::Error>(&*source).map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused { target, source },
            Some(io::ErrorKind::TimedOut) => Self::Timeout { target, stage: Stage::Connect },
            None if find::<TooSlow>(&*source).is_some() => {
                Self::Timeout { target, stage: Stage::Connect }
            }
            _ => Self::Unreachable { target, source },
        }
    }

    /// From sending the request or reading the answer.
    pub(super) fn talking(target: &Target<'_>, error: hyper::Error) -> Self {
        let target = target.shown();
        let (is_user, is_parse) = (error.is_user(), error.is_parse());
        let source: BoxError = error.into();
        if is_user {
            return Self::Body { target, source };
        }
        // A chunk or a TLS record that makes no sense comes as an IO error of these kinds.
        let nonsense = matches!(
            find::<io::Error>(&*source).map(io::Error::kind),
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        );
        if nonsense || is_parse {
            Self::Protocol { target, source }
        } else {
            Self::Reset { target, source }
        }
    }
}

fn tls_reason(certificate: bool) -> &'static str {
    if certificate { "its certificate is not accepted" } else { "the TLS handshake failed" }
}

/// The first cause of a type. `io::Error` as a wrapper hides what it wraps from `source`.
fn find<'a, T: StdError + 'static>(mut error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    loop {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        error = match wrapped {
            Some(wrapped) => wrapped,
            None => error.source()?,
        };
    }
}
