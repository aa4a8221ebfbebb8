//! How long a request that can do without the store waits for it: a moment, and not at all while it is
//! known to be silent.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// The store answers in a hundredth of this.
const WITHIN: Duration = Duration::from_millis(750);
/// After a wait that was in vain nobody waits for so long.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// Shared by all requests.
#[derive(Debug, Default)]
pub(super) struct Patience(Mutex<Option<Instant>>);

impl Patience {
    /// The outcome, unless the store is silent. What was begun may take effect later.
    pub(super) async fn wait<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        if self.is_lost() {
            return None;
        }
        let outcome = timeout(WITHIN, asking).await.ok();
        if outcome.is_none() {
            self.lose();
        }
        outcome
    }

    /// The store cannot be asked at the moment.
    pub(super) fn lose(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether somebody has waited in vain just now.
    pub(super) fn is_lost(&self) -> bool {
        self.0.lock().is_some_and(|lost_at| lost_at.elapsed() < SILENT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_all_that_come_while_the_store_is_silent_one_waits() {
        let patience = Patience::default();
        assert_eq!(patience.wait(ready(1)).await, Some(1));
        let begun = Instant::now();
        assert_eq!(patience.wait(pending::<()>()).await, None);
        for _ in 0..100 {
            assert_eq!(patience.wait(pending::<()>()).await, None);
        }
        assert_eq!(begun.elapsed(), WITHIN);
        tokio::time::advance(SILENT_FOR).await;
        assert_eq!(patience.wait(ready(2)).await, Some(2));
    }
}
