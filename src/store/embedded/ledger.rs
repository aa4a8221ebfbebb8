//! The SQL of tokens and changes.

use std::collections::HashSet;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::Embedded;
use super::rows::integer;
use crate::model::{Change, Token};
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::ledger::{KEPT, Ledger};

#[async_trait]
impl Ledger for Embedded {
    async fn add_token(&self, token: &Token) -> Result<(), Error> {
        let token = token.clone();
        self.read(move |db| add_token(db, &token)).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.read(tokens).await
    }

    async fn revoked_tokens(&self) -> Result<HashSet<String>, Error> {
        self.read(|db| {
            let sql = "SELECT id FROM tokens WHERE revoked_at_ms IS NOT NULL";
            db.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect()
        })
        .await
    }

    async fn revoke_token(&self, id: &str, at_ms: u64) -> Result<(), Error> {
        let id = id.to_owned();
        self.read(move |db| {
            db.execute(
                "INSERT INTO tokens (id, scopes, subject, revoked_at_ms) VALUES (?1, '', '', ?2)
                 ON CONFLICT (id) DO UPDATE SET
                     revoked_at_ms = coalesce(revoked_at_ms, excluded.revoked_at_ms)",
                params![id, to_column(at_ms)],
            )
            .map(drop)
        })
        .await
    }

    async fn forget_tokens(&self, before_s: u64) -> Result<(), Error> {
        let forget = move |db: &Connection| {
            let sql = "DELETE FROM tokens WHERE expires_at_s < ?1";
            db.execute(sql, [to_column(before_s)]).map(drop)
        };
        self.read(forget).await
    }

    async fn add_change(&self, change: &Change) -> Result<(), Error> {
        let change = change.clone();
        self.read(move |db| add_change(db, &change)).await
    }

    async fn changes(&self, before: Option<u64>, limit: u32) -> Result<Vec<(u64, Change)>, Error> {
        self.read(move |db| changes(db, before, limit)).await
    }
}

fn add_token(db: &Connection, token: &Token) -> rusqlite::Result<()> {
    let seconds = |at: Option<u64>| at.map(to_column);
    db.execute(
        "INSERT INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        params![
            token.id,
            token.scopes,
            token.subject,
            token.tenant,
            seconds(token.issued_at_s),
            seconds(token.expires_at_s),
            seconds(token.seen_at_ms),
            seconds(token.revoked_at_ms),
        ],
    )
    .map(drop)
}

fn tokens(db: &Connection) -> rusqlite::Result<Vec<Token>> {
    let mut statement = db.prepare_cached("SELECT * FROM tokens ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok(Token {
            id: row.get(0)?,
            scopes: row.get(1)?,
            subject: row.get(2)?,
            tenant: row.get(3)?,
            issued_at_s: maybe(row, 4)?,
            expires_at_s: maybe(row, 5)?,
            seen_at_ms: maybe(row, 6)?,
            revoked_at_ms: maybe(row, 7)?,
        })
    })?;
    rows.collect()
}

fn maybe(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs))
}

/// Writes a change down, and forgets the oldest beyond a number.
pub(super) fn add_change(db: &Connection, change: &Change) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO changes (at_ms, who, action, object, before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            to_column(change.at_ms),
            change.who,
            change.action,
            change.object,
            change.before,
            change.after,
        ],
    )?;
    let forgotten = "DELETE FROM changes WHERE number <= ?1";
    db.execute(forgotten, [db.last_insert_rowid() - KEPT]).map(drop)
}

fn changes(
    db: &Connection,
    before: Option<u64>,
    limit: u32,
) -> rusqlite::Result<Vec<(u64, Change)>> {
    let mut statement = db.prepare_cached(
        "SELECT number, at_ms, who, action, object, before, after FROM changes
         WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
    )?;
    let before = before.map_or(i64::MAX, to_column);
    let rows = statement.query_map(params![before, limit], |row| {
        let change = Change {
            at_ms: integer(row, 1)?,
            who: row.get(2)?,
            action: row.get(3)?,
            object: row.get(4)?,
            before: row.get(5)?,
            after: row.get(6)?,
        };
        Ok((integer(row, 0)?, change))
    })?;
    rows.collect()
}
