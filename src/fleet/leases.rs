//! The claims that this process holds in the store, beside [`Claims`](super::Claims), which let one create of
//! a meeting through within the process.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::InstanceId;

/// Who we are for others, and which claims of ours are to be renewed.
#[derive(Debug)]
pub struct Leases {
    instance: InstanceId,
    last: AtomicU64,
    held: Mutex<BTreeSet<u64>>,
}

impl Leases {
    /// Those of this process, none so far.
    pub fn of(instance: InstanceId) -> Self {
        Self { instance, last: AtomicU64::new(0), held: Mutex::default() }
    }

    /// This process among those that share the store.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// A number for a claim, which is held from now on.
    pub fn begin(&self) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.held.lock().insert(number);
        number
    }

    /// A claim is not needed any more.
    pub fn end(&self, number: u64) {
        self.held.lock().remove(&number);
    }

    /// All that are held.
    pub fn held(&self) -> Vec<u64> {
        self.held.lock().iter().copied().collect()
    }
}
