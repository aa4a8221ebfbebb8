//! When something is to be done.

use std::time::Duration;

use tokio::time::Instant;

/// What may be made up of a rate that was not used.
const BURST: Duration = Duration::from_millis(100);

/// The time of the trace, and the rate of calls.
pub(super) struct Clock {
    pub(super) speed: f64,
    pub(super) began: Instant,
    pub(super) begin_ms: i64,
    /// Between two calls.
    pub(super) gap: Duration,
    /// When there may be another one.
    pub(super) free: Instant,
}

impl Clock {
    /// When this time of the trace is.
    pub(super) fn moment(&self, at_ms: i64) -> Instant {
        let since_ms = u32::try_from(at_ms.saturating_sub(self.begin_ms).max(0));
        let since = f64::from(since_ms.unwrap_or(u32::MAX)) / 1000.0 / self.speed;
        self.began + Duration::from_secs_f64(since)
    }

    /// Which time of the trace it is.
    #[expect(clippy::cast_possible_truncation, reason = "a time within some days")]
    pub(super) fn now_ms(&self) -> i64 {
        let since = self.began.elapsed().as_secs_f64() * self.speed * 1000.0;
        self.begin_ms.saturating_add(since as i64)
    }

    /// A call is made now.
    pub(super) fn spend(&mut self) {
        let now = Instant::now();
        self.free = self.free.max(now.checked_sub(BURST).unwrap_or(now)) + self.gap;
    }
}
