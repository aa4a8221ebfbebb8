//! What is over is forgotten in portions: while one is written nobody else can write.

use rusqlite::{Connection, params};

use super::callbacks::ms;
use super::outbox;
use crate::store::callbacks::{CALLBACKS_KEPT_MS, TOLD_KEPT_MS, UNNOTICED_END_MS};
use crate::store::op::{PORTION, Portion, Step};

const END: &str = "UPDATE callbacks SET ended_at_ms = ?1 WHERE token IN (
    SELECT token FROM callbacks WHERE ended_at_ms IS NULL AND created_at_ms < ?2
        AND NOT EXISTS (SELECT 1 FROM meetings
            WHERE meetings.internal_id = callbacks.internal_id)
        AND (kind <> 'hook'
            OR NOT EXISTS (SELECT 1 FROM hooks WHERE hooks.token = callbacks.token))
    LIMIT ?3)";
const FORGET: &str = "DELETE FROM callbacks WHERE token IN (
    SELECT token FROM callbacks WHERE ended_at_ms < ?1 AND NOT EXISTS (SELECT 1 FROM deliveries
        WHERE deliveries.token = callbacks.token
        AND (state = 'pending' OR (state = 'dead' AND settled_at_ms >= ?1)))
    LIMIT ?2)";
/// A webhook has no end by which its events could go.
const FORGET_EVENTS: &str = "DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries WHERE ((state = 'delivered' AND settled_at_ms < ?2)
            OR (state = 'dead' AND settled_at_ms < ?1))
        AND token IN (SELECT token FROM callbacks WHERE kind = 'hook')
    LIMIT ?3)";
const FORGET_DELIVERIES: &str = "DELETE FROM deliveries WHERE id IN (
    SELECT id FROM deliveries WHERE NOT EXISTS
        (SELECT 1 FROM callbacks WHERE callbacks.token = deliveries.token)
    LIMIT ?1)";

pub(super) fn apply(portion: &Portion, db: &Connection) -> rusqlite::Result<()> {
    let before = |age_ms| ms(portion.now_ms.saturating_sub(age_ms));
    let kept_since = before(CALLBACKS_KEPT_MS);
    let changed = match portion.step {
        Step::GiveTurns => return outbox::give_turns(db, portion.now_ms),
        Step::End => db.prepare_cached(END)?.execute(params![
            ms(portion.now_ms),
            before(UNNOTICED_END_MS),
            PORTION
        ])?,
        Step::Forget => db.prepare_cached(FORGET)?.execute(params![kept_since, PORTION])?,
        Step::ForgetEvents => db.prepare_cached(FORGET_EVENTS)?.execute(params![
            kept_since,
            before(TOLD_KEPT_MS),
            PORTION
        ])?,
        Step::ForgetDeliveries => db.prepare_cached(FORGET_DELIVERIES)?.execute([PORTION])?,
    };
    portion.is_full.set(changed as u64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Older;
    use crate::store::embedded::schema;
    use crate::store::op::Full;

    #[test]
    fn no_portion_is_larger_than_it_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let db = schema::open(&dir.path().join("portico.db"), Older::Migrate).unwrap();
        db.execute_batch(
            "INSERT INTO callbacks (token, kind, tenant, sub_id, meeting_id, node, node_meeting_id,
                 target, created_at_ms, ended_at_ms) VALUES
                 ('hook', 'hook', 'acme', 0, 'm', 'n', 'm', 'https://f', 0, NULL);
             WITH RECURSIVE numbers (number) AS
                 (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 1500)
             INSERT INTO callbacks (token, kind, tenant, sub_id, meeting_id, node, node_meeting_id,
                 target, created_at_ms)
             SELECT number, 'end', 'acme', 0, 'm', 'n', 'm', 'https://f', 0 FROM numbers;
             INSERT INTO deliveries (token, subject, origin, payload, received_at_ms, attempts,
                 next_attempt_at_ms, state, settled_at_ms, owner)
             SELECT 'hook', token, 'o', x'', 0, 1, 0, 'delivered', 0, 'acme' FROM callbacks
                 WHERE token <> 'hook'
             UNION ALL SELECT token, '', 'o', x'', 0, 1, 0, 'delivered', 0, 'acme' FROM callbacks
                 WHERE token <> 'hook';
             INSERT INTO hooks (id, tenant, sub_id, token, callback_url, events, raw, created_at_ms)
                 VALUES (1, 'acme', 0, 'hook', 'https://f', '', 0, 0);",
        )
        .unwrap();
        let count = |sql: &str| -> i64 { db.query_row(sql, [], |row| row.get(0)).unwrap() };
        let left = || {
            (
                count("SELECT count(*) FROM callbacks WHERE ended_at_ms IS NULL"),
                count("SELECT count(*) FROM callbacks"),
                count("SELECT count(*) FROM deliveries"),
            )
        };
        let now_ms = 2 * CALLBACKS_KEPT_MS;
        let portion = |step, now_ms| {
            let is_full = Full::default();
            let portion = Portion { step, now_ms, is_full: is_full.clone() };
            apply(&portion, &db).unwrap();
            (is_full.get(), left())
        };
        assert_eq!(left(), (1501, 1501, 3000));
        assert_eq!(portion(Step::End, now_ms), (true, (501, 1501, 3000)));
        assert_eq!(portion(Step::End, now_ms), (false, (1, 1501, 3000)));
        let later = 2 * now_ms;
        assert_eq!(portion(Step::Forget, later), (true, (1, 501, 3000)));
        assert_eq!(portion(Step::Forget, later), (false, (1, 1, 3000)));
        assert_eq!(portion(Step::ForgetEvents, later), (true, (1, 1, 2000)));
        assert_eq!(portion(Step::ForgetEvents, later), (false, (1, 1, 1500)));
        assert_eq!(portion(Step::ForgetDeliveries, later), (true, (1, 1, 500)));
        assert_eq!(portion(Step::ForgetDeliveries, later), (false, (1, 1, 0)));
    }
}
