//! How many have been in running meetings.

use async_trait::async_trait;

use super::Error;
use crate::model::MeetingKey;

/// A running meeting in which there were never so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// Which room.
    pub key: MeetingKey,
    /// Which of its meetings.
    pub internal_id: String,
    /// Attendees at its fullest.
    pub peak: u32,
}

/// The part of a [`Store`](super::Store) that keeps how many have been in running meetings.
#[async_trait]
pub trait Peaks: Send + Sync {
    /// Keeps how many have been in these meetings, unless more are known. Returns the internal ids of those that are
    /// kept: one that is not in the store, or being written to, is to be told again.
    async fn put_peaks(&self, grown: &[Grown]) -> Result<Vec<String>, Error>;
}
