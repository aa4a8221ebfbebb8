//! The SQL of what is learned of the size of meetings.

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::Trouble;
use super::ledger::get;
use super::rows::Unreadable;
use super::text::{from_column, to_column as text};
use super::{Postgres, WITHIN};
use crate::model::{HistoryRow, MOST_ATTENDEES, Past, Peak, SHARE_OF_MANY, SHARE_OF_ROOM};
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::health::Asking;
use crate::store::history::{
    Aged, Columns, Forgotten, Histories, Kept, Learned, Place, Sought, begin, learned,
    of_forgotten, to_columns,
};

/// The rows of one meeting. The latest one counts for its share, and the first ones alike. What cannot be right is begun anew. Only what was
/// seen by others later, until $9, is not made older.
const LEARN: &str = "INSERT INTO history AS known
    SELECT tenant, sub_id, room, hour, 1, $5::float8, 0, $6::bigint
        FROM unnest($1::text[], $2::int[], $3::text[], $4::int[]) AS of (tenant, sub_id, room, hour)
        ORDER BY tenant COLLATE \"C\", sub_id, room COLLATE \"C\", hour
    ON CONFLICT (tenant, sub_id, room, hour) DO UPDATE SET
        variance = CASE WHEN known.seen BETWEEN 1 AND 4294967294 AND known.mean BETWEEN 0 AND 1e5 AND known.variance BETWEEN 0 AND 1e10
            THEN (1 - greatest(CASE WHEN known.sub_id < 0 THEN $7::float8 ELSE $8::float8 END, 1 / (known.seen + 1)::float8))
                * (known.variance + greatest(CASE WHEN known.sub_id < 0 THEN $7::float8 ELSE $8::float8 END, 1 / (known.seen + 1)::float8)
                    * ($5 - known.mean) * ($5 - known.mean))
            ELSE 0 END,
        mean = CASE WHEN known.seen BETWEEN 1 AND 4294967294 AND known.mean BETWEEN 0 AND 1e5 AND known.variance BETWEEN 0 AND 1e10
            THEN known.mean
                + greatest(CASE WHEN known.sub_id < 0 THEN $7::float8 ELSE $8::float8 END, 1 / (known.seen + 1)::float8)
                    * ($5 - known.mean)
            ELSE $5 END,
        seen = CASE WHEN known.seen BETWEEN 1 AND 4294967294 AND known.mean BETWEEN 0 AND 1e5 AND known.variance BETWEEN 0 AND 1e10
            THEN known.seen + 1 ELSE 1 END,
        learned_at_s = greatest($6, least(known.learned_at_s, $9::bigint))";

const PUT: &str = "INSERT INTO history
    SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::int[], $5::bigint[], $6::float8[], $7::float8[],
            $8::bigint[])
        AS rows (tenant, sub_id, room, hour, seen, mean, variance, learned_at_s)
        ORDER BY tenant COLLATE \"C\", sub_id, room COLLATE \"C\", hour
    ON CONFLICT (tenant, sub_id, room, hour) DO UPDATE SET seen = excluded.seen, mean = excluded.mean,
        variance = excluded.variance, learned_at_s = excluded.learned_at_s";

const RESET: &str = "DELETE FROM history WHERE ($1::text IS NULL OR tenant = $1)
    AND ($2::text IS NULL OR room = $2 AND sub_id >= 0) AND ($3::int IS NULL OR sub_id = $3)";

/// First of all in a transaction, so that no two change much at once.
const BUMP: &str = "INSERT INTO history_generation AS known VALUES (0, 1)
    ON CONFLICT (id) DO UPDATE SET number = known.number + 1 RETURNING number";

const GENERATION: &str = "SELECT coalesce(max(number), 0)::bigint FROM history_generation";

/// The same where nothing is to be taken up anew: whoever writes to the history waits for the others here, and so never
/// in a circle, however many rows they write in whatever order.
const HOLD: &str = "INSERT INTO history_generation AS known VALUES (0, 0)
    ON CONFLICT (id) DO UPDATE SET number = known.number RETURNING number";

const FORGET_OLD: &str = "DELETE FROM history WHERE (tenant, sub_id, room, hour) IN
    (SELECT tenant, sub_id, room, hour FROM history WHERE learned_at_s < $1 ORDER BY learned_at_s LIMIT $2)";

const SET_RIGHT: &str = "UPDATE history SET learned_at_s = $1 WHERE (tenant, sub_id, room, hour) IN
        (SELECT tenant, sub_id, room, hour FROM history WHERE learned_at_s > $1 ORDER BY learned_at_s DESC LIMIT $3)
    AND (SELECT count(*) FROM history) > $2";

