//! The SQL of what is learned of the size of meetings.

use async_trait::async_trait;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::Embedded;
use crate::model::{HistoryRow, MOST_ATTENDEES, Past, Peak};
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::history::{
    Aged, Forgotten, Histories, Kept, Learned, Place, Sought, begin, learned, of_forgotten, since,
    to_columns,
};

/// The latest meeting counts for ?6, and the first ones alike. What cannot be right is begun anew. Only what was seen by
/// others later, until ?8, is not made older.
const LEARN: &str = "INSERT INTO history VALUES (?1, ?2, ?3, ?4, 1, ?5, 0, ?7)
    ON CONFLICT DO UPDATE SET
        variance = iif(seen BETWEEN 1 AND 4294967294 AND mean BETWEEN 0 AND 1e5 AND variance BETWEEN 0 AND 1e10,
            (1 - max(?6, 1.0 / (seen + 1))) * (variance + max(?6, 1.0 / (seen + 1)) * (?5 - mean) * (?5 - mean)), 0),
        mean = iif(seen BETWEEN 1 AND 4294967294 AND mean BETWEEN 0 AND 1e5 AND variance BETWEEN 0 AND 1e10,
            mean + max(?6, 1.0 / (seen + 1)) * (?5 - mean), ?5),
        seen = iif(seen BETWEEN 1 AND 4294967294 AND mean BETWEEN 0 AND 1e5 AND variance BETWEEN 0 AND 1e10, seen + 1, 1),
        learned_at_s = max(?7, min(learned_at_s, ?8))";

const PUT: &str = "INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const LIST: &str =
    "SELECT tenant, sub_id, room, hour, seen, mean, variance, learned_at_s FROM history
    WHERE learned_at_s >= ?1 AND (?2 IS NULL OR room = ?2 AND sub_id >= 0)
        AND (tenant, sub_id, room, hour) > (?3, ?4, ?5, ?6)
    ORDER BY tenant, sub_id, room, hour LIMIT ?7";

/// The same of one tenant: it begins and ends with that tenant's rows, however many others there are.
const LIST_OF: &str =
    "SELECT tenant, sub_id, room, hour, seen, mean, variance, learned_at_s FROM history
    WHERE learned_at_s >= ?1 AND (?2 IS NULL OR room = ?2 AND sub_id >= 0)
        AND tenant = ?3 AND (sub_id, room, hour) > (?4, ?5, ?6)
    ORDER BY sub_id, room, hour LIMIT ?7";

const RESET: &str = "DELETE FROM history WHERE (?1 IS NULL OR tenant = ?1)
    AND (?2 IS NULL OR room = ?2 AND sub_id >= 0) AND (?3 IS NULL OR sub_id = ?3)";

const BUMP: &str = "INSERT INTO history_generation VALUES (0, 1)
    ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number";

const GENERATION: &str = "SELECT coalesce(max(number), 0) FROM history_generation";

const FORGET_OLD: &str = "DELETE FROM history WHERE (tenant, sub_id, room, hour) IN
    (SELECT tenant, sub_id, room, hour FROM history WHERE learned_at_s < ?1 ORDER BY learned_at_s LIMIT ?2)";

const SET_RIGHT: &str = "UPDATE history SET learned_at_s = ?1 WHERE (tenant, sub_id, room, hour) IN
        (SELECT tenant, sub_id, room, hour FROM history WHERE learned_at_s > ?1 ORDER BY learned_at_s DESC LIMIT ?3)
    AND (SELECT count(*) FROM history) > ?2";

const FORGET_MORE: &str = "DELETE FROM history WHERE (tenant, sub_id, room, hour) IN
    (SELECT tenant, sub_id, room, hour FROM history ORDER BY learned_at_s
        LIMIT min(?2, max((SELECT count(*) FROM history) - ?1, 0)))";

#[async_trait]
impl Histories for Embedded {
    async fn learn(&self, peaks: &[Peak], at_s: u64) -> Result<(), Error> {
        let past: Vec<Past> = peaks.iter().map(|peak| Past { peak: peak.clone(), at_s }).collect();
        self.read(move |db| in_one(db, |moment| learn(moment, &past, at_s))).await
    }

    async fn seed_history(&self, past: &[Past], now_s: u64) -> Result<u64, Error> {
        let past = past.to_vec();
        let seed = move |moment: &Connection| {
            learn(moment, &past, now_s)?;
            bump(moment)
        };
        self.read(move |db| in_one(db, seed)).await
    }

    async fn history(&self, sought: &Sought) -> Result<Learned, Error> {
        let sought = sought.clone();
        self.read(move |db| list(db, &sought)).await
    }

    async fn put_history(&self, rows: &[HistoryRow]) -> Result<u64, Error> {
        let rows = rows.to_vec();
        let put = move |moment: &Connection| {
            put(moment, &rows)?;
            bump(moment)
        };
        self.read(move |db| in_one(db, put)).await
    }

