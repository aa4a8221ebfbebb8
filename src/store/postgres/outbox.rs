//! The SQL of the outbox: what goes in, what is due, what became of it.
//!
//! Triggers keep what waits by tenant and origin, so that all of this costs the same however much waits. A
//! transaction that changes the outbox first takes the [`locks()`] on the tenants whose parts of it these are.
//!
//! Events of one hook go out one after the other: while one waits or is under way, those behind it are
//! [`NEVER`] due. When it is settled, the next one's turn comes, in the same statement.

use sha2::{Digest, Sha256};
use tokio_postgres::types::ToSql;

use super::Reader;
use super::apply::{Param, Query, number, text, word};
use super::rows;
use crate::model::{NewDelivery, Settled};
use crate::store::Error;
use crate::store::callbacks::{
    Holder, MAX_DEAD, MAX_PENDING, MAX_PENDING_BYTES, NEVER, OVERFLOW, Outbox, Places, Taking,
};
use crate::store::op::{Change, Deliver, Op};

/// Takes what is due, and holds on to what is under way. The first of what is due are those of the tenants, and
/// of the lines in them, whose first ones have waited longest: no more of either are looked at than there are
/// places. What somebody holds has its place and is left out. Rows that somebody else changes at this moment are
/// not waited for, and what is counted does not change: so nobody waits in a circle.
pub(super) const TAKE: &str = "WITH due AS MATERIALIZED (SELECT id, place, next_attempt_at_ms
    FROM (SELECT tenant FROM outbox_tenants WHERE next_attempt_at_ms <= $1
            ORDER BY next_attempt_at_ms, tenant LIMIT $4) AS tenants
        CROSS JOIN LATERAL (SELECT first.*,
                row_number() OVER (ORDER BY next_attempt_at_ms, id) AS place
            FROM (SELECT origin_sha256 FROM outbox_lines
                    WHERE tenant = tenants.tenant AND next_attempt_at_ms <= $1
                    ORDER BY next_attempt_at_ms, origin_sha256 LIMIT $3) AS lines
                CROSS JOIN LATERAL (SELECT id, next_attempt_at_ms
                    FROM deliveries JOIN callbacks USING (token)
                    WHERE owner = tenants.tenant AND deliveries.origin_sha256 = lines.origin_sha256
                        AND state = 'pending' AND next_attempt_at_ms <= $1 AND target IS NOT NULL
                    ORDER BY next_attempt_at_ms, id LIMIT $2) AS first
            ORDER BY next_attempt_at_ms, id LIMIT $3) AS due
    ORDER BY place, next_attempt_at_ms, id LIMIT $4),
    own AS (UPDATE deliveries SET held_until_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $7::bigint
        WHERE id IN (SELECT id FROM deliveries WHERE id = ANY ($6) AND holder = $5 AND state = 'pending'
            AND held_until_ms < (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $7::bigint / 2
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)),
    free AS (SELECT id FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM due)) AND state = 'pending'
            AND next_attempt_at_ms <= $1
            AND CASE WHEN holder = $5 THEN id <> ALL ($6)
                ELSE held_until_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint END
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED),
    taken AS (UPDATE deliveries SET holder = $5,
            held_until_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $7::bigint
        WHERE id = ANY (ARRAY(SELECT id FROM free))
        RETURNING id, token, received_at_ms, attempts)
    SELECT tenant, sub_id, meeting_id, id, kind, target, received_at_ms, attempts, node
        FROM taken JOIN due USING (id) JOIN callbacks USING (token)
        ORDER BY place, next_attempt_at_ms, id";

/// Lets go of deliveries.
const GIVE_BACK: &str = "UPDATE deliveries SET holder = 0, held_until_ms = 0
    WHERE id IN (SELECT id FROM deliveries WHERE id = ANY ($1) AND holder = $2 AND state = 'pending'
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)";

/// When something will be due that is not yet, and the counts.
pub(super) const REST: &str = "SELECT (SELECT min(next_attempt_at_ms) FROM deliveries
            WHERE state = 'pending' AND next_attempt_at_ms > $1
                AND next_attempt_at_ms < 9223372036854710272),
        coalesce(sum(pending), 0)::bigint, coalesce(sum(dead), 0)::bigint FROM outbox_tenants";

impl Reader {
    pub(super) async fn take_deliveries(
        &self,
        now_ms: u64,
        places: Places,
        taking: Taking<'_>,
    ) -> Result<Outbox, Error> {
        let now = number(now_ms);
        let [of_origin, of_tenant, all] =
            [places.of_origin, places.of_tenant, places.all].map(i64::from);
        let (holder, lease_ms) = (taking.holder.0, taking.lease_ms());
        let params: &[&(dyn ToSql + Sync)] =
            &[&*now, &of_origin, &of_tenant, &all, &holder, &taking.under_way, &lease_ms];
        let taken = self.rows(TAKE, params).await?;
        let taken = self.read_all(&taken, rows::delivery)?;
        let rest = self.rows(REST, &[&*now]).await?;
        let number = |column| -> Result<Option<u64>, Error> {
            let number = rest.first().map(|row| row.try_get::<_, Option<i64>>(column));
            let number = number.transpose().map_err(|error| self.trouble(&error))?;
            Ok(number.flatten().map(i64::unsigned_abs))
        };
        Ok(Outbox {
            taken,
            next_due_ms: number(0)?,
            pending: number(1)?.unwrap_or_default(),
            dead: number(2)?.unwrap_or_default(),
        })
    }