const FORGET_MORE: &str = "DELETE FROM history WHERE (tenant, sub_id, room, hour) IN
    (SELECT tenant, sub_id, room, hour FROM history ORDER BY learned_at_s
        LIMIT least($2::bigint, greatest((SELECT count(*) FROM history) - $1::bigint, 0)))";

#[async_trait]
impl Histories for Postgres {
    async fn learn(&self, peaks: &[Peak], at_s: u64) -> Result<(), Error> {
        let at_s = to_column(at_s);
        let peaks = peaks.iter().filter(|peak| peak.attendees > 0);
        let lessons: Vec<_> = peaks.map(Lesson::new).collect();
        let values: Vec<_> = lessons.iter().map(|lesson| lesson.values(&at_s, &at_s)).collect();
        let each: Vec<_> = values.iter().map(|values| &values[..]).collect();
        self.change_history(HOLD, LEARN, &each).await.map(drop)
    }

    async fn seed_history(&self, past: &[Past], now_s: u64) -> Result<u64, Error> {
        let now_s = to_column(now_s);
        let past = past.iter().filter(|past| past.peak.attendees > 0);
        let lessons: Vec<_> =
            past.map(|past| (Lesson::new(&past.peak), to_column(past.at_s))).collect();
        let values: Vec<_> =
            lessons.iter().map(|(lesson, at_s)| lesson.values(at_s, &now_s)).collect();
        let each: Vec<_> = values.iter().map(|values| &values[..]).collect();
        Ok(self.change_history(BUMP, LEARN, &each).await?.0)
    }

    async fn history(&self, sought: &Sought) -> Result<Learned, Error> {
        let Some(place) = begin(sought) else { return Ok(Learned::default()) };
        // Whatever stands there is UTF-8 without NUL; what somebody makes up is no failure of the store.
        let [tenant, room] = [&place.tenant, &place.room]
            .map(|word| String::from_utf8_lossy(word).replace('\0', "\u{1}"));
        let [sub, hour] = [place.sub, place.hour].map(clamped);
        let named = sought.room.as_deref().map(text);
        let (since_s, limit) = (to_column(sought.since_s), i64::from(sought.limit));
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &sub, &room, &hour, &limit];
        values.extend(named.as_ref().map(|named| named as &(dyn ToSql + Sync)));
        if is_of_late(sought) {
            values.push(&since_s);
        }
        let reader = self.reader().await?;
        let rows = reader.rows(&list(sought), &values).await?;
        Ok(learned(&reader.read_all(&rows, kept)?, sought.limit, from_column))
    }

    async fn put_history(&self, rows: &[HistoryRow]) -> Result<u64, Error> {
        let columns: Vec<Columns> = rows.iter().map(|row| to_columns(&row.key)).collect();
        let (tenants, subs, rooms, hours) = in_columns(&columns);
        let seen: Vec<i64> = rows.iter().map(|row| row.moments.seen.into()).collect();
        let means: Vec<f64> = rows.iter().map(|row| row.moments.mean.into()).collect();
        let variances: Vec<f64> = rows.iter().map(|row| row.moments.variance.into()).collect();
        let ages: Vec<i64> = rows.iter().map(|row| to_column(row.learned_at_s)).collect();
        let values: [&(dyn ToSql + Sync); 8] =
            [&tenants, &subs, &rooms, &hours, &seen, &means, &variances, &ages];
        Ok(self.change_history(BUMP, PUT, &[&values]).await?.0)
    }

    async fn reset_history(&self, what: &Forgotten) -> Result<u64, Error> {
        let (tenant, room, sub) = of_forgotten(what);
        let room = room.map(text);
        Ok(self.change_history(BUMP, RESET, &[&[&tenant, &room, &sub]]).await?.1)
    }

    async fn forget_history(&self, aged: &Aged) -> Result<u64, Error> {
        let [before_s, most, now_s] = [aged.before_s, aged.most, aged.now_s].map(to_column);
        let limit = i64::from(aged.limit);
        let old = self.change_history(HOLD, FORGET_OLD, &[&[&before_s, &limit]]).await?.1;
        self.change_history(HOLD, SET_RIGHT, &[&[&now_s, &most, &limit]]).await?;
        let left = limit.saturating_sub(to_column(old));
        let more = self.change_history(HOLD, FORGET_MORE, &[&[&most, &left]]).await?.1;
        Ok(old + more)
    }

    async fn history_generation(&self) -> Result<u64, Error> {
        // What others have changed is not behind what we write.
        Ok(count(&self.connection().await?.rows(GENERATION, &[]).await?))
    }
}

