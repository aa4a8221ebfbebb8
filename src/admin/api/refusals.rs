//! How often a token did not open the door, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::caller::Denied;

/// Counts refusals by why.
#[derive(Debug, Default)]
pub(in crate::admin) struct Refusals {
    missing: AtomicU64,
    wrong: AtomicU64,
    too_many: AtomicU64,
}

impl Refusals {
    /// Counts one and passes it on. Where the API is switched off nobody's token is refused.
    pub(super) fn count(&self, denied: Denied) -> Denied {
        let counter = match denied {
            Denied::Off | Denied::Away => return denied,
            Denied::Missing(_) => &self.missing,
            Denied::Wrong(_) => &self.wrong,
            Denied::TooMany => &self.too_many,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        denied
    }

    /// Each with its word.
    pub(in crate::admin) fn all(&self) -> [(&'static str, u64); 3] {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("missing", number(&self.missing)),
            ("wrong", number(&self.wrong)),
            ("too_many", number(&self.too_many)),
        ]
    }
}
