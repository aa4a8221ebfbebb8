//! The fleet as metrics, read at the moment of the scrape: a node that is gone leaves no series behind.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use crate::fleet::Fleet;
use crate::model::{AdminState, Health};

/// What every node is and carries, and how many meetings there are.
pub(super) fn of_fleet(fleet: &Fleet) -> Vec<MetricFamily> {
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid")
    };
    let health = gauge(
        "portico_node_health",
        "1 for the health that polling gives a node, else 0.",
        &["node", "cluster", "health"],
    );
    let state = gauge(
        "portico_node_state",
        "1 for the state that operators gave a node, else 0.",
        &["node", "cluster", "state"],
    );
    let per_node = |name, help| gauge(name, help, &["node", "cluster"]);
    let load = per_node(
        "portico_node_load",
        "Load by the cluster's policy; the lowest gets the next meeting.",
    );
    let attendees = per_node("portico_node_attendees", "Attendees in main meetings.");
    let meetings = per_node("portico_node_meetings", "Main meetings, new ones included.");
    let reserved =
        per_node("portico_node_reserved_meetings", "Placements that no poll has seen yet.");
    let cpu =
        per_node("portico_node_cpu_ratio", "CPU utilisation by the node's load script, 0 to 1.");
    let weight = per_node("portico_node_weight", "Capacity relative to the other nodes.");
    for node in fleet.snapshot().nodes() {
        let labels = &[node.name().as_str(), node.spec.cluster.as_str()];
        let [name, cluster] = *labels;
        for one in Health::ALL {
            let is_it = f64::from(u8::from(node.live.health() == one));
            health.with_label_values(&[name, cluster, one.as_str()]).set(is_it);
        }
        for one in AdminState::ALL {
            let is_it = f64::from(u8::from(node.live.admin() == one));
            state.with_label_values(&[name, cluster, one.as_str()]).set(is_it);
        }
        load.with_label_values(labels).set(node.load());
        attendees.with_label_values(labels).set(node.live.attendees().into());
        meetings.with_label_values(labels).set(node.live.meetings().into());
        reserved.with_label_values(labels).set(node.live.reserved().into());
        cpu.with_label_values(labels).set(f64::from(node.live.cpu()) / 10_000.0);
        weight.with_label_values(labels).set(node.spec.weight);
    }
    let known = gauge("portico_meetings", "Meetings in the directory, breakout rooms too.", &[]);
    let count = u32::try_from(fleet.directory.len()).unwrap_or(u32::MAX);
    known.with_label_values::<&str>(&[]).set(count.into());
    let build = gauge("portico_build_info", "Always 1; the labels tell the version.", &["version"]);
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    [health, state, load, attendees, meetings, reserved, cpu, weight, known, build]
        .iter()
        .flat_map(Collector::collect)
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}
