//! What is in force in this process, and how it changes while we serve.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use log::{error, info, warn};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use super::branding;
use super::choosing::{TRIES, is_shared, name_of, refusal_of, resolved, save_nodes, warn_of};
use super::mixed;
use super::record;
use super::seen::{Seen, print_of};
use crate::chain::Chain;
use crate::config::Settings;
use crate::fleet::{Fleet, Node};
use crate::model::{AdminState, Asset, AssetKey, Change, Clash, Health, Inventory, NodeName, Slug};
use crate::store::{self, Applied, Applying, Error, Part, SavedNode, Store};

/// The store is asked this often though it tells of changes by itself.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What an operator reads when a file is refused.
const WHILE_SERVING: &str = "change the file, or the other through the API";
/// A store that fails is asked again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Puts inventories in force while we serve, one at a time.
pub struct Keeper {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    name: String,
    is_shared: bool,
    base_domain: Option<String>,
    /// Only whoever holds `seen` replaces it.
    in_force: ArcSwap<InForce>,
    seen: Mutex<Seen>,
}

/// What is in force in this process.
#[derive(Debug)]
pub struct InForce {
    /// When it was applied, and by whom.
    pub applied: Applied,
    /// All of it.
    pub inventory: Inventory,
    /// Whether the store has the same. A file that it could not be told of must not be written over what it has.
    is_saved: bool,
}

