//! Forgets what has had its time: now and then, and in portions, as others use the store in between.

use std::time::Duration;

use parking_lot::Mutex;

use crate::fleet::Clock;
use crate::store::Error;

const EVERY: Duration = Duration::from_hours(1);
/// And no more than so many each time; the rest goes a moment later.
pub(super) const PORTIONS: usize = 10;

/// When it was last done.
#[derive(Default)]
pub(super) struct Forgetting(Mutex<Option<u64>>);

impl Forgetting {
    /// Whether it is to be done again, however the time of day is set.
    pub(super) fn is_due(&self, clock: &Clock) -> bool {
        self.0.lock().is_none_or(|last_ms| clock.is_past(last_ms, EVERY))
    }

    /// Does it, in portions of so many rows; says how many went.
    pub(super) async fn forget<F>(
        &self,
        clock: &Clock,
        portion: u32,
        some: impl Fn() -> F,
    ) -> Result<u64, Error>
    where
        F: Future<Output = Result<u64, Error>>,
    {
        // What fails is not tried again at once either: it may be what the store is too slow for.
        *self.0.lock() = Some(clock.steady_ms());
        let mut all = 0;
        for _ in 0..PORTIONS {
            let gone = some().await?;
            all += gone;
            if gone < u64::from(portion) {
                return Ok(all);
            }
        }
        *self.0.lock() = None;
        Ok(all)
    }
}
