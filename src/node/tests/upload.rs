//! Requests with a body.

use http_body_util::StreamBody;
use hyper::body::Frame;

use super::*;

pub(super) fn body<const N: usize>(pieces: [&'static str; N], length: Option<u64>) -> RequestBody {
    results(pieces.map(|piece| Ok(Bytes::from(piece))), length)
}

fn results<const N: usize>(pieces: [io::Result<Bytes>; N], length: Option<u64>) -> RequestBody {
    let frames = pieces.map(|piece| piece.map(Frame::data));
    RequestBody {
        content_type: Some(HeaderValue::from_static("application/xml")),
        body: BodyExt::boxed(StreamBody::new(futures::stream::iter(frames))),
        length,
    }
}

/// The request as it arrives, after `length` bytes of body.
async fn sent(body: RequestBody, length: usize) -> String {
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let node = Raw::start(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            let head = request(&mut stream).await.unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            sender.send(head + str::from_utf8(&body).unwrap()).unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let call = client().call(&node.url, "insertDocument", QUERY, Some(body), PLENTY, 9).await;
    assert_eq!(call.unwrap().body, "ok");
    requests.recv().await.unwrap()
}

#[tokio::test]
async fn a_body_of_known_length_goes_out_as_it_is() {
    let request = sent(body(["he", "llo"], Some(5)), 5).await;
    assert!(request.starts_with("POST /bigbluebutton/api/insertDocument?"), "{request}");
    assert!(request.contains("\r\ncontent-length: 5\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-type: application/xml\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nhello"), "{request}");
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_out_in_chunks() {
    let chunks = "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    let request = sent(body(["he", "llo"], None), chunks.len()).await;
    assert!(request.contains("\r\ntransfer-encoding: chunked\r\n"), "{request}");
    assert!(request.ends_with(&format!("\r\n\r\n{chunks}")), "{request}");
}

#[tokio::test]
async fn a_body_that_fails_is_not_the_nodes_fault() {
    let node = Raw::start(|_, mut stream| async move { while stream.read_u8().await.is_ok() {} });
    let node = node.await;
    for length in [Some(9), None] {
        let broken = results([Ok("he".into()), Err(io::Error::other("gone"))], length);
        let call = client().call(&node.url, "create", QUERY, Some(broken), PLENTY, 9).await;
        assert_eq!(kind(&call.unwrap_err()), "body");
    }
    let short = body(["he"], Some(9));
    let call = client().call(&node.url, "create", QUERY, Some(short), PLENTY, 9).await;
    assert_eq!(kind(&call.unwrap_err()), "body");
}

#[tokio::test]
async fn an_upload_that_nobody_reads_ends_with_the_deadline() {
    let node = Raw::start(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let endless = futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![0; 9999]))));
    let body = RequestBody {
        content_type: None,
        body: BodyExt::boxed(StreamBody::new(endless)),
        length: None,
    };
    let call = client().call(&node.url, "create", QUERY, Some(body), SHORT, 9).await;
    assert_eq!(kind(&call.unwrap_err()), "timeout");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_counts() {
    let node = Raw::start(|_, mut stream| async move {
        request(&mut stream).await;
        let answer = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let pending = futures::stream::pending();
    let body = RequestBody {
        content_type: None,
        body: BodyExt::boxed(StreamBody::new(pending)),
        length: Some(9),
    };
    let call = client().call(&node.url, "create", QUERY, Some(body), PLENTY, 9).await;
    assert_eq!(call.unwrap().status, 413);
}
