//! The size that a meeting is expected to reach, and how sure that is.

use std::fmt;

use super::history::{History, Level};
use crate::model::{Hour, MOST_ATTENDEES, MeetingKey};

/// What a meeting is taken for that nothing is known of, and by how much it may well differ.
const PRIOR: f64 = 20.0;
/// A level is worth as many meetings as it has seen, up to these, against half a one of the coarser level.
const MOST_COUNTED: u32 = 8;
const SHRINKAGE: f64 = 0.5;
/// How far above what is expected a candidate is looked at, in standard deviations.
const CAUTION: f64 = 2.0;
/// A hint above as many of the largest nodes is a slip, or malice: all of a meeting is on one.
const MOST_NODES_HINTED: f64 = 5.0;

/// A meeting that is about to be created.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Whose it is, and its room: what the front end calls it comes back every week.
    pub key: &'a MeetingKey,
    /// The hour that it is for.
    pub hour: Hour,
    /// `maxParticipants`, where it is given and not 0.
    pub max_participants: Option<u32>,
    /// What the front end expects.
    pub hint: Option<u32>,
    /// Attendees that the largest node is built for which may take it.
    pub largest_node: Option<u32>,
    /// What the operator says of meetings of this tenant of which nothing is known.
    pub default_size: Option<u32>,
    /// More is not expected of any meeting of this tenant.
    pub cap: Option<u32>,
    /// Who was in it when its node failed.
    pub lost: Option<u32>,
}

impl<'a> Ask<'a> {
    /// One of which nothing is said.
    pub fn new(key: &'a MeetingKey, hour: Hour) -> Self {
        Self {
            key,
            hour,
            max_participants: None,
            hint: None,
            largest_node: None,
            default_size: None,
            cap: None,
            lost: None,
        }
    }
}

/// What an expectation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Nothing: it is the same for all meetings.
    Prior,
    /// What the operator says of the tenant.
    TenantDefault,
    /// All meetings of the pool.
    Everywhere,
    /// The tenant's meetings.
    Tenant,
    /// Earlier meetings of the room.
    Room,
    /// Earlier meetings of the room at this hour of the week.
    RoomAtHour,
    /// The front end's hint.
    Hint,
    /// Half of `maxParticipants`.
    MaxParticipants,
    /// Who was in it when its node failed.
    LostNode,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Prior,
        Self::TenantDefault,
        Self::Everywhere,
        Self::Tenant,
        Self::Room,
        Self::RoomAtHour,
        Self::Hint,
        Self::MaxParticipants,
        Self::LostNode,
    ];

    /// The word for it, in the API and as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prior => "prior",
            Self::TenantDefault => "tenant_default",
            Self::Everywhere => "everywhere",
            Self::Tenant => "tenant",
            Self::Room => "room",
            Self::RoomAtHour => "room_at_hour",
            Self::Hint => "hint",
            Self::MaxParticipants => "max_participants",
            Self::LostNode => "lost_node",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How large a meeting is expected to become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Attendees at its fullest.
    pub size: f64,
    /// What it is looked at as while a node is chosen: larger, the less is known.
    pub cautious: f64,
    /// How that is known.
    pub source: Source,
}

impl Expected {
    /// A meeting of which only this is known, such as one that another instance has placed.
    pub fn of_size(size: u32) -> Self {
        let size = f64::from(size.min(MOST_ATTENDEES));
        Self { size, cautious: size, source: Source::Prior }
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self { size: PRIOR, cautious: PRIOR + CAUTION * 2.0 * PRIOR, source: Source::Prior }
    }
}

