//! What was counted while a trace was played.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Kinds of errors that are told apart; some come from whoever answers.
const MAX_KINDS: usize = 50;

/// Durations of one kind; no more than the trace has rows.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<u32>);

impl Samples {
    pub(super) fn add(&mut self, took: Duration) {
        // In µs; more than an hour is as bad as an hour.
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// In milliseconds; of none there is nothing but their number.
    fn tell(&self) -> Value {
        if self.0.is_empty() {
            return json!({"count": 0});
        }
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(place).map(|micros| f64::from(*micros) / 1000.0)
        };
        json!({"count": sorted.len(), "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100)})
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) creates: Samples,
    pub(super) joins: Samples,
    /// Of nodes, not of Portico.
    pub(super) arrivals: Samples,
    pub(super) ends: Samples,
    /// How late calls were made.
    pub(super) behind: Samples,
    pub(super) latest: Duration,
    pub(super) errors: u64,
    by_kind: BTreeMap<String, u64>,
    /// Attempts to create a meeting again after its node has failed.
    pub(super) retries: u64,
    /// Meetings that do not count, or not to their end, as they could not be created.
    pub(super) meetings_left_out: u64,
    /// People who did not get into a meeting.
    pub(super) people_left_out: u64,
}

impl Tally {
    /// A call was made so late.
    pub(super) fn late(&mut self, behind: Duration) {
        self.latest = behind;
        self.behind.add(behind);
    }

    /// A call has failed.
    pub(super) fn failed(&mut self, call: &str, why: &str) {
        self.errors += 1;
        let mut kind = format!("{call}: {why}");
        if self.by_kind.len() >= MAX_KINDS && !self.by_kind.contains_key(&kind) {
            "other".clone_into(&mut kind);
        }
        *self.by_kind.entry(kind).or_default() += 1;
    }

    /// Adds all of it to what is told.
    pub(super) fn tell(&self, value: &mut Value) {
        let errors: Map<_, _> =
            self.by_kind.iter().map(|(kind, count)| (kind.clone(), json!(count))).collect();
        value["latency"] = json!({
            "create": self.creates.tell(),
            "join": self.joins.tell(),
            "node_join": self.arrivals.tell(),
            "end": self.ends.tell(),
        });
        value["behind"] = self.behind.tell();
        value["errors"] = errors.into();
        value["left_out"] =
            json!({"meetings": self.meetings_left_out, "people": self.people_left_out});
        value["create_retries"] = self.retries.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let mut samples = Samples::default();
        (1..=200).for_each(|ms| samples.add(Duration::from_millis(ms)));
        let told = samples.tell();
        assert_eq!(told, json!({"count": 200, "p50_ms": 100.0, "p99_ms": 198.0, "max_ms": 200.0}));
        assert_eq!(Samples::default().tell(), json!({"count": 0}));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut tally = Tally::default();
        (0..1000).for_each(|kind| tally.failed("create", &kind.to_string()));
        let mut told = json!({});
        tally.tell(&mut told);
        let errors = told["errors"].as_object().unwrap();
        assert!(errors.len() <= MAX_KINDS + 1 && errors["other"] == 950, "{errors:?}");
    }
}
