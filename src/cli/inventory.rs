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
use super::seen::{Seen, print_of};
use super::serve::save_nodes;
use crate::chain::Chain;
use crate::config::{Settings, StoreKind};
use crate::fleet::Fleet;
use crate::model::{Inventory, Look};
use crate::store::{self, Applied, Error, SavedInventory, Store};

/// The store is asked this often though it tells of changes by itself.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Chooses between the file and the store at a start, and puts what is chosen in the settings. Returns what is
/// in force.
///
/// A file that was never applied is. One that was, or that has not changed since it was read here, and that
/// another one has taken the place of since, is older than what the other instances serve. Where there are no
/// others the file always counts.
///
/// # Errors
/// When the store fails, or when it is shared and `store.key` does not open what is in force.
pub(super) async fn choose(
    settings: &mut Settings,
    seen: &mut Seen,
    store: &dyn Store,
) -> anyhow::Result<Applied> {
    let digest = store::digest_of(&settings.inventory, store);
    let file = print_of(settings, store);
    let in_force = store.inventory_in_force().await?;
    if let Some(same) = in_force.filter(|applied| applied.digest == digest) {
        branding::save(settings, store).await;
        seen.put(file);
        return Ok(same);
    }
    if is_shared(settings)
        && let Some(saved) = load_or_refuse(store).await?
        && (seen.is(&file) || store.last_applied(&digest).await?.is_some())
    {
        let applied = saved.applied.clone();
        let inventory = resolved(saved, store).await?;
        // Another version makes another digest of the same.
        if store::digest_of(&inventory, store) == digest {
            branding::save(settings, store).await;
        } else {
            warn_of(&applied);
            settings.inventory = inventory;
        }
        seen.put(file);
        return Ok(applied);
    }
    branding::save(settings, store).await;
    let by = name_of(settings);
    let applied = store.apply_inventory(&settings.inventory, &digest, &by).await?;
    info!(
        "the clusters, nodes and tenants of the file are in force as revision {}",
        applied.revision
    );
    seen.put(file);
    Ok(applied)
}

fn is_shared(settings: &Settings) -> bool {
    settings.store.kind != StoreKind::Embedded
}

/// What others serve. Applied over it, a file sealed with another key would be readable to none of them.
async fn load_or_refuse(store: &dyn Store) -> anyhow::Result<Option<SavedInventory>> {
    match store.load_inventory().await {
        Err(unreadable) if !unreadable.is_worth_waiting_for() => Err(anyhow::anyhow!(
            "what is in force in the store cannot be read: {}; all instances need the same `store.key`: correct \
             it, or, to begin anew with this file, stop all instances and \
             `DELETE FROM inventory; DELETE FROM inventory_revisions;`",
            Chain(&unreadable)
        )),
        loaded => Ok(loaded?),
    }
}

fn warn_of(Applied { by, at_ms, .. }: &Applied) {
    warn!(
        "this file is older than what is in force (applied by {by} at {}): bring the newer one here; or, to \
         apply this one all the same, change anything in it and send SIGHUP",
        shown(*at_ms)
    );
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
    is_shared: bool,
    here: Mutex<Here>,
}

/// What is in force in this process.
struct Here {
    applied: Applied,
    seen: Seen,
}

impl Keeper {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        store: Arc<dyn Store>,
        settings: &Settings,
        applied: Applied,
        seen: Seen,
    ) -> Self {
        let here = Mutex::new(Here { applied, seen });
        Self { fleet, store, name: name_of(settings), is_shared: is_shared(settings), here }
    }

    /// Puts what a file says in force, here and everywhere; one that nobody has changed since it was read here
    /// gives way to what others have put in force meanwhile. Tells whether it is in force here.
    pub(super) async fn apply(&self, settings: &Settings) -> bool {
        let mut here = self.here.lock().await;
        let file = print_of(settings, self.store.as_ref());
        if self.is_shared && here.seen.is(&file) {
            match self.is_in_force(&settings.inventory).await {
                Ok(true) => {}
                Ok(false) => {
                    warn_of(&here.applied);
                    return false;
                }
                Err(trouble) => {
                    error!(
                        "the file has not changed, and whether others have put another one in force cannot be \
                         told: {}",
                        Chain(&trouble)
                    );
                    return false;
                }
            }
        }
        self.put_in_force(settings.inventory.clone()).await;
        branding::save(settings, self.store.as_ref()).await;
        match self.tell(&settings.inventory).await {
            Ok(applied) => {
                here.applied = applied;
                here.seen.put(file);
            }
            Err(trouble) => error!(
                "the file is in force here but not saved, other instances do not know it: send SIGHUP \
                 again when the store is back: {}",
                Chain(&trouble)
            ),
        }
        true
    }

    /// Whether the store says the same, or nothing yet.
    async fn is_in_force(&self, inventory: &Inventory) -> Result<bool, Error> {
        let digest = store::digest_of(inventory, self.store.as_ref());
        let Some(applied) = self.store.inventory_in_force().await? else { return Ok(true) };
        if applied.digest == digest {
            return Ok(true);
        }
        let Some(saved) = self.store.load_inventory().await? else { return Ok(true) };
        let saved = resolved(saved, self.store.as_ref()).await?;
        Ok(store::digest_of(&saved, self.store.as_ref()) == digest)
    }

    async fn tell(&self, inventory: &Inventory) -> Result<Applied, Error> {
        let digest = store::digest_of(inventory, self.store.as_ref());
        if let Some(same) = self.store.inventory_in_force().await?
            && same.digest == digest
        {
            return Ok(same);
        }
        self.store.apply_inventory(inventory, &digest, &self.name).await
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
                () = self.fleet.instances.inventory_wanted() => {}
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
        let mut here = self.here.lock().await;
        let in_force = self.store.inventory_in_force().await?;
        // Numbers go back where a backup of the database is restored.
        let is_known = |next: &Applied| {
            (next.revision, &next.digest) == (here.applied.revision, &here.applied.digest)
        };
        if in_force.is_none_or(|next| is_known(&next)) {
            return Ok(());
        }
        let Some(saved) = self.store.load_inventory().await? else { return Ok(()) };
        let applied = saved.applied.clone();
        self.put_in_force(resolved(saved, self.store.as_ref()).await?).await;
        info!(
            "clusters, nodes and tenants are in force as {} has applied them, revision {}",
            applied.by, applied.revision
        );
        here.applied = applied;
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
