//! The thread that owns the connection.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{op, rows};
use crate::store::op::Op;
use crate::store::seal::Seal;
use crate::store::{Error, Health, Saved};

/// Most changes in one transaction, so that the first of a long queue does not wait for the last.
const BATCH: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Job {
    Write(Op, Reply<()>),
    Load(Seal, Reply<Saved>),
    /// Looks something up and answers by itself.
    Read(Box<dyn FnOnce(&Connection) + Send>),
}

/// Works until every sender is gone and the queue is empty.
pub(super) fn run(path: &Path, mut db: Connection, mut jobs: mpsc::Receiver<Job>, health: &Health) {
    health.set(true);
    let mut batch = Vec::new();
    let mut next = jobs.blocking_recv();
    while let Some(job) = next.take() {
        match job {
            Job::Load(seal, reply) => {
                let saved = rows::load(&db, &seal).map_err(|error| Error::from_sqlite(path, error));
                answer(reply, saved);
            }
            Job::Read(read) => read(&db),
            Job::Write(op, reply) => {
                batch.push((op, reply));
                next = drain(&mut jobs, &mut batch);
                health.set(write(path, &mut db, &mut batch));
            }
        }
        next = next.or_else(|| jobs.blocking_recv());
    }
    if let Err((_, error)) = db.close() {
        log::error!("cannot close {}: {error}", path.display());
    }
}

/// Takes the writes that wait; returns the first job that is none.
fn drain(jobs: &mut mpsc::Receiver<Job>, batch: &mut Vec<(Op, Reply<()>)>) -> Option<Job> {
    while batch.len() < BATCH {
        match jobs.try_recv().ok()? {
            Job::Write(op, reply) => batch.push((op, reply)),
            read => return Some(read),
        }
    }
    None
}

/// Writes all in one transaction. If that fails each is tried alone, so that only the one that
/// cannot be written fails; except when the database as a whole is held by another process, where
/// each would wait its full time for the same answer. Tells whether the last of them was written.
fn write(path: &Path, db: &mut Connection, batch: &mut Vec<(Op, Reply<()>)>) -> bool {
    let together = commit(db, batch.iter().map(|(op, _)| op));
    let shared = together.map_err(|error| Error::from_sqlite(path, error));
    let alone =
        batch.len() > 1 && matches!(&shared, Err(error) if !matches!(error, Error::Locked(_)));
    let mut is_written = true;
    for (op, reply) in batch.drain(..) {
        let result = if alone {
            commit(db, [&op]).map_err(|error| Error::from_sqlite(path, error))
        } else {
            shared.clone()
        };
        is_written = result.is_ok();
        answer(reply, result);
    }
    is_written
}

fn commit<'a>(db: &mut Connection, ops: impl IntoIterator<Item = &'a Op>) -> rusqlite::Result<()> {
    // Immediate: the lock is waited for here, in one place, and not in the middle.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in ops {
        op::apply(change, &transaction)?;
    }
    transaction.commit()
}

fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    // A caller that is gone does not want to know; the change is made nevertheless.
    drop(reply.send(result));
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::{Older, contract, embedded::schema};

    fn database() -> (TempDir, std::path::PathBuf, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        let db = schema::open(&path, Older::Migrate).unwrap();
        (dir, path, db)
    }

    fn put(id: &str, xml_bytes: usize) -> (Op, Reply<()>, oneshot::Receiver<Result<(), Error>>) {
        let mut meeting = contract::meeting("acme", id, "sha1-1");
        meeting.xml = vec![b'x'; xml_bytes].into();
        let (reply, answer) = oneshot::channel();
        (Op::PutMeeting(meeting.into()), reply, answer)
    }

    #[test]
    fn what_waits_shares_one_transaction() {
        let (_dir, path, db) = database();
        let log = path.with_extension("db-wal");
        let before = log.metadata().unwrap().len();
        let (sender, receiver) = mpsc::channel(BATCH);
        for number in 0..BATCH {
            let (op, reply, _) = put(&number.to_string(), 0);
            sender.try_send(Job::Write(op, reply)).unwrap();
        }
        drop(sender);
        // A second connection in use keeps the log from being removed when the writer closes.
        let witness = Connection::open(&path).unwrap();
        rows::load(&witness, &Seal::default()).unwrap();
        run(&path, db, receiver, &Health::default());
        assert_eq!(rows::load(&witness, &Seal::default()).unwrap().meetings.len(), BATCH);
        // Each transaction of its own would have logged at least one page.
        let pages = (log.metadata().unwrap().len() - before) / 4096;
        assert!(pages < BATCH as u64 / 2, "{pages} pages");
    }

    #[test]
    fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
        let (_dir, path, mut db) = database();
        let pages: u32 = db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        // Answers with the new limit.
        db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();

        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        for (id, xml_bytes) in [("first", 9), ("large", 100_000), ("last", 9)] {
            let (op, reply, answer) = put(id, xml_bytes);
            batch.push((op, reply));
            answers.push(answer);
        }
        write(&path, &mut db, &mut batch);

        let results = answers.into_iter().map(|mut answer| answer.try_recv().unwrap());
        let [first, large, last] = results.collect::<Vec<_>>().try_into().unwrap();
        first.and(last).unwrap();
        let error = large.unwrap_err();
        assert!(matches!(&error, Error::Full(full) if *full == path), "{error}");
        let mut kept: Vec<_> = rows::load(&db, &Seal::default())
            .unwrap()
            .meetings
            .into_iter()
            .map(|meeting| meeting.key.id)
            .collect();
        kept.sort();
        assert_eq!(kept, ["first", "last"]);
    }
}
