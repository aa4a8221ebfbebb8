//! The SQL of what is written down of meetings and nodes.

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::rows::{self, Unreadable};
use super::text::{from_column, to_column as text};
use crate::model::{MeetingKey, MeetingLine, NodeLine, NodeName};
use crate::store::Error;
use crate::store::chronicle::{
    Behind, ChronicleReader, Chronicles, MAX_COUNTS_BYTES, from_text, to_text,
};
use crate::store::counters::to_column;

/// In the order of their ids, so that two instances never wait for each other in a circle.
const WRITE: &str = "INSERT INTO chronicle AS known
    SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::text[])
        AS lines (internal_id, tenant, sub_id, meeting_id, node, created_at_ms, max_participants, size_hint, peak,
            ended_at_ms, counts)
        ORDER BY internal_id COLLATE \"C\"
    ON CONFLICT (internal_id) DO UPDATE SET
        max_participants = greatest(known.max_participants, excluded.max_participants),
        size_hint = greatest(known.size_hint, excluded.size_hint),
        peak = greatest(known.peak, excluded.peak),
        ended_at_ms = coalesce(excluded.ended_at_ms, known.ended_at_ms),
        counts = CASE WHEN length(known.counts) < $12::bigint THEN known.counts || excluded.counts
            ELSE known.counts END";

const WRITE_NODE: &str = "INSERT INTO chronicle_nodes SELECT $1::text, $2::bigint, $3::float8
    WHERE NOT EXISTS (SELECT FROM
            (SELECT at_ms, room FROM chronicle_nodes WHERE node = $1 ORDER BY at_ms DESC LIMIT 1) AS last
        WHERE last.at_ms > $2 OR last.room IS NOT DISTINCT FROM $3)
    ON CONFLICT (node, at_ms) DO UPDATE SET room = excluded.room";

const FORGET_OLD: &str = "WITH gone AS (DELETE FROM chronicle WHERE internal_id IN
        (SELECT internal_id FROM chronicle WHERE created_at_ms < $1 ORDER BY created_at_ms, internal_id LIMIT $2)
        RETURNING 1)
    SELECT count(*) FROM gone";

const FORGET_MORE: &str = "WITH gone AS (DELETE FROM chronicle WHERE internal_id IN
        (SELECT internal_id FROM chronicle ORDER BY created_at_ms, internal_id
            LIMIT least($2::bigint, greatest((SELECT count(*) FROM chronicle) - $1::bigint, 0)))
        RETURNING 1)
    SELECT count(*) FROM gone";

const FORGET_NODES: &str = "DELETE FROM chronicle_nodes WHERE (node, at_ms) IN
    (SELECT node, at_ms FROM chronicle_nodes AS old WHERE at_ms < $1 AND EXISTS
        (SELECT FROM chronicle_nodes AS later
            WHERE later.node = old.node AND later.at_ms > old.at_ms AND later.at_ms < $1)
        LIMIT $2)";

const MEETINGS: &str =
    "SELECT tenant, sub_id, meeting_id, internal_id, node, created_at_ms, max_participants,
        size_hint, peak, ended_at_ms, counts,
        EXISTS (SELECT FROM meetings WHERE meetings.tenant = chronicle.tenant
            AND meetings.sub_id = chronicle.sub_id AND meetings.meeting_id = chronicle.meeting_id
            AND meetings.internal_id = chronicle.internal_id)
    FROM chronicle WHERE (created_at_ms, internal_id) > ($1, $2) AND created_at_ms < $3
    ORDER BY created_at_ms, internal_id LIMIT $4";

#[async_trait]
impl Chronicles for Postgres {
    async fn write_meetings(&self, lines: &[MeetingLine]) -> Result<(), Error> {
        let column = |number: fn(&MeetingLine) -> i64| lines.iter().map(number).collect::<Vec<_>>();
        let internal: Vec<_> = lines.iter().map(|line| text(&line.internal_id)).collect();
        let tenants: Vec<_> = lines.iter().map(|line| line.key.scope.tenant.as_str()).collect();
        let subs: Vec<_> = lines.iter().map(|line| i32::from(line.key.scope.sub.get())).collect();
        let rooms: Vec<_> = lines.iter().map(|line| text(&line.key.id)).collect();
        let nodes: Vec<_> = lines.iter().map(|line| text(line.node.as_str())).collect();
        let created = column(|line| to_column(line.created_at_ms));
        let max = column(|line| line.max_participants.into());
        let hints = column(|line| line.size_hint.into());
        let peaks = column(|line| line.peak.into());
        let ends: Vec<_> = lines.iter().map(|line| line.ended_at_ms.map(to_column)).collect();
        let counts: Vec<_> = lines.iter().map(|line| to_text(&line.counts)).collect();
        let values: [&(dyn ToSql + Sync); 12] = [
            &internal,
            &tenants,
            &subs,
            &rooms,
            &nodes,
            &created,
            &max,
            &hints,
            &peaks,
            &ends,
            &counts,
            &MAX_COUNTS_BYTES,
        ];
        self.reader().await?.rows(WRITE, &values).await.map(drop)
    }

