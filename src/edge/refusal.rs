//! The one place that turns what went wrong into BigBlueButton's words, and says whose fault it was.

use std::borrow::Cow;

use super::ask::Trouble;
use crate::bbb::{Call, Failure};
use crate::fleet::NoNode;

/// Whose fault a failed request was; a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client asked for something that cannot be.
    Client,
    /// A node, or the want of one.
    Node,
    /// Us.
    Portico,
}

impl Fault {
    /// The label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Portico => "portico",
        }
    }
}

/// A request that gets no more than a failure.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) fault: Fault,
}

impl Refusal {
    /// The client's fault.
    pub(super) fn client(failure: Failure) -> Self {
        Self { failure, fault: Fault::Client }
    }

    /// A node's fault.
    pub(super) fn node(failure: Failure) -> Self {
        Self { failure, fault: Fault::Node }
    }

    /// Our own.
    pub(super) fn portico(failure: Failure) -> Self {
        Self { failure, fault: Fault::Portico }
    }
}

/// The front end gets no details of nodes; the log has them.
impl From<Trouble> for Refusal {
    fn from(logged_where_it_happened: Trouble) -> Self {
        if !logged_where_it_happened.is_nodes_fault() {
            return Self::client(Failure::REQUEST_NOT_RECOGNIZED);
        }
        Self::node(Failure::new(
            "internalError",
            "The server of this meeting did not answer as it should. Please try again.",
        ))
    }
}

/// A meeting whose node cannot be reached.
pub(super) fn meeting_unavailable() -> Failure {
    Failure::new(
        "serverUnavailable",
        "The server that runs this meeting cannot be reached at the moment. Please try again.",
    )
}

/// Nodes that may have a recording cannot be reached.
pub(super) fn recordings_unavailable() -> Failure {
    Failure::new(
        "serverUnavailable",
        "A server that may have these recordings cannot be reached at the moment. Please try again.",
    )
}

/// No room for what the nodes list.
pub(super) fn list_too_long() -> Failure {
    Failure::new(
        "serverUnavailable",
        "This server has no memory left for a list of this length at the moment. \
         Please ask for less, or try again.",
    )
}

/// Nobody can tell whether another instance creates this meeting at the moment.
pub(super) fn store_unavailable() -> Failure {
    Failure::new(
        "serverUnavailable",
        "New meetings cannot be created at the moment, running ones go on. Please try again.",
    )
}

/// No node can take a new meeting.
pub(super) fn no_node(why: &NoNode) -> Failure {
    let message = format!("No server is available for a new meeting ({why}).");
    Failure { key: Cow::Borrowed("serverUnavailable"), message: Cow::Owned(message) }
}

/// A call of the API that is not served.
pub(super) fn unsupported(call: Call) -> Failure {
    let message = format!("This server does not support {}.", call.as_str());
    Failure { key: Failure::UNSUPPORTED_REQUEST.key, message: Cow::Owned(message) }
}

/// A body beyond `limits.max_body`.
pub(super) fn too_large(max: usize) -> Failure {
    let max = bytesize::ByteSize::b(max as u64).display().iec();
    let message = format!("The request body is larger than the {max} that this server accepts.");
    Failure { key: Cow::Borrowed("requestTooLarge"), message: Cow::Owned(message) }
}

/// A body that did not come in time.
pub(super) const TOO_SLOW: Failure =
    Failure::new("requestTimeout", "The request body did not arrive in time.");

/// A head beyond `limits.max_header`.
pub(super) const HEADER_TOO_LARGE: Failure = Failure::new(
    "requestTooLarge",
    "The request line and headers are larger than this server accepts.",
);

/// More requests in a second than `limits.requests_per_second`.
pub(super) const TOO_MANY_REQUESTS: Failure =
    Failure::new("tooManyRequests", "Too many requests from this address. Please try again.");
