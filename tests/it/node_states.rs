//! What is wanted of nodes: with the node, by its own path, and of those that are removed while meetings run.

use http::Method;
use portico::sim;
use serde_json::{Value, json};

use crate::api::{Operator, config, fields, json_of};
use crate::command_line_api::Shell;
use crate::edit;
use crate::harness::{Pool, Reply, eventually};

fn assert_status(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.body);
}

fn document(name: &str, node: &sim::Node) -> Value {
    json!({"name": name, "cluster": "main", "url": node.url(), "secret": node.secret()})
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    items.iter().filter_map(|item| item["name"].as_str()).collect()
}

async fn cordon(admin: &Operator<'_>, name: &str) {
    let cordoned = Some(json!({"state": "cordoned"}));
    let path = format!("/nodes/{name}/state");
    assert_status(&admin.call(Method::PUT, &path, cordoned).await, 200);
}

#[tokio::test]
async fn a_node_is_added_in_the_state_that_is_wanted() {
    let pool = Pool::start(config().set("polling.interval", "50ms")).await;
    let admin = Operator::of(&pool, "admin").await;
    let secret = "a-secret-without-blanks".to_owned();
    let settings = sim::Settings { secret, ..sim::Settings::default() };
    let node = sim::Node::start(settings).await.expect("a node");
    for state in [json!("retired"), json!("stopped"), json!({"a": 1}), json!(1)] {
        let mut wrong = document("far", &node);
        wrong["state"] = state;
        let refused = admin.call(Method::POST, "/nodes", Some(wrong)).await;
        assert_status(&refused, 422);
        assert_eq!(fields(&refused), ["state"], "{}", refused.body);
    }
    let mut wanted = document("far", &node);
    wanted["state"] = "cordoned".into();
    let added = admin.call(Method::POST, "/nodes", Some(wanted)).await;
    assert_status(&added, 201);
    assert_eq!(json_of(&added)["state"], "cordoned");
    let trail = admin.get("/changes").await;
    assert_eq!(trail["items"][0]["after"], json!({"state": "cordoned"}));
    eventually("it is up", async || admin.get("/nodes/far").await["status"]["health"] == "up")
        .await;
    for number in 0..6 {
        pool.tenant("acme").create(&format!("room{number}")).await;
    }
    assert!(node.meetings().is_empty());

    let shell = Shell(&pool);
    assert_status(&admin.call(Method::DELETE, "/nodes/far", None).await, 204);
    let add = format!(
        "node add far cluster=main url={} secret={} state=draining --output json",
        node.url(),
        node.secret()
    );
    let told: Value = serde_json::from_str(&shell.out(&add).await).expect("JSON");
    assert_eq!(told["state"], "draining");
}

#[tokio::test]
async fn a_change_of_a_node_does_not_set_its_state() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let node = sim::Node::start(sim::Settings::default()).await.expect("a node");
    assert_status(&admin.call(Method::POST, "/nodes", Some(document("far", &node))).await, 201);
    let patch = async |state: Value| {
        let patch = Some(json!({"weight": 2, "state": state}));
        admin.call(Method::PATCH, "/nodes/far", patch).await
    };
    for state in ["cordoned", "odd"] {
        let refused = patch(state.into()).await;
        assert_status(&refused, 422);
        assert_eq!(fields(&refused), ["state"]);
        let said = "is ready, and set by PUT /api/portico/v1/nodes/far/state alone";
        assert!(refused.body.contains(said), "{}", refused.body);
    }
    let refused = patch(json!({"a": 1})).await;
    assert_status(&refused, 422);
    assert_eq!(fields(&refused), ["state"]);
    assert_eq!(admin.get("/nodes/far").await["weight"], 1.0, "nothing has changed");
    cordon(&admin, "far").await;
    let mut view = admin.get("/nodes/far").await;
    view["weight"] = 3.into();
    assert_status(&admin.call(Method::PATCH, "/nodes/far", Some(view)).await, 200);
    let read = admin.get("/nodes/far").await;
    assert_eq!((&read["weight"], &read["state"]), (&3.0.into(), &"cordoned".into()));
    assert_status(&patch(Value::Null).await, 200);
}

