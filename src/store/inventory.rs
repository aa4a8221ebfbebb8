//! The inventory in the store: what was last applied, for all who share it.

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::inventory_row::objects;
use super::seal::Seal;
use super::{Error, Store};
use crate::model::{AssetKind, Change, Inventory, Look, Secret};

/// How many digests are remembered.
pub(super) const REMEMBERED: i64 = 1000;

/// An inventory that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Grows; the highest is in force.
    pub revision: u64,
    /// Of what the file says.
    pub digest: String,
    /// Who did.
    pub by: String,
    /// When, by the store's clock, ms since 1970.
    pub at_ms: u64,
}

/// How an inventory is applied.
#[derive(Debug, Clone, Copy)]
pub struct Applying<'a> {
    /// Of what the file says.
    pub digest: &'a str,
    /// Who does.
    pub by: &'a str,
    /// The revision that it takes the place of, 0 being none at all.
    pub base: u64,
    /// What an operator has changed, where one has.
    pub change: Option<&'a Change>,
}

/// The inventory in force.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedInventory {
    /// When it was applied.
    pub applied: Applied,
    /// The looks that are files are lost ones: their content is among the assets.
    pub inventory: Inventory,
}

/// What of an inventory is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What came through the API.
    Managed,
}

/// The part of a [`Store`] that keeps the inventory.
#[async_trait]
pub trait Inventories: Send + Sync {
    /// What is in force.
    async fn inventory_in_force(&self) -> Result<Option<Applied>, Error>;

    /// When this digest was last applied, as far as that is remembered.
    async fn last_applied(&self, digest: &str) -> Result<Option<Applied>, Error>;

    /// The inventory in force, all of this part of it or none.
    async fn load_inventory(&self, part: Part) -> Result<Option<SavedInventory>, Error>;

    /// Puts an inventory in force, and the change that it is into the trail. Nothing of both where another one
    /// than the one that it follows is in force by then.
    async fn apply_inventory(
        &self,
        inventory: &Inventory,
        applying: Applying<'_>,
    ) -> Result<Option<Applied>, Error>;

    /// Changes soon after somebody has put another inventory in force, and whenever that may have been
    /// missed. `None` where nobody else can. Costs a connection for as long as it is kept.
    fn inventory_changes(&self) -> Option<watch::Receiver<u64>>;
}

/// How a store with this `store.key` marks secrets.
pub fn marks(key: Option<&Secret>) -> impl Fn(&Secret) -> String {
    let seal = Seal::new(key, None);
    move |secret| seal.mark_of(secret)
}

/// Tells inventories apart by what the file says. Secrets take part by their marks.
pub fn digest_of(inventory: &Inventory, store: &dyn Store) -> String {
    digest_with(inventory, |secret| store.mark_of(secret))
}

/// The same without a store at hand, which needs [`marks`].
pub fn digest_with(inventory: &Inventory, mark_of: impl Fn(&Secret) -> String) -> String {
    let mut marked = inventory.of_file();
    let mark = |secret: &mut Secret| *secret = Secret::new(mark_of(secret));
    marked.nodes.iter_mut().for_each(|node| mark(&mut node.secret));
    for tenant in &mut marked.tenants {
        tenant.stats_token.iter_mut().for_each(mark);
        for secret in &mut tenant.secrets {
            mark(&mut secret.secret);
            secret.secret2.iter_mut().for_each(mark);
        }
        for kind in AssetKind::ALL {
            // Where a file is on each machine does not matter.
            if let Some((name, digest)) = tenant.branding.get(kind).and_then(Look::file) {
                let same = format!("{digest} {name}");
                tenant.branding.set(kind, Look::Url(same));
            }
        }
    }
    let mut digest = Sha256::new();
    for object in objects(&marked, &Seal::default()) {
        for part in [object.kind, &object.name, &object.spec] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    hex::encode(digest.finalize())
}
