//! Calls that are passed to a meeting's node, and those that a load balancer cannot pass anywhere.

use http::Method;
use portico::sim::{Fault, Node, Release};

use crate::harness::{Client, Config, Pool, Reply, Tenant, assert_failed, failed};

const DOCUMENT: &str = "<modules><module name=\"presentation\"><document url=\"https://x.test/y.pdf\" \
    filename=\"report.pdf\"/></module></modules>";
const NOT_FOUND: &str = "A meeting with that ID does not exist";

/// Asks a node itself, as only Portico does.
pub(crate) fn at(node: &Node) -> Client {
    Client {
        address: node.address(),
        host: node.address().to_string(),
        base: "/bigbluebutton/api".to_owned(),
        secret: node.secret().to_owned(),
        algorithm: portico::bbb::Algorithm::Sha256,
        headers: Vec::new(),
    }
}

#[track_caller]
pub(crate) fn assert_same(ours: &Reply, nodes: &Reply) {
    assert_eq!(ours.seen(), nodes.seen());
    assert_eq!(ours.header("content-type"), nodes.header("content-type"));
}

async fn pool() -> Pool {
    let config =
        Config::new().nodes(3).tenant(Tenant::new("acme").sub(5)).tenant(Tenant::new("other"));
    Pool::start(config).await
}

#[tokio::test]
async fn a_document_reaches_the_meetings_node_whatever_its_size() {
    let pool = pool().await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    pool.tenant("other").create("room").await;
    let node = pool.node_of("room@acme");
    let ours = acme.post_xml("insertDocument", "meetingID=room", DOCUMENT).await;
    let nodes = at(node).post_xml("insertDocument", "meetingID=room@acme", DOCUMENT).await;
    assert_same(&ours, &nodes);
    assert_eq!(ours.text("message"), "Presentation is being uploaded");
    let content = "QUJD".repeat(700_000);
    let large = format!(
        "<modules><module name=\"presentation\"><document name=\"big.pdf\">{content}</document>\
         </module></modules>"
    );
    let reply = acme.post_xml("insertDocument", "meetingID=room", large.clone()).await;
    assert_eq!(reply.seen(), nodes.seen());
    let seen = node.requests();
    let seen = seen.iter().rfind(|seen| seen.path.ends_with("/insertDocument")).expect("one");
    assert_eq!((&seen.method, seen.body_len), (&Method::POST, large.len()));
    assert!(seen.query.starts_with("meetingID=room%40acme&checksum="), "{}", seen.query);
    let all: Vec<_> = pool.nodes().iter().flat_map(Node::meetings).collect();
    let documents = |id: &str| {
        all.iter().find(|meeting| meeting.external_id == id).expect("it runs").documents.clone()
    };
    assert_eq!(documents("room@acme"), ["report.pdf", "report.pdf", "big.pdf"]);
    assert!(documents("room@other").is_empty());
}

#[tokio::test]
async fn a_document_call_without_a_document_is_answered_as_by_the_node() {
    let pool = pool().await;
    let acme = pool.tenant("acme");
    let query = "name=A+meeting&meetingID=room&disabledFeatures=presentation";
    acme.get("create", query).await.success();
    let node = at(pool.node_of("room@acme"));
    // Nothing in it, no body at all, a meeting without presentations.
    for (meeting, body) in [("plain", "<modules/>"), ("plain", ""), ("room", DOCUMENT)] {
        if meeting == "plain" {
            acme.create("plain").await;
        }
        let node = if meeting == "plain" { at(pool.node_of("plain@acme")) } else { node.clone() };
        let ours = acme.post_xml("insertDocument", &format!("meetingID={meeting}"), body).await;
        let query = format!("meetingID={meeting}@acme");
        let nodes = node.post_xml("insertDocument", &query, body).await;
        assert_eq!(ours.seen(), nodes.seen(), "{meeting} {body}");
    }
}

