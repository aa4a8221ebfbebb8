//! What is written down of meetings and nodes, so that a day can be played again later.

use super::{MeetingKey, NodeName};

/// Whoever counts is a few seconds behind.
const AT_LEAST_MS: u64 = 5_000;
/// The older a meeting is, the coarser: a change may be written down later by this part of its age.
const PART_OF_AGE: u64 = 100;

/// How long after a change of a meeting of this age it is written down at the latest, with all others until then. So
/// a meeting has a hundred counts in its first eight minutes, and some seven hundred in its first day, whatever people
/// do in it.
pub fn spacing_ms(age_ms: u64) -> u64 {
    (age_ms / PART_OF_AGE).max(AT_LEAST_MS)
}

/// How many were in a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    /// In seconds since it was created.
    pub after_s: u32,
    /// Attendees.
    pub attendees: u32,
}

/// What is written down of a meeting: all that is known, or what is new of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeetingLine {
    /// Whose it is, and what its front end calls it.
    pub key: MeetingKey,
    /// BigBlueButton's internal id.
    pub internal_id: String,
    /// Its node.
    pub node: NodeName,
    /// When it was placed, ms since 1970.
    pub created_at_ms: u64,
    /// `maxParticipants`; 0 where it was not given, or by somebody who was not there.
    pub max_participants: u32,
    /// What its front end expected; 0 where it did not say.
    pub size_hint: u32,
    /// Attendees at its fullest.
    pub peak: u32,
    /// When it was over, where somebody has seen that.
    pub ended_at_ms: Option<u64>,
    /// It runs, as far as the store knows; for readers only.
    pub is_running: bool,
    /// How many were in it.
    pub counts: Vec<Counted>,
}

/// A node is there from now on, or gone.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeLine {
    /// Which one.
    pub node: NodeName,
    /// Since when, ms since 1970.
    pub at_ms: u64,
    /// Attendees whom it is meant to carry; nothing: it is gone.
    pub room: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_meeting_are_bounded_however_long_it_lasts() {
        let after = |end_ms: u64| {
            let (mut age_ms, mut counts) = (0, 0);
            while age_ms < end_ms {
                age_ms += spacing_ms(age_ms);
                counts += 1;
            }
            counts
        };
        assert!((90..=110).contains(&after(500_000)), "{}", after(500_000));
        assert!(after(24 * 3_600_000) < 700, "{}", after(24 * 3_600_000));
        assert!(after(30 * 24 * 3_600_000) < 1_100);
    }
}
