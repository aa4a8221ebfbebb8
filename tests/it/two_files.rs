//! Instances over one store whose files differ.

use std::time::Duration;

use portico::sim::{Node, Settings};
use tokio::time::Instant;

use crate::edit;
use crate::harness::{Cluster, Config, Plan, Tenant, eventually};

const INTERVAL: Duration = Duration::from_secs(1);

async fn in_touch(cluster: &Cluster) {
    for pool in cluster.instances() {
        eventually("they are in touch", async || {
            let metrics = pool.metrics().await;
            metrics.get("portico_bus_instances") > 1.5 && metrics.get("portico_bus_up") > 0.5
        })
        .await;
    }
}

fn polls(nodes: &[&Node]) -> Vec<usize> {
    nodes.iter().map(|node| node.calls("getMeetings")).collect()
}

#[tokio::test]
async fn the_file_that_is_new_is_in_force_on_all_and_each_node_is_polled_by_one() {
    let config = Config::new().nodes(3).tenant(Tenant::new("acme"));
    let mut cluster = Plan::new(config.set("polling.interval", "1s"), 2).start().await;
    in_touch(&cluster).await;
    let added = Settings { name: "added".to_owned(), ..Settings::default() };
    let added = Node::start(added).await.expect("a node");

    // A file that was never applied counts at a start.
    let yaml = edit::without_node(&cluster.instance(1).config_yaml(), "node2");
    let yaml = edit::with_node(&yaml, "added", &added.url(), added.secret());
    cluster.instance(1).rewrite_config(&yaml);
    cluster.instance_mut(1).restart().await;
    let applied = async || cluster.instance(0).log().contains("has applied them, revision");
    eventually("the other follows", applied).await;
    // The other file does not come back into force by a restart.
    cluster.instance_mut(0).restart().await;
    let warning = "this file is older than what is in force (applied by ";
    assert!(cluster.instance(0).log().contains(warning), "{}", cluster.instance(0).log());
    in_touch(&cluster).await;
    for pool in cluster.instances() {
        eventually("it knows these nodes and no other", async || {
            let metrics = pool.metrics().await;
            let up = |name: &str| {
                let labels = [format!("node=\"{name}\""), "health=\"up\"".to_owned()];
                metrics.sum("portico_node_health", &[&labels[0], &labels[1]]) > 0.5
            };
            up("node0") && up("node1") && up("added") && !up("node2")
        })
        .await;
    }

    let gone = cluster.nodes()[2].calls("getMeetings");
    let nodes = [&cluster.nodes()[0], &cluster.nodes()[1], &added];
    let (begun, before) = (Instant::now(), polls(&nodes));
    let more = || -> Vec<usize> {
        polls(&nodes).iter().zip(&before).map(|(now, before)| now - before).collect()
    };
    eventually("every node is polled", async || more().iter().all(|more| *more >= 3)).await;
    // By two instances it would be twice as often.
    let rounds = begun.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
    let most = more().into_iter().max().unwrap_or_default();
    assert!(most <= 4 && rounds > 1.7, "{most} polls of one node in {rounds} intervals");
    assert_eq!(cluster.nodes()[2].calls("getMeetings"), gone, "it is nobody's node any more");

    // Both place meetings on all of them.
    for pool in cluster.instances() {
        let (acme, before) = (pool.tenant("acme"), added.calls("create"));
        let mut number = 0;
        eventually("one is created on the new node", async || {
            number += 1;
            acme.create(&format!("room{number}-{before}")).await;
            added.calls("create") > before
        })
        .await;
    }
    added.stop().await;
}
