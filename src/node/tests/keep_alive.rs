//! Connections that are kept, and that the node has given up meanwhile.

use super::*;

/// Answers `answered` requests on each connection; with the next one it says `last` and closes.
async fn answers(answered: usize, last: &'static str) -> Raw {
    Raw::start(move |_, mut stream| async move {
        for _ in 0..answered {
            if request(&mut stream).await.is_none() {
                return;
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
        request(&mut stream).await;
        stream.write_all(last.as_bytes()).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn calls_share_a_connection() {
    let node = answers(99, "").await;
    let client = client();
    for _ in 0..9 {
        assert_eq!(node.get(&client).await.unwrap().body, "ok");
    }
    assert_eq!(node.accepted(), 1);
}

#[tokio::test]
async fn a_connection_that_the_node_closed_is_not_used() {
    let node = Raw::says(OK).await;
    let client = client();
    for _ in 0..9 {
        assert_eq!(node.get(&client).await.unwrap().body, "ok");
    }
}

#[tokio::test]
async fn a_request_that_met_a_closing_connection_is_repeated() {
    let node = answers(1, "").await;
    let client = client();
    for connection in 1..9 {
        assert_eq!(node.get(&client).await.unwrap().body, "ok");
        assert_eq!(node.accepted(), connection);
    }
}

#[tokio::test]
async fn after_a_restart_all_kept_connections_are_stale() {
    // Each connection answers once; they are all kept since the first answers come together.
    let node = Raw::start(|connection, mut stream| async move {
        request(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        if connection > STALE_RETRIES {
            request(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
        request(&mut stream).await;
    })
    .await;
    let client = client();
    let calls = (0..STALE_RETRIES).map(|_| {
        let (client, url) = (client.clone(), node.url.clone());
        async move { client.call(&url, "getMeetings", QUERY, None, PLENTY, 9).await }
    });
    for call in calls.map(tokio::spawn).collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(node.get(&client).await.unwrap().body, "ok");
}

#[tokio::test]
async fn a_request_is_not_repeated_once_the_answer_has_begun() {
    let node = answers(1, "HTTP/1.1 2").await;
    let client = client();
    node.get(&client).await.unwrap();
    assert_eq!(kind(&node.get(&client).await.unwrap_err()), "reset");
    assert_eq!(node.accepted(), 1);
}

#[tokio::test]
async fn a_request_with_a_body_is_not_repeated() {
    let node = answers(1, "").await;
    let client = client();
    node.get(&client).await.unwrap();
    let body = super::upload::body(["hello"], Some(5));
    let error = client.call(&node.url, "create", QUERY, Some(body), PLENTY, 9).await.unwrap_err();
    assert_eq!(kind(&error), "reset");
    assert!(!error.before_request());
    assert_eq!(node.accepted(), 1);
}
