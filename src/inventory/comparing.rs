//! Whether a file goes together with what came through the API, before it is in force.

use super::choosing::{Clashed, older_than, refusal_of};
use super::seen::{Seen, print_of};
use crate::config::Settings;
use crate::model::{Inventory, ObjectName};
use crate::store::{self, SavedInventory};

/// What an operator reads whose file would be refused.
const BEFORE: &str =
    "change the file; or the other through the API, while what the file was before is in force";

/// What would become of a file.
#[derive(Debug)]
pub enum Compared {
    /// It would be in force, and take the place of these, which came through the API.
    Together(Vec<ObjectName>),
    /// A start would leave it aside and take what is in force. What is to be told of it.
    Older(Vec<String>),
}

/// What came through the API and stands in the file by now, which takes its place; `known` is what the store has.
/// Nothing is changed.
///
/// # Errors
/// What cannot be together: the file would be refused at a start and on SIGHUP.
pub fn compare(settings: &Settings, known: &Inventory) -> Result<Compared, Clashed> {
    let of_file = &settings.inventory;
    let whole = of_file.clone().with_managed_of(known);
    let clashes = whole.clashes(settings.server.base_domain.as_deref());
    if !clashes.is_empty() {
        return Err(Clashed::new(refusal_of(&clashes, BEFORE)));
    }
    let taken_over = known.managed.iter().filter(|name| of_file.get(name).is_some());
    Ok(Compared::Together(taken_over.cloned().collect()))
}

/// The same where the store is shared: what others have put in force stays where the file is older, as at a start.
/// `was_applied` says of the file whether it was in force once.
///
/// # Errors
/// What cannot be together: the file would be refused at a start and on SIGHUP.
pub fn compare_shared(
    settings: &Settings,
    saved: &SavedInventory,
    was_applied: bool,
) -> Result<Compared, Clashed> {
    let mark = || store::marks(settings.store.key.as_ref());
    let digest = store::digest_with(&settings.inventory, mark());
    let compared = compare(settings, &saved.inventory);
    if saved.applied.digest == digest {
        return compared;
    }
    let is_seen = Seen::load(&settings.data_dir).is(&print_of(settings, mark()));
    // Another version makes another digest of the same.
    let is_same = store::digest_with(&saved.inventory, mark()) == digest;
    if !(is_seen || was_applied) || is_same {
        return compared;
    }
    let mut told = vec![older_than(&saved.applied)];
    // One that was seen here is left aside on SIGHUP as well.
    told.extend(
        compared
            .err()
            .filter(|_| !is_seen)
            .map(|clashed| format!("SIGHUP would refuse it: {clashed}")),
    );
    Ok(Compared::Older(told))
}
