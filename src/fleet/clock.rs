//! The one place that reads the wall clock. Whatever decides anything is given the time.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// The time as a fleet sees it: that of this machine, or of a simulated day.
#[derive(Debug)]
pub enum Clock {
    /// That of this machine.
    Real {
        /// From which ages are counted, so that they never jump as the time of day may.
        begun: Instant,
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
        Self::Real { begun: Instant::now() }
    }
}

impl Clock {
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
            Self::Real { begun } => {
                let since = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                since.saturating_add(OLDEST_MS)
            }
            Self::Simulated { gone, .. } => gone.load(Ordering::Relaxed).saturating_add(OLDEST_MS),
        }
    }

    /// The [steady](Self::steady_ms) time of what began then, ms since 1970. What seems to begin later than now
    /// begins now.
    pub fn steady_of(&self, began_at_ms: u64) -> u64 {
        let age_ms = self.now_ms().saturating_sub(began_at_ms);
        self.steady_ms().saturating_sub(age_ms)
    }
}

/// Older than any meeting.
const OLDEST_MS: u64 = 365 * 24 * 60 * 60 * 1000;
