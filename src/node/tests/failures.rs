//! Nodes that are down, slow, endless or talk nonsense.

use super::connection::READ_BUFFER_BYTES;
use super::*;

#[tokio::test]
async fn a_closed_port_refuses() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{closed}/bigbluebutton/api")).unwrap();
    let error = client().call(&url, "create", QUERY, None, PLENTY, 9).await.unwrap_err();
    assert_eq!(kind(&error), "refused");
    assert!(error.before_request());
    assert_eq!(error.to_string(), format!("cannot connect to {url}/create: refused"));
}

#[tokio::test]
async fn a_name_without_address_cannot_be_resolved() {
    // A label of more than 63 characters fails without asking anybody.
    let url = Url::parse(&format!("http://{}.invalid/api", "x".repeat(64))).unwrap();
    let error = client().call(&url, "create", QUERY, None, PLENTY, 9).await.unwrap_err();
    assert_eq!(kind(&error), "resolve");
    assert!(error.before_request());
}

#[tokio::test]
async fn a_node_that_hangs_up_is_not_asked_again() {
    // Closing with the request unread resets the connection.
    for read in [false, true] {
        let node = Raw::start(move |_, mut stream| async move {
            if read {
                request(&mut stream).await;
            }
        })
        .await;
        let error = node.get(&client()).await.unwrap_err();
        assert_eq!(kind(&error), "reset");
        assert!(!error.before_request());
        assert_eq!(node.accepted(), 1);
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_none() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
    ] {
        let node = Raw::says(answer).await;
        assert_eq!(kind(&node.get(&client()).await.unwrap_err()), "reset", "{answer}");
    }
}

#[tokio::test]
async fn nonsense_is_no_answer() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2 * READ_BUFFER_BYTES));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhe",
        &long,
        &many,
    ] {
        let node = Raw::says(answer.to_owned()).await;
        assert_eq!(kind(&node.get(&client()).await.unwrap_err()), "protocol", "{answer:.80}");
    }
}

#[tokio::test]
async fn a_promise_of_too_much_is_refused_at_once() {
    let node = Raw::start(|_, mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let error = node.get(&client()).await.unwrap_err();
    assert_eq!(kind(&error), "too_large");
    assert!(error.to_string().ends_with("/getMeetings is longer than 1000 bytes"), "{error}");
}

#[tokio::test]
async fn an_endless_answer_ends_at_the_bound() {
    for head in ["", "Transfer-Encoding: chunked\r\n"] {
        let node = Raw::start(move |_, mut stream| async move {
            request(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        })
        .await;
        assert_eq!(kind(&node.get(&client()).await.unwrap_err()), "too_large");

        let mut seen = 0;
        let error = client()
            .stream(&node.url, "getMeetings", QUERY, PLENTY, 1 << 20, &mut |chunk| {
                seen += chunk.len();
                ControlFlow::Continue(())
            })
            .await
            .unwrap_err();
        assert_eq!(kind(&error), "too_large");
        assert!(seen <= 1 << 20, "{seen}");
    }
}

/// Calls a node that falls silent, or nearly, after `said`.
async fn silence_after(said: Option<&'static str>, each: &'static str) -> Error {
    let node = Raw::start(move |_, mut stream| async move {
        if let Some(said) = said {
            request(&mut stream).await;
            stream.write_all(said.as_bytes()).await.unwrap();
        }
        while stream.write_all(each.as_bytes()).await.is_ok() {
            tokio::time::sleep(SHORT / 20).await;
        }
    })
    .await;
    client().call(&node.url, "getMeetings", QUERY, None, SHORT, 1000).await.unwrap_err()
}

#[tokio::test]
async fn one_deadline_covers_the_whole_call() {
    for (said, each, stage) in [
        (None, "", Stage::Answer),
        (Some(""), "", Stage::Answer),
        (Some("HTTP/1.1 200 OK\r\nX-Slow: "), "x", Stage::Answer),
        (Some("HTTP/1.1 100 Continue\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n", Stage::Answer),
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"), "", Stage::Body),
        (Some("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"), "x", Stage::Body),
        (Some("HTTP/1.1 200 OK\r\n\r\n"), "x", Stage::Body),
    ] {
        let error = silence_after(said, each).await;
        assert!(
            matches!(error, Error::Timeout { stage: reached, .. } if reached == stage),
            "{said:?} {each:?} {error}"
        );
        assert_eq!(kind(&error), "timeout");
        assert!(!error.before_request());
    }
}

#[tokio::test]
async fn connecting_has_a_bound_of_its_own() {
    // A server that never says a word in the TLS handshake.
    let node = Raw::start(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut url = node.url.clone();
    url.set_scheme("https").unwrap();
    for (connect_timeout, timeout) in [(SHORT, PLENTY), (PLENTY, SHORT)] {
        let client = Client::with_roots(ClientSettings { connect_timeout }, RootCertStore::empty());
        let error = client.call(&url, "create", QUERY, None, timeout, 9).await.unwrap_err();
        assert_eq!(kind(&error), "timeout");
        assert!(error.before_request());
        assert_eq!(error.to_string(), format!("no connection to {url}/create in time"));
    }
}

#[tokio::test]
async fn an_absurd_timeout_is_no_panic() {
    let node = Raw::says(OK).await;
    let call = client().call(&node.url, "create", QUERY, None, Duration::MAX, 9).await;
    assert_eq!(call.unwrap().body, "ok");
}