#[tokio::test]
async fn a_chat_message_reaches_the_meetings_node() {
    let pool = pool().await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    let node = pool.node_of("room@acme");
    for people in [0, 2] {
        node.add_attendees("room@acme", people);
        for query in ["message=Hi+all&userName=Bot", "userName=Bot"] {
            let ours = acme.get("sendChatMessage", &format!("meetingID=room&{query}")).await;
            let nodes = format!("meetingID=room@acme&{query}");
            assert_same(&ours, &at(node).get("sendChatMessage", &nodes).await);
        }
    }
    let sent = acme.get("sendChatMessage", "meetingID=room&message=Hi").await.success();
    assert_eq!(sent.text("message"), "Message successfully sent");
    let reply = acme.send(Method::POST, &acme.target("sendChatMessage", ""), &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET"));
}

#[tokio::test]
async fn sessions_are_those_of_ones_own_meetings() {
    let pool = pool().await;
    let (acme, five, other) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("other"));
    let none = acme.get("getSessions", "").await;
    assert_same(&none, &at(pool.node(0)).get("getSessions", "").await);
    assert_eq!(none.key(), "noSessions");
    let mut expected = Vec::new();
    for (client, names) in [(&acme, &["Ada", "Bob"][..]), (&five, &["Cyd"]), (&other, &["Eve"])] {
        for number in 0..4 {
            let id = format!("room-{number}");
            let internal_id = client.create(&id).await.text("internalMeetingID");
            for name in names {
                let query = format!("meetingID={id}&fullName={name}&role=VIEWER&redirect=false");
                client.get("join", &query).await.success();
                expected.push((internal_id.clone(), (*name).to_owned()));
            }
        }
    }
    expected.sort();
    let seen_by = async |client: &Client| {
        let xml = client.get("getSessions", "").await.success().xml();
        let text = |session: &portico::bbb::Element, name: &str| {
            session.child_text(name).expect("an element").into_owned()
        };
        let sessions = xml.child("sessions").expect("a list");
        let mut seen: Vec<_> = sessions
            .elements()
            .map(|session| (text(session, "meetingID"), text(session, "userName")))
            .collect();
        seen.sort();
        seen
    };
    let of = |names: &[&str]| {
        let mut own = expected.clone();
        own.retain(|(_, name)| names.contains(&name.as_str()));
        own
    };
    assert_eq!(seen_by(&acme).await, of(&["Ada", "Bob", "Cyd"]));
    assert_eq!(seen_by(&five).await, of(&["Cyd"]));
    assert_eq!(seen_by(&other).await, of(&["Eve"]));
    let wrong = acme.secret("wrong wrong wrong").get("getSessions", "").await;
    assert_failed(&wrong, "checksumError", "Checksums do not match");
}

#[tokio::test]
async fn nobody_reaches_an_unknown_or_a_foreign_meeting() {
    let pool = pool().await;
    let other = pool.tenant("other").create("foreign").await.text("internalMeetingID");
    pool.tenant("acme").create("of-main").await;
    for client in [pool.tenant("acme"), pool.tenant("acme-5")] {
        for id in ["nowhere", "foreign", "foreign@other", other.as_str()] {
            let query = format!("meetingID={id}&message=Hi");
            let reply = client.post_xml("insertDocument", &query, DOCUMENT).await;
            assert_failed(&reply, "notFound", NOT_FOUND);
            let reply = client.get("sendChatMessage", &query).await;
            assert_failed(&reply, "meetingNotFound", "Meeting not found");
        }
        let reply = client.post_xml("insertDocument", "", DOCUMENT).await;
        assert_failed(&reply, "missingParamMeetingID", "You must provide a meeting ID");
        let reply = client.get("sendChatMessage", "message=Hi").await;
        assert_failed(&reply, "missingParamMeetingID", "You must provide a meeting ID");
        let wrong = client.secret("wrong wrong wrong");
        let reply = wrong.post_xml("insertDocument", "meetingID=foreign", DOCUMENT).await;
        assert_failed(&reply, "checksumError", "Checksums do not match");
        let reply = wrong.get("sendChatMessage", "meetingID=foreign").await;
        assert_failed(&reply, "checksumError", "Checksums do not match");
    }
    let reply = pool.tenant("acme-5").get("sendChatMessage", "meetingID=of-main&message=Hi").await;
    assert_failed(&reply, "meetingNotFound", "Meeting not found");
    assert_eq!(pool.node_calls("insertDocument") + pool.node_calls("sendChatMessage"), 0);
}

#[tokio::test]
async fn a_call_that_the_nodes_release_does_not_have_is_an_unknown_call() {
    let config =
        Config::new().sim(0, |node| node.release = Release::V2_7).tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    let reply = acme.get("sendChatMessage", "meetingID=room&message=Hi").await;
    let body = failed("unsupportedRequest", "This request is not supported.");
    assert_eq!(reply.seen(), (404, body.as_str()));
    assert!((pool.metrics().await.sum("portico_node_failures_total", &[])).abs() < 0.5);
    pool.node(0).set_call_fault("sendChatMessage", Some(Fault::Html));
    let reply = acme.get("sendChatMessage", "meetingID=room&message=Hi").await;
    assert_eq!(reply.key(), "internalError");
    let failures = pool.metrics().await.sum("portico_node_failures_total", &["sendChatMessage"]);
    assert!((failures - 1.0).abs() < 0.5, "{failures}");
}
