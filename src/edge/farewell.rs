//! Sending clients elsewhere before we leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Once said, each answer is the last on its connection, and says so. A connection that is cut while a
/// client sends its next request would fail that request.
#[derive(Debug, Clone, Default)]
pub struct Farewell(Arc<AtomicBool>);

impl Farewell {
    /// From now on.
    pub fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was said.
    pub(super) fn is_said(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
