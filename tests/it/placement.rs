//! Which node a new meeting goes to, and what happens when that node does not take it.

use std::time::Duration;

use futures::future::join_all;
use portico::sim::{self, Fault};

use crate::harness::{Config, Pool, Tenant, eventually};

/// Polls come no more after the first ones: what is known of the nodes stays as it was at the start.
const NEVER: &str = "10m";

fn live_meetings(node: &sim::Node) -> usize {
    node.meetings().iter().filter(|meeting| !meeting.ended).count()
}

/// Creates so many meetings at the same time.
async fn create_many(pool: &Pool, tenant: &str, prefix: &str, count: usize) {
    let client = pool.tenant(tenant);
    join_all((0..count).map(|number| {
        let (client, id) = (client.clone(), format!("{prefix}{number}"));
        async move { client.create(&id).await }
    }))
    .await;
}

fn spread(pool: &Pool) -> Vec<usize> {
    pool.nodes().iter().map(live_meetings).collect()
}

#[tokio::test]
async fn two_hundred_meetings_at_once_spread_evenly_over_ten_equal_nodes() {
    let config = Config::new().nodes(10).tenant(Tenant::new("acme")).set("polling.interval", "5s");
    let pool = Pool::start(config).await;
    create_many(&pool, "acme", "room", 200).await;
    let spread = spread(&pool);
    assert_eq!(spread.iter().sum::<usize>(), 200);
    assert!(spread.iter().all(|&count| count <= 22), "{spread:?}");
}

/// Polls see some of the meetings while others are still on their way.
#[tokio::test]
async fn polls_in_the_middle_of_a_rush_do_not_upset_the_spread() {
    let config =
        Config::new().nodes(10).tenant(Tenant::new("acme")).set("polling.interval", "50ms");
    let pool = Pool::start(config).await;
    create_many(&pool, "acme", "room", 200).await;
    let spread = spread(&pool);
    assert_eq!(spread.iter().sum::<usize>(), 200);
    assert!(spread.iter().all(|&count| count <= 22), "{spread:?}");
}

