//! What is told of deliveries that were given up at once because too much waits for their tenant.

use std::sync::Arc;
use std::time::Duration;

use log::warn;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::time::Instant;

use crate::model::{CallbackKind, Scope};
use crate::store::Put;

/// Whoever has too much waiting has more coming: a line for each would drown all others.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Counts and logs.
#[derive(Clone)]
pub(in crate::edge) struct Overflow {
    given_up: IntCounterVec,
    logged: Arc<Mutex<Option<Instant>>>,
}

impl Overflow {
    /// Makes the counter known to `registry`.
    ///
    /// # Errors
    /// When its name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let given_up = IntCounterVec::new(
            Opts::new(
                "portico_callbacks_overflowed_total",
                "Callbacks that were given up at once because too many wait for their tenant, by kind.",
            ),
            &["kind"],
        )?;
        registry.register(Box::new(given_up.clone()))?;
        Ok(Self { given_up, logged: Arc::default() })
    }

    /// Looks at what became of a delivery.
    pub(in crate::edge) fn note(&self, put: Put, kind: CallbackKind, scope: &Scope) {
        if put == Put::Kept {
            return;
        }
        self.given_up.with_label_values(&[kind.as_str()]).inc();
        let mut logged = self.logged.lock();
        if logged.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            *logged = Some(Instant::now());
            warn!("tenant {scope}: a {kind} callback was given up: too many wait to be delivered");
        }
    }
}
