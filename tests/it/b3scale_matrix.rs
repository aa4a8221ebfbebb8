//! Who may do what in b3scale's API, route by route, and what each route says of what is missing or wrong.
//!
//! Asked on the public listener, from another address each time: who is refused often is told nothing more.

use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use portico::bbb::jwt;
use portico::sim;
use serde_json::{Value, json};

use crate::b3scale_api::{KEY, SECRET, Tool, config, json_of};
use crate::harness::{Pool, Reply, eventually, request};

const USER: &str = "b3scale";
const ADMIN: &str = "b3scale:admin";
const NODE: &str = "b3scale:node";
/// Those that open none of these routes, whatever else they open.
const OTHERS: [&str; 5] =
    ["b3scale:recordings", "b3scale:callback", "portico:admin", "portico:node", ""];

/// A route, who may use it, and what they get for an empty object.
struct Route {
    method: Method,
    path: &'static str,
    scopes: &'static [&'static str],
    status: u16,
}

fn routes() -> Vec<Route> {
    let any: &[&str] = &[];
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    [
        (&get, "", any, 200),
        (&get, "/status", any, 200),
        (&get, "/frontends", &[ADMIN, USER], 200),
        (&post, "/frontends", &[ADMIN], 400),
        (&get, "/frontends/{frontend}", &[ADMIN, USER], 200),
        (&patch, "/frontends/{frontend}", &[ADMIN, USER], 200),
        (&delete, "/frontends/none", &[ADMIN], 404),
        (&get, "/backends", &[ADMIN], 200),
        (&post, "/backends", &[ADMIN, NODE], 400),
        (&get, "/backends/{backend}", &[ADMIN, NODE], 200),
        (&patch, "/backends/{backend}", &[ADMIN, NODE], 200),
        (&delete, "/backends/none", &[ADMIN], 404),
        (&get, "/meetings?backend_id={backend}", &[ADMIN], 200),
        (&get, "/meetings/{meeting}", &[ADMIN, NODE], 200),
        (&patch, "/meetings/{meeting}", &[ADMIN, NODE], 200),
        (&delete, "/meetings/none", &[ADMIN, NODE], 404),
        (&get, "/commands", &[ADMIN], 200),
        (&get, "/commands/none", &[ADMIN], 500),
        (&post, "/commands", &[ADMIN], 400),
        (&get, "/recordings?frontend_key=acme", &[ADMIN], 200),
        (&get, "/recordings/none", &[ADMIN], 404),
        (&post, "/recordings-visibility", &[ADMIN], 400),
        (&get, "/agent/backend", &[NODE], 200),
        (&post, "/agent/heartbeat", &[NODE], 200),
        (&post, "/agent/rpc", &[NODE], 400),
        (&post, "/ctrl/migrate", &[ADMIN], 200),
        // What there is not, whoever asks.
        (&post, "/recordings-import", any, 404),
        (&get, "/protected/recordings/auth", any, 404),
        (&Method::PUT, "/frontends", any, 404),
        (&delete, "/commands/none", any, 404),
        (&get, "/nothing", any, 404),
    ]
    .into_iter()
    .map(|(method, path, scopes, status)| Route { method: method.clone(), path, scopes, status })
    .collect()
}

/// A pool with one of everything.
struct World {
    pool: Pool,
    node: sim::Node,
    frontend: String,
    backend: String,
    meeting: String,
    callers: AtomicU32,
}

