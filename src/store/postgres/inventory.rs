//! The SQL of the inventory, and word of its changes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{poll_fn, try_join};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Row};

use super::error::Trouble;
use super::rows::Unreadable;
use super::session::Connector;
use super::target::Target;
use super::text::to_column as text;
use super::{OPEN_WITHIN, Postgres, WITHIN, connect, schema};
use crate::chain::Chain;
use crate::model::{Change, Inventory, Secret};
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::inventory::{Applied, Applying, Inventories, Part, REMEMBERED, SavedInventory};
use crate::store::inventory_row::{self, SavedRow};
use crate::store::ledger::KEPT;
use crate::store::seal::Seal;

const IN_FORCE: &str = "SELECT revision, digest, applied_by, applied_at_ms FROM inventory_revisions
    ORDER BY revision DESC LIMIT 1";
const LAST: &str = "SELECT revision, digest, applied_by, applied_at_ms FROM inventory_revisions
    WHERE digest = $1 ORDER BY revision DESC LIMIT 1";
/// Of one moment, as it is one statement: the next revision takes the rows of this one away.
const LOAD: &str = "SELECT revision, digest, applied_by, applied_at_ms, kind, name, origin, spec
    FROM (SELECT * FROM inventory_revisions ORDER BY revision DESC LIMIT 1) AS applied
        LEFT JOIN (SELECT * FROM inventory WHERE $1 OR origin = 'api') AS part USING (revision)
    ORDER BY position";
const APPLY: &str = "WITH applied AS (
        INSERT INTO inventory_revisions (digest, applied_by, applied_at_ms, follows)
            SELECT $1, $2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $8::bigint
                WHERE (SELECT coalesce(max(revision), 0) FROM inventory_revisions) = $8::bigint
            ON CONFLICT DO NOTHING RETURNING revision, digest, applied_by, applied_at_ms),
    put AS (INSERT INTO inventory (revision, position, kind, name, origin, spec)
        SELECT revision, position, kind, name, origin, spec
            FROM applied, unnest($3::text[], $4::text[], $5::text[], $6::text[])
                WITH ORDINALITY AS object (kind, name, origin, spec, position)),
    gone AS (DELETE FROM inventory USING applied WHERE inventory.revision < applied.revision),
    forgotten AS (DELETE FROM inventory_revisions AS old USING applied
        WHERE old.digest = applied.digest AND old.revision < applied.revision OR old.revision NOT IN (
            SELECT revision FROM inventory_revisions ORDER BY revision DESC LIMIT $7::bigint)),
    written AS (INSERT INTO changes (at_ms, who, action, object, before, after)
        SELECT $9::bigint, $10, $11, $12, $13, $14 FROM applied WHERE $9::bigint IS NOT NULL
            RETURNING number),
    unwritten AS (DELETE FROM changes USING written WHERE changes.number <= written.number - $15::bigint)
    SELECT revision, digest, applied_by, applied_at_ms,
        pg_notify('portico_inventory', revision::text)::text FROM applied";

/// Between two attempts to listen.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Postgres {
    /// What is in force in the store of this URL, if anything was ever applied there, and whether the digest once
    /// was. Nothing is changed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn peek(
        url: &Secret,
        key: Option<&Secret>,
        former_key: Option<&Secret>,
        digest: &str,
    ) -> Result<Option<(SavedInventory, bool)>, Error> {
        let target = Target::parse(url)?;
        let session = connect(&Connector::new(&target).only_reading(), &target).await?;
        if schema::version(&target, &session.client).await? == 0 {
            return Ok(None);
        }
        let params: [&(dyn ToSql + Sync); 2] = [&true, &digest];
        let asked = try_join(
            session.client.query(LOAD, &params[..1]),
            session.client.query_opt(LAST, &params[1..]),
        );
        let (rows, last) = timeout(WITHIN, asked)
            .await
            .map_err(|_elapsed| Trouble::Slow { place: target.place.clone() })?
            .map_err(|error| Trouble::new(&target, &error))?;
        let read = || {
            let Some(first) = rows.first() else { return Ok(None) };
            let objects: Vec<_> = rows.iter().map(object).collect::<Result<_, _>>()?;
            let objects: Vec<_> = objects.into_iter().flatten().collect();
            let seal = Seal::new(key, former_key);
            let inventory = inventory_row::read(objects, &seal).map_err(Unreadable)?;
            let saved = SavedInventory { applied: applied(first)?, inventory };
            Ok::<_, Unreadable>(Some((saved, last.is_some())))
        };
        let place = target.place.clone();
        Ok(read().map_err(|Unreadable(reason)| Trouble::Row { place, reason })?)
    }
}

#[async_trait]
impl Inventories for Postgres {
    async fn inventory_in_force(&self) -> Result<Option<Applied>, Error> {
        let reader = self.reader().await?;
        let rows = reader.rows(IN_FORCE, &[]).await?;
        Ok(reader.read_all(&rows, applied)?.pop())
    }

