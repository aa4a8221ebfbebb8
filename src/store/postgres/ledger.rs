//! The SQL of tokens and changes.

use std::collections::HashSet;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::Postgres;
use super::rows::Unreadable;
use super::text::{from_column, to_column as text};
use crate::model::{Change, Token};
use crate::store::Error;
use crate::store::counters::to_column;
use crate::store::ledger::{KEPT, Ledger};

const ADD_TOKEN: &str =
    "INSERT INTO tokens VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
const REVOKE: &str = "INSERT INTO tokens AS known (id, scopes, subject, revoked_at_ms)
    VALUES ($1, '', '', $2) ON CONFLICT (id) DO UPDATE
    SET revoked_at_ms = coalesce(known.revoked_at_ms, excluded.revoked_at_ms)";
const ADD_CHANGE: &str = "WITH added AS (
        INSERT INTO changes (at_ms, who, action, object, before, after)
            VALUES ($1, $2, $3, $4, $5, $6) RETURNING number)
    DELETE FROM changes USING added WHERE changes.number <= added.number - $7::bigint";
const CHANGES: &str = "SELECT number, at_ms, who, action, object, before, after FROM changes
    WHERE number < $1 ORDER BY number DESC LIMIT $2";

#[async_trait]
impl Ledger for Postgres {
    async fn add_token(&self, token: &Token) -> Result<(), Error> {
        let Token { id, scopes, subject, tenant, .. } = token;
        let [id, scopes, subject] = [id, scopes, subject].map(|word| text(word));
        let tenant = tenant.as_deref().map(text);
        let [issued, expires, seen, revoked] =
            [token.issued_at_s, token.expires_at_s, token.seen_at_ms, token.revoked_at_ms]
                .map(|at| at.map(to_column));
        let reader = self.reader().await?;
        reader
            .rows(ADD_TOKEN, &[&id, &scopes, &subject, &tenant, &issued, &expires, &seen, &revoked])
            .await
            .map(drop)
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let reader = self.reader().await?;
        let rows = reader.rows("SELECT * FROM tokens ORDER BY id", &[]).await?;
        Ok(reader.read_all(&rows, token)?)
    }

    async fn revoked_tokens(&self) -> Result<HashSet<String>, Error> {
        let reader = self.reader().await?;
        let sql = "SELECT id FROM tokens WHERE revoked_at_ms IS NOT NULL";
        let rows = reader.rows(sql, &[]).await?;
        Ok(reader.read_all(&rows, |row| word(row, 0))?.into_iter().collect())
    }

    async fn revoke_token(&self, id: &str, at_ms: u64) -> Result<(), Error> {
        let reader = self.reader().await?;
        reader.rows(REVOKE, &[&text(id), &to_column(at_ms)]).await.map(drop)
    }

    async fn forget_tokens(&self, before_s: u64) -> Result<(), Error> {
        let reader = self.reader().await?;
        let sql = "DELETE FROM tokens WHERE expires_at_s < $1";
        reader.rows(sql, &[&to_column(before_s)]).await.map(drop)
    }

    async fn add_change(&self, change: &Change) -> Result<(), Error> {
        let Change { at_ms, who, action, object, before, after } = change;
        let [who, action, object] = [who, action, object].map(|word| text(word));
        let [before, after] = [before, after].map(|json| json.as_deref().map(text));
        let reader = self.reader().await?;
        let at_ms = to_column(*at_ms);
        reader
            .rows(ADD_CHANGE, &[&at_ms, &who, &action, &object, &before, &after, &KEPT])
            .await
            .map(drop)
    }

    async fn changes(&self, before: Option<u64>, limit: u32) -> Result<Vec<(u64, Change)>, Error> {
        let reader = self.reader().await?;
        let before = before.map_or(i64::MAX, to_column);
        let rows = reader.rows(CHANGES, &[&before, &i64::from(limit)]).await?;
        Ok(reader.read_all(&rows, change)?)
    }
}

fn token(row: &Row) -> Result<Token, Unreadable> {
    let number = |column| Ok(get::<Option<i64>>(row, column)?.map(i64::unsigned_abs));
    Ok(Token {
        id: word(row, 0)?,
        scopes: word(row, 1)?,
        subject: word(row, 2)?,
        tenant: maybe(row, 3)?,
        issued_at_s: number(4)?,
        expires_at_s: number(5)?,
        seen_at_ms: number(6)?,
        revoked_at_ms: number(7)?,
    })
}

fn change(row: &Row) -> Result<(u64, Change), Unreadable> {
    let number = |column| get::<i64>(row, column).map(i64::unsigned_abs);
    let change = Change {
        at_ms: number(1)?,
        who: word(row, 2)?,
        action: word(row, 3)?,
        object: word(row, 4)?,
        before: maybe(row, 5)?,
        after: maybe(row, 6)?,
    };
    Ok((number(0)?, change))
}

pub(super) fn word(row: &Row, column: usize) -> Result<String, Unreadable> {
    Ok(from_column(get(row, column)?))
}

pub(super) fn maybe(row: &Row, column: usize) -> Result<Option<String>, Unreadable> {
    Ok(get::<Option<&str>>(row, column)?.map(from_column))
}

pub(super) fn get<'r, T: tokio_postgres::types::FromSql<'r>>(
    row: &'r Row,
    column: usize,
) -> Result<T, Unreadable> {
    let unreadable = |_error| Unreadable(format!("column {column}: has another type"));
    row.try_get(column).map_err(unreadable)
}
