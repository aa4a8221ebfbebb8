//! Callbacks and the outbox in PostgreSQL.

use async_trait::async_trait;

use super::Postgres;
use super::rows::{self, CALLBACKS};
use super::text::to_column;
use crate::model::{Callback, CallbackToken, MeetingKey, NewDelivery, Settled};
use crate::store::Error;
use crate::store::callbacks::{Callbacks, Holder, Outbox, Places, Put, Taking};
use crate::store::op::{Change, Deliver, Op, Portions};

#[async_trait]
impl Callbacks for Postgres {
    async fn put_callbacks(&self, callbacks: &[Callback]) -> Result<(), Error> {
        self.write(Op::Callbacks(Change::Put(callbacks.to_vec()))).await
    }

    async fn bind_callbacks(
        &self,
        tokens: &[CallbackToken],
        internal_id: &str,
    ) -> Result<(), Error> {
        let (tokens, internal_id) = (tokens.to_vec(), internal_id.to_owned());
        self.write(Op::Callbacks(Change::Bind { tokens, internal_id })).await
    }

    async fn remove_callbacks(&self, tokens: &[CallbackToken]) -> Result<(), Error> {
        self.write(Op::Callbacks(Change::Remove(tokens.to_vec()))).await
    }

    async fn find_callback(&self, token: &CallbackToken) -> Result<Option<Callback>, Error> {
        let reader = self.reader().await?;
        let sql = format!("{CALLBACKS} WHERE token = $1");
        let found = reader.rows(&sql, &[&token.expose()]).await?;
        Ok(reader.read_all(&found, rows::callback)?.pop())
    }

    async fn callbacks_of(
        &self,
        key: &MeetingKey,
        internal_id: &str,
    ) -> Result<Vec<Callback>, Error> {
        let reader = self.reader().await?;
        let sql = format!(
            "{CALLBACKS} WHERE internal_id = $1 AND tenant = $2 AND sub_id = $3 AND meeting_id = $4
                ORDER BY token",
        );
        let (internal_id, id) = (to_column(internal_id), to_column(&key.id));
        let (tenant, sub) = (key.scope.tenant.as_str(), i32::from(key.scope.sub.get()));
        let found = reader.rows(&sql, &[&internal_id, &tenant, &sub, &id]).await?;
        reader.read_all(&found, rows::callback)
    }

    async fn callbacks_of_internal(&self, internal_id: &str) -> Result<Vec<Callback>, Error> {
        let reader = self.reader().await?;
        let sql = format!("{CALLBACKS} WHERE internal_id = $1 ORDER BY token");
        let found = reader.rows(&sql, &[&to_column(internal_id)]).await?;
        reader.read_all(&found, rows::callback)
    }

    async fn end_callbacks(&self, token: &CallbackToken, at_ms: u64) -> Result<(), Error> {
        self.write(Op::Callbacks(Change::End { token: token.clone(), at_ms })).await
    }

    async fn put_delivery(&self, delivery: &NewDelivery) -> Result<Put, Error> {
        let deliver = Deliver::new(delivery);
        let outcome = deliver.outcome.clone();
        self.write(Op::Callbacks(Change::Deliver(deliver))).await?;
        Ok(outcome.get())
    }

    async fn take_deliveries(
        &self,
        now_ms: u64,
        places: Places,
        taking: Taking<'_>,
    ) -> Result<Outbox, Error> {
        self.reader().await?.take_deliveries(now_ms, places, taking).await
    }

    async fn give_back(&self, ids: &[i64], holder: Holder) -> Result<(), Error> {
        self.reader().await?.give_back(ids, holder).await
    }

    async fn payload_of(&self, id: i64) -> Result<Vec<u8>, Error> {
        let reader = self.reader().await?;
        let found = reader.rows("SELECT payload FROM deliveries WHERE id = $1", &[&id]).await?;
        let payload = found.first().map(|row| row.try_get(0)).transpose();
        Ok(payload.map_err(|error| reader.trouble(&error))?.unwrap_or_default())
    }

    async fn settle_delivery(
        &self,
        id: i64,
        holder: Holder,
        at_ms: u64,
        settled: &Settled,
    ) -> Result<(), Error> {
        let settled = settled.clone();
        self.write(Op::Callbacks(Change::Settle { id, holder, at_ms, settled })).await
    }

    async fn expire_callbacks(&self, now_ms: u64) -> Result<(), Error> {
        for portion in Portions::at(now_ms) {
            self.write(portion).await?;
        }
        Ok(())
    }
}
