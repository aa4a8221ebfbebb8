//! What is foreseen of the pool, from what was learned of its past.

use std::time::Duration;

use arc_swap::ArcSwap;

use super::forecast::{Forecast, Hours};
use super::{Fleet, now_ms};

/// What was learned.
#[derive(Debug, Default)]
pub struct Outlook(ArcSwap<Hours>);

impl Outlook {
    /// Takes over all that is known of past hours: beginning in seconds since 1970, and in milliseconds the time of
    /// all attendees and of how much of the hour that is known.
    pub fn learn(&self, hours: impl IntoIterator<Item = (u64, u64, u64)>) {
        self.0.store(Hours::new(hours).into());
    }
}

impl Fleet {
    /// How many attendees there are by the last polls, in main meetings on all nodes.
    pub fn attendees(&self) -> u64 {
        self.snapshot().nodes().map(|node| u64::from(node.live.attendees())).sum()
    }

    /// How many there will be then; nothing where nothing is known.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 people")]
    pub fn foresee(&self, ahead: Duration) -> Option<Forecast> {
        // Of tenants, as in the hours that were learned: nodes may have others' meetings, too.
        let tallies = self.directory.tallies();
        let current: u64 =
            tallies.into_iter().map(|(_, tally)| u64::from(tally.whole().people.attendees)).sum();
        self.outlook.0.load().foresee(now_ms() / 1000, current as f64, ahead)
    }
}
