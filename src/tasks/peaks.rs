//! Keeps how many have been in running meetings, so that a restart does not forget who has left by then.

use std::collections::HashSet;
use std::sync::Arc;

use crate::fleet::{Entry, Fleet};
use crate::store::{self, Error, Store};

/// Told to the store at once.
const PORTION: usize = 1_000;

/// Tells the store of the meetings that have grown. What it does not take is told again as long as it runs.
pub(super) async fn keep(fleet: &Fleet, store: &dyn Store) -> Result<(), Error> {
    let mut grown = fleet.grown.take();
    grown.retain(|entry| runs(fleet, entry));
    while !grown.is_empty() {
        let portion = grown.split_off(grown.len().saturating_sub(PORTION));
        let told: Vec<_> = portion.iter().map(|entry| one(entry)).collect();
        match store.put_peaks(&told).await {
            Ok(kept) => {
                let kept: HashSet<String> = kept.into_iter().collect();
                let mut portion = portion;
                portion.retain(|entry| !kept.contains(entry.internal_id()));
                fleet.grown.give_back(portion);
            }
            Err(trouble) => {
                fleet.grown.give_back(grown.into_iter().chain(portion));
                return Err(trouble);
            }
        }
    }
    Ok(())
}

fn runs(fleet: &Fleet, entry: &Arc<Entry>) -> bool {
    let known = fleet.directory.get_internal(entry.internal_id());
    known.is_some_and(|known| Arc::ptr_eq(&known, entry))
}

fn one(entry: &Entry) -> store::Grown {
    store::Grown {
        key: entry.key().clone(),
        internal_id: entry.internal_id().to_owned(),
        peak: entry.peak(),
    }
}
