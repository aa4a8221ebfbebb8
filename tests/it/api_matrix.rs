//! Every route of the API by its own description: who may, what is refused, and that each answer is as it says.
//!
//! `rows.rs` is the table: one row for each route. A route that is not in it fails the test. `description.rs`
//! compares answers with the description.

mod description;
mod rows;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portico::bbb::jwt;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use self::description::Description;
use self::rows::{Body, May, ROWS, Row};
use crate::api::KEY;
use crate::harness::{Config, PATIENCE, Pool, Reply, Tenant, eventually};

const ROOT: &str = "/api/portico/v1";
/// A meeting that is never ended, and one that is.
const PLACES: [&str; 2] = ["{meeting}", "{another}"];

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Expired,
    Foreign,
    Node,
    OtherTenant,
    OwnTenant,
    Operator,
    Admin,
}

impl Who {
    /// Those who are refused first, so that what they try changes nothing for the others.
    const ALL: [Self; 8] = [
        Self::Nobody,
        Self::Expired,
        Self::Foreign,
        Self::Node,
        Self::OtherTenant,
        Self::OwnTenant,
        Self::Operator,
        Self::Admin,
    ];

    fn token(self) -> Option<String> {
        let (claims, key) = match self {
            Self::Nobody => return None,
            Self::Expired => (json!({"scope": "portico:admin", "exp": 1}), KEY),
            Self::Foreign => {
                (json!({"scope": "portico:admin"}), "another key, long enough to sign")
            }
            Self::Node => (json!({"scope": "portico:node"}), KEY),
            Self::OtherTenant => (json!({"scope": "portico:tenant", "tenant": "other"}), KEY),
            Self::OwnTenant => (json!({"scope": "portico:tenant", "tenant": "acme"}), KEY),
            Self::Operator => (json!({"scope": "portico:operator"}), KEY),
            Self::Admin => (json!({"scope": "portico:admin"}), KEY),
        };
        let mut claims = claims;
        claims["jti"] = format!("{self:?}").into();
        claims["sub"] = "matrix".into();
        Some(jwt::hs384(&claims, key))
    }
}

/// The API of a pool, and how it describes itself.
struct Api {
    pool: Pool,
    description: Description,
    meetings: [String; 2],
    /// Wrong tokens are counted by address, and each test row has its own.
    callers: AtomicU8,
}

impl Api {
    async fn start() -> Self {
        let config = Config::new()
            .nodes(2)
            .set("api.jwt_secret", KEY)
            .tenant(Tenant::new("acme").sub(5))
            .tenant(Tenant::new("other"));
        let logo = config.file("logo.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
        let branding = format!("{{ logo: {} }}", logo.display());
        let config = config.tenant(Tenant::new("painted").set("branding", branding));
        let pool = Pool::start(config).await;
        let description = Description::of(&pool.admin(&format!("{ROOT}/openapi.json")).await);
        let acme = pool.tenant("acme");
        for id in ["algebra", "biology"] {
            // On a busy machine a node may be suspect for a moment.
            let query = format!("meetingID={id}&name={id}");
            eventually("it is there", async || acme.get("create", &query).await.is_success()).await;
        }
        let api =
            Self { pool, description, meetings: Default::default(), callers: AtomicU8::new(1) };
        let listed = api.call(Who::Admin, Method::GET, "/meetings", Body::None, &[]).await;
        let listed: Value = serde_json::from_str(&listed.body).expect("JSON");
        let id = |at: usize| listed["items"][at]["internal_id"].as_str().expect("an id").to_owned();
        Self { meetings: [id(0), id(1)], ..api }
    }

    /// One call. Whatever the answer is, it is as the description says of `route`.
    async fn check(
        &self,
        row: &Row,
        who: Who,
        path: &str,
        body: Body<'_>,
        more: &[(&str, &str)],
    ) -> Reply {
        let (method, template) = row.route();
        let reply = self.call(who, method.clone(), path, body, more).await;
        let what = format!("{who:?} {method} {path} {body:?} {more:?}");
        self.description.check(&method, &format!("{ROOT}{template}"), &reply, &what);
        reply
    }

    async fn call(
        &self,
        who: Who,
        method: Method,
        path: &str,
        body: Body<'_>,
        more: &[(&str, &str)],
    ) -> Reply {
        let mut path = format!("{ROOT}{path}");
        for (place, id) in PLACES.iter().zip(&self.meetings) {
            path = path.replace(place, id);
        }
        let mut request = Request::builder().method(method).uri(path).header("host", "admin");
        if let Some(token) = who.token() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(kind) = body.kind() {
            request = request.header("content-type", kind);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let request =
            request.body(Full::new(Bytes::from(body.text().to_owned()))).expect("a request");
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, self.callers.load(Ordering::Relaxed)));
        timeout(PATIENCE, exchange(from, self.pool.admin_address(), request))
            .await
            .expect("in time")
    }

