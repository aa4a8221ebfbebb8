//! What `b3scalectl` and `b3scaleagent` send, byte for byte as Go's HTTP client writes it, on one connection as it
//! does, and of the answers what they read, in the types that they read it in.

mod decoded;
mod go;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portico::sim;
use serde_json::{Value, json};

use self::decoded::{
    BACKEND, COMMAND, DATABASE, FRONTEND, INFO, MEETING, RECORDING, RECORDING_DATA, SETTINGS,
    STATUS, Type, decodes,
};
use self::go::{Framing, Go};
use crate::b3scale_api::{KEY, SECRET, config, json_of};
use crate::harness::{Config, Pool, Raw, Tenant, eventually};

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn path_of(kind: &str, object: &Value) -> String {
    format!("/api/v1/{kind}/{}", object["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn ctl_sets_shows_disables_and_deletes_a_frontend() {
    let pool = Pool::start(config()).await;
    let mut ctl = Go::ctl(&pool).await;
    // b3scalectl set frontend --secret … beta
    ctl.status().await;
    assert_eq!(ctl.get("/api/v1/frontends?key=beta").await, json!([]));
    let empty = json!({
        "required_tags": null, "default_presentation": null, "attendees_limit": null,
        "create_default_params": {}, "create_override_params": {},
        "join_default_params": {}, "join_override_params": {}, "recordings": null,
    });
    let sent = json!({
        "id": "", "active": true, "bbb": {"key": "beta", "secret": SECRET}, "settings": empty,
        "account_ref": null, "created_at": "0001-01-01T00:00:00Z",
        "updated_at": "0001-01-01T00:00:00Z",
    });
    let added = ctl.call("POST", "/api/v1/frontends", Some(&sent), 200).await;
    decodes(&added, FRONTEND);
    decodes(&added["settings"], SETTINGS);
    let path = path_of("frontends", &added);
    // It goes on with the update, with what it has been answered.
    assert_eq!(ctl.call("PATCH", &path, Some(&added), 200).await, added);
    // b3scalectl set frontend -j '{…}' beta: settings as they were typed.
    ctl.status().await;
    ctl.one("/api/v1/frontends?key=beta").await;
    let typed = r#"{"settings":{"create_default_params": {"muteOnStart": "true"}}}"#;
    let reply = ctl.send("PATCH", &path, typed, Framing::Chunks).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let changed = json_of(&reply);
    assert_eq!(changed["settings"]["create_default_params"], json!({"muteOnStart": "true"}));
    // b3scalectl show frontends, show frontend beta
    ctl.status().await;
    for frontend in ctl.get("/api/v1/frontends").await.as_array().expect("a list") {
        decodes(frontend, FRONTEND);
        decodes(&frontend["settings"], SETTINGS);
    }
    let shown = ctl.one("/api/v1/frontends?key=beta").await;
    assert_eq!(shown["bbb"], json!({"key": "beta", "secret": SECRET}));
    // b3scalectl disable frontend beta, enable frontend beta: the whole object
    for active in [false, true] {
        ctl.status().await;
        let mut whole = ctl.one("/api/v1/frontends?key=beta").await;
        whole["active"] = json!(active);
        let changed = ctl.call("PATCH", &path, Some(&whole), 200).await;
        assert_eq!(changed, whole);
    }
    // b3scalectl delete frontend beta
    ctl.status().await;
    ctl.one("/api/v1/frontends?key=beta").await;
    let gone = ctl.call("DELETE", &path, None, 200).await;
    decodes(&gone, FRONTEND);
    assert_eq!(gone["active"], false);
    // It takes this for "not found".
    let missing = ctl.call("GET", &path, None, 404).await;
    assert_eq!(missing, json!({"message": "Not Found"}));
}

#[tokio::test]
async fn ctl_sets_stops_and_deletes_a_backend_and_ends_its_meetings() {
    let pool = Pool::start(config().nodes(1)).await;
    let node = sim::Node::start(sim::Settings::default()).await.expect("a node");
    let host = format!("{}/", node.url().trim_end_matches('/'));
    let query = format!("/api/v1/backends?host={}", encoded(&host));
    let mut ctl = Go::ctl(&pool).await;
    // b3scalectl set backend --secret … HOST
    ctl.status().await;
    assert_eq!(ctl.get(&query).await, json!([]));
    let sent = json!({
        "id": "", "node_state": "", "admin_state": "ready",
        "agent_heartbeat": "0001-01-01T00:00:00Z", "agent_ref": null, "last_error": null,
        "latency": 0, "meetings_count": 0, "attendees_count": 0, "load_factor": 0,
        "bbb": {"host": host, "secret": node.secret()}, "settings": {"tags": null},
        "created_at": "0001-01-01T00:00:00Z", "updated_at": "0001-01-01T00:00:00Z",
        "synced_at": "0001-01-01T00:00:00Z",
    });
    let added = ctl.call("POST", "/api/v1/backends", Some(&sent), 200).await;
    decodes(&added, BACKEND);
    assert_eq!((&added["load_factor"], &added["admin_state"]), (&json!(1.0), &json!("ready")));
    let path = path_of("backends", &added);
    // b3scalectl show backends
    ctl.status().await;
    eventually("it is polled", async || ctl.get(&path).await["node_state"] == "ready").await;
    for backend in ctl.get("/api/v1/backends").await.as_array().expect("a list") {
        decodes(backend, BACKEND);
    }
    let shown = ctl.one(&query).await;
    let latency = shown["latency"].as_u64().expect("nanoseconds");
    assert!((1_000..10_000_000_000).contains(&latency), "{latency}");
    assert_ne!(shown["synced_at"], "0001-01-01T00:00:00Z");
    // b3scalectl disable backend HOST, enable backend HOST: the whole object
    for state in ["stopped", "ready"] {
        ctl.status().await;
        let mut whole = ctl.one(&query).await;
        whole["admin_state"] = json!(state);
        let changed = ctl.call("PATCH", &path, Some(&whole), 200).await;
        decodes(&changed, BACKEND);
        assert_eq!(changed["admin_state"], state);
    }
    // b3scalectl set backend -j '{"tags": ["sip"]}' HOST
    let typed = json!({"settings": {"tags": ["sip"]}});
    let tagged = ctl.call("PATCH", &path, Some(&typed), 200).await;
    assert_eq!(tagged["settings"], json!({"tags": ["sip"]}));
    ctl.call("PATCH", &path, Some(&json!({"settings": {"tags": null}})), 200).await;
    // A meeting on it.
    let mut other = ctl.get("/api/v1/backends").await;
    for backend in other.as_array_mut().expect("a list") {
        if backend["id"] != added["id"] {
            backend["admin_state"] = json!("stopped");
            ctl.call("PATCH", &path_of("backends", backend), Some(backend), 200).await;
        }
    }
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    acme.create("biology").await;
    let id = added["id"].as_str().expect("an id");
    let meetings = ctl.get(&format!("/api/v1/meetings?backend_id={id}")).await;
    assert_eq!(meetings.as_array().map(Vec::len), Some(2));
    for meeting in meetings.as_array().expect("a list") {
        decodes(meeting, MEETING);
        decodes(&meeting["meeting"], INFO);
    }
    // b3scalectl end meetings HOST
    ctl.status().await;
    ctl.one(&query).await;
    let command = json!({
        "id": "", "seq": 0, "state": "", "action": "end_all_meetings",
        "params": {"BackendID": id}, "result": null, "deadline": "0001-01-01T00:00:00Z",
        "started_at": null, "stopped_at": null, "created_at": "0001-01-01T00:00:00Z",
    });
    let begun = ctl.call("POST", "/api/v1/commands", Some(&command), 202).await;
    decodes(&begun, COMMAND);
    assert_eq!((&begun["state"], &begun["seq"]), (&json!(""), &json!(0)));
    assert_eq!(begun["params"], command["params"]);
    let command_path = path_of("commands", &begun);
    eventually("it is done", async || {
        let state = ctl.get(&command_path).await;
        decodes(&state, COMMAND);
        state["state"] == "success" && state["result"] == true
    })
    .await;
    decodes(&ctl.get("/api/v1/commands").await[0], COMMAND);
    assert!(node.meetings().iter().all(|meeting| meeting.ended));
    assert_eq!(ctl.get(&format!("/api/v1/meetings?backend_id={id}")).await, json!([]));
    let unknown = ctl.call("GET", "/api/v1/commands/none", None, 500).await;
    assert_eq!(unknown, json!({"message": "Internal Server Error"}));
    // b3scalectl delete backend HOST: it goes by itself when it is empty
    ctl.status().await;
    let shown = ctl.one(&query).await;
    assert_eq!(shown["node_state"], "ready");
    let state = json!({"admin_state": "decommissioned"});
    let leaving = ctl.call("PATCH", &path, Some(&state), 200).await;
    decodes(&leaving, BACKEND);
    assert_eq!(leaving["admin_state"], "decommissioned");
    eventually("it has gone", async || ctl.get(&query).await == json!([])).await;
    // b3scalectl db migrate
    ctl.status().await;
    let database = ctl.call("POST", "/api/v1/ctrl/migrate", None, 200).await;
    decodes(&database, DATABASE);
    node.stop().await;
}

#[tokio::test]
async fn ctl_deletes_a_backend_that_is_not_there_by_force() {
    let pool = Pool::start(config().nodes(1)).await;
    let node = sim::Node::start(sim::Settings::default()).await.expect("a node");
    let host = format!("{}/", node.url().trim_end_matches('/'));
    let mut ctl = Go::ctl(&pool).await;
    let sent = json!({"bbb": {"host": host, "secret": node.secret()}, "admin_state": "ready"});
    let added = ctl.call("POST", "/api/v1/backends", Some(&sent), 200).await;
    let path = path_of("backends", &added);
    eventually("it is polled", async || ctl.get(&path).await["node_state"] == "ready").await;
    node.stop().await;
    eventually("it is away", async || ctl.get(&path).await["node_state"] == "error").await;
    let shown = ctl.get(&path).await;
    assert!(shown["last_error"].is_string(), "{shown}");
    let gone = ctl.call("DELETE", &format!("{path}?force=true"), None, 200).await;
    decodes(&gone, BACKEND);
    assert_eq!(gone["admin_state"], "destroyed");
    eventually("it has gone", async || {
        let missing = ctl.send("GET", &path, "", Framing::Length).await;
        missing.status == 404
    })
    .await;
}

#[tokio::test]
async fn ctl_shows_recordings_and_sets_their_visibility() {
    let pool = Pool::start(config().nodes(2).tenant(Tenant::new("other"))).await;
    let acme = pool.tenant("acme");
    let ids = pool.node(1).add_recordings("room@acme", 2);
    pool.node(0).add_recordings("room@other", 1);
    let mut ctl = Go::ctl(&pool).await;
    // b3scalectl show recordings --frontend acme
    ctl.status().await;
    let listed = ctl.get("/api/v1/recordings?frontend_key=acme").await;
    let shown: Vec<_> = listed.as_array().expect("a list").iter().collect();
    assert_eq!(shown.len(), 2, "{listed}");
    for recording in shown {
        decodes(recording, RECORDING);
        let data = &recording["recording"];
        decodes(data, RECORDING_DATA);
        assert_eq!(data["MeetingID"], "room");
        for format in data["Formats"].as_array().expect("a list") {
            assert!(format["Type"].is_string() && format["Length"].is_u64(), "{format}");
            assert!(format["URL"].as_str().is_some_and(|url| url.starts_with("http")), "{format}");
        }
    }
    // b3scalectl set recording-visibility ID VIS
    let path = format!("/api/v1/recordings/{}", ids[0]);
    for (visibility, is_published, is_listed) in
        [("unpublished", false, "false"), ("public", true, "true"), ("published", true, "false")]
    {
        ctl.status().await;
        let sent = json!({"record_id": ids[0], "visibility": visibility});
        let labelled = ctl.call("POST", "/api/v1/recordings-visibility", Some(&sent), 200).await;
        decodes(&labelled, RECORDING);
        assert_eq!(labelled["recording"]["Published"], is_published, "{visibility}: {labelled}");
        assert_eq!(
            labelled["recording"]["Metadata"]["gl-listed"], is_listed,
            "{visibility}: {labelled}"
        );
        // b3scalectl show recording ID
        assert_eq!(ctl.get(&path).await["recording"], labelled["recording"]);
        let query = format!("recordID={}&state=published", ids[0]);
        let is_seen = acme.get("getRecordings", &query).await.body.contains(&ids[0]);
        assert_eq!(is_seen, is_published, "{visibility}");
    }
}

#[tokio::test]
async fn ctl_creates_and_joins_a_meeting_at_the_address_of_the_api() {
    let pool = Pool::start(config().set("api.public", "true")).await;
    let mut ctl = Go::ctl(&pool).await;
    ctl.raw = Raw::connect(pool.address()).await;
    ctl.host = pool.address().to_string();
    // b3scalectl create-meeting --frontend acme
    ctl.status().await;
    let frontend = ctl.one("/api/v1/frontends?key=acme").await;
    let secret = frontend["bbb"]["secret"].as_str().expect("a secret");
    let bbb = pool.tenant("acme").base("/bbb/acme").secret(secret);
    let target = bbb.target("create", "meetingID=made&moderatorPW=moderator&name=Made");
    let (host, agent) = (&ctl.host, ctl.agent);
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\
         Accept-Encoding: gzip\r\n\r\n"
    );
    ctl.raw.send(request).await;
    let created = ctl.raw.reply().await.expect("an answer");
    created.success();
    let target = bbb.target("join", "fullName=Ada&meetingID=made&password=moderator");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    ctl.raw.send(request).await;
    let joined = ctl.raw.reply().await.expect("an answer");
    assert_eq!(joined.status, 302, "{}", joined.body);
    assert!(joined.header("location").contains("/bigbluebutton/api/join?"));
}

/// An agent, and what it says of meetings: the parameters as base64 of JSON.
async fn rpc(agent: &mut Go, action: &str, payload: &Value) -> Value {
    let payload = STANDARD.encode(payload.to_string());
    let body = json!({"action": action, "payload": payload});
    agent.call("POST", "/api/v1/agent/rpc", Some(&body), 200).await
}

#[tokio::test]
async fn an_agent_registers_beats_and_tells_what_happens() {
    // Polled once, so that nothing but the agent tells anything for the rest of the test.
    let slow = Config::new()
        .nodes(1)
        .set("api.jwt_secret", KEY)
        .set("polling.interval", "10m")
        .tenant(Tenant::new("acme"));
    let pool = Pool::start(slow).await;
    let node = sim::Node::start(sim::Settings::default()).await.expect("a node");
    let host = format!("{}/", node.url().trim_end_matches('/'));
    let mut agent =
        Go::start(&pool, "b3scaleagent/1.4.0", "b3scale:node", "brave-green-otter").await;
    // The start, with -a.
    let status = agent.get("/api/v1").await;
    decodes(&status, STATUS);
    assert_eq!(status["is_admin"], false);
    let unknown = agent.call("GET", "/api/v1/agent/backend", None, 404).await;
    assert_eq!(unknown, json!({"message": "Not Found"}));
    let sent = json!({
        "id": "", "node_state": "", "admin_state": "init",
        "agent_heartbeat": "0001-01-01T00:00:00Z", "agent_ref": null, "last_error": null,
        "latency": 0, "meetings_count": 0, "attendees_count": 0, "load_factor": 1,
        "bbb": {"host": host, "secret": node.secret()}, "settings": {"tags": null},
        "created_at": "0001-01-01T00:00:00Z", "updated_at": "0001-01-01T00:00:00Z",
        "synced_at": "0001-01-01T00:00:00Z",
    });
    let added = agent.call("POST", "/api/v1/backends", Some(&sent), 200).await;
    decodes(&added, BACKEND);
    assert_eq!(added["agent_ref"], "brave-green-otter");
    assert_eq!(added["admin_state"], "stopped", "an admin has the last word");
    let path = path_of("backends", &added);
    // The heartbeat: an empty body, and the type of JSON.
    let beat = agent.call("POST", "/api/v1/agent/heartbeat", None, 200).await;
    decodes(&beat, &[("backend_id", Type::Text), ("heartbeat", Type::Time)]);
    assert_eq!(beat["backend_id"], added["id"]);
    // Started again: what it sends under a key that nobody reads.
    decodes(&agent.get("/api/v1/agent/backend").await, BACKEND);
    let again = json!({"backend": {"host": host, "secret": node.secret()}, "load_factor": 3});
    let same = agent.call("PATCH", &path, Some(&again), 200).await;
    assert_eq!(same["load_factor"], 1.0);

    let mut ctl = Go::ctl(&pool).await;
    eventually("it is polled", async || ctl.get(&path).await["node_state"] == "ready").await;
    for backend in ctl.get("/api/v1/backends").await.as_array().expect("a list") {
        let mut whole = backend.clone();
        whole["admin_state"] =
            json!(if backend["id"] == added["id"] { "ready" } else { "stopped" });
        ctl.call("PATCH", &path_of("backends", backend), Some(&whole), 200).await;
    }
    pool.tenant("acme").create("algebra").await;
    let internal = node.meetings()[0].internal_id.clone();
    let people = async |ctl: &mut Go| ctl.get(&path).await["attendees_count"].clone();
    let before = people(&mut ctl).await.as_u64().expect("a number");
    let ok = json!({"status": "ok", "result": null});
    let running = json!({"internal_meeting_id": internal, "running": true});
    assert_eq!(rpc(&mut agent, "meeting_set_running", &running).await, ok);
    let come = json!({"internal_meeting_id": internal, "attendee": {
        "UserID": "u1", "InternalUserID": "w_1", "FullName": "Ada", "Role": "MODERATOR",
        "IsPresenter": false, "IsListeningOnly": false, "HasJoinedVoice": false,
        "HasVideo": false, "ClientType": "HTML5",
    }});
    assert_eq!(rpc(&mut agent, "meeting_add_attendee", &come).await, ok);
    assert_eq!(rpc(&mut agent, "meeting_add_attendee", &come).await, ok);
    assert_eq!(people(&mut ctl).await, before + 2);
    let gone = json!({"internal_meeting_id": internal, "internal_user_id": "w_1"});
    assert_eq!(rpc(&mut agent, "meeting_remove_attendee", &gone).await, ok);
    assert_eq!(people(&mut ctl).await, before + 1);
    // What is not true stays untrue: the node runs it.
    let reset = json!({"internal_meeting_id": internal});
    assert_eq!(rpc(&mut agent, "meeting_state_reset", &reset).await, ok);
    let own = format!("/api/v1/meetings/internal:{internal}");
    let still = agent.call("DELETE", &own, None, 200).await;
    decodes(&still, MEETING);
    assert_eq!(agent.get(&own).await["meeting"]["MeetingID"], "algebra");
    assert!(node.end_meeting("algebra@acme"));
    // MeetingEndedEvtMsg, then MeetingDestroyedEvtMsg.
    assert_eq!(rpc(&mut agent, "meeting_state_reset", &reset).await, ok);
    agent.call("DELETE", &own, None, 404).await;
    // Nor does an admin's word end what runs.
    pool.tenant("acme").create("biology").await;
    let is_it = |meeting: &&sim::MeetingState| meeting.external_id == "biology@acme";
    let internal = node.meetings().iter().find(is_it).expect("it runs").internal_id.clone();
    let own = format!("/api/v1/meetings/internal:{internal}");
    ctl.call("DELETE", &own, None, 409).await;
    assert!(node.end_meeting("biology@acme"));
    decodes(&ctl.call("DELETE", &own, None, 200).await, MEETING);
    ctl.call("DELETE", &own, None, 404).await;
    // An event of a meeting that does not come.
    let other = json!({"internal_meeting_id": "none-1", "running": true});
    let late = rpc(&mut agent, "meeting_set_running", &other).await;
    assert_eq!(late, json!({"status": "error", "result": "context deadline exceeded"}));
    assert!(!pool.log().contains("Ada"), "no person's name is logged");
    node.stop().await;
}