#[tokio::test]
async fn two_hundred_creates_of_one_meeting_give_one_meeting() {
    let pool = Pool::start(Config::new().nodes(10).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let replies = join_all((0..200).map(|_| acme.create("one"))).await;
    assert_eq!(spread(&pool).iter().sum::<usize>(), 1);
    let first = &replies[0];
    for reply in &replies {
        for name in ["meetingID", "createTime", "internalMeetingID", "moderatorPW"] {
            assert_eq!(reply.text(name), first.text(name), "{}", reply.body);
        }
    }
    let keyed = |key: &str| replies.iter().filter(|reply| reply.key() == key).count();
    assert_eq!((keyed(""), keyed("duplicateWarning")), (1, 199));
    assert_eq!(acme.listed().await, ["one"]);
}

#[tokio::test]
async fn a_node_of_twice_the_weight_gets_about_twice_the_meetings() {
    let config = Config::new().nodes(2).node(1, "weight", 2).tenant(Tenant::new("acme"));
    let pool = Pool::start(config.set("polling.interval", NEVER)).await;
    create_many(&pool, "acme", "room", 90).await;
    let spread = spread(&pool);
    // A few more than that: the large one has more room for a meeting that may become anything.
    assert!((27..=31).contains(&spread[0]) && (59..=63).contains(&spread[1]), "{spread:?}");
}

#[tokio::test]
async fn a_tenant_that_requires_tags_gets_nodes_that_have_them_all() {
    let config = Config::new()
        .nodes(3)
        .node(1, "tags", "[sip]")
        .node(2, "tags", "[gpu, sip, big]")
        .tenant(Tenant::new("acme").set("required_tags", "[sip, gpu]"))
        .tenant(Tenant::new("plain"));
    let pool = Pool::start(config).await;
    create_many(&pool, "acme", "room", 12).await;
    assert_eq!(spread(&pool), [0, 0, 12]);
    create_many(&pool, "plain", "room", 12).await;
    assert!(spread(&pool).iter().all(|&count| count > 0), "{:?}", spread(&pool));
}

#[tokio::test]
async fn a_tenant_gets_only_nodes_of_its_cluster_group() {
    let config = Config::new()
        .nodes(4)
        .node_in(0, "north")
        .node_in(1, "south")
        .node_in(2, "south")
        .node_in(3, "west")
        .group("cold", &["north"])
        .group("warm", &["south", "west"])
        .tenant(Tenant::new("acme").set("cluster_group", "cold"))
        .tenant(Tenant::new("beta").set("cluster_group", "warm"));
    let pool = Pool::start(config).await;
    create_many(&pool, "acme", "room", 9).await;
    assert_eq!(spread(&pool), [9, 0, 0, 0]);
    create_many(&pool, "beta", "room", 9).await;
    assert_eq!(spread(&pool), [9, 3, 3, 3]);
}

#[tokio::test]
async fn b3scale_weighs_attendees_once_they_outnumber_fifteen_per_meeting() {
    let config = Config::new().nodes(2).cluster("main", "policy", "b3scale");
    let pool = Pool::start(config.tenant(Tenant::new("acme"))).await;
    pool.tenant("acme").create("full").await;
    let full = pool.node_of("full@acme");
    assert!(full.add_attendees("full@acme", 45));
    let name = full.name().to_owned();
    let attendees = format!("portico_node_attendees{{cluster=\"main\",node=\"{name}\"}}");
    eventually("the attendees are seen", async || pool.metrics().await.get(&attendees) >= 45.0)
        .await;
    create_many(&pool, "acme", "next", 3).await;
    let other = pool.nodes().iter().find(|node| node.name() != name).expect("two nodes");
    assert_eq!(live_meetings(other), 3);
}

#[tokio::test]
async fn b3lb_weighs_by_the_factors_of_its_cluster() {
    let policy =
        "{b3lb: {attendee_factor: 10, meeting_factor: 1, cpu_iterations: 6, cpu_max: 5000}}";
    let config = Config::new().nodes(2).cluster("main", "policy", policy);
    let pool = Pool::start(config.tenant(Tenant::new("acme"))).await;
    pool.tenant("acme").create("full").await;
    let full = pool.node_of("full@acme");
    assert!(full.add_attendees("full@acme", 60));
    let name = full.name().to_owned();
    let attendees = format!("portico_node_attendees{{cluster=\"main\",node=\"{name}\"}}");
    eventually("the attendees are seen", async || pool.metrics().await.get(&attendees) >= 60.0)
        .await;
    create_many(&pool, "acme", "next", 30).await;
    // By the default factors they would have been shared.
    assert_eq!(live_meetings(full), 1);
}

#[tokio::test]
async fn b3lb_weighs_the_processor_by_the_nodes_load_script() {
    let mut nodes = Vec::new();
    let mut config = Config::new().nodes(2).cluster("main", "policy", "b3lb");
    for index in 0..2 {
        let settings = sim::Settings {
            name: format!("node{index}"),
            secret: format!("secret of node{index}, known to Portico only"),
            ..sim::Settings::default()
        };
        let node = sim::Node::start(settings).await.expect("a node");
        config = config.node(index, "load_url", format!("http://{}/b3lb/load", node.address()));
        nodes.push(node);
    }
    nodes[0].set_load(9000);
    let pool = Pool::start_before(config.tenant(Tenant::new("acme")), nodes).await;
    eventually("the load is seen", async || {
        pool.metrics().await.get("portico_node_cpu_ratio{cluster=\"main\",node=\"node0\"}") > 0.8
    })
    .await;
    create_many(&pool, "acme", "room", 20).await;
    assert_eq!(spread(&pool), [0, 20]);
}

/// Three nodes, of which the first is always the best: the others are busy, and it has a great weight.
async fn with_a_favourite(interval: &str) -> Pool {
    let config = Config::new()
        .nodes(3)
        .node(0, "weight", 100)
        .node(1, "tags", "[other]")
        .node(2, "tags", "[other]")
        .set("polling.interval", interval)
        .tenant(Tenant::new("acme"))
        .tenant(Tenant::new("busy").set("required_tags", "[other]"));
    let pool = Pool::start(config).await;
    create_many(&pool, "busy", "lecture", 2).await;
    assert_eq!(spread(&pool), [0, 1, 1]);
    pool
}

#[tokio::test]
async fn a_create_goes_on_to_the_next_best_node_when_the_best_one_fails() {
    let pool = with_a_favourite(NEVER).await;
    let acme = pool.tenant("acme");
    let faults = [
        ("reset", Fault::Reset),
        ("ill", Fault::Status(502)),
        ("broken", Fault::Status(500)),
        ("lost", Fault::Status(404)),
        ("half", Fault::BadXml),
        ("page", Fault::Html),
        ("mixed-up", Fault::WrongId),
        ("endless", Fault::EndlessBody),
        // Last: it is not chosen again until a good poll.
        ("gone", Fault::Refuse),
    ];
    for (tries, (id, fault)) in (1_u32..).zip(faults) {
        if fault == Fault::Refuse {
            pool.node(0).set_fault(Some(fault));
        } else {
            pool.node(0).set_call_fault("create", Some(fault));
        }
        let reply = acme.create(id).await;
        assert_eq!((reply.text("meetingID").as_str(), reply.key().as_str()), (id, ""), "{fault:?}");
        let retries = pool.metrics().await.sum("portico_placement_retries_total", &[]);
        assert!((retries - f64::from(tries)).abs() < 0.5, "{fault:?}: {retries} retries");
        let runs_elsewhere = pool.nodes()[1..].iter().any(|node| {
            node.meetings().iter().any(|meeting| meeting.external_id == format!("{id}@acme"))
        });
        assert!(runs_elsewhere, "{fault:?}");
        let location = acme.get("join", &format!("fullName=Ada&meetingID={id}")).await;
        assert_eq!(location.status, 302, "{fault:?}");
        assert!(!location.header("location").starts_with(&pool.node(0).url()), "{fault:?}");
    }
}

#[tokio::test]
async fn a_create_does_not_wait_for_ever_for_a_node_that_never_answers() {
    let pool = with_a_favourite(NEVER).await;
    pool.node(0).set_call_fault("create", Some(Fault::Hang));
    pool.tenant("acme").create("patience").await;
    assert!(live_meetings(pool.node(0)) == 0 && pool.node(0).calls("create") == 1);
}

/// It has created the meeting, but what it said about it could not be believed.
#[tokio::test]
async fn what_a_failed_node_has_created_all_the_same_is_ended_there() {
    let pool = with_a_favourite("200ms").await;
    pool.node(0).set_call_fault("create", Some(Fault::WrongId));
    for node in &pool.nodes()[1..] {
        // In the same millisecond both meetings would have the same internal id.
        node.set_call_fault("create", Some(Fault::Delay(Duration::from_millis(50))));
    }
    let reply = pool.tenant("acme").create("twice").await;
    eventually("it runs once", async || live_meetings(pool.node(0)) == 0).await;
    let left = pool.node_of("twice@acme").meetings();
    assert!(left.iter().any(|meeting| meeting.internal_id == reply.text("internalMeetingID")));
}

#[tokio::test]
async fn three_nodes_are_tried_and_no_more() {
    let config = Config::new().nodes(5).tenant(Tenant::new("acme")).set("polling.interval", NEVER);
    let pool = Pool::start(config).await;
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Status(500)));
    }
    let reply = pool.tenant("acme").get("create", "name=A+meeting&meetingID=none").await;
    assert_eq!((reply.status.as_u16(), reply.text("returncode").as_str()), (200, "FAILED"));
    assert_eq!(pool.node_calls("create"), 3);
    assert!(pool.nodes().iter().all(|node| node.calls("create") <= 1));
    // The next one is as good as new.
    for node in pool.nodes() {
        node.set_call_fault("create", None);
    }
    pool.tenant("acme").create("none").await;
}

