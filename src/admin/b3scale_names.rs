//! b3scale's metrics under their own names, for dashboards that know them; behind `metrics.b3scale_names`.
//!
//! The values are what we know to be true: attendees are counted once and with their cameras, and what has
//! nothing shows 0 instead of vanishing. Its `http_*` metrics are not here: their labels are raw paths and
//! hosts, which anybody on the internet can make up.

use std::collections::{BTreeMap, HashMap};

use prometheus::proto::MetricFamily;
use url::Url;

use super::metrics::Family;
use super::tenants::Shown;
use crate::fleet::{Fleet, Phase, now_ms};

/// Each is three series.
const MAX_MEETINGS: usize = 10_000;

/// A meeting as its series tell it.
#[derive(Default)]
struct Sums {
    without_camera: u64,
    with_camera: u64,
    lasts_s: u64,
}

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
    // Nodes behind one host have one name here, and a series that is there twice has Prometheus refuse all.
    let mut hosts: BTreeMap<String, u64> = BTreeMap::new();
    let mut meetings: BTreeMap<(String, &str, String), Sums> = BTreeMap::new();
    let (now, mut left) = (now_ms(), MAX_MEETINGS);
    for node in snapshot.nodes() {
        let host = host_of(&node.spec.url);
        for entry in fleet.directory.on_node(node.name()) {
            if entry.phase() != Phase::Running || left == 0 {
                continue;
            }
            left -= 1;
            let frontend = shown.name(entry.key().scope.tenant.as_str());
            let videos = entry.people().videos;
            let key = (host.clone(), frontend, entry.internal_id().to_owned());
            let sums = meetings.entry(key).or_default();
            sums.with_camera += u64::from(videos);
            sums.without_camera += u64::from(entry.attendees().saturating_sub(videos));
            sums.lasts_s = sums.lasts_s.max(now.saturating_sub(entry.created_at_ms()) / 1000);
        }
        *hosts.entry(host).or_default() += u64::from(node.live.meetings());
    }
    for (host, meetings) in &hosts {
        of_backend.count(&[host], *meetings);
    }
    for ((host, frontend, meeting), sums) in &meetings {
        people.count(&[host, frontend, meeting, "audio"], sums.without_camera);
        people.count(&[host, frontend, meeting, "video"], sums.with_camera);
        durations.count(&[host, frontend, meeting], sums.lasts_s);
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
