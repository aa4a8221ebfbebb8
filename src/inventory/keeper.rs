//! What is in force in this process, and how it changes while we serve.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use super::branding;
use super::choosing::{is_shared, name_of, resolved, save_nodes, warn_of};
use super::seen::{Seen, print_of};
use crate::chain::Chain;
use crate::config::Settings;
use crate::fleet::Fleet;
use crate::model::Inventory;
use crate::store::{self, Applied, Error, Store};

/// The store is asked this often though it tells of changes by itself.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A store that fails is asked again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Puts inventories in force while we serve, one at a time.
pub struct Keeper {
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
    /// Keeps what was chosen at the start.
    pub fn new(
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
    pub async fn apply(&self, settings: &Settings) -> bool {
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
    pub async fn follow(&self, mut stop: watch::Receiver<bool>) {
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
                    () = sleep(AGAIN_AFTER) => {}
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
