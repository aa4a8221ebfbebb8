//! What operators see of the outbox, and do about it.

use async_trait::async_trait;

use super::Error;
use crate::model::{Undelivered, WantedDeliveries};

/// Why a delivery counts as told that nobody was told.
pub(super) const DISCARDED: &str = "removed by an operator";

/// The part of a [`Store`](super::Store) by which operators look into the outbox.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// What waits and what was given up, by number.
    async fn undelivered(&self, wanted: &WantedDeliveries) -> Result<Vec<Undelivered>, Error>;

    /// One of them.
    async fn find_undelivered(&self, id: i64) -> Result<Option<Undelivered>, Error>;

    /// Has it tried at this time, ms since 1970, also if it was given up; an event of a hook when its turn comes.
    /// Says whether it was done: not while somebody delivers it, nor where nothing was kept of it.
    async fn retry_delivery(&self, id: i64, at_ms: u64) -> Result<bool, Error>;

    /// Has it never told. The same does not come in again. Says whether it was done: not while somebody delivers it.
    async fn discard_delivery(&self, id: i64, at_ms: u64) -> Result<bool, Error>;
}
