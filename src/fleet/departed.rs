//! Meetings that went a moment ago.
//!
//! What tells of a meeting may be older than what tells of its end: a create that is heard late, or a row that
//! was read before it was deleted. Whoever enters a meeting on such a word asks here first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Nothing in the log comes that late.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Beyond, the oldest are forgotten early.
const MAX_KEPT: usize = 20_000;

/// What became of a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Ended by a front end, and its node may still show it.
    Ended,
    /// No longer there.
    Gone,
}

/// Meetings that went a moment ago, by internal id.
#[derive(Default)]
pub(super) struct Departed(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    fates: HashMap<Box<str>, Fate>,
    /// When each was noted, the oldest first.
    noted: VecDeque<(Instant, Box<str>)>,
    /// Nothing is forgotten while the store is read.
    is_kept: bool,
}

impl Departed {
    pub(super) fn note(&self, internal_id: &str, fate: Fate) {
        let now = Instant::now();
        let mut inner = self.0.lock();
        inner.forget_old(now);
        if inner.fates.insert(internal_id.into(), fate).is_none() {
            inner.noted.push_back((now, internal_id.into()));
        }
    }

    /// It is there again.
    pub(super) fn is_back(&self, internal_id: &str) {
        self.0.lock().fates.remove(internal_id);
    }

    pub(super) fn fate(&self, internal_id: &str) -> Option<Fate> {
        self.0.lock().fates.get(internal_id).copied()
    }

    /// Whether from now on nothing is forgotten.
    pub(super) fn keep(&self, is_kept: bool) {
        let mut inner = self.0.lock();
        inner.is_kept = is_kept;
        inner.forget_old(Instant::now());
    }
}

impl Inner {
    fn forget_old(&mut self, now: Instant) {
        if self.is_kept {
            return;
        }
        while let Some((at, _)) = self.noted.front()
            && (self.noted.len() > MAX_KEPT || now.duration_since(*at) > KEPT_FOR)
        {
            if let Some((_, internal_id)) = self.noted.pop_front() {
                self.fates.remove(&internal_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_went_is_known_for_a_while_and_as_long_as_the_store_is_read() {
        let departed = Departed::default();
        departed.note("a", Fate::Ended);
        departed.note("b", Fate::Gone);
        departed.note("a", Fate::Gone);
        departed.is_back("b");
        assert_eq!((departed.fate("a"), departed.fate("b")), (Some(Fate::Gone), None));
        departed.keep(true);
        tokio::time::advance(KEPT_FOR * 2).await;
        departed.note("c", Fate::Gone);
        assert_eq!(departed.fate("a"), Some(Fate::Gone));
        departed.keep(false);
        assert_eq!((departed.fate("a"), departed.fate("c")), (None, Some(Fate::Gone)));
        for number in 0..2 * MAX_KEPT {
            departed.note(&number.to_string(), Fate::Gone);
        }
        assert!(departed.0.lock().fates.len() <= MAX_KEPT + 1);
    }
}
