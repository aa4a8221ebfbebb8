//! `metrics`: what `/metrics` shows.

use super::reader::Item;

/// What `/metrics` shows beyond what it always does, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Whether b3scale's names are there, too. Default: no.
    pub b3scale_names: bool,
    /// Tenants that have series of their own; those beyond share one. Default: 500.
    pub tenants: usize,
}

/// Some 10,000 series, which Prometheus does not feel; more tenants than most have.
const DEFAULT_TENANTS: usize = 500;
/// A scrape of more would take seconds.
const MAX_TENANTS: usize = 10_000;

pub(super) fn read(item: &Item<'_>) -> Option<Metrics> {
    item.fields(|fields| {
        let b3scale_names = fields.optional("b3scale_names").flag();
        let tenants = fields.optional("tenants").whole(0..=MAX_TENANTS);
        Some(Metrics {
            b3scale_names: b3scale_names.unwrap_or(false),
            tenants: tenants.unwrap_or(DEFAULT_TENANTS),
        })
    })
}
