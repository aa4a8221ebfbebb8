//! What tools have ordered, and come back for at whichever instance.

use async_trait::async_trait;

use super::Error;
use crate::model::Command;

/// Commands that are kept.
pub(super) const MAX_COMMANDS: i64 = 100;
/// How long after its deadline somebody may ask what became of one.
pub(super) const COMMANDS_KEPT_MS: i64 = 60_000;

/// The part of a [`Store`](super::Store) that keeps commands.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Keeps a new command, and tells its number. What is done or past its deadline gives way; nothing if there is
    /// none of these, and no room.
    async fn add_command(&self, command: &Command) -> Result<Option<u64>, Error>;

    /// Notes how far a command has come. What became of it is told once.
    async fn note_command(&self, command: &Command) -> Result<(), Error>;

    /// The command of this id.
    async fn find_command(&self, id: &str) -> Result<Option<Command>, Error>;

    /// All of them, in the order of their numbers.
    async fn commands(&self) -> Result<Vec<Command>, Error>;
}
