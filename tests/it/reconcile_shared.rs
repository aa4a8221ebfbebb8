//! What nodes report, and what several instances know through their store.

use portico::sim::Node;

use crate::harness::{Cluster, Config, Plan, Tenant, eventually};
use crate::reconcile::{joins_go_to, live, plant, polled};

/// Two instances that share nothing but PostgreSQL, so both poll all nodes.
fn plan() -> Plan {
    let config = Config::new().nodes(2).tenant(Tenant::new("acme"));
    Plan::new(config.set("polling.interval", "100ms"), 2).without_redis()
}

fn rows(cluster: &Cluster) -> String {
    let select = "SELECT node || ' ' || internal_id FROM meetings ORDER BY 1";
    cluster.postgres().sql(cluster.database(), select).trim().to_owned()
}

/// The node that has the meeting, and the other one.
fn sides<'c>(cluster: &'c Cluster, id: &str) -> (&'c Node, &'c Node) {
    let [first, second] = cluster.nodes() else { panic!("two nodes") };
    if live(first, id) { (first, second) } else { (second, first) }
}

async fn all_join_at(cluster: &Cluster, id: &str, node: &Node) -> bool {
    for pool in cluster.instances() {
        if !joins_go_to(&pool.tenant("acme"), id, node).await {
            return false;
        }
    }
    true
}

fn ends(cluster: &Cluster) -> usize {
    cluster.nodes().iter().map(|node| node.calls("end")).sum()
}

#[tokio::test]
async fn what_one_instance_creates_the_other_adopts_and_nobody_ends() {
    let cluster = plan().start().await;
    let created = cluster.instance(0).tenant("acme").create("algebra").await;
    let (ours, _) = sides(&cluster, "algebra@acme");
    eventually("both have it", async || all_join_at(&cluster, "algebra", ours).await).await;
    polled(ours, 5).await;
    assert_eq!(ends(&cluster), 0);
    assert_eq!(rows(&cluster), format!("{} {}", ours.name(), created.text("internalMeetingID")));
}

#[tokio::test]
async fn instances_agree_on_which_double_goes_on() {
    let cluster = plan().start().await;
    let created = cluster.instance(0).tenant("acme").create("algebra").await;
    let (ours, other) = sides(&cluster, "algebra@acme");
    plant(cluster.instance(0), other, "algebra@acme").await;
    eventually("the double is ended", async || !live(other, "algebra@acme")).await;
    polled(ours, 5).await;
    assert!(live(ours, "algebra@acme"));
    assert_eq!(ours.calls("end"), 0);
    assert!(all_join_at(&cluster, "algebra", ours).await);
    let expected = format!("{} {}", ours.name(), created.text("internalMeetingID"));
    assert_eq!(rows(&cluster), expected);
}

#[tokio::test]
async fn all_instances_and_the_store_follow_to_the_one_with_people() {
    let cluster = plan().start().await;
    cluster.instance(0).tenant("acme").create("algebra").await;
    let (ours, other) = sides(&cluster, "algebra@acme");
    eventually("both have it", async || all_join_at(&cluster, "algebra", ours).await).await;
    // Claimed as if it were being created, so that nobody looks before its people are in.
    claim(&cluster, "algebra");
    let winner = plant(cluster.instance(0), other, "algebra@acme").await;
    other.add_attendees("algebra@acme", 3);
    release(&cluster);
    eventually("the empty one is ended", async || !live(ours, "algebra@acme")).await;
    eventually("all follow", async || all_join_at(&cluster, "algebra", other).await).await;
    polled(other, 5).await;
    assert!(live(other, "algebra@acme"));
    assert_eq!(other.calls("end"), 0);
    assert_eq!(rows(&cluster), format!("{} {winner}", other.name()));
}

fn claim(cluster: &Cluster, id: &str) {
    let insert = format!(
        "INSERT INTO claims VALUES ('acme', 0, '{id}', 'another', 1, now() + interval '1 hour')"
    );
    cluster.postgres().sql(cluster.database(), &insert);
}

fn release(cluster: &Cluster) {
    cluster.postgres().sql(cluster.database(), "DELETE FROM claims");
}

#[tokio::test]
async fn what_another_instance_is_creating_is_left_alone() {
    let cluster = plan().start().await;
    claim(&cluster, "algebra");
    let [node, _] = cluster.nodes() else { panic!("two nodes") };
    plant(cluster.instance(0), node, "algebra@acme").await;
    polled(node, 5).await;
    assert_eq!(rows(&cluster), "");
    for pool in cluster.instances() {
        assert!(!pool.log().contains("meetings that were not known"), "{}", pool.log());
    }
    release(&cluster);
    eventually("it is adopted", async || all_join_at(&cluster, "algebra", node).await).await;
    assert_eq!(ends(&cluster), 0);
}

#[tokio::test]
async fn while_postgres_is_away_no_double_is_ended_and_what_is_free_is_adopted() {
    let cluster = plan().own_postgres().start().await;
    cluster.instance(0).tenant("acme").create("algebra").await;
    let (ours, other) = sides(&cluster, "algebra@acme");
    eventually("both have it", async || all_join_at(&cluster, "algebra", ours).await).await;
    cluster.postgres().stop();
    plant(cluster.instance(0), other, "algebra@acme").await;
    plant(cluster.instance(0), other, "geometry@acme").await;
    let listed = async || cluster.instance(1).tenant("acme").listed().await;
    eventually("it is adopted", async || listed().await == ["algebra", "geometry"]).await;
    polled(other, 5).await;
    assert_eq!(ends(&cluster), 0);
    assert!(live(other, "algebra@acme"));
    cluster.postgres().start();
    eventually("the double is ended", async || !live(other, "algebra@acme")).await;
    eventually("all is saved", async || rows(&cluster).lines().count() == 2).await;
    assert!(live(ours, "algebra@acme") && live(other, "geometry@acme"));
    assert_eq!(ours.calls("end"), 0);
}
