//! Whether a file goes together with what came through the API, before it is in force.

use super::choosing::{Clashed, refusal_of};
use crate::config::Settings;
use crate::model::{Inventory, ObjectName};

/// What an operator reads whose file would be refused.
const BEFORE: &str =
    "change the file; or the other through the API, while what the file was before is in force";

/// What came through the API and stands in the file by now, which takes its place; `known` is what the store has.
/// Nothing is changed.
///
/// # Errors
/// What cannot be together: the file would be refused at a start and on SIGHUP.
pub fn compare(settings: &Settings, known: &Inventory) -> Result<Vec<ObjectName>, Clashed> {
    let of_file = &settings.inventory;
    let whole = of_file.clone().with_managed_of(known);
    let clashes = whole.clashes(settings.server.base_domain.as_deref());
    if !clashes.is_empty() {
        return Err(Clashed::new(refusal_of(&clashes, BEFORE)));
    }
    let taken_over = known.managed.iter().filter(|name| of_file.get(name).is_some());
    Ok(taken_over.cloned().collect())
}
