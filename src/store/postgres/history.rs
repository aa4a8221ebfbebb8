//! The SQL of what is learned of the size of meetings.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::text::{from_column, to_column as text};
use crate::model::{HistoryRow, Peak, SHARE_OF_MANY, SHARE_OF_ROOM, Slug};
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::history::{
    Columns, Histories, Kept, Learned, Sought, after, learned, to_columns,
};

/// The rows of one meeting, in the order of their keys, so that two instances never wait for each other in a circle.
/// The latest one counts for its share, and the first ones alike.
const LEARN: &str = "INSERT INTO history AS known
    SELECT tenant, sub_id, room, hour, 1, $5::float8, 0, $6::bigint
        FROM unnest($1::text[], $2::int[], $3::text[], $4::int[]) AS of (tenant, sub_id, room, hour)
        ORDER BY tenant COLLATE \"C\", sub_id, room COLLATE \"C\", hour
    ON CONFLICT (tenant, sub_id, room, hour) DO UPDATE SET
        variance = (1 - greatest(CASE WHEN known.sub_id < 0 THEN $7::float8 ELSE $8::float8 END, 1 / (known.seen + 1)::float8))
            * (known.variance + greatest(CASE WHEN known.sub_id < 0 THEN $7::float8 ELSE $8::float8 END, 1 / (known.seen + 1)::float8)
                * ($5 - known.mean) * ($5 - known.mean)),
        mean = known.mean + greatest(CASE WHEN known.sub_id < 0 THEN $7::float8 ELSE $8::float8 END, 1 / (known.seen + 1)::float8)
            * ($5 - known.mean),
        seen = known.seen + 1,
        learned_at_s = $6";

const PUT: &str = "INSERT INTO history
    SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::int[], $5::bigint[], $6::float8[], $7::float8[],
            $8::bigint[])
        AS rows (tenant, sub_id, room, hour, seen, mean, variance, learned_at_s)
        ORDER BY tenant COLLATE \"C\", sub_id, room COLLATE \"C\", hour
    ON CONFLICT (tenant, sub_id, room, hour) DO UPDATE SET seen = excluded.seen, mean = excluded.mean,
        variance = excluded.variance, learned_at_s = excluded.learned_at_s";

const LIST: &str =
    "SELECT tenant, sub_id, room, hour, seen, mean, variance, learned_at_s FROM history
    WHERE learned_at_s >= $1 AND ($2::text IS NULL OR tenant = $2)
        AND ($3::text IS NULL OR room = $3 AND sub_id >= 0)
        AND (tenant, sub_id, room, hour) > ($4, $5::int, $6, $7::int)
    ORDER BY tenant, sub_id, room, hour LIMIT $8";

const RESET: &str = "WITH gone AS (DELETE FROM history
        WHERE ($1::text IS NULL OR tenant = $1) AND ($2::text IS NULL OR room = $2 AND sub_id >= 0) RETURNING 1)
    SELECT count(*) FROM gone";

const FORGET: &str = "WITH gone AS (DELETE FROM history WHERE learned_at_s < $1
        OR (tenant, sub_id, room, hour) IN (SELECT tenant, sub_id, room, hour FROM history
            ORDER BY learned_at_s DESC OFFSET $2) RETURNING 1)
    SELECT count(*) FROM gone";

#[async_trait]
impl Histories for Postgres {
    async fn learn(&self, peaks: &[Peak], at_s: u64) -> Result<(), Error> {
        let reader = self.reader().await?;
        let at_s = to_column(at_s);
        for peak in peaks.iter().filter(|peak| peak.attendees > 0) {
            let rows = peak.teaches().map(|key| to_columns(&key));
            let (tenants, subs, rooms, hours) = in_columns(&rows);
            let attendees = f64::from(peak.attendees);
            let [many, room] = [SHARE_OF_MANY, SHARE_OF_ROOM];
            let values: [&(dyn ToSql + Sync); 8] =
                [&tenants, &subs, &rooms, &hours, &attendees, &at_s, &many, &room];
            reader.rows(LEARN, &values).await?;
        }
        Ok(())
    }

    async fn history(&self, sought: &Sought) -> Result<Learned, Error> {
        let (tenant, sub, room, hour) = after(sought.after.as_ref());
        let of = sought.tenant.as_ref().map(Slug::as_str);
        let named = sought.room.as_deref().map(text);
        let (since_s, limit) = (to_column(sought.since_s), i64::from(sought.limit));
        let behind = text(&room);
        let values: [&(dyn ToSql + Sync); 8] =
            [&since_s, &of, &named, &tenant, &sub, &behind, &hour, &limit];
        let rows = self.reader().await?.rows(LIST, &values).await?;
        // A row that cannot be understood is left out like one that is not sound.
        Ok(learned(rows.iter().filter_map(kept).collect(), sought.limit))
    }

    async fn put_history(&self, rows: &[HistoryRow]) -> Result<(), Error> {
        let columns: Vec<Columns> = rows.iter().map(|row| to_columns(&row.key)).collect();
        let (tenants, subs, rooms, hours) = in_columns(&columns);
        let seen: Vec<i64> = rows.iter().map(|row| row.moments.seen.into()).collect();
        let means: Vec<f64> = rows.iter().map(|row| row.moments.mean.into()).collect();
        let variances: Vec<f64> = rows.iter().map(|row| row.moments.variance.into()).collect();
        let ages: Vec<i64> = rows.iter().map(|row| to_column(row.learned_at_s)).collect();
        let values: [&(dyn ToSql + Sync); 8] =
            [&tenants, &subs, &rooms, &hours, &seen, &means, &variances, &ages];
        self.reader().await?.rows(PUT, &values).await.map(drop)
    }

    async fn reset_history(&self, tenant: Option<&Slug>, room: Option<&str>) -> Result<u64, Error> {
        let (tenant, room) = (tenant.map(Slug::as_str), room.map(text));
        Ok(count(&self.reader().await?.rows(RESET, &[&tenant, &room]).await?))
    }

    async fn forget_history(&self, before_s: u64, most: u64) -> Result<u64, Error> {
        let (before_s, most) = (to_column(before_s), to_column(most));
        Ok(count(&self.reader().await?.rows(FORGET, &[&before_s, &most]).await?))
    }
}

type InColumns<'a> = (Vec<&'a str>, Vec<i32>, Vec<std::borrow::Cow<'a, str>>, Vec<i32>);

fn in_columns(rows: &[Columns]) -> InColumns<'_> {
    let tenants = rows.iter().map(|(tenant, ..)| tenant.as_str()).collect();
    let subs = rows.iter().map(|(_, sub, ..)| *sub).collect();
    let rooms = rows.iter().map(|(_, _, room, _)| text(room)).collect();
    (tenants, subs, rooms, rows.iter().map(|(.., hour)| *hour).collect())
}

fn count(rows: &[Row]) -> u64 {
    let count: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
    count.map_or(0, i64::unsigned_abs)
}

fn kept(row: &Row) -> Option<Kept> {
    let room: String = row.try_get(2).ok()?;
    Some(Kept {
        columns: (
            row.try_get(0).ok()?,
            row.try_get(1).ok()?,
            from_column(&room),
            row.try_get(3).ok()?,
        ),
        seen: row.try_get(4).ok()?,
        mean: row.try_get(5).ok()?,
        variance: row.try_get(6).ok()?,
        learned_at_s: row.try_get(7).ok()?,
    })
}
