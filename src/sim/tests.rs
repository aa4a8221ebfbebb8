//! The node as a client sees it, over real sockets.

mod api;
mod callbacks;
mod control;
mod faults;
mod hooks;
mod join;

use std::time::Duration;

use super::raw_client::{Answer, call, get, post};
use super::{Node, Settings};

async fn node() -> Node {
    Node::start(Settings::default()).await.unwrap()
}

/// A node with the meeting `room-1`, whose passwords are `ap` and `mp`.
async fn node_with_room(more: &str) -> Node {
    let node = node().await;
    let query = format!("name=Room&meetingID=room-1&attendeePW=ap&moderatorPW=mp{more}");
    let created = call(&node, "create", &query).await;
    assert_eq!(created.element("returncode"), Some("SUCCESS"), "{}", created.body);
    node
}

/// Waits for a condition; a test that waits for nothing fails after ten seconds.
async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the condition comes true");
}

#[tokio::test]
async fn a_node_can_be_commanded_outside_its_runtime_and_ends_all_its_tasks() {
    let node = node_with_room("").await;
    let address = node.address();
    let node = std::thread::spawn(move || {
        node.set_fault(Some(super::Fault::Refuse));
        node.set_fault(None);
        assert!(node.end_meeting("room-1") && !node.end_meeting("room-1"));
        node
    })
    .join()
    .unwrap();
    assert!(get(address, "/bigbluebutton/api", "").await.is_ok());
    let shared = std::sync::Arc::clone(&node.shared);
    node.stop().await;
    assert_eq!(std::sync::Arc::strong_count(&shared), 1);
    drop(shared);
    assert!(get(address, "/bigbluebutton/api", "").await.is_err());
}

#[tokio::test]
async fn meetings_without_people_end_by_themselves_and_vanish() {
    let node = Node::start(Settings { minute: Duration::from_millis(100), ..Settings::default() })
        .await
        .unwrap();
    call(&node, "create", "name=Room&meetingID=brief&meetingExpireIfNoUserJoinedInMinutes=1").await;
    call(&node, "create", "name=Room&meetingID=long&meetingExpireIfNoUserJoinedInMinutes=10000")
        .await;
    for (id, minutes) in [("left", 1), ("open", 0)] {
        let query =
            format!("name=Room&meetingID={id}&meetingExpireWhenLastUserLeftInMinutes={minutes}");
        call(&node, "create", &query).await;
        assert!(node.add_attendees(id, 2) && node.remove_attendees(id));
    }
    let stays =
        |meeting: &super::MeetingState| matches!(meeting.external_id.as_str(), "long" | "open");
    until(|| node.meetings().iter().all(stays)).await;
    assert_eq!(node.meetings().len(), 2);
    node.stop().await;
}