    pub(super) async fn give_back(&self, ids: &[i64], holder: Holder) -> Result<(), Error> {
        self.rows(GIVE_BACK, &[&ids, &holder.0]).await.map(drop)
    }
}

// The OFFSETs keep what is asked of one token apart from what is asked of its line: the index of the token's
// is the way to it.

/// The statements that lock what these changes need of the outbox, by name, so that nobody waits for
/// somebody who waits for him; nothing where they need nothing of it.
pub(super) fn locks<'a>(ops: impl IntoIterator<Item = &'a Op>) -> Vec<Query> {
    let (mut told, mut removed, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_all = false;
    for op in ops {
        match op {
            Op::Callbacks(Change::Deliver(deliver)) => {
                told.push(deliver.delivery.token.expose().to_owned());
            }
            Op::Callbacks(Change::Remove(tokens)) => {
                removed.extend(tokens.iter().map(|token| token.expose().to_owned()));
            }
            Op::Callbacks(
                Change::Settle { id, .. } | Change::Retry { id, .. } | Change::Discard { id, .. },
            ) => ids.push(*id),
            Op::Callbacks(Change::Expire(portion)) => of_all |= portion.step.deletes(),
            _ => {}
        }
    }
    if told.is_empty() && removed.is_empty() && ids.is_empty() && !of_all {
        return Vec::new();
    }
    let lock = Query::new(
        "SELECT FROM outbox_tenants WHERE tenant IN (
                SELECT tenant FROM callbacks WHERE token = ANY ($1)
                UNION ALL SELECT owner FROM deliveries WHERE token = ANY ($2)
                UNION ALL SELECT owner FROM deliveries WHERE id = ANY ($3)
                UNION ALL SELECT tenant FROM outbox_tenants WHERE $4 AND dead > 0)
            ORDER BY tenant FOR UPDATE",
        vec![Box::new(told.clone()), Box::new(removed), Box::new(ids), Box::new(of_all)],
    );
    if told.is_empty() {
        return vec![lock];
    }
    // What is not there cannot be locked.
    let sql = "INSERT INTO outbox_tenants (tenant)
        SELECT DISTINCT tenant FROM callbacks WHERE token = ANY ($1)
            AND NOT EXISTS (SELECT FROM outbox_tenants AS known WHERE known.tenant = callbacks.tenant)
        ORDER BY tenant ON CONFLICT DO NOTHING";
    vec![Query::new(sql, vec![Box::new(told)]), lock]
}

/// Puts something in, or gives it up where its tenant has too much in it. Events leave half of the room to
/// what is told but once. Where its callback was forgotten there is nobody to tell.
pub(super) fn deliver(deliver: &Deliver) -> Vec<Query> {
    let Deliver { delivery, outcome } = deliver;
    let token = || word(delivery.token.expose());
    let put = Query::new(
        "WITH own AS (SELECT tenant, kind = 'hook' AS is_event,
                CASE kind WHEN 'hook' THEN 2 ELSE 1 END AS part
            FROM callbacks WHERE token = $1),
        new AS (SELECT own.tenant, is_event, coalesce(pending >= $6::bigint / part
                OR pending_bytes + length($4::bytea) > $7::bigint / part, length($4::bytea) > $7::bigint / part) AS is_full
            FROM own LEFT JOIN outbox_tenants USING (tenant)),
        put AS (INSERT INTO deliveries (token, subject_sha256, owner, origin_sha256, payload, bytes,
                received_at_ms, attempts, next_attempt_at_ms, state, settled_at_ms, last_error)
            SELECT $1::text, $2::bytea, tenant, $3::bytea, CASE WHEN is_full THEN '' ELSE $4::bytea END,
                CASE WHEN is_full THEN 0 ELSE length($4::bytea) END, $5::bigint, 0,
                CASE WHEN is_event AND NOT is_full AND (SELECT true FROM
                    (SELECT owner, origin_sha256 FROM deliveries
                        WHERE token = $1 AND state = 'pending' ORDER BY id OFFSET 0) AS before
                    WHERE owner = tenant AND origin_sha256 = $3::bytea LIMIT 1)
                THEN $8::bigint ELSE $5::bigint END,
                CASE WHEN is_full THEN 'dead' ELSE 'pending' END,
                CASE WHEN is_full THEN $5::bigint END, CASE WHEN is_full THEN $9::text END
            FROM new ON CONFLICT (token, subject_sha256) DO NOTHING RETURNING state)
        SELECT FROM put WHERE state = 'dead'",
        vec![
            token(),
            sha256(&delivery.subject),
            sha256(&delivery.origin),
            Box::new(delivery.payload.clone()),
            number(delivery.received_at_ms),
            number(MAX_PENDING),
            number(MAX_PENDING_BYTES),
            Box::new(NEVER),
            word(OVERFLOW),
        ],
    );
    let trim = Query::new(
        "DELETE FROM deliveries WHERE id IN (
            SELECT id FROM deliveries
            WHERE owner = (SELECT tenant FROM callbacks WHERE token = $1) AND state = 'dead'
            ORDER BY settled_at_ms, id
            LIMIT (SELECT greatest(0, dead - $2) FROM callbacks JOIN outbox_tenants USING (tenant)
                WHERE token = $1))",
        vec![token(), number(MAX_DEAD)],
    );
    let mut queries = vec![put.telling(outcome), trim];
    // Of an end alone we say what its node may know better.
    if delivery.subject.is_empty() {
        queries.insert(0, correct(delivery));
    }
    queries
}

