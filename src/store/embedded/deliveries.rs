//! The SQL by which operators look into the outbox.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Embedded;
use super::callbacks::ms;
use super::outbox::{delivery, never};
use super::rows::{integer, word};
use crate::model::{Slug, Undelivered, Waiting, WantedDeliveries};
use crate::store::Error;
use crate::store::callbacks::{NEVER, OVERFLOW};
use crate::store::deliveries::{DISCARDED, Deliveries};
use crate::store::op::{Change, Flag, Op};

/// Whatever was told and is kept so that it does not come in again is passed over by the index of the state.
const IDS: &str = "SELECT id FROM deliveries WHERE state IN (?1, ?2) AND id > ?3
        AND (?4 IS NULL OR owner = ?4)
        AND EXISTS (SELECT 1 FROM callbacks WHERE callbacks.token = deliveries.token)
    ORDER BY id LIMIT ?5";
const ONE: &str =
    "SELECT tenant, sub_id, meeting_id, id, kind, coalesce(target, ''), received_at_ms,
        attempts, next_attempt_at_ms, node, state, settled_at_ms, last_error,
        state = 'pending' AND held_until_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER)
    FROM deliveries JOIN callbacks USING (token) WHERE id = ?1 AND state <> 'delivered'";
const IS_FREE: &str = "NOT (state = 'pending'
    AND held_until_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER))";

#[async_trait]
impl Deliveries for Embedded {
    async fn undelivered(&self, wanted: &WantedDeliveries) -> Result<Vec<Undelivered>, Error> {
        let wanted = wanted.clone();
        self.read(move |db| list(db, &wanted)).await
    }

    async fn find_undelivered(&self, id: i64) -> Result<Option<Undelivered>, Error> {
        self.read(move |db| find(db, id)).await
    }

    async fn retry_delivery(&self, id: i64, at_ms: u64) -> Result<bool, Error> {
        let is_done = Flag::default();
        let told = is_done.clone();
        self.write(Op::Callbacks(Change::Retry { id, at_ms, is_done: told })).await?;
        Ok(is_done.get())
    }

    async fn discard_delivery(&self, id: i64, at_ms: u64) -> Result<bool, Error> {
        let is_done = Flag::default();
        let told = is_done.clone();
        self.write(Op::Callbacks(Change::Discard { id, at_ms, is_done: told })).await?;
        Ok(is_done.get())
    }
}

fn list(db: &Connection, wanted: &WantedDeliveries) -> rusqlite::Result<Vec<Undelivered>> {
    let WantedDeliveries { tenant, state, after, limit } = wanted;
    let [one, other] = match state {
        Some(state) => [*state; 2],
        None => Waiting::ALL,
    };
    let tenant = tenant.as_ref().map(Slug::as_str);
    let ids: Vec<i64> = db
        .prepare_cached(IDS)?
        .query_map(params![one.as_str(), other.as_str(), after, tenant, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    ids.into_iter().filter_map(|id| find(db, id).transpose()).collect()
}

fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Undelivered>> {
    db.prepare_cached(ONE)?.query_row([id], undelivered).optional()
}

fn undelivered(row: &Row<'_>) -> rusqlite::Result<Undelivered> {
    let state: Waiting = word(row, 10)?;
    let next: i64 = row.get(8)?;
    let last_error: Option<String> = row.get(12)?;
    Ok(Undelivered {
        delivery: delivery(row)?,
        state,
        next_attempt_at_ms: (state == Waiting::Pending && next < NEVER)
            .then(|| next.unsigned_abs()),
        given_up_at_ms: row.get::<_, Option<i64>>(11)?.map(|_| integer(row, 11)).transpose()?,
        is_under_way: row.get(13)?,
        is_empty: last_error.as_deref() == Some(OVERFLOW),
        last_error,
    })
}

/// Has it tried soon.
pub(super) fn retry(db: &Connection, id: i64, at_ms: u64, is_done: &Flag) -> rusqlite::Result<()> {
    let known: Option<(String, String)> = db
        .prepare_cached(
            "SELECT token, kind FROM deliveries JOIN callbacks USING (token) WHERE id = ?1",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((token, kind)) = known else { return Ok(()) };
    let due = if kind == "hook" { never(&token) } else { ms(at_ms) };
    let sql = format!(
        "UPDATE deliveries SET state = 'pending', next_attempt_at_ms = ?2, settled_at_ms = NULL,
             holder = 0, held_until_ms = 0
         WHERE id = ?1 AND state <> 'delivered' AND last_error IS NOT ?3 AND {IS_FREE}"
    );
    let rows = db.prepare_cached(&sql)?.execute(params![id, due, OVERFLOW])?;
    is_done.set(rows > 0);
    give_turn(db, &token, at_ms)
}

/// Has it never told.
pub(super) fn discard(
    db: &Connection,
    id: i64,
    at_ms: u64,
    is_done: &Flag,
) -> rusqlite::Result<()> {
    let sql = format!(
        "UPDATE deliveries SET state = 'delivered', payload = x'', settled_at_ms = ?2,
             last_error = ?3, holder = 0, held_until_ms = 0
         WHERE id = ?1 AND (state <> 'delivered' OR last_error = ?3) AND {IS_FREE}
         RETURNING token"
    );
    let token: Option<String> = db
        .prepare_cached(&sql)?
        .query_row(params![id, ms(at_ms), DISCARDED], |row| row.get(0))
        .optional()?;
    is_done.set(token.is_some());
    match token {
        Some(token) => give_turn(db, &token, at_ms),
        None => Ok(()),
    }
}

/// The first event of a hook is due, if none is.
fn give_turn(db: &Connection, token: &str, at_ms: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE deliveries SET next_attempt_at_ms = ?2 WHERE id =
             (SELECT min(id) FROM deliveries WHERE token = ?1 AND state = 'pending'
              HAVING min(next_attempt_at_ms) >= ?3)",
    )?
    .execute(params![token, ms(at_ms), NEVER])
    .map(drop)
}
