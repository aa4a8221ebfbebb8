//! b3scale's API on the public listener, and the relay of callbacks that b3scale had promised.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use http::Method;
use portico::bbb::jwt;
use serde_json::json;

use crate::api::Operator;
use crate::b3scale_api::{KEY, config, json_of};
use crate::callbacks;
use crate::harness::{Front, Pool, Raw, Reply, Tenant, eventually, request};

fn public() -> crate::harness::Config {
    config().set("api.public", "true")
}

fn token() -> String {
    jwt::hs384(&json!({"scope": "b3scale:admin", "sub": "b3scalectl"}), KEY)
}

async fn call(pool: &Pool, method: Method, path: &str, from: &str, token: &str) -> Reply {
    let headers = [
        ("x-forwarded-for".to_owned(), from.to_owned()),
        ("authorization".to_owned(), format!("Bearer {token}")),
    ];
    request(pool.address(), method, "bbb", path, &headers, "").await.expect("an answer")
}

#[tokio::test]
async fn only_the_one_api_is_public_and_only_where_it_is_wanted() {
    let pool = Pool::start(public()).await;
    let status = call(&pool, Method::GET, "/api/v1", "203.0.113.1", &token()).await;
    assert_eq!(status.status, 200, "{}", status.body);
    assert_eq!(status.header("cache-control"), "no-store");
    let own = json!({"scope": "portico:admin", "sub": "x", "jti": "own"});
    let own = jwt::hs384(&own, KEY);
    for path in ["/api/portico/v1/nodes", "/api/v10", "/api", "/metrics", "/healthz"] {
        let reply = call(&pool, Method::GET, path, "203.0.113.1", &own).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.body);
        assert!(reply.body.contains("There is nothing here"), "{path}: {}", reply.body);
    }
    let head = call(&pool, Method::HEAD, "/api/v1", "203.0.113.1", &token()).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (404, ""));
    let private = Pool::start(config()).await;
    let reply = call(&private, Method::GET, "/api/v1", "203.0.113.1", &token()).await;
    assert!(reply.body.contains("There is nothing here"), "{}", reply.body);
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn guesses_are_counted_by_the_address_that_proxies_name() {
    let pool = Pool::start(public()).await;
    let wrong =
        jwt::hs384(&json!({"scope": "b3scale:admin"}), "a-guess-0123456789-0123456789-0123");
    let guess = async |from: &str| call(&pool, Method::GET, "/api/v1", from, &wrong).await;
    for _ in 0..10 {
        assert_eq!(guess("203.0.113.7").await.status, 401);
    }
    let refused = guess("203.0.113.7").await;
    assert_eq!(refused.status, 429);
    assert_eq!(json_of(&refused)["message"], "Too Many Requests");
    // Others are none the worse for it, nor is who has a token.
    assert_eq!(guess("203.0.113.8").await.status, 401);
    let known = call(&pool, Method::GET, "/api/v1", "203.0.113.7", &token()).await;
    assert_eq!(known.status, 200, "{}", known.body);
    pool.says("203.0.113.7 GET /api/v1 401").await;
    pool.says("203.0.113.7 GET /api/v1 200").await;
    let log = pool.log();
    assert!(!log.contains(&wrong) && !log.contains(&token()));
}

#[tokio::test]
async fn the_bounds_of_the_public_side_hold_in_the_words_of_the_api() {
    let slow = public().set("limits.header_timeout", "1s").set("limits.requests_per_second", 20);
    let pool = Pool::start(slow).await;
    let head = |more: &str| {
        format!(
            "POST /api/v1/frontends HTTP/1.1\r\nHost: bbb\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{more}\r\n\r\n",
            token()
        )
    };
    // Announced, and never sent.
    let mut raw = Raw::connect(pool.address()).await;
    raw.send(head("Content-Length: 100")).await;
    let reply = raw.reply().await.expect("an answer");
    assert_eq!(json_of(&reply)["message"], "Request Timeout");
    assert_eq!(reply.status, 408);
    // Too large, in chunks that say nothing of it before.
    let mut raw = Raw::connect(pool.address()).await;
    raw.send(head("Transfer-Encoding: chunked")).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..17 {
        if raw.try_send(&chunk).await.is_err() {
            break;
        }
    }
    raw.try_send("0\r\n\r\n").await.ok();
    let reply = raw.reply().await.expect("an answer");
    assert_eq!(json_of(&reply)["message"], "Request Entity Too Large");
    assert_eq!(reply.status, 413);
    // In chunks that fit.
    let mut raw = Raw::connect(pool.address()).await;
    raw.send(head("Transfer-Encoding: chunked")).await;
    raw.send("2\r\n{}\r\n0\r\n\r\n").await;
    let reply = raw.reply().await.expect("an answer");
    assert_eq!(json_of(&reply)["error"], "validation_error", "{}", reply.body);
    // Two lengths are how requests are smuggled.
    let mut raw = Raw::connect(pool.address()).await;
    raw.send(head("Content-Length: 2\r\nTransfer-Encoding: chunked")).await;
    let reply = raw.reply().await.expect("an answer");
    assert_eq!(json_of(&reply)["message"], "Bad Request");
    assert_eq!(reply.status, 400);
    // Whoever asks too often.
    eventually("it is too much", async || {
        let token = token();
        let ask = || call(&pool, Method::GET, "/api/v1", "203.0.113.1", &token);
        let replies = futures::future::join_all((0..50).map(|_| ask())).await;
        let is_one =
            |reply: &Reply| reply.status == 429 && json_of(reply)["message"] == "Too Many Requests";
        replies.iter().any(is_one)
    })
    .await;
}

