//! The node as a client sees it, over real sockets.

use super::raw_client::{call, get};
use super::*;

async fn node() -> Node {
    Node::start(Settings::default()).await.unwrap()
}

#[tokio::test]
async fn a_meeting_is_created_joined_listed_and_ended() {
    let node = node().await;
    let created =
        call(&node, "create", "name=Room&meetingID=room-1&attendeePW=ap&moderatorPW=mp").await;
    assert_eq!(created.element("returncode"), Some("SUCCESS"), "{}", created.body);
    let joined = call(&node, "join", "meetingID=room-1&fullName=Ann&role=MODERATOR").await;
    assert_eq!(joined.status, 302);
    let target =
        joined.header("location").unwrap().split_once("/html5client").unwrap().1.to_owned();
    let page = get(node.address(), &format!("/html5client{target}"), "").await.unwrap();
    assert!(page.status == 200 && page.body.contains("<b>Ann</b>"), "{}", page.body);
    let listed = call(&node, "getMeetings", "").await;
    assert_eq!(listed.element("participantCount"), Some("1"), "{}", listed.body);
    let ended = call(&node, "end", "meetingID=room-1").await;
    assert_eq!(ended.element("messageKey"), Some("sentEndMeetingRequest"));
    node.stop().await;
}
