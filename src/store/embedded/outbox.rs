//! The SQL of the outbox: what goes in, what is due, what became of it.
//!
//! Triggers keep what waits by tenant and origin, so that all of this costs the same however much waits.
//!
//! Events of one hook go out one after the other, as bbb-webhooks promises it: while one waits or is under
//! way, those behind it are due [`never()`]. When it is settled, the next one's turn comes.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::callbacks::ms;
use super::rows::{integer, scope, word};
use crate::model::{Delivery, MeetingKey, NewDelivery, NodeName, Settled};
use crate::store::callbacks::{
    MAX_DEAD, MAX_PENDING, MAX_PENDING_BYTES, NEVER, OVERFLOW, Outbox, Places, Put,
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
        next_attempt_at_ms, node
    FROM deliveries JOIN callbacks USING (token)
    WHERE owner = ?1 AND origin = ?2 AND state = 'pending' AND next_attempt_at_ms <= ?3
        AND target IS NOT NULL
    ORDER BY next_attempt_at_ms, id LIMIT ?4";
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

/// Whether another event of its hook is to be delivered before.
fn waits_behind(db: &Connection, owner: &str, delivery: &NewDelivery) -> rusqlite::Result<bool> {
    let token = delivery.token.expose();
    db.prepare_cached(OF_HOOK)?
        .query_row(params![owner, delivery.origin, token, never(token), NEVER], |row| row.get(0))
}

/// When an event is due that waits for its turn. Those of one hook stand together, so that the many of one
/// need not be looked through for those of another.
fn never(token: &str) -> i64 {
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
                         last_error = ?3 WHERE id = ?1 AND state = 'pending'",
                )?
                .execute(params![id, ms(*at_ms), error, is_attempt])
                .map(drop);
        }
    };
    let line: Option<(String, String, String)> = db
        .prepare_cached(
            "UPDATE deliveries SET attempts = attempts + 1, state = ?2, settled_at_ms = ?3,
                 last_error = ?4, payload = CASE ?2 WHEN 'delivered' THEN x'' ELSE payload END
             WHERE id = ?1 AND state = 'pending' RETURNING owner, origin, token",
        )?
        .query_row(params![id, state, ms(at_ms), error], |row| {
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

/// The first of what is due are those of the tenants, and of the lines in them, whose first ones have
/// waited longest: no more of either are looked at than there are places.
pub(super) fn read(db: &Connection, now_ms: u64, places: Places) -> rusqlite::Result<Outbox> {
    let tenants: Vec<String> = db
        .prepare_cached(TENANTS)?
        .query_map(params![ms(now_ms), places.all], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut due = Vec::new();
    for tenant in tenants {
        due.extend(due_of(db, &tenant, now_ms, places)?.into_iter().enumerate());
    }
    // The first of each tenant come before the second of any.
    due.sort_by_key(|(place, (at_ms, delivery))| (*place, *at_ms, delivery.id));
    due.truncate(places.all as usize);
    let next_due_ms: Option<i64> =
        db.prepare_cached(FIRST_LATER)?.query_row([ms(now_ms), NEVER], |row| row.get(0))?;
    let (pending, dead) = db
        .prepare_cached(
            "SELECT coalesce(sum(pending), 0), coalesce(sum(dead), 0) FROM outbox_tenants",
        )?
        .query_row([], |row| Ok((integer(row, 0)?, integer(row, 1)?)))?;
    Ok(Outbox {
        due: due.into_iter().map(|(_, (_, delivery))| delivery).collect(),
        next_due_ms: next_due_ms.map(i64::unsigned_abs),
        pending,
        dead,
    })
}

/// What is due of one tenant, each with when it was to be tried.
fn due_of(
    db: &Connection,
    tenant: &str,
    now_ms: u64,
    places: Places,
) -> rusqlite::Result<Vec<(u64, Delivery)>> {
    let origins: Vec<String> = db
        .prepare_cached(LINES)?
        .query_map(params![tenant, ms(now_ms), places.of_tenant], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut due = Vec::new();
    let mut of_line = db.prepare_cached(OF_LINE)?;
    for origin in origins {
        let found = of_line
            .query_map(params![tenant, origin, ms(now_ms), places.of_origin], |row| {
                Ok((integer(row, 8)?, delivery(row)?))
            })?;
        due.extend(found.collect::<Result<Vec<_>, _>>()?);
    }
    due.sort_by_key(|(at_ms, delivery)| (*at_ms, delivery.id));
    due.truncate(places.of_tenant as usize);
    Ok(due)
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
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
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::store::Older;
    use crate::store::embedded::schema;

    /// As the process before this one put deliveries into the outbox.
    const BEFORE: &str = "INSERT OR IGNORE INTO deliveries (token, subject, origin, payload,
         received_at_ms, attempts, next_attempt_at_ms, state)
         VALUES (?1, ?2, ?3, x'0102', ?4, 0, ?4, 'pending')";
    const PLACES: Places = Places { of_origin: 2, of_tenant: 4, all: 9 };

    fn callback(db: &Connection, token: &str, tenant: &str) {
        db.execute(
            "INSERT INTO callbacks (token, kind, tenant, sub_id, meeting_id, node,
                 node_meeting_id, target, created_at_ms)
             VALUES (?1, 'end', ?2, 0, 'm', 'n', 'm', 'https://f', 0)",
            [token, tenant],
        )
        .unwrap();
    }

    /// What the triggers keep, and the same counted anew.
    fn assert_kept(db: &Connection) {
        let rows = |sql: &str| -> Vec<String> {
            let mut statement = db.prepare(sql).unwrap();
            let columns = statement.column_count();
            let row = |row: &Row<'_>| {
                let values = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
                values.map(|value| Ok(format!("{:?}", value?))).collect::<Result<Vec<_>, _>>()
            };
            let rows = statement.query_map([], row).unwrap();
            rows.map(|row| row.unwrap().join(" ")).collect()
        };
        assert_eq!(
            rows("SELECT * FROM outbox_lines ORDER BY tenant, origin"),
            rows(
                "SELECT owner, origin, min(next_attempt_at_ms) FROM deliveries
                 WHERE state = 'pending' GROUP BY owner, origin ORDER BY owner, origin"
            )
        );
        assert_eq!(
            rows("SELECT * FROM outbox_tenants WHERE pending + dead > 0 ORDER BY tenant"),
            rows(
                "SELECT owner, sum(state = 'pending'), sum((state = 'pending') * bytes),
                     sum(state = 'dead'),
                     min(CASE WHEN state = 'pending' THEN next_attempt_at_ms END)
                 FROM deliveries WHERE state <> 'delivered' GROUP BY owner ORDER BY owner"
            )
        );
    }

    fn fresh() -> (TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let db = schema::open(&dir.path().join("portico.db"), Older::Migrate).unwrap();
        (dir, db)
    }

    #[test]
    fn an_outbox_of_before_is_taken_over_and_its_process_may_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portico.db");
        let before = schema::open_at(&path, 4).unwrap();
        for (token, tenant) in [("a", "acme"), ("b", "acme"), ("c", "other")] {
            callback(&before, token, tenant);
        }
        for (token, at_ms) in [("a", 3), ("b", 2), ("b", 1), ("c", 4), ("nobodys", 5)] {
            let subject = at_ms.to_string();
            before.execute(BEFORE, params![token, subject, token, at_ms]).unwrap();
        }
        let db = schema::open(&path, Older::Migrate).unwrap();
        assert_kept(&db);
        let received = |outbox: &Outbox| -> Vec<u64> {
            outbox.due.iter().map(|due| due.received_at_ms).collect()
        };
        assert_eq!(received(&read(&db, 9, PLACES).unwrap()), [1, 4, 2, 3]);
        before.execute(BEFORE, params!["c", "late", "c", 6]).unwrap();
        before.execute(BEFORE, params!["nobodys", "late", "c", 7]).unwrap();
        let outbox = read(&db, 9, PLACES).unwrap();
        assert_eq!((received(&outbox), outbox.pending), (vec![1, 4, 2, 6, 3], 5));
        let bytes = "SELECT pending_bytes FROM outbox_tenants WHERE tenant = 'other'";
        assert_eq!(db.query_row(bytes, [], |row| row.get::<_, i64>(0)).unwrap(), 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_the_triggers_keep_is_what_there_is(
            steps in prop::collection::vec((0_u8..6, 0_i64..12, 0_u64..40), 1..60),
        ) {
            let (_dir, db) = fresh();
            let tokens = ["a", "b", "c", "d"];
            for (at, token) in tokens.iter().enumerate() {
                callback(&db, token, if at < 3 { "acme" } else { "other" });
            }
            for (step, number, at_ms) in steps {
                let token = tokens[usize::try_from(number).unwrap() % tokens.len()];
                let error = String::new();
                match step {
                    0 | 1 => drop(
                        db.execute(
                            "INSERT OR IGNORE INTO deliveries (token, subject, origin, payload,
                                 received_at_ms, attempts, next_attempt_at_ms, state, owner, bytes)
                             SELECT ?1, ?2, ?3, x'0102', ?4, 0, ?4, 'pending', tenant, 2
                             FROM callbacks WHERE token = ?1",
                            params![token, number.to_string(), (number % 3).to_string(), ms(at_ms)],
                        )
                        .unwrap(),
                    ),
                    2 => settle(&db, number, 50, &Settled::Delivered).unwrap(),
                    3 => settle(&db, number, 50, &Settled::Again { at_ms, error }).unwrap(),
                    4 => settle(&db, number, 50, &Settled::Dead { error }).unwrap(),
                    _ => drop(
                        db.execute("DELETE FROM deliveries WHERE id = ?1", [number]).unwrap(),
                    ),
                }
                assert_kept(&db);
            }
        }
    }

    #[test]
    fn an_event_that_waits_behind_nothing_gets_its_turn() {
        let (_dir, db) = fresh();
        callback(&db, "abcd", "acme");
        callback(&db, "ef01", "acme");
        for (token, subject, at_ms) in
            [("abcd", "1", 5), ("abcd", "2", never("abcd")), ("ef01", "3", never("ef01"))]
        {
            db.execute(BEFORE, params![token, subject, "o", at_ms]).unwrap();
        }
        give_turns(&db, 9).unwrap();
        assert_kept(&db);
        let due = read(&db, 9, Places { of_origin: 9, ..PLACES }).unwrap().due;
        assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn nothing_is_looked_at_that_need_not_be() {
        let (_dir, db) = fresh();
        for sql in [TENANTS, LINES, OF_LINE, FIRST_LATER, OF_HOOK, NEXT_OF_HOOK] {
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let places = plan.parameter_count();
            let nine = rusqlite::params_from_iter(std::iter::repeat_n(9, places));
            let steps = plan.query_map(nine, |row| row.get::<_, String>(3)).unwrap();
            for step in steps {
                let step = step.unwrap();
                let is_frame = step == "SCAN CONSTANT ROW" || step.starts_with("SCALAR SUBQUERY");
                assert!(is_frame || step.starts_with("SEARCH"), "{step}: {sql}");
            }
        }
    }
}
