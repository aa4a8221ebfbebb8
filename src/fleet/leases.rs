//! The claims that this process holds in the store, beside [`Claims`](super::Claims), which let one create of
//! a meeting through within the process.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::{InstanceId, MeetingKey};

/// A bound for what never grows so far: each was inherited from a process that died.
const MAX_UNSETTLED: usize = 10_000;

/// Who we are for others, and which claims of ours are to be renewed.
#[derive(Debug)]
pub struct Leases {
    instance: InstanceId,
    last: AtomicU64,
    held: Mutex<BTreeSet<u64>>,
    /// Inherited, and given up before it was clear what the process that died had brought about. To the store
    /// they are ours from then on.
    unsettled: Mutex<HashSet<MeetingKey>>,
}

impl Leases {
    /// Those of this process, none so far.
    pub fn of(instance: InstanceId) -> Self {
        Self {
            instance,
            last: AtomicU64::new(0),
            held: Mutex::default(),
            unsettled: Mutex::default(),
        }
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

    /// An inherited claim is given up before it is clear what its last holder has done.
    pub fn leave_unsettled(&self, key: &MeetingKey) {
        let mut unsettled = self.unsettled.lock();
        if unsettled.len() < MAX_UNSETTLED {
            unsettled.insert(key.clone());
        }
    }

    /// Whether that is so.
    pub fn is_unsettled(&self, key: &MeetingKey) -> bool {
        self.unsettled.lock().contains(key)
    }

    /// It is clear.
    pub fn settle(&self, key: &MeetingKey) {
        self.unsettled.lock().remove(key);
    }
}
