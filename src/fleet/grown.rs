//! Meetings in which there were never so many, until the store knows it.
//!
//! Only polls of our own note them: whoever polls a node tells the store. What is over needs no telling any more, so
//! there are never more than there are meetings.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::entry::Entry;

/// See the module.
#[derive(Default)]
pub struct Grown(Mutex<HashMap<Box<str>, Arc<Entry>>>);

impl Grown {
    /// Notes one.
    pub(super) fn note(&self, entry: &Arc<Entry>) {
        self.0.lock().insert(entry.internal_id().into(), entry.clone());
    }

    /// Those that were noted since this was last asked.
    pub fn take(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut *self.0.lock()).into_values().collect()
    }

    /// Gives back what the store did not take.
    pub fn give_back(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let mut noted = self.0.lock();
        noted.extend(entries.into_iter().map(|entry| (entry.internal_id().into(), entry)));
    }
}
