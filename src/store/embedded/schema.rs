//! Opening the file and bringing its schema to the present version.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::{Error, Older};

/// The steps from an empty file to the present schema; `user_version` counts those that are done.
/// Only ever append.
const MIGRATIONS: [&str; PRESENT as usize] = [
    include_str!("../../../migrations/embedded/0001_meetings_nodes.sql"),
    include_str!("../../../migrations/embedded/0002_callbacks.sql"),
    include_str!("../../../migrations/embedded/0003_assets.sql"),
    include_str!("../../../migrations/embedded/0004_hooks.sql"),
    include_str!("../../../migrations/embedded/0005_outbox.sql"),
    include_str!("../../../migrations/embedded/0006_claims.sql"),
    include_str!("../../../migrations/embedded/0007_held.sql"),
    include_str!("../../../migrations/embedded/0008_counters.sql"),
    include_str!("../../../migrations/embedded/0009_inventory.sql"),
    include_str!("../../../migrations/embedded/0010_ledger.sql"),
    include_str!("../../../migrations/embedded/0011_assets_by_content.sql"),
    include_str!("../../../migrations/embedded/0012_statistics.sql"),
    include_str!("../../../migrations/embedded/0013_commands.sql"),
    include_str!("../../../migrations/embedded/0014_statistics_batches.sql"),
    include_str!("../../../migrations/embedded/0015_history.sql"),
    include_str!("../../../migrations/embedded/0016_extents.sql"),
    include_str!("../../../migrations/embedded/0017_history_generation.sql"),
    include_str!("../../../migrations/embedded/0018_chronicle.sql"),
];

/// The `user_version` of the present schema.
pub(super) const PRESENT: u32 = 18;

/// How long we wait for another process's transaction, which takes milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// What stands for itself in no URI.
const NOT_IN_URI: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'/').remove(b'~');

/// The file holds nodes' secrets: nobody else may read it. `SQLite` gives the log files beside it
/// the same mode.
const MODE: u32 = 0o600;

pub(super) fn open(path: &Path, older: Older) -> Result<Connection, Error> {
    if older == Older::Refuse {
        let found = version(path)?;
        if found < PRESENT {
            return Err(Error::Older { path: path.to_owned(), found, known: PRESENT });
        }
    }
    create(path)?;
    let mut db = Connection::open(path).map_err(|error| Error::from_sqlite(path, error))?;
    set_up(&db).map_err(|error| Error::from_sqlite(path, error))?;
    match migrate(&mut db).map_err(|error| Error::from_sqlite(path, error))? {
        PRESENT => Ok(db),
        found => Err(Error::Newer { path: path.to_owned(), found, known: PRESENT }),
    }
}

/// How far a file has come; 0 is an empty one, or none. Changes nothing.
pub(super) fn version(path: &Path) -> Result<u32, Error> {
    if !path.is_file() {
        return Ok(0);
    }
    let asked = open_to_read(path)
        .and_then(|db| db.pragma_query_value(None, "user_version", |row| row.get(0)));
    asked.map_err(|error| Error::from_sqlite(path, error))
}

/// A file that nothing is written to, also not beside it as long as nobody has it open: who looks may be another user
/// than who serves.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let immutable = if is_at_rest(path) { "&immutable=1" } else { "" };
    let name = percent_encode(path.as_os_str().as_bytes(), NOT_IN_URI);
    let db = Connection::open_with_flags(format!("file:{name}?mode=ro{immutable}"), flags)?;
    db.busy_timeout(LOCK_TIMEOUT)?;
    Ok(db)
}

/// Whether it is certainly open to nobody: with a write-ahead log there would be one beside it. A file with a rollback
/// journal has none most of the time that it is in use, and is read under locks, for which nothing is created.
fn is_at_rest(path: &Path) -> bool {
    let is_there = |suffix| {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        Path::new(&beside).exists()
    };
    let mut header = [0; 20];
    let is_read = File::open(path).and_then(|mut file| file.read_exact(&mut header)).is_ok();
    // What it takes to write and to read it: 1 a rollback journal, 2 a write-ahead log.
    is_read && header[18..] == [2, 2] && !is_there("-wal") && !is_there("-journal")
}

