//! The SQL of callbacks.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Embedded;
use super::outbox::Taker;
use super::rows::{integer, scope, unreadable, word};
use super::{deliveries, expire, outbox};
use crate::model::{Callback, CallbackToken, MeetingKey, NewDelivery, NodeName, Settled};
use crate::store::Error;
use crate::store::callbacks::{Callbacks, Holder, Outbox, Places, Put, Taking};
use crate::store::op::{Change, Deliver, Op, Portions};

const CALLBACKS: &str = "SELECT tenant, sub_id, meeting_id, token, kind, node, node_meeting_id,
    internal_id, target, created_at_ms FROM callbacks";

pub(super) fn apply(change: &Change, db: &Connection) -> rusqlite::Result<()> {
    match change {
        Change::Put(callbacks) => callbacks.iter().try_for_each(|callback| put(db, callback)),
        Change::Bind { tokens, internal_id } => tokens.iter().try_for_each(|token| {
            db.prepare_cached("UPDATE callbacks SET internal_id = ?2 WHERE token = ?1")?
                .execute([token.expose(), internal_id])
                .map(drop)
        }),
        Change::Remove(tokens) => tokens.iter().try_for_each(|token| {
            for sql in [
                "DELETE FROM callbacks WHERE token = ?1",
                "DELETE FROM deliveries WHERE token = ?1",
            ] {
                db.prepare_cached(sql)?.execute([token.expose()])?;
            }
            Ok(())
        }),
        Change::End { token, at_ms } => db
            .prepare_cached(
                "UPDATE callbacks SET ended_at_ms = ?2 WHERE ended_at_ms IS NULL AND (token = ?1
                     OR internal_id = (SELECT internal_id FROM callbacks WHERE token = ?1))",
            )?
            .execute(params![token.expose(), ms(*at_ms)])
            .map(drop),
        Change::Deliver(deliver) => outbox::deliver(db, deliver),
        Change::Settle { id, holder, at_ms, settled } => {
            outbox::settle(db, *id, *holder, *at_ms, settled)
        }
        Change::Retry { id, at_ms, is_done } => deliveries::retry(db, *id, *at_ms, is_done),
        Change::Discard { id, at_ms, is_done } => deliveries::discard(db, *id, *at_ms, is_done),
        Change::Expire(portion) => expire::apply(portion, db),
    }
}

fn put(db: &Connection, callback: &Callback) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO callbacks (token, kind, tenant, sub_id, meeting_id, node,
             node_meeting_id, internal_id, target, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        callback.token.expose(),
        callback.kind.as_str(),
        callback.key.scope.tenant.as_str(),
        callback.key.scope.sub.get(),
        callback.key.id,
        callback.node.as_str(),
        callback.node_meeting_id,
        callback.internal_id,
        callback.target,
        ms(callback.created_at_ms),
    ])
    .map(drop)
}

fn find(db: &Connection, token: &CallbackToken) -> rusqlite::Result<Option<Callback>> {
    db.prepare_cached(&format!("{CALLBACKS} WHERE token = ?1"))?
        .query_row([token.expose()], callback)
        .optional()
}

fn of_meeting(
    db: &Connection,
    key: &MeetingKey,
    internal_id: &str,
) -> rusqlite::Result<Vec<Callback>> {
    let sql = format!(
        "{CALLBACKS} WHERE internal_id = ?1 AND tenant = ?2 AND sub_id = ?3 AND meeting_id = ?4"
    );
    let (tenant, sub) = (key.scope.tenant.as_str(), key.scope.sub.get());
    db.prepare_cached(&sql)?
        .query_map(params![internal_id, tenant, sub, key.id], callback)?
        .collect()
}

