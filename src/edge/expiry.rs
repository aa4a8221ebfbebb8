//! Until when the certificates of listeners are good, as a metric: read from those in use at each scrape, so that
//! a certificate that was renewed but not reloaded is noticed.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};

use super::Certificate;

struct Expiry {
    certificates: Vec<(String, Arc<Certificate>)>,
    gauge: IntGaugeVec,
}

/// Shows the certificates of these listeners.
///
/// # Errors
/// When the name of the metric is taken.
pub fn watch_expiry(
    certificates: impl IntoIterator<Item = (String, Option<Arc<Certificate>>)>,
    registry: &Registry,
) -> prometheus::Result<()> {
    let with_tls = certificates.into_iter().filter_map(|(listener, tls)| Some((listener, tls?)));
    let help = "When the certificate of a listener expires, in seconds since 1970.";
    let gauge = Opts::new("portico_certificate_expiry_timestamp_seconds", help);
    let gauge = IntGaugeVec::new(gauge, &["listener"])?;
    registry.register(Box::new(Expiry { certificates: with_tls.collect(), gauge }))
}

impl Collector for Expiry {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (listener, certificate) in &self.certificates {
            if let Some(at_s) = certificate.expires_at_s() {
                self.gauge.with_label_values(&[listener]).set(at_s);
            }
        }
        self.gauge.collect()
    }
}
