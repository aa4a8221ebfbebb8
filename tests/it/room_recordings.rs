//! Recordings of breakout rooms belong to whoever has the meeting that the rooms were opened in.

use crate::calls::at;
use crate::harness::{Config, Pool, Tenant, assert_failed};
use crate::recordings::{CHANGES, NONE, UNKNOWN, beginning, ids, sorted, texts};

async fn pool(nodes: usize) -> Pool {
    let acme = Tenant::new("acme").sub(5);
    Pool::start(Config::new().nodes(nodes).tenant(acme).tenant(Tenant::new("other"))).await
}

#[tokio::test]
async fn recordings_of_breakout_rooms_are_whose_their_parents_are() {
    let pool = pool(2).await;
    let (acme, five, other) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("other"));
    let mut expected = Vec::new();
    for client in [&acme, &five, &other] {
        let parent = client.create("parent").await.text("internalMeetingID");
        let query = "name=Room&meetingID=room&isBreakout=true&sequence=2&parentMeetingID=parent";
        let external = client.get("create", query).await.success().text("meetingID");
        let meetings =
            pool.nodes().iter().flat_map(portico::sim::Node::meetings).collect::<Vec<_>>();
        let room = meetings.iter().find(|meeting| meeting.external_id == external).expect("one");
        let runs = |node: &&portico::sim::Node| {
            node.meetings().iter().any(|meeting| meeting.internal_id == parent)
        };
        let node = pool.nodes().iter().find(runs).expect("its node");
        assert!(node.publish_recording(&room.internal_id) && node.publish_recording(&parent));
        expected.push((room.internal_id.clone(), parent, external));
    }
    for (client, own) in [(&five, &expected[1]), (&other, &expected[2])] {
        let (room, parent, external) = own;
        assert_eq!(ids(client, "").await, sorted(&[&[room.clone(), parent.clone()]]));
        assert_eq!(ids(client, "meetingID=parent").await, [parent.as_str()]);
        for query in [format!("recordID={room}"), "meta_isBreakout=true".to_owned()] {
            let reply = client.get("getRecordings", &query).await.success();
            assert_eq!(texts(&reply, "recordID"), [room.as_str()], "{query}");
            assert_eq!(texts(&reply, "meetingID"), [external.as_str()]);
            assert!(reply.body.contains(&format!("<parentId>{parent}</parentId>")));
        }
        assert_eq!(ids(client, "limit=1&offset=1").await.len(), 1);
        let foreign = format!("recordID={}&meta_x=y", expected[0].0);
        assert_failed(&client.get("updateRecordings", &foreign).await, UNKNOWN.0, UNKNOWN.1);
        client.get("updateRecordings", &format!("recordID={room}&meta_x=y")).await.success();
        assert_eq!(ids(client, "meta_x=y").await, [room.as_str()]);
    }
    assert_eq!(ids(&acme, "").await.len(), 4, "its own and those of its part");
}

/// A node makes up both ids of the rooms that people open, so that the one fits the other as with a meeting
/// of a tenant whose ids name no scope.
#[tokio::test]
async fn recordings_of_rooms_that_people_open_are_whose_their_parents_are() {
    let config = Config::new()
        .nodes(2)
        .tenant(Tenant::new("acme").sub(5))
        .tenant(Tenant::new("other"))
        .tenant(Tenant::new("plain").set("meeting_ids", "plain"));
    let pool = Pool::start(config).await;
    let scopes = ["acme", "acme-5", "other", "plain"];
    let clients = scopes.map(|scope| pool.tenant(scope));
    let mut own = Vec::new();
    for (scope, client) in scopes.iter().zip(&clients) {
        let parent = client.create("parent").await.text("internalMeetingID");
        let name = if *scope == "plain" { "parent".to_owned() } else { format!("parent@{scope}") };
        let node = pool.node_of(&name);
        let rooms = node.open_breakout_rooms(&parent, 2);
        for id in [&rooms[0], &rooms[1], &parent] {
            assert!(node.publish_recording(id));
        }
        let list = at(node).get("getRecordings", &format!("recordID={}", rooms[0])).await.success();
        let external = texts(&list, "meetingID").remove(0);
        assert!(!external.contains('@') && list.body.contains("<isBreakout>true</isBreakout>"));
        own.push(([rooms, vec![parent]].concat(), external));
    }
    for (at_client, client) in clients.iter().enumerate() {
        let (mine, external) = &own[at_client];
        let expected = if at_client == 0 { sorted(&[mine, &own[1].0]) } else { sorted(&[mine]) };
        assert_eq!(ids(client, "").await, expected, "{}", scopes[at_client]);
        let reply = client.get("getRecordings", &format!("recordID={}", mine[0])).await.success();
        assert_eq!(texts(&reply, "meetingID"), [external.as_str()]);
        assert!(reply.body.contains(&format!("<parentId>{}</parentId>", mine[2])));
        let parent = client.get("getRecordings", &format!("recordID={}", mine[2])).await.success();
        let rooms = format!("<breakoutRoom>{}</breakoutRoom>", mine[0]);
        assert!(parent.body.contains(&rooms) && texts(&parent, "meetingID") == ["parent"]);
        for (at_owner, (theirs, external)) in own.iter().enumerate() {
            if at_owner == at_client || (at_client == 0 && at_owner == 1) {
                continue;
            }
            for query in [
                format!("recordID={}", theirs[0]),
                format!("recordID={}", beginning(&theirs[0])),
                format!("meetingID={external}"),
            ] {
                assert_eq!(
                    client.get("getRecordings", &query).await.seen(),
                    (200, NONE),
                    "{query}"
                );
            }
            let (call, more) = CHANGES[2];
            let reply = client.get(call, &format!("recordID={}{more}", theirs[0])).await;
            assert_failed(&reply, UNKNOWN.0, UNKNOWN.1);
        }
        let publish = format!("recordID={}&publish=false", mine[0]);
        client.get("publishRecordings", &publish).await.success();
        assert_eq!(ids(client, "state=unpublished").await, [mine[0].as_str()]);
        let publish = format!("recordID={}&publish=true", mine[0]);
        client.get("publishRecordings", &publish).await.success();
    }
}