/// Makes the file if there is none, and makes it private if it is not. `SQLite` would create it
/// readable for everyone, and open a write-protected one without a word until the first write.
fn create(path: &Path) -> Result<(), Error> {
    let to_error = |error| Error::from_io(path, error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(to_error)?;
    let mode = file.metadata().map_err(to_error)?.permissions().mode();
    if mode & 0o077 != 0 {
        log::warn!("{} was open to other users and is made private", path.display());
        file.set_permissions(Permissions::from_mode(MODE)).map_err(to_error)?;
    }
    Ok(())
}

fn set_up(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(LOCK_TIMEOUT)?;
    // Answers with the mode in force: file systems without shared memory refuse the write-ahead
    // log and keep the rollback journal, which is as safe and merely slower.
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    log::debug!("journal mode {mode}");
    // Rows are read at the start and then only written: keeping 2 MiB of pages would serve nobody.
    db.pragma_update(None, "cache_size", -256)?;
    // What was overwritten or deleted is not to be found in the file: secrets in clear before there was a key.
    // Answers with what is in force.
    db.pragma_update_and_check(None, "secure_delete", "ON", |_row| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")
}

/// Takes the missing steps, each in a transaction of its own, and returns the version it ends at.
fn migrate(db: &mut Connection) -> rusqlite::Result<u32> {
    loop {
        // The version is read under the write lock: two processes may start at the same time.
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = step.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let Some(sql) = MIGRATIONS.get(version as usize) else { return Ok(version) };
        step.execute_batch(sql)?;
        step.pragma_update(None, "user_version", version + 1)?;
        step.commit()?;
    }
}

/// The file as the process of an older schema has it open.
#[cfg(test)]
pub(super) fn open_at(path: &Path, version: u32) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    set_up(&db)?;
    for sql in &MIGRATIONS[..version as usize] {
        db.execute_batch(sql)?;
    }
    db.pragma_update(None, "user_version", version)?;
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_private_even_when_it_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        drop(open(&path, Older::Migrate).unwrap());
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(open(&path, Older::Migrate).unwrap());
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        let db = open(&path, Older::Migrate).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        let error = open(&path, Older::Migrate).unwrap_err();
        assert!(matches!(error, Error::Newer { found: 99, .. }), "{error}");
        let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, 99);
    }

    #[test]
    fn an_older_schema_is_left_alone_when_asked_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        let error = open(&path, Older::Refuse).unwrap_err();
        assert!(matches!(error, Error::Older { found: 0, known: PRESENT, .. }), "{error}");
        assert!(!path.exists());
        drop(open(&path, Older::Migrate).unwrap());
        drop(open(&path, Older::Refuse).unwrap());
    }

    #[test]
    fn a_file_that_is_no_database_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        std::fs::write(&path, "not a database, but long enough to be looked at ".repeat(99))
            .unwrap();
        let error = open(&path, Older::Migrate).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        std::fs::create_dir(&path).unwrap();
        let error = open(&path, Older::Migrate).unwrap_err();
        assert!(matches!(error, Error::NotWritable { .. }), "{error}");
    }
    #[test]
    fn a_file_with_a_rollback_journal_is_read_under_locks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "user_version", 7).unwrap();
        assert!(!is_at_rest(&path));
        assert_eq!(version(&path).unwrap(), 7);
        let asked = || {
            let db = open_to_read(&path).unwrap();
            db.busy_timeout(Duration::ZERO).unwrap();
            db.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        };
        writer.execute_batch("BEGIN EXCLUSIVE; PRAGMA user_version = 8").unwrap();
        let refused = asked().unwrap_err().sqlite_error_code();
        assert_eq!(refused, Some(rusqlite::ErrorCode::DatabaseBusy));
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(asked().unwrap(), 8);
    }

    #[test]
    fn a_file_with_a_write_ahead_log_is_at_rest_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        assert!(!is_at_rest(&path));
        let db = open(&path, Older::Migrate).unwrap();
        assert!(!is_at_rest(&path));
        drop(db);
        assert!(is_at_rest(&path));
        assert_eq!(version(&path).unwrap(), PRESENT);
        std::fs::write(dir.path().join("portico.db-journal"), "").unwrap();
        assert!(!is_at_rest(&path));
    }
}
