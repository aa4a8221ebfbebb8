//! The SQL of what is written down of meetings and nodes.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::{Embedded, rows, schema};
use crate::model::{MeetingKey, MeetingLine, NodeLine, NodeName};
use crate::store::chronicle::{
    Behind, ChronicleReader, Chronicles, MAX_COUNTS_BYTES, from_text, to_text,
};
use crate::store::counters::to_column;
use crate::store::{Error, SchemaVersion};

const WRITE: &str = "INSERT INTO chronicle VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT DO UPDATE SET max_participants = max(max_participants, excluded.max_participants),
        size_hint = max(size_hint, excluded.size_hint), peak = max(peak, excluded.peak),
        ended_at_ms = coalesce(excluded.ended_at_ms, ended_at_ms),
        counts = CASE WHEN length(counts) < ?12 THEN counts || excluded.counts ELSE counts END";

const WRITE_NODE: &str = "INSERT INTO chronicle_nodes SELECT ?1, ?2, ?3
    WHERE NOT EXISTS (SELECT 1 FROM
            (SELECT at_ms, room FROM chronicle_nodes WHERE node = ?1 ORDER BY at_ms DESC LIMIT 1)
        WHERE at_ms > ?2 OR room IS ?3)
    ON CONFLICT DO UPDATE SET room = excluded.room";

const FORGET_OLD: &str = "DELETE FROM chronicle WHERE internal_id IN
    (SELECT internal_id FROM chronicle WHERE created_at_ms < ?1 ORDER BY created_at_ms, internal_id LIMIT ?2)";

const FORGET_MORE: &str = "DELETE FROM chronicle WHERE internal_id IN
    (SELECT internal_id FROM chronicle ORDER BY created_at_ms, internal_id
        LIMIT min(?2, max((SELECT count(*) FROM chronicle) - ?1, 0)))";

const FORGET_NODES: &str = "DELETE FROM chronicle_nodes WHERE (node, at_ms) IN
    (SELECT node, at_ms FROM chronicle_nodes AS old WHERE at_ms < ?1 AND EXISTS
        (SELECT 1 FROM chronicle_nodes AS later
            WHERE later.node = old.node AND later.at_ms > old.at_ms AND later.at_ms < ?1)
        LIMIT ?2)";

const MEETINGS: &str =
    "SELECT tenant, sub_id, meeting_id, internal_id, node, created_at_ms, max_participants,
        size_hint, peak, ended_at_ms, counts,
        EXISTS (SELECT 1 FROM meetings WHERE meetings.tenant = chronicle.tenant
            AND meetings.sub_id = chronicle.sub_id AND meetings.meeting_id = chronicle.meeting_id
            AND meetings.internal_id = chronicle.internal_id)
    FROM chronicle WHERE (created_at_ms, internal_id) > (?1, ?2) AND created_at_ms < ?3
    ORDER BY created_at_ms, internal_id LIMIT ?4";

#[async_trait]
impl Chronicles for Embedded {
    async fn write_meetings(&self, lines: &[MeetingLine]) -> Result<(), Error> {
        let lines = lines.to_vec();
        self.read(move |db| write(db, &lines)).await
    }

    async fn write_nodes(&self, lines: &[NodeLine]) -> Result<(), Error> {
        let lines = lines.to_vec();
        self.read(move |db| {
            let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
            for NodeLine { node, at_ms, room } in &lines {
                let values = params![node.as_str(), to_column(*at_ms), room];
                moment.prepare_cached(WRITE_NODE)?.execute(values)?;
            }
            moment.commit()
        })
        .await
    }

    async fn forget_chronicle(&self, before_ms: u64, most: u64, limit: u32) -> Result<u64, Error> {
        let (before_ms, most, limit) = (to_column(before_ms), to_column(most), i64::from(limit));
        let gone = move |db: &Connection| {
            db.execute(FORGET_NODES, [before_ms, limit])?;
            let old = db.execute(FORGET_OLD, [before_ms, limit])? as u64;
            let left = limit.saturating_sub(to_column(old));
            Ok(old + db.execute(FORGET_MORE, [most, left])? as u64)
        };
        self.read(gone).await
    }
}

