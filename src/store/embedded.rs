//! The store for one instance: `SQLite` in `data_dir`, nothing to install.
//!
//! One thread owns the only connection. What waits for it is written in one transaction, so that a
//! burst of creates shares one `fsync` instead of queueing for one each. Write-ahead log and
//! `synchronous=FULL`: a commit that returned survives `kill -9` and loss of power.
//!
//! Another process may have the same file open, as during an upgrade without a gap.

mod arbiter;
mod assets;
mod callbacks;
mod chronicle;
mod commands;
mod counters;
mod deliveries;
mod expire;
mod history;
mod inventory;
mod ledger;
mod op;
mod outbox;
mod peaks;
mod rows;
mod schema;
mod sealing;
mod statistics;
mod writer;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::arbiter::{Adding, Arbiter, Claim, Claiming, Saving, Standing};
use super::health::Asking;
use super::op::{Arbitrate, Flag, Op};
use super::seal::Seal;
use super::{
    Error, Health, Older, Opening, Saved, SavedAsset, SavedNode, SchemaVersion, Store, WantedAsset,
};
use crate::model::{
    AdminState, Asset, AssetKey, Hook, InstanceId, Meeting, MeetingKey, NodeName, Slug,
};
use writer::Job;

pub use chronicle::EmbeddedChronicle;

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
    seal: Seal,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    health: Health,
}

impl Embedded {
    /// Opens `portico.db` in `data_dir`, both of which it creates where they are missing, and brings
    /// it to the present schema. Blocks while it reads and writes files.
    ///
    /// # Errors
    ///
    /// See [`Error`]; each names the file and the remedy.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        Self::open_as(data_dir, Older::Migrate)
    }

    /// The same, and says how.
    ///
    /// # Errors
    /// See [`Error`]; each names the file and the remedy.
    pub fn open_as(data_dir: &Path, opening: impl Into<Opening>) -> Result<Self, Error> {
        let Opening { older, key, former_key, health, .. } = opening.into();
        create_private(data_dir)
            .map_err(|error| Error::NoDirectory(data_dir.to_owned(), Arc::new(error)))?;
        let path = Self::file(data_dir);
        let connection = schema::open(&path, older)?;
        let seal = Seal::new(key.as_ref(), former_key.as_ref());
        sealing::seal_all(&path, &connection, &seal);
        Self::start(path.clone(), connection, seal, health)
            .map_err(|error| Error::from_io(&path, error))
    }

    /// Where the database is.
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// How far the schema has come; nothing is changed, nor created.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn version(data_dir: &Path) -> Result<SchemaVersion, Error> {
        let found = schema::version(&Self::file(data_dir))?;
        Ok(SchemaVersion { found, known: schema::PRESENT })
    }

    fn start(path: PathBuf, db: Connection, seal: Seal, health: Health) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = thread::Builder::new().name("store".to_owned()).spawn({
            let (path, health) = (path.clone(), health.clone());
            move || writer::run(&path, db, receiver, &health)
        })?;
        Ok(Self { path, seal, jobs: Some(sender), writer: Some(writer), health })
    }

    async fn write(&self, op: Op) -> Result<(), Error> {
        self.health.timed(Asking::Write, self.tell(|reply| Job::Write(op, reply))).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let path = self.path.clone();
        let read =
            move |db: &Connection| read(db).map_err(|error| Error::from_sqlite(&path, error));
        self.ask(|reply| {
            // A caller that is gone does not want to know.
            Job::Read(Box::new(move |db| drop(reply.send(read(db)))))
        })
        .await
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Job,
    ) -> Result<T, Error> {
        self.health.timed(Asking::Ask, self.tell(job)).await
    }

    async fn tell<T>(
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

/// The database has secrets of nodes in it.
fn create_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
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
    async fn probe(&self) -> Result<(), Error> {
        self.write(Op::Probe).await
    }

    async fn load(&self) -> Result<Saved, Error> {
        self.ask(|reply| Job::Load(self.seal.clone(), reply)).await
    }

    async fn find_meetings(&self, wanted: &[(Slug, String)]) -> Result<Vec<Meeting>, Error> {
        let wanted = wanted.to_vec();
        self.read(move |db| rows::find(db, &wanted)).await
    }

    async fn put_meeting(&self, meeting: &Meeting) -> Result<(), Error> {
        self.write(Op::PutMeeting(meeting.clone().into())).await
    }

    async fn remove_meeting(&self, key: &MeetingKey, internal_id: &str) -> Result<bool, Error> {
        let (op, is_removed) = Op::remove_meeting(key, internal_id);
        self.write(op).await?;
        Ok(is_removed.get())
    }

    async fn put_node(&self, node: &SavedNode) -> Result<(), Error> {
        self.write(Op::put_node(node, &self.seal)).await
    }

    async fn describe_node(&self, node: &SavedNode) -> Result<(), Error> {
        self.write(Op::describe_node(node, &self.seal)).await
    }

    async fn node_states(&self) -> Result<HashMap<NodeName, AdminState>, Error> {
        self.read(rows::node_states).await
    }

    async fn remove_node(&self, name: &NodeName) -> Result<(), Error> {
        self.write(Op::RemoveNode(name.clone())).await
    }

    async fn list_assets(&self) -> Result<Vec<SavedAsset>, Error> {
        self.read(assets::list).await
    }

    async fn find_asset(
        &self,
        key: &AssetKey,
        wanted: WantedAsset<'_>,
    ) -> Result<Option<Arc<Asset>>, Error> {
        let (key, wanted) = (key.clone(), wanted.words());
        self.read(move |db| assets::find(db, &key, &wanted)).await
    }

    async fn put_asset(&self, key: &AssetKey, asset: &Arc<Asset>) -> Result<(), Error> {
        self.write(Op::PutAsset(key.clone(), asset.clone())).await
    }

    async fn remove_asset(&self, asset: &SavedAsset, age: Duration) -> Result<(), Error> {
        self.write(Op::RemoveAsset(asset.clone(), age)).await
    }

    async fn put_hook(&self, hook: &Hook) -> Result<(), Error> {
        self.write(Op::PutHook(hook.clone().into())).await
    }

    async fn remove_hook(&self, id: u64) -> Result<(), Error> {
        self.write(Op::RemoveHook(id)).await
    }
}

