//! Webhooks: who is told of what, and how it is signed.

use super::callbacks::{Receiver, receiver};
use super::*;

async fn hook(node: &Node, front: &Receiver, more: &str) -> Answer {
    call(node, "hooks/create", &format!("callbackURL={}{more}", front.encoded("/hook"))).await
}

/// The ids of the events that were told, after their signatures were found right.
fn events(front: &Receiver, node: &Node) -> Vec<String> {
    let told = front.heard().into_iter().map(|request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let (url, sum) = target.split_once("?checksum=").unwrap();
        let signed = format!("{}{url}{body}{}", front.url(), node.secret());
        assert_eq!(sum, super::super::world::sha1_hex(&signed));
        let form: Vec<_> = form_urlencoded::parse(body.as_bytes()).collect();
        assert_eq!([&*form[0].0, &*form[1].0, &*form[2].0], ["domain", "event", "timestamp"]);
        let event: serde_json::Value = serde_json::from_str(&form[1].1).unwrap();
        event[0]["data"]["id"].as_str().unwrap().to_owned()
    });
    told.collect()
}

#[tokio::test]
async fn a_hook_is_told_what_it_asked_for() {
    let (all, some) = (receiver(&[]).await, receiver(&["500 Oh"]).await);
    let node = node().await;
    let first = hook(&node, &all, "").await;
    let body = "<response><returncode>SUCCESS</returncode><hookID>1</hookID><permanentHook>false</permanentHook>\
                <rawData>false</rawData></response>";
    assert_eq!(first.body, body);
    let again = hook(&node, &all, "").await;
    assert_eq!(
        (again.element("hookID"), again.element("messageKey")),
        (Some("1"), Some("duplicateWarning"))
    );
    hook(&node, &some, "&meetingID=room-1&eventID=user-joined,%20meeting-ended").await;
    for room in ["room-1", "room-2"] {
        call(&node, "create", &format!("name=Room&meetingID={room}")).await;
        let query = format!("meetingID={room}&fullName=Ada&role=viewer");
        assert_eq!(call(&node, "join", &query).await.status, 302);
        call(&node, "end", &format!("meetingID={room}")).await;
    }
    // The first is answered with an error and repeated.
    until(|| all.count() == 6 && some.count() == 3).await;
    let mut told = events(&all, &node);
    told.sort();
    let twice = ["meeting-created", "meeting-ended", "user-joined"].map(|event| [event; 2]);
    assert_eq!(told, twice.concat());
    assert!(!events(&some, &node).contains(&"meeting-created".to_owned()));
    node.stop().await;
}

#[tokio::test]
async fn hooks_are_listed_and_go() {
    let (global, own) = (receiver(&[]).await, receiver(&[]).await);
    let node = node_with_room("").await;
    hook(&node, &global, "").await;
    hook(&node, &own, "&meetingID=room-1&getRaw=true").await;
    let listed = call(&node, "hooks/list", "meetingID=other").await;
    assert!(listed.body.contains(&format!("<![CDATA[{}/hook]]>", global.url())));
    assert!(!listed.body.contains("room-1"));
    assert_eq!(node.hooks().len(), 2);
    call(&node, "end", "meetingID=room-1").await;
    until(|| node.hooks().len() == 1).await;
    for (query, key) in [("", "missingParamHookID"), ("hookID=7", "destroyMissingHook")] {
        assert_eq!(call(&node, "hooks/destroy", query).await.element("messageKey"), Some(key));
    }
    assert_eq!(call(&node, "hooks/destroy", "hookID=1").await.element("removed"), Some("true"));
    assert!(node.hooks().is_empty());
    let missing = call(&node, "hooks/create", "").await;
    assert_eq!(missing.element("messageKey"), Some("missingParamCallbackURL"));
    node.stop().await;
}
