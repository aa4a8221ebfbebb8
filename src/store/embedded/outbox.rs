//! The SQL of the outbox: what goes in, what is due, what became of it.
//!
//! Triggers keep what waits by tenant and origin, so that all of this costs the same however much waits.
//!
//! Events of one hook go out one after the other, as bbb-webhooks promises it: while one waits or is under
//! way, those behind it are due [`never()`]. When it is settled, the next one's turn comes.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::callbacks::ms;
use super::rows::{integer, scope, word};
use crate::model::{Delivery, MeetingKey, NewDelivery, NodeName, Settled};
use crate::store::callbacks::{
    Holder, MAX_DEAD, MAX_PENDING, MAX_PENDING_BYTES, NEVER, OVERFLOW, Outbox, Places, Put, Taking,
};
use crate::store::op::Deliver;

/// Tenants of whom something is due.
const TENANTS: &str = "SELECT tenant FROM outbox_tenants WHERE next_attempt_at_ms <= ?1
    ORDER BY next_attempt_at_ms LIMIT ?2";
/// Origins to which something of a tenant is due.
const LINES: &str = "SELECT origin FROM outbox_lines WHERE tenant = ?1 AND next_attempt_at_ms <= ?2
    ORDER BY next_attempt_at_ms LIMIT ?3";
/// What is due of a tenant to an origin.
const OF_LINE: &str =
    "SELECT tenant, sub_id, meeting_id, id, kind, target, received_at_ms, attempts,
        next_attempt_at_ms, node, holder,
        held_until_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER)
    FROM deliveries JOIN callbacks USING (token)
    WHERE owner = ?1 AND origin = ?2 AND state = 'pending' AND next_attempt_at_ms <= ?3
        AND target IS NOT NULL
    ORDER BY next_attempt_at_ms, id LIMIT ?4";
const TAKE: &str = "UPDATE deliveries SET holder = ?2,
        held_until_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3 WHERE id = ?1";
/// Another lease where half of the last one is over, so that few changes are written.
const HOLD_ON: &str = "UPDATE deliveries SET
        held_until_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3
    WHERE id = ?1 AND holder = ?2 AND state = 'pending'
        AND held_until_ms < CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3 / 2";
const GIVE_BACK: &str = "UPDATE deliveries SET holder = 0, held_until_ms = 0
    WHERE id = ?1 AND holder = ?2 AND state = 'pending'";
/// When something will be due that is not yet.
const FIRST_LATER: &str = "SELECT min(next_attempt_at_ms) FROM deliveries
    WHERE state = 'pending' AND next_attempt_at_ms > ?1 AND next_attempt_at_ms < ?2";
/// Whether an event of a hook is to be delivered: one that waits for its turn, or one whose turn it is.
/// Those of one hook all go to one origin, and of other things not many are on their way there.
const OF_HOOK: &str = "SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_of_line
        WHERE owner = ?1 AND origin = ?2 AND state = 'pending' AND next_attempt_at_ms = ?4
            AND token = ?3)
    OR EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_of_line
        WHERE owner = ?1 AND origin = ?2 AND state = 'pending' AND next_attempt_at_ms < ?5
            AND token = ?3)";
/// The first of a hook's events that wait for their turn.
const NEXT_OF_HOOK: &str = "SELECT id FROM deliveries INDEXED BY deliveries_of_line
    WHERE owner = ?1 AND origin = ?2 AND state = 'pending' AND next_attempt_at_ms = ?4
        AND token = ?3
    ORDER BY id LIMIT 1";

/// Puts something into it.
pub(super) fn deliver(db: &Connection, deliver: &Deliver) -> rusqlite::Result<()> {
    let Deliver { delivery, outcome } = deliver;
    let owner: Option<(String, String)> = db
        .prepare_cached("SELECT tenant, kind FROM callbacks WHERE token = ?1")?
        .query_row([delivery.token.expose()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // Its callback was forgotten: there is nobody to tell.
    let Some((owner, kind)) = owner else { return Ok(()) };
    let is_event = kind == "hook";
    let is_full = is_full(db, &owner, is_event, delivery.payload.len() as u64)?;
    let due_at = if is_event && !is_full && waits_behind(db, &owner, delivery)? {
        never(delivery.token.expose())
    } else {
        ms(delivery.received_at_ms)
    };
    let (state, settled_at, error) = if is_full {
        ("dead", Some(ms(delivery.received_at_ms)), Some(OVERFLOW))
    } else {
        ("pending", None, None)
    };
    if delivery.subject.is_empty() {
        correct(db, delivery)?;
    }
    let payload = if is_full { &[][..] } else { &delivery.payload };
    let inserted = db
        .prepare_cached(
            "INSERT OR IGNORE INTO deliveries (token, subject, origin, payload, received_at_ms,
                 attempts, next_attempt_at_ms, state, settled_at_ms, last_error, owner, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?11, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            delivery.token.expose(),
            delivery.subject,
            delivery.origin,
            payload,
            ms(delivery.received_at_ms),
            state,
            settled_at,
            error,
            owner,
            ms(payload.len() as u64),
            due_at,
        ])?;
    let is_given_up = is_full && inserted > 0;
    outcome.set(if is_given_up { Put::GivenUp } else { Put::Kept });
    if is_given_up { trim_dead(db, &owner) } else { Ok(()) }
}

/// Has what was expected for later, and nobody has tried, give way. Of an end alone we say what its node may
/// know better.
fn correct(db: &Connection, delivery: &NewDelivery) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE deliveries SET payload = ?3, bytes = length(?3), received_at_ms = ?4,
             next_attempt_at_ms = ?4
         WHERE token = ?1 AND subject = ?2 AND state = 'pending' AND attempts = 0
             AND next_attempt_at_ms = received_at_ms AND received_at_ms > ?4",
    )?
    .execute(params![
        delivery.token.expose(),
        delivery.subject,
        delivery.payload,
        ms(delivery.received_at_ms),
    ])
    .map(drop)
}

