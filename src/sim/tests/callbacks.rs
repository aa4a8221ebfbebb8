//! What reaches a front end by itself.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::bbb::jwt;

/// A front end that notes what it is sent and gives prepared answers, then 200 for ever.
pub(super) struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
    _serves: AbortOnDropHandle<()>,
}

pub(super) async fn receiver(answers: &'static [&'static str]) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let notes = Arc::clone(&heard);
    let serves = tokio::spawn(async move {
        let mut answers = answers.iter();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let mut read = 0;
            while !is_complete(&request[..read]) {
                read += stream.read(&mut request[read..]).await.unwrap();
            }
            notes.lock().push(String::from_utf8_lossy(&request[..read]).into_owned());
            let answer = answers.next().unwrap_or(&"200 OK");
            let answer =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Receiver { url, heard, _serves: AbortOnDropHandle::new(serves) }
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

impl Receiver {
    fn first_lines(&self) -> Vec<String> {
        self.heard.lock().iter().map(|request| request.lines().next().unwrap().to_owned()).collect()
    }

    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn count(&self) -> usize {
        self.heard.lock().len()
    }

    pub(super) fn encoded(&self, path: &str) -> String {
        form_urlencoded::byte_serialize(format!("{}{path}", self.url).as_bytes()).collect()
    }
}

async fn impatient_node() -> Node {
    Node::start(Settings { minute: Duration::from_millis(100), ..Settings::default() })
        .await
        .unwrap()
}

#[tokio::test]
async fn both_end_callbacks_are_probed_and_then_fetched() {
    let (by_meta, by_parameter) = (receiver(&[]).await, receiver(&[]).await);
    let node = node_with_room(&format!(
        "&record=true&meta_endCallbackUrl={}&meetingEndedURL={}",
        by_meta.encoded("/end?room=1"),
        by_parameter.encoded("/over?x=%2f"),
    ))
    .await;
    node.add_attendees("room-1", 1);
    call(&node, "end", "meetingID=room-1").await;
    call(&node, "end", "meetingID=room-1").await;
    until(|| by_meta.count() == 2 && by_parameter.count() == 2).await;
    let line = "GET /end?room=1&recordingmarks=true&meetingID=room-1 HTTP/1.1";
    assert_eq!(by_meta.first_lines(), [line, line]);
    let line = "GET /over?x=%2f HTTP/1.1";
    assert_eq!(by_parameter.first_lines(), [line, line]);
    assert!(by_meta.heard.lock()[0].contains("user-agent: Mozilla\r\n"));
    assert!(!by_meta.heard.lock()[1].contains("Mozilla"));
    node.stop().await;
}

#[tokio::test]
async fn an_end_callback_follows_redirects_and_is_repeated_until_a_plain_200() {
    let front = receiver(&[
        "302 Found\r\nLocation: /there",
        "204 No Content",
        "503 Busy",
        "200 OK",
        "500 Oh",
    ])
    .await;
    let node = impatient_node().await;
    let url = front.encoded("/end");
    call(&node, "create", &format!("name=Room&meetingID=room-1&meetingEndedURL={url}")).await;
    assert!(node.end_meeting("room-1"));
    until(|| front.count() == 7).await;
    let paths: Vec<_> =
        front.first_lines().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(paths, ["/end", "/there", "/end", "/end", "/end", "/end", "/end"]);
    node.stop().await;
}

#[tokio::test]
async fn a_meeting_that_expires_calls_back_too() {
    let front = receiver(&[]).await;
    let node = impatient_node().await;
    let url = front.encoded("/end");
    let query = format!("name=Room&meetingID=room-1&duration=1&meta_endCallbackUrl={url}");
    call(&node, "create", &query).await;
    until(|| front.count() == 2).await;
    assert!(front.first_lines()[0].contains("recordingmarks=false"));
    node.stop().await;
}

#[tokio::test]
async fn a_recording_is_announced_once_for_each_format_with_a_signed_token() {
    let front = receiver(&[]).await;
    let node =
        node_with_room(&format!("&meta_bbb-recording-ready-url={}", front.encoded("/ready"))).await;
    let id = node.meetings()[0].internal_id.clone();
    node.publish_recording("room-1");
    until(|| front.count() == 2).await;
    let claims = serde_json::json!({"meeting_id": "room-1", "record_id": id});
    let body = format!("\r\n\r\nsigned_parameters={}", jwt::hs256(&claims, node.secret()));
    for request in front.heard.lock().iter() {
        assert!(
            request.starts_with("POST /ready HTTP/1.1\r\n") && request.ends_with(&body),
            "{request}"
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn analytics_carry_a_bearer_token() {
    let front = receiver(&[]).await;
    let more =
        format!("&meetingKeepEvents=true&meta_analytics-callback-url={}", front.encoded("/stats"));
    let node = node_with_room(&more).await;
    node.add_attendees("room-1", 2);
    node.end_meeting("room-1");
    until(|| front.count() == 1).await;
    let request = front.heard.lock()[0].clone();
    let token =
        request.split("authorization: Bearer ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(token, jwt::hs512(&serde_json::from_slice(&claims).unwrap(), node.secret()));
    let body: serde_json::Value =
        serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["meeting_id"], "room-1");
    assert_eq!(body["data"]["attendees"].as_array().unwrap().len(), 2);
    node.stop().await;
}
