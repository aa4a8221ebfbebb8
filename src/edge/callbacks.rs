//! Callbacks, both ways of them: on a create the front end's URLs are replaced by ours (`outgoing`), and
//! what nodes then call is put into the outbox (`incoming`), which a task delivers.
//!
//! Every create also gets a hook of ours, `meetingEndedURL`, so that the end of a meeting is known at once.
//! Only that one ends a meeting in the directory: it stays on the node, while the others stand in metadata,
//! which more people may see.

mod base;
mod incoming;
mod lookups;
mod outgoing;
mod overflow;

use std::sync::Arc;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::{Notify, Semaphore};
use url::Url;

pub(super) use incoming::Incoming;
pub(super) use outgoing::{Issued, Wanted};

use self::lookups::Lookups;
use crate::model::Reach;
use crate::store;

/// Bodies of callbacks that are read at the same time. Each may have some MiB.
const BODIES_AT_ONCE: usize = 8;

/// What the edge needs for callbacks.
#[derive(Debug, Clone)]
pub struct Callbacks {
    /// How nodes reach us, where that is not what requests say.
    public_url: Option<Url>,
    /// Where front ends may want to be called.
    reach: Reach,
    /// Wakes who delivers.
    wake: Arc<Notify>,
    bodies: Arc<Semaphore>,
    lookups: Arc<Lookups>,
}

impl Callbacks {
    /// `wake` is notified whenever there is something to deliver.
    pub fn new(public_url: Option<Url>, reach: Reach, wake: Arc<Notify>) -> Self {
        let bodies = Arc::new(Semaphore::new(BODIES_AT_ONCE));
        Self { public_url, reach, wake, bodies, lookups: Arc::new(Lookups::new()) }
    }

    pub(super) fn public_url(&self) -> Option<&Url> {
        self.public_url.as_ref()
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Says that something that a node calls about could not be looked up.
    pub(super) fn say_lost(&self, what: &str, why: &store::Error) {
        self.lookups.say_lost(what, why);
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// What is counted.
#[derive(Clone)]
pub(super) struct Counters {
    dropped: IntCounterVec,
    received: IntCounterVec,
    pub(super) overflow: overflow::Overflow,
}

impl Counters {
    /// Makes the counters known to `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        Ok(Self {
            overflow: overflow::Overflow::register(registry)?,
            dropped: counters(
                "portico_callbacks_dropped_total",
                "Callback URLs of front ends that were left out of a create, by kind and reason.",
                &["kind", "reason"],
            )?,
            received: counters(
                "portico_callbacks_received_total",
                "Callbacks from nodes, by kind and what became of them.",
                &["kind", "outcome"],
            )?,
        })
    }
}