/// Why the inventory is not changed.
#[derive(Debug, thiserror::Error)]
pub enum Unchanged<E> {
    /// The change itself does not fit what is in force.
    #[error("{0}")]
    Refused(E),
    /// What it would make of the inventory does not go together.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Clashes(Vec<Clash>),
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] Error),
    /// What is in force here is not what the store has.
    #[error(
        "the configuration file is in force here, and the store could not be told: send SIGHUP again"
    )]
    Unsaved,
    /// Others change the inventory all the time.
    #[error("others change the inventory at the same time: try again")]
    Busy,
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
        let inventory = settings.inventory.clone();
        Self {
            fleet,
            store,
            name: name_of(settings),
            is_shared: is_shared(settings),
            base_domain: settings.server.base_domain.clone(),
            in_force: ArcSwap::from_pointee(InForce { applied, inventory, is_saved: true }),
            seen: Mutex::new(seen),
        }
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Changes the inventory, here and everywhere. `edit` gets what is in force, more than once where others
    /// change it at the same time; what it returns is returned with what is in force then, and what it says of
    /// the change is in the trail with it. A file of a tenant's look is kept when it is clear that the change
    /// is good.
    ///
    /// # Errors
    /// When `edit` refuses, when the result does not go together, or when the store fails. Then nothing has changed.
    pub async fn change<T, E>(
        &self,
        by: &str,
        edit: impl Fn(&mut Inventory) -> Result<(T, Change), E>,
        file: Option<&(AssetKey, Arc<Asset>)>,
    ) -> Result<(T, Arc<InForce>), Unchanged<E>> {
        let _one_at_a_time = self.seen.lock().await;
        for _ in 0..TRIES {
            self.take_over().await?;
            let InForce { applied, inventory, is_saved } = &*self.in_force();
            if !is_saved {
                return Err(Unchanged::Unsaved);
            }
            let mut next = inventory.clone();
            let (told, change) = edit(&mut next).map_err(Unchanged::Refused)?;
            // A file that is put again may be one of which the store has lost its copy.
            if next == *inventory && file.is_none() {
                return Ok((told, self.in_force()));
            }
            self.must_fit(&next)?;
            if let Some((key, asset)) = file {
                self.store.put_asset(key, asset).await?;
            }
            let (digest, base) = (&applied.digest, applied.revision);
            let applying = Applying { digest, by, base, change: Some(&change) };
            let applied = match self.store.apply_inventory(&next, applying).await {
                Ok(Some(applied)) => applied,
                Ok(None) => continue,
                Err(trouble) => self.is_there(&next, base).await.ok_or(trouble)?,
            };
            info!("{} of {} by {by}", change.action, change.object);
            mixed::warn_of_new(&next, &[inventory]);
            self.put_in_force(applied, next, true).await;
            branding::forget_unused(&self.in_force().inventory, self.store.as_ref()).await;
            return Ok((told, self.in_force()));
        }
        Err(Unchanged::Busy)
    }

    /// What would come of a change, as far as this instance knows; nothing is changed.
    ///
    /// # Errors
    /// What the edit says, or what cannot be together then.
    pub fn try_out<T, E>(
        &self,
        edit: impl FnOnce(&mut Inventory) -> Result<T, E>,
    ) -> Result<T, Unchanged<E>> {
        let mut next = self.in_force().inventory.clone();
        let told = edit(&mut next).map_err(Unchanged::Refused)?;
        self.must_fit(&next)?;
        Ok(told)
    }

    fn must_fit<E>(&self, next: &Inventory) -> Result<(), Unchanged<E>> {
        let clashes = next.clashes(self.base_domain.as_deref());
        if clashes.is_empty() { Ok(()) } else { Err(Unchanged::Clashes(clashes)) }
    }

    /// Puts what a file says in force, here and everywhere; one that nobody has changed since it was read here
    /// gives way to what others have put in force meanwhile. Returns whether it is in force.
    pub async fn apply(&self, settings: &Settings) -> bool {
        let mut seen = self.seen.lock().await;
        let file = print_of(settings, |secret| self.store.mark_of(secret));
        if self.is_shared && seen.is(&file) {
            match self.is_in_force(&settings.inventory).await {
                Ok(true) => {}
                Ok(false) => {
                    warn_of(&self.in_force().applied);
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
        let of_file = &settings.inventory;
        match self.tell(of_file).await {
            Ok((applied, whole)) => {
                mixed::warn_of_new(&whole, &[&self.in_force().inventory, of_file]);
                self.put_in_force(applied, whole, true).await;
                seen.put(file);
            }
            Err(busy @ Unchanged::Busy) => {
                error!("clusters, nodes and tenants stay as they were: {busy}");
                return false;
            }
            Err(Unchanged::Refused(never)) => match never {},
            Err(Unchanged::Clashes(clashes)) => {
                error!(
                    "clusters, nodes and tenants stay as they were: {}",
                    refusal_of(&clashes, WHILE_SERVING)
                );
                return false;
            }
            Err(trouble) => {
                let InForce { applied, inventory, .. } = &*self.in_force();
                let whole = of_file.clone().with_managed_of(inventory);
                let clashes = whole.clashes(self.base_domain.as_deref());
                if !clashes.is_empty() {
                    error!(
                        "clusters, nodes and tenants stay as they were: {}",
                        refusal_of(&clashes, WHILE_SERVING)
                    );
                    return false;
                }
                mixed::warn_of_new(&whole, &[inventory, of_file]);
                self.put_in_force(applied.clone(), whole, false).await;
                error!(
                    "the file is in force here but not saved, other instances do not know it: send SIGHUP \
                     again when the store is back: {}",
                    Chain(&trouble)
                );
            }
        }
        branding::forget_unused(&self.in_force().inventory, self.store.as_ref()).await;
        true
    }

    /// Whether the store says the same, or nothing yet.
    async fn is_in_force(&self, of_file: &Inventory) -> Result<bool, Error> {
        let digest = store::digest_of(of_file, self.store.as_ref());
        let Some(applied) = self.store.inventory_in_force().await? else { return Ok(true) };
        if applied.digest == digest {
            return Ok(true);
        }
        let Some(saved) = self.store.load_inventory(Part::Whole).await? else { return Ok(true) };
        let saved = resolved(saved, self.store.as_ref()).await?;
        Ok(store::digest_of(&saved, self.store.as_ref()) == digest)
    }

    /// Puts what the file says into the store, with what came through the API.
    async fn tell(
        &self,
        of_file: &Inventory,
    ) -> Result<(Applied, Inventory), Unchanged<Infallible>> {
        let store = self.store.as_ref();
        let digest = store::digest_of(of_file, store);
        for _ in 0..TRIES {
            let saved = store.load_inventory(Part::Managed).await?;
            let has_some = saved.is_some();
            let in_force = saved.as_ref().map(|saved| saved.applied.clone());
            let known = match saved {
                Some(saved) => resolved(saved, store).await?,
                None => Inventory::default(),
            };
            let whole = of_file.clone().with_managed_of(&known);
            for name in known.managed.iter().filter(|name| of_file.get(name).is_some()) {
                warn!("{name} is the file's from now on: what the API had made of it is gone");
            }
            branding::keep(&whole, store).await;
            if let Some(same) = in_force.as_ref().filter(|applied| applied.digest == digest) {
                return Ok((same.clone(), whole));
            }
            let clashes = whole.clashes(self.base_domain.as_deref());
            if !clashes.is_empty() {
                return Err(Unchanged::Clashes(clashes));
            }
            let base = in_force.map_or(0, |applied| applied.revision);
            // What the store has may be sealed with another key; here it is known.
            let before = self.in_force().inventory.of_file().with_managed_of(&known);
            let change = record::of_file(has_some.then_some(&before), of_file, &self.name);
            let change = change.as_ref();
            let applying = Applying { digest: &digest, by: &self.name, base, change };
            if let Some(applied) = store.apply_inventory(&whole, applying).await? {
                return Ok((applied, whole));
            }
        }
        Err(Unchanged::Busy)
    }

    /// What is in force in the store, if it is this in place of the revision `base`: a store that breaks off may
    /// have done all that it was asked.
    async fn is_there(&self, next: &Inventory, base: u64) -> Option<Applied> {
        let store = self.store.as_ref();
        let saved = store.load_inventory(Part::Whole).await.ok()??;
        let applied = saved.applied.clone();
        let is_same = applied.revision > base && resolved(saved, store).await.ok()? == *next;
        is_same.then_some(applied)
    }

    async fn put_in_force(&self, applied: Applied, inventory: Inventory, is_saved: bool) {
        let store = self.store.as_ref();
        forget_deleted(&self.fleet, store, &inventory).await;
        let states = store.node_states().await.unwrap_or_else(|trouble| {
            warn!("what others want of nodes cannot be read: {}", Chain(&trouble));
            HashMap::new()
        });
        let before = self.fleet.snapshot();
        let state_of = |node: &Arc<Node>| (node.name().clone(), node.live.admin());
        let states_before: HashMap<_, _> = before.nodes().map(state_of).collect();
        self.fleet.apply_with(inventory.clone(), |node| states.get(node).copied());
        let known = |slug: &Slug| before.tenant(slug.as_str()).is_some_and(|one| !one.is_retired);
        for (tenant, meetings) in self.fleet.gone_tenants() {
            if known(&tenant) {
                warn_of_gone(&tenant, meetings);
            }
        }
        let journal = self.fleet.journal();
        journal.inventory(&self.in_force().inventory, &inventory, applied.revision);
        for (name, state) in &states_before {
            if let Some(node) = self.fleet.peek().node(name.as_str()) {
                journal.state(name, *state, node.live.admin());
            }
        }
        self.in_force.store(Arc::new(InForce { applied, inventory, is_saved }));
        let is_changed = |node: &Node| {
            let known = before.node(node.name().as_str());
            known.is_none_or(|known| known.spec != node.spec)
                || states_before.get(node.name()) != Some(&node.live.admin())
        };
        if let Err(trouble) = save_nodes(&self.fleet, store, is_changed).await {
            error!("the nodes are in force but not saved: {}", Chain(&trouble));
        }
    }

    /// Sets what is wanted of a node, here and everywhere. Returns what was wanted before; nothing where there is
    /// no such node, or none that can be kept. `check` may refuse it, by what is in force then.
    ///
    /// # Errors
    /// When `check` refuses, or the store fails. Then nothing has changed.
    pub async fn set_node_state<E: From<Error>>(
        &self,
        name: &NodeName,
        wanted: AdminState,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<AdminState>, E> {
        let _one_at_a_time = self.seen.lock().await;
        self.take_over_all().await?;
        let snapshot = self.fleet.snapshot();
        let node = snapshot.node(name.as_str());
        let Some(node) = node.filter(|node| node.live.admin() != AdminState::Retired) else {
            return Ok(None);
        };
        check()?;
        let before = node.live.admin();
        let saved = SavedNode { name: name.clone(), state: wanted, spec: Some(node.spec.clone()) };
        self.store.put_node(&saved).await?;
        self.fleet.set_node_state(name, wanted);
        Ok(Some(before))
    }

    /// Takes over what others put in force, until `stop` turns true.
    pub async fn follow(&self, mut stop: watch::Receiver<bool>) {
        // Alone, others are only the other process of an upgrade, and what was cut short here.
        let mut changes = self.store.inventory_changes();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = changed(changes.as_mut()) => {}
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
        let _one_at_a_time = self.seen.lock().await;
        self.take_over_all().await
    }

    /// Takes over what is in force elsewhere, and what is wanted of nodes.
    async fn take_over_all(&self) -> Result<(), Error> {
        self.take_over().await?;
        // Word of these may have been lost, or come before we knew the node.
        let states = self.store.node_states().await?;
        self.fleet.take_over_states(|node| states.get(node).copied());
        Ok(())
    }

    /// Takes over what is in force elsewhere, if that is another one.
    async fn take_over(&self) -> Result<(), Error> {
        let here = self.in_force();
        let next = self.store.inventory_in_force().await?;
        // Numbers go back where a backup of the database is restored.
        let is_known = next.is_none_or(|next| next == here.applied);
        if is_known {
            let mut inventory = here.inventory.clone();
            if branding::find_lost(&mut inventory, self.store.as_ref()).await? {
                info!("copies of files of tenants' looks have turned up");
                self.put_in_force(here.applied.clone(), inventory, here.is_saved).await;
            }
            return Ok(());
        }
        let Some(saved) = self.store.load_inventory(Part::Whole).await? else { return Ok(()) };
        let applied = saved.applied.clone();
        let inventory = resolved(saved, self.store.as_ref()).await?;
        info!(
            "clusters, nodes and tenants are in force as {} has applied them, revision {}",
            applied.by, applied.revision
        );
        mixed::warn_of_new(&inventory, &[&here.inventory]);
        self.put_in_force(applied, inventory, true).await;
        Ok(())
    }
}

async fn changed(changes: Option<&mut watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    // Nobody listens any more; the clock still does.
    std::future::pending::<()>().await;
}

/// Says that meetings of a tenant run on that is in force no more.
pub fn warn_of_gone(tenant: &Slug, meetings: usize) {
    let count = if meetings == 1 { "1 meeting".to_owned() } else { format!("{meetings} meetings") };
    warn!(
        "tenant {tenant} is gone, and {count} of it run on: `portico meeting list --tenant {tenant}` shows them, and \
         `portico meeting end` ends them"
    );
}

/// Nodes that go at once; those with meetings are retired and go when they are empty.
async fn forget_deleted(fleet: &Fleet, store: &dyn Store, next: &Inventory) {
    let kept: HashSet<_> = next.nodes.iter().map(|node| &node.name).collect();
    for node in fleet.snapshot().nodes() {
        if kept.contains(node.name()) {
            continue;
        }
        if fleet.runs_on(node.name()) {
            info!("node {} is retired: it stays until its meetings end", node.name());
        } else if node.live.health() == Health::Down && fleet.judges_alone(store) {
            info!(
                "node {} is down here, so it stays in the store: others may reach it",
                node.name()
            );
        } else if let Err(trouble) = store.remove_node(node.name()).await {
            warn!("node {} stays in the store: {}", node.name(), Chain(&trouble));
        }
    }
}
