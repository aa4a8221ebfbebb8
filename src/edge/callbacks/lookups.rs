//! How many tokens are looked up at the same time. Anybody can make one up, and the store does one thing after
//! the other: a create would wait behind all of them.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::chain::Chain;
use crate::sparing::Sparing;
use crate::store;

const AT_ONCE: usize = 2;
/// For the place to look a token up.
const WITHIN: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub(super) struct Lookups {
    places: Semaphore,
    /// Nodes call again and again.
    lost: Sparing,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(AT_ONCE), lost: Sparing::default() }
    }

    /// Does this when it is its turn; `None` if that takes too long.
    pub(super) async fn take_turn<T>(&self, look_up: impl Future<Output = T>) -> Option<T> {
        let _place = timeout(WITHIN, self.places.acquire()).await.ok()?.ok()?;
        Some(look_up.await)
    }

    /// Says that something could not be looked up.
    pub(super) fn say_lost(&self, what: &str, why: &store::Error) {
        if let Some(more) = self.lost.turn() {
            log::error!("{what} cannot be looked up: {}{more}", Chain(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_flood_waits_in_a_line_of_its_own() {
        let (lookups, running, most) = (Lookups::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        let look_up = || async {
            let now = running.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
            yield_now().await;
            running.fetch_sub(1, Ordering::Relaxed);
        };
        let done = join_all((0..100).map(|_| lookups.take_turn(look_up()))).await;
        assert!(done.iter().all(Option::is_some));
        assert_eq!(most.into_inner(), AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_gives_up() {
        let lookups = Lookups::new();
        let for_ever = std::future::pending::<()>;
        let all = join_all((0..AT_ONCE).map(|_| lookups.take_turn(for_ever())));
        tokio::select! {
            biased;
            _ = all => unreachable!("they never end"),
            late = lookups.take_turn(async {}) => assert_eq!(late, None),
        }
    }
}
