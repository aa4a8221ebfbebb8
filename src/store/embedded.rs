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
mod counters;
mod expire;
mod inventory;
mod ledger;
mod op;
mod outbox;
mod rows;
mod schema;
mod sealing;
mod writer;

#[cfg(test)]
mod crash;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::arbiter::{Adding, Arbiter, Claim, Claiming, Saving, Standing};
use super::op::{Arbitrate, Flag, Op};
use super::seal::Seal;
use super::{Error, Health, Older, Opening, Saved, SavedAsset, SavedNode, SchemaVersion, Store};
use crate::model::{Asset, AssetKey, Hook, InstanceId, Meeting, MeetingKey, NodeName, Slug};
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
    seal: Seal,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
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
        let Opening { older, key, health, .. } = opening.into();
        create_private(data_dir)
            .map_err(|error| Error::NoDirectory(data_dir.to_owned(), Arc::new(error)))?;
        let path = Self::file(data_dir);
        let connection = schema::open(&path, older)?;
        let seal = Seal::new(key.as_ref());
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
            let path = path.clone();
            move || writer::run(&path, db, receiver, &health)
        })?;
        Ok(Self { path, seal, jobs: Some(sender), writer: Some(writer) })
    }

    async fn write(&self, op: Op) -> Result<(), Error> {
        self.ask(|reply| Job::Write(op, reply)).await
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

    async fn remove_node(&self, name: &NodeName) -> Result<(), Error> {
        self.write(Op::RemoveNode(name.clone())).await
    }

    async fn list_assets(&self) -> Result<Vec<SavedAsset>, Error> {
        self.ask(Job::ListAssets).await
    }

    async fn find_asset(&self, key: &AssetKey) -> Result<Option<Arc<Asset>>, Error> {
        self.ask(|reply| Job::FindAsset(key.clone(), reply)).await
    }

    async fn put_asset(&self, key: &AssetKey, asset: &Arc<Asset>) -> Result<(), Error> {
        self.write(Op::PutAsset(key.clone(), asset.clone())).await
    }

    async fn remove_asset(&self, key: &AssetKey) -> Result<(), Error> {
        self.write(Op::RemoveAsset(key.clone())).await
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::model::{AdminState, Secret};
    use crate::store::{contract, contract_callbacks};

    fn fresh() -> (TempDir, Embedded) {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        contract::everything_comes_back_as_it_was_put(&fresh().1).await;
        contract::a_look_comes_back_as_it_was_put(&fresh().1).await;
        contract::the_last_put_wins(&fresh().1).await;
        contract::a_meeting_is_found_by_either_of_its_ids(&fresh().1).await;
        contract::two_scopes_may_use_the_same_meeting_id(&fresh().1).await;
        contract::the_late_end_of_a_meeting_spares_its_successor(&fresh().1).await;
        contract::hooks_are_kept_until_they_are_removed(&fresh().1).await;
        contract::one_instance_at_a_time_creates_a_meeting(&fresh().1).await;
        contract::a_saved_meeting_is_not_written_over_by_another(&fresh().1).await;
        contract::a_breakout_room_is_claimed_by_the_name_it_is_created_as(&fresh().1).await;
        contract::counts_add_up(&fresh().1).await;
        contract::a_revoked_token_stays_revoked(&fresh().1).await;
        contract::changes_come_back_the_latest_first(&fresh().1).await;
        contract::the_last_inventory_is_in_force(&fresh().1).await;
        contract::any_change_makes_another_digest(&fresh().1).await;
        let (dir, one) = fresh();
        let two = Embedded::open(dir.path()).unwrap();
        contract::counts_of_many_add_up([&one, &two]).await;
        let (dir, store) = fresh();
        drop(store);
        let sealed = Embedded::open_as(dir.path(), contract::sealing()).unwrap();
        contract::everything_comes_back_as_it_was_put(&sealed).await;
        contract::secrets_are_sealed(&sealed, async |opening| {
            Embedded::open_as(dir.path(), opening).unwrap()
        })
        .await;
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert_eq!(memchr::memmem::find(&bytes, contract::HUSH.as_bytes()), None);
        }
        contract::writes_of_many_callers_are_all_kept(Arc::new(fresh().1)).await;
    }

    #[tokio::test]
    async fn what_stood_in_clear_is_gone_when_it_was_sealed() {
        let (dir, store) = fresh();
        let mut node = contract::retired_node("bbb01");
        node.spec.as_mut().unwrap().secret = Secret::new(contract::HUSH);
        let is_in_clear = || {
            let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
            memchr::memmem::find(&bytes, contract::HUSH.as_bytes()).is_some()
        };
        store.put_node(&node).await.unwrap();
        // Its place is not needed again.
        for name in ["bbb02", "bbb03"] {
            store.put_node(&contract::retired_node(name)).await.unwrap();
        }
        drop(store);
        assert!(is_in_clear());
        let sealed = Embedded::open_as(dir.path(), contract::sealing()).unwrap();
        sealed.put_node(&node).await.unwrap();
        drop(sealed);
        assert!(!is_in_clear());
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_callbacks() {
        contract_callbacks::callbacks_come_back_as_they_were_put(&fresh().1).await;
        contract_callbacks::what_comes_twice_is_delivered_once(&fresh().1).await;
        contract_callbacks::what_is_expected_gives_way_to_what_is_said(&fresh().1).await;
        contract_callbacks::one_origin_does_not_crowd_out_the_others(&fresh().1).await;
        contract_callbacks::one_tenant_does_not_crowd_out_the_others(&fresh().1).await;
        contract_callbacks::those_under_way_keep_their_places(&fresh().1).await;
        contract_callbacks::two_that_deliver_take_turns(&fresh().1).await;
        contract_callbacks::what_was_not_held_on_to_is_anybodys(&fresh().1).await;
        contract_callbacks::events_of_a_hook_are_due_one_after_the_other(&fresh().1).await;
        contract_callbacks::what_waits_for_a_tenant_is_bounded(&fresh().1).await;
        contract_callbacks::what_was_given_up_is_bounded(&fresh().1).await;
        contract_callbacks::callbacks_stay_for_a_while_after_the_end(&fresh().1).await;
        contract_callbacks::callbacks_of_webhooks_go_after_them(&fresh().1).await;
        contract_callbacks::what_is_not_delivered_stays(&fresh().1).await;
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn it_is_a_map_that_survives(steps in contract::steps()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (dir, store) = fresh();
                let map = contract::follow(&store, &steps).await;
                contract::is_the_map(&store, &map).await;
                drop(store);
                contract::is_the_map(&Embedded::open(dir.path()).unwrap(), &map).await;
            });
        }
    }

    #[tokio::test]
    async fn dropping_writes_what_waits() {
        let (dir, store) = fresh();
        let op = |id: &str| Op::PutMeeting(contract::meeting("acme", id, "sha1-1").into());
        for number in 0..1000 {
            let (reply, _nobody_waits) = oneshot::channel();
            let job = Job::Write(op(&number.to_string()), reply);
            store.jobs.as_ref().unwrap().try_send(job).unwrap();
        }
        drop(store);
        let saved = Embedded::open(dir.path()).unwrap().load().await.unwrap();
        assert_eq!(saved.meetings.len(), 1000);
    }

    #[tokio::test]
    async fn rows_that_cannot_be_understood_are_left_out_and_counted() {
        let (dir, store) = fresh();
        let good = contract::meeting("acme", "good", "sha1-1");
        store.put_meeting(&good).await.unwrap();
        Connection::open(dir.path().join(FILE))
            .unwrap()
            .execute_batch(
                "INSERT INTO meetings VALUES ('No Slug', 0, 'm', 'n', 'm', 'i', 0, NULL, x'');
                 INSERT INTO meetings VALUES ('acme', 1000, 'm', 'n', 'm', 'i', 0, NULL, x'');
                 INSERT INTO meetings VALUES ('acme', -1, 'm', 'n', 'm', 'i', 0, NULL, x'');
                 INSERT INTO meetings VALUES ('acme', 1, 'm', 'n', 'm', 'i', -1, NULL, x'');
                 INSERT INTO meetings
                     VALUES ('acme', 2, CAST(x'ff' AS TEXT), 'n', 'm', 'i', 0, NULL, x'');
                 INSERT INTO nodes VALUES ('a', 'lost', NULL);
                 INSERT INTO nodes VALUES ('b', 'retired', '{');",
            )
            .unwrap();
        let saved = store.load().await.unwrap();
        assert_eq!(saved.meetings, [good]);
        // Of the last one it is known what is wanted of it.
        assert_eq!((saved.nodes.len(), saved.skipped), (1, 7));
    }

    #[tokio::test]
    async fn two_may_write_to_one_file() {
        let (dir, old) = fresh();
        let new = Embedded::open(dir.path()).unwrap();
        let (one, two) =
            (contract::meeting("acme", "1", "sha1-1"), contract::meeting("acme", "2", "sha1-1"));
        let (first, second) = tokio::join!(old.put_meeting(&one), new.put_meeting(&two));
        first.and(second).unwrap();
        drop(old);
        assert_eq!(new.load().await.unwrap().meetings.len(), 2);
    }

    #[tokio::test]
    async fn a_lock_that_is_not_given_up_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let db = schema::open(&path, Older::Migrate).unwrap();
        db.busy_timeout(std::time::Duration::ZERO).unwrap();
        let store = Embedded::start(path.clone(), db, Seal::default(), Health::default()).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();

        let node = SavedNode { name: NodeName::new("n"), state: AdminState::Ready, spec: None };
        let error = store.put_node(&node).await.unwrap_err();
        assert!(matches!(&error, Error::Locked(locked) if *locked == path), "{error}");
        assert!(matches!(store.probe().await, Err(Error::Locked(_))));

        other.execute_batch("ROLLBACK").unwrap();
        store.put_node(&node).await.unwrap();
        store.probe().await.unwrap();
        // And has changed nothing.
        drop(schema::open(&path, Older::Migrate).unwrap());
        assert_eq!(store.load().await.unwrap().nodes, [node]);
    }

    #[test]
    fn a_missing_directory_is_created_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("var/portico");
        drop(Embedded::open(&missing).unwrap());
        assert_eq!(std::fs::metadata(&missing).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let below = file.path().join("data");
        let error = Embedded::open(&below).unwrap_err();
        assert!(matches!(&error, Error::NoDirectory(named, _) if *named == below), "{error}");
    }
}
