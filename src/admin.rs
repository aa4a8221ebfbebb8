//! The operators' side: metrics, and whether we live and are ready. Never public.

mod api;
mod b3scale;
mod b3scale_names;
mod capacity;
mod instances;
mod metrics;
mod requests;
mod tenants;
mod waiting;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use log::error;
use prometheus::{Registry, TextEncoder};
use tokio::sync::watch;

pub use api::{
    Desk, MAX_CLAIM_BYTES, MAX_HISTORY_ROWS, NoRandomness, ROOT, Scope, Tools, check_known,
    check_past, generate_secret, leads_to, told,
};
pub use waiting::waiting;

use self::api::caller::Gate;
use crate::config::Metrics;
use crate::fleet::Fleet;
use crate::model::Health;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Who calls by the socket of this machine: somebody that may do everything.
#[derive(Debug, Clone, Copy)]
pub struct Local(pub u32);

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    fleet: Arc<Fleet>,
    registry: Registry,
    /// True once the process is about to leave.
    leaving: watch::Receiver<bool>,
    /// Set when every node has been polled for the first time. A node added later does not take it back.
    is_ready: Arc<AtomicBool>,
    requests: requests::Requests,
    gate: Option<Arc<Gate>>,
    settings: Metrics,
}

impl Admin {
    /// Shows this fleet and what is registered.
    pub fn new(
        fleet: Arc<Fleet>,
        registry: Registry,
        leaving: watch::Receiver<bool>,
        settings: Metrics,
    ) -> Self {
        let requests = requests::Requests::new();
        Self { fleet, registry, leaving, is_ready: Arc::default(), requests, gate: None, settings }
    }

    /// The routes: `/metrics`, `/healthz`, `/readyz`; with those of the API in both dialects.
    pub fn router(mut self, desk: Desk) -> Router {
        self.gate = Some(desk.gate.clone());
        let counted = from_fn_with_state(self.requests.clone(), requests::count);
        let api = b3scale::router(desk.clone()).merge(desk.router()).layer(counted);
        let all = self.signs_of_life().merge(api);
        Router::new().fallback_service(all).layer(from_fn(api::tell_methods))
    }

    /// The routes of b3scale's API alone, for another listener. Their requests are counted with those of ours.
    pub fn b3scale(&self, desk: Desk) -> Router {
        let counted = from_fn_with_state(self.requests.clone(), requests::count);
        // Who does not wait for the end is counted all the same.
        let under_way = desk.fleet.under_way.clone();
        b3scale::router(desk).layer(counted).layer(from_fn_with_state(under_way, api::to_the_end))
    }

    fn signs_of_life(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .with_state(self)
    }
}

/// Prometheus' text format.
async fn metrics(State(admin): State<Admin>) -> Response {
    let mut families = admin.registry.gather();
    families.extend(metrics::of_fleet(&admin.fleet));
    families.extend(tenants::of_tenants(&admin.fleet, admin.settings.tenants));
    families.extend(instances::of_instances(&admin.fleet));
    families.extend(capacity::of_fleet(&admin.fleet));
    if let Some(gate) = &admin.gate {
        families.extend(admin.requests.collect(&gate.refused));
    }
    if admin.settings.b3scale_names {
        families.extend(b3scale_names::of_fleet(&admin.fleet, admin.settings.tenants));
    }
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(trouble) => {
            error!("metrics cannot be encoded: {trouble}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 when new meetings can be placed by knowledge: every node has been polled once, or failed to be.
async fn readyz(State(admin): State<Admin>) -> Response {
    if *admin.leaving.borrow() {
        return not_ready("stopping");
    }
    if admin.is_ready.load(Ordering::Relaxed) {
        return "ready\n".into_response();
    }
    let snapshot = admin.fleet.snapshot();
    let unknown = snapshot.nodes().filter(|node| node.live.health() == Health::Unknown).count();
    if unknown > 0 {
        return not_ready(&format!("{unknown} of {} nodes not polled yet", snapshot.nodes().len()));
    }
    admin.is_ready.store(true, Ordering::Relaxed);
    "ready\n".into_response()
}

fn not_ready(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
}
