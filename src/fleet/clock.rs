//! The one place that reads the wall clock. Whatever decides anything is given the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// When something was, by both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// The time of day that it was, ms since 1970. It is shown; nothing is decided by it, as clocks are set.
    pub day_ms: u64,
    /// By the [steady](Clock::steady_ms) clock.
    pub steady_ms: u64,
}

impl Moment {
    /// So many milliseconds before.
    #[must_use]
    pub fn before(self, ms: u64) -> Self {
        Self {
            day_ms: self.day_ms.saturating_sub(ms),
            steady_ms: self.steady_ms.saturating_sub(ms),
        }
    }
}

/// The time as a fleet sees it: that of this machine, or of a simulated day.
#[derive(Debug)]
pub enum Clock {
    /// That of this machine.
    Real {
        /// From which ages are counted, so that they never jump as the time of day may.
        begun: Instant,
        /// How many times faster things grow old; 1 but for a load that is played faster than it happened.
        speed: f64,
    },
    /// What it is set to, in milliseconds.
    Simulated {
        /// The time of day.
        now: AtomicU64,
        /// How far it was set forward, all in all: ages never jump.
        gone: AtomicU64,
    },
}

impl Default for Clock {
    fn default() -> Self {
        Self::fast(1.0)
    }
}

impl Clock {
    /// That of this machine, with ages that grow so many times faster.
    pub fn fast(speed: f64) -> Self {
        Self::Real { begun: Instant::now(), speed }
    }

    /// One that stands at 0 until it is set.
    pub fn simulated() -> Self {
        Self::Simulated { now: AtomicU64::new(0), gone: AtomicU64::new(0) }
    }

    /// Sets a simulated one, forward or back; a real one goes by itself.
    pub fn set(&self, at_ms: u64) {
        if let Self::Simulated { now, gone } = self {
            let before = now.swap(at_ms, Ordering::Relaxed);
            gone.fetch_add(at_ms.saturating_sub(before), Ordering::Relaxed);
        }
    }

    /// Sets the time of day of a simulated one as an operator does whose clock was wrong: nothing grows older.
    #[cfg(test)]
    pub fn correct(&self, at_ms: u64) {
        if let Self::Simulated { now, .. } = self {
            now.store(at_ms, Ordering::Relaxed);
        }
    }

    /// The time of day, ms since 1970. An operator, or NTP, may set it back.
    pub fn now_ms(&self) -> u64 {
        match self {
            Self::Real { .. } => now_ms(),
            Self::Simulated { now, .. } => now.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds since some moment in the past; never goes back.
    pub fn steady_ms(&self) -> u64 {
        match self {
            // So that what is older than this process has a time, too.
            Self::Real { begun, speed } => {
                let since = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                times(since, *speed).saturating_add(OLDEST_MS)
            }
            Self::Simulated { gone, .. } => gone.load(Ordering::Relaxed).saturating_add(OLDEST_MS),
        }
    }

    /// The [steady](Self::steady_ms) time of what began then, ms since 1970. What seems to begin later than now
    /// begins now.
    pub fn steady_of(&self, began_at_ms: u64) -> u64 {
        let age_ms = self.now_ms().saturating_sub(began_at_ms);
        let age_ms = match self {
            Self::Real { speed, .. } => times(age_ms, *speed),
            Self::Simulated { .. } => age_ms,
        };
        self.steady_ms().saturating_sub(age_ms)
    }

    /// Now.
    pub fn moment(&self) -> Moment {
        Moment { day_ms: self.now_ms(), steady_ms: self.steady_ms() }
    }

    /// When it was then, ms since 1970, as the time of day is now.
    pub fn moment_of(&self, day_ms: u64) -> Moment {
        Moment { day_ms, steady_ms: self.steady_of(day_ms) }
    }

    /// Whether so much time of this machine, whatever the speed, is over since then, by the
    /// [steady](Self::steady_ms) clock.
    pub fn is_past(&self, since_steady_ms: u64, span: Duration) -> bool {
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let span_ms = match self {
            Self::Real { speed, .. } => times(span_ms, *speed),
            Self::Simulated { .. } => span_ms,
        };
        self.steady_ms().saturating_sub(since_steady_ms) >= span_ms
    }
}

/// The usual speed changes nothing, however large the number.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of what is played faster, milliseconds do not matter; too large is the largest"
)]
fn times(ms: u64, speed: f64) -> u64 {
    if (speed - 1.0).abs() < f64::EPSILON { ms } else { (ms as f64 * speed) as u64 }
}

/// Older than any meeting.
const OLDEST_MS: u64 = 365 * 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn in_a_load_that_is_played_faster_things_grow_old_faster() {
        let (usual, fast) = (Clock::default(), Clock::fast(60.0));
        let before = (usual.steady_ms(), fast.steady_ms());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(usual.steady_ms() - before.0, 10_000);
        assert_eq!(fast.steady_ms() - before.1, 600_000);
        let minute_ago = fast.now_ms() - 60_000;
        let hour_ms = fast.steady_ms() - fast.steady_of(minute_ago);
        assert!((3_600_000..3_700_000).contains(&hour_ms), "{hour_ms}");
        for (clock, before_ms) in [(&usual, before.0), (&fast, before.1)] {
            assert!(clock.is_past(before_ms, Duration::from_secs(10)));
            assert!(!clock.is_past(before_ms, Duration::from_secs(11)), "a grace is no age");
        }
        assert_eq!(times(u64::MAX, 1.0), u64::MAX);
    }
}
