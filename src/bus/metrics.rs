//! What is counted of the bus.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// See the module.
#[derive(Clone)]
pub struct Metrics {
    pub(super) up: IntGauge,
    pub(super) instances: IntGauge,
    pub(super) lag: IntGauge,
    pub(super) joins: IntCounter,
    commands: IntCounterVec,
    failures: IntCounterVec,
    events: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let joins = IntCounter::new(
            "portico_bus_joins_total",
            "How often this instance came in touch with the others, the first time included.",
        )?;
        registry.register(Box::new(joins.clone()))?;
        Ok(Self {
            up: gauge("portico_bus_up", "Whether this instance is in touch with the others.")?,
            instances: gauge(
                "portico_bus_instances",
                "Instances that are alive, as this one sees it.",
            )?,
            lag: gauge("portico_bus_lag_events", "Events of the bus that were not read yet.")?,
            joins,
            commands: counters(
                "portico_bus_commands_total",
                "Commands sent to Redis, by what they are for.",
                "command",
            )?,
            failures: counters(
                "portico_bus_failures_total",
                "Commands to Redis that were refused, or not answered in time, by what they are for.",
                "command",
            )?,
            events: counters(
                "portico_bus_events_total",
                "Events of the bus, told (out) and read (in, our own included).",
                "direction",
            )?,
        })
    }

    pub(super) fn command(&self, command: &str) {
        self.commands.with_label_values(&[command]).inc();
    }

    pub(super) fn failure(&self, command: &str) {
        self.failures.with_label_values(&[command]).inc();
    }

    pub(super) fn events(&self, direction: &str, count: usize) {
        self.events.with_label_values(&[direction]).inc_by(count as u64);
    }
}