/// Whether another event of its hook is to be delivered before.
fn waits_behind(db: &Connection, owner: &str, delivery: &NewDelivery) -> rusqlite::Result<bool> {
    let token = delivery.token.expose();
    db.prepare_cached(OF_HOOK)?
        .query_row(params![owner, delivery.origin, token, never(token), NEVER], |row| row.get(0))
}

/// When an event is due that waits for its turn. Those of one hook stand together, so that the many of one
/// need not be looked through for those of another.
pub(super) fn never(token: &str) -> i64 {
    let part = token.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    NEVER + i64::from(part.unwrap_or_default())
}

/// Whether so much more is too much. Events leave half of the room to what is told but once.
fn is_full(db: &Connection, owner: &str, is_event: bool, bytes: u64) -> rusqlite::Result<bool> {
    let waiting: Option<(u64, u64)> = db
        .prepare_cached("SELECT pending, pending_bytes FROM outbox_tenants WHERE tenant = ?1")?
        .query_row([owner], |row| Ok((integer(row, 0)?, integer(row, 1)?)))
        .optional()?;
    let (pending, pending_bytes) = waiting.unwrap_or_default();
    let part = if is_event { 2 } else { 1 };
    Ok(pending >= MAX_PENDING / part || pending_bytes + bytes > MAX_PENDING_BYTES / part)
}

/// Forgets the oldest of what was given up where there is too much of it.
fn trim_dead(db: &Connection, owner: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM deliveries WHERE id IN
             (SELECT id FROM deliveries WHERE owner = ?1 AND state = 'dead'
              ORDER BY settled_at_ms, id
              LIMIT max(0, (SELECT dead FROM outbox_tenants WHERE tenant = ?1) - ?2))",
    )?
    .execute(params![owner, ms(MAX_DEAD)])
    .map(drop)
}

/// What is delivered is kept without its content, so that the same does not come in again.
pub(super) fn settle(
    db: &Connection,
    id: i64,
    holder: Holder,
    at_ms: u64,
    settled: &Settled,
) -> rusqlite::Result<()> {
    let (state, error) = match settled {
        Settled::Delivered => ("delivered", None),
        Settled::Dead { error } => ("dead", Some(error)),
        Settled::Again { at_ms, error } | Settled::Waits { at_ms, error } => {
            let is_attempt = matches!(settled, Settled::Again { .. });
            return db
                .prepare_cached(
                    "UPDATE deliveries SET attempts = attempts + ?4, next_attempt_at_ms = ?2,
                         last_error = ?3, holder = 0, held_until_ms = 0
                     WHERE id = ?1 AND state = 'pending' AND holder = ?5",
                )?
                .execute(params![id, ms(*at_ms), error, is_attempt, holder.0])
                .map(drop);
        }
    };
    let line: Option<(String, String, String)> = db
        .prepare_cached(
            "UPDATE deliveries SET attempts = attempts + 1, state = ?2, settled_at_ms = ?3,
                 last_error = ?4, payload = CASE ?2 WHEN 'delivered' THEN x'' ELSE payload END
             WHERE id = ?1 AND state = 'pending' AND holder = ?5
             RETURNING owner, origin, token",
        )?
        .query_row(params![id, state, ms(at_ms), error, holder.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((owner, origin, token)) = line else { return Ok(()) };
    let next: Option<i64> = db
        .prepare_cached(NEXT_OF_HOOK)?
        .query_row(params![owner, origin, token, never(&token)], |row| row.get(0))
        .optional()?;
    if let Some(next) = next {
        db.prepare_cached("UPDATE deliveries SET next_attempt_at_ms = ?2 WHERE id = ?1")?
            .execute(params![next, ms(at_ms)])?;
    }
    if error.is_some() { trim_dead(db, &owner) } else { Ok(()) }
}

/// Gives those their turn that wait behind nothing: while an upgrade lets two processes write, the older
/// one settles events and knows nothing of turns.
pub(super) fn give_turns(db: &Connection, now_ms: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE deliveries SET next_attempt_at_ms = ?1 WHERE id IN
             (SELECT min(id) FROM deliveries WHERE state = 'pending' GROUP BY token
              HAVING min(next_attempt_at_ms) >= ?2)",
    )?
    .execute(params![ms(now_ms), NEVER])
    .map(drop)
}

/// Who takes deliveries, and how.
pub(super) struct Taker {
    holder: Holder,
    lease_ms: i64,
    under_way: Vec<i64>,
}

impl Taker {
    pub(super) fn new(taking: Taking<'_>) -> Self {
        let Taking { holder, under_way, .. } = taking;
        Self { holder, lease_ms: taking.lease_ms(), under_way: under_way.to_vec() }
    }
}

/// Takes what is due, and holds on to what is under way.
pub(super) fn take(
    db: &Connection,
    now_ms: u64,
    places: Places,
    taker: &Taker,
) -> rusqlite::Result<Outbox> {
    // As long as there is nothing to do, nobody is kept from writing.
    let seen = read(db, now_ms, places, taker)?;
    if seen.taken.is_empty() && taker.under_way.is_empty() {
        return Ok(seen);
    }
    // Under the lock of who writes: another process may be about the same.
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    for id in &taker.under_way {
        moment.prepare_cached(HOLD_ON)?.execute(params![id, taker.holder.0, taker.lease_ms])?;
    }
    let outbox = read(&moment, now_ms, places, taker)?;
    for delivery in &outbox.taken {
        moment.prepare_cached(TAKE)?.execute(params![
            delivery.id,
            taker.holder.0,
            taker.lease_ms
        ])?;
    }
    moment.commit()?;
    Ok(outbox)
}

/// Lets go of deliveries.
pub(super) fn give_back(db: &Connection, ids: &[i64], holder: Holder) -> rusqlite::Result<()> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    for id in ids {
        moment.prepare_cached(GIVE_BACK)?.execute(params![id, holder.0])?;
    }
    moment.commit()
}

