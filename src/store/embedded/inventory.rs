//! The SQL of the inventory.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tokio::sync::watch;

use super::ledger::add_change;
use super::rows::{integer, unreadable};
use super::{Embedded, schema};
use crate::model::{Inventory, Secret};
use crate::store::Error;
use crate::store::inventory::{Applied, Applying, Inventories, Part, REMEMBERED, SavedInventory};
use crate::store::inventory_row::{self, Object, SavedRow};
use crate::store::seal::Seal;

#[async_trait]
impl Inventories for Embedded {
    async fn inventory_in_force(&self) -> Result<Option<Applied>, Error> {
        self.read(in_force).await
    }

    async fn last_applied(&self, digest: &str) -> Result<Option<Applied>, Error> {
        let digest = digest.to_owned();
        self.read(move |db| {
            db.query_row(
                "SELECT revision, digest, applied_by, applied_at_ms FROM inventory_revisions
                 WHERE digest = ?1 ORDER BY revision DESC LIMIT 1",
                [digest],
                applied,
            )
            .optional()
        })
        .await
    }

    async fn load_inventory(&self, part: Part) -> Result<Option<SavedInventory>, Error> {
        let seal = self.seal.clone();
        self.read(move |db| load(db, part, &seal)).await
    }

    async fn apply_inventory(
        &self,
        inventory: &Inventory,
        applying: Applying<'_>,
    ) -> Result<Option<Applied>, Error> {
        let objects = inventory_row::objects(inventory, &self.seal);
        let Applying { digest, by, base, change } = applying;
        let (digest, by, change) = (digest.to_owned(), by.to_owned(), change.cloned());
        self.read(move |db| {
            let change = change.as_ref();
            apply(db, &objects, Applying { digest: &digest, by: &by, base, change })
        })
        .await
    }

    fn inventory_changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

impl Embedded {
    /// What came through the API to the store in `data_dir`, if anything was ever applied there. Nothing is changed
    /// or created; another process may be using it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn peek(
        data_dir: &Path,
        key: Option<&Secret>,
        former_key: Option<&Secret>,
    ) -> Result<Option<SavedInventory>, Error> {
        let path = Self::file(data_dir);
        if schema::version(&path)? == 0 {
            return Ok(None);
        }
        let known = schema::open_to_read(&path)
            .and_then(|db| load(&db, Part::Managed, &Seal::new(key, former_key)));
        known.map_err(|error| Error::from_sqlite(&path, error))
    }
}

fn in_force(db: &Connection) -> rusqlite::Result<Option<Applied>> {
    db.query_row(
        "SELECT revision, digest, applied_by, applied_at_ms FROM inventory_revisions
         ORDER BY revision DESC LIMIT 1",
        [],
        applied,
    )
    .optional()
}

fn applied(row: &Row<'_>) -> rusqlite::Result<Applied> {
    let (revision, at_ms) = (integer(row, 0)?, integer(row, 3)?);
    Ok(Applied { revision, digest: row.get(1)?, by: row.get(2)?, at_ms })
}

fn load(db: &Connection, part: Part, seal: &Seal) -> rusqlite::Result<Option<SavedInventory>> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Deferred)?;
    let Some(applied) = in_force(&moment)? else { return Ok(None) };
    let mut statement = moment.prepare(
        "SELECT kind, name, origin, spec FROM inventory
            WHERE revision = ?1 AND (?2 OR origin = 'api') ORDER BY position",
    )?;
    let revision = i64::try_from(applied.revision).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![revision, part == Part::Whole], |row| {
        Ok(SavedRow {
            kind: row.get(0)?,
            name: row.get(1)?,
            origin: row.get(2)?,
            spec: row.get(3)?,
        })
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let read = inventory_row::read(rows, seal);
    let inventory = read.map_err(|reason| unreadable(3, reason))?;
    Ok(Some(SavedInventory { applied, inventory }))
}

fn apply(
    db: &Connection,
    objects: &[Object],
    Applying { digest, by, base, change }: Applying<'_>,
) -> rusqlite::Result<Option<Applied>> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    if in_force(&moment)?.map_or(0, |applied| applied.revision) != base {
        return Ok(None);
    }
    let applied = moment.query_row(
        "INSERT INTO inventory_revisions (digest, applied_by, applied_at_ms)
         VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER))
         RETURNING revision, digest, applied_by, applied_at_ms",
        [digest, by],
        applied,
    )?;
    let revision = i64::try_from(applied.revision).unwrap_or(i64::MAX);
    let forgotten = "DELETE FROM inventory_revisions WHERE digest = ?1 AND revision < ?2
        OR revision NOT IN (SELECT revision FROM inventory_revisions ORDER BY revision DESC LIMIT ?3)";
    moment.execute(forgotten, params![digest, revision, REMEMBERED])?;
    moment.execute("DELETE FROM inventory", [])?;
    let mut put = moment.prepare(
        "INSERT INTO inventory (revision, position, kind, name, origin, spec)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (position, Object { kind, name, origin, spec }) in (0_i64..).zip(objects) {
        put.execute(params![revision, position, kind, name, origin, spec])?;
    }
    drop(put);
    if let Some(change) = change {
        add_change(&moment, change)?;
    }
    moment.commit()?;
    Ok(Some(applied))
}
