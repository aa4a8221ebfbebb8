//! The room in the pool as metrics, and what is foreseen: what scripts scale by.

use prometheus::proto::MetricFamily;

use super::api::capacity::capacity;
use super::metrics::Family;
use crate::fleet::Fleet;

/// What is foreseen, by how far ahead that is.
const HORIZONS: [&str; 2] = ["15m", "60m"];

/// The same as `/capacity` of the API tells.
#[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 nodes")]
pub(super) fn of_fleet(fleet: &Fleet) -> Vec<MetricFamily> {
    let (capacity, foreseen) = capacity(fleet);
    let gauge = |name: &str, help: &str, value: f64| {
        let mut family = Family::gauge(name, help, &[]);
        family.add(&[], value);
        family.done()
    };
    let mut all = vec![
        gauge(
            "portico_capacity_nodes",
            "Nodes that take meetings: ready, up and used by a tenant that is enabled.",
            capacity.nodes as f64,
        ),
        gauge(
            "portico_capacity_attendees",
            "Attendees for whom the nodes that take meetings are meant.",
            capacity.room,
        ),
        gauge(
            "portico_capacity_free_attendees",
            "How many more attendees there is room for; below 0: there are too many already.",
            capacity.free(),
        ),
        gauge(
            "portico_capacity_empty_nodes",
            "Nodes on which nothing runs, also such that take no meetings.",
            capacity.empty.len() as f64,
        ),
        gauge(
            "portico_capacity_drainable_nodes",
            "Nodes of which each alone could be drained, with those who are there now.",
            capacity.drainable.len() as f64,
        ),
    ];
    all.push(gauge(
        "portico_history_rows",
        "Rows that tell how large earlier meetings have become: of rooms, tenants and all.",
        fleet.history.len() as f64,
    ));
    all.push(gauge(
        "portico_history_skipped_rows",
        "Rows of the history in the store that cannot be right, when it was last read.",
        fleet.history.skipped() as f64,
    ));
    all.push(gauge(
        "portico_chronicle_waiting_meetings",
        "Lines on meetings that are to be written down and that the store does not have yet.",
        fleet.chronicle.waiting() as f64,
    ));
    let mut dropped = Family::counter(
        "portico_chronicle_dropped_meetings_total",
        "Meetings of which something was not written down, as the store was away for too long.",
        &[],
    );
    dropped.count(&[], fleet.chronicle.dropped());
    all.push(dropped.done());
    all.extend(capacity.removable.map(|removable| {
        gauge(
            "portico_capacity_removable_nodes",
            "Nodes that could all be drained, with those who are foreseen in 60 minutes.",
            removable.len() as f64,
        )
    }));
    let mut attendees = Family::gauge(
        "portico_predicted_attendees",
        "Attendees who are foreseen, by how far ahead that is; nothing where nothing is known to go by.",
        &["horizon"],
    );
    let mut margin = Family::gauge(
        "portico_predicted_margin_attendees",
        "How many more or fewer than foreseen there may well be.",
        &["horizon"],
    );
    let mut weeks = Family::gauge(
        "portico_predicted_weeks",
        "Past weeks from which it is foreseen: 0 is the last hour alone, three or more are much to go by.",
        &["horizon"],
    );
    for (horizon, forecast) in HORIZONS.into_iter().zip(foreseen) {
        if let Some(forecast) = forecast {
            attendees.add(&[horizon], forecast.attendees);
            margin.add(&[horizon], forecast.margin);
            weeks.add(&[horizon], forecast.weeks as f64);
        }
    }
    all.extend([attendees, margin, weeks].map(Family::done));
    all.into_iter().flatten().collect()
}
