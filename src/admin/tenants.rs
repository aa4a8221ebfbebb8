//! The tenants as metrics, read at the moment of the scrape. Every label is an operator's own word, or one
//! of a fixed few.
//!
//! Who has thousands of tenants has no use for a series of each: those beyond a bound, by their slugs, share one.

use std::collections::{BTreeMap, HashSet};

use prometheus::proto::MetricFamily;

use super::metrics::Family;
use crate::fleet::{Fleet, Limit, Snapshot, TenantEntry};

/// What those beyond the bound are called. No slug has an underscore.
const OTHERS: &str = "_other";
/// Secrets with series of their own, over all tenants; those beyond share one for each tenant.
const MAX_SECRETS: usize = 2_000;

/// What tenants have together that share a series.
#[derive(Default)]
struct Sum {
    meetings: u64,
    attendees: u64,
    hits: [u64; Limit::ALL.len()],
    uses: BTreeMap<String, [Option<u64>; 2]>,
}

impl Sum {
    fn add(&mut self, entry: &TenantEntry, is_other: bool, secrets_left: &mut usize) {
        let now = entry.tally.whole();
        self.meetings += u64::from(now.meetings);
        self.attendees += u64::from(now.people.attendees);
        for (sum, hits) in self.hits.iter_mut().zip(entry.tally.hits()) {
            *sum += hits;
        }
        for (secret, used) in entry.tenant.secrets.iter().zip(&entry.uses) {
            let sub_id = if is_other || *secrets_left == 0 {
                OTHERS.to_owned()
            } else {
                *secrets_left -= 1;
                secret.sub_id.to_string()
            };
            let [first, second] = used.of_values();
            let [first_sum, second_sum] = self.uses.entry(sub_id).or_default();
            *first_sum.get_or_insert(0) += first;
            if secret.secret2.is_some() {
                *second_sum.get_or_insert(0) += second;
            }
        }
    }
}

/// What every tenant has running, and what its limits have refused; `bound` of them for themselves.
pub(super) fn of_tenants(fleet: &Fleet, bound: usize) -> Vec<MetricFamily> {
    let mut meetings = Family::gauge(
        "portico_tenant_meetings",
        "Main meetings that run or are being created.",
        &["tenant"],
    );
    let mut attendees = Family::gauge(
        "portico_tenant_attendees",
        "Attendees in a tenant's meetings, by the last polls.",
        &["tenant"],
    );
    let mut hits = Family::counter(
        "portico_limit_hits_total",
        "Creates, joins and requests that a limit of the tenant or of one of its secrets refused.",
        &["limit", "tenant"],
    );
    let mut uses = Family::counter(
        "portico_secret_uses_total",
        "Requests that a value of a secret has signed: 2 is secret2, the other one of a rollover.",
        &["sub_id", "tenant", "value"],
    );
    for (tenant, sum) in sums(fleet, bound) {
        let tenant = tenant.as_str();
        meetings.count(&[tenant], sum.meetings);
        attendees.count(&[tenant], sum.attendees);
        for (limit, count) in Limit::ALL.into_iter().zip(sum.hits) {
            hits.count(&[limit.as_str(), tenant], count);
        }
        for (sub_id, values) in sum.uses {
            for (value, count) in ["1", "2"].into_iter().zip(values) {
                if let Some(count) = count {
                    uses.count(&[&sub_id, tenant, value], count);
                }
            }
        }
    }
    [meetings, attendees, hits, uses].into_iter().filter_map(Family::done).collect()
}

/// Which tenants have series of their own.
pub(super) struct Shown<'s>(HashSet<&'s str>);

impl<'s> Shown<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, bound: usize) -> Self {
        let own = in_order(snapshot).into_iter().take(bound);
        Self(own.map(|entry| entry.tenant.slug.as_str()).collect())
    }

    /// What a tenant is called in metrics.
    pub(super) fn name(&self, slug: &str) -> &'s str {
        self.0.get(slug).copied().unwrap_or(OTHERS)
    }
}

/// A tenant stays where it is as long as none before it comes or goes.
fn in_order(snapshot: &Snapshot) -> Vec<&TenantEntry> {
    let mut entries: Vec<_> = snapshot.tenants().map(|entry| &**entry).collect();
    entries.sort_by_key(|entry| entry.tenant.slug.as_str());
    entries
}

fn sums(fleet: &Fleet, bound: usize) -> Vec<(String, Sum)> {
    let snapshot = fleet.snapshot();
    let entries = in_order(&snapshot);
    let mut secrets_left = MAX_SECRETS;
    let (own, others) = entries.split_at(bound.min(entries.len()));
    let mut all = Vec::with_capacity(own.len() + 1);
    for entry in own {
        let mut sum = Sum::default();
        sum.add(entry, false, &mut secrets_left);
        all.push((entry.tenant.slug.to_string(), sum));
    }
    if !others.is_empty() {
        let mut sum = Sum::default();
        for entry in others {
            sum.add(entry, true, &mut secrets_left);
        }
        all.push((OTHERS.to_owned(), sum));
    }
    all
}
