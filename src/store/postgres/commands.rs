//! The SQL of commands.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::Postgres;
use super::ledger::{get, maybe, word};
use super::rows::Unreadable;
use super::text::to_column as text;
use crate::model::Command;
use crate::store::Error;
use crate::store::commands::{COMMANDS_KEPT_MS, Commands, MAX_COMMANDS};
use crate::store::counters::to_column;

/// Two instances that do this at once may keep one more.
const GIVE_WAY: &str =
    "DELETE FROM commands WHERE deadline_ms < $1::bigint - $2::bigint OR number IN (
    SELECT number FROM commands WHERE stopped_at_ms IS NOT NULL OR deadline_ms < $1::bigint
        ORDER BY number LIMIT greatest(0, (SELECT count(*) FROM commands) - $3::bigint))";
const ADD: &str = "INSERT INTO commands (id, backend, created_at_ms, deadline_ms)
    SELECT $1::text, $2::text, $3::bigint, $4::bigint WHERE (SELECT count(*) FROM commands) < $5::bigint
    RETURNING number";
const NOTE: &str = "UPDATE commands SET started_at_ms = $2, stopped_at_ms = $3, failure = $4
    WHERE id = $1 AND stopped_at_ms IS NULL";
const COMMANDS: &str =
    "SELECT number, id, backend, created_at_ms, deadline_ms, started_at_ms, stopped_at_ms,
        failure
    FROM commands WHERE id = coalesce($1, id) ORDER BY number";

#[async_trait]
impl Commands for Postgres {
    async fn add_command(&self, command: &Command) -> Result<Option<u64>, Error> {
        let Command { id, backend, created_at_ms, deadline_ms, .. } = command;
        let [now, deadline] = [*created_at_ms, *deadline_ms].map(to_column);
        let [id, backend] = [id, backend].map(|word| text(word));
        let reader = self.reader().await?;
        reader.rows(GIVE_WAY, &[&now, &COMMANDS_KEPT_MS, &(MAX_COMMANDS - 1)]).await?;
        let added = reader.rows(ADD, &[&id, &backend, &now, &deadline, &MAX_COMMANDS]).await?;
        let number = |row: &Row| get::<i64>(row, 0).map(i64::unsigned_abs);
        Ok(reader.read_all(&added, number)?.pop())
    }

    async fn note_command(&self, command: &Command) -> Result<(), Error> {
        let Command { id, started_at_ms, stopped_at_ms, failure, .. } = command;
        let [started, stopped] = [started_at_ms, stopped_at_ms].map(|at| at.map(to_column));
        let failure = failure.as_deref().map(text);
        let reader = self.reader().await?;
        reader.rows(NOTE, &[&text(id), &started, &stopped, &failure]).await.map(drop)
    }

    async fn find_command(&self, id: &str) -> Result<Option<Command>, Error> {
        let reader = self.reader().await?;
        let rows = reader.rows(COMMANDS, &[&Some(text(id))]).await?;
        Ok(reader.read_all(&rows, command)?.pop())
    }

    async fn commands(&self) -> Result<Vec<Command>, Error> {
        let reader = self.reader().await?;
        let rows = reader.rows(COMMANDS, &[&None::<&str>]).await?;
        Ok(reader.read_all(&rows, command)?)
    }
}

fn command(row: &Row) -> Result<Command, Unreadable> {
    let number = |column| get::<i64>(row, column).map(i64::unsigned_abs);
    let perhaps =
        |column| get::<Option<i64>>(row, column).map(|number| number.map(i64::unsigned_abs));
    Ok(Command {
        number: number(0)?,
        id: word(row, 1)?,
        backend: word(row, 2)?,
        created_at_ms: number(3)?,
        deadline_ms: number(4)?,
        started_at_ms: perhaps(5)?,
        stopped_at_ms: perhaps(6)?,
        failure: maybe(row, 7)?,
    })
}
