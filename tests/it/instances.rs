//! Several instances as one: what one does all know, and what they place they place together.

use futures::future::join_all;
use portico::sim::Fault;

use crate::harness::{Cluster, Config, Plan, Pool, Reply, Tenant, eventually};

fn plan(instances: usize, nodes: usize) -> Plan {
    let limited = Tenant::new("limited").set("limits", "{ meetings: 100 }");
    let tenants = Config::new().nodes(nodes).tenant(Tenant::new("acme")).tenant(limited);
    Plan::new(tenants, instances)
}

async fn create(cluster: &Cluster, instance: usize, id: &str) -> Reply {
    let acme = cluster.instance(instance).tenant("acme");
    acme.get("create", &format!("name=A+meeting&meetingID={id}")).await
}

/// Creates meetings at once, from all instances in turn; returns why some were refused.
async fn burst(cluster: &Cluster, tenant: &str, count: usize) -> Vec<String> {
    let instances = cluster.instances().len();
    let ids: Vec<String> = (0..count).map(|number| format!("room-{number}")).collect();
    let creates = ids.iter().enumerate().map(async |(number, id)| {
        let tenant = cluster.instance(number % instances).tenant(tenant);
        tenant.get("create", &format!("name=A+meeting&meetingID={id}")).await
    });
    let replies = join_all(creates).await;
    replies.iter().filter(|reply| !reply.is_success()).map(Reply::key).collect()
}

/// Waits until every instance lists exactly these.
async fn all_list(cluster: &Cluster, ids: &[&str]) {
    for pool in cluster.instances() {
        let acme = pool.tenant("acme");
        eventually("an instance lists what there is", async || acme.listed().await == ids).await;
    }
}

/// A metric of all instances together.
async fn sum(cluster: &Cluster, name: &str, labels: &[&str]) -> f64 {
    let metrics = join_all(cluster.instances().iter().map(Pool::metrics)).await;
    metrics.iter().map(|metrics| metrics.sum(name, labels)).sum()
}