fn write(db: &Connection, lines: &[MeetingLine]) -> rusqlite::Result<()> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut statement = moment.prepare_cached(WRITE)?;
    for line in lines {
        statement.execute(params![
            line.internal_id,
            line.key.scope.tenant.as_str(),
            line.key.scope.sub.get(),
            line.key.id,
            line.node.as_str(),
            to_column(line.created_at_ms),
            line.max_participants,
            line.size_hint,
            line.peak,
            line.ended_at_ms.map(to_column),
            to_text(&line.counts),
            MAX_COUNTS_BYTES,
        ])?;
    }
    drop(statement);
    moment.commit()
}

/// The file as somebody sees it who only reads, whoever serves meanwhile.
#[derive(Debug)]
pub struct EmbeddedChronicle {
    path: PathBuf,
}

impl Embedded {
    /// What was written down in the file of this directory; nothing is changed, nor created.
    ///
    /// # Errors
    /// Where it is not there, or of another version; the error names the file and the remedy.
    pub fn chronicle(data_dir: &Path) -> Result<EmbeddedChronicle, Error> {
        if !Self::file(data_dir).is_file() {
            return Err(Error::Absent(Self::file(data_dir)));
        }
        let (SchemaVersion { found, known }, path) =
            (Self::version(data_dir)?, Self::file(data_dir));
        match found {
            _ if found < known => Err(Error::Older { path, found, known }),
            _ if found > known => Err(Error::Newer { path, found, known }),
            _ => Ok(EmbeddedChronicle { path }),
        }
    }
}

impl EmbeddedChronicle {
    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let asked = schema::open_to_read(&self.path).and_then(|db| ask(&db));
        asked.map_err(|error| Error::from_sqlite(&self.path, error))
    }
}

#[async_trait]
impl ChronicleReader for EmbeddedChronicle {
    async fn creates(&self) -> Result<Vec<u64>, Error> {
        self.ask(|db| {
            let mut statement =
                db.prepare("SELECT created_at_ms FROM chronicle ORDER BY created_at_ms")?;
            let rows = statement.query_map([], |row| rows::integer(row, 0))?;
            Ok(rows.filter_map(Result::ok).collect())
        })
    }

    async fn meetings(
        &self,
        behind: &Behind,
        before_ms: u64,
        limit: u32,
    ) -> Result<Vec<(Behind, Option<MeetingLine>)>, Error> {
        self.ask(|db| {
            let mut statement = db.prepare(MEETINGS)?;
            let wanted = params![to_column(behind.0), behind.1, to_column(before_ms), limit];
            let rows = statement.query_map(wanted, |row| {
                let created_at_ms: i64 = row.get(5)?;
                let place = (created_at_ms.unsigned_abs(), row.get(3)?);
                Ok((place, meeting(row).ok()))
            })?;
            rows.collect()
        })
    }

    async fn nodes(&self) -> Result<Vec<NodeLine>, Error> {
        self.ask(|db| {
            let mut statement =
                db.prepare("SELECT node, at_ms, room FROM chronicle_nodes ORDER BY at_ms, node")?;
            let rows = statement.query_map([], |row| {
                let node = NodeName::new(row.get::<_, String>(0)?);
                Ok(NodeLine { node, at_ms: rows::integer(row, 1)?, room: row.get(2)? })
            })?;
            Ok(rows.filter_map(Result::ok).collect())
        })
    }
}

fn meeting(row: &Row<'_>) -> rusqlite::Result<MeetingLine> {
    let ended_at_ms: Option<i64> = row.get(9)?;
    let counts: String = row.get(10)?;
    Ok(MeetingLine {
        key: MeetingKey { scope: rows::scope(row)?, id: row.get(2)? },
        internal_id: row.get(3)?,
        node: NodeName::new(row.get::<_, String>(4)?),
        created_at_ms: rows::integer(row, 5)?,
        max_participants: row.get(6)?,
        size_hint: row.get(7)?,
        peak: row.get(8)?,
        ended_at_ms: ended_at_ms.map(i64::unsigned_abs),
        is_running: row.get(11)?,
        counts: from_text(&counts)
            .ok_or_else(|| rows::unreadable(10, "these are no counts".to_owned()))?,
    })
}
