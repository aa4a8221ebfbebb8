//! The hours of a week.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Whoever creates a meeting at ten to nine means nine.
const AHEAD_MS: i64 = 10 * 60 * 1000;

/// An hour of the week: 0 begins on Monday at 00:00, local time, 167 is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u8);

impl Hour {
    /// In a week.
    pub const COUNT: u8 = 168;

    /// That of this number.
    pub fn new(number: u8) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// For a meeting that is created then (ms since 1970), at a place in this time zone.
    pub fn of(created_at_ms: u64, zone: &TimeZone) -> Self {
        let at =
            i64::try_from(created_at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let ahead = SignedDuration::from_millis(AHEAD_MS);
        let local = at.unwrap_or_default().saturating_add(ahead).unwrap_or(Timestamp::MAX);
        let local = local.to_zoned(zone.clone());
        let hours = local.weekday().to_monday_zero_offset();
        let hours = i16::from(hours) * 24 + i16::from(local.hour());
        Self(u8::try_from(hours).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lecture_opened_ten_minutes_early_belongs_to_its_hour() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| {
            let at: Timestamp = text.parse().unwrap();
            Hour::of(u64::try_from(at.as_millisecond()).unwrap(), &berlin).number()
        };
        // 2026-11-23 is a Monday; Berlin is an hour ahead of UTC then, two in summer.
        assert_eq!(at("2026-11-23T07:49:59Z"), 8);
        assert_eq!(at("2026-11-23T07:50:00Z"), 9);
        assert_eq!(at("2026-07-06T06:50:00Z"), 9);
        assert_eq!(at("2026-11-22T22:50:00Z"), 0);
        assert_eq!(at("2026-11-22T22:49:59Z"), 167);
        assert!(Hour::new(168).is_none());
    }
}
