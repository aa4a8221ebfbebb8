//! SIGHUP: the file is read again while requests go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use portico::sim::{self, Fault};

use crate::edit;
use crate::harness::{Client, Config, Pool, Tenant, eventually};

const READ_AGAIN: &str = "configuration read again";

/// Puts another file in force and waits until it is.
async fn reload(pool: &Pool, yaml: &str) {
    let times = pool.log().matches(READ_AGAIN).count();
    pool.rewrite_config(yaml);
    pool.signal("HUP");
    eventually("the file is read", async || pool.log().matches(READ_AGAIN).count() > times).await;
}

fn config(nodes: usize) -> Config {
    Config::new().nodes(nodes).tenant(Tenant::new("acme"))
}

#[tokio::test]
async fn a_node_that_is_added_gets_meetings() {
    let pool = Pool::start(config(1)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let added = sim::Node::start(sim::Settings::default()).await.expect("a node");
    reload(&pool, &edit::with_node(&pool.config_yaml(), "added", &added.url(), added.secret()))
        .await;
    eventually("it is up", async || {
        let up = "portico_node_health{cluster=\"main\",health=\"up\",node=\"added\"}";
        pool.metrics().await.get(up) > 0.5
    })
    .await;
    acme.create("geometry").await;
    assert_eq!(added.meetings().len(), 1, "it is the least loaded");
    let join = acme.get("join", "fullName=Ada&role=VIEWER&meetingID=geometry&redirect=false").await;
    assert_eq!(join.success().key(), "successfullyJoined");
    added.stop().await;
}

#[tokio::test]
async fn a_tenant_that_is_added_is_served() {
    let pool = Pool::start(config(1)).await;
    let secret = "a secret that is not in the file yet";
    let beta = Client {
        base: "/bbb/beta/bigbluebutton/api".to_owned(),
        secret: secret.to_owned(),
        ..pool.tenant("acme")
    };
    assert_eq!(beta.get("getMeetings", "").await.key(), "checksumError");
    reload(&pool, &edit::with_tenant(&pool.config_yaml(), "beta", secret)).await;
    beta.create("algebra").await;
    assert_eq!(beta.listed().await, ["algebra"]);
    assert!(pool.tenant("acme").listed().await.is_empty());
}

#[tokio::test]
async fn a_secret_that_is_changed_counts_from_then_on() {
    let pool = Pool::start(config(1)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let new = "quite another secret for the same tenant";
    let yaml = pool.config_yaml().replace(&acme.secret, new);
    reload(&pool, &yaml).await;
    assert_eq!(acme.get("getMeetings", "").await.key(), "checksumError");
    assert_eq!(acme.secret(new).listed().await, ["algebra"]);
}

#[tokio::test]
async fn a_nodes_secret_that_is_changed_signs_from_then_on() {
    let pool = Pool::start(config(1).set("polling.interval", "10m")).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let right = pool.config_yaml();
    reload(&pool, &right.replace(pool.node(0).secret(), "a mistyped secret for the node")).await;
    let refused = acme.get("create", "name=A+meeting&meetingID=geometry").await;
    assert_eq!(refused.text("returncode"), "FAILED");
    eventually("the log says why", async || pool.log().contains("it refused our checksum")).await;
    reload(&pool, &right).await;
    acme.create("geometry").await;
}

#[tokio::test]
async fn a_node_that_is_deleted_keeps_its_meetings_and_gets_no_more() {
    let minute = Duration::from_secs(4);
    let config = config(2).sim(0, |node| node.minute = minute).sim(1, |node| node.minute = minute);
    let pool = Pool::start(config.set("polling.interval", "50ms")).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let node = pool.node_of("algebra@acme");
    assert!(node.add_attendees("algebra@acme", 1));
    reload(&pool, &edit::without_node(&pool.config_yaml(), node.name())).await;
    let state = |state: &str| {
        format!("portico_node_state{{cluster=\"main\",node=\"{}\",state=\"{state}\"}}", node.name())
    };
    assert!(pool.metrics().await.get(&state("retired")) > 0.5);
    let join = acme.get("join", "fullName=Ada&meetingID=algebra").await;
    assert!(join.header("location").starts_with(&node.url()), "{}", join.body);
    for number in 0..5 {
        acme.create(&format!("new{number}")).await;
    }
    assert_eq!(node.calls("create"), 1);
    // It goes when its last meeting has ended.
    acme.get("end", "meetingID=algebra").await.success();
    eventually("it is gone", async || {
        pool.metrics().await.sum("portico_node_state", &[&format!("\"{}\"", node.name())]) < 0.5
    })
    .await;
}

/// A real node takes a second or two for a create.
#[tokio::test]
async fn a_meeting_that_is_being_created_on_a_node_while_it_is_deleted_can_be_joined() {
    let pool = Pool::start(config(2)).await;
    let acme = pool.tenant("acme");
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(1))));
    }
    let create = tokio::spawn({
        let acme = acme.clone();
        async move { acme.create("algebra").await }
    });
    eventually("it is under way", async || pool.node_calls("create") == 1).await;
    let node = pool.nodes().iter().find(|node| node.calls("create") == 1).expect("just seen");
    reload(&pool, &edit::without_node(&pool.config_yaml(), node.name())).await;
    create.await.expect("it is answered");
    let join = acme.get("join", "fullName=Ada&meetingID=algebra").await;
    assert!(join.header("location").starts_with(&node.url()), "{}", join.body);
}

