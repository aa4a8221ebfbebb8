//! How the polls of one node went that this instance has made, for operators.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts polls. What another instance polls is counted there.
#[derive(Debug, Default)]
pub struct PollCounters {
    good: AtomicU64,
    failed: AtomicU64,
    /// Microseconds, of all polls together.
    took: AtomicU64,
    last_took: AtomicU64,
    /// ms since 1970; 0 is never.
    last_good_ms: AtomicU64,
}

/// What was counted, at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PollFigures {
    /// Polls that were answered.
    pub good: u64,
    /// Those that were not, or not as they should.
    pub failed: u64,
    /// How long all of them took together.
    pub took: Duration,
    /// How long the last one took.
    pub last_took: Duration,
    /// When the last good one ended, ms since 1970; 0 is never.
    pub last_good_ms: u64,
}

impl PollCounters {
    /// Counts a poll that has come to its end.
    pub fn count(&self, is_good: bool, took: Duration, now_ms: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.took.fetch_add(micros, Ordering::Relaxed);
        self.last_took.store(micros, Ordering::Relaxed);
        if is_good {
            self.good.fetch_add(1, Ordering::Relaxed);
            self.last_good_ms.store(now_ms, Ordering::Relaxed);
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far; nothing if there was no poll.
    pub fn figures(&self) -> Option<PollFigures> {
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (good, failed) = (number(&self.good), number(&self.failed));
        (good + failed > 0).then(|| PollFigures {
            good,
            failed,
            took: Duration::from_micros(number(&self.took)),
            last_took: Duration::from_micros(number(&self.last_took)),
            last_good_ms: number(&self.last_good_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_poll_takes_time_but_does_not_count_as_the_last_good_one() {
        let polls = PollCounters::default();
        assert_eq!(polls.figures(), None);
        polls.count(true, Duration::from_millis(20), 1_000);
        polls.count(false, Duration::from_secs(5), 6_000);
        let expected = PollFigures {
            good: 1,
            failed: 1,
            took: Duration::from_millis(5_020),
            last_took: Duration::from_secs(5),
            last_good_ms: 1_000,
        };
        assert_eq!(polls.figures(), Some(expected));
    }
}
