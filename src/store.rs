//! What must survive a crash: running meetings, and what is known of nodes beyond the configuration
//! file.
//!
//! One trait and, behind it, [`Embedded`] (`SQLite` in `data_dir`) and [`Postgres`]. Everything is read
//! once, at start; from then on the store is only written to. A write that returned `Ok` is on the disk.
//! SQL stays in this room. Rows that cannot be understood are left out and counted, never a reason
//! not to start: a door that opens without one meeting is better than no door.

mod arbiter;
mod callbacks;
mod chronicle;
mod commands;
mod counters;
mod deliveries;
mod embedded;
mod error;
mod health;
mod history;
mod inventory;
mod inventory_row;
mod ledger;
mod node_row;
mod op;
mod peaks;
mod placement_row;
mod postgres;
mod seal;
mod statistics;

#[cfg(test)]
mod alike;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_callbacks;
#[cfg(test)]
mod contract_deliveries;
#[cfg(test)]
#[path = "../tests/it/harness/postgres.rs"]
#[expect(dead_code, reason = "integration tests do more with it")]
mod test_postgres;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use arbiter::{Adding, Arbiter, Claim, Claiming, LEASE, Saving, Standing};
pub use callbacks::{
    CALLBACKS_KEPT_MS, Callbacks, Holder, MAX_DEAD, MAX_PENDING, MAX_PENDING_BYTES, Outbox, Places,
    Put, Taking,
};
pub use chronicle::{Behind, ChronicleReader, Chronicles};
pub use commands::Commands;
pub use counters::{Count, CountKey, Counters};
pub use deliveries::Deliveries;
pub use embedded::{Embedded, EmbeddedChronicle};
pub use error::Error;
pub use health::Health;
pub use history::{Aged, Forgotten, Histories, Learned, Mark, NoMark, Sought};
pub use inventory::{
    Applied, Applying, Inventories, Part, SavedInventory, digest_of, digest_with, marks,
};
pub use ledger::Ledger;
pub use peaks::{Grown, Peaks};
pub use postgres::{Postgres, Trouble};
pub use statistics::{Begun, Of, Per, Running, Statistics, Usage, Wanted};

use crate::model::{
    AdminState, Asset, AssetKey, Hook, Meeting, MeetingKey, Node, NodeName, Secret, Slug,
};

/// Where Portico keeps what must survive.
///
/// Writes are durable when they return `Ok` and take effect in the order in which they were begun.
///
/// # Cancel safety
///
/// A write whose future is dropped may or may not happen; one that was begun later still comes
/// after it.
#[async_trait]
pub trait Store:
    Arbiter
    + Callbacks
    + Chronicles
    + Commands
    + Counters
    + Deliveries
    + Histories
    + Inventories
    + Ledger
    + Peaks
    + Statistics
    + Send
    + Sync
    + 'static
{
    /// Whether a write succeeds at this moment. It changes nothing.
    async fn probe(&self) -> Result<(), Error>;

    /// Everything that is kept. For the start only: it takes as long as there is data.
    async fn load(&self) -> Result<Saved, Error>;

    /// The meetings of these tenants that are called so, by their front end or by their node, each once. For
    /// the rare miss.
    async fn find_meetings(&self, wanted: &[(Slug, String)]) -> Result<Vec<Meeting>, Error>;

    /// Keeps a meeting, in place of any other with the same key.
    async fn put_meeting(&self, meeting: &Meeting) -> Result<(), Error>;

    /// Forgets a meeting if it still has this internal id, so that the late end of a meeting does
    /// not take its successor of the same name with it. Of all who remove one meeting at the same time, one is
    /// told that it did.
    async fn remove_meeting(&self, key: &MeetingKey, internal_id: &str) -> Result<bool, Error>;

    /// Keeps what is known of a node beyond the file, in place of what was kept before.
    async fn put_node(&self, node: &SavedNode) -> Result<(), Error>;

    /// Keeps what a node is; what is wanted of it stays as it is known, unless the node was or is retired.
    async fn describe_node(&self, node: &SavedNode) -> Result<(), Error>;

    /// What is wanted of nodes, as far as it is known.
    async fn node_states(&self) -> Result<HashMap<NodeName, AdminState>, Error>;

    /// Forgets a node, unless a meeting is kept that runs there.
    async fn remove_node(&self, name: &NodeName) -> Result<(), Error>;

    /// Which files of tenants' looks are kept.
    async fn list_assets(&self) -> Result<Vec<SavedAsset>, Error>;

    /// The one of these files that was kept last.
    async fn find_asset(
        &self,
        key: &AssetKey,
        wanted: WantedAsset<'_>,
    ) -> Result<Option<Arc<Asset>>, Error>;

    /// Keeps a file of a tenant's look, beside others of other content.
    async fn put_asset(&self, key: &AssetKey, asset: &Arc<Asset>) -> Result<(), Error>;

    /// Forgets one, unless it was kept within `age`: whoever keeps one is about to use it.
    async fn remove_asset(&self, asset: &SavedAsset, age: Duration) -> Result<(), Error>;

    /// Keeps a webhook.
    async fn put_hook(&self, hook: &Hook) -> Result<(), Error>;

    /// Forgets a webhook.
    async fn remove_hook(&self, id: u64) -> Result<(), Error>;
}

