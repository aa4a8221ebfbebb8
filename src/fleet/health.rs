//! The health of a node as a small state machine over the results of its polls.

use super::clock::Moment;
use super::instances::event::State;
use crate::model::Health;

/// How many results in a row change a node's health.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// Failures in a row until `down`, at least 1.
    pub down_after: u32,
    /// Good polls in a row until `up` again, at least 1.
    pub up_after: u32,
}

/// What polling has said of one node so far.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    pub(super) health: Health,
    /// Why the last failed poll failed; kept until the node is up again.
    pub(super) reason: Option<String>,
    /// When `health` last changed; at 0 in 1970 is never.
    pub(super) since: Moment,
    failures: u32,
    successes: u32,
}

/// A change of health, to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: Health,
    /// Now.
    pub to: Health,
}

impl Tracker {
    /// As another instance's polls have it. What it says in words that we do not know leaves ours.
    pub(super) fn follow(&mut self, state: &State, now: Moment) {
        if state.health == Health::Unknown {
            return;
        }
        let since = match state.age_ms {
            Some(age_ms) => now.before(age_ms),
            None if state.health == self.health => self.since,
            None => now,
        };
        *self = Self {
            health: state.health,
            reason: state.reason.clone(),
            since,
            failures: state.failures,
            successes: state.successes,
        };
    }

    /// Failed and good polls in a row.
    pub(super) fn in_a_row(&self) -> (u32, u32) {
        (self.failures, self.successes)
    }

    /// A good poll. An unknown node is up at once, others after `up_after` in a row.
    pub(super) fn good(&mut self, thresholds: Thresholds, now: Moment) -> Option<Change> {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        if self.health == Health::Unknown || self.successes >= thresholds.up_after {
            self.reason = None;
            return self.turn(Health::Up, now);
        }
        None
    }

    /// A failed poll, or a connection that failed: suspect at once, down after `down_after` in a row.
    pub(super) fn bad(
        &mut self,
        reason: String,
        thresholds: Thresholds,
        now: Moment,
    ) -> Option<Change> {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        self.reason = Some(reason);
        if self.health == Health::Down || self.failures >= thresholds.down_after {
            return self.turn(Health::Down, now);
        }
        self.turn(Health::Suspect, now)
    }

    /// A request that could not reach the node: suspect until polls say more. It does not count towards
    /// `down`, which many requests at once would reach in no time.
    pub(super) fn doubt(&mut self, reason: String, now: Moment) -> Option<Change> {
        if self.health != Health::Up {
            return None;
        }
        self.successes = 0;
        self.reason = Some(reason);
        self.turn(Health::Suspect, now)
    }

    fn turn(&mut self, to: Health, now: Moment) -> Option<Change> {
        let from = std::mem::replace(&mut self.health, to);
        if from == to {
            return None;
        }
        self.since = now;
        Some(Change { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { down_after: 3, up_after: 2 };

    const fn at(ms: u64) -> Moment {
        Moment { day_ms: ms, steady_ms: ms }
    }

    /// Feeds a sequence of `+` and `-` and writes the health after each.
    fn run(polls: &str) -> String {
        let mut tracker = Tracker::default();
        let letter = |health| match health {
            Health::Unknown => '?',
            Health::Up => 'U',
            Health::Suspect => 'S',
            Health::Down => 'D',
        };
        polls
            .chars()
            .map(|poll| {
                match poll {
                    '+' => tracker.good(THRESHOLDS, at(1)),
                    _ => tracker.bad("refused".into(), THRESHOLDS, at(1)),
                };
                letter(tracker.health)
            })
            .collect()
    }

    #[test]
    fn health_follows_the_polls() {
        for (polls, healths) in [
            ("+", "U"),
            ("-+", "SS"),
            ("-++", "SSU"),
            ("+-", "US"),
            ("+---", "USSD"),
            ("+--+-", "USSSS"),
            ("---+-+", "SSDDDD"),
            ("---++", "SSDDU"),
            ("+-+-+-", "USSSSS"),
        ] {
            assert_eq!(run(polls), healths, "{polls}");
        }
    }

    #[test]
    fn a_doubt_takes_an_up_node_out_and_counts_no_further() {
        let mut tracker = Tracker::default();
        tracker.good(THRESHOLDS, at(1));
        for _ in 0..10 {
            tracker.doubt("refused".into(), at(2));
        }
        assert_eq!((tracker.health, tracker.since), (Health::Suspect, at(2)));
        assert_eq!(tracker.reason.as_deref(), Some("refused"));
    }
}
