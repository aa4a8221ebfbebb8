//! b3scale's metrics under their own names, for dashboards that know them; behind `metrics.b3scale_names`.
//!
//! The values are what we know to be true: attendees are counted once and with their cameras, and what has
//! nothing shows 0 instead of vanishing. Its `http_*` metrics are not here: their labels are raw paths and
//! hosts, which anybody on the internet can make up.

use std::collections::HashMap;

use prometheus::proto::MetricFamily;
use url::Url;

use super::metrics::Family;
use super::tenants::Shown;
use crate::fleet::{Fleet, Phase, now_ms};

/// Each is three series.
const MAX_MEETINGS: usize = 10_000;

/// All of them. `bound` tenants have series of their own.
pub(super) fn of_fleet(fleet: &Fleet, bound: usize) -> Vec<MetricFamily> {
    let mut people = Family::gauge(
        "b3scale_meeting_attendees",
        "Attendees of a meeting without (audio) and with a camera (video).",
        &["backend", "frontend", "meeting", "type"],
    );
    let mut durations = Family::counter(
        "b3scale_meeting_durations",
        "Seconds since a meeting that runs was created.",
        &["backend", "frontend", "meeting"],
    );
    let mut of_frontend =
        Family::gauge("b3scale_frontend_meetings", "Meetings of a frontend.", &["frontend"]);
    let mut attendees = Family::gauge(
        "b3scale_frontend_attendees",
        "Attendees in the meetings of a frontend.",
        &["frontend"],
    );
    let mut of_backend =
        Family::gauge("b3scale_backend_meetings", "Meetings on a backend.", &["backend"]);

    let snapshot = fleet.snapshot();
    let shown = Shown::new(&snapshot, bound);
    let (now, mut left) = (now_ms(), MAX_MEETINGS);
    for node in snapshot.nodes() {
        let host = host_of(&node.spec.url);
        of_backend.count(&[&host], node.live.meetings().into());
        for entry in fleet.directory.on_node(node.name()) {
            if entry.phase() != Phase::Running || left == 0 {
                continue;
            }
            left -= 1;
            let frontend = shown.name(entry.key().scope.tenant.as_str());
            let (meeting, in_it) = (entry.internal_id(), entry.people());
            let without = entry.attendees().saturating_sub(in_it.videos);
            people.count(&[&host, frontend, meeting, "audio"], without.into());
            people.count(&[&host, frontend, meeting, "video"], in_it.videos.into());
            let lasts_s = now.saturating_sub(entry.created_at_ms()) / 1000;
            durations.count(&[&host, frontend, meeting], lasts_s);
        }
    }
    let mut sums: HashMap<&str, (u64, u64)> = HashMap::new();
    for entry in snapshot.tenants() {
        let now = entry.tally.whole();
        let sum = sums.entry(shown.name(entry.tenant.slug.as_str())).or_default();
        sum.0 += u64::from(now.meetings);
        sum.1 += u64::from(now.people.attendees);
    }
    for (frontend, (meetings, people)) in sums {
        of_frontend.count(&[frontend], meetings);
        attendees.count(&[frontend], people);
    }
    let all = [people, durations, of_frontend, attendees, of_backend];
    all.into_iter().filter_map(Family::done).collect()
}

/// Host, and port where one is written.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
