//! A metric with all its series, made for one scrape.
//!
//! The registry's vectors look every series up by a hash of its labels; ours are written down once, in order.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// See the module.
pub(in crate::admin) struct Family {
    made: MetricFamily,
    /// In alphabetical order, as scrapes have them.
    labels: &'static [&'static str],
    series: Vec<Metric>,
}

impl Family {
    pub(in crate::admin) fn gauge(name: &str, help: &str, labels: &'static [&'static str]) -> Self {
        Self::new(name, help, labels, MetricType::GAUGE)
    }

    pub(in crate::admin) fn counter(
        name: &str,
        help: &str,
        labels: &'static [&'static str],
    ) -> Self {
        Self::new(name, help, labels, MetricType::COUNTER)
    }

    fn new(name: &str, help: &str, labels: &'static [&'static str], kind: MetricType) -> Self {
        debug_assert!(labels.is_sorted(), "{name}: {labels:?}");
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self { made: family, labels, series: Vec::new() }
    }

    /// One series, with the values of its labels in their order.
    pub(in crate::admin) fn add(&mut self, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), self.labels.len());
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut series =
            Metric::from_label(self.labels.iter().zip(labels).map(pair).collect::<Vec<_>>());
        if self.made.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            series.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            series.set_gauge(gauge);
        }
        self.series.push(series);
    }

    /// The same for what is counted in whole numbers.
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53; beyond, nobody counts ones")]
    pub(in crate::admin) fn count(&mut self, labels: &[&str], value: u64) {
        self.add(labels, value as f64);
    }

    /// Nothing where there are no series: the text format does not know empty families.
    pub(in crate::admin) fn done(mut self) -> Option<MetricFamily> {
        if self.series.is_empty() {
            return None;
        }
        self.made.set_metric(self.series);
        Some(self.made)
    }
}
