//! How often the values of a secret have signed, so that an operator knows when an old one is unused.
//!
//! Counted in the snapshot itself, without any look-up: every request comes by. A value that is changed
//! starts at 0, and so does one that moves to the other place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot::TenantEntry;
use crate::model::{Tenant, TenantSecret};

/// The counters of one secret, shared over all snapshots.
#[derive(Debug, Clone, Default)]
pub struct Uses {
    values: [Arc<AtomicU64>; 2],
    joins: Arc<AtomicU64>,
}

impl Uses {
    /// Those of a tenant's secrets, in their order.
    pub(super) fn of(tenant: &Tenant, old: Option<&TenantEntry>) -> Box<[Self]> {
        tenant
            .secrets
            .iter()
            .map(|secret| Self::of_secret(secret, old).unwrap_or_default())
            .collect()
    }

    /// Goes on with the counts that a secret has. `None` for a new one.
    fn of_secret(secret: &TenantSecret, old: Option<&TenantEntry>) -> Option<Self> {
        let old = old?;
        let at = old.tenant.position(secret.sub_id)?;
        let (was, uses) = (&old.tenant.secrets[at], &old.uses[at]);
        let kept = |value: usize, is_same: bool| {
            if is_same { uses.values[value].clone() } else { Arc::default() }
        };
        Some(Self {
            values: [kept(0, was.secret == secret.secret), kept(1, was.secret2 == secret.secret2)],
            joins: uses.joins.clone(),
        })
    }

    /// Counts a request that the value at this position has signed.
    pub fn count(&self, value: usize) {
        if let Some(count) = self.values.get(value) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds what others have counted of the value at this position.
    pub fn add(&self, value: usize, more: u64) {
        if let Some(count) = self.values.get(value) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Adds what others have counted of joins.
    pub fn add_joins(&self, more: u64) {
        self.joins.fetch_add(more, Ordering::Relaxed);
    }

    /// Counts somebody who was sent into a meeting.
    pub fn count_join(&self) {
        self.joins.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that the first and the second value have signed.
    pub fn of_values(&self) -> [u64; 2] {
        self.values.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// People who were sent into meetings.
    pub fn joins(&self) -> u64 {
        self.joins.load(Ordering::Relaxed)
    }
}