#[tokio::test]
async fn a_node_that_comes_back_into_the_file_gets_meetings_again() {
    let pool = Pool::start(config(2)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let (all, node) = (pool.config_yaml(), pool.node_of("algebra@acme"));
    reload(&pool, &edit::without_node(&all, node.name())).await;
    reload(&pool, &all).await;
    for number in 0..4 {
        acme.create(&format!("new{number}")).await;
    }
    assert!(node.calls("create") > 1);
    assert_eq!(acme.create("algebra").await.key(), "duplicateWarning");
}

#[tokio::test]
async fn a_bad_file_is_logged_and_the_old_one_stays_in_force() {
    let pool = Pool::start(config(1)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let good = pool.config_yaml();
    for bad in ["clusters: [", "", "polling: { interval: soon }\nclusters: []\n"] {
        let times = pool.log().matches("the configuration stays as it was").count();
        pool.rewrite_config(bad);
        pool.signal("HUP");
        eventually("it is refused", async || {
            pool.log().matches("the configuration stays as it was").count() > times
        })
        .await;
        assert_eq!(acme.listed().await, ["algebra"]);
        assert_eq!(acme.get("join", "fullName=Ada&meetingID=algebra").await.status, 302);
    }
    reload(&pool, &good).await;
    acme.create("geometry").await;
}

#[tokio::test]
async fn what_a_reload_cannot_change_is_named() {
    let pool = Pool::start(config(1)).await;
    let yaml = pool.config_yaml();
    assert!(!yaml.contains("\ncallbacks:") && !yaml.contains("\napi:"), "{yaml}");
    let more = "callbacks: { allow_targets: [10.0.0.0/8] }\n\
                api: { jwt_secret: another-secret-of-32-characters-or-more }\n\
                metrics: { b3scale_names: true }\nstatistics: { retention_days: 7 }\n";
    reload(&pool, &format!("{yaml}\n{more}")).await;
    eventually("it is said", async || {
        let named =
            "changes of api, callbacks, metrics, statistics take effect with the next restart";
        pool.log().contains(named)
    })
    .await;
}

/// Requests on fresh connections, one after the other, as long as `stop` is not set. How many there were.
async fn keep_asking(acme: Client, name: String, stop: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::SeqCst) {
        let id = format!("{name}-{count}");
        acme.create(&id).await;
        let join = acme.get("join", &format!("fullName=Ada&meetingID={id}")).await;
        assert_eq!(join.status, 302, "{}", join.body);
        acme.get("getMeetingInfo", &format!("meetingID={id}")).await.success();
        acme.get("end", &format!("meetingID={id}")).await.success();
        count += 4;
    }
    count
}

#[tokio::test]
async fn twenty_reloads_drop_no_request() {
    let pool = Pool::start(config(3).set("polling.interval", "50ms")).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..4)
        .map(|number| {
            let (acme, stop, done) = (pool.tenant("acme"), stop.clone(), done.clone());
            tokio::spawn(async move {
                let count = keep_asking(acme, format!("room{number}"), stop).await;
                done.fetch_add(count, Ordering::SeqCst);
            })
        })
        .collect();
    let all = pool.config_yaml();
    let fewer = edit::without_node(&all, "node1");
    let fewer = edit::with_tenant(&fewer, "beta", "a secret that comes and goes with its tenant");
    for round in 0..20 {
        reload(&pool, if round % 2 == 0 { &fewer } else { &all }).await;
    }
    stop.store(true, Ordering::SeqCst);
    for task in asking {
        task.await.expect("no request fails");
    }
    assert!(done.load(Ordering::SeqCst) >= 20);
}
