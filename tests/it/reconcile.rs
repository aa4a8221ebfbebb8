//! What nodes report and what Portico knows, brought together: strangers, doubles, and meetings that are gone.

use std::time::Duration;

use http::Method;
use portico::bbb::{Algorithm, signed_query};
use portico::sim::{Fault, Node};

use crate::callbacks::{call, is_all_delivered, sent_to_node, target};
use crate::harness::{Client, Config, Front, Pool, Tenant, eventually};

fn config() -> Config {
    Config::new().nodes(2).tenant(Tenant::new("acme")).set("polling.interval", "100ms")
}

/// Creates a meeting on a node behind Portico's back; gives its internal id.
pub(crate) async fn plant(pool: &Pool, node: &Node, id: &str) -> String {
    let front = Client { address: node.address(), ..pool.tenant("acme") };
    let query = format!("name=A+meeting&meetingID={}", id.replace('@', "%40"));
    let query = signed_query(Algorithm::Sha256, "create", query.as_bytes(), node.secret());
    let target = format!("/bigbluebutton/api/create?{query}");
    front.send(Method::GET, &target, &[], "").await.success().text("internalMeetingID")
}

pub(crate) fn live(node: &Node, id: &str) -> bool {
    node.meetings().iter().any(|meeting| meeting.external_id == id && !meeting.ended)
}

pub(crate) async fn joins_go_to(acme: &Client, id: &str, node: &Node) -> bool {
    let join = acme.get("join", &format!("fullName=Ada&meetingID={id}")).await;
    join.status == 302 && join.header("location").starts_with(&node.url())
}

/// Waits for this many more polls of a node that began after now.
pub(crate) async fn polled(node: &Node, more: usize) {
    let before = node.calls("getMeetings");
    eventually("it is polled", async || node.calls("getMeetings") > before + more).await;
}

#[tokio::test]
async fn a_meeting_that_nobody_knows_is_adopted_and_survives_a_restart() {
    let mut pool = Pool::start(config()).await;
    plant(&pool, pool.node(1), "algebra@acme").await;
    plant(&pool, pool.node(1), "algebra@nobody").await;
    let acme = pool.tenant("acme");
    eventually("it is found", async || acme.listed().await == ["algebra"]).await;
    assert!(joins_go_to(&acme, "algebra", pool.node(1)).await);
    assert_eq!(acme.create("algebra").await.key(), "duplicateWarning");
    pool.kill9();
    pool.restart().await;
    assert!(joins_go_to(&pool.tenant("acme"), "algebra", pool.node(1)).await);
    assert_eq!(pool.node_calls("end"), 0);
}

#[tokio::test]
async fn of_two_empty_ones_the_one_that_is_known_goes_on() {
    let pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    let known = acme.create("algebra").await.text("internalMeetingID");
    let (ours, other) = sides(&pool, "algebra@acme");
    let double = plant(&pool, other, "algebra@acme").await;
    eventually("the double is ended", async || !live(other, "algebra@acme")).await;
    assert!(live(ours, "algebra@acme"));
    assert!(joins_go_to(&acme, "algebra", ours).await);
    assert_eq!((ours.calls("end"), other.calls("end")), (0, 1));
    let line = format!("node {}: ends meeting {double} of tenant acme", other.name());
    eventually("it is logged", async || pool.log().contains(&line)).await;
    assert!(!pool.log().contains(&format!("ends meeting {known}")));
}

/// The node that has the meeting, and the other one.
fn sides<'p>(pool: &'p Pool, node_meeting_id: &str) -> (&'p Node, &'p Node) {
    let ours = pool.node_of(node_meeting_id);
    let other = pool.nodes().iter().find(|node| node.address() != ours.address());
    (ours, other.expect("two nodes"))
}

