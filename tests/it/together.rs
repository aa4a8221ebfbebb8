//! Webhooks and breakout rooms, where several instances are one over Redis.

use portico::sim::Node;

use crate::callbacks::is_all_delivered;
use crate::harness::{Config, Front, Plan, Tenant, eventually};
use crate::hooks::{hook, reachable_cluster, told};
use crate::reconcile::joins_go_to;

#[tokio::test]
async fn a_hook_made_at_one_hears_once_of_meetings_of_all() {
    let config = crate::callbacks::config().nodes(2);
    let cluster = reachable_cluster(Plan::new(config, 2)).await;
    let both = [0, 1].map(|index| cluster.instance(index).tenant("acme"));
    let fronts = [Front::start(&[]).await, Front::start(&[]).await];
    for (client, front) in both.iter().zip(&fronts) {
        hook(client, front, "").await;
    }
    let has_ours = |node: &Node| node.hooks().len() == 1;
    eventually("the nodes' hooks", async || cluster.nodes().iter().all(has_ours)).await;
    for client in &both {
        eventually("it knows both hooks", async || {
            let listed = client.get("hooks/list", "").await.success();
            listed.body.matches("<hookID>").count() == 2
        })
        .await;
    }
    let mut expected = Vec::new();
    for (index, client) in both.iter().enumerate() {
        for number in 0..3 {
            let id = format!("room-{index}-{number}");
            client.create(&id).await.success();
            // Where it was not created.
            let other = &both[1 - index];
            other.get("end", &format!("meetingID={id}")).await.success();
            expected.push(("meeting-created".to_owned(), id.clone()));
            expected.push(("meeting-ended".to_owned(), id));
        }
    }
    expected.sort();
    for front in &fronts {
        eventually("all is told", async || front.heard("/hook").len() >= expected.len()).await;
    }
    for (client, pool) in both.iter().zip(cluster.instances()) {
        eventually("it sees that all are over", async || client.listed().await.is_empty()).await;
        eventually("nothing is left", async || is_all_delivered(pool).await).await;
    }
    for front in &fronts {
        assert_eq!(told(front, &both[0].secret), expected);
    }
}

#[tokio::test]
async fn breakout_rooms_that_people_open_are_seen_and_joined_at_all_instances() {
    let tenants = Config::new().nodes(2).tenant(Tenant::new("acme")).tenant(Tenant::new("other"));
    let cluster = Plan::new(tenants.set("polling.interval", "200ms"), 2).start().await;
    let both = [0, 1].map(|index| cluster.instance(index).tenant("acme"));
    let parent = both[0].create("parent").await.text("internalMeetingID");
    let node = cluster.instance(0).node_of("parent@acme");
    let rooms = node.open_breakout_rooms("parent@acme", 2);
    assert_eq!(rooms.len(), 2);
    for client in &both {
        eventually("it lists them", async || client.listed().await.len() == 3).await;
        for room in &rooms {
            let info = client.get("getMeetingInfo", &format!("meetingID={room}")).await.success();
            assert_eq!(
                (info.text("internalMeetingID"), info.text("isBreakout")),
                (room.clone(), "true".into())
            );
            assert_eq!(info.text("parentMeetingID"), parent);
            let external = info.text("meetingID");
            for id in [room, &external] {
                assert!(joins_go_to(client, id, node).await, "{id}");
            }
        }
    }
    // Nobody else sees them, and they do not outlive their end anywhere.
    for index in 0..2 {
        let other = cluster.instance(index).tenant("other");
        assert!(other.listed().await.is_empty());
        assert!(
            !other.get("getMeetingInfo", &format!("meetingID={}", rooms[0])).await.is_success()
        );
    }
    both[1].get("end", &format!("meetingID={}", rooms[0])).await.success();
    for client in &both {
        eventually("one is over", async || client.listed().await.len() == 2).await;
        let info = client.get("getMeetingInfo", &format!("meetingID={}", rooms[1])).await;
        assert!(info.is_success(), "{}", info.body);
    }
    node.restart();
    for client in &both {
        eventually("all are over", async || client.listed().await.is_empty()).await;
    }
}
