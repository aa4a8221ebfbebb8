//! Counters that outlive whoever counts, and are the sum over all who do.

use async_trait::async_trait;

use super::Error;
use crate::model::{Secret, Slug, SubId};

/// One counter and its value, or what is to be added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Which one.
    pub key: CountKey,
    /// Its value.
    pub value: u64,
}

/// Whose counter, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountKey {
    /// Whose.
    pub tenant: Slug,
    /// Of which of its secrets.
    pub sub: SubId,
    /// What is counted.
    pub name: String,
}

/// The part of a [`Store`](super::Store) that keeps counters.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Adds to counters, all or none; one that is not there begins at 0.
    async fn add_counts(&self, more: &[Count]) -> Result<(), Error>;

    /// All counters, in no order.
    async fn counts(&self) -> Result<Vec<Count>, Error>;

    /// Tells a secret from others by the same key of the store, and tells nothing else of it.
    fn mark_of(&self, secret: &Secret) -> String;
}

/// What a column holds.
pub(super) fn to_column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
