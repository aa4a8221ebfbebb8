//! The SQL of what is learned of the size of meetings.

use async_trait::async_trait;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::Embedded;
use crate::model::{HistoryRow, Peak, Slug};
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::history::{
    Columns, Histories, Kept, Learned, Sought, after, learned, to_columns,
};

/// The latest meeting counts for ?6, and the first ones alike.
const LEARN: &str = "INSERT INTO history VALUES (?1, ?2, ?3, ?4, 1, ?5, 0, ?7)
    ON CONFLICT DO UPDATE SET
        variance = (1 - max(?6, 1.0 / (seen + 1)))
            * (variance + max(?6, 1.0 / (seen + 1)) * (?5 - mean) * (?5 - mean)),
        mean = mean + max(?6, 1.0 / (seen + 1)) * (?5 - mean),
        seen = seen + 1,
        learned_at_s = ?7";

const PUT: &str = "INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const LIST: &str = "SELECT tenant, sub_id, room, hour, seen, mean, variance, learned_at_s FROM history
    WHERE learned_at_s >= ?1 AND (?2 IS NULL OR tenant = ?2) AND (?3 IS NULL OR room = ?3 AND sub_id >= 0)
        AND (tenant, sub_id, room, hour) > (?4, ?5, ?6, ?7)
    ORDER BY tenant, sub_id, room, hour LIMIT ?8";

const RESET: &str = "DELETE FROM history
    WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR room = ?2 AND sub_id >= 0)";

const FORGET_OLD: &str = "DELETE FROM history WHERE learned_at_s < ?1";

const FORGET_MORE: &str = "DELETE FROM history WHERE (tenant, sub_id, room, hour) IN
    (SELECT tenant, sub_id, room, hour FROM history ORDER BY learned_at_s DESC LIMIT -1 OFFSET ?1)";

#[async_trait]
impl Histories for Embedded {
    async fn learn(&self, peaks: &[Peak], at_s: u64) -> Result<(), Error> {
        let peaks = peaks.to_vec();
        self.read(move |db| learn(db, &peaks, to_column(at_s))).await
    }

    async fn history(&self, sought: &Sought) -> Result<Learned, Error> {
        let sought = sought.clone();
        self.read(move |db| list(db, &sought)).await
    }

    async fn put_history(&self, rows: &[HistoryRow]) -> Result<(), Error> {
        let rows = rows.to_vec();
        self.read(move |db| put(db, &rows)).await
    }

    async fn reset_history(&self, tenant: Option<&Slug>, room: Option<&str>) -> Result<u64, Error> {
        let (tenant, room) = (tenant.map(ToString::to_string), room.map(str::to_owned));
        let gone = move |db: &Connection| db.execute(RESET, params![tenant, room]);
        Ok(self.read(gone).await? as u64)
    }

    async fn forget_history(&self, before_s: u64, most: u64) -> Result<u64, Error> {
        let (before_s, most) = (to_column(before_s), to_column(most));
        let gone = move |db: &Connection| {
            Ok(db.execute(FORGET_OLD, [before_s])? + db.execute(FORGET_MORE, [most])?)
        };
        Ok(self.read(gone).await? as u64)
    }
}

fn learn(db: &Connection, peaks: &[Peak], at_s: i64) -> rusqlite::Result<()> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut statement = moment.prepare_cached(LEARN)?;
    for peak in peaks.iter().filter(|peak| peak.attendees > 0) {
        for key in peak.teaches() {
            let ((tenant, sub, room, hour), share) = (to_columns(&key), key.share());
            let attendees = f64::from(peak.attendees);
            statement.execute(params![tenant, sub, room, hour, attendees, share, at_s])?;
        }
    }
    drop(statement);
    moment.commit()
}

fn put(db: &Connection, rows: &[HistoryRow]) -> rusqlite::Result<()> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut statement = moment.prepare_cached(PUT)?;
    for row in rows {
        let (tenant, sub, room, hour) = to_columns(&row.key);
        let [mean, variance] = [row.moments.mean, row.moments.variance].map(f64::from);
        let at_s = to_column(row.learned_at_s);
        statement.execute(params![
            tenant,
            sub,
            room,
            hour,
            row.moments.seen,
            mean,
            variance,
            at_s
        ])?;
    }
    drop(statement);
    moment.commit()
}

fn list(db: &Connection, sought: &Sought) -> rusqlite::Result<Learned> {
    let (tenant, sub, room, hour): Columns = after(sought.after.as_ref());
    let of = sought.tenant.as_ref().map(Slug::as_str);
    let since_s = to_column(sought.since_s);
    let mut statement = db.prepare_cached(LIST)?;
    let wanted = params![since_s, of, sought.room, tenant, sub, room, hour, sought.limit];
    let rows = statement.query_map(wanted, kept)?;
    Ok(learned(rows.collect::<Result<_, _>>()?, sought.limit))
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        columns: (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?),
        seen: row.get(4)?,
        mean: row.get(5)?,
        variance: row.get(6)?,
        learned_at_s: row.get(7)?,
    })
}
