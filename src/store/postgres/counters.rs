//! The SQL of counters.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::Postgres;
use super::text::{from_column, to_column as text};
use crate::model::{Secret, SubId};
use crate::store::Error;
use crate::store::counters::{Count, CountKey, Counters, to_column};

/// In the order of their keys, so that two instances never wait for each other in a circle.
const ADD: &str = "INSERT INTO counters AS known (tenant, sub_id, name, value)
    SELECT tenant, sub_id, name, sum(value)::bigint
        FROM unnest($1::text[], $2::integer[], $3::text[], $4::bigint[])
            AS more (tenant, sub_id, name, value)
        GROUP BY tenant, sub_id, name
    ORDER BY tenant COLLATE \"C\", sub_id, name COLLATE \"C\"
    ON CONFLICT (tenant, sub_id, name) DO UPDATE SET value = known.value + excluded.value";

#[async_trait]
impl Counters for Postgres {
    async fn add_counts(&self, more: &[Count]) -> Result<(), Error> {
        let tenants: Vec<&str> = more.iter().map(|more| more.key.tenant.as_str()).collect();
        let subs: Vec<i32> = more.iter().map(|more| more.key.sub.get().into()).collect();
        let names: Vec<_> = more.iter().map(|more| text(&more.key.name)).collect();
        let values: Vec<i64> = more.iter().map(|more| to_column(more.value)).collect();
        // Not by way of the writer: its transactions hold other rows meanwhile.
        let connection = self.reader().await?;
        connection.rows(ADD, &[&tenants, &subs, &names, &values]).await.map(drop)
    }

    async fn counts(&self) -> Result<Vec<Count>, Error> {
        let reader = self.reader().await?;
        let rows = reader.rows("SELECT tenant, sub_id, name, value FROM counters", &[]).await?;
        // A row that cannot be understood counts nothing that anybody could be shown.
        Ok(rows.iter().filter_map(count).collect())
    }

    fn mark_of(&self, secret: &Secret) -> String {
        self.seal.mark_of(secret)
    }
}

fn count(row: &Row) -> Option<Count> {
    let tenant = row.try_get::<_, &str>(0).ok()?.parse().ok()?;
    let sub = u16::try_from(row.try_get::<_, i32>(1).ok()?).ok().and_then(SubId::new)?;
    let name = from_column(row.try_get(2).ok()?);
    let value = u64::try_from(row.try_get::<_, i64>(3).ok()?).ok()?;
    Some(Count { key: CountKey { tenant, sub, name }, value })
}
