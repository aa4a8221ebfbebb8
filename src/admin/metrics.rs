//! The fleet as metrics, read at the moment of the scrape: a node that is gone leaves no series behind.

mod family;

use prometheus::proto::MetricFamily;

pub(super) use self::family::Family;
use crate::fleet::{Fleet, Node, Snapshot};
use crate::model::{AdminState, Health};

/// What stands with every node.
const OF_NODE: &[&str] = &["cluster", "node"];

/// What every node is and carries, and how many meetings there are.
pub(super) fn of_fleet(fleet: &Fleet) -> Vec<MetricFamily> {
    let snapshot = fleet.snapshot();
    let mut known =
        Family::gauge("portico_meetings", "Meetings in the directory, breakout rooms too.", &[]);
    known.count(&[], fleet.directory.len() as u64);
    let mut build =
        Family::gauge("portico_build_info", "Always 1; the label tells the version.", &["version"]);
    build.count(&[env!("CARGO_PKG_VERSION")], 1);
    let mut all = words(&snapshot);
    all.extend(GAUGES.iter().filter_map(|gauge| gauge.read(&snapshot)));
    all.extend(polls(&snapshot));
    all.extend([known, build].into_iter().filter_map(Family::done));
    all
}

/// A number that every node has.
struct Gauge {
    name: &'static str,
    help: &'static str,
    read: fn(&Node) -> f64,
}

impl Gauge {
    fn read(&self, snapshot: &Snapshot) -> Option<MetricFamily> {
        let mut family = Family::gauge(self.name, self.help, OF_NODE);
        for node in snapshot.nodes() {
            family.add(&labels(node), (self.read)(node));
        }
        family.done()
    }
}

const GAUGES: &[Gauge] = &[
    Gauge {
        name: "portico_node_health_since_timestamp_seconds",
        help: "Since when a node has the health that it has, in seconds since 1970; 0: it was never polled.",
        read: |node| seconds(node.live.health_since().0),
    },
    Gauge {
        name: "portico_node_load",
        help: "Load by the cluster's policy, without a unit; the lowest gets the next meeting.",
        read: |node| node.load(),
    },
    Gauge {
        name: "portico_node_attendees",
        help: "Attendees in main meetings, those included that have joined since the last poll.",
        read: |node| node.live.attendees().into(),
    },
    Gauge {
        name: "portico_node_meetings",
        help: "Main meetings, new ones included.",
        read: |node| node.live.meetings().into(),
    },
    Gauge {
        name: "portico_node_reserved_meetings",
        help: "Placements that no poll has seen yet.",
        read: |node| node.live.reserved().into(),
    },
    Gauge {
        name: "portico_node_expected_attendees",
        help: "Attendees for whom its meetings hold room: those who are there, and those who are still expected.",
        read: |node| node.live.occupied(),
    },
    Gauge {
        name: "portico_node_cpu_ratio",
        help: "CPU utilisation by the node's load script, 0 to 1.",
        read: |node| f64::from(node.live.cpu()) / 10_000.0,
    },
    Gauge {
        name: "portico_node_weight",
        help: "Capacity relative to the other nodes.",
        read: |node| node.spec.weight,
    },
    Gauge {
        name: "portico_node_capacity_attendees",
        help: "Attendees for whom the node is meant: its configured capacity times its weight.",
        read: |node| node.room(),
    },
    Gauge {
        name: "portico_node_free_attendees",
        help: "Attendees for whom there is room on the node: its capacity less its attendees; 0 where it is full \
               or takes no new meetings.",
        read: |node| {
            let free = node.room() - f64::from(node.live.attendees());
            if node.is_eligible() { free.max(0.0) } else { 0.0 }
        },
    },
];

/// What is told in words: a series for each of them.
fn words(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut health = Family::gauge(
        "portico_node_health",
        "1 for the health that polling gives a node, else 0.",
        &["cluster", "health", "node"],
    );
    let mut state = Family::gauge(
        "portico_node_state",
        "1 for the state that operators gave a node, else 0.",
        &["cluster", "node", "state"],
    );
    for node in snapshot.nodes() {
        let [cluster, name] = labels(node);
        let (known, wanted) = (node.live.health(), node.live.admin());
        for one in Health::ALL {
            health.count(&[cluster, one.as_str(), name], u64::from(known == one));
        }
        for one in AdminState::ALL {
            state.count(&[cluster, name, one.as_str()], u64::from(wanted == one));
        }
    }
    [health, state].into_iter().filter_map(Family::done).collect()
}

/// How this instance's polls went; a node that another one polls has its series there.
fn polls(snapshot: &Snapshot) -> impl Iterator<Item = MetricFamily> + use<> {
    let mut polls = Family::counter(
        "portico_node_polls_total",
        "Polls of a node by this instance, by outcome.",
        &["cluster", "node", "outcome"],
    );
    let mut took = Family::counter(
        "portico_node_poll_seconds_total",
        "Seconds that the polls of a node by this instance took together.",
        OF_NODE,
    );
    let mut last_took = Family::gauge(
        "portico_node_last_poll_duration_seconds",
        "Seconds that this instance's last poll of a node took.",
        OF_NODE,
    );
    let mut last_good = Family::gauge(
        "portico_node_last_poll_timestamp_seconds",
        "When this instance's last good poll of a node ended, in seconds since 1970; 0: there was none.",
        OF_NODE,
    );
    for node in snapshot.nodes() {
        let Some(figures) = node.live.polls.figures() else { continue };
        let of_node = labels(node);
        let [cluster, name] = of_node;
        polls.count(&[cluster, name, "ok"], figures.good);
        polls.count(&[cluster, name, "failed"], figures.failed);
        took.add(&of_node, figures.took.as_secs_f64());
        last_took.add(&of_node, figures.last_took.as_secs_f64());
        last_good.add(&of_node, seconds(figures.last_good_ms));
    }
    [polls, took, last_took, last_good].into_iter().filter_map(Family::done)
}

fn labels(node: &Node) -> [&str; 2] {
    [node.spec.cluster.as_str(), node.name().as_str()]
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are exact for 285,000 years")]
fn seconds(at_ms: u64) -> f64 {
    at_ms as f64 / 1000.0
}