/// What to do with a store whose schema is older than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// Bring it to ours.
    Migrate,
    /// Leave it alone, and do without the store.
    Refuse,
}

/// How a store is to be opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// What to do with an older schema.
    pub older: Older,
    /// What secrets are sealed with; none: they stand there in clear.
    pub key: Option<Secret>,
    /// What opens secrets that were sealed before there was this key.
    pub former_key: Option<Secret>,
    /// Our own clock, ms since 1970, which a server's is compared with; none: it is not.
    pub clock: Option<fn() -> u64>,
    /// Where operators see whether it can be used.
    pub health: Health,
}

impl From<Older> for Opening {
    fn from(older: Older) -> Self {
        Self { older, key: None, former_key: None, clock: None, health: Health::default() }
    }
}

/// How far the schema of a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersion {
    /// Of the store; 0 is an empty one.
    pub found: u32,
    /// The last that we know.
    pub known: u32,
}

/// Everything that a store keeps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// Running meetings, in no particular order.
    pub meetings: Vec<Meeting>,
    /// Nodes of which more is known than the file says.
    pub nodes: Vec<SavedNode>,
    /// Webhooks, by number.
    pub hooks: Vec<Hook>,
    /// Those of them whose description was sealed with another `store.key`.
    pub sealed: Vec<NodeName>,
    /// Rows that could not be understood, or not in all, and are left out; they stay in the store.
    pub skipped: usize,
    /// What is wrong with the first of these, without what stands there.
    pub first_skipped: Option<String>,
}

/// A file of a tenant's look, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedAsset {
    /// Whose file.
    pub key: AssetKey,
    /// Where it was read.
    pub path: PathBuf,
    /// SHA-256 of its content, in hex.
    pub digest: String,
}

/// Which of the files of one part of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedAsset<'a> {
    /// The one with this digest.
    Digest(&'a str),
    /// The last one that was read there.
    Path(&'a Path),
}

impl WantedAsset<'_> {
    /// Digest and path, as far as they are told.
    pub(in crate::store) fn words(self) -> [Option<String>; 2] {
        match self {
            Self::Digest(digest) => [Some(digest.to_owned()), None],
            Self::Path(path) => [None, Some(path.to_string_lossy().into_owned())],
        }
    }
}

/// What is known of a node beyond the configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedNode {
    /// Which node.
    pub name: NodeName,
    /// What an operator wants of it.
    pub state: AdminState,
    /// All of it as last seen in the file: the line may be deleted while meetings run there.
    pub spec: Option<Node>,
}
