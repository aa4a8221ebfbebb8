//! The store that several instances may share: a PostgreSQL database.
//!
//! Writes go through one writer, in the order in which they were begun; reads take a connection from a
//! pool, after what was written before them. A connection that was lost is replaced. While there is none
//! everything fails at once: nothing that needs no store ever waits for it.
//!
//! Every change is of single rows by their keys, so that instances do not overwrite each other's.

mod apply;
mod arbiter;
mod callbacks;
mod chronicle;
mod commands;
mod counters;
mod debts;
mod deliveries;
mod error;
mod history;
mod inventory;
mod ledger;
mod outbox;
mod peaks;
mod rows;
mod schema;
mod session;
mod statistics;
mod target;
mod text;
mod tls;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};

pub use error::Trouble;
#[cfg(test)]
pub(super) use tests::MISCOUNTED;

use self::debts::Debts;
use self::error::Cause;
use self::rows::Unreadable;
use self::session::{Connector, Session};
use self::target::Target;
use self::writer::{Job, Writer};
use super::health::Asking;
use super::op::Op;
use super::seal::Seal;
use super::{
    Error, Health, Older, Opening, Saved, SavedAsset, SavedNode, SchemaVersion, Store, WantedAsset,
};
use crate::model::{
    AdminState, Asset, AssetKey, Hook, Meeting, MeetingKey, NodeName, Secret, Slug,
};

/// Jobs that may wait; past it callers wait to enqueue. Several times what one transaction takes.
const QUEUE: usize = 2048;
/// Reads are rare, and a server counts its connections.
const READERS: usize = 4;
/// For one read. The server gives up by itself earlier, so this is a connection to nobody.
const WITHIN: Duration = Duration::from_secs(8);
/// For a connection from the pool: to wait for one, to look whether it still lives, to make one.
const POOL_WITHIN: Duration = Duration::from_secs(3);
/// For all rows at the start. The server gives up earlier on each table, so this is a connection to nobody.
const LOAD_WITHIN: Duration = Duration::from_mins(10);
/// For the first connection and its questions.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// A PostgreSQL database.
///
/// Its connections live on the runtime on which it was opened.
pub struct Postgres {
    target: Arc<Target>,
    jobs: mpsc::Sender<Job>,
    pool: Pool,
    runtime: Handle,
    seal: Seal,
    health: Health,
}

impl Postgres {
    /// Host, port and database of a URL; nobody is asked.
    ///
    /// # Errors
    /// What is wrong with it, without its password.
    pub fn place(url: &Secret) -> Result<Arc<str>, Error> {
        Ok(Target::parse(url)?.place)
    }

    /// Connects, looks at the server and brings the database to the present schema.
    ///
    /// # Errors
    /// See [`Trouble`]; each names the setting and the remedy.
    pub async fn open(url: &Secret, opening: impl Into<Opening>) -> Result<Self, Error> {
        let Opening { older, key, former_key, clock, health } = opening.into();
        let target = Target::parse(url)?;
        let connector = Connector::new(&target).comparing(clock);
        let mut session = connect(&connector, &target).await?;
        match older {
            Older::Migrate => drop(schema::migrate(&target, &mut session.client).await?),
            Older::Refuse => schema::check(&target, &session.client).await?,
        }
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_connect(target.config.clone(), connector.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(READERS)
            .wait_timeout(Some(POOL_WITHIN))
            .create_timeout(Some(POOL_WITHIN))
            .recycle_timeout(Some(POOL_WITHIN))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Trouble::Other {
                place: target.place.clone(),
                source: Cause::new(error.to_string()),
            })?;
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let runtime = Handle::current();
        // It ends when nobody can give it a job any more.
        let owed = Debts::new();
        let kept = health.clone();
        let writer = Writer { target: target.clone(), connector, jobs: receiver, owed, health };
        drop(runtime.spawn(writer.run(session)));
        let seal = Seal::new(key.as_ref(), former_key.as_ref());
        Ok(Self { target: Arc::new(target), jobs, pool, runtime, seal, health: kept })
    }

    /// How far the schema of a database has come; nothing is changed.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn version(url: &Secret) -> Result<SchemaVersion, Error> {
        let target = Target::parse(url)?;
        let session = connect(&Connector::new(&target).only_reading(), &target).await?;
        let found = schema::version(&target, &session.client).await?;
        Ok(SchemaVersion { found, known: schema::PRESENT })
    }

    /// Brings a database to the present schema; tells the version that it had before.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn migrate(url: &Secret) -> Result<SchemaVersion, Error> {
        let target = Target::parse(url)?;
        let mut session = connect(&Connector::new(&target), &target).await?;
        let found = schema::migrate(&target, &mut session.client).await?;
        Ok(SchemaVersion { found, known: schema::PRESENT })
    }

    async fn write(&self, op: Op) -> Result<(), Error> {
        self.health.timed(Asking::Write, self.ask(|reply| Job::Write(op, reply))).await
    }

    async fn ask(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Job,
    ) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(job(reply)).await.is_ok()
            && let Ok(result) = answer.await
        {
            return result;
        }
        Err(Trouble::Ended(self.target.place.clone()).into())
    }

    /// A connection on which everything can be seen that was begun to be written before.
    async fn reader(&self) -> Result<Reader, Error> {
        self.health.count(Asking::Ask, self.ask(Job::Fence).await)?;
        self.connection().await
    }

    async fn connection(&self) -> Result<Reader, Error> {
        self.health.count(Asking::Ask, self.connect().await)
    }

    async fn connect(&self) -> Result<Reader, Error> {
        let (pool, target) = (self.pool.clone(), self.target.clone());
        let getting = self.runtime.spawn(async move { pool.get().await });
        let place = target.place.clone();
        let db = match getting.await {
            Ok(Ok(db)) => db,
            Ok(Err(PoolError::Backend(error))) => return Err(Trouble::new(&target, &error).into()),
            Ok(Err(PoolError::Timeout(_))) => return Err(Trouble::Slow { place }.into()),
            Ok(Err(error)) => {
                let source = Cause::new(error.to_string());
                return Err(Trouble::Other { place, source }.into());
            }
            // The runtime is being shut down.
            Err(_ended) => return Err(Trouble::Ended(place).into()),
        };
        Ok(Reader { db, target, health: self.health.clone() })
    }
}