/// The first of what is due are those of the tenants, and of the lines in them, whose first ones have
/// waited longest: no more of either are looked at than there are places. What somebody holds has its place
/// and is left out.
fn read(db: &Connection, now_ms: u64, places: Places, taker: &Taker) -> rusqlite::Result<Outbox> {
    let tenants: Vec<String> = db
        .prepare_cached(TENANTS)?
        .query_map(params![ms(now_ms), places.all], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut due = Vec::new();
    for tenant in tenants {
        due.extend(due_of(db, &tenant, now_ms, places)?.into_iter().enumerate());
    }
    // The first of each tenant come before the second of any.
    due.sort_by_key(|(place, due)| (*place, due.at_ms, due.delivery.id));
    due.truncate(places.all as usize);
    let is_free = |due: &Due| {
        if due.holder == taker.holder.0 {
            !taker.under_way.contains(&due.delivery.id)
        } else {
            !due.is_held
        }
    };
    let next_due_ms: Option<i64> =
        db.prepare_cached(FIRST_LATER)?.query_row([ms(now_ms), NEVER], |row| row.get(0))?;
    let (pending, dead) = db
        .prepare_cached(
            "SELECT coalesce(sum(pending), 0), coalesce(sum(dead), 0) FROM outbox_tenants",
        )?
        .query_row([], |row| Ok((integer(row, 0)?, integer(row, 1)?)))?;
    Ok(Outbox {
        taken: due
            .into_iter()
            .filter(|(_, due)| is_free(due))
            .map(|(_, due)| due.delivery)
            .collect(),
        next_due_ms: next_due_ms.map(i64::unsigned_abs),
        pending,
        dead,
    })
}

/// Something that is due, whoever holds it.
struct Due {
    /// When it was to be tried.
    at_ms: u64,
    holder: i64,
    is_held: bool,
    delivery: Delivery,
}

/// What is due of one tenant.
fn due_of(
    db: &Connection,
    tenant: &str,
    now_ms: u64,
    places: Places,
) -> rusqlite::Result<Vec<Due>> {
    let origins: Vec<String> = db
        .prepare_cached(LINES)?
        .query_map(params![tenant, ms(now_ms), places.of_tenant], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut due = Vec::new();
    let mut of_line = db.prepare_cached(OF_LINE)?;
    for origin in origins {
        let found =
            of_line.query_map(params![tenant, origin, ms(now_ms), places.of_origin], |row| {
                Ok(Due {
                    at_ms: integer(row, 8)?,
                    holder: row.get(10)?,
                    is_held: row.get(11)?,
                    delivery: delivery(row)?,
                })
            })?;
        due.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    due.sort_by_key(|due| (due.at_ms, due.delivery.id));
    due.truncate(places.of_tenant as usize);
    Ok(due)
}

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: row.get(3)?,
        node: NodeName::new(row.get::<_, String>(9)?),
        kind: word(row, 4)?,
        key: MeetingKey { scope: scope(row)?, id: row.get(2)? },
        target: row.get(5)?,
        received_at_ms: integer(row, 6)?,
        attempts: row.get(7)?,
    })
}

#[cfg(test)]
mod tests;
