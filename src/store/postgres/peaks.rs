//! The SQL of how many have been in running meetings.

use async_trait::async_trait;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::text::{from_column, to_column as text};
use crate::store::{Error, Grown, Peaks};

/// Rows that somebody writes to are passed over, so that nobody waits for another in a circle.
const PUT: &str = "UPDATE meetings SET peak = greatest(peak, found.most)
    FROM (SELECT known.tenant, known.sub_id, known.meeting_id, wanted.most FROM meetings AS known
        JOIN unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[])
            AS wanted (tenant, sub_id, meeting_id, internal_id, most)
            ON known.tenant = wanted.tenant AND known.sub_id = wanted.sub_id
                AND known.meeting_id = wanted.meeting_id
                AND known.internal_id = wanted.internal_id
        FOR UPDATE OF known SKIP LOCKED) AS found
    WHERE meetings.tenant = found.tenant AND meetings.sub_id = found.sub_id
        AND meetings.meeting_id = found.meeting_id
    RETURNING meetings.internal_id";

#[async_trait]
impl Peaks for Postgres {
    async fn put_peaks(&self, grown: &[Grown]) -> Result<Vec<String>, Error> {
        let tenants: Vec<_> = grown.iter().map(|one| one.key.scope.tenant.as_str()).collect();
        let subs: Vec<_> = grown.iter().map(|one| i32::from(one.key.scope.sub.get())).collect();
        let ids: Vec<_> = grown.iter().map(|one| text(&one.key.id)).collect();
        let internal: Vec<_> = grown.iter().map(|one| text(&one.internal_id)).collect();
        let peaks: Vec<_> = grown.iter().map(|one| i64::from(one.peak)).collect();
        let values: [&(dyn ToSql + Sync); 5] = [&tenants, &subs, &ids, &internal, &peaks];
        let rows = self.reader().await?.rows(PUT, &values).await?;
        let kept = rows.iter().filter_map(|row| row.try_get::<_, &str>(0).ok());
        Ok(kept.map(from_column).collect())
    }
}
