//! b3scale's REST API, under `/api/v1`: its tools work here unchanged.
//!
//! Another dialect of the API in `api/`, over the same functions. Frontends are tenants and backends are nodes;
//! their ids are made of their names, so that every instance knows them without being told. What is wrong is
//! told as b3scale does it, and every request needs a token before it is told whether its path exists.

mod agent;
mod backends;
mod body;
mod commands;
mod frontends;
mod meetings;
mod recordings;
mod relay;
mod relayed;
mod settings;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use log::debug;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::commands::Commands;
use self::relayed::Relayed;
use super::Peer;
use super::api::caller::{AWAY, Claims, Denied, Ids, OFF, Who};
use super::api::problem::Problem;
use super::api::{Desk, to_the_end};
use crate::model::{NodeName, ObjectName};

/// Where the API is.
const ROOT: &str = "/api/v1";
/// What follows is the token of a callback.
const RELAY: &str = "/api/v1/callbacks/proxy/";
/// A tenant with a thousand parameters is far below.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// What b3scale says of times that never were.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the routes work on.
#[derive(Clone)]
struct Annex {
    desk: Desk,
    memory: Arc<Memory>,
}

/// What is remembered from one request to the next, by all listeners together.
pub(super) struct Memory {
    /// When agents have last been heard here, by their nodes.
    heard: Mutex<HashMap<NodeName, u64>>,
    /// Places for events whose meetings are not known yet.
    waiting: Semaphore,
    commands: Commands,
    relayed: Relayed,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            heard: Mutex::default(),
            waiting: Semaphore::new(agent::MAX_WAITING),
            commands: Commands::default(),
            relayed: Relayed::default(),
        }
    }
}

/// All routes of b3scale's API.
pub(super) fn router(desk: Desk) -> Router {
    let under_way = desk.fleet.under_way.clone();
    let annex = Annex { memory: desk.memory.clone(), desk };
    let all = format!("{ROOT}/{{*path}}");
    // With a slash at its end there is nothing, as at b3scale.
    let root = format!("{ROOT}/");
    Router::new()
        .route(ROOT, any(answer))
        .route(&root, any(answer))
        .route(&all, any(answer))
        .layer(from_fn_with_state(under_way, to_the_end))
        .with_state(annex)
}

async fn answer(State(annex): State<Annex>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(token) = parts.uri.path().strip_prefix(RELAY) {
        // These have their token in the path.
        let relayed = annex.relay(token, &parts, body).await;
        return relayed.unwrap_or_else(|problem| told(&problem));
    }
    let answered = match annex.admit(&parts).await {
        Ok(visitor) => annex.act(&visitor, &parts, body).await,
        Err(problem) => Err(problem),
    };
    match answered {
        Ok((status, body)) => written(status, &body),
        Err(problem) => told(&problem),
    }
}

/// What a route says.
type Answer = Result<(StatusCode, Value), Problem>;

/// The usual status of an answer, also where something was made.
fn ok(body: Value) -> (StatusCode, Value) {
    (StatusCode::OK, body)
}

fn written(status: StatusCode, body: &Value) -> Response {
    // Secrets may be in it.
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, format!("{body}\n")).into_response()
}

/// A problem in b3scale's words.
fn told(problem: &Problem) -> Response {
    let (status, detail) = problem.told();
    if status != StatusCode::UNPROCESSABLE_ENTITY {
        let mut response = written(status, &json!({"message": detail}));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        return response;
    }
    let mut fields: Map<String, Value> = Map::new();
    for (field, detail) in problem.wrong_fields() {
        let all = fields.entry(field).or_insert_with(|| json!([]));
        if let Value::Array(all) = all {
            all.push(detail.into());
        }
    }
    let message = "validation failed with input";
    let body = json!({"error": "validation_error", "fields": fields, "message": message});
    written(StatusCode::BAD_REQUEST, &body)
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "Not Found")
}

/// One field that is wrong.
fn wrong(field: &str, detail: impl Into<String>) -> Problem {
    Problem::fields([(field.to_owned(), detail.into())])
}

/// What b3scale's tokens can open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    User,
    Admin,
    Node,
}

impl Right {
    const ALL: [Self; 3] = [Self::User, Self::Admin, Self::Node];

    fn as_str(self) -> &'static str {
        match self {
            Self::User => "b3scale",
            Self::Admin => "b3scale:admin",
            Self::Node => "b3scale:node",
        }
    }
}

/// Who calls, once the token was believed.
struct Visitor {
    rights: Vec<Right>,
    /// `sub`: of a node's token the name that its agent goes by.
    subject: String,
    who: Who,
}

impl Visitor {
    fn is(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Goes on for those who have one of these.
    fn may(&self, rights: &[Right]) -> Result<(), Problem> {
        if rights.iter().any(|right| self.is(*right)) {
            return Ok(());
        }
        let rights: Vec<_> = rights.iter().map(|right| right.as_str()).collect();
        let detail = format!("{} scope required", rights.join(", "));
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }
}

impl Annex {
    /// What a token says, if it is believed.
    async fn believed(
        &self,
        header: Option<&str>,
        peer: IpAddr,
        ids: Ids,
    ) -> Result<Claims, Problem> {
        let verified = self.desk.gate.verify(header, peer, ids).await;
        verified.map_err(|denied| match denied {
            Denied::Off => Problem::new(StatusCode::UNAUTHORIZED, OFF),
            Denied::Missing(_) => {
                Problem::new(StatusCode::UNAUTHORIZED, "missing or malformed jwt")
            }
            Denied::Wrong(_) => Problem::new(StatusCode::UNAUTHORIZED, "invalid or expired jwt"),
            Denied::Away => Problem::new(StatusCode::SERVICE_UNAVAILABLE, AWAY),
            Denied::TooMany => Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
        })
    }

