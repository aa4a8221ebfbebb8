//! Which inventory is in force at a start: that of the file, or that of the store.

use std::time::Duration;

use futures::future::try_join_all;
use humantime::format_rfc3339_seconds;
use log::{info, warn};

use super::branding;
use super::mixed;
use super::record;
use super::seen::{Seen, print_of};
use crate::chain::Chain;
use crate::config::{Settings, StoreKind};
use crate::fleet::{Fleet, Node};
use crate::model::{Clash, Inventory};
use crate::store::{self, Applied, Applying, Error, Part, SavedInventory, SavedNode, Store};

/// How often another inventory may come before ours until we give up.
pub(super) const TRIES: usize = 20;

/// Chooses between the file and the store at a start, and puts what is chosen in the settings, with what came
/// through the API. Returns what is in force.
///
/// A file that was never applied is. One that was, or that has not changed since it was read here, and that
/// another one has taken the place of since, is older than what the other instances serve. Where there are no
/// others the file always counts.
///
/// # Errors
/// When the store fails, when `store.key` does not open what is in force, or when the file and what came
/// through the API do not go together.
pub async fn choose(
    settings: &mut Settings,
    seen: &mut Seen,
    store: &dyn Store,
) -> anyhow::Result<Applied> {
    let of_file = settings.inventory.clone();
    let digest = store::digest_of(&of_file, store);
    let file = print_of(settings, |secret| store.mark_of(secret));
    for _ in 0..TRIES {
        let saved = load_or_refuse(settings, store).await?;
        let in_force = saved.as_ref().map(|saved| saved.applied.clone());
        let known = match saved {
            Some(saved) => resolved(saved, store).await?,
            None => Inventory::default(),
        };
        let whole = of_file.clone().with_managed_of(&known);
        if let Some(applied) = &in_force
            && applied.digest != digest
            && is_shared(settings)
            && (seen.is(&file) || store.last_applied(&digest).await?.is_some())
        {
            // Another version makes another digest of the same.
            if store::digest_of(&known, store) == digest {
                branding::keep(&whole, store).await;
                settings.inventory = whole;
            } else {
                warn_of(applied);
                settings.inventory = known;
            }
            mixed::warn_of_new(&settings.inventory, &[&of_file]);
            seen.put(file);
            return Ok(applied.clone());
        }
        let clashes = whole.clashes(settings.server.base_domain.as_deref());
        if !clashes.is_empty() {
            return Err(Clashed(refusal_of(&clashes, AT_START)).into());
        }
        branding::keep(&whole, store).await;
        settings.inventory = whole;
        let base = in_force.as_ref().map_or(0, |applied| applied.revision);
        let mut applied = in_force.clone().filter(|applied| applied.digest == digest);
        if applied.is_none() {
            let by = name_of(settings);
            let before = before_start(settings, store, &known, in_force.is_some()).await;
            let change = record::of_file(before.as_ref(), &of_file, &by);
            let applying = Applying { digest: &digest, by: &by, base, change: change.as_ref() };
            applied = store.apply_inventory(&settings.inventory, applying).await?;
            if let Some(Applied { revision, .. }) = &applied {
                info!(
                    "the clusters, nodes and tenants of the file are in force as revision {revision}"
                );
            }
        }
        if let Some(applied) = applied {
            branding::forget_unused(&settings.inventory, store).await;
            mixed::warn_of_new(&settings.inventory, &[&of_file]);
            seen.put(file);
            return Ok(applied);
        }
    }
    anyhow::bail!("others put one inventory after the other in force: start again")
}

/// A file that does not go together with what came through the API.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Clashed(String);

impl Clashed {
    pub(super) fn new(refusal: String) -> Self {
        Self(refusal)
    }
}

/// What an operator reads whose file does not go together with what came through the API.
pub(super) fn refusal_of(clashes: &[Clash], remedy: &str) -> String {
    let clashes: Vec<_> = clashes.iter().map(ToString::to_string).collect();
    let clashes = clashes.join("\n");
    format!("the file and what came through the API do not go together: {remedy}:\n{clashes}")
}

/// The API does not listen yet.
const AT_START: &str = "change the file; or, to change the other, start with what the file was before, change it \
                        through the API, and send SIGHUP with this file";

pub(super) fn is_shared(settings: &Settings) -> bool {
    settings.store.kind != StoreKind::Embedded
}

/// What is in force. Applied over it, a file sealed with another key would be readable to none of the others.
async fn load_or_refuse(
    settings: &Settings,
    store: &dyn Store,
) -> anyhow::Result<Option<SavedInventory>> {
    let part = if is_shared(settings) { Part::Whole } else { Part::Managed };
    match store.load_inventory(part).await {
        Err(unreadable) if !unreadable.is_worth_waiting_for() => Err(anyhow::anyhow!(
            "what is in force in the store cannot be read: {}; all instances need the same `store.key`: correct it, or, \
             where it takes the place of another one, name that as `store.former_key`. Without that one, stop all \
             instances and `DELETE FROM inventory; DELETE FROM inventory_revisions;`: that begins anew with this \
             file, and takes away all that came through the API",
            Chain(&unreadable)
        )),
        loaded => Ok(loaded?),
    }
}

/// All that was in force before a start, for the trail; nothing where there was nothing, or where it cannot be read.
async fn before_start(
    settings: &Settings,
    store: &dyn Store,
    known: &Inventory,
    has_some: bool,
) -> Option<Inventory> {
    if !has_some || is_shared(settings) {
        return has_some.then(|| known.clone());
    }
    match store.load_inventory(Part::Whole).await {
        Ok(saved) => resolved(saved?, store).await.ok(),
        // Sealed with another key. What came through the API is known.
        Err(_unreadable) => None,
    }
}

pub(super) fn warn_of(applied: &Applied) {
    warn!("{}", older_than(applied));
}

/// What an operator reads whose file is not taken.
pub(super) fn older_than(Applied { by, at_ms, .. }: &Applied) -> String {
    format!(
        "this file is older than what is in force (applied by {by} at {}): bring the newer one here; or, to \
         apply this one all the same, change anything in it and send SIGHUP",
        shown(*at_ms)
    )
}

/// How operators know this instance.
pub(super) fn name_of(settings: &Settings) -> String {
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
pub(super) async fn resolved(saved: SavedInventory, store: &dyn Store) -> Result<Inventory, Error> {
    let SavedInventory { mut inventory, .. } = saved;
    branding::find_lost(&mut inventory, store).await?;
    for lost in branding::lost(&inventory) {
        warn!("{lost}");
    }
    Ok(inventory)
}

/// Remembers nodes, so that one that is deleted from the file can still serve what runs on it.
///
/// # Errors
/// When the store fails.
pub async fn save_nodes(
    fleet: &Fleet,
    store: &dyn Store,
    is_wanted: impl Fn(&Node) -> bool,
) -> Result<(), Error> {
    let snapshot = fleet.snapshot();
    let nodes = snapshot.nodes().filter(|node| is_wanted(node)).map(|node| SavedNode {
        name: node.name().clone(),
        state: node.live.admin(),
        spec: Some(node.spec.clone()),
    });
    // What is wanted of a node is for those to write who change it.
    let all = nodes.map(|saved| async move { store.describe_node(&saved).await });
    try_join_all(all).await.map(drop)
}
