//! Tenants' looks and the store: what is there is kept, what has vanished comes from there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log::warn;

use crate::chain::Chain;
use crate::config::{MissingAsset, Settings};
use crate::model::{Asset, AssetKey, AssetKind, Inventory, Look, LostFile};
use crate::store::{Error, SavedAsset, Store, WantedAsset};

/// A copy comes before the change that names it, which others may make known to us much later.
const UNUSED_KEPT: Duration = Duration::from_mins(10);

/// Puts the copies of files that have vanished in their place.
///
/// # Errors
/// Those of which there is no copy, as mistakes in `file`. Where the store may tell in a while, its trouble; then
/// nothing has changed.
pub async fn complete(
    settings: &mut Settings,
    file: &Path,
    store: &dyn Store,
) -> anyhow::Result<()> {
    if settings.missing_assets.is_empty() {
        return Ok(());
    }
    let mut copies = Vec::new();
    for missing in &settings.missing_assets {
        copies.push(match store.find_asset(&missing.key, WantedAsset::Path(&missing.path)).await {
            Ok(copy) => copy,
            Err(away) if away.is_worth_waiting_for() => return Err(away.into()),
            Err(trouble) => {
                warn!("the copy of {} cannot be read: {}", missing.path.display(), Chain(&trouble));
                None
            }
        });
    }
    let mut lost = Vec::new();
    for (missing, copy) in std::mem::take(&mut settings.missing_assets).into_iter().zip(copies) {
        let AssetKey { tenant: slug, kind } = &missing.key;
        let mut tenants = settings.inventory.tenants.iter_mut();
        match (copy, tenants.find(|tenant| tenant.slug == *slug)) {
            (Some(copy), Some(tenant)) => {
                warn!(
                    "tenant {slug}: {} is gone; the {} that was last read from it stays in use",
                    missing.path.display(),
                    kind.as_str()
                );
                tenant.branding.set(*kind, Look::File(copy));
            }
            _ => lost.push(missing),
        }
    }
    if lost.is_empty() { Ok(()) } else { Err(MissingAsset::refuse(file, lost).into()) }
}

/// Puts the files of looks in their place, as far as there are copies. Returns whether one was found.
///
/// # Errors
/// When the store fails.
pub(super) async fn find_lost(inventory: &mut Inventory, store: &dyn Store) -> Result<bool, Error> {
    let mut is_any_found = false;
    for tenant in &mut inventory.tenants {
        for kind in AssetKind::ALL {
            let Some(Look::Lost(LostFile { path, digest })) = tenant.branding.get(kind) else {
                continue;
            };
            let key = AssetKey { tenant: tenant.slug.clone(), kind };
            let Some(found) = store.find_asset(&key, WantedAsset::Digest(digest)).await? else {
                continue;
            };
            // The same content may have been kept under another name since.
            let found = if found.path() == path {
                found
            } else {
                Arc::new(Asset::new(path.clone(), found.bytes().clone()))
            };
            tenant.branding.set(kind, Look::File(found));
            is_any_found = true;
        }
    }
    Ok(is_any_found)
}

/// The files of looks of which there is no copy, for the log.
pub(super) fn lost(inventory: &Inventory) -> impl Iterator<Item = String> {
    inventory.tenants.iter().flat_map(|tenant| {
        AssetKind::ALL.into_iter().filter_map(|kind| {
            let Some(Look::Lost(LostFile { path, .. })) = tenant.branding.get(kind) else {
                return None;
            };
            Some(format!(
                "tenant {}: there is no copy of {}; it goes without",
                tenant.slug,
                path.display()
            ))
        })
    })
}

/// Keeps a copy of every file that is to be in use. Without a copy all works until a file vanishes. It comes before
/// the inventory is in force: whoever is told of that looks for them at once.
pub(super) async fn keep(inventory: &Inventory, store: &dyn Store) {
    if let Err(trouble) = try_keep(inventory, store).await {
        warn!("not every file of tenants' branding has a copy in the store: {}", Chain(&trouble));
    }
}

/// Forgets the copies of files that are not in use any more, unless somebody is about to use them.
pub(super) async fn forget_unused(inventory: &Inventory, store: &dyn Store) {
    if let Err(trouble) = try_forget(inventory, store).await {
        warn!("copies of files that nobody uses stay in the store: {}", Chain(&trouble));
    }
}

async fn try_keep(inventory: &Inventory, store: &dyn Store) -> Result<(), Error> {
    let saved = store.list_assets().await?;
    for tenant in &inventory.tenants {
        for kind in AssetKind::ALL {
            let Some(Look::File(asset)) = tenant.branding.get(kind) else { continue };
            let key = AssetKey { tenant: tenant.slug.clone(), kind };
            let is_kept = |saved: &SavedAsset| {
                saved.key == key && saved.path == asset.path() && saved.digest == asset.digest()
            };
            if !saved.iter().any(is_kept) {
                store.put_asset(&key, asset).await?;
            }
        }
    }
    Ok(())
}

async fn try_forget(inventory: &Inventory, store: &dyn Store) -> Result<(), Error> {
    let is_used = |SavedAsset { key, digest, .. }: &SavedAsset| {
        let tenant = inventory.tenants.iter().find(|tenant| tenant.slug == key.tenant);
        let look = tenant.and_then(|tenant| tenant.branding.get(key.kind));
        look.and_then(Look::file).is_some_and(|(_, used)| used == digest)
    };
    for asset in store.list_assets().await? {
        if !is_used(&asset) {
            store.remove_asset(&asset, UNUSED_KEPT).await?;
        }
    }
    Ok(())
}