    async fn admit(&self, parts: &Parts) -> Result<Visitor, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let header = header.and_then(|header| header.to_str().ok());
        let claims = self.believed(header, peer_of(parts), Ids::Optional).await?;
        let words: Vec<_> = claims.scope.split_whitespace().collect();
        let rights = Right::ALL.into_iter().filter(|right| words.contains(&right.as_str()));
        let rights = rights.collect();
        Ok(Visitor { rights, who: claims.who(), subject: claims.sub })
    }

    async fn act(&self, visitor: &Visitor, parts: &Parts, body: Body) -> Answer {
        let path = parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let path: Vec<_> = path.split('/').skip(1).map(decoded).collect();
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let query: HashMap<String, String> = parts.uri.query().map_or_else(HashMap::new, |query| {
            form_urlencoded::parse(query.as_bytes()).into_owned().collect()
        });
        let body = async || body::read(&parts.headers, body).await;
        match (parts.method.clone(), path.as_slice()) {
            (Method::GET, [] | ["status"]) => self.status(visitor).await,
            (Method::POST, ["ctrl", "migrate"]) => {
                visitor.may(&[Right::Admin])?;
                Ok(ok(self.database().await))
            }
            (Method::GET, ["frontends"]) => self.list_frontends(visitor, &query),
            (Method::POST, ["frontends"]) => self.add_frontend(visitor, body).await,
            (Method::GET, ["frontends", id]) => self.get_frontend(visitor, id),
            (Method::PATCH, ["frontends", id]) => self.change_frontend(visitor, id, body).await,
            (Method::DELETE, ["frontends", id]) => self.remove_frontend(visitor, id).await,
            (Method::GET, ["backends"]) => self.list_backends(visitor, &query),
            (Method::POST, ["backends"]) => self.add_backend(visitor, body).await,
            (Method::GET, ["backends", id]) => self.get_backend(visitor, id),
            (Method::PATCH, ["backends", id]) => self.change_backend(visitor, id, body).await,
            (Method::DELETE, ["backends", id]) => self.remove_backend(visitor, id, &query).await,
            (Method::GET, ["meetings"]) => self.list_meetings(visitor, &query),
            (Method::GET, ["meetings", id]) => self.get_meeting(visitor, id),
            (Method::PATCH, ["meetings", id]) => self.patch_meeting(visitor, id, body).await,
            (Method::DELETE, ["meetings", id]) => self.forget_meeting(visitor, id).await,
            (Method::GET, ["commands"]) => self.list_commands(visitor).await,
            (Method::GET, ["commands", id]) => self.get_command(visitor, id).await,
            (Method::POST, ["commands"]) => self.add_command(visitor, body).await,
            (Method::GET, ["recordings"]) => self.list_recordings(visitor, &query).await,
            (Method::GET, ["recordings", id]) => self.get_recording(visitor, id).await,
            (Method::POST, ["recordings-visibility"]) => self.set_visibility(visitor, body).await,
            (Method::GET, ["agent", "backend"]) => self.own_backend(visitor),
            (Method::POST, ["agent", "heartbeat"]) => self.heartbeat(visitor),
            (Method::POST, ["agent", "rpc"]) => self.rpc(visitor, body).await,
            _ => Err(not_found()),
        }
    }

    async fn status(&self, visitor: &Visitor) -> Answer {
        Ok(ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "build": "portico",
            "api": "v1",
            "account_ref": visitor.subject,
            "is_admin": visitor.is(Right::Admin),
            "database": self.database().await,
        })))
    }

    /// Whether the store can be used. It is migrated when we start.
    async fn database(&self) -> Value {
        let found = self.desk.store.inventory_in_force().await;
        let trouble = found.as_ref().err().map(|trouble| {
            debug!("the store is away: {trouble}");
            "the store cannot be used at the moment; the log says why"
        });
        json!({
            "available": trouble.is_none(),
            "database": "portico",
            "migrated": true,
            // Tools may look into it without asking whether it is there.
            "migration": {"version": 1, "description": "portico", "applied_at": NEVER},
            "pending_migrations": 0,
            "error": trouble,
        })
    }
}

fn peer_of(parts: &Parts) -> IpAddr {
    let known = parts.extensions.get::<Peer>();
    known.map_or(IpAddr::from([0, 0, 0, 0]), |Peer(peer)| *peer)
}

/// The id of an object: the same at all instances, at all times.
fn id_of(object: &ObjectName) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("portico:{object}").as_bytes()).to_string()
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// A filter, unless it is empty.
fn filter<'q>(query: &'q HashMap<String, String>, name: &str) -> Option<&'q str> {
    query.get(name).map(String::as_str).filter(|value| !value.is_empty())
}