#[tokio::test]
async fn a_state_is_set_by_whoever_has_read_the_node_as_it_is() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let node = sim::Node::start(sim::Settings::default()).await.expect("a node");
    assert_status(&admin.call(Method::POST, "/nodes", Some(document("far", &node))).await, 201);
    let read = async |path: &str| {
        let read = admin.call(Method::GET, path, None).await;
        read.header("etag").to_owned()
    };
    let put = async |path: &str, state: &str, tag: &str| {
        let state = Some(json!({"state": state}));
        let path = format!("{path}/state");
        admin.call_with(Method::PUT, &path, state, &[("if-match", tag)]).await
    };
    let first = read("/nodes/far").await;
    let patched = admin.call(Method::PATCH, "/nodes/far", Some(json!({"weight": 2}))).await;
    assert_status(&patched, 200);
    assert_status(&put("/nodes/far", "cordoned", &first).await, 412);
    assert_eq!(admin.get("/nodes/far").await["state"], "ready");
    // Those of the file have one, too.
    for path in ["/nodes/far", "/nodes/node0"] {
        let tag = read(path).await;
        let set = put(path, "cordoned", &tag).await;
        assert_status(&set, 200);
        assert_ne!(set.header("etag"), tag, "it is another state");
        assert_status(&put(path, "draining", &tag).await, 412);
        assert_eq!(admin.get(path).await["state"], "cordoned");
        assert_status(&put(path, "draining", set.header("etag")).await, 200);
        assert_status(&put(path, "ready", "*").await, 200);
    }
    let tag = read("/nodes/far").await;
    let both =
        futures::join!(put("/nodes/far", "cordoned", &tag), put("/nodes/far", "draining", &tag));
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "one of two comes second");
}

/// Takes a node that runs a meeting out of the file, and gives its name.
async fn retire(pool: &Pool) -> String {
    let name = pool.node_of("room@acme").name().to_owned();
    let read = "configuration read again";
    let times = pool.log().matches(read).count();
    pool.rewrite_config(&edit::without_node(&pool.config_yaml(), &name));
    pool.signal("HUP");
    eventually("the file is read", async || pool.log().matches(read).count() > times).await;
    name
}

#[tokio::test]
async fn a_retired_node_is_seen_and_removed_by_force() {
    let pool = Pool::start(config().set("polling.interval", "100ms")).await;
    let admin = Operator::of(&pool, "admin").await;
    pool.tenant("acme").create("room").await;
    assert!(names(&admin.get("/nodes?state=retired").await).is_empty());
    let name = retire(&pool).await;
    let path = format!("/nodes/{name}");
    assert_eq!(names(&admin.get("/nodes?state=retired").await), [name.as_str()]);
    assert_eq!(names(&admin.get("/nodes?state=retired&tag=none").await), [""; 0]);
    assert_eq!(names(&admin.get("/nodes").await).len(), 1, "the pool is without it");
    let shown = admin.get(&path).await;
    assert_eq!(
        (&shown["state"], &shown["status"]["meetings"]),
        (&"retired".into(), &1.into()),
        "{shown}"
    );
    for (method, path, body) in [
        (Method::PATCH, path.clone(), Some(json!({"weight": 2}))),
        (Method::PUT, format!("{path}/state"), Some(json!({"state": "ready"}))),
        (Method::DELETE, path.clone(), None),
    ] {
        let refused = admin.call(method, &path, body).await;
        assert_status(&refused, 409);
        assert!(refused.body.contains("is retired"), "{}", refused.body);
    }
    let shell = Shell(&pool);
    assert!(shell.out("node list").await.contains("retired"));
    assert!(shell.refused(&format!("node delete {name} --yes"), 1).await.contains("is retired"));
    let forced = shell.out(&format!("node delete {name} --force --yes --output json")).await;
    let forced: Value = serde_json::from_str(&forced).expect("JSON");
    assert_eq!(forced["ended"].as_array().map(Vec::len), Some(1), "{forced}");
    assert_eq!(admin.get("/changes").await["items"][0]["action"], "force");
    eventually("it goes", async || admin.call(Method::GET, &path, None).await.status == 404).await;
    assert!(names(&admin.get("/nodes?state=retired").await).is_empty());
    assert_status(&admin.call(Method::DELETE, &format!("{path}?force=true"), None).await, 404);
    let state = format!("portico_node_state{{cluster=\"main\",node=\"{name}\",state=\"retired\"}}");
    eventually("nothing of it is left", async || {
        pool.metrics().await.series().all(|(name, _)| name != state)
    })
    .await;
}

#[tokio::test]
async fn a_retired_node_that_is_down_is_removed_with_what_is_lost_there() {
    let config = config().set("polling.interval", "100ms").set("polling.down_after", 1);
    let pool = Pool::start(config).await;
    let admin = Operator::of(&pool, "admin").await;
    pool.tenant("acme").create("room").await;
    pool.node_of("room@acme").set_fault(Some(sim::Fault::Refuse));
    let name = retire(&pool).await;
    let path = format!("/nodes/{name}");
    eventually("it is down", async || admin.get(&path).await["status"]["health"] == "down").await;
    let forced = admin.call(Method::DELETE, &format!("{path}?force=true"), None).await;
    assert_status(&forced, 200);
    assert_eq!(json_of(&forced), json!({"ended": [], "left": []}));
    let trail = admin.get("/changes").await["items"][0]["before"].clone();
    assert_eq!(trail["given_up"].as_array().map(Vec::len), Some(1), "{trail}");
    assert!(admin.get("/meetings").await["items"].as_array().is_some_and(Vec::is_empty));
    eventually("it goes", async || admin.call(Method::GET, &path, None).await.status == 404).await;
}
