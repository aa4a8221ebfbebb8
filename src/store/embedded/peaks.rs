//! The SQL of how many have been in running meetings.

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::Embedded;
use crate::store::{Error, Grown, Peaks};

const PUT: &str = "UPDATE meetings SET peak = max(peak, ?5)
    WHERE tenant = ?1 AND sub_id = ?2 AND meeting_id = ?3 AND internal_id = ?4";

#[async_trait]
impl Peaks for Embedded {
    async fn put_peaks(&self, grown: &[Grown]) -> Result<Vec<String>, Error> {
        let grown = grown.to_vec();
        self.read(move |db| put(db, grown)).await
    }
}

fn put(db: &Connection, grown: Vec<Grown>) -> rusqlite::Result<Vec<String>> {
    let moment = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let mut kept = Vec::with_capacity(grown.len());
    let mut statement = moment.prepare_cached(PUT)?;
    for Grown { key, internal_id, peak } in grown {
        let (tenant, sub) = (key.scope.tenant.as_str(), key.scope.sub.get());
        if statement.execute(params![tenant, sub, key.id, internal_id, peak])? > 0 {
            kept.push(internal_id);
        }
    }
    drop(statement);
    moment.commit()?;
    Ok(kept)
}
