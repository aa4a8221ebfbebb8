//! `statistics`: what is kept of what tenants have used.

use super::reader::Item;

/// How long statistics are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Days; 0 keeps them for ever. Default: 400.
    pub retention_days: u32,
}

/// A year can be compared with the one before, a month late.
const DEFAULT_RETENTION_DAYS: u32 = 400;
/// A century.
const MAX_RETENTION_DAYS: u32 = 36_525;

pub(super) fn read(item: &Item<'_>) -> Option<Statistics> {
    item.fields(|fields| {
        let retention_days = fields.optional("retention_days").whole(0..=MAX_RETENTION_DAYS);
        Some(Statistics { retention_days: retention_days.unwrap_or(DEFAULT_RETENTION_DAYS) })
    })
}
