//! What operators see while the store is waited for: we live, and are not ready.

use axum::Router;
use axum::http::header::CONNECTION;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

/// The routes `/healthz` and `/readyz`, for as long as there is nothing else. `why` is what is waited for.
pub fn waiting(why: watch::Receiver<String>) -> Router {
    // Each connection ends with its answer: the next one is to reach what comes after us.
    let ends = || [(CONNECTION, "close")];
    let not_ready = async move || {
        let why = why.borrow().clone();
        (ends(), super::not_ready(&why)).into_response()
    };
    Router::new()
        .route("/healthz", get(async move || (ends(), "ok\n")))
        .route("/readyz", get(not_ready))
}
