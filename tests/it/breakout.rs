//! Breakout rooms live on their parent's node and carry the front end's ids.

use crate::harness::{Client, Config, Pool, Reply, Tenant, assert_failed, eventually};

async fn create_room(client: &Client, parent: &str, id: &str) -> Reply {
    let query = format!(
        "name=Room&meetingID={id}&isBreakout=true&sequence=1&freeJoin=true&parentMeetingID={parent}"
    );
    client.get("create", &query).await
}

#[tokio::test]
async fn a_room_is_created_on_its_parents_node_by_either_id_of_the_parent() {
    let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let parent = acme.create("parent").await.text("internalMeetingID");
    // The other nodes have less to do, and would get it by load.
    for (id, parent_id) in [("room-1", "parent"), ("room-2", parent.as_str())] {
        let room = create_room(&acme, parent_id, id).await.success();
        assert_eq!(room.text("parentMeetingID"), parent);
        assert_eq!(room.text("internalMeetingID"), id, "the id that it was created with");
        assert!(!room.text("meetingID").is_empty());
        assert_ne!(room.text("meetingID"), id, "BigBlueButton makes a new one");
    }
    let on_parents_node = pool.node_of("parent@acme").meetings();
    assert_eq!(on_parents_node.len(), 3);
    assert_eq!(pool.nodes().iter().map(|node| node.meetings().len()).sum::<usize>(), 3);
}

#[tokio::test]
async fn rooms_and_parents_point_at_each_other_in_the_front_ends_words() {
    let pool = Pool::start(Config::new().nodes(2).tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let parent = acme.create("parent").await.text("internalMeetingID");
    let room = create_room(&acme, "parent", "room-1").await.success();
    let external = room.text("meetingID");

    let in_info = |reply: &Reply| {
        let xml = reply.xml();
        let rooms = xml.child("breakoutRooms").expect("it has rooms");
        rooms.elements().map(|room| room.text().into_owned()).collect::<Vec<_>>()
    };
    let info = acme.get("getMeetingInfo", "meetingID=parent").await.success();
    assert_eq!(in_info(&info), [external.as_str()]);

    // A room is found by the id it was created with and by the one it was given.
    for id in ["room-1", external.as_str()] {
        let info = acme.get("getMeetingInfo", &format!("meetingID={id}")).await.success();
        assert_eq!(info.text("meetingID"), external);
        assert_eq!(info.text("internalMeetingID"), "room-1");
        assert_eq!(info.text("isBreakout"), "true");
        assert_eq!(info.text("parentMeetingID"), parent);
        assert_eq!((info.text("sequence"), info.text("freeJoin")), ("1".into(), "true".into()));
        let running = acme.get("isMeetingRunning", &format!("meetingID={id}")).await.success();
        assert_eq!(running.text("running"), "false");
    }

    // Listed at once, and the same after polls.
    let list = async || {
        let xml = acme.get("getMeetings", "").await.success().xml();
        let meetings = xml.child("meetings").expect("a list");
        let text = |meeting: &portico::bbb::Element, name| {
            meeting.child_text(name).map(std::borrow::Cow::into_owned).unwrap_or_default()
        };
        meetings
            .elements()
            .map(|meeting| {
                ["meetingID", "internalMeetingID", "isBreakout", "parentMeetingID"]
                    .map(|name| text(meeting, name))
            })
            .collect::<Vec<_>>()
    };
    let expected = [
        ["parent".to_owned(), parent.clone(), "false".to_owned(), String::new()],
        [external.clone(), "room-1".to_owned(), "true".to_owned(), parent.clone()],
    ];
    assert_eq!(list().await, expected);
    let polls = pool.node_calls("getMeetings");
    eventually("more polls", async || pool.node_calls("getMeetings") >= polls + 6).await;
    assert_eq!(list().await, expected);

    // Created again, it is the same room.
    let again = create_room(&acme, "parent", "room-1").await.success();
    assert_eq!((again.key().as_str(), again.text("meetingID")), ("duplicateWarning", external));

    // PHP clients end rooms by their internal id.
    assert_eq!(acme.get("end", "meetingID=room-1").await.success().key(), "sentEndMeetingRequest");
}

#[tokio::test]
async fn rooms_of_two_tenants_with_the_same_ids_never_meet() {
    let config = Config::new().tenant(Tenant::new("acme")).tenant(Tenant::new("other"));
    let pool = Pool::start(config).await;
    let (acme, other) = (pool.tenant("acme"), pool.tenant("other"));
    for client in [&acme, &other] {
        client.create("parent").await;
        create_room(client, "parent", "room-1").await.success();
    }
    assert_eq!(pool.node(0).meetings().len(), 4);
    acme.get("end", "meetingID=room-1").await.success();
    assert!(other.get("getMeetingInfo", "meetingID=room-1").await.is_success());
}

#[tokio::test]
async fn a_room_without_a_parent_is_refused_as_bigbluebutton_does() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let reply = acme.get("create", "name=Room&meetingID=room&isBreakout=true").await;
    assert_failed(
        &reply,
        "parentMeetingIDMissing",
        "No parent meeting ID was provided for the breakout room",
    );
    let reply = create_room(&acme, "nowhere", "room").await;
    assert_failed(
        &reply,
        "parentMeetingDoesNotExist",
        "No parent meeting exists for the breakout room",
    );
    assert_eq!(pool.node_calls("create"), 0);
}

/// A node finds meetings by any beginning of their internal ids, and a room's internal id is the id that it
/// was created with: one tenant's must not begin with what another one can ask for.
#[tokio::test]
async fn no_tenant_reaches_a_room_of_one_whose_name_goes_on() {
    let config = Config::new().tenant(Tenant::new("acm")).tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let (short, long) = (pool.tenant("acm"), pool.tenant("acme"));
    for tenant in [&long, &short] {
        tenant.create("parent").await.success();
        create_room(tenant, "parent", "b1").await.success();
    }
    let internal_id = async |tenant: &Client| {
        let joined = "fullName=Ada&role=VIEWER&redirect=false&meetingID=b1";
        tenant.get("join", joined).await.success().text("meeting_id")
    };
    assert_ne!(internal_id(&short).await, internal_id(&long).await);
    short.get("end", "meetingID=b1").await.success();
    let info = long.get("getMeetingInfo", "meetingID=b1").await.success();
    assert_eq!(info.text("hasBeenForciblyEnded"), "false");
    assert_eq!(info.text("participantCount"), "1");
}