/// Has what was expected for later, and nobody has tried, give way.
fn correct(delivery: &NewDelivery) -> Query {
    Query::new(
        "UPDATE deliveries SET payload = $3::bytea, bytes = length($3::bytea), received_at_ms = $4,
                next_attempt_at_ms = $4
            WHERE token = $1 AND subject_sha256 = $2 AND state = 'pending' AND attempts = 0
                AND next_attempt_at_ms = received_at_ms AND received_at_ms > $4",
        vec![
            word(delivery.token.expose()),
            sha256(&delivery.subject),
            Box::new(delivery.payload.clone()),
            number(delivery.received_at_ms),
        ],
    )
}

/// Settles the delivery $1 at $2 as this says, and gives the next event of its hook its turn.
macro_rules! give_turn {
    ($settled:literal) => {
        concat!(
            "WITH settled AS (UPDATE deliveries SET ",
            $settled,
            " RETURNING owner, origin_sha256, token)
            UPDATE deliveries SET next_attempt_at_ms = $2 WHERE id = (
                SELECT next.id FROM settled CROSS JOIN LATERAL (
                    SELECT id, owner, origin_sha256 FROM deliveries
                    WHERE token = settled.token AND state = 'pending'
                        AND next_attempt_at_ms >= 9223372036854710272 AND id <> $1
                    ORDER BY id OFFSET 0) AS next
                WHERE next.owner = settled.owner AND next.origin_sha256 = settled.origin_sha256
                LIMIT 1)"
        )
    };
}

/// What is delivered is kept without its content, so that the same does not come in again.
pub(super) fn settle(id: i64, holder: Holder, at_ms: u64, settled: &Settled) -> Vec<Query> {
    match settled {
        Settled::Delivered => vec![Query::new(
            give_turn!(
                "attempts = attempts + 1, state = 'delivered', payload = '', settled_at_ms = $2,
                    last_error = NULL
                WHERE id = $1 AND state = 'pending' AND holder = $3"
            ),
            vec![Box::new(id), number(at_ms), Box::new(holder.0)],
        )],
        Settled::Again { at_ms, error } => put_off(id, holder, *at_ms, error, 1),
        Settled::Waits { at_ms, error } => put_off(id, holder, *at_ms, error, 0),
        Settled::Dead { error } => vec![
            Query::new(
                give_turn!(
                    "attempts = attempts + 1, state = 'dead', settled_at_ms = $2, last_error = $3
                    WHERE id = $1 AND state = 'pending' AND holder = $4"
                ),
                vec![Box::new(id), number(at_ms), text(error), Box::new(holder.0)],
            ),
            // The oldest of what was given up, where there is too much of it.
            Query::new(
                "DELETE FROM deliveries WHERE id IN (
                    SELECT id FROM deliveries
                    WHERE owner = (SELECT owner FROM deliveries WHERE id = $1) AND state = 'dead'
                    ORDER BY settled_at_ms, id
                    LIMIT (SELECT greatest(0, dead - $2) FROM outbox_tenants
                        WHERE tenant = (SELECT owner FROM deliveries WHERE id = $1)))",
                vec![Box::new(id), number(MAX_DEAD)],
            ),
        ],
    }
}

fn put_off(id: i64, holder: Holder, at_ms: u64, error: &str, attempts: i32) -> Vec<Query> {
    vec![Query::new(
        "UPDATE deliveries SET attempts = attempts + $4, next_attempt_at_ms = $2,
            last_error = $3, holder = 0, held_until_ms = 0
            WHERE id = $1 AND state = 'pending' AND holder = $5",
        vec![Box::new(id), number(at_ms), text(error), Box::new(attempts), Box::new(holder.0)],
    )]
}

/// No index takes a text of any length.
fn sha256(text: &str) -> Param {
    Box::new(Sha256::digest(text).to_vec())
}
