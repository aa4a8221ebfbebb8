//! The inventory of the file and that of the store: which one is in force, and what others put in force.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_rfc3339_seconds;
use log::{error, info, warn};
use pingora::server::ShutdownWatch;
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use super::branding;
use super::serve::save_nodes;
use crate::chain::Chain;
use crate::config::{Settings, StoreKind};
use crate::fleet::Fleet;
use crate::model::{Inventory, Look};
use crate::store::{self, Applied, Error, SavedInventory, Store};

/// The store is asked this often though it tells of changes by itself.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Chooses between the file and the store at a start, and puts what is chosen in the settings. Returns its
/// revision.
///
/// A file that was never applied is. One that was, and that another one has taken the place of since, is
/// older than what the other instances serve. Where there are no others the file always counts.
///
/// # Errors
/// When the store fails.
pub(super) async fn choose(settings: &mut Settings, store: &dyn Store) -> Result<u64, Error> {
    let digest = store::digest_of(&settings.inventory, store);
    let in_force = store.inventory_in_force().await?;
    if let Some(same) = in_force.filter(|applied| applied.digest == digest) {
        branding::save(settings, store).await;
        return Ok(same.revision);
    }
    let is_shared = settings.store.kind != StoreKind::Embedded;
    if is_shared && store.last_applied(&digest).await?.is_some() {
        match store.load_inventory().await {
            Ok(Some(saved)) => {
                let Applied { revision, by, at_ms, .. } = saved.applied.clone();
                warn!(
                    "this file is older than what is in force (applied by {by} at {}): update it, or \
                     send SIGHUP to apply it",
                    shown(at_ms)
                );
                settings.inventory = resolved(saved, store).await?;
                return Ok(revision);
            }
            Ok(None) => {}
            Err(unreadable) => {
                error!(
                    "what is in force cannot be read, the file is applied: {}",
                    Chain(&unreadable)
                );
            }
        }
    }
    branding::save(settings, store).await;
    let by = name_of(settings);
    let applied = store.apply_inventory(&settings.inventory, &digest, &by).await?;
    info!(
        "the clusters, nodes and tenants of the file are in force as revision {}",
        applied.revision
    );
    Ok(applied.revision)
}

/// How operators know this instance.
fn name_of(settings: &Settings) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "unknown" } else { host.trim() };
    format!("{host} ({})", settings.server.admin)
}

fn shown(at_ms: u64) -> impl std::fmt::Display {
    // Year 9999 is the last that can be written so.
    let at_ms = at_ms.min(253_402_300_799_000);
    format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(at_ms))
}

/// With the files of tenants' looks, which come from the store as well.
async fn resolved(saved: SavedInventory, store: &dyn Store) -> Result<Inventory, Error> {
    let SavedInventory { mut inventory, files, .. } = saved;
    for file in files {
        let found = store.find_asset(&file.key).await?;
        let tenant = inventory.tenants.iter_mut().find(|tenant| tenant.slug == file.key.tenant);
        match (found.filter(|asset| asset.digest() == file.digest), tenant) {
            (Some(asset), Some(tenant)) => tenant.branding.set(file.key.kind, Look::File(asset)),
            // Whoever applies another inventory meanwhile tells us of that one, too.
            _ => warn!(
                "tenant {}: there is no copy of {}; it goes without",
                file.key.tenant,
                file.path.display()
            ),
        }
    }
    Ok(inventory)
}

/// Puts inventories in force while we serve, one at a time.
pub(super) struct Keeper {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    name: String,
    /// The revision in force here.
    revision: Mutex<u64>,
}

impl Keeper {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        store: Arc<dyn Store>,
        settings: &Settings,
        revision: u64,
    ) -> Self {
        Self { fleet, store, name: name_of(settings), revision: Mutex::new(revision) }
    }

    /// Puts what a file says in force, here and everywhere.
    pub(super) async fn apply(&self, settings: &Settings) {
        let mut revision = self.revision.lock().await;
        self.put_in_force(settings.inventory.clone()).await;
        branding::save(settings, self.store.as_ref()).await;
        match self.tell(&settings.inventory).await {
            Ok(applied) => *revision = applied,
            Err(trouble) => error!(
                "the file is in force here but not saved, other instances do not know it: send SIGHUP \
                 again when the store is back: {}",
                Chain(&trouble)
            ),
        }
    }

    async fn tell(&self, inventory: &Inventory) -> Result<u64, Error> {
        let digest = store::digest_of(inventory, self.store.as_ref());
        if let Some(same) = self.store.inventory_in_force().await?
            && same.digest == digest
        {
            return Ok(same.revision);
        }
        let applied = self.store.apply_inventory(inventory, &digest, &self.name).await?;
        Ok(applied.revision)
    }

    async fn put_in_force(&self, inventory: Inventory) {
        forget_deleted(&self.fleet, self.store.as_ref(), &inventory).await;
        self.fleet.apply(inventory);
        if let Err(trouble) = save_nodes(&self.fleet, self.store.as_ref()).await {
            error!("the nodes are in force but not saved: {}", Chain(&trouble));
        }
    }

    /// Takes over what others put in force, until `stop` turns true.
    pub(super) async fn follow(&self, mut stop: ShutdownWatch) {
        let Some(mut changes) = self.store.inventory_changes() else { return };
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = changed(&mut changes) => {}
                () = sleep(LOOK_EVERY) => {}
            }
            while let Err(trouble) = self.catch_up().await {
                warn!("what is in force elsewhere cannot be read: {}", Chain(&trouble));
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    // Soon, but the store may be away for long.
                    () = sleep(AGAIN_AFTER * 5) => {}
                }
            }
        }
    }

    async fn catch_up(&self) -> Result<(), Error> {
        let mut revision = self.revision.lock().await;
        let in_force = self.store.inventory_in_force().await?;
        if in_force.is_none_or(|applied| applied.revision <= *revision) {
            return Ok(());
        }
        let Some(saved) = self.store.load_inventory().await? else { return Ok(()) };
        let Applied { revision: next, by, .. } = saved.applied.clone();
        self.put_in_force(resolved(saved, self.store.as_ref()).await?).await;
        *revision = next;
        info!("clusters, nodes and tenants are in force as {by} has applied them, revision {next}");
        Ok(())
    }
}

async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        // Nobody listens any more; the clock still does.
        std::future::pending::<()>().await;
    }
}

/// Nodes that go at once; those with meetings are retired and go when they are empty.
async fn forget_deleted(fleet: &Fleet, store: &dyn Store, next: &Inventory) {
    let kept: HashSet<_> = next.nodes.iter().map(|node| &node.name).collect();
    for node in fleet.snapshot().nodes() {
        if kept.contains(node.name()) {
            continue;
        }
        if fleet.directory.runs_on(node.name()) {
            info!("node {} is retired: it stays until its meetings end", node.name());
        } else if let Err(trouble) = store.remove_node(node.name()).await {
            warn!("node {} stays in the store: {}", node.name(), Chain(&trouble));
        }
    }
}