    async fn reset_history(&self, what: &Forgotten) -> Result<u64, Error> {
        let what = what.clone();
        let reset = move |moment: &Connection| {
            let (tenant, room, sub) = of_forgotten(&what);
            let gone = moment.execute(RESET, params![tenant, room, sub])?;
            bump(moment)?;
            Ok(gone as u64)
        };
        self.read(move |db| in_one(db, reset)).await
    }

    async fn forget_history(&self, aged: &Aged) -> Result<u64, Error> {
        let [before_s, most, now_s] = [aged.before_s, aged.most, aged.now_s].map(to_column);
        let limit = i64::from(aged.limit);
        let gone = move |db: &Connection| {
            let old = db.execute(FORGET_OLD, [before_s, limit])? as u64;
            db.execute(SET_RIGHT, [now_s, most, limit])?;
            let left = limit.saturating_sub(to_column(old));
            Ok(old + db.execute(FORGET_MORE, [most, left])? as u64)
        };
        self.read(gone).await
    }

    async fn history_generation(&self) -> Result<u64, Error> {
        let number = |db: &Connection| db.query_row(GENERATION, [], |row| row.get::<_, i64>(0));
        Ok(self.read(number).await?.unsigned_abs())
    }
}

/// All of it or nothing.
fn in_one<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let done = work(&moment)?;
    moment.commit()?;
    Ok(done)
}

fn bump(moment: &Connection) -> rusqlite::Result<u64> {
    let number: i64 = moment.query_row(BUMP, [], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

fn learn(moment: &Connection, past: &[Past], now_s: u64) -> rusqlite::Result<()> {
    let mut statement = moment.prepare_cached(LEARN)?;
    for Past { peak, at_s } in past.iter().filter(|past| past.peak.attendees > 0) {
        for key in peak.teaches() {
            let ((tenant, sub, room, hour), share) = (to_columns(&key), key.share());
            let attendees = f64::from(peak.attendees.min(MOST_ATTENDEES));
            let [at_s, now_s] = [*at_s, now_s].map(to_column);
            statement.execute(params![tenant, sub, room, hour, attendees, share, at_s, now_s])?;
        }
    }
    Ok(())
}

fn put(moment: &Connection, rows: &[HistoryRow]) -> rusqlite::Result<()> {
    let mut statement = moment.prepare_cached(PUT)?;
    for row in rows {
        let (tenant, sub, room, hour) = to_columns(&row.key);
        let [mean, variance] = [row.moments.mean, row.moments.variance].map(f64::from);
        let (seen, at_s) = (row.moments.seen, to_column(row.learned_at_s));
        statement.execute(params![tenant, sub, room, hour, seen, mean, variance, at_s])?;
    }
    Ok(())
}

/// A text for a column, also one that is none. A cast in SQL would keep the index from being used.
struct Text<'t>(&'t [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

fn list(db: &Connection, sought: &Sought) -> rusqlite::Result<Learned> {
    let Some(Place { tenant, sub, room, hour }) = begin(sought) else {
        return Ok(Learned::default());
    };
    let sql = if sought.tenant.is_some() { LIST_OF } else { LIST };
    let [tenant, room] = [&tenant, &room].map(|bytes| Text(bytes));
    let since_s = since(sought.since_s);
    let mut statement = db.prepare_cached(sql)?;
    let wanted = params![since_s, sought.room, tenant, sub, room, hour, sought.limit];
    let rows = statement.query_map(wanted, kept)?;
    let kept: Vec<Kept> = rows.collect::<Result<_, _>>()?;
    Ok(learned(&kept, sought.limit, str::to_owned))
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let bytes = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes()?.to_vec());
    let place = Place { tenant: bytes(0)?, sub: row.get(1)?, room: bytes(2)?, hour: row.get(3)? };
    let [mean, variance] = [row.get(5)?, row.get(6)?];
    Ok(Kept { place, seen: row.get(4)?, mean, variance, learned_at_s: row.get(7)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_tenant_are_found_by_the_key() {
        let dir = tempfile::tempdir().unwrap();
        drop(Embedded::open(dir.path()).unwrap());
        let db = Connection::open(Embedded::file(dir.path())).unwrap();
        let plan = |sql: &str| -> String {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let wanted = params![0, None::<String>, "acme", i64::MIN, "", i64::MIN, 10];
            statement.query_row(wanted, |row| row.get("detail")).unwrap()
        };
        let of = plan(LIST_OF);
        assert!(of.contains("PRIMARY KEY (tenant=? AND (sub_id,room,hour)>(?,?,?))"), "{of}");
        let all = plan(LIST);
        assert!(all.contains("PRIMARY KEY"), "{all}");
    }
}
