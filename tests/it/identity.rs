//! The front end sees its own ids everywhere; the node sees ids that never meet.

use crate::harness::{Config, Pool, Reply, Tenant, eventually};

/// The `meetingID`s in all of an answer to `getMeetings`.
fn listed(reply: &Reply) -> Vec<String> {
    let xml = reply.xml();
    let meetings = xml.child("meetings").expect("a list");
    meetings
        .elements()
        .map(|meeting| meeting.child_text("meetingID").expect("an id").into_owned())
        .collect()
}

#[tokio::test]
async fn the_front_end_gets_its_own_id_back_before_and_after_a_poll() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let id = "Übung/1 @ home & more";
    let query = "meetingID=%C3%9Cbung/1+%40%20home+%26+more";
    let created = acme.get("create", &format!("name=Algebra&{query}")).await.success();
    assert_eq!(created.text("meetingID"), id);
    assert_eq!(created.text("parentMeetingID"), "bbb-none");
    let on_node = &pool.node(0).meetings()[0];
    assert_eq!(on_node.external_id, format!("{id}@acme"));
    assert_eq!(on_node.internal_id, created.text("internalMeetingID"));

    assert_eq!(listed(&acme.get("getMeetings", "").await), [id]);
    let polls = pool.node(0).calls("getMeetings");
    eventually("two more polls", async || pool.node(0).calls("getMeetings") >= polls + 2).await;
    assert_eq!(listed(&acme.get("getMeetings", "").await), [id]);
    let info = acme.get("getMeetingInfo", query).await.success();
    assert_eq!(info.text("meetingID"), id);
    let again = acme.get("create", &format!("name=Algebra&{query}")).await.success();
    assert_eq!((again.key().as_str(), again.text("meetingID").as_str()), ("duplicateWarning", id));
}

#[tokio::test]
async fn a_long_id_is_stood_in_for_by_a_digest_and_comes_back_whole() {
    let mut pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let long = "x".repeat(256);
    let other = format!("{}y", "x".repeat(255));
    for id in [&long, &other] {
        assert_eq!(acme.create(id).await.text("meetingID"), **id);
    }
    let on_node = pool.node(0).meetings();
    assert_eq!(on_node.len(), 2, "they are told apart");
    for meeting in &on_node {
        assert_eq!(meeting.external_id.len(), "sha256-".len() + 64 + "@acme".len());
    }
    let both = [long.clone(), other.clone()];
    assert_eq!(acme.listed().await, both);
    let info = acme.get("getMeetingInfo", &format!("meetingID={long}")).await.success();
    assert_eq!(info.text("meetingID"), long);
    // A poll and a restart do not know the long id from the node.
    let polls = pool.node(0).calls("getMeetings");
    eventually("two more polls", async || pool.node(0).calls("getMeetings") >= polls + 2).await;
    assert_eq!(acme.listed().await, both);
    pool.kill9();
    pool.restart().await;
    assert_eq!(acme.listed().await, both);
    let polls = pool.node(0).calls("getMeetings");
    eventually("two more polls", async || pool.node(0).calls("getMeetings") >= polls + 2).await;
    assert_eq!(acme.listed().await, both);
    assert!(acme.get("end", &format!("meetingID={long}")).await.is_success());
}

#[tokio::test]
async fn plain_ids_go_to_the_node_as_they_are() {
    let config = Config::new()
        .tenant(Tenant::new("old").set("meeting_ids", "plain"))
        .tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let (old, acme) = (pool.tenant("old"), pool.tenant("acme"));
    assert_eq!(old.create("room").await.text("meetingID"), "room");
    assert_eq!(acme.create("room").await.text("meetingID"), "room");
    let mut on_node: Vec<_> =
        pool.node(0).meetings().into_iter().map(|meeting| meeting.external_id).collect();
    on_node.sort();
    assert_eq!(on_node, ["room", "room@acme"]);
    assert_eq!(old.listed().await, ["room"]);
    assert_eq!(acme.listed().await, ["room"]);
    // A plain id could be the beginning of another meeting's internal id; its own cannot.
    let internal = old.get("getMeetingInfo", "meetingID=room").await.text("internalMeetingID");
    let joined = old.get("join", "meetingID=room&fullName=Ada&role=VIEWER").await;
    let expected = format!("/join?meetingID={internal}&fullName=Ada");
    assert!(joined.header("location").contains(&expected), "{joined:?}");
}
