//! b3scale's commands, at several instances: a balancer sends each question to another one.

use http::Method;
use portico::sim::Fault;
use serde_json::{Value, json};

use crate::b3scale_api::{Tool, config, json_of};
use crate::harness::{Cluster, Plan, Pool, Postgres, eventually};

const END: &str = "end_all_meetings";

/// The node of a backend has a meeting, known to all.
async fn with_meeting(cluster: &Cluster) -> Value {
    cluster.instance(0).tenant("acme").create("room").await.success();
    let url = cluster.instance(0).node_of("room@acme").url();
    let tool = Tool::admin(cluster.instance(1));
    let mut backend = Value::Null;
    eventually("the other knows the meeting", async || {
        let backends = tool.get("/backends").await;
        let is_its =
            |one: &&Value| one["bbb"]["host"].as_str().is_some_and(|host| host.starts_with(&url));
        backend = backends.as_array().expect("a list").iter().find(is_its).expect("it").clone();
        let path = format!("/meetings?backend_id={}", backend["id"].as_str().expect("an id"));
        tool.get(&path).await.as_array().is_some_and(|list| list.len() == 1)
    })
    .await;
    backend
}

/// Has a backend's meetings ended; tells the id of the command.
async fn end_all(tool: &Tool<'_>, backend: &Value) -> String {
    let command = json!({"action": END, "params": {"BackendID": backend["id"]}});
    let begun = tool.call(Method::POST, "/commands", Some(&command)).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    json_of(&begun)["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn whichever_instance_is_asked_knows_what_became_of_a_command() {
    let cluster = Plan::new(config(), 2).start().await;
    let backend = with_meeting(&cluster).await;
    let [first, second] = [0, 1].map(|index| Tool::admin(cluster.instance(index)));
    let id = end_all(&first, &backend).await;
    // From the first question on: whoever polls gives up when it fails.
    eventually("it is done", async || {
        let command = second.get(&format!("/commands/{id}")).await;
        assert_eq!((&command["action"], &command["id"]), (&json!(END), &json!(id)));
        command["state"] == "success" && command["result"] == true
    })
    .await;
    let other = end_all(&second, &backend).await;
    let listed = first.get("/commands").await;
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&json!(id), &json!(other)), "{listed}");
    assert!(listed[0]["seq"].as_u64() < listed[1]["seq"].as_u64(), "{listed}");
    assert_eq!(first.call(Method::GET, "/commands/none", None).await.status, 500);
}

#[tokio::test]
async fn a_command_whose_instance_died_comes_to_its_end() {
    let mut cluster = Plan::new(config(), 2).start().await;
    let backend = with_meeting(&cluster).await;
    for node in cluster.nodes() {
        node.set_call_fault("end", Some(Fault::Hang));
    }
    let id = end_all(&Tool::admin(cluster.instance(0)), &backend).await;
    let path = format!("/commands/{id}");
    let asked = async || cluster.node_calls("end") > 0;
    eventually("it is under way", asked).await;
    cluster.instance_mut(0).kill9();
    let second = Tool::admin(cluster.instance(1));
    let open = second.get(&path).await;
    assert_eq!((&open["state"], &open["result"]), (&json!("requested"), &Value::Null));
    // As if its two minutes and some were over.
    let past = "UPDATE commands SET created_at_ms = created_at_ms - 131000, deadline_ms = deadline_ms - 131000";
    cluster.postgres().sql(cluster.database(), past);
    let lost = second.get(&path).await;
    assert_eq!((&lost["state"], &lost["result"]), (&json!("error"), &json!("timedout")), "{lost}");
    assert_eq!(lost["stopped_at"], lost["deadline"]);
}

#[tokio::test]
async fn whoever_carries_a_command_out_knows_of_it_without_the_store() {
    let cluster = Plan::new(config(), 2).own_postgres().start().await;
    let backend = with_meeting(&cluster).await;
    for node in cluster.nodes() {
        node.set_call_fault("end", Some(Fault::Hang));
    }
    let first = Tool::admin(cluster.instance(0));
    let path = format!("/commands/{}", end_all(&first, &backend).await);
    eventually("it is under way", async || cluster.node_calls("end") > 0).await;
    cluster.postgres().stop();
    let open = first.get(&path).await;
    assert_eq!((&open["state"], &open["result"]), (&json!("requested"), &Value::Null), "{open}");
    assert!(open["started_at"].is_string(), "{open}");
    let other = Tool::admin(cluster.instance(1)).call(Method::GET, &path, None).await;
    assert_eq!(other.status, 503, "{}", other.body);
}

#[tokio::test]
async fn commands_are_judged_by_the_clock_of_the_store() {
    let server = Postgres::shared();
    let database = server.create_database();
    // Its clock is an hour ahead of ours.
    server.sql(
        &database,
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
            AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''",
    );
    let ahead = format!("ALTER DATABASE {database} SET search_path = public, pg_catalog");
    server.sql("postgres", &ahead);
    let config = config().set("store.kind", "postgres").set("store.url", server.url(&database));
    let pool = Pool::start(config).await;
    let tool = Tool::admin(&pool);
    // Another one has taken these: one is over by now, the other is not.
    server.sql(
        &database,
        "INSERT INTO commands (id, backend, created_at_ms, deadline_ms)
            SELECT id, 'x', now_ms - 131000 + more, now_ms - 11000 + more
            FROM (VALUES ('late', 0), ('open', 60000)) known (id, more),
                (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) clock",
    );
    for (id, state) in [("late", "error"), ("open", "requested")] {
        let told = tool.get(&format!("/commands/{id}")).await;
        assert_eq!(told["state"], state, "{told}");
    }
    let path = format!("/commands/{}", end_all(&tool, &json!({"id": "nobody"})).await);
    eventually("it is done", async || tool.get(&path).await["state"] == "error").await;
    let listed = tool.get("/commands").await;
    let states: Vec<_> = [0, 1, 2].map(|index| listed[index]["state"].clone()).into();
    assert_eq!(states, ["error", "requested", "error"], "{listed}");
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(50);
    for field in ["created_at", "started_at", "stopped_at"] {
        let at: jiff::Timestamp =
            listed[2][field].as_str().expect("a time").parse().expect("a time");
        assert!(at > soon, "{field}: {listed}");
    }
}
