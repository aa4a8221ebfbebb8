//! The SQL of counters.

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::Embedded;
use super::rows::integer;
use crate::model::{Secret, SubId};
use crate::store::Error;
use crate::store::counters::{Count, CountKey, Counters, to_column};

#[async_trait]
impl Counters for Embedded {
    async fn add_counts(&self, more: &[Count]) -> Result<(), Error> {
        let more = more.to_vec();
        self.read(move |db| add(db, &more)).await
    }

    async fn counts(&self) -> Result<Vec<Count>, Error> {
        self.read(all).await
    }

    fn mark_of(&self, secret: &Secret) -> String {
        self.seal.mark_of(secret)
    }
}

fn add(db: &Connection, more: &[Count]) -> rusqlite::Result<()> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    for Count { key, value } in more {
        moment
            .prepare_cached(
                "INSERT INTO counters (tenant, sub_id, name, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (tenant, sub_id, name) DO UPDATE SET value = value + excluded.value",
            )?
            .execute(params![key.tenant.as_str(), key.sub.get(), key.name, to_column(*value)])?;
    }
    moment.commit()
}

/// A row that cannot be understood counts nothing that anybody could be shown.
fn all(db: &Connection) -> rusqlite::Result<Vec<Count>> {
    let mut statement = db.prepare_cached("SELECT tenant, sub_id, name, value FROM counters")?;
    let rows = statement.query_map([], |row| {
        let tenant = row.get::<_, String>(0)?.parse().ok();
        let sub = SubId::new(row.get(1)?);
        let (name, value) = (row.get(2)?, integer(row, 3)?);
        Ok(tenant
            .zip(sub)
            .map(|(tenant, sub)| Count { key: CountKey { tenant, sub, name }, value }))
    })?;
    rows.filter_map(Result::transpose).collect()
}
