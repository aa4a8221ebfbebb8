//! Portico's own REST API, under `/api/portico/v1`.
//!
//! `caller.rs` says who calls, `objects.rs` what all objects of the inventory have in common, `documents.rs`
//! their shapes; each kind has its routes in a file of its own. The description of the API is made from these
//! routes, so it cannot say anything else than they do.

pub(super) mod caller;
mod capacity;
mod clusters;
pub(super) mod documents;
pub(super) mod edits;
mod explanation;
pub(super) mod gather;
mod gone;
mod listing;
mod meetings;
pub(super) mod nodes;
pub(super) mod objects;
mod own;
mod page;
mod probe;
pub(super) mod problem;
mod record;
mod removal;
mod tenants;
mod tokens;
mod tools;
mod trail;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use log::error;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

use self::caller::Gate;
pub use self::caller::Scope;
pub use self::own::Own;
use self::problem::Problem;
pub use self::tools::Tools;
use super::b3scale::Memory;
use crate::config;
use crate::fleet::Fleet;
use crate::inventory::Keeper;
use crate::model::{Kind, Secret};
use crate::store::Store;

/// Where the API is.
pub const ROOT: &str = "/api/portico/v1";
/// The largest documents are tenants with a thousand rules.
const MAX_BODY_BYTES: usize = 1024 * 1024;

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
    /// An API whose tokens are signed with `key`; without it everybody is refused.
    pub fn new(
        fleet: Arc<Fleet>,
        keeper: Arc<Keeper>,
        store: Arc<dyn Store>,
        key: Option<Secret>,
        tools: Tools,
    ) -> Self {
        let gate = Arc::new(Gate::new(key, store.clone()));
        Self { fleet, keeper, store, gate, memory: Arc::default(), tools }
    }

    /// All routes of the API.
    pub fn router(self) -> Router {
        let (router, description) = routes().with_state(self).split_for_parts();
        let description = serde_json::to_value(&description).unwrap_or_default();
        let (json, html) = (Bytes::from(description.to_string()), page::page(&description));
        let json = ([(header::CONTENT_TYPE, "application/json")], json);
        let html = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html.into_string());
        router
            .route(&format!("{ROOT}/openapi.json"), get(async move || json.clone()))
            .route(&format!("{ROOT}/docs"), get(async move || html.clone()))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(from_fn(to_the_end))
    }
}

fn routes() -> OpenApiRouter<Desk> {
    let api = clusters::routes()
        .merge(nodes::routes())
        .merge(meetings::routes())
        .merge(explanation::routes())
        .merge(probe::routes())
        .merge(capacity::routes())
        .merge(tenants::routes())
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

/// A call goes on when its client has gone: a change must not stop halfway, and stand in no trail.
pub(super) async fn to_the_end(request: Request, next: Next) -> Response {
    tokio::spawn(next.run(request)).await.unwrap_or_else(|stopped| {
        error!("an API call ended by itself: {stopped}");
        let detail = "this is a mistake of ours; the log says more";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
    })
}

async fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such path in this API")
}

/// A body of JSON; what is wrong with it is told as a problem.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejected) => Err(Problem::new(rejected.status(), rejected.body_text())),
        }
    }
}

/// A query string; what is wrong with it is told as a problem.
struct Query<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> axum::extract::FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejected) => Err(Problem::fields([(String::new(), rejected.body_text())])),
        }
    }
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
