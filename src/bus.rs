//! What instances that share a store tell each other, and who of them is alive.
//!
//! It is one log of events in one order for all. Nothing in it is needed after a while, and all of it can be
//! rebuilt from the store and the nodes. What the events say is the business of [`fleet`](crate::fleet).

mod duties;
mod living;
mod metrics;
mod redis;
#[cfg(test)]
#[path = "../tests/it/harness/redis.rs"]
pub(crate) mod test_redis;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

pub use duties::Duties;
pub use living::Living;
pub use metrics::Metrics;
pub use redis::{Bus, Membership, Settings, Trouble, check, open};

use crate::model::InstanceId;

/// A place in the log. Later events have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The log's own time, ms since 1970.
    pub ms: u64,
    /// Counts the events since the log began.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it stands.
    pub at: Position,
    /// Who has told it.
    pub author: InstanceId,
    /// What it says.
    pub payload: Bytes,
}

/// What comes from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// In touch, for the first time or again: every event after this place follows. What happened before
    /// is to be read from the store.
    Joined(Position),
    /// Events, ours among them, in order, each once.
    Events(Vec<Event>),
    /// Out of touch: everybody is alone until the next [`News::Joined`].
    Away,
}

/// The log cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the instances' bus cannot be reached")]
pub struct Away;

/// What became of an event that was to come directly after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// They stand there; this is the last one's place.
    At(Position),
    /// Nothing was told, for others came before: these, in order. They come by the way of [`News`] as well.
    Behind(Vec<Event>),
}

/// Telling others.
#[async_trait]
pub trait Log: Send + Sync {
    /// Tells events, in this order, and waits until they stand in the log.
    ///
    /// # Errors
    /// When it cannot be reached, or does not answer soon. They may stand there nevertheless.
    async fn append(&self, payloads: Vec<Bytes>) -> Result<(), Away>;

    /// Tells events only if `seen` is the last place in the log.
    ///
    /// # Errors
    /// As [`Log::append`].
    async fn append_if(&self, seen: Position, payloads: Vec<Bytes>) -> Result<Appended, Away>;
}
