//! Portico's own REST API, under `/api/portico/v1`.
//!
//! `caller.rs` says who calls, `objects.rs` what all objects of the inventory have in common, `documents.rs`
//! what is taken of them and `views.rs` what is told; each kind has its routes in a file of its own. The description of the API is made from these
//! routes, so it cannot say anything else than they do.

mod branding;
mod callbacks;
pub(super) mod caller;
pub(super) mod capacity;
mod clusters;
pub(super) mod documents;
pub(super) mod edits;
mod events;
mod explanation;
mod filters;
pub(super) mod gather;
mod generated;
mod gone;
mod history;
mod json;
mod listing;
mod meetings;
mod misread;
pub(super) mod nodes;
pub(super) mod objects;
mod own;
mod page;
mod placing;
mod policy;
mod probe;
pub(super) mod problem;
mod record;
pub(super) mod refusals;
mod removal;
mod request;
mod retired;
mod rules;
mod secrets;
mod statistics;
pub(super) mod tags;
mod tenants;
mod tokens;
mod tools;
mod trail;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use log::error;
use serde_json::Value;
use tokio_util::task::TaskTracker;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use self::caller::Gate;
pub use self::caller::{MAX_CLAIM_BYTES, Scope};
pub use self::generated::{NoRandomness, generate_secret};
pub use self::history::{MAX_ROWS as MAX_HISTORY_ROWS, check_known, check_past};
pub use self::own::leads_to;
use self::problem::Problem;
use self::request::Query;
pub use self::tools::Tools;
use super::b3scale::Memory;
use crate::config;
use crate::fleet::Fleet;
use crate::inventory::Keeper;
use crate::model::{Kind, Secret};
use crate::store::Store;

/// Where the API is.
pub const ROOT: &str = "/api/portico/v1";
/// Far more than names and filters take.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// What the API works on.
#[derive(Clone)]
pub struct Desk {
    pub(super) fleet: Arc<Fleet>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) store: Arc<dyn Store>,
    pub(super) gate: Arc<Gate>,
    /// What b3scale's dialect remembers.
    pub(super) memory: Arc<Memory>,
    tools: Tools,
}

impl Desk {
    /// An API whose tokens are signed with one of `keys`; without any, everybody who needs a token is refused.
    pub fn new(
        fleet: Arc<Fleet>,
        keeper: Arc<Keeper>,
        store: Arc<dyn Store>,
        keys: Vec<Secret>,
        tools: Tools,
    ) -> Self {
        let gate = Arc::new(Gate::new(keys, store.clone()));
        Self { fleet, keeper, store, gate, memory: Arc::default(), tools }
    }

    /// All routes of the API.
    pub fn router(self) -> Router {
        let under_way = self.fleet.under_way.clone();
        let (router, description) = routes().with_state(self).split_for_parts();
        let description = serde_json::to_value(&description).unwrap_or_default();
        let (json, html) = (Bytes::from(description.to_string()), page::page(&description));
        let json = ([(header::CONTENT_TYPE, "application/json")], json);
        let html = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html.into_string());
        router
            .route(&format!("{ROOT}/openapi.json"), get(async move || json.clone()))
            .route(&format!("{ROOT}/docs"), get(async move || html.clone()))
            .layer(from_fn(tell_refusals))
            .layer(from_fn_with_state(under_way, to_the_end))
    }
}

fn routes() -> OpenApiRouter<Desk> {
    let api = clusters::routes()
        .merge(nodes::routes())
        .merge(meetings::routes())
        .merge(callbacks::routes())
        .merge(events::routes())
        .merge(explanation::routes())
        .merge(placing::routes())
        .merge(history::routes())
        .merge(probe::routes())
        .merge(capacity::routes())
        .merge(statistics::routes())
        .merge(tenants::routes())
        .merge(secrets::routes())
        .merge(rules::routes())
        .merge(branding::routes())
        .merge(tokens::routes())
        .merge(trail::routes());
    OpenApiRouter::with_openapi(describe()).nest(ROOT, api).fallback(unknown)
}

fn describe() -> OpenApi {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let mut description = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Portico")
                .version("1")
                .description(Some(
                    "Clusters, nodes and tenants of one door in front of a pool of BigBlueButton servers. What \
                     stands in the configuration file is read-only here.",
                ))
                .build(),
        )
        .build();
    let components = description.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    description
}

/// A call goes on when its client has gone, or we are stopped: a change must not stop halfway, and stand in no trail.
pub(super) async fn to_the_end(
    State(under_way): State<TaskTracker>,
    request: Request,
    next: Next,
) -> Response {
    under_way.spawn(next.run(request)).await.unwrap_or_else(|stopped| {
        error!("an API call ended by itself: {stopped}");
        let detail = "this is a mistake of ours; the log says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
    })
}

async fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such path in this API")
}

/// Whatever the router refuses by itself is told as everything else.
async fn tell_refusals(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET_BYTES {
        let detail = format!("path and query have more than {MAX_TARGET_BYTES} bytes");
        return Problem::new(StatusCode::URI_TOO_LONG, detail).into_response();
    }
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !(status.is_client_error() || status.is_server_error())
        || kind.is_some_and(|kind| kind == problem::CONTENT_TYPE)
    {
        return response;
    }
    Problem::new(status, status.canonical_reason().unwrap_or_default()).into_response()
}

/// Tells which calls a path has instead. Of a single route nobody knows them: the router adds them in the end, so this
/// stands around all of it.
pub(super) async fn tell_methods(request: Request, next: Next) -> Response {
    let is_ours = request.uri().path().starts_with(ROOT);
    let response = next.run(request).await;
    if !is_ours || response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let Some(allowed) = response.headers().get(header::ALLOW).cloned() else { return response };
    let calls = allowed.to_str().unwrap_or_default().replace(',', ", ");
    let detail = format!("there is no such call of this path: it has {calls}");
    let mut told = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response();
    told.headers_mut().insert(header::ALLOW, allowed);
    told
}

/// An object as the API would tell it: checked, with all defaults, without secrets.
///
/// # Errors
/// Every mistake, with its path in the document.
pub fn told(kind: Kind, document: &Value) -> Result<Value, Vec<config::Problem>> {
    config::read_object(kind, document)
        .map(|object| documents::write(&object, documents::Secrets::Hidden))
}

/// A moment in RFC 3339.
pub(super) fn time(at_ms: u64) -> Value {
    // Year 9999 is the last that can be written so.
    let at = Duration::from_millis(at_ms.min(253_402_300_799_000));
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + at).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_with_who_may() {
        let (_, description) = routes().split_for_parts();
        let json = serde_json::to_value(&description).expect("JSON");
        assert_eq!(json["openapi"].as_str().map(|version| version.starts_with("3.1")), Some(true));
        let paths = json["paths"].as_object().expect("paths");
        assert!(paths.len() >= 8, "{paths:?}");
        for (path, item) in paths {
            assert!(path.starts_with(ROOT), "{path}");
            for (method, operation) in item.as_object().expect("operations") {
                let place = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{place}: a summary");
                assert!(operation["responses"]["401"].is_object(), "{place}: 401");
                assert!(operation["security"].is_array(), "{place}: security");
            }
        }
    }
}