fn callback(row: &Row<'_>) -> rusqlite::Result<Callback> {
    let token: String = row.get(3)?;
    Ok(Callback {
        token: CallbackToken::parse(&token)
            .ok_or_else(|| unreadable(3, "no token of a callback".to_owned()))?,
        kind: word(row, 4)?,
        key: MeetingKey { scope: scope(row)?, id: row.get(2)? },
        node: NodeName::new(row.get::<_, String>(5)?),
        node_meeting_id: row.get(6)?,
        internal_id: row.get(7)?,
        target: row.get(8)?,
        created_at_ms: integer(row, 9)?,
    })
}

/// `SQLite`'s integers are signed; the cap is 292 million years away.
pub(super) fn ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[async_trait]
impl Callbacks for Embedded {
    async fn put_callbacks(&self, callbacks: &[Callback]) -> Result<(), Error> {
        self.write(Op::Callbacks(Change::Put(callbacks.to_vec()))).await
    }

    async fn bind_callbacks(
        &self,
        tokens: &[CallbackToken],
        internal_id: &str,
    ) -> Result<(), Error> {
        let (tokens, internal_id) = (tokens.to_vec(), internal_id.to_owned());
        self.write(Op::Callbacks(Change::Bind { tokens, internal_id })).await
    }

    async fn remove_callbacks(&self, tokens: &[CallbackToken]) -> Result<(), Error> {
        self.write(Op::Callbacks(Change::Remove(tokens.to_vec()))).await
    }

    async fn find_callback(&self, token: &CallbackToken) -> Result<Option<Callback>, Error> {
        let token = token.clone();
        self.read(move |db| find(db, &token)).await
    }

    async fn callbacks_of(
        &self,
        key: &MeetingKey,
        internal_id: &str,
    ) -> Result<Vec<Callback>, Error> {
        let (key, internal_id) = (key.clone(), internal_id.to_owned());
        self.read(move |db| of_meeting(db, &key, &internal_id)).await
    }

    async fn callbacks_of_internal(&self, internal_id: &str) -> Result<Vec<Callback>, Error> {
        let internal_id = internal_id.to_owned();
        self.read(move |db| {
            db.prepare_cached(&format!("{CALLBACKS} WHERE internal_id = ?1"))?
                .query_map([&internal_id], callback)?
                .collect()
        })
        .await
    }

    async fn end_callbacks(&self, token: &CallbackToken, at_ms: u64) -> Result<(), Error> {
        self.write(Op::Callbacks(Change::End { token: token.clone(), at_ms })).await
    }

    async fn put_delivery(&self, delivery: &NewDelivery) -> Result<Put, Error> {
        let deliver = Deliver::new(delivery);
        let outcome = deliver.outcome.clone();
        self.write(Op::Callbacks(Change::Deliver(deliver))).await?;
        Ok(outcome.get())
    }

    async fn take_deliveries(
        &self,
        now_ms: u64,
        places: Places,
        taking: Taking<'_>,
    ) -> Result<Outbox, Error> {
        let taker = Taker::new(taking);
        self.read(move |db| outbox::take(db, now_ms, places, &taker)).await
    }

    async fn give_back(&self, ids: &[i64], holder: Holder) -> Result<(), Error> {
        let ids = ids.to_vec();
        self.read(move |db| outbox::give_back(db, &ids, holder)).await
    }

    async fn payload_of(&self, id: i64) -> Result<Vec<u8>, Error> {
        self.read(move |db| {
            db.prepare_cached("SELECT payload FROM deliveries WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()
        })
        .await
        .map(Option::unwrap_or_default)
    }

    async fn settle_delivery(
        &self,
        id: i64,
        holder: Holder,
        at_ms: u64,
        settled: &Settled,
    ) -> Result<(), Error> {
        let settled = settled.clone();
        self.write(Op::Callbacks(Change::Settle { id, holder, at_ms, settled })).await
    }

    async fn expire_callbacks(&self, now_ms: u64) -> Result<(), Error> {
        for portion in Portions::at(now_ms) {
            self.write(portion).await?;
        }
        Ok(())
    }
}
