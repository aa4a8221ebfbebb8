//! Files of tenants' looks in the database.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::{Asset, AssetKey, AssetKind};
use crate::store::SavedAsset;

pub(super) fn put(db: &Connection, key: &AssetKey, asset: &Asset) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO assets (tenant, kind, path, digest, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        key.tenant.as_str(),
        key.kind.as_str(),
        asset.path().to_string_lossy(),
        asset.digest(),
        &asset.bytes()[..],
    ])
}

pub(super) fn remove(db: &Connection, key: &AssetKey) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM assets WHERE tenant = ?1 AND kind = ?2")?
        .execute([key.tenant.as_str(), key.kind.as_str()])
}

/// What is there, without its bytes. Rows that cannot be understood are left out.
pub(super) fn list(db: &Connection) -> rusqlite::Result<Vec<SavedAsset>> {
    let mut statement = db.prepare_cached("SELECT tenant, kind, path, digest FROM assets")?;
    let rows = statement.query_map([], |row| {
        let (tenant, kind): (String, String) = (row.get(0)?, row.get(1)?);
        let kind = AssetKind::ALL.into_iter().find(|known| known.as_str() == kind);
        let key = tenant.parse().ok().zip(kind).map(|(tenant, kind)| AssetKey { tenant, kind });
        let (path, digest): (String, String) = (row.get(2)?, row.get(3)?);
        Ok(key.map(|key| SavedAsset { key, path: PathBuf::from(path), digest }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// One of them, unless its bytes are not what was put.
pub(super) fn find(db: &Connection, key: &AssetKey) -> rusqlite::Result<Option<Arc<Asset>>> {
    let found = db
        .prepare_cached("SELECT path, digest, bytes FROM assets WHERE tenant = ?1 AND kind = ?2")?
        .query_row([key.tenant.as_str(), key.kind.as_str()], |row| {
            let (path, digest): (String, String) = (row.get(0)?, row.get(1)?);
            let asset = Asset::new(PathBuf::from(path), row.get::<_, Vec<u8>>(2)?);
            Ok((asset.digest() == digest).then(|| Arc::new(asset)))
        })
        .optional()?;
    Ok(found.flatten())
}