impl History {
    /// What is expected of a meeting: from what is known of all meetings to what is known of its room at its hour,
    /// each as far as it is to be trusted.
    pub fn expect(&self, ask: &Ask<'_>) -> Expected {
        let (mut size, mut deviation, mut source) = match ask.default_size {
            Some(size) => (f64::from(size), 2.0 * f64::from(size), Source::TenantDefault),
            None => (PRIOR, 2.0 * PRIOR, Source::Prior),
        };
        let known = self.known(ask.key, ask.hour);
        for (level, moments) in &known {
            // What the operator says of a tenant says more than what others do.
            if *level == Level::Everywhere && ask.default_size.is_some() {
                continue;
            }
            let Some(moments) = moments else { continue };
            let worth = f64::from(moments.seen.min(MOST_COUNTED));
            let mix =
                |own: f64, coarser: f64| (worth * own + SHRINKAGE * coarser) / (worth + SHRINKAGE);
            size = mix(f64::from(moments.mean), size);
            deviation = mix(moments.deviation(), deviation);
            source = match level {
                Level::Everywhere => Source::Everywhere,
                Level::Tenant => Source::Tenant,
                Level::Room => Source::Room,
                Level::RoomAtHour(_) => Source::RoomAtHour,
            };
        }
        let is_known = |wanted: Level| {
            known.iter().any(|(level, moments)| *level == wanted && moments.is_some())
        };
        if !is_known(Level::Room) {
            // Who says anything must not have a whole pool kept free.
            let at_most = |said: f64, nodes: f64| {
                ask.largest_node.map_or(said, |largest| said.min(nodes * f64::from(largest)))
            };
            if let Some(hint) = ask.hint {
                let size_said = at_most(f64::from(hint), MOST_NODES_HINTED);
                (size, deviation, source) = (size_said, 0.0, Source::Hint);
            } else if let Some(max) = ask.max_participants
                && !is_known(Level::Tenant)
            {
                let size_guessed = at_most(f64::from(max) / 2.0, 1.0);
                (size, deviation, source) = (size_guessed, 0.0, Source::MaxParticipants);
            }
        }
        if let Some(lost) = ask.lost {
            (size, deviation, source) = (f64::from(lost), 0.0, Source::LostNode);
        }
        let most = [ask.max_participants, ask.cap].into_iter().flatten().min();
        let most = f64::from(most.unwrap_or(MOST_ATTENDEES).min(MOST_ATTENDEES));
        Expected { size: size.min(most), cautious: (size + CAUTION * deviation).min(most), source }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{HistoryKey, HistoryRow, Moments, Peak, Scope};

    fn key(id: &str) -> MeetingKey {
        MeetingKey { scope: Scope::parse("acme").unwrap(), id: id.to_owned() }
    }

    fn hour(number: u8) -> Hour {
        Hour::new(number).unwrap()
    }

    fn taught(peaks: &[(&str, u8, u32)]) -> History {
        let history = History::default();
        for (room, at, peak) in peaks {
            history.learn(&Peak { key: key(room), hour: hour(*at), attendees: *peak }, 1);
        }
        history
    }

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-3
    }

