//! Whether the store takes what it is given, for operators.

use prometheus::{IntGauge, Registry};

/// See the module. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Health(IntGauge);

impl Health {
    /// Makes it known to `registry`.
    ///
    /// # Errors
    /// When its name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let health = Self::default();
        registry.register(Box::new(health.0.clone()))?;
        Ok(health)
    }

    pub(super) fn set(&self, is_up: bool) {
        self.0.set(is_up.into());
    }
}

impl Default for Health {
    /// Known to nobody.
    fn default() -> Self {
        let help = "Whether the store takes what it is given: without it no new meeting begins, or none is saved.";
        Self(IntGauge::new("portico_store_up", help).expect("the name is one of a metric"))
    }
}
