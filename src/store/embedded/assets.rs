//! Files of tenants' looks in the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::{Asset, AssetKey, AssetKind};
use crate::store::SavedAsset;

pub(super) fn put(db: &Connection, key: &AssetKey, asset: &Asset) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO assets (tenant, kind, path, digest, bytes, kept_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
    )?
    .execute(params![
        key.tenant.as_str(),
        key.kind.as_str(),
        asset.path().to_string_lossy(),
        asset.digest(),
        &asset.bytes()[..],
    ])
}

pub(super) fn remove(
    db: &Connection,
    SavedAsset { key, digest, .. }: &SavedAsset,
    age: Duration,
) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "DELETE FROM assets WHERE tenant = ?1 AND kind = ?2 AND digest = ?3
             AND kept_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?4",
    )?
    .execute(params![
        key.tenant.as_str(),
        key.kind.as_str(),
        digest,
        i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
    ])
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
pub(super) fn find(
    db: &Connection,
    key: &AssetKey,
    [digest, path]: &[Option<String>; 2],
) -> rusqlite::Result<Option<Arc<Asset>>> {
    let found = db
        .prepare_cached(
            "SELECT path, digest, bytes FROM assets WHERE tenant = ?1 AND kind = ?2
                 AND digest = coalesce(?3, digest) AND path = coalesce(?4, path)
             ORDER BY kept_at_ms DESC LIMIT 1",
        )?
        .query_row(params![key.tenant.as_str(), key.kind.as_str(), digest, path], |row| {
            let (path, digest): (String, String) = (row.get(0)?, row.get(1)?);
            let asset = Asset::new(PathBuf::from(path), row.get::<_, Vec<u8>>(2)?);
            Ok((asset.digest() == digest).then(|| Arc::new(asset)))
        })
        .optional()?;
    Ok(found.flatten())
}
