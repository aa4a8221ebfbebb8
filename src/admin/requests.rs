//! What operators and their programs ask of the API, as metrics.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};
use tokio::time::Instant;

use super::api::refusals::Refusals;
use super::metrics::Family;

/// From an answer out of memory to nodes that are asked.
const BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 15.0, 60.0];

/// Counts requests; clones count into the same ones.
#[derive(Clone)]
pub(super) struct Requests {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Requests {
    pub(super) fn new() -> Self {
        let valid = "names and labels are valid";
        let help = "Requests to the operators' API, by its dialect, method and status.";
        let requests = Opts::new("portico_api_requests_total", help);
        let help = "Seconds that an answer of the operators' API took, by its dialect.";
        let seconds = HistogramOpts::new("portico_api_request_seconds", help);
        let seconds = HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["api"]);
        let requests = IntCounterVec::new(requests, &["api", "method", "status"]);
        Self { requests: requests.expect(valid), seconds: seconds.expect(valid) }
    }

    pub(super) fn collect(&self, refused: &Refusals) -> Vec<MetricFamily> {
        let mut tokens = Family::counter(
            "portico_api_tokens_refused_total",
            "Requests to the operators' API without a token, with one that was not believed, or from an address \
             with too many of these.",
            &["reason"],
        );
        for (reason, count) in refused.all() {
            tokens.count(&[reason], count);
        }
        let mut all = self.requests.collect();
        all.extend(self.seconds.collect());
        all.retain(|family| !family.get_metric().is_empty());
        all.extend(tokens.done());
        all
    }
}

/// Counts a request when its answer is there.
pub(super) async fn count(
    State(counters): State<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let api = dialect(request.uri().path());
    let method = match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        // Clients may make up any word.
        _ => "other",
    };
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    counters.requests.with_label_values(&[api, method, status.as_str()]).inc();
    counters.seconds.with_label_values(&[api]).observe(begun.elapsed().as_secs_f64());
    response
}

fn dialect(path: &str) -> &'static str {
    if path.starts_with(super::ROOT) {
        "portico"
    } else if path.starts_with("/api/v1") {
        "b3scale"
    } else {
        "other"
    }
}