fn b3scales_id(slug: &str, id: &str) -> String {
    URL_SAFE.encode(json!([slug, id, "b3scl"]).to_string())
}

fn relay(scope: &str, target: &str, key: &str) -> String {
    relay_of("0c1f", scope, target, key)
}

fn relay_of(frontend: &str, scope: &str, target: &str, key: &str) -> String {
    let claims = json!({"scope": scope, "sub": frontend, "aud": [target], "iat": 1, "jti": target});
    format!("/api/v1/callbacks/proxy/{}", jwt::hs384(&claims, key))
}

#[tokio::test]
async fn callbacks_that_b3scale_has_promised_are_relayed_through_the_outbox() {
    let pool = Pool::start(public().set("callbacks.allow_targets", "[127.0.0.0/8]")).await;
    let front = Front::start(&[500]).await;
    let acme = pool.tenant("acme");
    let scope = "b3scale:callback";
    let send = async |method: Method, target: &str, body: &str| {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let reply = acme.send(method, target, &[form], body.to_owned()).await;
        (reply.status.as_u16(), reply.body)
    };
    // The end of a meeting, told twice, delivered once although the front end fails at first.
    let end = relay(scope, &front.url("/end?id=7"), KEY);
    let told = format!("{end}?recordingmarks=true&meetingID={}", b3scales_id("acme", "room 1"));
    for _ in 0..2 {
        assert_eq!(send(Method::GET, &told, "").await, (200, String::new()));
    }
    eventually("it is delivered", async || front.heard("/end").len() == 2).await;
    let heard = front.heard("/end");
    assert!(
        heard.iter().all(|heard| heard.target == "/end?id=7&recordingmarks=true&meetingID=room+1")
    );
    assert_eq!((heard[0].status, heard[1].status), (500, 200));
    // A recording, signed by a node, and by its tenant's secret when it arrives.
    let ready = relay(scope, &front.url("/ready"), KEY);
    let record_id = pool.node(1).add_recordings("old@acme", 1).remove(0);
    let claims = json!({"meeting_id": b3scales_id("acme", "old"), "record_id": record_id});
    let form = |secret: &str| format!("signed_parameters={}", jwt::hs256(&claims, secret));
    assert_eq!(send(Method::POST, &ready, &form("nobody's")).await.0, 401);
    let secret = pool.node(1).secret().to_owned();
    assert_eq!(send(Method::POST, &ready, &form(&secret)).await, (200, String::new()));
    eventually("it is delivered", async || !front.heard("/ready").is_empty()).await;
    let heard = front.heard("/ready").remove(0);
    let own = callbacks::claims(&heard, &acme.secret).expect("signed for its tenant");
    assert_eq!(own, json!({"meeting_id": "old", "record_id": record_id}));
    // What is not to be relayed.
    let of = |slug: &str| format!("meetingID={}", b3scales_id(slug, "room"));
    let anywhere = front.url("/no");
    for (target, status) in [
        (format!("{}?{}", relay("b3scale:admin", &anywhere, KEY), of("acme")), 403),
        (format!("{}?{}", relay(scope, &anywhere, "another-key"), of("acme")), 401),
        (format!("{}?{}", relay(scope, "file:///etc/passwd", KEY), of("acme")), 400),
        (format!("{}?{}", relay(scope, &anywhere, KEY), of("nobody")), 404),
        (format!("{}?meetingID=room", relay(scope, &anywhere, KEY)), 400),
        (relay(scope, &anywhere, KEY), 400),
        ("/api/v1/callbacks/proxy/x".to_owned(), 401),
        ("/api/v1/callbacks/proxy/".to_owned(), 401),
    ] {
        assert_eq!(send(Method::GET, &target, "").await.0, status, "{target}");
    }
    assert_eq!(send(Method::PUT, &end, "").await.0, 404);
    assert_eq!(send(Method::POST, &ready, "signed_parameters=x").await.0, 401);
    assert_eq!(send(Method::POST, &ready, "other=x").await.0, 400);
    assert!(front.heard("/no").is_empty());
    // There are as many of these tokens as meetings: none is listed.
    let tokens = Operator::of(&pool, "admin").await.get("/tokens").await;
    assert!(!tokens.to_string().contains("/end"), "{tokens}");
    pool.says(" /api/v1/callbacks/proxy/ ").await;
    assert!(!pool.log().contains(end.rsplit('/').next().expect("a token")));
}

#[tokio::test]
async fn whoever_has_one_callback_url_uses_up_nobody_elses() {
    let config = public().tenant(Tenant::new("beta")).set("limits.requests_per_second", 0);
    let pool = Pool::start(config.set("callbacks.allow_targets", "[127.0.0.0/8]")).await;
    let front = Front::start(&[]).await;
    let tell = async |frontend: &str, target: &str, tenant: &str| {
        let url = relay_of(frontend, "b3scale:callback", &front.url(target), KEY);
        let path = format!("{url}?meetingID={}", b3scales_id(tenant, "room"));
        request(pool.address(), Method::GET, "bbb", &path, &[], "").await.expect("an answer").status
    };
    // The URL of one tenant, which somebody uses to tell of another's meeting.
    let mut refused = 0;
    for _ in 0..21 {
        let told = futures::future::join_all((0..50).map(|_| tell("of acme", "/leaked", "beta")));
        refused += told.await.iter().filter(|status| **status == 429).count();
    }
    assert_eq!(refused, 50);
    assert_eq!(tell("of beta", "/own", "beta").await, 200);
    assert_eq!(tell("of acme", "/another", "acme").await, 200);
    assert_eq!(tell("of acme", "/leaked", "acme").await, 429);
}
