//! Every fault, as a client feels it.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::sim::{DRIBBLE_PAUSE, Fault};

const VERSION: &str = "/bigbluebutton/api";

/// A connection on which the version was asked for.
async fn asked(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(b"GET /bigbluebutton/api HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream
}

#[tokio::test]
async fn a_node_that_is_down_refuses_and_cuts_and_comes_back_on_its_port() {
    let node = node_with_room("").await;
    let mut kept = asked(&node).await;
    let mut buffer = [0; 1024];
    assert!(kept.read(&mut buffer).await.unwrap() > 0);
    node.set_fault(Some(Fault::Refuse));
    assert_eq!(
        get(node.address(), VERSION, "").await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    let cut = timeout(Duration::from_secs(5), kept.read(&mut buffer)).await.unwrap();
    assert!(matches!(cut, Ok(0) | Err(_)));
    node.set_fault(None);
    assert_eq!(get(node.address(), VERSION, "").await.unwrap().status, 200);
    assert_eq!(node.meetings().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let node = node().await;
    node.set_fault(Some(Fault::Reset));
    let mut stream = asked(&node).await;
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(node.calls(""), 1);
    node.stop().await;
}

#[tokio::test]
async fn answers_can_be_wrong_in_several_ways() {
    let node = node_with_room("").await;
    let list = async |fault| {
        node.set_fault(Some(fault));
        call(&node, "getMeetings", "").await
    };
    let ill = list(Fault::Status(503)).await;
    assert!(ill.status == 503 && ill.header("content-type").unwrap().starts_with("text/html"));
    let html = list(Fault::Html).await;
    assert!(html.status == 200 && html.body.starts_with("<!DOCTYPE html>"));
    let failed = list(Fault::Failed).await;
    assert_eq!((failed.status, failed.element("returncode")), (200, Some("FAILED")));
    let bad = list(Fault::BadXml).await;
    assert!(bad.status == 200 && crate::bbb::Answer::parse(bad.body.as_bytes()).is_err());
    let wrong = list(Fault::WrongId).await;
    assert_eq!(wrong.element("meetingID"), Some("another-room-1"));
    node.stop().await;
}

#[tokio::test]
async fn answers_can_be_late_or_never_come() {
    let node = node().await;
    node.set_fault(Some(Fault::Delay(Duration::from_millis(50))));
    let before = Instant::now();
    assert_eq!(get(node.address(), VERSION, "").await.unwrap().status, 200);
    assert!(before.elapsed() >= Duration::from_millis(50));
    node.set_fault(Some(Fault::Hang));
    assert!(timeout(Duration::from_millis(50), get(node.address(), VERSION, "")).await.is_err());
    node.set_fault(Some(Fault::Dribble));
    let mut stream = asked(&node).await;
    let mut byte = [0; 1];
    while !byte.starts_with(b"<") {
        stream.read_exact(&mut byte).await.unwrap();
    }
    assert!(timeout(DRIBBLE_PAUSE * 3, stream.read_to_end(&mut Vec::new())).await.is_err());
    node.stop().await;
}

#[tokio::test]
async fn an_endless_body_goes_on_while_it_is_read() {
    let node = node().await;
    node.set_fault(Some(Fault::EndlessBody));
    let mut stream = asked(&node).await;
    let mut much = vec![0; 1024 * 1024];
    stream.read_exact(&mut much).await.unwrap();
    drop(stream);
    node.stop().await;
}

#[tokio::test]
async fn a_fault_of_one_call_leaves_the_others_alone() {
    let node = node_with_room("").await;
    node.set_call_fault("getMeetings", Some(Fault::Status(500)));
    assert_eq!(call(&node, "getMeetings", "").await.status, 500);
    assert_eq!(call(&node, "isMeetingRunning", "meetingID=room-1").await.status, 200);
    node.set_call_fault("getMeetings", None);
    assert_eq!(call(&node, "getMeetings", "").await.status, 200);
    assert_eq!((node.calls("getMeetings"), node.calls("create"), node.calls("end")), (2, 1, 0));
    let seen = node.requests();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[0].path, "/bigbluebutton/api/create");
    node.stop().await;
}