    #[test]
    fn without_any_history_all_are_alike_unless_somebody_says_more() {
        let history = History::default();
        let key = key("m");
        let ask = Ask::new(&key, hour(9));
        let expect = |ask: Ask<'_>| {
            let Expected { size, cautious, source } = history.expect(&ask);
            (size, cautious, source)
        };
        assert_eq!(expect(ask), (20.0, 100.0, Source::Prior));
        assert_eq!(
            expect(Ask { default_size: Some(8), ..ask }),
            (8.0, 40.0, Source::TenantDefault)
        );
        let max = Ask { max_participants: Some(300), ..ask };
        assert_eq!(expect(max), (150.0, 150.0, Source::MaxParticipants));
        let hint = Ask { hint: Some(700), ..max };
        assert_eq!(expect(hint), (300.0, 300.0, Source::Hint));
        assert_eq!(expect(Ask { max_participants: None, ..hint }), (700.0, 700.0, Source::Hint));
        assert_eq!(expect(Ask { cap: Some(50), ..hint }), (50.0, 50.0, Source::Hint));
        // What is said keeps no more free than a few nodes.
        let small = Ask { largest_node: Some(100), max_participants: None, ..hint };
        assert_eq!(expect(small), (500.0, 500.0, Source::Hint));
        let guessed = Ask { hint: None, max_participants: Some(10_000), ..small };
        assert_eq!(expect(guessed), (100.0, 100.0, Source::MaxParticipants));
        let lost = Ask { lost: Some(33), ..hint };
        assert_eq!(expect(lost), (33.0, 33.0, Source::LostNode));
    }

    /// Worked by hand: everybody, the tenant and the room have each seen one meeting of 50.
    #[test]
    fn each_level_counts_as_far_as_it_is_to_be_trusted() {
        let history = taught(&[("m", 9, 50)]);
        let (m, n) = (key("m"), key("n"));
        let mix = |own: f64, coarser: f64| (own + coarser / 2.0) / 1.5;
        let tenant = mix(50.0, mix(50.0, 20.0));
        let seen = history.expect(&Ask::new(&n, hour(9)));
        assert!(is_near(seen.size, tenant), "{seen:?}");
        assert_eq!(seen.source, Source::Tenant);
        let other_hour = history.expect(&Ask::new(&m, hour(10)));
        assert!(is_near(other_hour.size, mix(50.0, tenant)), "{other_hour:?}");
        assert_eq!(other_hour.source, Source::Room);
        let same_hour = history.expect(&Ask::new(&m, hour(9)));
        assert!(is_near(same_hour.size, mix(50.0, mix(50.0, tenant))), "{same_hour:?}");
        assert_eq!(same_hour.source, Source::RoomAtHour);
        let deviation = (same_hour.cautious - same_hour.size) / 2.0;
        assert!(is_near(deviation, 40.0 / 3f64.powi(4)), "{same_hour:?}");
    }

    #[test]
    fn who_knows_the_room_needs_no_hint() {
        let history = taught(&[("m", 9, 50); 8]);
        let (m, n) = (key("m"), key("n"));
        let known = Ask { hint: Some(1000), max_participants: Some(2000), ..Ask::new(&m, hour(9)) };
        assert!(history.expect(&known).size < 51.0);
        let new = Ask { key: &n, hint: None, ..known };
        assert_eq!(history.expect(&new).source, Source::Tenant, "its tenant is known");
        assert_eq!(history.expect(&Ask { hint: Some(1000), ..new }).source, Source::Hint);
        let few = Ask { max_participants: Some(10), ..known };
        assert_eq!((history.expect(&few).size, history.expect(&few).cautious), (10.0, 10.0));
    }

    #[test]
    fn two_lectures_of_one_room_are_known_apart() {
        let lectures: Vec<_> = (0..8).flat_map(|_| [("m", 9, 200), ("m", 14, 10)]).collect();
        let history = taught(&lectures);
        let m = key("m");
        assert!(history.expect(&Ask::new(&m, hour(9))).size > 180.0);
        assert!(history.expect(&Ask::new(&m, hour(14))).size < 20.0);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_answer_is_finite_and_within_bounds(
            peaks in prop::collection::vec((0u8..168, 1u32..=u32::MAX), 0..20),
            at in 0u8..168,
            max in prop::option::of(1u32..), hint in prop::option::of(0u32..),
            default_size in prop::option::of(0u32..), cap in prop::option::of(1u32..),
            lost in prop::option::of(0u32..),
        ) {
            let peaks: Vec<_> = peaks.into_iter().map(|(hour, peak)| ("m", hour, peak)).collect();
            let history = taught(&peaks);
            let m = key("m");
            let ask = Ask { max_participants: max, hint, default_size, cap, lost, ..Ask::new(&m, hour(at)) };
            let Expected { size, cautious, .. } = history.expect(&ask);
            let most = f64::from(max.unwrap_or(u32::MAX).min(cap.unwrap_or(u32::MAX)).min(MOST_ATTENDEES));
            prop_assert!((0.0..=most).contains(&size), "{size}");
            prop_assert!((size..=most).contains(&cautious), "{cautious}");
        }
    }

    #[test]
    fn moments_that_are_not_sound_are_as_good_as_none() {
        let history = History::default();
        let moments = Moments { seen: 5, mean: f32::NAN, variance: 1.0 };
        let broken = HistoryRow { key: HistoryKey::Room(key("m")), moments, learned_at_s: 1 };
        history.take_up(&[broken], 1);
        assert_eq!(history.expect(&Ask::new(&key("m"), hour(1))).source, Source::Prior);
    }
}
