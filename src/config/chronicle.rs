//! `placement.chronicle`: what is written down of meetings, so that a day can be played again.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::Item;

/// What is written down, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chronicle {
    /// Whether anything is.
    pub enabled: bool,
    /// For how long.
    pub keep: Duration,
    /// Of how many meetings at most.
    pub max_meetings: usize,
}

/// Each hour of the week five times.
const DEFAULT_KEEP: Duration = Duration::from_hours(24 * 35);
/// A day to a year.
const KEEP: RangeInclusive<Duration> =
    Duration::from_hours(24)..=Duration::from_hours(24 * 1461 / 4);
/// Some 150 MB.
const DEFAULT_MAX_MEETINGS: usize = 500_000;
const MAX_MEETINGS: RangeInclusive<usize> = 100..=20_000_000;

pub(super) fn read(item: &Item<'_>) -> Option<Chronicle> {
    item.fields(|fields| {
        let enabled = fields.optional("enabled").flag();
        let keep = fields.optional("keep").duration(KEEP);
        let max_meetings = fields.optional("max_meetings").whole(MAX_MEETINGS);
        Some(Chronicle {
            enabled: enabled.unwrap_or(true),
            keep: keep.unwrap_or(DEFAULT_KEEP),
            max_meetings: max_meetings.unwrap_or(DEFAULT_MAX_MEETINGS),
        })
    })
}