#[tokio::test]
async fn without_an_eligible_node_a_create_fails_with_words_for_the_operator() {
    let config = Config::new()
        .nodes(2)
        .tenant(Tenant::new("acme"))
        .tenant(Tenant::new("sip").set("required_tags", "[sip]"));
    let pool = Pool::start(config).await;
    let refused = async || pool.metrics().await.sum("portico_placements_refused_total", &[]);
    let reply = pool.tenant("sip").get("create", "name=A+meeting&meetingID=room").await;
    assert_eq!((reply.status.as_u16(), reply.text("returncode").as_str()), (200, "FAILED"));
    assert_eq!(reply.key(), "serverUnavailable");
    assert!(reply.text("message").contains("cluster group and required tags"), "{}", reply.body);
    assert!((refused().await - 1.0).abs() < 0.5);

    for node in pool.nodes() {
        node.set_fault(Some(Fault::Refuse));
    }
    eventually("both are noticed", async || {
        pool.metrics().await.sum("portico_node_health", &["health=\"up\""]) < 0.5
    })
    .await;
    let reply = pool.tenant("acme").get("create", "name=A+meeting&meetingID=room").await;
    assert_eq!(
        (reply.text("returncode").as_str(), reply.key().as_str()),
        ("FAILED", "serverUnavailable")
    );
    assert!(reply.text("message").contains("2 not up"), "{}", reply.body);
    assert!((refused().await - 2.0).abs() < 0.5);
}