impl World {
    async fn new() -> Self {
        let pool = Pool::start(config().set("api.public", "true")).await;
        let admin = Tool::admin(&pool);
        let node = sim::Node::start(sim::Settings::default()).await.expect("a node");
        let frontend = json!({
            "bbb": {"key": "beta", "secret": SECRET}, "account_ref": "someone",
        });
        let frontend = admin.ok(Method::POST, "/frontends", Some(&frontend)).await;
        let host = format!("{}/", node.url().trim_end_matches('/'));
        let backend = json!({"bbb": {"host": host, "secret": node.secret()}});
        let agent = Tool::new(&pool, NODE, "someone");
        let backend = agent.ok(Method::POST, "/backends", Some(&backend)).await;
        let path = |kind: &str, object: &Value| {
            format!("/{kind}/{}", object["id"].as_str().expect("an id"))
        };
        eventually("it is polled", async || {
            admin.get(&path("backends", &backend)).await["node_state"] == "ready"
        })
        .await;
        for one in admin.get("/backends").await.as_array().expect("a list") {
            let state = if one["id"] == backend["id"] { "ready" } else { "stopped" };
            let state = json!({"admin_state": state});
            admin.ok(Method::PATCH, &path("backends", one), Some(&state)).await;
        }
        pool.tenant("acme").create("room").await;
        let id = |object: &Value| object["id"].as_str().expect("an id").to_owned();
        let (frontend, backend) = (id(&frontend), id(&backend));
        let meeting = id(&admin.one(&format!("/meetings?backend_id={backend}")).await);
        Self { node, frontend, backend, meeting, callers: AtomicU32::new(1), pool }
    }

    fn path(&self, path: &str) -> String {
        let path = path.replace("{frontend}", &self.frontend).replace("{backend}", &self.backend);
        format!("/api/v1{}", path.replace("{meeting}", &self.meeting))
    }