#[async_trait]
impl Arbiter for Embedded {
    fn is_shared(&self) -> bool {
        false
    }

    async fn claim_meeting(&self, claim: &Claim) -> Result<Claiming, Error> {
        let (is_ours, is_inherited) = (Flag::default(), Flag::default());
        let wanted = claim.clone();
        let told = Arbitrate::Claim {
            claim: claim.clone().into(),
            is_ours: is_ours.clone(),
            is_inherited: is_inherited.clone(),
        };
        self.write(Op::Arbitrate(told)).await?;
        if is_ours.get() {
            return Ok(if is_inherited.get() { Claiming::Inherited } else { Claiming::Ours });
        }
        let running = self.read(move |db| arbiter::running(db, &wanted)).await?;
        Ok(running.map_or(Claiming::Theirs, |meeting| Claiming::Runs(meeting.into())))
    }

    async fn release_claim(&self, claim: &Claim) -> Result<(), Error> {
        self.write(Op::Arbitrate(Arbitrate::Release(claim.clone().into()))).await
    }

    async fn renew_claims(&self, instance: &InstanceId, numbers: &[u64]) -> Result<(), Error> {
        let (instance, numbers) = (instance.clone(), numbers.to_vec());
        self.write(Op::Arbitrate(Arbitrate::Renew { instance, numbers })).await
    }

    async fn find_claims(&self, keys: &[MeetingKey]) -> Result<Vec<Standing>, Error> {
        let keys = keys.to_vec();
        self.read(move |db| arbiter::standings(db, &keys)).await
    }

    async fn put_created(&self, meeting: &Meeting, claim: &Claim) -> Result<Saving, Error> {
        self.save(meeting, Some(claim)).await
    }

    async fn put_found(&self, meeting: &Meeting) -> Result<Saving, Error> {
        self.save(meeting, None).await
    }

    async fn add_hook(&self, hook: &Hook) -> Result<Adding, Error> {
        for _ in 0..arbiter::LOOKS {
            let is_kept = Flag::default();
            let add = Arbitrate::AddHook { hook: hook.clone().into(), is_kept: is_kept.clone() };
            self.write(Op::Arbitrate(add)).await?;
            if is_kept.get() {
                return Ok(Adding::Kept);
            }
            if let Some(instead) = Adding::instead(hook, self.find_hooks(None).await?) {
                return Ok(instead);
            }
        }
        Err(Error::Locked(self.path.clone()))
    }

    async fn find_hooks(&self, tenant: Option<&Slug>) -> Result<Vec<Hook>, Error> {
        let mut hooks = self.read(rows::hooks).await?;
        hooks.retain(|hook| tenant.is_none_or(|tenant| hook.scope.tenant == *tenant));
        Ok(hooks)
    }
}