impl Postgres {
    /// Changes it by a statement, once with each of these values, behind the one that counts up the generation or holds
    /// it: all of it or nothing. Tells which generation that is, and of how many rows the statement speaks.
    async fn change_history(
        &self,
        first: &str,
        sql: &str,
        each: &[&[&(dyn ToSql + Sync)]],
    ) -> Result<(u64, u64), Error> {
        let mut reader = self.reader().await?;
        let (health, target) = (reader.health.clone(), reader.target.clone());
        let changing = async {
            let moment = reader.db.transaction().await?;
            let number: i64 = moment.query_one(first, &[]).await?.try_get(0)?;
            let statement = moment.prepare_cached(sql).await?;
            let mut rows = 0;
            for values in each {
                rows += moment.execute(&statement, values).await?;
            }
            moment.commit().await?;
            Ok((number.unsigned_abs(), rows))
        };
        let changing = async {
            match timeout(WITHIN, changing).await {
                Ok(changed) => changed
                    .map_err(|error: tokio_postgres::Error| Trouble::new(&target, &error).into()),
                Err(_elapsed) => Err(Trouble::Slow { place: target.place.clone() }.into()),
            }
        };
        health.timed(Asking::Ask, changing).await
    }
}

/// The rows that are sought, behind a place: `$1` to `$4`; at most `$5`; of a room, and learned since then, where that is
/// wanted. Nothing else stands in it: what is prepared is soon planned once for all values, and then without an index
/// that helps with some of them only.
pub(super) fn list(sought: &Sought) -> String {
    let (place, order) = if sought.tenant.is_some() {
        ("tenant = $1 AND (sub_id, room, hour) > ($2, $3, $4)", "sub_id, room, hour")
    } else {
        ("(tenant, sub_id, room, hour) > ($1, $2, $3, $4)", "tenant, sub_id, room, hour")
    };
    let (of_room, since) = match (sought.room.is_some(), is_of_late(sought)) {
        (false, false) => ("", ""),
        (true, false) => (OF_ROOM, ""),
        (false, true) => ("", " AND learned_at_s >= $6"),
        (true, true) => (OF_ROOM, " AND learned_at_s >= $7"),
    };
    format!(
        "SELECT tenant, sub_id, room, hour, seen, mean, variance, learned_at_s FROM history
            WHERE {place}{of_room}{since} ORDER BY {order} LIMIT $5"
    )
}

const OF_ROOM: &str = " AND room = $6 AND sub_id >= 0";

/// Whether not all rows are wanted, those of times that cannot be among them.
fn is_of_late(sought: &Sought) -> bool {
    sought.since_s > 0
}

/// What a meeting teaches, in columns.
struct Lesson {
    tenants: Vec<String>,
    subs: Vec<i32>,
    rooms: Vec<String>,
    hours: Vec<i32>,
    attendees: f64,
}

impl Lesson {
    fn new(peak: &Peak) -> Self {
        let rows = peak.teaches().map(|key| to_columns(&key));
        let (tenants, subs, rooms, hours) = in_columns(&rows);
        let [tenants, rooms] = [
            tenants.iter().map(ToString::to_string).collect(),
            rooms.iter().map(ToString::to_string).collect(),
        ];
        let attendees = f64::from(peak.attendees.min(MOST_ATTENDEES));
        Self { tenants, subs, rooms, hours, attendees }
    }

    /// For a meeting of then, learned now, in columns.
    fn values<'v>(&'v self, at_s: &'v i64, now_s: &'v i64) -> [&'v (dyn ToSql + Sync); 9] {
        let Self { tenants, subs, rooms, hours, attendees } = self;
        [tenants, subs, rooms, hours, attendees, at_s, &SHARE_OF_MANY, &SHARE_OF_ROOM, now_s]
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

/// As the columns take it; nothing stands beyond.
fn clamped(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

fn kept(row: &Row) -> Result<Kept, Unreadable> {
    let number = |column| get::<i32>(row, column).map(i64::from);
    let bytes = |column| get::<&str>(row, column).map(|text| text.as_bytes().to_vec());
    let place = Place { tenant: bytes(0)?, sub: number(1)?, room: bytes(2)?, hour: number(3)? };
    let [mean, variance] = [get(row, 5)?, get(row, 6)?];
    Ok(Kept { place, seen: get(row, 4)?, mean, variance, learned_at_s: get(row, 7)? })
}
