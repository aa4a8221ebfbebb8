//! b3scale's API over the wire, as its own tools use it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use portico::bbb::jwt;
use serde_json::{Value, json};

use crate::harness::{Client, Config, Pool, Reply, Tenant, eventually, request};

pub(crate) const KEY: &str = "a-key-that-signs-tokens-0123456789abcdef";
pub(crate) const SECRET: &str = "the-secret-of-beta-0123456789abcdefghijklmnop";

pub(crate) fn config() -> Config {
    Config::new().nodes(2).set("api.jwt_secret", KEY).tenant(Tenant::new("acme"))
}

/// A tool with a token, as `b3scalectl auth` makes them: without an end.
pub(crate) struct Tool<'p> {
    pub(crate) pool: &'p Pool,
    pub(crate) token: String,
}

impl<'p> Tool<'p> {
    pub(crate) fn new(pool: &'p Pool, scope: &str, sub: &str) -> Self {
        Self { pool, token: jwt::hs384(&json!({"scope": scope, "sub": sub, "iat": 1}), KEY) }
    }

    pub(crate) fn admin(pool: &'p Pool) -> Self {
        Self::new(pool, "b3scale:admin", "b3scalectl")
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        self.send(method, path, body.map(Value::to_string).unwrap_or_default()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<String>) -> Reply {
        let headers = [
            ("authorization".to_owned(), format!("Bearer {}", self.token)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let path = format!("/api/v1{path}");
        let address = self.pool.admin_address();
        request(address, method, "admin", &path, &headers, body.into()).await.expect("an answer")
    }

    /// An answer of 200.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let reply = self.call(method, path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        assert_eq!(reply.header("content-type"), "application/json");
        assert!(reply.body.ends_with('\n'), "{}", reply.body);
        json_of(&reply)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ok(Method::GET, path, None).await
    }

    /// The only one of a list.
    pub(crate) async fn one(&self, path: &str) -> Value {
        let list = self.get(path).await;
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        list[0].clone()
    }
}

pub(crate) fn json_of(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("no JSON: {}", reply.body))
}

/// The fields that a refusal names.
pub(crate) fn fields(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 400, "{}", reply.body);
    let body = json_of(reply);
    assert_eq!(body["error"], "validation_error", "{body}");
    assert_eq!(body["message"], "validation failed with input");
    body["fields"].as_object().expect("fields").keys().cloned().collect()
}

pub(crate) fn message(reply: &Reply) -> (u16, String) {
    let body = json_of(reply);
    (reply.status.as_u16(), body["message"].as_str().expect("a message").to_owned())
}

pub(crate) fn front_end(pool: &Pool) -> Client {
    pool.tenant("acme").base("/bbb/beta/bigbluebutton/api").secret(SECRET)
}

