//! `/b3lb/ping`: whether Portico can do its work, for load balancers that look before they send.
//!
//! As in B3LB that is whether the store works: without it no meeting is kept. It is tried with a write, as
//! a file can be read for long after the last one that succeeded. Anybody may ask, so the store is tried
//! once at a time, and what came of it is good for a while.

use std::time::Duration;

use http::StatusCode;
use log::warn;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Edge;
use super::refusal::Fault;
use super::reply::Reply;
use super::track::Track;
use crate::chain::Chain;

const TEXT: &str = "text/plain";
/// Load balancers ask every second or two, and more than one of them.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// One that takes longer is of no use to a create either.
const WITHIN: Duration = Duration::from_secs(2);

/// What came of the last try.
#[derive(Debug, Default)]
pub(super) struct Ping(Mutex<Option<(Instant, bool)>>);

impl Edge {
    /// The answer to a ping, in B3LB's words.
    pub(super) async fn ping(&self, track: &Track) -> Reply {
        if self.store_works().await {
            Reply::new(StatusCode::OK, TEXT, "OK!")
        } else {
            track.blame("storeUnavailable".to_owned(), Fault::Portico);
            Reply::new(StatusCode::SERVICE_UNAVAILABLE, TEXT, "Doh!")
        }
    }

    async fn store_works(&self) -> bool {
        // Held while the store is tried: whoever waits takes what comes of it.
        let mut last = self.ping.0.lock().await;
        if let Some((_, works)) = last.filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return works;
        }
        let works = match timeout(WITHIN, self.store.probe()).await {
            Ok(Ok(())) => true,
            Ok(Err(trouble)) => {
                warn!("ping: the store does not work: {}", Chain(&trouble));
                false
            }
            Err(_elapsed) => {
                warn!("ping: the store does not answer in time");
                false
            }
        };
        *last = Some((Instant::now(), works));
        works
    }
}