    async fn write_nodes(&self, lines: &[NodeLine]) -> Result<(), Error> {
        let reader = self.reader().await?;
        for NodeLine { node, at_ms, room } in lines {
            let (node, at_ms) = (text(node.as_str()), to_column(*at_ms));
            reader.rows(WRITE_NODE, &[&node, &at_ms, room]).await?;
        }
        Ok(())
    }

    async fn forget_chronicle(&self, before_ms: u64, most: u64, limit: u32) -> Result<u64, Error> {
        let (before_ms, most, limit) = (to_column(before_ms), to_column(most), i64::from(limit));
        let count = |rows: &[Row]| -> i64 {
            rows.first().and_then(|row| row.try_get(0).ok()).unwrap_or_default()
        };
        let reader = self.reader().await?;
        reader.rows(FORGET_NODES, &[&before_ms, &limit]).await?;
        let old = count(&reader.rows(FORGET_OLD, &[&before_ms, &limit]).await?);
        let left = limit.saturating_sub(old);
        let more = count(&reader.rows(FORGET_MORE, &[&most, &left]).await?);
        Ok(old.saturating_add(more).unsigned_abs())
    }
}

#[async_trait]
impl ChronicleReader for Postgres {
    async fn creates(&self) -> Result<Vec<u64>, Error> {
        let all = "SELECT created_at_ms FROM chronicle ORDER BY created_at_ms";
        let rows = self.connection().await?.rows(all, &[]).await?;
        Ok(rows.iter().filter_map(|row| rows::number(row, 0).ok()).collect())
    }

    async fn meetings(
        &self,
        behind: &Behind,
        before_ms: u64,
        limit: u32,
    ) -> Result<Vec<(Behind, Option<MeetingLine>)>, Error> {
        let (behind_ms, before_ms) = (to_column(behind.0), to_column(before_ms));
        let (id, limit) = (text(&behind.1), i64::from(limit));
        let values: [&(dyn ToSql + Sync); 4] = [&behind_ms, &id, &before_ms, &limit];
        let rows = self.connection().await?.rows(MEETINGS, &values).await?;
        let place = |row: &Row| {
            let created_at_ms: i64 = row.try_get(5).unwrap_or_default();
            let id: &str = row.try_get(3).unwrap_or_default();
            (created_at_ms.unsigned_abs(), from_column(id))
        };
        Ok(rows.iter().map(|row| (place(row), meeting(row).ok())).collect())
    }

    async fn nodes(&self) -> Result<Vec<NodeLine>, Error> {
        let all = "SELECT node, at_ms, room FROM chronicle_nodes ORDER BY at_ms, node";
        let rows = self.connection().await?.rows(all, &[]).await?;
        let line = |row: &Row| {
            let node = NodeName::new(rows::text(row, 0).ok()?);
            Some(NodeLine { node, at_ms: rows::number(row, 1).ok()?, room: row.try_get(2).ok()? })
        };
        Ok(rows.iter().filter_map(line).collect())
    }
}

fn meeting(row: &Row) -> Result<MeetingLine, Unreadable> {
    let few = |column| Ok(u32::try_from(rows::number(row, column)?).unwrap_or(u32::MAX));
    let ended_at_ms: Option<i64> = rows::get(row, 9)?;
    Ok(MeetingLine {
        key: MeetingKey { scope: rows::scope(row, 0)?, id: rows::text(row, 2)? },
        internal_id: rows::text(row, 3)?,
        node: NodeName::new(rows::text(row, 4)?),
        created_at_ms: rows::number(row, 5)?,
        max_participants: few(6)?,
        size_hint: few(7)?,
        peak: few(8)?,
        ended_at_ms: ended_at_ms.map(i64::unsigned_abs),
        is_running: rows::get(row, 11)?,
        counts: from_text(rows::get(row, 10)?)
            .ok_or_else(|| rows::unreadable(row, 10, "has no counts"))?,
    })
}