    async fn send(&self, method: &Method, path: &str, token: Option<&str>, body: &str) -> Reply {
        let caller = self.callers.fetch_add(1, Ordering::Relaxed);
        let from = format!("203.0.{}.{}", caller / 250, caller % 250 + 1);
        let mut headers = vec![("x-forwarded-for".to_owned(), from)];
        if !body.is_empty() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        if let Some(token) = token {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        let (address, path) = (self.pool.address(), self.path(path));
        let body = body.to_owned();
        request(address, method.clone(), "bbb", &path, &headers, body).await.expect("an answer")
    }

    async fn call(&self, method: &Method, path: &str, scope: &str, body: &str) -> Reply {
        // With an id, as Portico's own have, so that nothing else is what is wrong with them.
        let claims = json!({"scope": scope, "sub": "someone", "jti": format!("id-{scope}")});
        self.send(method, path, Some(&jwt::hs384(&claims, KEY)), body).await
    }
}

fn message(reply: &Reply) -> String {
    assert_eq!(reply.header("content-type"), "application/json", "{}", reply.body);
    json_of(reply)["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn every_route_opens_to_its_scopes_and_to_no_other() {
    let world = World::new().await;
    for Route { method, path, scopes, status } in routes() {
        let place = format!("{method} {path}");
        let body = if matches!(method.as_str(), "POST" | "PATCH") { "{}" } else { "" };
        for scope in [USER, ADMIN, NODE].into_iter().chain(OTHERS) {
            let reply = world.call(&method, path, scope, body).await;
            if scopes.is_empty() || scopes.contains(&scope) {
                assert_eq!(reply.status, status, "{place} as {scope:?}: {}", reply.body);
                continue;
            }
            let words = format!("{} scope required", scopes.join(", "));
            assert_eq!(reply.status, 403, "{place} as {scope:?}: {}", reply.body);
            assert_eq!(message(&reply), words, "{place} as {scope:?}");
        }
    }
    // Of two scopes the one of a node is the narrower.
    let both = format!("{ADMIN} {NODE}");
    let admin = Tool::admin(&world.pool);
    for one in admin.get("/backends").await.as_array().expect("a list") {
        let id = one["id"].as_str().expect("an id");
        let reply = world.call(&Method::GET, &format!("/backends/{id}"), &both, "").await;
        let own = if id == world.backend { 200 } else { 404 };
        assert_eq!(reply.status, own, "{}", reply.body);
    }
    world.node.stop().await;
}

#[tokio::test]
async fn no_route_opens_without_a_token_that_is_believed() {
    let world = World::new().await;
    let claims = json!({"scope": ADMIN, "sub": "someone"});
    let expired = json!({"scope": ADMIN, "sub": "someone", "exp": 1});
    let early = json!({"scope": ADMIN, "sub": "someone", "nbf": 32_503_680_000_u64});
    let unsigned = jwt::hs384(&claims, KEY);
    let unsigned = format!("{}.", unsigned.rsplit_once('.').expect("three parts").0);
    let wrong = [
        jwt::hs384(&claims, "another-key-that-signs-tokens-0123456789"),
        jwt::hs256(&claims, KEY),
        jwt::hs384(&expired, KEY),
        jwt::hs384(&early, KEY),
        unsigned,
        "e30.e30".to_owned(),
    ];
    for (at, Route { method, path, .. }) in routes().into_iter().enumerate() {
        let place = format!("{method} {path}");
        let bare = world.send(&method, path, None, "").await;
        assert_eq!(bare.status, 401, "{place}: {}", bare.body);
        assert_eq!(message(&bare), "missing or malformed jwt", "{place}");
        let refused = world.send(&method, path, Some(&wrong[at % wrong.len()]), "").await;
        assert_eq!(refused.status, 401, "{place}: {}", refused.body);
        assert_eq!(message(&refused), "invalid or expired jwt", "{place}");
        let options = world.send(&Method::OPTIONS, path, None, "").await;
        assert_eq!(options.status, 401, "{place}: {}", options.body);
    }
    world.node.stop().await;
}

#[tokio::test]
async fn what_is_missing_wrong_or_unknown_is_told() {
    let world = World::new().await;
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    let mismatch = |expected: &str, got: &str, field: &str| {
        format!("Unmarshal type error: expected={expected}, got={got}, field={field}")
    };
    let not_found = || "Not Found".to_owned();
    let bad = || "Bad Request".to_owned();
    for (method, path, scope, body, status, words) in [
        (&post, "/frontends", ADMIN, "{", 400, "unexpected EOF".to_owned()),
        (&post, "/frontends", ADMIN, r#"{"bbb":[]}"#, 400, mismatch("object", "array", "bbb")),
        (
            &patch,
            "/frontends/{frontend}",
            ADMIN,
            r#"{"active":"no"}"#,
            400,
            mismatch("bool", "string", "active"),
        ),
        (
            &patch,
            "/frontends/{frontend}",
            USER,
            r#"{"account_ref":7}"#,
            400,
            mismatch("string", "number", "account_ref"),
        ),
        (&get, "/frontends/none", ADMIN, "", 404, not_found()),
        (&patch, "/frontends/none", ADMIN, "{}", 404, not_found()),
        (&get, "/frontends/none", USER, "", 404, not_found()),
        (&post, "/backends", NODE, "[]", 400, mismatch("object", "array", "")),
        (
            &patch,
            "/backends/{backend}",
            ADMIN,
            r#"{"load_factor":"2"}"#,
            400,
            mismatch("float64", "string", "load_factor"),
        ),
        (
            &patch,
            "/backends/{backend}",
            ADMIN,
            r#"{"settings":{"tags":"x"}}"#,
            400,
            mismatch("[]string", "string", "settings.tags"),
        ),
        (&get, "/backends/none", NODE, "", 404, not_found()),
        (&patch, "/backends/none", ADMIN, "{}", 404, not_found()),
        (&get, "/meetings", ADMIN, "", 400, bad()),
        (&get, "/meetings?backend_id=none", ADMIN, "", 404, not_found()),
        (&get, "/meetings?backend_host=http://none/", ADMIN, "", 404, not_found()),
        (&get, "/meetings/none", NODE, "", 404, not_found()),
        (&get, "/meetings/internal:none", ADMIN, "", 404, not_found()),
        (&patch, "/meetings/none", ADMIN, "{}", 404, not_found()),
        (
            &patch,
            "/meetings/{meeting}",
            NODE,
            r#"{"meeting":1}"#,
            400,
            mismatch("object", "number", "meeting"),
        ),
        (
            &post,
            "/commands",
            ADMIN,
            r#"{"action":"end_all_meetings","params":"x"}"#,
            400,
            mismatch("object", "string", "params"),
        ),
        (&get, "/recordings", ADMIN, "", 400, bad()),
        (&get, "/recordings?frontend_id=none", ADMIN, "", 404, not_found()),
        (
            &post,
            "/recordings-visibility",
            ADMIN,
            r#"{"record_id":"none","visibility":"public"}"#,
            400,
            bad(),
        ),
        (
            &post,
            "/recordings-visibility",
            ADMIN,
            r#"{"record_id":{}}"#,
            400,
            mismatch("string", "object", "record_id"),
        ),
        (&delete, "/frontends/none", ADMIN, "", 404, not_found()),
    ] {
        let reply = world.call(method, path, scope, body).await;
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.body);
        assert_eq!(message(&reply), words, "{method} {path} {body}");
    }
    for (path, body, field) in [
        ("/commands", r#"{"action":"reboot"}"#, "action"),
        ("/commands", r#"{"action":"end_all_meetings"}"#, "params.BackendID"),
        (
            "/commands",
            r#"{"action":"end_all_meetings","params":{"BackendID":"00000000-0000-0000-0000-000000000000"}}"#,
            "params.BackendID",
        ),
        ("/recordings-visibility", r#"{"record_id":"x","visibility":"secret"}"#, "visibility"),
        ("/backends", r#"{"bbb":{"host":"ftp://x","secret":"s"}}"#, "bbb.host"),
        ("/backends", r#"{"bbb":{"host":"http://x/"}}"#, "bbb.secret"),
        ("/frontends", r#"{"bbb":{"key":"gamma"}}"#, "bbb.secret"),
    ] {
        let reply = world.call(&post, path, ADMIN, body).await;
        let told = json_of(&reply);
        assert_eq!((reply.status.as_u16(), &told["error"]), (400, &json!("validation_error")));
        assert!(told["fields"][field].is_array(), "{path} {body}: {told}");
    }
    // A command for a backend that there is not is taken, and fails.
    let body = json!({"action": "end_all_meetings", "params": {"BackendID": world.frontend}});
    let begun = world.call(&post, "/commands", ADMIN, &body.to_string()).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let command = format!("/commands/{}", json_of(&begun)["id"].as_str().expect("an id"));
    eventually("it has failed", async || {
        let known = json_of(&world.call(&get, &command, ADMIN, "").await);
        known["state"] == "error" && known["result"].is_string()
    })
    .await;
    // Nor does one succeed whose node does not do it.
    world.node.set_call_fault("end", Some(sim::Fault::Status(500)));
    let body = json!({"action": "end_all_meetings", "params": {"BackendID": world.backend}});
    let begun = world.call(&post, "/commands", ADMIN, &body.to_string()).await;
    let command = format!("/commands/{}", json_of(&begun)["id"].as_str().expect("an id"));
    let mut result = Value::Null;
    eventually("it has failed", async || {
        let known = json_of(&world.call(&get, &command, ADMIN, "").await);
        result = known["result"].clone();
        known["state"] == "error"
    })
    .await;
    let internal = &world.node.meetings()[0].internal_id;
    assert!(result.as_str().is_some_and(|result| result.contains(internal)), "{result}");
    world.node.set_call_fault("end", None);
    // An agent whose node is not known.
    let stranger = Tool::new(&world.pool, NODE, "nobody");
    for (method, path, status) in [
        (Method::GET, "/agent/backend", 404),
        (Method::POST, "/agent/heartbeat", 404),
        (Method::POST, "/agent/rpc", 403),
        (Method::GET, "/meetings/none", 403),
    ] {
        let reply = stranger.call(method, path, Some(&json!({}))).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
    // What runs is not forgotten because somebody says so; what has ended is.
    let running = world.call(&delete, "/meetings/{meeting}", ADMIN, "").await;
    assert_eq!(running.status, 409, "{}", running.body);
    assert_eq!(world.call(&get, "/meetings/{meeting}", ADMIN, "").await.status, 200);
    world.node.stop().await;
}
