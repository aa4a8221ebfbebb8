//! Answers that arrive.

use super::*;

#[tokio::test]
async fn a_call_is_one_plain_request() {
    let (sender, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let node = Raw::start(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(request(&mut stream).await.unwrap()).unwrap();
            let answer = "HTTP/1.1 404 Gone\r\nX-Odd: 1\r\nContent-Length: 3\r\n\r\n\0\u{ff}";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let response = node.get(&client()).await.unwrap();
    assert_eq!((response.status, &response.headers["x-odd"]), (404, &"1".parse().unwrap()));
    assert_eq!(response.body, "\0\u{ff}");
    let authority = node.url.authority();
    let agent = concat!("portico/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        heads.recv().await.unwrap(),
        format!(
            "GET /bigbluebutton/api/getMeetings?{QUERY} HTTP/1.1\r\nuser-agent: {agent}\r\n\
             host: {authority}\r\n\r\n"
        )
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let node = Raw::says(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let response = node.get(&client()).await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(response.headers["location"], "http://127.0.0.1:1/");
}

#[tokio::test]
async fn every_framing_of_a_body_is_understood() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhe\r\n3;ext\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let node = Raw::says(answer).await;
        assert_eq!(node.get(&client()).await.unwrap().body, "hello", "{answer}");
    }
}

#[tokio::test]
async fn the_bound_is_inclusive() {
    let body = "x".repeat(1000);
    for head in ["Content-Length: 1000\r\n", ""] {
        let node = Raw::says(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}")).await;
        assert_eq!(node.get(&client()).await.unwrap().body, body);
        let node = Raw::says(format!("HTTP/1.1 200 OK\r\n\r\n{body}x")).await;
        assert_eq!(kind(&node.get(&client()).await.unwrap_err()), "too_large");
    }
}

async fn stream(node: &Raw, enough: usize) -> (Result<u16, Error>, String) {
    let mut told = String::new();
    let status = client()
        .stream(&node.url, "getMeetings", QUERY, PLENTY, 1 << 20, &mut |chunk| {
            told += str::from_utf8(chunk).unwrap();
            if told.len() < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await;
    (status, told)
}

#[tokio::test]
async fn a_streamed_answer_comes_in_pieces() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let node = Raw::says(format!("{chunked}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")).await;
    let (status, told) = stream(&node, 99).await;
    assert_eq!((status.unwrap(), told.as_str()), (200, "hello"));

    // The rest is not missed when nobody wants it.
    let node = Raw::says(format!("{chunked}2\r\nhe\r\n3\r\nl")).await;
    let (status, told) = stream(&node, 2).await;
    assert_eq!((status.unwrap(), told.as_str()), (200, "he"));
    let (status, told) = stream(&node, 99).await;
    assert_eq!((kind(&status.unwrap_err()), told.as_str()), ("reset", "hel"));
}

#[tokio::test]
async fn only_a_good_answer_is_streamed() {
    let node = Raw::says("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nhtml").await;
    let (status, told) = stream(&node, 99).await;
    assert_eq!((status.unwrap(), told.as_str()), (502, ""));
}

#[tokio::test]
async fn a_load_is_an_integer_in_the_first_line() {
    async fn load(answer: &str) -> Result<u32, Error> {
        let node = Raw::says(format!("HTTP/1.1 {answer}")).await;
        let mut url = node.url.clone();
        url.set_query(Some(QUERY));
        client().fetch_load(&url, PLENTY).await
    }
    for (body, expected) in [("0", 0), ("10000\n", 10_000), (" 7 \r\nmore\n\u{fffd}", 7)] {
        assert_eq!(load(&format!("200 OK\r\n\r\n{body}")).await.unwrap(), expected);
    }
    for body in ["", "\n5", "-1", "10001", "1.5", "<html>", "99999999999999999999"] {
        let error = load(&format!("200 OK\r\n\r\n{body}")).await.unwrap_err();
        assert_eq!(kind(&error), "load", "{body}");
    }
    let error = load("503 Busy\r\n\r\n5").await.unwrap_err();
    assert_eq!(kind(&error), "load");
    assert!(error.to_string().ends_with("/bigbluebutton/api answers no load: status 503"));
    let endless = "5\n".repeat(MAX_LOAD_BYTES);
    assert_eq!(kind(&load(&format!("200 OK\r\n\r\n{endless}")).await.unwrap_err()), "too_large");
}
