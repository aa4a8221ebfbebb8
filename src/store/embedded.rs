//! The store for one instance: `SQLite` in `data_dir`, nothing to install.
//!
//! One thread owns the only connection. What waits for it is written in one transaction, so that a
//! burst of creates shares one `fsync` instead of queueing for one each. Write-ahead log and
//! `synchronous=FULL`: a commit that returned survives `kill -9` and loss of power.
//!
//! Another process may have the same file open, as during an upgrade without a gap.

mod op;
mod rows;
mod schema;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Error, Saved, SavedNode, Store};
use crate::model::{Meeting, MeetingKey, NodeName, Slug};
use op::Op;
use writer::Job;

/// The database in `data_dir`.
const FILE: &str = "portico.db";

/// Jobs that may wait; past it callers wait to enqueue. Several times what one transaction takes.
const QUEUE: usize = 2048;

/// `SQLite` in a directory.
///
/// Dropping it writes what waits, closes the file and ends the thread.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens `portico.db` in `data_dir`, which must exist, and creates it with the present schema
    /// or brings it there. Blocks while it reads and writes files.
    ///
    /// # Errors
    ///
    /// See [`Error`]; each names the file and the remedy.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        if !data_dir.is_dir() {
            return Err(Error::NoDirectory(data_dir.to_owned()));
        }
        let path = data_dir.join(FILE);
        let connection = schema::open(&path)?;
        Self::start(path.clone(), connection).map_err(|error| Error::from_io(&path, error))
    }

    fn start(path: PathBuf, connection: Connection) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = thread::Builder::new().name("store".to_owned()).spawn({
            let path = path.clone();
            move || writer::run(&path, connection, receiver)
        })?;
        Ok(Self { path, jobs: Some(sender), writer: Some(writer) })
    }

    async fn write(&self, op: Op) -> Result<(), Error> {
        self.ask(|reply| Job::Write(op, reply)).await
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Job,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        if let Some(jobs) = &self.jobs
            && jobs.send(job(reply)).await.is_ok()
            && let Ok(result) = answer.await
        {
            return result;
        }
        Err(Error::Ended(self.path.clone()))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The writer ends when it has emptied a queue that nobody can fill any more.
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            log::error!("the writer of {} panicked", self.path.display());
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn load(&self) -> Result<Saved, Error> {
        self.ask(Job::Load).await
    }

    async fn put_meeting(&self, meeting: &Meeting) -> Result<(), Error> {
        self.write(Op::PutMeeting(meeting.clone())).await
    }

    async fn remove_meeting(&self, key: &MeetingKey, internal_id: &str) -> Result<(), Error> {
        self.write(Op::RemoveMeeting { key: key.clone(), internal_id: internal_id.into() }).await
    }

    async fn put_node(&self, node: &SavedNode) -> Result<(), Error> {
        self.write(Op::PutNode(node.clone())).await
    }

    async fn remove_node(&self, name: &NodeName) -> Result<(), Error> {
        self.write(Op::RemoveNode(name.clone())).await
    }

    async fn put_tenant(&self, slug: &Slug, json: &str) -> Result<(), Error> {
        self.write(Op::PutTenant { slug: slug.clone(), json: json.into() }).await
    }

    async fn remove_tenant(&self, slug: &Slug) -> Result<(), Error> {
        self.write(Op::RemoveTenant(slug.clone())).await
    }
}
