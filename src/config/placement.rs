//! `placement`: what is foreseen of meetings, and what tenants say of theirs.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::chronicle::{self, Chronicle};
use super::reader::Item;
use crate::model::{MOST_ATTENDEES, Spread, TenantPlacement};

/// How the size of meetings is foreseen.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// Where the hours of the week are counted.
    pub timezone: TimeZone,
    /// The parameter of `create` by which a front end says how many it expects.
    pub size_hint: String,
    /// How long a room that is not used is remembered.
    pub keep: Duration,
    /// Rows of the history at most.
    pub max_rows: usize,
    /// What is written down of meetings.
    pub chronicle: Chronicle,
}

/// A name that front ends use already.
const DEFAULT_HINT: &str = "meta_bbb-meeting-size-hint";
/// A course comes back after the term break.
const DEFAULT_KEEP: Duration = Duration::from_hours(24 * 180);
const KEEP: RangeInclusive<Duration> = Duration::from_hours(24)..=Duration::from_hours(24 * 3660);
/// Some 200,000 rooms: each has a row, and one for each hour of the week at which it meets.
const DEFAULT_MAX_ROWS: usize = 500_000;
const MAX_ROWS: RangeInclusive<usize> = 1_000..=20_000_000;

pub(super) fn read(item: &Item<'_>) -> Option<Placement> {
    item.fields(|fields| {
        let timezone = fields
            .optional("timezone")
            .parse("a time zone such as Europe/Berlin or UTC", |text| TimeZone::get(text).ok());
        let size_hint = fields.optional("size_hint").parse(
            "a parameter of create for this alone: its name begins with meta_, then come up to 95 letters, digits, dots, \
             dashes and underscores; no address to call back",
            |text| is_for_hints(text).then(|| text.to_owned()),
        );
        let chronicle = chronicle::read(&fields.optional("chronicle"));
        let (keep, max_rows) = history(&fields.optional("history"))?;
        Some(Placement {
            timezone: timezone.unwrap_or_else(TimeZone::system),
            size_hint: size_hint.unwrap_or_else(|| DEFAULT_HINT.to_owned()),
            keep,
            max_rows,
            chronicle: chronicle?,
        })
    })
}

fn history(item: &Item<'_>) -> Option<(Duration, usize)> {
    item.fields(|fields| {
        let keep = fields.optional("keep").duration(KEEP);
        let max_rows = fields.optional("max_rows").whole(MAX_ROWS);
        Some((keep.unwrap_or(DEFAULT_KEEP), max_rows.unwrap_or(DEFAULT_MAX_ROWS)))
    })
}

/// Whether nothing else is lost where `strip_hints` takes this from a create: the others of its parameters, without
/// `meta_`, have a meaning already, and so do addresses that are to be called.
fn is_for_hints(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let name = text.strip_prefix("meta_").unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let is_address = ["callbackurl", "-url"].iter().any(|end| lower.ends_with(end));
    (1..=95).contains(&name.len()) && name.bytes().all(allowed) && !is_address
}

/// What a tenant says of its meetings.
pub(super) fn of_tenant(item: &Item<'_>) -> Option<TenantPlacement> {
    item.fields(|fields| {
        let default_size = fields.optional("default_size").whole(1..=MOST_ATTENDEES);
        let max_item = fields.optional("max_size");
        let max_size = max_item.whole(1..=MOST_ATTENDEES);
        if let (Some(default), Some(max)) = (default_size, max_size)
            && default > max
        {
            max_item.problem(format_args!(
                "{max} is less than default_size, {default}; no meeting is expected to be larger than max_size"
            ));
        }
        let spread = fields.optional("spread").one_of(&Spread::ALL.map(|way| (way.as_str(), way)));
        let strip_hints = fields.optional("strip_hints").flag();
        Some(TenantPlacement {
            default_size,
            max_size,
            spread: spread.unwrap_or_default(),
            strip_hints: strip_hints.unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_has_a_parameter_of_its_own() {
        for fit in [DEFAULT_HINT, "meta_size", "meta_curl"] {
            assert!(is_for_hints(fit), "{fit}");
        }
        let others = ["meetingID", "name", "maxParticipants", "checksum", "size", "Meta_size"];
        let calls =
            ["meta_endCallbackUrl", "meta_bbb-recording-ready-url", "meta_analytics-callback-url"];
        for unfit in others.iter().chain(&calls).chain(&["", "meta_", "meta_a b", "meta_a&b"]) {
            assert!(!is_for_hints(unfit), "{unfit}");
        }
        assert!(!is_for_hints(&format!("meta_{}", "x".repeat(96))));
    }
}