pub(crate) fn path_of(kind: &str, object: &Value) -> String {
    format!("/{kind}/{}", object["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn tokens_are_read_before_paths_and_refused_in_b3scales_words() {
    let pool = Pool::start(config()).await;
    let admin = Tool::admin(&pool);
    let status = admin.get("").await;
    assert_eq!((&status["api"], &status["is_admin"]), (&json!("v1"), &json!(true)));
    assert_eq!(status["account_ref"], "b3scalectl");
    assert_eq!(status["database"]["available"], true);
    let user = Tool::new(&pool, "b3scale", "someone");
    assert_eq!(user.get("/status").await["is_admin"], false);
    let node = Tool::new(&pool, "b3scale:node", "someone");
    let ours = Tool::new(&pool, "portico:admin", "someone");
    let expired = json!({"scope": "b3scale:admin", "sub": "x", "exp": 1});
    let expired = Tool { pool: &pool, token: jwt::hs384(&expired, KEY) };
    let other = jwt::hs256(&json!({"scope": "b3scale:admin"}), KEY);
    let other = Tool { pool: &pool, token: other };
    for (tool, method, path, answer) in [
        (&admin, Method::GET, "/nothing", (404, "Not Found")),
        (&admin, Method::PUT, "/frontends", (404, "Not Found")),
        (&admin, Method::GET, "/", (404, "Not Found")),
        (&admin, Method::GET, "/frontends/x", (404, "Not Found")),
        (&admin, Method::GET, "/backends/x", (404, "Not Found")),
        (&admin, Method::GET, "/meetings", (400, "Bad Request")),
        (&admin, Method::GET, "/agent/backend", (403, "b3scale:node scope required")),
        (&user, Method::GET, "/backends", (403, "b3scale:admin scope required")),
        (&user, Method::POST, "/frontends", (403, "b3scale:admin scope required")),
        (&node, Method::GET, "/frontends", (403, "b3scale:admin, b3scale scope required")),
        (&node, Method::GET, "/meetings/x", (403, "Forbidden")),
        (&ours, Method::GET, "/backends", (403, "b3scale:admin scope required")),
        (&expired, Method::GET, "/nothing", (401, "invalid or expired jwt")),
        (&other, Method::GET, "", (401, "invalid or expired jwt")),
    ] {
        let reply = tool.call(method.clone(), path, None).await;
        let (status, words) = message(&reply);
        assert_eq!((status, words.as_str()), answer, "{method} {path}");
    }
    let bare = pool.admin("/api/v1").await;
    assert_eq!(message(&bare), (401, "missing or malformed jwt".to_owned()));
    // A user is somebody's account, and this one has nothing.
    assert_eq!(user.get("/frontends").await, json!([]));
    // What has an id can be revoked, and what opens this does not open our own.
    let with_id = json!({"scope": "b3scale:admin", "sub": "x", "jti": "abc"});
    let with_id = Tool { pool: &pool, token: jwt::hs384(&with_id, KEY) };
    with_id.get("").await;
    let own = |method, path: &'static str, scope: &str| {
        let token = jwt::hs384(&json!({"scope": scope, "sub": "x", "jti": "own"}), KEY);
        let headers = [("authorization".to_owned(), format!("Bearer {token}"))];
        let address = pool.admin_address();
        async move { request(address, method, "admin", path, &headers, "").await.expect("an answer") }
    };
    let refused = own(Method::GET, "/api/portico/v1/nodes", "b3scale:admin").await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let revoked = own(Method::DELETE, "/api/portico/v1/tokens/abc", "portico:admin").await;
    assert_eq!(revoked.status, 204, "{}", revoked.body);
    let reply = with_id.call(Method::GET, "", None).await;
    assert_eq!(message(&reply), (401, "invalid or expired jwt".to_owned()));
}

#[tokio::test]
async fn a_frontend_is_a_tenant_from_its_first_to_its_last_call() {
    let mut pool = Pool::start(config()).await;
    let admin = Tool::admin(&pool);
    // As b3scalectl sends a new one.
    let sent = json!({
        "id": "", "active": false, "bbb": {"key": "beta", "secret": SECRET},
        "settings": {"required_tags": null, "create_default_params": {}}, "account_ref": null,
        "created_at": "0001-01-01T00:00:00Z", "updated_at": "0001-01-01T00:00:00Z",
    });
    let added = admin.ok(Method::POST, "/frontends", Some(&sent)).await;
    assert_eq!((&added["active"], &added["bbb"]["secret"]), (&json!(true), &json!(SECRET)));
    let empty = json!({
        "required_tags": null, "default_presentation": null, "attendees_limit": null,
        "create_default_params": {}, "create_override_params": {},
        "join_default_params": {}, "join_override_params": {}, "recordings": null,
    });
    assert_eq!(added["settings"], empty);
    front_end(&pool).create("room").await;
    assert_eq!(admin.one("/frontends?key=beta").await, added);
    assert_eq!(admin.get("/frontends?key__like=e").await.as_array().map(Vec::len), Some(2));
    assert_eq!(admin.get("/frontends?account_ref=x").await, json!([]));
    let path = path_of("frontends", &added);

    // Maps are merged, a null empties, an empty value takes back, what is not said stays.
    let settings = json!({"settings": {
        "create_default_params": {"muteOnStart": "true", "disabledFeatures": "chat"},
        "create_override_params": {"record": "false"},
        "join_default_params": {"userdata-x": "1"},
        "attendees_limit": {"limit": 20},
        "default_presentation": {"url": "https://example.org/slides.pdf", "force": true},
    }});
    admin.ok(Method::PATCH, &path, Some(&settings)).await;
    let more = json!({"Settings": {
        "Create_default_params": {"muteOnStart": "", "welcome": "Hi"},
        "join_default_params": null, "attendees_limit": {"limit": 30},
    }});
    let changed = admin.ok(Method::PATCH, &path, Some(&more)).await;
    assert_eq!(
        changed["settings"],
        json!({
            "required_tags": null,
            "default_presentation": {"url": "https://example.org/slides.pdf", "force": true},
            "attendees_limit": {"limit": 30},
            "create_default_params": {"disabledFeatures": "chat", "welcome": "Hi"},
            "create_override_params": {"record": "false"},
            "join_default_params": {}, "join_override_params": {}, "recordings": null,
        })
    );
    // A tool sends the whole back.
    assert_eq!(admin.ok(Method::PATCH, &path, Some(&changed)).await, changed);
    let off = json!({"settings": {"default_presentation": null, "attendees_limit": {"limit": 0}}});
    let off = admin.ok(Method::PATCH, &path, Some(&off)).await;
    assert_eq!(off["settings"]["default_presentation"], Value::Null);
    assert_eq!(off["settings"]["attendees_limit"], Value::Null);
    front_end(&pool).create("another").await;
    // The same id after a restart; then it goes.
    let token = admin.token.clone();
    pool.restart().await;
    let admin = Tool { pool: &pool, token };
    assert_eq!(admin.get(&path).await["id"], added["id"]);
    let gone = admin.ok(Method::DELETE, &path, None).await;
    assert_eq!(gone["active"], false);
    assert_eq!(admin.get("/frontends?key=beta").await, json!([]));
    assert!(!pool.log().contains(SECRET));
}

#[tokio::test]
async fn what_is_wrong_with_a_frontend_is_told_by_its_field() {
    let pool = Pool::start(config()).await;
    let admin = Tool::admin(&pool);
    let with = |key: &str, settings: Value| json!({"bbb": {"key": key, "secret": SECRET}, "settings": settings});
    for (body, named) in [
        (json!({}), vec!["bbb.key", "bbb.secret"]),
        (json!({"bbb": {"key": "beta", "secret": "  "}}), vec!["bbb.secret"]),
        (with("Not A Slug", json!({})), vec!["bbb.key"]),
        (with("acme", json!({})), vec!["bbb.key"]),
        (
            with("beta", json!({"create_override_params": {"record": "maybe"}})),
            vec!["settings.create_override_params.record"],
        ),
        (
            with("beta", json!({"join_default_params": {"meetingID": "x"}})),
            vec!["settings.join_default_params.meetingID"],
        ),
        (
            with("beta", json!({"default_presentation": {"url": "/etc/passwd"}})),
            vec!["settings.default_presentation.url"],
        ),
        (
            with("beta", json!({"attendees_limit": {"limit": -1}})),
            vec!["settings.attendees_limit.limit"],
        ),
        (with("beta", json!({"required_tags": ["a,b"]})), vec!["settings.required_tags"]),
        (
            with("beta", json!({"recordings": {"visibility_override": "public"}})),
            vec!["settings.recordings.visibility_override"],
        ),
        (
            json!({"bbb": {"key": "beta", "secret": SECRET}, "account_ref": "a".repeat(81)}),
            vec!["account_ref"],
        ),
    ] {
        let refused = admin.call(Method::POST, "/frontends", Some(&body)).await;
        assert_eq!(fields(&refused), named, "{body}: {}", refused.body);
    }
    for (body, words) in [
        ("{", "unexpected EOF"),
        ("[]", "Unmarshal type error: expected=object, got=array, field="),
        (
            r#"{"bbb": {"key": 1}}"#,
            "Unmarshal type error: expected=string, got=number, field=bbb.key",
        ),
        (
            r#"{"bbb": {"key": "beta", "secret": "s"}, "settings": {"create_default_params": true}}"#,
            "Unmarshal type error: expected=string, got=bool, field=settings.create_default_params",
        ),
    ] {
        let refused = admin.send(Method::POST, "/frontends", body).await;
        assert_eq!(message(&refused), (400, words.to_owned()), "{body}");
    }
    // Those of the file are shown, and changed there.
    let acme = admin.one("/frontends?key=acme").await;
    let path = path_of("frontends", &acme);
    assert_eq!(admin.ok(Method::PATCH, &path, Some(&acme)).await, acme);
    let refused = admin.call(Method::PATCH, &path, Some(&json!({"active": false}))).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let other = json!({"settings": {"required_tags": ["sip"]}});
    let refused = admin.call(Method::PATCH, &path, Some(&other)).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("configuration file"), "{}", refused.body);
    assert_eq!(admin.get("/frontends").await.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_backend_is_a_node_that_is_added_stopped_and_removed() {
    let pool = Pool::start(config()).await;
    let admin = Tool::admin(&pool);
    let sim = portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node");
    let bare = sim.url().clone();
    let host = format!("{}/", bare.trim_end_matches('/'));
    let sent = json!({
        "bbb": {"host": host, "secret": sim.secret()}, "admin_state": "ready", "load_factor": 0.0,
        "settings": {"tags": ["sip"]},
    });
    let added = admin.ok(Method::POST, "/backends", Some(&sent)).await;
    assert_eq!((&added["bbb"]["host"], &added["load_factor"]), (&json!(host), &json!(1.0)));
    assert_eq!(added["settings"], json!({"tags": ["sip"]}));
    let twice = admin.call(Method::POST, "/backends", Some(&sent)).await;
    assert_eq!(fields(&twice), ["bbb.host"]);
    let path = path_of("backends", &added);
    eventually("it is up", async || admin.get(&path).await["node_state"] == "ready").await;
    let bare = host.trim_end_matches('/');
    for query in [format!("host={host}"), format!("host={bare}"), format!("host__ilike={bare}")] {
        assert_eq!(admin.one(&format!("/backends?{query}")).await["id"], added["id"]);
    }
    assert_eq!(admin.get("/backends?host__like=none").await, json!([]));
    assert_eq!(admin.get("/backends").await.as_array().map(Vec::len), Some(3));

    // Whole objects come back, those of the file's nodes as well.
    for of_file in admin.get("/backends").await.as_array().expect("a list") {
        if of_file["id"] != added["id"] {
            let mut stopped = of_file.clone();
            stopped["admin_state"] = json!("stopped");
            let stopped =
                admin.ok(Method::PATCH, &path_of("backends", of_file), Some(&stopped)).await;
            assert_eq!(stopped["admin_state"], "stopped");
        }
    }
    pool.tenant("acme").create("algebra").await;
    assert_eq!(sim.meetings().len(), 1);
    let meeting = admin.one(&format!("/meetings?backend_host={host}")).await;
    assert_eq!(meeting["meeting"]["MeetingID"], "algebra");
    assert_eq!(
        (&meeting["backend_id"], &meeting["meeting"]["Attendees"]),
        (&added["id"], &json!([]))
    );
    let id = meeting["id"].as_str().expect("an id");
    let internal = meeting["internal_id"].as_str().expect("an id");
    for id in [id.to_owned(), id.replace('=', "%3D"), format!("internal:{internal}")] {
        assert_eq!(admin.get(&format!("/meetings/{id}")).await["id"], meeting["id"]);
    }
    let unknown = admin.call(Method::GET, "/meetings?backend_id=x", None).await;
    assert_eq!(unknown.status, 404);

    let heavier = json!({"load_factor": 4.0, "settings": {"tags": null}});
    let heavier = admin.ok(Method::PATCH, &path, Some(&heavier)).await;
    assert_eq!(
        (&heavier["load_factor"], &heavier["settings"]["tags"]),
        (&json!(4.0), &Value::Null)
    );
    for (body, named) in [
        (json!({"load_factor": -1}), "load_factor"),
        (json!({"admin_state": "off"}), "admin_state"),
        (json!({"bbb": {"host": "ftp://x"}}), "bbb.host"),
    ] {
        let refused = admin.call(Method::PATCH, &path, Some(&body)).await;
        assert_eq!(fields(&refused), [named], "{body}");
    }
    // It waits for its meeting, is taken back, and by force its meeting is ended.
    let bare = json!({"admin_state": "decommissioned"});
    let leaving = admin.ok(Method::PATCH, &path, Some(&bare)).await;
    assert_eq!(leaving["admin_state"], "decommissioned");
    assert_eq!(admin.get(&path).await["node_state"], "decommissioned");
    let back = admin.ok(Method::PATCH, &path, Some(&json!({"admin_state": "ready"}))).await;
    assert_eq!((&back["admin_state"], &back["load_factor"]), (&json!("ready"), &json!(4.0)));
    let gone = admin.ok(Method::DELETE, &path, None).await;
    assert_eq!(gone["admin_state"], "decommissioned");
    assert_eq!(admin.get(&path).await["node_state"], "decommissioned");
    let gone = admin.ok(Method::DELETE, &format!("{path}?force=true"), None).await;
    assert_eq!(gone["admin_state"], "destroyed");
    assert!(sim.meetings()[0].ended);
    let of_file = admin.get("/backends").await[0].clone();
    if of_file["id"] != added["id"] {
        let refused = admin.call(Method::DELETE, &path_of("backends", &of_file), None).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
    }
    assert!(!pool.log().contains(sim.secret()));
    sim.stop().await;
}

#[tokio::test]
async fn an_agent_registers_and_is_answered() {
    let pool = Pool::start(config()).await;
    let (admin, agent) =
        (Tool::admin(&pool), Tool::new(&pool, "b3scale:node", "three-random-words"));
    let sim = portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node");
    for path in ["/agent/backend", "/agent/heartbeat"] {
        let method = if path.ends_with("backend") { Method::GET } else { Method::POST };
        let unknown = agent.call(method, path, None).await;
        assert_eq!(message(&unknown), (404, "Not Found".to_owned()));
    }
    let host = format!("{}/", sim.url().trim_end_matches('/'));
    let sent = json!({
        "bbb": {"host": host, "secret": sim.secret()}, "admin_state": "init", "load_factor": 2.0,
    });
    let added = agent.ok(Method::POST, "/backends", Some(&sent)).await;
    assert_eq!(added["admin_state"], "stopped");
    assert_eq!(added["agent_ref"], "three-random-words");
    assert_eq!(added["agent_heartbeat"], "2000-01-01T00:00:00Z");
    assert_eq!(agent.get("/agent/backend").await["id"], added["id"]);
    let beat = agent.ok(Method::POST, "/agent/heartbeat", None).await;
    assert_eq!(beat["backend_id"], added["id"]);
    let path = path_of("backends", &added);
    assert_eq!(admin.get(&path).await["agent_heartbeat"], beat["heartbeat"]);

    // Its token is for one node, and nobody's makes us call ourselves.
    let elsewhere = json!({"bbb": {"host": "http://192.0.2.7/bigbluebutton/", "secret": "s"}});
    let second = agent.call(Method::POST, "/backends", Some(&elsewhere)).await;
    assert_eq!(second.status, 400, "{}", second.body);
    assert!(second.body.contains("is this agent's already"), "{}", second.body);
    let ours = json!({"bbb": {"host": format!("http://{}/bigbluebutton/", pool.address()), "secret": "s"}});
    let looped = admin.call(Method::POST, "/backends", Some(&ours)).await;
    assert_eq!(looped.status, 400, "{}", looped.body);
    assert!(looped.body.contains("leads back to Portico itself"), "{}", looped.body);

    // What it says at every start, under a wrong key, changes nothing.
    let start = json!({"backend": {"host": "https://x.example/"}, "load_factor": 9});
    let same = agent.ok(Method::PATCH, &path, Some(&start)).await;
    assert_eq!((&same["load_factor"], &same["bbb"]), (&json!(2.0), &added["bbb"]));
    let other = Tool::new(&pool, "b3scale:node", "another");
    assert_eq!(other.call(Method::GET, &path, None).await.status, 404);

    admin.ok(Method::PATCH, &path, Some(&json!({"admin_state": "ready"}))).await;
    eventually("it is up", async || admin.get(&path).await["node_state"] == "ready").await;
    for one in admin.get("/backends").await.as_array().expect("a list") {
        if one["id"] != added["id"] {
            let off = json!({"admin_state": "stopped"});
            admin.ok(Method::PATCH, &path_of("backends", one), Some(&off)).await;
        }
    }
    pool.tenant("acme").create("algebra").await;
    let internal = sim.meetings()[0].internal_id.clone();
    let rpc = |action: &str, payload: Value| json!({"action": action, "payload": payload});
    let of_meeting = json!({"internal_meeting_id": internal, "running": true});
    let encoded = json!(STANDARD.encode(of_meeting.to_string()));
    for (body, status, told) in [
        (rpc("meeting_set_running", encoded), 200, "ok"),
        (rpc("meeting_state_reset", of_meeting.clone()), 200, "ok"),
        (rpc("meeting_add_attendee", json!({})), 200, "error"),
        (rpc("meeting_add_attendee", of_meeting.clone()), 200, "error"),
        (rpc("meeting_remove_attendee", of_meeting.clone()), 200, "error"),
        (rpc("reboot", of_meeting), 200, "error"),
        (rpc("meeting_set_running", json!("%")), 400, "error"),
    ] {
        let reply = agent.call(Method::POST, "/agent/rpc", Some(&body)).await;
        assert_eq!(
            (reply.status.as_u16(), &json_of(&reply)["status"]),
            (status, &json!(told)),
            "{body}"
        );
    }
    let foreign = other.call(Method::POST, "/agent/rpc", Some(&json!({}))).await;
    assert_eq!(message(&foreign), (403, "Forbidden".to_owned()));
    let gone = agent.call(Method::DELETE, "/meetings/internal:x-1", None).await;
    assert_eq!(gone.status, 404);
    sim.stop().await;
}
