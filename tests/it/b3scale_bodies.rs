//! b3scale's API on the public listener as operators see it, and what its callers can hold.

use http::{Method, StatusCode};
use portico::bbb::jwt;
use portico::sim::Fault;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::b3scale_api::{KEY, config, json_of};
use crate::harness::{Config, Pool, Raw, Reply, eventually, request};

fn public() -> Config {
    config().set("api.public", "true").set("limits.requests_per_second", 0)
}

fn token(scope: &str) -> String {
    jwt::hs384(&json!({"scope": scope, "sub": "b3scalectl"}), KEY)
}

async fn call(pool: &Pool, method: Method, path: &str, token: &str) -> Reply {
    let headers = [("authorization".to_owned(), format!("Bearer {token}"))];
    request(pool.address(), method, "bbb", path, &headers, "").await.expect("an answer")
}

#[tokio::test]
async fn requests_are_counted_wherever_they_come_in() {
    let pool = Pool::start(public()).await;
    let admin = token("b3scale:admin");
    assert_eq!(call(&pool, Method::GET, "/api/v1", &admin).await.status, 200);
    assert_eq!(call(&pool, Method::GET, "/api/v1/frontends", &admin).await.status, 200);
    assert_eq!(call(&pool, Method::POST, "/api/v1/frontends", "x").await.status, 401);
    assert_eq!(pool.admin("/api/v1").await.status, 401);
    let metrics = pool.metrics().await;
    let count = |method: &str, status: &str| {
        let labels = [method, status].map(|label| format!("\"{label}\""));
        let labels = ["api=\"b3scale\"", &labels[0], &labels[1]];
        metrics.sum("portico_api_requests_total", &labels)
    };
    let counts = [count("GET", "200"), count("POST", "401"), count("GET", "401")];
    assert!(counts.iter().zip([2.0, 1.0, 1.0]).all(|(a, b)| (a - b).abs() < 0.5), "{counts:?}");
    let timed = metrics.sum("portico_api_request_seconds_count", &["api=\"b3scale\""]);
    assert!((timed - 4.0).abs() < 0.5, "{timed}");
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_to_blame_itself() {
    let pool = Pool::start(public()).await;
    pool.tenant("acme").create("room").await.success();
    let node = pool.node_of("room@acme");
    let path = format!("/api/v1/meetings/internal:{}", node.meetings()[0].internal_id);
    node.set_call_fault("getMeetingInfo", Some(Fault::Status(500)));
    let failed = call(&pool, Method::DELETE, &path, &token("b3scale:admin")).await;
    assert_eq!(failed.status, 502, "{}", failed.body);
    let blamed = async |fault: &str| {
        pool.metrics().await.sum("portico_requests_total", &[&format!("fault=\"{fault}\"")])
    };
    eventually("it is counted", async || blamed("node").await > 0.5).await;
    assert!(blamed("portico").await < 0.5);
}

#[tokio::test]
async fn whoever_has_no_token_is_refused_whatever_he_would_send() {
    let pool = Pool::start(public().set("limits.header_timeout", "1s")).await;
    let answer = async |method: &str, path: &str, token: Option<&str>| {
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let mut raw = Raw::connect(pool.address()).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: bbb\r\n{}Content-Type: application/json\r\n\
             Content-Length: 100\r\n\r\n",
            token.unwrap_or_default()
        );
        // What was announced does not come.
        raw.send(head).await;
        let reply = raw.reply().await.expect("an answer");
        (reply.status.as_u16(), json_of(&reply)["message"].as_str().unwrap_or_default().to_owned())
    };
    let words = |status: u16, words: &str| (status, words.to_owned());
    let wrong = jwt::hs384(&json!({"scope": "b3scale:admin"}), "another-key-0123456789-0123456789");
    let node = token("b3scale:node");
    let admin = token("b3scale:admin");
    for (method, path, token, expected) in [
        ("POST", "/api/v1/frontends", None, words(401, "missing or malformed jwt")),
        ("POST", "/api/v1/frontends", Some(&wrong), words(401, "invalid or expired jwt")),
        ("POST", "/api/v1/frontends", Some(&node), words(403, "b3scale:admin scope required")),
        ("PATCH", "/api/v1/nothing", Some(&admin), words(404, "Not Found")),
        ("POST", "/api/v1/callbacks/proxy/x", None, words(401, "invalid or expired jwt")),
        ("POST", "/api/v1/frontends", Some(&admin), words(408, "Request Timeout")),
    ] {
        assert_eq!(answer(method, path, token.map(String::as_str)).await, expected, "{path}");
    }
}

#[tokio::test]
async fn bodies_for_the_api_take_nothing_from_front_ends_forms() {
    let pool = Pool::start(public().set("limits.header_timeout", "1m")).await;
    let head = format!(
        "POST /api/v1/frontends HTTP/1.1\r\nHost: bbb\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 1048576\r\n\r\n",
        token("b3scale:admin")
    );
    let mut senders = JoinSet::new();
    for _ in 0..70 {
        let mut raw = Raw::connect(pool.address()).await;
        raw.send(&head).await;
        senders.spawn(async move {
            // Those that find no room are not read to the end. None is whole.
            drop(raw.try_send(" ".repeat(1_000_000)).await);
            raw.reply().await
        });
    }
    let admin = token("b3scale:admin");
    let address = pool.address();
    let headers = vec![("authorization".to_owned(), format!("Bearer {admin}"))];
    let mut waiting = Vec::new();
    eventually("there is no room for another", async || {
        let headers = headers.clone();
        waiting.push(AbortOnDropHandle::new(tokio::spawn(async move {
            request(address, Method::POST, "bbb", "/api/v1/frontends", &headers, "{}").await
        })));
        // Whoever comes later and has no body is answered first.
        for _ in 0..5 {
            call(&pool, Method::GET, "/api/v1", &admin).await;
        }
        !waiting.last().expect("one was sent").is_finished()
    })
    .await;
    let form = "name=A+meeting&meetingID=room";
    pool.tenant("acme").post_form("create", form).await.success();
    let asked = call(&pool, Method::GET, "/api/v1", &admin).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert!(!waiting.last().expect("one was sent").is_finished(), "there was room all the time");
}
