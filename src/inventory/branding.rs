//! Tenants' looks and the store: what is there is kept, what has vanished comes from there.

use std::path::Path;

use log::warn;

use crate::chain::Chain;
use crate::config::{MissingAsset, Settings};
use crate::model::{AssetKey, AssetKind, Inventory, Look};
use crate::store::{Error, SavedAsset, Store};

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
        copies.push(match store.find_asset(&missing.key).await {
            // That of another file would hide a slip of the pen.
            Ok(copy) => copy.filter(|copy| copy.path() == missing.path),
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

/// Keeps a copy of every file that is to be in use. Without a copy all works until a file vanishes. It comes before
/// the inventory is in force: whoever is told of that looks for them at once.
pub(super) async fn keep(inventory: &Inventory, store: &dyn Store) {
    if let Err(trouble) = try_keep(inventory, store).await {
        warn!("not every file of tenants' branding has a copy in the store: {}", Chain(&trouble));
    }
}

/// Forgets the copies of files that are not in use any more.
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
    let has_file = |key: &AssetKey| {
        let tenant = inventory.tenants.iter().find(|tenant| tenant.slug == key.tenant);
        tenant.is_some_and(|tenant| matches!(tenant.branding.get(key.kind), Some(Look::File(_))))
    };
    for SavedAsset { key, .. } in store.list_assets().await? {
        if !has_file(&key) {
            store.remove_asset(&key).await?;
        }
    }
    Ok(())
}
