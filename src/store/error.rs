//! What can go wrong with a store, with the file it is about and what the operator can do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why something could not be read or kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// `data_dir` is no directory and cannot be made one.
    #[error("data directory {} cannot be created: create it, owned by the user Portico runs as", .0.display())]
    NoDirectory(PathBuf, #[source] Arc<io::Error>),
    /// The file cannot be opened for writing.
    #[error("cannot open {} for writing: give the user Portico runs as write access to it and to its directory", path.display())]
    NotWritable {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// No space left on the device.
    #[error("cannot write to {}: the disk or the quota is full, make room", .0.display())]
    Full(PathBuf),
    /// The system could not read or write the file; also where a quota is full.
    #[error("cannot read or write {}: look at its disk and at the quota of the user Portico runs as", path.display())]
    Device {
        /// The database.
        path: PathBuf,
        /// What `SQLite` said.
        source: Arc<rusqlite::Error>,
    },
    /// Another process held the write lock for longer than we wait.
    #[error("{} is locked by another program: stop what else is writing to it", .0.display())]
    Locked(PathBuf),
    /// Not a database, or one that has been damaged.
    #[error("{} is not a healthy SQLite database: move it away or restore it from a backup", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What `SQLite` said.
        source: Arc<rusqlite::Error>,
    },
    /// There is nothing to read, or this user may not see it.
    #[error(
        "there is no store at {}, or this user may not see it: correct `data_dir` in the configuration, or let \
         `portico serve` run with it first", .0.display()
    )]
    Absent(PathBuf),
    /// Written by a newer version.
    #[error(
        "{} has schema version {found}, this Portico knows up to {known}: start the newer version \
         that wrote it, or restore a backup from before the upgrade", path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last version that we know.
        known: u32,
    },
    /// Older than this version needs, and `store.migrate` is off.
    #[error(
        "{} has schema version {found}, this Portico needs {known}: run `portico migrate`, or remove \
         `migrate: false` from `store`", path.display()
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its version; 0 is none.
        found: u32,
        /// The version that is needed.
        known: u32,
    },
    /// Anything else that `SQLite` refuses.
    #[error("cannot use {}", path.display())]
    Other {
        /// The database.
        path: PathBuf,
        /// What `SQLite` said.
        source: Arc<rusqlite::Error>,
    },
    /// Whatever is wrong with PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] super::Trouble),
    /// No answer in time.
    #[error("the store does not answer: look at its load, its disk and the network to it")]
    Silent,
    /// The writer has ended; only after a bug.
    #[error("the writer of {} has ended: restart Portico and report this", .0.display())]
    Ended(PathBuf),
}

impl Error {
    /// Whether it may be well in a moment, by itself.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Locked(_) | Self::Silent => true,
            Self::Postgres(trouble) => trouble.is_passing(),
            _ => false,
        }
    }

    /// Whether it may be well in a while, as after a fail-over, or when somebody has made room: a start waits
    /// for it.
    pub fn is_worth_waiting_for(&self) -> bool {
        use super::Trouble::{Full, ReadOnly};

        self.is_passing()
            || matches!(self, Self::Full(_) | Self::Postgres(ReadOnly { .. } | Full { .. }))
    }

    /// Whether it may be about what was to be kept, rather than about the store.
    pub fn may_be_about_rows(&self) -> bool {
        match self {
            Self::Other { source, .. } => match (&**source, source.sqlite_error_code()) {
                (rusqlite::Error::SqlInputError { .. }, _) => false,
                // What the driver itself refuses has no code.
                (_, code) => code.is_none_or(|code| {
                    use ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
                    matches!(code, ConstraintViolation | TooBig | TypeMismatch)
                }),
            },
            Self::Postgres(trouble) => matches!(trouble, super::Trouble::Unfit { .. }),
            _ => false,
        }
    }

    pub(super) fn from_io(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.into()),
            _ => Self::NotWritable { path: path.into(), source: Arc::new(error) },
        }
    }

    pub(super) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let source = Arc::new(error);
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::SystemIoFailure) => Self::Device { path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(path),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, source }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, source }
            }
            _ => Self::Other { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_sqlite_says_is_told_with_the_remedy() {
        for (code, remedy) in [
            (ffi::SQLITE_FULL, "the disk or the quota is full, make room"),
            // What it says of a full quota.
            (ffi::SQLITE_IOERR_WRITE, "look at its disk and at the quota of the user"),
            (ffi::SQLITE_BUSY, "stop what else is writing to it"),
            (ffi::SQLITE_NOTADB, "restore it from a backup"),
            (ffi::SQLITE_READONLY, "give the user Portico runs as write access"),
        ] {
            let said = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = Error::from_sqlite(Path::new("/data/portico.db"), said).to_string();
            assert!(error.contains("/data/portico.db") && error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn rows_are_suspected_only_of_what_can_be_about_them() {
        for (code, may_be) in [
            (ffi::SQLITE_CONSTRAINT_TRIGGER, true),
            (ffi::SQLITE_CONSTRAINT_CHECK, true),
            (ffi::SQLITE_TOOBIG, true),
            (ffi::SQLITE_NOMEM, false),
            // As where a table is gone.
            (ffi::SQLITE_ERROR, false),
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_BUSY, false),
        ] {
            let said = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = Error::from_sqlite(Path::new("portico.db"), said);
            assert_eq!(error.may_be_about_rows(), may_be, "{error:?}");
        }
        // As where a column is gone: the place in the SQL is told with it.
        let db = rusqlite::Connection::open_in_memory().unwrap();
        let said = db.execute("SELECT gone FROM (SELECT 1 AS there)", []).unwrap_err();
        let error = Error::from_sqlite(Path::new("portico.db"), said);
        assert!(!error.may_be_about_rows(), "{error:?}");
    }
}
