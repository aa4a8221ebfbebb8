//! Nodes that nobody uses who is served.

use http::Method;
use portico::sim;
use serde_json::{Value, json};

use crate::api::{Operator, config};
use crate::harness::{Pool, Reply, eventually};

fn assert_status(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.body);
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    items.iter().filter_map(|item| item["name"].as_str()).collect()
}

#[tokio::test]
async fn a_node_of_tenants_that_are_switched_off_is_idle_and_says_so() {
    let config = config().nodes(1).node(0, "capacity", 100).set("polling.interval", "100ms");
    let pool = Pool::start(config).await;
    let admin = Operator::of(&pool, "admin").await;
    let node = sim::Node::start(sim::Settings::default()).await.expect("a node");
    let far = json!({
        "name": "far", "cluster": "spare", "url": node.url(), "secret": node.secret(),
    });
    for (path, document) in [
        ("/clusters", json!({"name": "spare"})),
        ("/cluster-groups", json!({"name": "spares", "clusters": ["spare"]})),
        ("/nodes", far),
    ] {
        assert_status(&admin.call(Method::POST, path, Some(document)).await, 201);
    }
    let tenant = |slug: &str, enabled: bool, tags: Value| json!({"slug": slug, "cluster_group": "spares", "enabled": enabled, "required_tags": tags});
    let add = async |document: Value| {
        assert_status(&admin.call(Method::POST, "/tenants", Some(document)).await, 201);
    };
    let why = async || {
        let told = admin.get("/nodes/far/explanation").await["items"].clone();
        let reasons = told.as_array().expect("a list").iter();
        reasons.map(|one| one["reason"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    eventually("both are up", async || {
        names(&admin.get("/nodes?health=up").await) == ["far", "node0"]
    })
    .await;
    add(tenant("beta", false, json!([]))).await;
    add(tenant("gamma", false, json!(["sip"]))).await;
    assert_eq!(
        why().await,
        ["every tenant that could use it is switched off: beta; gamma (which also requires sip)"]
    );
    let told = admin.get("/capacity").await;
    let room = (&told["measured"]["nodes"], &told["configured"]["attendees"]);
    assert_eq!(room, (&1.into(), &100.0.into()), "{told}");
    add(tenant("delta", true, json!(["big"]))).await;
    assert_eq!(
        why().await,
        [
            "it lacks tags that every enabled tenant that could use it requires: delta (big)",
            "every other tenant that could use it is switched off: beta; gamma (which also requires sip)"
        ]
    );
    let enable = Some(json!({"enabled": true}));
    assert_status(&admin.call(Method::PATCH, "/tenants/beta", enable).await, 200);
    assert_eq!(why().await, [""; 0]);
    assert_eq!(admin.get("/capacity").await["measured"]["nodes"], 2);
}
