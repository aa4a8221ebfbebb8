//! Warns of cluster groups whose clusters have different load policies, whoever has made them so. What stands in the file
//! is warned of as it is read, with its line; here it is the rest, once when it comes in force.

use log::warn;

use crate::model::{ClusterGroup, Inventory, Mixed};

/// Warns of what is so in the next inventory, and in none of these, of which that is known.
pub(super) fn warn_of_new(next: &Inventory, known: &[&Inventory]) {
    for mixed in found(next, known) {
        warn!("{mixed}");
    }
}

fn found(next: &Inventory, known: &[&Inventory]) -> Vec<Mixed> {
    let all = |inventory: &Inventory| -> Vec<Mixed> {
        let of = |group: &ClusterGroup| group.mixed(&inventory.clusters);
        inventory.groups.iter().filter_map(of).collect()
    };
    let known: Vec<Mixed> = known.iter().flat_map(|inventory| all(inventory)).collect();
    all(next).into_iter().filter(|mixed| !known.contains(mixed)).collect()
}
