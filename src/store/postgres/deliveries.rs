//! The SQL by which operators look into the outbox.

use async_trait::async_trait;

use super::Postgres;
use super::apply::{Query, number, word};
use super::rows;
use crate::model::{Slug, Undelivered, Waiting, WantedDeliveries};
use crate::store::Error;
use crate::store::callbacks::{NEVER, OVERFLOW};
use crate::store::deliveries::{DISCARDED, Deliveries};
use crate::store::op::{Change, Flag, Op};

/// Each half has an index of its own.
const LIST: &str = "WITH wanted AS MATERIALIZED (SELECT id FROM (
        (SELECT id FROM deliveries WHERE state = 'pending' AND $1 AND id > $3
            AND ($4::text IS NULL OR owner = $4) ORDER BY id LIMIT $5)
        UNION ALL
        (SELECT id FROM deliveries WHERE state = 'dead' AND $2 AND id > $3
            AND ($4::text IS NULL OR owner = $4) ORDER BY id LIMIT $5)) AS either
        ORDER BY id LIMIT $5)
    SELECT tenant, sub_id, meeting_id, id, kind, coalesce(target, ''), received_at_ms, attempts, node,
        state, next_attempt_at_ms, settled_at_ms, last_error,
        state = 'pending' AND held_until_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    FROM wanted JOIN deliveries USING (id) JOIN callbacks USING (token) ORDER BY id";
const ONE: &str =
    "SELECT tenant, sub_id, meeting_id, id, kind, coalesce(target, ''), received_at_ms,
        attempts, node, state, next_attempt_at_ms, settled_at_ms, last_error,
        state = 'pending' AND held_until_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    FROM deliveries JOIN callbacks USING (token) WHERE id = $1 AND state <> 'delivered'";

#[async_trait]
impl Deliveries for Postgres {
    async fn undelivered(&self, wanted: &WantedDeliveries) -> Result<Vec<Undelivered>, Error> {
        let WantedDeliveries { tenant, state, after, limit } = wanted;
        let is_wanted = |one: Waiting| state.is_none_or(|state| state == one);
        let (pending, dead) = (is_wanted(Waiting::Pending), is_wanted(Waiting::Dead));
        let tenant = tenant.as_ref().map(Slug::as_str);
        let limit = i64::from(*limit);
        let reader = self.reader().await?;
        let found = reader.rows(LIST, &[&pending, &dead, after, &tenant, &limit]).await?;
        reader.read_all(&found, rows::undelivered)
    }

    async fn find_undelivered(&self, id: i64) -> Result<Option<Undelivered>, Error> {
        let reader = self.reader().await?;
        let found = reader.rows(ONE, &[&id]).await?;
        Ok(reader.read_all(&found, rows::undelivered)?.pop())
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

/// Has it tried soon.
pub(super) fn retry(id: i64, at_ms: u64, is_done: &Flag) -> Vec<Query> {
    let retry = Query::new(
        "UPDATE deliveries SET state = 'pending', settled_at_ms = NULL, holder = 0, held_until_ms = 0,
                next_attempt_at_ms = CASE WHEN (SELECT kind FROM callbacks
                    WHERE callbacks.token = deliveries.token) = 'hook' THEN $3::bigint ELSE $2::bigint END
            WHERE id = $1 AND state <> 'delivered' AND last_error IS DISTINCT FROM $4::text
                AND NOT (state = 'pending'
                    AND held_until_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
            RETURNING id",
        vec![Box::new(id), number(at_ms), Box::new(NEVER), word(OVERFLOW)],
    );
    vec![retry.telling_if(is_done), give_turn(id, at_ms)]
}

/// Has it never told.
pub(super) fn discard(id: i64, at_ms: u64, is_done: &Flag) -> Vec<Query> {
    let discard = Query::new(
        "UPDATE deliveries SET state = 'delivered', payload = '', settled_at_ms = $2, last_error = $3::text,
                holder = 0, held_until_ms = 0
            WHERE id = $1 AND (state <> 'delivered' OR last_error = $3::text)
                AND NOT (state = 'pending'
                    AND held_until_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
            RETURNING id",
        vec![Box::new(id), number(at_ms), word(DISCARDED)],
    );
    vec![discard.telling_if(is_done), give_turn(id, at_ms)]
}

/// The first event of its hook is due, if none is.
fn give_turn(id: i64, at_ms: u64) -> Query {
    Query::new(
        "UPDATE deliveries SET next_attempt_at_ms = $2 WHERE id = (
            SELECT min(id) FROM deliveries
            WHERE token = (SELECT token FROM deliveries WHERE id = $1) AND state = 'pending'
            HAVING min(next_attempt_at_ms) >= $3::bigint)",
        vec![Box::new(id), number(at_ms), Box::new(NEVER)],
    )
}