async fn connect(connector: &Connector, target: &Target) -> Result<Session, Trouble> {
    timeout(OPEN_WITHIN, Session::open(connector, target, None))
        .await
        .unwrap_or_else(|_elapsed| Err(Trouble::Slow { place: target.place.clone() }))
}

/// A connection for reading.
struct Reader {
    db: Object,
    target: Arc<Target>,
    health: Health,
}

impl Reader {
    async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.health.timed(Asking::Ask, self.ask(sql, params)).await
    }

    async fn ask(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let asking = async {
            let statement = self.db.prepare_cached(sql).await?;
            self.db.query(&statement, params).await
        };
        match timeout(WITHIN, asking).await {
            Ok(asked) => asked.map_err(|error| self.trouble(&error)),
            Err(_elapsed) => Err(Trouble::Slow { place: self.target.place.clone() }.into()),
        }
    }

    async fn load(&mut self, seal: &Seal) -> Result<Saved, Error> {
        let target = self.target.clone();
        let trouble = |error| Error::from(Trouble::new(&target, &error));
        let moment = self.db.build_transaction();
        let moment = moment.isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let moment = moment.start().await.map_err(trouble)?;
        // As long as there is data.
        let patience = "SET LOCAL statement_timeout = '2min'; SET LOCAL enable_seqscan = on";
        moment.batch_execute(patience).await.map_err(trouble)?;
        let saved = rows::load(&moment, seal).await.map_err(trouble)?;
        moment.commit().await.map_err(trouble)?;
        Ok(saved)
    }

    /// All or none: whoever asks for few rows wants to know that one of them is broken.
    fn read_all<T>(
        &self,
        rows: &[Row],
        read: fn(&Row) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Error> {
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|Unreadable(reason)| {
            Trouble::Row { place: self.target.place.clone(), reason }.into()
        })
    }

    fn trouble(&self, error: &tokio_postgres::Error) -> Error {
        Trouble::new(&self.target, error).into()
    }
}

#[async_trait]
impl Store for Postgres {
    async fn probe(&self) -> Result<(), Error> {
        self.write(Op::Probe).await
    }

    async fn load(&self) -> Result<Saved, Error> {
        let mut reader = self.reader().await?;
        let slow = Trouble::Slow { place: self.target.place.clone() };
        timeout(LOAD_WITHIN, reader.load(&self.seal)).await.unwrap_or_else(|_| Err(slow.into()))
    }

    async fn find_meetings(&self, wanted: &[(Slug, String)]) -> Result<Vec<Meeting>, Error> {
        // What others have written is not behind what we write.
        self.connection().await?.find(wanted).await
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
        let reader = self.reader().await?;
        let rows = reader.rows("SELECT name, state FROM nodes", &[]).await?;
        Ok(rows.iter().filter_map(rows::node_state).collect())
    }

    async fn remove_node(&self, name: &NodeName) -> Result<(), Error> {
        self.write(Op::RemoveNode(name.clone())).await
    }

    async fn list_assets(&self) -> Result<Vec<SavedAsset>, Error> {
        let reader = self.reader().await?;
        let found = reader.rows("SELECT tenant, kind, path, digest FROM assets", &[]).await?;
        Ok(found.iter().filter_map(rows::saved_asset).collect())
    }

    async fn find_asset(
        &self,
        key: &AssetKey,
        wanted: WantedAsset<'_>,
    ) -> Result<Option<Arc<Asset>>, Error> {
        let reader = self.reader().await?;
        let sql = "SELECT path, digest, bytes FROM assets
            WHERE tenant = $1 AND kind = $2 AND digest = coalesce($3, digest) AND path = coalesce($4, path)
            ORDER BY kept_at DESC LIMIT 1";
        let words = wanted.words();
        let [digest, path] = words.each_ref().map(|word| word.as_deref().map(text::to_column));
        let params: &[&(dyn ToSql + Sync)] =
            &[&key.tenant.as_str(), &key.kind.as_str(), &digest, &path];
        let found = reader.rows(sql, params).await?;
        Ok(reader.read_all(&found, rows::asset)?.pop().flatten())
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
