//! `getMeetings`: complete, at once, and from memory.

use portico::sim::Fault;

use crate::harness::{Config, Pool, Tenant, eventually, masked};

/// Nodes are polled once, when Portico starts.
fn never_polled_again() -> Config {
    Config::new().nodes(3).set("polling.interval", "10m").tenant(Tenant::new("acme"))
}

const NONE: &str = "<response><returncode>SUCCESS</returncode><meetings/>\
    <messageKey>noMeetings</messageKey>\
    <message>no meetings were found on this server</message></response>";

/// What a node would show of the meeting of [`the_list_is_whole_at_once_and_after_a_poll`].
const MEETING: &str = "<response><returncode>SUCCESS</returncode><meetings><meeting>\
    <meetingName>A &lt; B</meetingName><meetingID>room</meetingID>\
    <internalMeetingID>*</internalMeetingID><createTime>*</createTime>\
    <createDate>*</createDate><voiceBridge>*</voiceBridge><dialNumber>613-555-1234</dialNumber>\
    <attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW><running>false</running>\
    <duration>60</duration><hasUserJoined>false</hasUserJoined><recording>true</recording>\
    <hasBeenForciblyEnded>false</hasBeenForciblyEnded><startTime>*</startTime>\
    <endTime>0</endTime><participantCount>0</participantCount><listenerCount>0</listenerCount>\
    <voiceParticipantCount>0</voiceParticipantCount><videoCount>0</videoCount>\
    <maxUsers>25</maxUsers><moderatorCount>0</moderatorCount><attendees></attendees>\
    <metadata><bbb-origin>lms &amp; co</bbb-origin><second>2</second></metadata>\
    <isBreakout>false</isBreakout></meeting></meetings></response>";

#[tokio::test]
async fn without_meetings_it_says_so_as_bigbluebutton_does() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let reply = pool.tenant("acme").get("getMeetings", "").await;
    assert_eq!(reply.seen(), (200, NONE));
    assert_eq!(reply.header("content-type"), "text/xml;charset=utf-8");
}

#[tokio::test]
async fn the_list_is_whole_at_once_and_after_a_poll() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let query = "name=A+%3C+B&meetingID=room&attendeePW=ap&moderatorPW=mp&duration=60&record=true&\
                 maxParticipants=25&meta_bbb-Origin=lms+%26+co&meta_second=2&meta_under_score=x";
    acme.get("create", query).await.success();
    let list = acme.get("getMeetings", "").await;
    assert_eq!((list.status.as_u16(), masked(&list.body).as_str()), (200, MEETING));
    let polls = pool.node_calls("getMeetings");
    eventually("two more polls", async || pool.node_calls("getMeetings") >= polls + 2).await;
    let polled = acme.get("getMeetings", "").await;
    assert_eq!(masked(&polled.body), MEETING);
}

#[tokio::test]
async fn what_was_created_a_moment_ago_is_in_it() {
    let pool = Pool::start(never_polled_again()).await;
    let acme = pool.tenant("acme");
    let mut expected = Vec::new();
    for number in 10..40 {
        let id = format!("room-{number}");
        acme.create(&id).await;
        expected.push(id);
        assert_eq!(acme.listed().await, expected);
    }
}

#[tokio::test]
async fn no_node_is_asked_for_it() {
    let pool = Pool::start(never_polled_again()).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    let polls = pool.node_calls("getMeetings");
    for _ in 0..20 {
        assert_eq!(acme.listed().await, ["room"]);
    }
    for node in pool.nodes() {
        node.set_fault(Some(Fault::Hang));
    }
    assert_eq!(acme.listed().await, ["room"]);
    assert_eq!(pool.node_calls("getMeetings"), polls);
}

#[tokio::test]
async fn an_ended_meeting_leaves_it_with_the_polls() {
    let config = Config::new()
        .sim(0, |node| node.minute = std::time::Duration::from_secs(2))
        .tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    acme.get("end", "meetingID=room").await.success();
    eventually("nothing is listed", async || acme.get("getMeetings", "").await.body == NONE).await;
    let info = acme.get("getMeetingInfo", "meetingID=room").await;
    assert_eq!(info.key(), "notFound");
}

#[tokio::test]
async fn attendees_appear_in_it_with_the_polls() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    assert!(pool.node(0).add_attendees("room@acme", 1_234));
    eventually("all are counted", async || {
        let xml = acme.get("getMeetings", "").await.xml();
        let meeting = xml.child("meetings").and_then(|list| list.child("meeting")).expect("one");
        let text = |name| meeting.child_text(name).expect("it is there").into_owned();
        text("participantCount") == "1234" && text("running") == "true"
    })
    .await;
}
