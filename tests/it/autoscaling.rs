//! What scripts need that add and remove machines: room, what is foreseen, and the script in the documentation.

use std::process::Output;

use http::Method;
use portico::sim;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::api::{self, Operator};
use crate::harness::{Plan, Pool, eventually};
use crate::metrics::{PAST, root};

async fn capacity(operator: &Operator<'_>) -> Value {
    let reply = operator.call(Method::GET, "/capacity", None).await;
    serde_json::from_str(&reply.body).expect("JSON")
}

#[tokio::test]
async fn what_is_foreseen_comes_from_the_past_and_says_how_sure_it_is() {
    let config = api::config()
        .nodes(3)
        .node(0, "capacity", 100)
        .node(1, "capacity", 50)
        .node(2, "capacity", 5);
    let mut cluster = Plan::new(config, 1).without_redis().start().await;
    let operator = Operator::of(cluster.instance(0), "operator").await;
    let nothing = json!({"in_15_minutes": null, "in_60_minutes": null, "removable": null});
    assert_eq!(capacity(&operator).await["predicted"], nothing);
    let metrics = cluster.instance(0).metrics().await;
    assert!(metrics.sum("portico_predicted_attendees", &[]).abs() < 0.5);

    cluster.postgres().sql(cluster.database(), PAST);
    cluster.instance_mut(0).restart().await;
    let pool = cluster.instance(0);
    let operator = Operator::of(pool, "operator").await;
    let admin = Operator::of(pool, "admin").await;
    let set = async |state: &str| {
        for name in ["node1", "node2"] {
            let state = Some(json!({"state": state}));
            admin.call(Method::PUT, &format!("/nodes/{name}/state"), state).await;
        }
    };
    set("cordoned").await;
    pool.tenant("acme").create("room").await.success();
    set("ready").await;
    pool.node(0).add_attendees("room@acme", 60);
    eventually("it is foreseen", async || {
        let told = capacity(&operator).await;
        told["measured"]["attendees"] == 60 && !told["predicted"]["in_60_minutes"].is_null()
    })
    .await;
    // A week ago there were a hundred all the time, and now there are sixty: they stay, or become fewer.
    let told = capacity(&operator).await;
    for horizon in ["in_15_minutes", "in_60_minutes"] {
        let forecast = &told["predicted"][horizon];
        assert_eq!((&forecast["weeks"], &forecast["sureness"]), (&json!(1), &json!("medium")));
        let attendees = forecast["attendees"].as_f64().expect("a number");
        assert!((20.0..=60.0).contains(&attendees), "{told}");
        let free = forecast["free"].as_f64().expect("a number");
        assert!((free + attendees - 155.0).abs() < 0.2, "{told}");
    }
    assert_eq!(told["predicted"]["removable"], json!(["node1", "node2"]));
    let metrics = pool.metrics().await;
    assert!((metrics.get("portico_capacity_attendees") - 155.0).abs() < 0.5);
    assert!((metrics.get("portico_capacity_free_attendees") - 95.0).abs() < 0.5);
    assert!((metrics.get("portico_capacity_removable_nodes") - 2.0).abs() < 0.5);
    assert!((metrics.get("portico_predicted_weeks{horizon=\"60m\"}") - 1.0).abs() < 0.5);
}

/// Runs the script as the documentation has it.
async fn script(pool: &Pool, token: &str, arguments: &[&str]) -> Output {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).expect("a file");
    let (_, script) = text.split_once("```sh\n#!/bin/sh\n").expect("the script");
    let (script, _) = script.split_once("```").expect("its end");
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "portico-node"])
        .args(arguments)
        .env("PORTICO_API", format!("http://{}", pool.admin_address()))
        .env("PORTICO_TOKEN", token)
        .env("PORTICO_WAIT", "0.1")
        .env("PORTICO_TRIES", "2")
        .kill_on_drop(true);
    command.output().await.expect("a shell")
}

#[tokio::test]
async fn a_machine_comes_and_goes_by_the_documented_script() {
    let pool = Pool::start(api::config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let settings = sim::Settings {
        secret: "the secret of the new one".to_owned(),
        ..sim::Settings::default()
    };
    let node = sim::Node::start(settings).await.expect("a node");
    let url = node.url();
    let wrong = script(&pool, &admin.token, &["register", "new", &url, "wrong"]).await;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(
        (wrong.status.code(), said.contains("the secret is wrong")),
        (Some(1), true),
        "{said}"
    );
    for _ in 0..2 {
        let added = script(&pool, &admin.token, &["register", "new", &url, node.secret()]).await;
        assert!(added.status.success(), "{added:?}");
    }
    for name in ["node0", "node1"] {
        let cordon = Some(json!({"state": "cordoned"}));
        admin.call(Method::PUT, &format!("/nodes/{name}/state"), cordon).await;
    }
    let acme = pool.tenant("acme");
    eventually("it takes meetings", async || {
        acme.get("create", "name=A+room&meetingID=room").await.is_success()
    })
    .await;
    assert_eq!(node.meetings().len(), 1);
    let arguments = ["deregister", "new"];
    let leaving = script(&pool, &admin.token, &arguments);
    let ending = async {
        let state = async || {
            let told = admin.call(Method::GET, "/nodes/new", None).await;
            serde_json::from_str::<Value>(&told.body).expect("JSON")["state"].clone()
        };
        eventually("it is draining", async || state().await == "draining").await;
        assert!(!node.meetings()[0].ended, "what runs goes on");
        acme.get("end", "meetingID=room").await.success();
    };
    let (left, ()) = tokio::join!(leaving, ending);
    assert!(left.status.success(), "{left:?}");
    assert_eq!(admin.call(Method::GET, "/nodes/new", None).await.status, 404);
    let denied = script(&pool, "no-token", &arguments).await;
    assert_eq!(denied.status.code(), Some(1));
    // It would wait for ever.
    let of_file = script(&pool, &admin.token, &["deregister", "node0"]).await;
    let said = String::from_utf8_lossy(&of_file.stderr).into_owned();
    let is_told = said.contains("node0 stands in the configuration file");
    assert_eq!((of_file.status.code(), is_told), (Some(1), true), "{said}");
}
