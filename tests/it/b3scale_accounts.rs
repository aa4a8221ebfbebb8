//! Tenants that are switched off, and whose they are, through b3scale's API and our own.

use http::Method;
use serde_json::{Value, json};

use crate::api::Operator;
use crate::b3scale_api::{KEY, SECRET, Tool, config, front_end, message, path_of};
use crate::harness::{Config, Plan, Pool, Tenant, eventually};

fn frontend(key: &str, account: &Value) -> Value {
    json!({"bbb": {"key": key, "secret": SECRET}, "account_ref": account})
}

#[tokio::test]
async fn a_tenant_that_is_switched_off_is_as_unknown_and_its_meetings_go_on() {
    let pool = Pool::start(config()).await;
    let admin = Tool::admin(&pool);
    let added = admin.ok(Method::POST, "/frontends", Some(&frontend("beta", &Value::Null))).await;
    let path = path_of("frontends", &added);
    let beta = front_end(&pool);
    beta.create("room").await;
    // As `b3scalectl disable frontend` does it.
    let mut whole = added.clone();
    whole["active"] = json!(false);
    let off = admin.ok(Method::PATCH, &path, Some(&whole)).await;
    assert_eq!(off["active"], false);
    assert_eq!(admin.one("/frontends?key=beta").await, off);
    let refused = beta.get("getMeetings", "").await;
    let unknown = pool.tenant("acme").base("/bbb/nobody/bigbluebutton/api").secret(SECRET);
    let unknown = unknown.get("getMeetings", "").await;
    assert_eq!((refused.status, &refused.body), (unknown.status, &unknown.body));
    assert_eq!(refused.key(), "checksumError");
    // It runs, is polled and counted.
    let native = Operator::of(&pool, "admin").await;
    let shown = native.get("/tenants/beta").await;
    assert_eq!((&shown["enabled"], &shown["status"]["meetings"]), (&json!(false), &json!(1)));
    let on = native.call(Method::PATCH, "/tenants/beta", Some(json!({"enabled": true}))).await;
    assert_eq!(on.status, 200, "{}", on.body);
    assert!(beta.get("getMeetings", "").await.body.contains("room"));
    let refused =
        native.call(Method::PATCH, "/tenants/beta", Some(json!({"enabled": "perhaps"}))).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
}

#[tokio::test]
async fn a_tenant_of_the_file_can_be_switched_off_there() {
    let acme = Tenant::new("acme").set("enabled", "false").set("account", "\"4711\"");
    let bare = Config::new().nodes(1).set("api.jwt_secret", KEY);
    let mut pool = Pool::start(bare.tenant(acme)).await;
    let refused = pool.tenant("acme").get("getMeetings", "").await;
    assert_eq!(refused.key(), "checksumError");
    let admin = Tool::admin(&pool);
    let shown = admin.one("/frontends?account_ref=4711").await;
    assert_eq!((&shown["active"], &shown["account_ref"]), (&json!(false), &json!("4711")));
    let id = shown["id"].clone();
    drop(admin);
    pool.restart().await;
    let admin = Tool::admin(&pool);
    assert_eq!(admin.one("/frontends?key=acme").await["id"], id);
    assert_eq!(pool.tenant("acme").get("getMeetings", "").await.key(), "checksumError");
}

#[tokio::test]
async fn an_account_sees_and_changes_its_own_frontends_only() {
    let mut pool = Pool::start(config()).await;
    let admin = Tool::admin(&pool);
    let limited = json!({
        "bbb": {"key": "beta", "secret": SECRET}, "account_ref": "someone", "active": true,
        "settings": {"attendees_limit": {"limit": 5}},
    });
    let beta = admin.ok(Method::POST, "/frontends", Some(&limited)).await;
    let other = frontend("gamma", &json!("another"));
    let gamma = admin.ok(Method::POST, "/frontends", Some(&other)).await;
    assert_eq!(beta["account_ref"], "someone");
    let token = Tool::new(&pool, "b3scale", "someone").token;
    pool.restart().await;
    let (admin, user) = (Tool::admin(&pool), Tool { pool: &pool, token });
    let nobody = Tool::new(&pool, "b3scale", "");
    assert_eq!(nobody.get("/frontends").await, json!([]));
    assert_eq!(user.one("/frontends").await, beta);
    assert_eq!(user.get("/frontends?account_ref=another").await, json!([]));
    assert_eq!(admin.one("/frontends?account_ref=another").await, gamma);
    let (own, others) = (path_of("frontends", &beta), path_of("frontends", &gamma));
    assert_eq!(user.get(&own).await, beta);
    for method in [Method::GET, Method::PATCH] {
        let hidden = user.call(method, &others, None).await;
        assert_eq!(message(&hidden), (404, "Not Found".to_owned()));
    }
    let change = json!({
        "account_ref": "another", "settings": {"create_default_params": {"welcome": "Hi"}},
    });
    let changed = user.ok(Method::PATCH, &own, Some(&change)).await;
    assert_eq!(changed["settings"]["create_default_params"], json!({"welcome": "Hi"}));
    assert_eq!(changed["account_ref"], "someone", "that is for admins");
    // Nor can it lift what it is limited to.
    admin.ok(Method::PATCH, &own, Some(&json!({"active": false}))).await;
    for change in [
        json!({"active": true}),
        json!({"settings": {"attendees_limit": null}}),
        json!({"settings": {"attendees_limit": {"limit": 500}}}),
        json!({"settings": {"required_tags": ["sip"]}}),
    ] {
        let refused = user.call(Method::PATCH, &own, Some(&change)).await;
        let words = (403, "b3scale:admin scope required".to_owned());
        assert_eq!(message(&refused), words, "{change}");
    }
    let moved = admin.ok(Method::PATCH, &own, Some(&json!({"account_ref": null}))).await;
    assert_eq!((&moved["account_ref"], &moved["active"]), (&Value::Null, &json!(false)));
    eventually("it is nobody's", async || user.get("/frontends").await == json!([])).await;
}

#[tokio::test]
async fn what_one_instance_is_told_holds_at_the_others() {
    let cluster = Plan::new(config(), 2).start().await;
    let [one, two] = [cluster.instance(0), cluster.instance(1)];
    let [first, second] = [one, two].map(Tool::admin);
    let beta = frontend("beta", &json!("someone"));
    let beta = first.ok(Method::POST, "/frontends", Some(&beta)).await;
    let path = path_of("frontends", &beta);
    eventually("the other knows it", async || second.get("/frontends?key=beta").await[0] == beta)
        .await;
    first.ok(Method::PATCH, &path, Some(&json!({"active": false}))).await;
    eventually("it is refused there", async || {
        front_end(two).get("getMeetings", "").await.key() == "checksumError"
    })
    .await;
    assert_eq!(second.get(&path).await["active"], false);
    // Each node is polled by one of them, and how it answers is known to both.
    for tool in [&first, &second] {
        eventually("all are known", async || {
            let backends = tool.get("/backends").await;
            backends.as_array().expect("a list").iter().all(|backend| {
                let is_timed = backend["latency"].as_u64().is_some_and(|latency| latency > 0);
                is_timed && backend["synced_at"] != "0001-01-01T00:00:00Z"
            })
        })
        .await;
    }
}