    async fn last_applied(&self, digest: &str) -> Result<Option<Applied>, Error> {
        let reader = self.reader().await?;
        let rows = reader.rows(LAST, &[&digest]).await?;
        Ok(reader.read_all(&rows, applied)?.pop())
    }

    async fn load_inventory(&self, part: Part) -> Result<Option<SavedInventory>, Error> {
        let reader = self.reader().await?;
        let rows = reader.rows(LOAD, &[&(part == Part::Whole)]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let applied = reader.read_all(std::slice::from_ref(first), applied)?.pop();
        let Some(applied) = applied else { return Ok(None) };
        let objects: Vec<_> = reader.read_all(&rows, object)?.into_iter().flatten().collect();
        let inventory = inventory_row::read(objects, &self.seal)
            .map_err(|reason| Trouble::Row { place: self.target.place.clone(), reason })?;
        Ok(Some(SavedInventory { applied, inventory }))
    }

    async fn apply_inventory(
        &self,
        inventory: &Inventory,
        Applying { digest, by, base, change }: Applying<'_>,
    ) -> Result<Option<Applied>, Error> {
        let objects = inventory_row::objects(inventory, &self.seal);
        let kinds: Vec<&str> = objects.iter().map(|object| object.kind).collect();
        let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
        let origins: Vec<&str> = objects.iter().map(|object| object.origin).collect();
        let base = i64::try_from(base).unwrap_or(i64::MAX);
        let specs: Vec<&str> = objects.iter().map(|object| object.spec.as_str()).collect();
        let word = |of: fn(&Change) -> &str| change.map(|change| text(of(change)));
        let (who, action) = (word(|change| &change.who), word(|change| &change.action));
        let object_name = word(|change| &change.object);
        let json = |of: fn(&Change) -> Option<&str>| change.and_then(of).map(text);
        let before = json(|change| change.before.as_deref());
        let after = json(|change| change.after.as_deref());
        let at_ms = change.map(|change| to_column(change.at_ms));
        let reader = self.reader().await?;
        let params: &[&(dyn ToSql + Sync)] = &[
            &digest,
            &by,
            &kinds,
            &names,
            &origins,
            &specs,
            &REMEMBERED,
            &base,
            &at_ms,
            &who,
            &action,
            &object_name,
            &before,
            &after,
            &KEPT,
        ];
        let rows = reader.rows(APPLY, params).await?;
        Ok(reader.read_all(&rows, applied)?.pop())
    }

    fn inventory_changes(&self) -> Option<watch::Receiver<u64>> {
        let (sender, receiver) = watch::channel(0);
        // It ends when nobody has the receiver any more.
        drop(self.runtime.spawn(listen(self.target.clone(), sender)));
        Some(receiver)
    }
}

/// Tells of every notification, and of every time that one may have been missed.
async fn listen(target: Arc<Target>, sender: watch::Sender<u64>) {
    loop {
        tokio::select! {
            () = sender.closed() => return,
            ended = listen_once(&target, &sender) => {
                if let Err(error) = ended {
                    log::debug!("changes of the inventory are not heard of: {}", Chain(&error));
                }
            }
        }
        tokio::select! {
            () = sender.closed() => return,
            () = sleep(AGAIN_AFTER) => {}
        }
    }
}

/// Until the connection ends.
async fn listen_once(
    target: &Target,
    sender: &watch::Sender<u64>,
) -> Result<(), tokio_postgres::Error> {
    let Ok(connected) = timeout(OPEN_WITHIN, target.config.connect(target.tls.clone())).await
    else {
        return Ok(());
    };
    let (client, mut connection) = connected?;
    let asking = client.batch_execute("SET idle_session_timeout = 0; LISTEN portico_inventory");
    tokio::pin!(asking);
    let mut is_asked = false;
    loop {
        tokio::select! {
            asked = &mut asking, if !is_asked => {
                asked?;
                is_asked = true;
                // What was told before is not told again.
                sender.send_modify(|changes| *changes += 1);
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(_))) => {
                    sender.send_modify(|changes| *changes += 1);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

fn applied(row: &Row) -> Result<Applied, Unreadable> {
    let number = |column| get::<i64>(row, column).map(i64::unsigned_abs);
    Ok(Applied { revision: number(0)?, digest: get(row, 1)?, by: get(row, 2)?, at_ms: number(3)? })
}

/// Nothing for an empty inventory, which has no rows.
fn object(row: &Row) -> Result<Option<SavedRow>, Unreadable> {
    let Some(kind) = get::<Option<String>>(row, 4)? else { return Ok(None) };
    Ok(Some(SavedRow { kind, name: get(row, 5)?, origin: get(row, 6)?, spec: get(row, 7)? }))
}

fn get<'r, T: tokio_postgres::types::FromSql<'r>>(
    row: &'r Row,
    column: usize,
) -> Result<T, Unreadable> {
    let unreadable = |_error| Unreadable(format!("inventory, column {column}: has another type"));
    row.try_get(column).map_err(unreadable)
}
