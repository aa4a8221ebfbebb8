//! What the triggers keep, and what the ways of the outbox cost.

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

const NOBODY: Holder = Holder(0);
const ANYBODY: Taker = Taker { holder: NOBODY, lease_ms: 0, under_way: Vec::new() };

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
        outbox.taken.iter().map(|due| due.received_at_ms).collect()
    };
    assert_eq!(received(&read(&db, 9, PLACES, &ANYBODY).unwrap()), [1, 4, 2, 3]);
    before.execute(BEFORE, params!["c", "late", "c", 6]).unwrap();
    before.execute(BEFORE, params!["nobodys", "late", "c", 7]).unwrap();
    let outbox = read(&db, 9, PLACES, &ANYBODY).unwrap();
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
                2 => settle(&db, number, NOBODY, 50, &Settled::Delivered).unwrap(),
                3 => settle(&db, number, NOBODY, 50, &Settled::Again { at_ms, error }).unwrap(),
                4 => settle(&db, number, NOBODY, 50, &Settled::Dead { error }).unwrap(),
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
    let due = read(&db, 9, Places { of_origin: 9, ..PLACES }, &ANYBODY).unwrap().taken;
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
