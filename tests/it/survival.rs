//! What survives `kill -9`.
//!
//! After the kill the nodes do not tell what they run, so that only what was saved can help.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use portico::sim::Fault;

use crate::edit;
use crate::harness::{Client, Config, Pool, Tenant, eventually};

fn config(nodes: usize) -> Config {
    Config::new().nodes(nodes).tenant(Tenant::new("acme").sub(7)).set("polling.interval", "10m")
}

/// Kills Portico and starts it in front of nodes that refuse to answer until it is ready again.
async fn kill_and_restart(pool: &mut Pool) {
    pool.kill9();
    for node in pool.nodes() {
        node.set_fault(Some(Fault::Refuse));
    }
    pool.restart().await;
}

async fn joins_at(client: &Client, id: &str) -> String {
    let reply = client.get("join", &format!("fullName=Ada&meetingID={id}")).await;
    assert_eq!(reply.status, 302, "{id}: {}", reply.body);
    let location = reply.header("location");
    location.split_once("/join?").expect("a join URL").0.to_owned()
}

#[tokio::test]
async fn a_join_works_at_once_after_a_kill_between_create_and_join() {
    let mut pool = Pool::start(config(3)).await;
    let (acme, seven) = (pool.tenant("acme"), pool.tenant("acme-7"));
    acme.create("algebra").await;
    let internal_id = seven.create("algebra").await.text("internalMeetingID");
    let urls = [pool.node_of("algebra@acme").url(), pool.node_of("algebra@acme-7").url()];
    kill_and_restart(&mut pool).await;
    assert_eq!([joins_at(&acme, "algebra").await, joins_at(&seven, "algebra").await], urls);
    assert_eq!(joins_at(&seven, &internal_id).await, urls[1]);
    assert_eq!(acme.listed().await, ["algebra", "algebra"]);
    let info = acme.get("getMeetingInfo", "meetingID=algebra").await.success();
    assert_eq!(info.text("meetingName"), "A meeting");
}

#[tokio::test]
async fn every_acknowledged_create_survives_a_kill_in_the_middle_of_many() {
    let mut pool = Pool::start(config(4)).await;
    let acme = pool.tenant("acme");
    let answered = Arc::new(AtomicUsize::new(0));
    let creates: Vec<_> = (0..50)
        .map(|number| {
            let (acme, answered) = (acme.clone(), answered.clone());
            tokio::spawn(async move {
                let id = format!("room{number}");
                let query = format!("name=A+meeting&meetingID={id}");
                let reply = acme.try_get("create", &query).await.ok()?;
                answered.fetch_add(1, Ordering::SeqCst);
                reply.is_success().then_some(id)
            })
        })
        .collect();
    eventually("some are answered", async || answered.load(Ordering::SeqCst) >= 10).await;
    kill_and_restart(&mut pool).await;
    let acknowledged: Vec<String> = join_all(creates)
        .await
        .into_iter()
        .filter_map(|create| create.expect("no panic"))
        .collect();
    assert!(acknowledged.len() >= 10);
    for id in acknowledged {
        let node = pool.node_of(&format!("{id}@acme")).url();
        assert_eq!(joins_at(&acme, &id).await, node, "{id}");
    }
}

#[tokio::test]
async fn a_meeting_that_was_ended_does_not_come_back_with_a_restart() {
    let config = config(1).set("polling.interval", "50ms");
    let mut pool =
        Pool::start(config.sim(0, |node| node.minute = std::time::Duration::from_secs(4))).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    acme.create("geometry").await;
    acme.get("end", "meetingID=algebra").await.success();
    eventually("its node has forgotten it", async || acme.listed().await == ["geometry"]).await;
    kill_and_restart(&mut pool).await;
    assert_eq!(acme.listed().await, ["geometry"]);
}

#[tokio::test]
async fn a_node_that_is_deleted_from_the_file_before_a_restart_still_serves_its_meetings() {
    let mut pool = Pool::start(config(2)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let (name, url) = {
        let node = pool.node_of("algebra@acme");
        (node.name().to_owned(), node.url())
    };
    pool.kill9();
    pool.rewrite_config(&edit::without_node(&pool.config_yaml(), &name));
    pool.restart().await;
    let state = format!("portico_node_state{{cluster=\"main\",node=\"{name}\",state=\"retired\"}}");
    assert!(pool.metrics().await.get(&state) > 0.5);
    assert_eq!(joins_at(&acme, "algebra").await, url);
    assert_eq!(acme.create("algebra").await.key(), "duplicateWarning");
    for number in 0..5 {
        let id = format!("new{number}");
        acme.create(&id).await;
        assert_ne!(pool.node_of(&format!("{id}@acme")).name(), name);
    }
    // And again: what is retired is not forgotten by the next restart.
    pool.kill9();
    pool.restart().await;
    assert_eq!(joins_at(&acme, "algebra").await, url);
}
