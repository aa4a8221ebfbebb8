//! The SQL of statistics.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::text::to_column as text;
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::statistics::{Begun, MAX_GAP_MS, Of, Per, Running, Statistics, Usage, Wanted};

const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// In the order of their keys, so that two instances never wait for each other in a circle. A batch that comes again
/// waits for its first coming, if that is still under way.
const ADD_BEGUN: &str = "WITH first AS (INSERT INTO statistics_batches AS known VALUES ($5, $6, $7)
        ON CONFLICT (process) DO UPDATE SET number = excluded.number, at_s = excluded.at_s
            WHERE known.number < excluded.number
        RETURNING process)
    INSERT INTO statistics AS known
    SELECT per, begins, tenant, meetings, 0, 0, 0, 0
        FROM first, unnest($1::text[], $2::bigint[]) AS more (tenant, meetings),
            (VALUES ('day', $4::bigint), ('hour', $3::bigint)) AS rows (per, begins)
        ORDER BY per COLLATE \"C\", begins, tenant COLLATE \"C\"
    ON CONFLICT (per, begins_at_s, tenant) DO UPDATE SET meetings = known.meetings + excluded.meetings";

/// Whoever comes at the same time waits for the clock, and finds that it is not time any more.
const ADD_RUNNING: &str = "WITH known AS (SELECT sampled_at_ms AS at FROM statistics_clock FOR UPDATE),
    due AS (SELECT CASE WHEN at = 0 THEN 0 ELSE greatest(0, least($1::bigint - at, $3::bigint)) END AS passed
        FROM known WHERE at <= $1::bigint - $2::bigint OR at > $1::bigint + $3::bigint),
    ticked AS (UPDATE statistics_clock SET sampled_at_ms = $1 WHERE EXISTS (SELECT FROM due)),
    added AS (INSERT INTO statistics AS known
        SELECT per, begins, tenant, 0, attendees * passed, passed, meetings, attendees
            FROM due, unnest($4::text[], $5::bigint[], $6::bigint[]) AS more (tenant, meetings, attendees),
                (VALUES ('day', $8::bigint), ('hour', $7::bigint)) AS rows (per, begins)
            ORDER BY per COLLATE \"C\", begins, tenant COLLATE \"C\"
        ON CONFLICT (per, begins_at_s, tenant) DO UPDATE SET
            attendee_ms = known.attendee_ms + excluded.attendee_ms,
            sampled_ms = known.sampled_ms + excluded.sampled_ms,
            peak_meetings = greatest(known.peak_meetings, excluded.peak_meetings),
            peak_attendees = greatest(known.peak_attendees, excluded.peak_attendees))
    SELECT passed FROM due";

const USAGE: &str = "SELECT tenant, begins_at_s, meetings, attendee_ms, sampled_ms, peak_meetings,
        peak_attendees
    FROM statistics WHERE per = $1 AND begins_at_s >= $2 AND begins_at_s < $3
        AND tenant BETWEEN $4 AND $5 AND (begins_at_s, tenant) > ($6, $7)
    ORDER BY begins_at_s, tenant LIMIT $8";

const FORGET: &str = "WITH silent AS (DELETE FROM statistics_batches WHERE at_s < $1)
    DELETE FROM statistics
    WHERE per = 'hour' AND begins_at_s < $1 OR per = 'day' AND begins_at_s < $2";

const OLDEST: &str = "SELECT min(received_at_ms) FROM deliveries WHERE state = 'pending'";

#[async_trait]
impl Statistics for Postgres {
    async fn clock_ms(&self, _own_ms: u64) -> Result<u64, Error> {
        let reader = self.connection().await?;
        let rows = reader.rows(CLOCK, &[]).await?;
        let shown = rows.iter().map(|row| row.try_get::<_, i64>(0)).next().transpose();
        let shown = shown.map_err(|error| reader.trouble(&error))?.unwrap_or_default();
        Ok(shown.try_into().unwrap_or_default())
    }

    async fn add_begun(&self, begun: &Begun) -> Result<(), Error> {
        let Begun { process, number, at_ms, meetings } = begun;
        let tenants: Vec<&str> = meetings.iter().map(|(of, _)| of.column()).collect();
        let meetings: Vec<i64> =
            meetings.iter().map(|(_, meetings)| to_column(*meetings)).collect();
        let [hour, day] = Per::ALL.map(|per| to_column(per.begin_of(*at_ms)));
        let (number, at_s) = (to_column(*number), to_column(at_ms / 1000));
        // Not by way of the writer: its transactions hold other rows meanwhile.
        let reader = self.reader().await?;
        let params: [&(dyn ToSql + Sync); 7] =
            [&tenants, &meetings, &hour, &day, process, &number, &at_s];
        reader.rows(ADD_BEGUN, &params).await.map(drop)
    }

    async fn add_running(
        &self,
        at_ms: u64,
        gap: Duration,
        running: &[Running],
    ) -> Result<bool, Error> {
        let tenants: Vec<&str> = running.iter().map(|running| running.of.column()).collect();
        let meetings: Vec<i64> = running.iter().map(|running| running.meetings.into()).collect();
        let attendees: Vec<i64> = running.iter().map(|running| running.attendees.into()).collect();
        let [hour, day] = Per::ALL.map(|per| to_column(per.begin_of(at_ms)));
        let (at_ms, max_ms) = (to_column(at_ms), to_column(MAX_GAP_MS));
        let gap_ms = i64::try_from(gap.as_millis()).unwrap_or(i64::MAX);
        let reader = self.reader().await?;
        let counted = reader
            .rows(
                ADD_RUNNING,
                &[&at_ms, &gap_ms, &max_ms, &tenants, &meetings, &attendees, &hour, &day],
            )
            .await?;
        Ok(!counted.is_empty())
    }

    async fn usage(&self, wanted: &Wanted) -> Result<Vec<Usage>, Error> {
        let ([first, last], (after_s, after)) = (wanted.tenants(), wanted.after());
        let (from_s, before_s) = (to_column(wanted.from_s), to_column(wanted.before_s));
        let (per, limit) = (wanted.per.as_str(), i64::from(wanted.limit));
        let after = text(after);
        let reader = self.reader().await?;
        let rows = reader
            .rows(USAGE, &[&per, &from_s, &before_s, &first, &last, &after_s, &after, &limit])
            .await?;
        // A row that cannot be understood is nobody's.
        Ok(rows.iter().filter_map(usage).collect())
    }

    async fn forget_usage(&self, hours_before_s: u64, days_before_s: u64) -> Result<(), Error> {
        let reader = self.reader().await?;
        let before = [hours_before_s, days_before_s].map(to_column);
        reader.rows(FORGET, &[&before[0], &before[1]]).await.map(drop)
    }

    async fn oldest_delivery(&self) -> Result<Option<u64>, Error> {
        let rows = self.reader().await?.rows(OLDEST, &[]).await?;
        let oldest = rows.first().and_then(|row| row.try_get::<_, Option<i64>>(0).ok().flatten());
        Ok(oldest.map(i64::unsigned_abs))
    }
}

fn usage(row: &Row) -> Option<Usage> {
    let number = |column| row.try_get::<_, i64>(column).ok().and_then(|n| u64::try_from(n).ok());
    Some(Usage {
        of: Of::from_column(row.try_get(0).ok()?)?,
        begins_at_s: number(1)?,
        meetings: number(2)?,
        attendee_ms: number(3)?,
        sampled_ms: number(4)?,
        peak_meetings: number(5)?.try_into().ok()?,
        peak_attendees: number(6)?.try_into().ok()?,
    })
}
