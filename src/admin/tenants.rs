//! The tenants as metrics, read at the moment of the scrape. Every label is an operator's own word, or one
//! of a fixed few.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::fleet::{Fleet, Limit};

/// What every tenant has running, and what its limits have refused.
pub(super) fn of_tenants(fleet: &Fleet) -> Vec<MetricFamily> {
    let gauge = |name: &str, help: &str| {
        IntGaugeVec::new(Opts::new(name, help), &["tenant"]).expect("names and labels are valid")
    };
    let counter = |name: &str, help: &str, labels: &[&str]| {
        IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are valid")
    };
    let meetings = gauge("portico_tenant_meetings", "Main meetings that run or are being created.");
    let attendees = gauge("portico_tenant_attendees", "Attendees in them, by the last polls.");
    let hits = counter(
        "portico_limit_hits_total",
        "Creates, joins and requests that a limit of the tenant or of one of its secrets refused.",
        &["tenant", "limit"],
    );
    let uses = counter(
        "portico_secret_uses_total",
        "Requests that a value of a secret has signed: 2 is secret2, the other one of a rollover.",
        &["tenant", "sub_id", "value"],
    );
    for entry in fleet.snapshot().tenants() {
        let slug = entry.tenant.slug.as_str();
        let now = entry.tally.whole();
        meetings.with_label_values(&[slug]).set(now.meetings.into());
        attendees.with_label_values(&[slug]).set(now.people.attendees.into());
        for (limit, count) in Limit::ALL.into_iter().zip(entry.tally.hits()) {
            hits.with_label_values(&[slug, limit.as_str()]).inc_by(count);
        }
        for (secret, used) in entry.tenant.secrets.iter().zip(&entry.uses) {
            let sub_id = secret.sub_id.to_string();
            let [first, second] = used.of_values();
            uses.with_label_values(&[slug, &sub_id, "1"]).inc_by(first);
            if secret.secret2.is_some() {
                uses.with_label_values(&[slug, &sub_id, "2"]).inc_by(second);
            }
        }
    }
    [meetings.collect(), attendees.collect(), hits.collect(), uses.collect()]
        .into_iter()
        .flatten()
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}
