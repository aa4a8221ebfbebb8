//! The thread that owns the connection.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{op::Op, rows};
use crate::store::{Error, Saved};

/// Most changes in one transaction, so that the first of a long queue does not wait for the last.
const BATCH: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Job {
    Write(Op, Reply<()>),
    Load(Reply<Saved>),
}

/// Works until every sender is gone and the queue is empty.
pub(super) fn run(path: &Path, mut db: Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    let mut next = jobs.blocking_recv();
    while let Some(job) = next.take() {
        match job {
            Job::Load(reply) => {
                let saved = rows::load(&db).map_err(|error| Error::from_sqlite(path, error));
                answer(reply, saved);
            }
            Job::Write(op, reply) => {
                batch.push((op, reply));
                next = drain(&mut jobs, &mut batch);
                write(path, &mut db, &mut batch);
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
            load @ Job::Load(_) => return Some(load),
        }
    }
    None
}

/// Writes all in one transaction. If that fails each is tried alone, so that only the one that
/// cannot be written fails; except when the database as a whole is held by another process, where
/// each would wait its full time for the same answer.
fn write(path: &Path, db: &mut Connection, batch: &mut Vec<(Op, Reply<()>)>) {
    let together = commit(db, batch.iter().map(|(op, _)| op));
    let shared = together.map_err(|error| Error::from_sqlite(path, error));
    let alone =
        batch.len() > 1 && matches!(&shared, Err(error) if !matches!(error, Error::Locked(_)));
    for (op, reply) in batch.drain(..) {
        let result = if alone {
            commit(db, [&op]).map_err(|error| Error::from_sqlite(path, error))
        } else {
            shared.clone()
        };
        answer(reply, result);
    }
}

fn commit<'a>(db: &mut Connection, ops: impl IntoIterator<Item = &'a Op>) -> rusqlite::Result<()> {
    // Immediate: the lock is waited for here, in one place, and not in the middle.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for op in ops {
        op.apply(&transaction)?;
    }
    transaction.commit()
}

fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    // A caller that is gone does not want to know; the change is made nevertheless.
    drop(reply.send(result));
}
