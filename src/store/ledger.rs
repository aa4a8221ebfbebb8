//! Tokens of the operators' API, and what operators have changed.

use std::collections::HashSet;

use async_trait::async_trait;

use super::Error;
use crate::model::{Change, Token};

/// Changes beyond the last of these are forgotten.
pub(super) const KEPT: i64 = 100_000;

/// The part of a [`Store`](super::Store) that keeps who may, and who has.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Remembers a token; what is known of it stays.
    async fn add_token(&self, token: &Token) -> Result<(), Error>;

    /// All tokens that were seen or revoked, by their ids.
    async fn tokens(&self) -> Result<Vec<Token>, Error>;

    /// The ids of those that were revoked.
    async fn revoked_tokens(&self) -> Result<HashSet<String>, Error>;

    /// Makes a token useless, also one that was never seen.
    async fn revoke_token(&self, id: &str, at_ms: u64) -> Result<(), Error>;

    /// Forgets tokens that were good until before this time, in s since 1970. Those without an end stay.
    async fn forget_tokens(&self, before_s: u64) -> Result<(), Error>;

    /// Remembers a change.
    async fn add_change(&self, change: &Change) -> Result<(), Error>;

    /// The last `limit` changes with numbers below `before`, the latest first.
    async fn changes(&self, before: Option<u64>, limit: u32) -> Result<Vec<(u64, Change)>, Error>;
}
