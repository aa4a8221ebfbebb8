//! Meetings in which there were never so many, until the store knows it.
//!
//! Only polls of our own note them: whoever polls a node tells the store. What is over needs no telling any more, so
//! there are never more than there are meetings.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::directory::ByInternal;
use super::entry::Entry;

/// See the module.
#[derive(Default)]
pub struct Grown(Mutex<HashSet<ByInternal>>);

impl Grown {
    /// Notes one.
    pub(super) fn note(&self, entry: &Arc<Entry>) {
        self.0.lock().replace(ByInternal(entry.clone()));
    }

    /// Those that were noted since this was last asked.
    pub fn take(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut *self.0.lock()).into_iter().map(|ByInternal(entry)| entry).collect()
    }

    /// Gives back what the store did not take.
    pub fn give_back(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        self.0.lock().extend(entries.into_iter().map(ByInternal));
    }
}
