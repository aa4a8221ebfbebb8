//! Meetings and nodes that another instance knows, and this one not yet.

use std::time::Duration;

use portico::sim::{self, Fault};
use tokio::time::timeout;

use crate::edit;
use crate::harness::{Client, Cluster, Config, Plan, Tenant, eventually};

/// By then a call that would not wait has an answer.
const A_WHILE: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config::new().nodes(1).tenant(Tenant::new("acme"))
}

/// None of them polls again.
async fn two() -> Cluster {
    over_postgres(config().set("polling.interval", "10m")).await
}

/// Two instances that hear each other by nothing else.
async fn over_postgres(config: Config) -> Cluster {
    Plan::new(config, 2).without_redis().own_postgres().start().await
}

fn acme(cluster: &Cluster, instance: usize) -> Client {
    cluster.instance(instance).tenant("acme")
}

fn sql(cluster: &Cluster, statement: &str) -> String {
    cluster.postgres().sql(cluster.database(), statement).trim().to_owned()
}

#[tokio::test]
async fn what_loses_to_a_meeting_that_cannot_be_known_is_ended_and_not_acknowledged() {
    let cluster = two().await;
    acme(&cluster, 1).create("other").await;
    let node = &cluster.nodes()[0];
    node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(2))));
    let one = acme(&cluster, 0);
    let creating = tokio::spawn(async move {
        let hook = "meta_endCallbackUrl=http%3A%2F%2F127.0.0.1%3A9%2Fend";
        one.get("create", &format!("name=A+meeting&meetingID=algebra&{hook}")).await
    });
    let before = node.calls("create");
    eventually("a node is asked", async || node.calls("create") > before || before > 1).await;
    // As if the store had been away for longer than the lease, and another instance quicker.
    let instead = "DELETE FROM claims;
        UPDATE meetings SET meeting_id = 'algebra', node = 'brand-new' WHERE meeting_id = 'other'";
    sql(&cluster, instead);
    let refused = creating.await.expect("it has ended");
    assert_eq!(refused.key(), "serverUnavailable", "{}", refused.body);
    let meetings = node.meetings();
    let mut running = meetings.iter().filter(|meeting| !meeting.ended);
    let is_ours = running.any(|meeting| meeting.external_id == "algebra@acme");
    assert!(!is_ours, "nobody knows of it, and it runs");
    let join = acme(&cluster, 0).get("join", "fullName=Ada&meetingID=algebra").await;
    assert_ne!(join.status, 302);
    assert_eq!(sql(&cluster, "SELECT internal_id FROM meetings").lines().count(), 1);
}

#[tokio::test]
async fn a_create_that_has_waited_is_placed_on_the_nodes_of_that_moment() {
    let cluster = over_postgres(config()).await;
    let theirs = "INSERT INTO claims
        VALUES ('acme', 0, 'algebra', 'another', 1, clock_timestamp() + interval '60 s')";
    sql(&cluster, theirs);
    let one = acme(&cluster, 0);
    let creating = one.create("algebra");
    tokio::pin!(creating);
    assert!(timeout(A_WHILE, &mut creating).await.is_err(), "somebody else creates it");
    let (pool, old) = (cluster.instance(0), &cluster.nodes()[0]);
    let new = sim::Node::start(sim::Settings::default()).await.expect("a node");
    let yaml = pool.config_yaml().replace(&old.url(), &new.url());
    pool.reload(&yaml.replace(old.secret(), new.secret())).await;
    eventually("it is up", async || {
        let up = "portico_node_health{cluster=\"main\",health=\"up\",node=\"node0\"}";
        new.calls("getMeetings") > 0 && pool.metrics().await.get(up) > 0.5
    })
    .await;
    sql(&cluster, "DELETE FROM claims");
    creating.await;
    assert_eq!((old.meetings().len(), new.meetings().len()), (0, 1));
    new.stop().await;
}

#[tokio::test]
async fn a_create_that_has_waited_reaches_a_meeting_on_a_node_of_that_moment() {
    let cluster = two().await;
    acme(&cluster, 0).create("algebra").await;
    sql(&cluster, "UPDATE meetings SET node = 'added'");
    let other = acme(&cluster, 1);
    let creating = other.create("algebra");
    tokio::pin!(creating);
    assert!(timeout(A_WHILE, &mut creating).await.is_err(), "its node is not known");
    // The same server by another name.
    let (pool, node) = (cluster.instance(1), &cluster.nodes()[0]);
    let url = node.url().replace("127.0.0.1", "localhost");
    pool.reload(&edit::with_node(&pool.config_yaml(), "added", &url, node.secret())).await;
    creating.await;
    assert_eq!(node.meetings().len(), 1);
}