#[tokio::test]
async fn the_one_with_people_goes_on_even_if_it_was_not_known() {
    let mut pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    {
        let (ours, other) = sides(&pool, "algebra@acme");
        // What the list shows is empty; people come before the double is ended.
        other.set_call_fault("getMeetings", Some(Fault::Status(500)));
        plant(&pool, other, "algebra@acme").await;
        other.add_attendees("algebra@acme", 3);
        other.set_call_fault("getMeetings", None);
        eventually("the empty one is ended", async || !live(ours, "algebra@acme")).await;
        assert!(live(other, "algebra@acme"));
        eventually("joins follow", async || joins_go_to(&acme, "algebra", other).await).await;
        assert_eq!((ours.calls("end"), other.calls("end")), (1, 0));
        polled(ours, 3).await;
        assert_eq!(acme.listed().await, ["algebra"]);
    }
    // The store has followed.
    pool.kill9();
    pool.restart().await;
    let acme = pool.tenant("acme");
    let node = pool.node_of("algebra@acme");
    assert!(joins_go_to(&acme, "algebra", node).await);
    assert_eq!(pool.node_calls("end"), 1);
}

#[tokio::test]
async fn people_who_come_after_the_list_count() {
    let pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let (ours, other) = sides(&pool, "algebra@acme");
    other.set_call_fault("getMeetingInfo", Some(Fault::Delay(Duration::from_secs(1))));
    plant(&pool, other, "algebra@acme").await;
    eventually("it is asked for", async || other.calls("getMeetingInfo") == 1).await;
    other.add_attendees("algebra@acme", 2);
    eventually("the empty one is ended", async || !live(ours, "algebra@acme")).await;
    assert!(live(other, "algebra@acme"));
    assert_eq!(other.calls("end"), 0);
}

#[tokio::test]
async fn with_people_in_both_neither_is_ended_until_one_is_empty() {
    let pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let (ours, other) = sides(&pool, "algebra@acme");
    ours.add_attendees("algebra@acme", 2);
    other.set_call_fault("getMeetings", Some(Fault::Status(500)));
    plant(&pool, other, "algebra@acme").await;
    other.add_attendees("algebra@acme", 3);
    other.set_call_fault("getMeetings", None);
    let warning = "one meeting runs twice with people in both";
    eventually("the operator is told", async || pool.log().contains(warning)).await;
    polled(other, 3).await;
    assert_eq!(pool.node_calls("end"), 0);
    assert_eq!(pool.log().matches(warning).count(), 1, "once is enough");
    assert!(joins_go_to(&acme, "algebra", ours).await);
    other.remove_attendees("algebra@acme");
    eventually("the empty one is ended", async || !live(other, "algebra@acme")).await;
    assert!(live(ours, "algebra@acme"));
}