    fn next_caller(&self) {
        self.callers.fetch_add(1, Ordering::Relaxed);
    }
}

async fn exchange(from: IpAddr, to: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
    let stream = socket.connect(to).await.expect("it listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let answer = async {
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("all of it").to_bytes();
        drop(sender);
        (head, body)
    };
    let ((head, body), _ended) = tokio::join!(answer, connection);
    let body = String::from_utf8_lossy(&body).into_owned();
    Reply { status: head.status, headers: head.headers, body }
}

#[tokio::test]
async fn every_route_is_in_the_table_and_the_table_has_no_other() {
    let api = Api::start().await;
    let table: BTreeSet<String> = ROWS.iter().map(|row| row.route.to_owned()).collect();
    let described: BTreeSet<String> = api
        .description
        .routes()
        .map(|(method, path)| {
            format!("{method} {}", path.strip_prefix(ROOT).expect("a path of ours"))
        })
        .collect();
    assert_eq!(table, described, "left: the table, right: openapi.json");
    assert_eq!(table.len(), ROWS.len(), "a route is there twice");
}

#[tokio::test]
async fn who_may_what_is_as_in_the_table() {
    let api = Api::start().await;
    for row in ROWS {
        api.next_caller();
        for who in Who::ALL {
            let expected = expected(row, who);
            // What an operator has taken away an admin cannot take away again.
            let reply = api.check(row, who, row.path, row.body, &[]).await;
            assert_eq!(reply.status, expected, "{who:?} {}: {}", row.route, reply.body);
            if reply.status == 401 {
                assert!(reply.header("www-authenticate").starts_with("Bearer"), "{}", row.route);
            }
        }
    }
    assert!(!api.pool.log().contains(&Who::Admin.token().expect("a token")));
}