/// Placements that did not go by the log: a machine under load may be too slow for it.
async fn placed_alone(cluster: &Cluster) -> f64 {
    sum(cluster, "portico_instance_placements_total", &["how=\"alone\""]).await
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn running(cluster: &Cluster) -> Vec<f64> {
    cluster.nodes().iter().map(|node| node.meetings().len() as f64).collect()
}

/// Waits until all instances are in touch.
async fn in_touch(cluster: &Cluster) {
    for pool in cluster.instances() {
        eventually("an instance is in touch", async || {
            pool.metrics().await.get("portico_bus_up") > 0.5
        })
        .await;
    }
}

#[tokio::test]
async fn what_happens_at_one_all_know() {
    let mut cluster = plan(3, 2).start().await;
    in_touch(&cluster).await;
    create(&cluster, 0, "algebra").await.success();
    create(&cluster, 1, "biology").await.success();
    all_list(&cluster, &["algebra", "biology"]).await;
    for pool in cluster.instances() {
        let acme = pool.tenant("acme");
        let join = acme.get("join", "meetingID=algebra&fullName=Ada&role=VIEWER").await;
        assert_eq!(join.status, 302);
        let info = acme.get("getMeetingInfo", "meetingID=biology").await.success();
        assert_eq!(info.text("meetingID"), "biology");
    }
    // Who is in it, too, though only one instance polls its node.
    let node = cluster.instance(0).node_of("algebra@acme");
    assert!(node.add_attendees("algebra@acme", 3));
    for pool in cluster.instances() {
        let acme = pool.tenant("acme");
        eventually("an instance shows who is in it", async || {
            let list = acme.get("getMeetings", "").await.body;
            list.contains("<participantCount>3</participantCount>")
        })
        .await;
    }
    // One that starts knows all of it, also what the store does not.
    cluster.instance_mut(2).restart().await;
    all_list(&cluster, &["algebra", "biology"]).await;
    let acme = cluster.instance(2).tenant("acme");
    eventually("it is told who is in them", async || {
        acme.get("getMeetings", "").await.body.contains("<participantCount>3</participantCount>")
    })
    .await;

    cluster.instance(1).tenant("acme").get("end", "meetingID=algebra").await.success();
    for pool in cluster.instances() {
        let acme = pool.tenant("acme");
        eventually("it is over", async || {
            let running = acme.get("isMeetingRunning", "meetingID=algebra").await;
            running.text("running") == "false"
        })
        .await;
    }
    all_list(&cluster, &["biology"]).await;
    let ignored = sum(&cluster, "portico_instance_events_total", &["outcome=\"ignored\""]).await;
    assert!(ignored < 0.5, "{ignored} events were not understood");
}

#[tokio::test]
async fn a_burst_over_four_instances_spreads_as_over_one() {
    let cluster = plan(4, 5).start().await;
    in_touch(&cluster).await;
    assert_eq!(burst(&cluster, "acme", 100).await, Vec::<String>::new());
    let alone = placed_alone(&cluster).await;
    for meetings in running(&cluster) {
        // A meeting that a poll finds while its create is being told may weigh twice for a moment.
        assert!((meetings - 20.0).abs() < 1.5 + alone, "{:?}, {alone} alone", running(&cluster));
    }
    let together = sum(&cluster, "portico_instance_placements_total", &["how=\"log\""]).await;
    assert!(together > 0.5, "none was placed in the log");
}

#[tokio::test]
async fn a_tenants_limit_holds_over_all_instances() {
    let cluster = plan(3, 3).start().await;
    in_touch(&cluster).await;
    let refused = burst(&cluster, "limited", 160).await;
    assert!(refused.iter().all(|key| key == "meetingLimitReached"), "{refused:?}");
    // One that a poll finds before its create is told may count twice for a moment, and keep another out.
    let mut number = 0;
    eventually("there are as many as may be", async || {
        number += 1;
        let limited = cluster.instance(number % 3).tenant("limited");
        let query = format!("name=A+meeting&meetingID=more-{number}");
        !limited.get("create", &query).await.is_success()
            && running(&cluster).iter().sum::<f64>() > 99.5
    })
    .await;
    let alone = placed_alone(&cluster).await;
    let all: f64 = running(&cluster).iter().sum();
    assert!(all < 100.5 + alone, "{all} run, {alone} were placed alone");
}

#[tokio::test]
async fn what_a_killed_instance_was_about_to_create_weighs_no_more() {
    let mut cluster = plan(2, 1).start().await;
    in_touch(&cluster).await;
    cluster.nodes()[0].set_call_fault("create", Some(Fault::Hang));
    let acme = cluster.instance(0).tenant("acme");
    let creating = tokio::spawn(async move {
        drop(acme.try_get("create", "name=A+meeting&meetingID=never").await);
    });
    let reserved = "portico_node_reserved_meetings";
    let weighs = async |cluster: &Cluster| {
        cluster.instance(1).metrics().await.sum(reserved, &["node=\"node0\""]) > 0.5
    };
    eventually("the other one has heard of it", async || weighs(&cluster).await).await;
    cluster.instance_mut(0).kill9();
    creating.await.expect("it broke off");
    eventually("it is given up", async || !weighs(&cluster).await).await;
}

#[tokio::test]
async fn without_redis_each_goes_on_alone_and_all_are_one_again_by_themselves() {
    let cluster = plan(2, 2).start().await;
    in_touch(&cluster).await;
    create(&cluster, 0, "before").await.success();
    all_list(&cluster, &["before"]).await;
    cluster.redis().stop();
    for pool in cluster.instances() {
        eventually("it notices", async || pool.metrics().await.get("portico_bus_up") < 0.5).await;
    }
    create(&cluster, 0, "during").await.success();
    // It polls all nodes by itself.
    all_list(&cluster, &["before", "during"]).await;
    cluster.instance(1).tenant("acme").get("end", "meetingID=before").await.success();
    all_list(&cluster, &["during"]).await;
    cluster.redis().start();
    in_touch(&cluster).await;
    create(&cluster, 1, "later").await.success();
    all_list(&cluster, &["during", "later"]).await;
}

#[tokio::test]
async fn one_that_joins_late_sees_all_of_large_meetings() {
    const MEETINGS: usize = 30;
    const PEOPLE: usize = 300;
    let mut cluster = plan(2, 2).start().await;
    in_touch(&cluster).await;
    cluster.instance_mut(1).kill9();
    // The list of a node is many times what one event of the log may hold.
    for number in 0..MEETINGS {
        let id = format!("room-{number}");
        create(&cluster, 0, &id).await.success();
        let node = cluster.instance(0).node_of(&format!("{id}@acme"));
        assert!(node.add_attendees(&format!("{id}@acme"), PEOPLE));
    }
    cluster.instance_mut(1).restart().await;
    in_touch(&cluster).await;
    let full = format!("<participantCount>{PEOPLE}</participantCount>");
    for pool in cluster.instances() {
        let acme = pool.tenant("acme");
        eventually("an instance shows everybody", async || {
            let list = acme.get("getMeetings", "").await.body;
            list.matches(&full).count() == MEETINGS
                && list.matches("<attendee>").count() == MEETINGS * PEOPLE
        })
        .await;
    }
    let heard = cluster.instance(1).metrics().await;
    let heard = heard.sum("portico_bus_events_total", &["direction=\"in\""]);
    assert!(heard > 5.0, "{heard} events");
    let ignored = sum(&cluster, "portico_instance_events_total", &["outcome=\"ignored\""]).await;
    assert!(ignored < 0.5, "{ignored} events were not understood");
}
