//! The SQL of commands.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::Embedded;
use super::rows::integer;
use crate::model::Command;
use crate::store::Error;
use crate::store::commands::{COMMANDS_KEPT_MS, Commands, MAX_COMMANDS};
use crate::store::counters::to_column;

const GIVE_WAY: &str = "DELETE FROM commands WHERE deadline_ms < ?1 - ?2 OR number IN (
    SELECT number FROM commands WHERE stopped_at_ms IS NOT NULL OR deadline_ms < ?1
        ORDER BY number LIMIT max(0, (SELECT count(*) FROM commands) - ?3))";
const ADD: &str = "INSERT INTO commands (id, backend, created_at_ms, deadline_ms)
    SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) FROM commands) < ?5 RETURNING number";
const NOTE: &str = "UPDATE commands SET started_at_ms = ?2, stopped_at_ms = ?3, failure = ?4
    WHERE id = ?1 AND stopped_at_ms IS NULL";
const COMMANDS: &str =
    "SELECT number, id, backend, created_at_ms, deadline_ms, started_at_ms, stopped_at_ms,
        failure
    FROM commands WHERE id = coalesce(?1, id) ORDER BY number";

#[async_trait]
impl Commands for Embedded {
    async fn add_command(&self, command: &Command) -> Result<Option<u64>, Error> {
        let command = command.clone();
        self.read(move |db| add(db, &command)).await
    }

    async fn note_command(&self, command: &Command) -> Result<(), Error> {
        let Command { id, started_at_ms, stopped_at_ms, failure, .. } = command.clone();
        let [started, stopped] = [started_at_ms, stopped_at_ms].map(|at| at.map(to_column));
        self.read(move |db| db.execute(NOTE, params![id, started, stopped, failure]).map(drop))
            .await
    }

    async fn find_command(&self, id: &str) -> Result<Option<Command>, Error> {
        let id = id.to_owned();
        self.read(move |db| db.prepare_cached(COMMANDS)?.query_row([&id], command).optional()).await
    }

    async fn commands(&self) -> Result<Vec<Command>, Error> {
        self.read(|db| db.prepare_cached(COMMANDS)?.query_map([None::<&str>], command)?.collect())
            .await
    }
}

fn add(db: &Connection, command: &Command) -> rusqlite::Result<Option<u64>> {
    let Command { id, backend, created_at_ms, deadline_ms, .. } = command;
    let [now, deadline] = [*created_at_ms, *deadline_ms].map(to_column);
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    moment.execute(GIVE_WAY, params![now, COMMANDS_KEPT_MS, MAX_COMMANDS - 1])?;
    let kept = params![id, backend, now, deadline, MAX_COMMANDS];
    let number = moment.query_row(ADD, kept, |row| integer(row, 0)).optional()?;
    moment.commit()?;
    Ok(number)
}

fn command(row: &Row<'_>) -> rusqlite::Result<Command> {
    let maybe =
        |column| row.get::<_, Option<i64>>(column).map(|number| number.map(i64::unsigned_abs));
    Ok(Command {
        number: integer(row, 0)?,
        id: row.get(1)?,
        backend: row.get(2)?,
        created_at_ms: integer(row, 3)?,
        deadline_ms: integer(row, 4)?,
        started_at_ms: maybe(5)?,
        stopped_at_ms: maybe(6)?,
        failure: row.get(7)?,
    })
}
