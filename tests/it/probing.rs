//! A node is asked before it is added or changed, but not where it is clear before that it will not be.

use http::Method;
use serde_json::json;

use crate::api::{KEY, Operator, fields};
use crate::api_live::{another_node, node_document};
use crate::harness::{Config, Pool, Tenant, eventually};

#[tokio::test]
async fn what_is_refused_in_any_case_is_refused_before_the_node_is_asked() {
    let config = Config::new().nodes(1).set("api.jwt_secret", KEY).tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let admin = Operator::of(&pool, "admin").await;
    let node = another_node().await;
    let document = node_document("added", &node.url(), node.secret());
    let added = admin.call(Method::POST, "/nodes?probe=true", Some(document)).await;
    assert_eq!(added.status, 201, "{}", added.body);
    // Who asks it hears nothing.
    let silent = another_node().await;
    silent.set_fault(Some(portico::sim::Fault::Hang));
    let known = pool.node(0).url();
    for (patch, wrong) in [
        (json!({"url": silent.url(), "cluster": "nowhere"}), "cluster"),
        // Asked it would refuse the secret.
        (json!({"url": known, "secret": "wrong"}), "url"),
        (json!({"name": "other", "url": silent.url()}), "name"),
    ] {
        let refused = admin.call(Method::PATCH, "/nodes/added?probe=true", Some(patch)).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec![wrong.to_owned()]));
        assert!(!refused.body.contains("checksum"), "{}", refused.body);
    }
    let mut document = node_document("more", &silent.url(), "x");
    document["cluster"] = json!("nowhere");
    let refused = admin.call(Method::POST, "/nodes?probe=true", Some(document)).await;
    assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec!["cluster".to_owned()]));
    let again = node_document("added", &silent.url(), "x");
    let refused = admin.call(Method::POST, "/nodes?probe=true", Some(again)).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let cordon = Some(json!({"state": "cordoned"}));
    admin.call(Method::PUT, "/nodes/node0/state", cordon).await;
    eventually("it takes meetings", async || {
        admin.get("/nodes/added/explanation").await["items"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    pool.tenant("acme").create("algebra").await;
    let moved = Some(json!({"url": silent.url()}));
    let refused = admin.call(Method::PATCH, "/nodes/added?probe=true", moved).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("meetings run on node added"), "{}", refused.body);
    let asked = ["", "getMeetings"].map(|call| silent.calls(call));
    assert_eq!(asked, [0, 0]);
}
