//! Seals what was written before there was a key, and leaves nothing of it in the files.
//!
//! A row that is written again is gone from the database, but not from the log beside it, nor from pages that
//! nobody uses. So once something had to be sealed, the database is written anew, and the log cut off.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::chain::Chain;
use crate::store::seal::Seal;
use crate::store::{Error, inventory_row, node_row};

/// Seals the secrets that stand in clear, where there is a key. Whatever of this cannot be done is tried again
/// at the next start, but for the last of it, which the operator is told of.
pub(super) fn seal_all(path: &Path, db: &Connection, seal: &Seal) {
    if !seal.has_key() {
        return;
    }
    match seal_rows(db, seal) {
        Ok(0) => return,
        Ok(rows) => log::info!("{}: {rows} rows were sealed with store.key", path.display()),
        Err(error) => {
            let trouble = Error::from_sqlite(path, error);
            log::error!("secrets stand in the store in clear, as before: {}", Chain(&trouble));
            return;
        }
    }
    match wipe(db) {
        Ok(true) => {}
        Ok(false) => log::error!("{}: another process reads it; {REMEDY}", path.display()),
        Err(error) => {
            let trouble = Error::from_sqlite(path, error);
            log::error!("{}; {REMEDY}", Chain(&trouble));
        }
    }
}

const REMEDY: &str = "secrets that were sealed may still be found in its files: stop Portico, then run \
    sqlite3 portico.db 'PRAGMA secure_delete=ON; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);'";

/// All or none; gives how many there were.
fn seal_rows(db: &Connection, seal: &Seal) -> rusqlite::Result<usize> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut sealed = 0;
    let nodes = {
        let mut all = moment.prepare("SELECT name, spec FROM nodes WHERE spec IS NOT NULL")?;
        let rows =
            all.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    for (name, spec) in nodes {
        let Some(spec) = node_row::sealed(&name, &spec, seal) else { continue };
        let put = "UPDATE nodes SET spec = ?2 WHERE name = ?1";
        sealed += moment.execute(put, [name, spec])?;
    }
    let objects = {
        let mut all =
            moment.prepare("SELECT revision, position, kind, name, spec FROM inventory")?;
        let rows = all.query_map([], |row| {
            let at: (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok((at, row.get::<_, String>(2)?, row.get::<_, String>(3)?, row.get::<_, String>(4)?))
        })?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    for ((revision, position), kind, name, spec) in objects {
        let Some(spec) = inventory_row::sealed(&kind, &name, &spec, seal) else { continue };
        let put = "UPDATE inventory SET spec = ?3 WHERE revision = ?1 AND position = ?2";
        sealed += moment.execute(put, params![revision, position, spec])?;
    }
    moment.commit()?;
    Ok(sealed)
}

/// Writes the database anew and cuts its log off; false if somebody else needs the log.
fn wipe(db: &Connection) -> rusqlite::Result<bool> {
    // What is freed on the way is overwritten.
    db.pragma_update_and_check(None, "secure_delete", "ON", |_row| Ok(()))?;
    db.execute_batch("VACUUM")?;
    // Answers whether it was kept from it; without a write-ahead log there is nothing to do.
    let is_kept: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(!is_kept)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::{Embedded, FILE};
    use super::*;
    use crate::model::Secret;
    use crate::store::contract::{self, HUSH};
    use crate::store::{Inventories, Older, Store};

    /// Every file of the store that holds the secret.
    fn that_tell(dir: &TempDir) -> Vec<String> {
        let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let tells = |bytes: Vec<u8>| memchr::memmem::find(&bytes, HUSH.as_bytes()).is_some();
        let telling = files.filter(|file| tells(std::fs::read(file.path()).unwrap()));
        telling.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
    }

    /// A store with secrets in clear in rows that nobody writes again, in its log, and where rows were.
    async fn in_clear() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        for number in 0..200 {
            let mut node = contract::retired_node(&format!("bbb{number}"));
            node.spec.as_mut().unwrap().secret = Secret::new(HUSH);
            store.put_node(&node).await.unwrap();
        }
        let applying =
            crate::store::Applying { digest: "digest", by: "edge", base: 0, change: None };
        store.apply_inventory(&contract::inventory(), applying).await.unwrap();
        drop(store);
        // As an older version has left it.
        let db = Connection::open(dir.path().join(FILE)).unwrap();
        db.pragma_update_and_check(None, "secure_delete", "OFF", |_row| Ok(())).unwrap();
        db.execute("DELETE FROM nodes WHERE name > 'bbb150'", []).unwrap();
        let free: u32 = db.pragma_query_value(None, "freelist_count", |row| row.get(0)).unwrap();
        assert!(free > 0, "nothing is left where rows were");
        dir
    }

    #[tokio::test]
    async fn no_byte_of_the_files_tells_a_secret_once_there_is_a_key() {
        let dir = in_clear().await;
        assert_eq!(that_tell(&dir), [FILE]);
        let sealed = Embedded::open_as(dir.path(), contract::sealing()).unwrap();
        assert_eq!(that_tell(&dir), Vec::<String>::new(), "while it is open");
        let saved = sealed.load_inventory(crate::store::Part::Whole).await.unwrap().unwrap();
        assert_eq!((saved.inventory, &*saved.applied.digest), (contract::inventory(), "digest"));
        let nodes = sealed.load().await.unwrap().nodes;
        let known = |secret: &Secret| secret.expose() == HUSH;
        assert!(!nodes.is_empty());
        assert!(
            nodes.iter().all(|node| node.spec.as_ref().is_some_and(|spec| known(&spec.secret)))
        );
        drop(sealed);
        assert_eq!(that_tell(&dir), Vec::<String>::new(), "and after that");
    }

    #[tokio::test]
    async fn what_is_sealed_or_cannot_be_read_is_left_as_it_is() {
        let dir = in_clear().await;
        let spoil = "UPDATE nodes SET spec = '{' WHERE name = 'bbb1'";
        Connection::open(dir.path().join(FILE)).unwrap().execute(spoil, []).unwrap();
        drop(Embedded::open_as(dir.path(), contract::sealing()).unwrap());
        let rows = || {
            let db = Connection::open(dir.path().join(FILE)).unwrap();
            let mut all = db.prepare("SELECT spec FROM nodes ORDER BY name").unwrap();
            let rows = all.query_map([], |row| row.get::<_, String>(0)).unwrap();
            rows.collect::<Result<Vec<_>, _>>().unwrap()
        };
        let before = rows();
        assert!(before.contains(&"{".to_owned()));
        drop(Embedded::open_as(dir.path(), contract::sealing()).unwrap());
        drop(Embedded::open_as(dir.path(), Older::Migrate).unwrap());
        assert_eq!(rows(), before);
    }
}