/// The status that a caller gets for a request with nothing wrong in it.
fn expected(row: &Row, who: Who) -> u16 {
    let is_let_in = match who {
        Who::Nobody | Who::Expired | Who::Foreign => return 401,
        Who::Node => false,
        Who::OtherTenant => row.may == May::SeeOwnIn,
        Who::OwnTenant => matches!(row.may, May::SeeOwn | May::SeeOwnIn),
        Who::Operator => row.may != May::Change && row.may != May::AdminSees,
        Who::Admin => true,
    };
    match (is_let_in, who) {
        (false, _) => 403,
        // Another tenant's is not there for it; lists are empty.
        (true, Who::OtherTenant) if row.path.contains(PLACES[0]) => 404,
        (true, _) => row.ok,
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_reason() {
    let api = Api::start().await;
    for row in ROWS {
        let (method, template) = row.route();
        // Unknown, unreadable and odd names.
        if template.contains('{') {
            for (name, status) in [("nothing-here", 404), ("%00", 404), ("%FF", 400)] {
                let path = named(template, name);
                let reply = api.check(row, Who::Admin, &path, row.body, &[]).await;
                let is_revoking = row.route == "DELETE /tokens/{id}" && name == "nothing-here";
                let status = if is_revoking { 204 } else { status };
                assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
            }
        }
        if matches!(row.body, Body::Json(_)) {
            let (long, deep) = (" ".repeat(1024 * 1024 + 1), "[".repeat(1000));
            let raw = |text| Body::Raw("application/json", text);
            for (body, status, field) in [
                (Body::None, 415, None),
                (Body::Raw("text/plain", "{}"), 415, None),
                (raw(""), 400, None),
                (raw("{"), 400, None),
                (raw("\u{0}"), 400, None),
                (raw(&deep), 400, None),
                (raw("[]"), 422, Some("")),
                (raw("null"), 422, Some("")),
                (raw(r#"{"nonsense": 1}"#), 422, Some("nonsense")),
                (raw(r#"{"odd": [{"twice": 1, "twice": 1}]}"#), 422, Some("odd[0].twice")),
                (raw(&long), 413, None),
            ] {
                if row.is_body_optional && (matches!(body, Body::None) || body.text() == "null") {
                    continue;
                }
                let reply = api.check(row, Who::Admin, row.path, body, &[]).await;
                let what = format!("{} {:.40}: {}", row.route, body.text(), reply.body);
                assert_eq!(reply.status, status, "{what}");
                assert!(!speaks_of_us(&reply.body), "{what}");
                if let Some(field) = field {
                    assert_eq!(crate::api::fields(&reply), [field], "{what}");
                }
                if status == 413 {
                    continue;
                }
                // Whoever may not is told so whatever the body is.
                let reply = api.check(row, Who::Operator, row.path, body, &[]).await;
                assert_eq!(reply.status, 403, "{what}");
            }
            for (body, fields) in row.wrong {
                let body = raw(body);
                let reply = api.check(row, Who::Admin, row.path, body, &[]).await;
                assert_eq!(reply.status, 422, "{} {body:?}: {}", row.route, reply.body);
                assert_eq!(crate::api::fields(&reply), *fields, "{} {body:?}", row.route);
                assert!(!speaks_of_us(&reply.body), "{} {body:?}: {}", row.route, reply.body);
            }
        }
        // Every word of the query, with a value of another type; and one that there is not.
        let words = api.description.query(&method, &format!("{ROOT}{template}"));
        let typed = words.iter().filter(|word| !word.is_text).map(|word| word.name.as_str());
        let (base, unknown) = (row.path.split('?').next().expect("a path"), ["nonsense"]);
        let unknown = unknown.into_iter().filter(|_| !words.is_empty());
        for word in typed.chain(unknown) {
            let path = format!("{base}?{word}=%21odd");
            let reply = api.check(row, Who::Admin, &path, row.body, &[]).await;
            assert_eq!(reply.status, 422, "{method} {path}: {}", reply.body);
            assert_eq!(crate::api::fields(&reply), [word], "{path}");
            assert!(!speaks_of_us(&reply.body), "{path}: {}", reply.body);
        }
        if api.description.takes_tag(&method, &format!("{ROOT}{template}")) {
            let stale = [("if-match", "\"stale\"")];
            let reply = api.check(row, Who::Admin, row.path, row.body, &stale).await;
            assert_eq!(reply.status, 412, "{}: {}", row.route, reply.body);
        }
        // None of that has changed anything.
        let reply = api.check(row, Who::Admin, row.path, row.body, &[]).await;
        assert_eq!(reply.status, row.ok, "{}: {}", row.route, reply.body);
    }
    let listed = api.call(Who::Admin, Method::GET, "/tenants?origin=api", Body::None, &[]).await;
    assert!(listed.body.starts_with(r#"{"items":[]"#), "{}", listed.body);
}

/// Words of Rust's, which say nothing to who has sent a document.
fn speaks_of_us(told: &str) -> bool {
    ["expected ", "invalid ", "`", "line ", "struct ", "u32", "u16", "variant"]
        .iter()
        .any(|word| told.contains(word) && !told.contains("bbb-conf --secret"))
}

/// A path with another name for what it is about.
fn named(template: &str, name: &str) -> String {
    let (before, rest) = template.rsplit_once('{').expect("a name in it");
    let (_, after) = rest.split_once('}').expect("its end");
    let path = format!("{before}{name}{after}");
    path.replace("{slug}", "acme")
}

#[tokio::test]
async fn what_no_route_takes_is_a_problem_too() {
    let api = Api::start().await;
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let routes: BTreeSet<_> = ROWS.iter().map(|row| row.route).collect();
    let paths: BTreeSet<_> = ROWS.iter().map(|row| row.route().1).collect();
    for path in paths {
        for method in &methods {
            if routes.contains(format!("{method} {path}").as_str()) {
                continue;
            }
            let reply =
                api.call(Who::Admin, method.clone(), &named_all(path), Body::None, &[]).await;
            assert_problem(&reply, StatusCode::METHOD_NOT_ALLOWED);
            for other in &methods {
                let is_there = routes.contains(format!("{other} {path}").as_str());
                let allowed: Vec<_> = reply.header("allow").split(',').map(str::trim).collect();
                assert_eq!(allowed.contains(&other.as_str()), is_there, "{path}: {allowed:?}");
            }
        }
    }
    let long = format!("/nodes/{}", "x".repeat(9000));
    for (path, status) in [
        ("/", StatusCode::NOT_FOUND),
        ("/nothing", StatusCode::NOT_FOUND),
        ("/nodes/", StatusCode::NOT_FOUND),
        ("/nodes/a/b/c", StatusCode::NOT_FOUND),
        (&*long, StatusCode::URI_TOO_LONG),
    ] {
        let reply = api.call(Who::Admin, Method::GET, path, Body::None, &[]).await;
        assert_problem(&reply, status);
    }
}

fn named_all(template: &str) -> String {
    let parts = template.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn assert_problem(reply: &Reply, status: StatusCode) {
    assert_eq!(reply.status, status, "{}", reply.body);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let told: Value = serde_json::from_str(&reply.body).expect("JSON");
    assert_eq!(told["status"], status.as_u16());
}
