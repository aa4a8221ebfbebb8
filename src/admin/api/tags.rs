//! Tags, each of them once.

use std::collections::HashSet;

/// What was put into the store before may have some twice, and b3scale's tools may send them so.
pub(in crate::admin) fn each_once(tags: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    tags.iter().filter(|tag| seen.insert(*tag)).cloned().collect()
}