#[tokio::test]
async fn nothing_is_ended_while_the_other_node_does_not_answer() {
    let pool = Pool::start(config().set("polling.down_after", 100)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let (ours, other) = sides(&pool, "algebra@acme");
    for fault in [Fault::Status(500), Fault::Failed, Fault::BadXml, Fault::Refuse] {
        ours.set_fault(Some(fault));
        plant(&pool, other, "algebra@acme").await;
        polled(other, 3).await;
        assert!(live(other, "algebra@acme"), "{fault:?}");
    }
    ours.set_fault(None);
    eventually("the double is ended", async || !live(other, "algebra@acme")).await;
    assert!(live(ours, "algebra@acme"));
}

#[tokio::test]
async fn a_broken_or_truncated_list_closes_nothing() {
    let pool = Pool::start(config().set("polling.down_after", 100)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let (ours, _) = sides(&pool, "algebra@acme");
    for fault in [Fault::BadXml, Fault::Failed, Fault::Html, Fault::Reset, Fault::EndlessBody] {
        ours.set_call_fault("getMeetings", Some(fault));
        polled(ours, 3).await;
        assert_eq!(acme.listed().await, ["algebra"], "{fault:?}");
    }
    assert!(joins_go_to(&acme, "algebra", ours).await);
}

#[tokio::test]
async fn a_node_that_restarts_empty_has_its_meetings_closed_and_their_ends_told() {
    let config = crate::callbacks::config().nodes(1).set("polling.interval", "100ms");
    let config = config.set("polling.node_down_grace", "300ms").set("polling.down_after", 100);
    let (pool, front) = (Pool::start(config).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let mut ours = Vec::new();
    for (room, record) in [("plain", false), ("recorded", true)] {
        let query = format!(
            "name=A+room&meetingID={room}&record={record}&meta_endCallbackUrl={}&meetingEndedURL={}",
            front.encoded(&format!("/end/{room}")),
            front.encoded(&format!("/over/{room}")),
        );
        acme.get("create", &query).await.success();
        ours.push(sent_to_node(&pool, "meta_endCallbackUrl").expect("a URL of ours"));
    }
    pool.node(0).restart();
    eventually("they are closed", async || acme.listed().await.is_empty()).await;
    for room in ["plain", "recorded"] {
        for kind in ["end", "over"] {
            let path = format!("/{kind}/{room}");
            eventually("it is told", async || front.heard(&path).len() == 1).await;
        }
        let told = &front.heard(&format!("/end/{room}"))[0].target;
        let expected = format!("/end/{room}?recordingmarks=false&meetingID={room}");
        assert_eq!(*told, expected);
    }
    // A node that says it, too, says nothing new.
    for url in &ours {
        assert_eq!(call(&acme, Method::GET, &target(url)).await, 200);
    }
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert_eq!((front.heard("/end").len(), front.heard("/over").len()), (2, 2));
    // The ids are free.
    assert_eq!(acme.create("plain").await.key(), "");
}

#[tokio::test]
async fn a_node_has_the_first_word_on_the_end_of_a_recorded_meeting() {
    let config = crate::callbacks::config().nodes(1).set("polling.interval", "100ms");
    let (pool, front) = (Pool::start(config).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let end = front.encoded("/end");
    let query = format!("name=A+room&meetingID=room&record=true&meta_endCallbackUrl={end}");
    acme.get("create", &query).await.success();
    let ours = sent_to_node(&pool, "meta_endCallbackUrl").expect("a URL of ours");
    pool.node(0).restart();
    eventually("it is closed", async || acme.listed().await.is_empty()).await;
    polled(pool.node(0), 3).await;
    assert!(front.heard("/end").is_empty());
    let said = format!("{}&recordingmarks=true", target(&ours));
    assert_eq!(call(&acme, Method::GET, &said).await, 200);
    eventually("it is told", async || front.heard("/end").len() == 1).await;
    assert_eq!(front.heard("/end")[0].target, "/end?recordingmarks=true&meetingID=room");
}

#[tokio::test]
async fn the_end_of_a_double_that_lost_is_not_told() {
    let config = crate::callbacks::config().nodes(2).set("polling.interval", "100ms");
    let (pool, front) = (Pool::start(config).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let end = front.encoded("/end");
    let query = format!("name=A+room&meetingID=room&meta_endCallbackUrl={end}");
    acme.get("create", &query).await.success();
    let (ours, other) = sides(&pool, "room@acme");
    other.set_call_fault("getMeetings", Some(Fault::Status(500)));
    plant(&pool, other, "room@acme").await;
    other.add_attendees("room@acme", 1);
    other.set_call_fault("getMeetings", None);
    eventually("the known one is ended", async || !live(ours, "room@acme")).await;
    eventually("joins follow", async || joins_go_to(&acme, "room", other).await).await;
    polled(ours, 3).await;
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert!(front.heard("/end").is_empty());
}

#[tokio::test]
async fn a_create_in_flight_is_neither_adopted_nor_reaped() {
    let pool = Pool::start(config().nodes(1)).await;
    let node = pool.node(0);
    node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(2))));
    let creating = {
        let acme = pool.tenant("acme");
        tokio::spawn(async move { acme.create("algebra").await })
    };
    eventually("it is under way", async || node.calls("create") == 1).await;
    polled(node, 5).await;
    let created = creating.await.expect("it is answered").text("internalMeetingID");
    polled(node, 3).await;
    let acme = pool.tenant("acme");
    assert_eq!(acme.listed().await, ["algebra"]);
    assert_eq!(node.meetings()[0].internal_id, created);
    assert_eq!(node.calls("end"), 0);
    assert!(!pool.log().contains("meetings that were not known"));
}
