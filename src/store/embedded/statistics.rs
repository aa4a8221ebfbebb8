//! The SQL of statistics.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::Embedded;
use super::rows::integer;
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::statistics::{Begun, MAX_GAP_MS, Of, Per, Running, Statistics, Usage, Wanted};

#[async_trait]
impl Statistics for Embedded {
    async fn clock_ms(&self, own_ms: u64) -> Result<u64, Error> {
        Ok(own_ms)
    }

    async fn add_begun(&self, begun: &Begun) -> Result<(), Error> {
        let begun = begun.clone();
        self.read(move |db| add_begun(db, &begun)).await
    }

    async fn add_running(
        &self,
        at_ms: u64,
        gap: Duration,
        running: &[Running],
    ) -> Result<bool, Error> {
        let running = running.to_vec();
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        self.read(move |db| add_running(db, at_ms, gap_ms, &running)).await
    }

    async fn usage(&self, wanted: &Wanted) -> Result<Vec<Usage>, Error> {
        let wanted = wanted.clone();
        self.read(move |db| usage(db, &wanted)).await
    }

    async fn forget_usage(&self, hours_before_s: u64, days_before_s: u64) -> Result<(), Error> {
        self.read(move |db| {
            for (per, before_s) in [(Per::Hour, hours_before_s), (Per::Day, days_before_s)] {
                let forgotten = "DELETE FROM statistics WHERE per = ?1 AND begins_at_s < ?2";
                db.execute(forgotten, params![per.as_str(), to_column(before_s)])?;
            }
            let silent = "DELETE FROM statistics_batches WHERE at_s < ?1";
            db.execute(silent, [to_column(hours_before_s)])?;
            Ok(())
        })
        .await
    }

    async fn oldest_delivery(&self) -> Result<Option<u64>, Error> {
        let oldest = "SELECT min(received_at_ms) FROM deliveries WHERE state = 'pending'";
        let oldest =
            move |db: &Connection| db.query_row(oldest, [], |row| row.get::<_, Option<i64>>(0));
        Ok(self.read(oldest).await?.map(i64::unsigned_abs))
    }
}

fn add_begun(db: &Connection, begun: &Begun) -> rusqlite::Result<()> {
    let Begun { process, number, at_ms, meetings } = begun;
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let is_new = moment.execute(
        "INSERT INTO statistics_batches VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET number = excluded.number, at_s = excluded.at_s WHERE number < excluded.number",
        params![process, to_column(*number), to_column(at_ms / 1000)],
    )?;
    if is_new == 0 {
        return Ok(());
    }
    for per in Per::ALL {
        let begins = to_column(per.begin_of(*at_ms));
        for (of, meetings) in meetings {
            moment
                .prepare_cached(
                    "INSERT INTO statistics VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0)
                     ON CONFLICT DO UPDATE SET meetings = meetings + excluded.meetings",
                )?
                .execute(params![per.as_str(), begins, of.column(), to_column(*meetings)])?;
        }
    }
    moment.commit()
}

fn add_running(
    db: &Connection,
    at_ms: u64,
    gap_ms: u64,
    running: &[Running],
) -> rusqlite::Result<bool> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let before: u64 =
        moment
            .query_row("SELECT sampled_at_ms FROM statistics_clock", [], |row| integer(row, 0))?;
    let is_due = before.saturating_add(gap_ms) <= at_ms;
    // A clock that was far ahead is not waited for.
    if !is_due && before <= at_ms.saturating_add(MAX_GAP_MS) {
        return Ok(false);
    }
    let passed = if before == 0 { 0 } else { at_ms.saturating_sub(before).min(MAX_GAP_MS) };
    moment.execute("UPDATE statistics_clock SET sampled_at_ms = ?1", [to_column(at_ms)])?;
    for per in Per::ALL {
        let begins = to_column(per.begin_of(at_ms));
        for Running { of, meetings, attendees } in running {
            moment
                .prepare_cached(
                    "INSERT INTO statistics VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)
                     ON CONFLICT DO UPDATE SET attendee_ms = attendee_ms + excluded.attendee_ms,
                         sampled_ms = sampled_ms + excluded.sampled_ms,
                         peak_meetings = max(peak_meetings, excluded.peak_meetings),
                         peak_attendees = max(peak_attendees, excluded.peak_attendees)",
                )?
                .execute(params![
                    per.as_str(),
                    begins,
                    of.column(),
                    to_column(u64::from(*attendees) * passed),
                    to_column(passed),
                    meetings,
                    attendees,
                ])?;
        }
    }
    moment.commit()?;
    Ok(true)
}

/// A row that cannot be understood is nobody's.
fn usage(db: &Connection, wanted: &Wanted) -> rusqlite::Result<Vec<Usage>> {
    let mut statement = db.prepare_cached(
        "SELECT tenant, begins_at_s, meetings, attendee_ms, sampled_ms, peak_meetings, peak_attendees
         FROM statistics WHERE per = ?1 AND begins_at_s >= ?2 AND begins_at_s < ?3
             AND tenant BETWEEN ?4 AND ?5 AND (begins_at_s, tenant) > (?6, ?7)
         ORDER BY begins_at_s, tenant LIMIT ?8",
    )?;
    let ([first, last], (after_s, after)) = (wanted.tenants(), wanted.after());
    let (from_s, before_s) = (to_column(wanted.from_s), to_column(wanted.before_s));
    let per = wanted.per.as_str();
    let rows = statement.query_map(
        params![per, from_s, before_s, first, last, after_s, after, wanted.limit],
        read,
    )?;
    rows.filter_map(Result::transpose).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<Usage>> {
    let Some(of) = Of::from_column(&row.get::<_, String>(0)?) else { return Ok(None) };
    Ok(Some(Usage {
        of,
        begins_at_s: integer(row, 1)?,
        meetings: integer(row, 2)?,
        attendee_ms: integer(row, 3)?,
        sampled_ms: integer(row, 4)?,
        peak_meetings: row.get(5)?,
        peak_attendees: row.get(6)?,
    }))
}
