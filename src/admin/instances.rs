//! How we keep in step with other instances, as metrics. Without others there are none.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use crate::fleet::{EventFigures, Fleet};

/// Events heard and told, and how meetings were placed.
pub(super) fn of_instances(fleet: &Fleet) -> Vec<MetricFamily> {
    if !fleet.instances.is_linked() {
        return Vec::new();
    }
    let counter = |name: &str, help: &str, label: &str| {
        IntCounterVec::new(Opts::new(name, help), &[label]).expect("names and labels are valid")
    };
    let EventFigures {
        applied,
        own,
        ignored,
        told,
        untold,
        placed_in_log,
        placed_alone,
        behind,
        asked,
    } = fleet.instances.figures();
    let events = counter(
        "portico_instance_events_total",
        "Events between instances: those of others that were applied or, not being understood, ignored; our \
         own that came back; told; could not be told; asked for, because our picture of a node differed.",
        "outcome",
    );
    for (outcome, count) in [
        ("applied", applied),
        ("own", own),
        ("ignored", ignored),
        ("told", told),
        ("untold", untold),
        ("asked", asked),
    ] {
        events.with_label_values(&[outcome]).inc_by(count);
    }
    let placements = counter(
        "portico_instance_placements_total",
        "Placements decided in the log that all instances share, decided alone, and chosen anew because \
         another instance was quicker.",
        "how",
    );
    for (how, count) in [("log", placed_in_log), ("alone", placed_alone), ("again", behind)] {
        placements.with_label_values(&[how]).inc_by(count);
    }
    [events.collect(), placements.collect()].concat()
}
