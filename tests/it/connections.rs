//! Connections that are slow, too large, too many, or come by way of a proxy.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::{Client, Config, Pool, Raw, Reply, Tenant, eventually};

/// `limits.header_timeout` where a test waits for it.
const SHORT: &str = "500ms";

fn config() -> Config {
    Config::new().nodes(2).tenant(Tenant::new("acme"))
}

/// A head of a GET, without the empty line.
fn get(client: &Client, call: &str, query: &str) -> String {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n", client.target(call, query), client.host)
}

/// A head of a POST with a signed query, without the empty line.
fn post(client: &Client, call: &str, query: &str, content_type: &str) -> String {
    let target = client.target(call, query);
    format!("POST {target} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\n", client.host)
}

const FORM: &str = "application/x-www-form-urlencoded";
const XML: &str = "application/xml";
const CREATE: &str = "name=A+meeting&meetingID=algebra";

/// The connection serves another request.
async fn is_healthy(raw: &mut Raw, client: &Client) {
    raw.send(format!("{}\r\n", get(client, "getMeetings", ""))).await;
    raw.reply().await.expect("the connection is kept").success();
}

async fn refused_connections(pool: &Pool, reason: &str) -> f64 {
    let series = format!("portico_connections_refused_total{{reason=\"{reason}\"}}");
    pool.metrics().await.get(&series)
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let pool = Pool::start(config()).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    raw.send(format!("{}\r\n", get(&acme, "create", CREATE))).await;
    raw.reply().await.expect("an answer").success();
    for number in 0..50 {
        let id = if number % 2 == 0 { "algebra" } else { "nobody" };
        let query = format!("fullName=Ada&meetingID={id}");
        raw.send(format!("{}\r\n", get(&acme, "join", &query))).await;
        let reply = raw.reply().await.expect("the connection is kept");
        assert_eq!(reply.status, if number % 2 == 0 { 302 } else { 200 });
        is_healthy(&mut raw, &acme).await;
    }
    assert!((pool.metrics().await.get("portico_connections") - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn a_failure_keeps_the_connection() {
    let pool = Pool::start(config()).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    for target in ["/", "/bigbluebutton/api/nothing", "/bbb/acme/create?meetingID=x&checksum=00"] {
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        raw.reply().await.expect("an answer");
        is_healthy(&mut raw, &acme).await;
    }
}

#[tokio::test]
async fn a_head_that_dribbles_in_is_cut_off() {
    let pool = Pool::start(config().set("limits.header_timeout", SHORT)).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let begun = Instant::now();
    let mut letters = get(&acme, "getMeetings", "").into_bytes().into_iter();
    // More than a letter in each read time-out, so only a time-out over all of it helps.
    let cut_off = loop {
        let letter = letters.next().unwrap_or(b'x');
        if let Err(error) = raw.try_send([letter]).await {
            break error;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "still open");
        sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(cut_off.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(refused_connections(&pool, "slow_head").await > 0.5);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let pool = Pool::start(config().set("limits.header_timeout", SHORT)).await;
    let mut raw = pool.raw().await;
    assert!(raw.rest().await.is_empty());
    assert!(refused_connections(&pool, "slow_head").await > 0.5);
}

/// A request that takes longer than a head may is not cut off.
#[tokio::test]
async fn a_slow_answer_is_not_taken_for_a_slow_head() {
    let pool = Pool::start(config().set("limits.header_timeout", "100ms")).await;
    for node in pool.nodes() {
        let delay = portico::sim::Fault::Delay(Duration::from_secs(1));
        node.set_call_fault("create", Some(delay));
    }
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    raw.send(format!("{}\r\n", get(&acme, "create", CREATE))).await;
    raw.reply().await.expect("an answer").success();
    is_healthy(&mut raw, &acme).await;
}

#[tokio::test]
async fn a_form_that_dribbles_in_gets_a_failure() {
    let pool = Pool::start(config().set("limits.header_timeout", SHORT)).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let head = post(&acme, "create", "", FORM);
    raw.send(format!("{head}Content-Length: 100\r\n\r\nname=A+meet")).await;
    let reply = raw.reply().await.expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.key().as_str()), (200, "requestTimeout"));
    assert!(raw.rest().await.is_empty(), "and the connection is closed");
    assert_eq!(pool.node_calls("create"), 0);
}

#[tokio::test]
async fn a_form_that_breaks_off_creates_nothing() {
    let pool = Pool::start(config()).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let head = post(&acme, "create", CREATE, FORM);
    raw.send(format!("{head}Content-Length: 100\r\n\r\nwelcome=He")).await;
    drop(raw);
    eventually("it is noticed", async || {
        pool.metrics().await.sum("portico_requests_total", &["call=\"create\""]) > 0.5
    })
    .await;
    assert_eq!(pool.node_calls("create"), 0);
}

#[tokio::test]
async fn a_request_with_two_lengths_is_refused() {
    let pool = Pool::start(config()).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let head = post(&acme, "create", CREATE, FORM);
    raw.send(format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
        .await;
    let reply = raw.reply().await.expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.text("returncode").as_str()), (400, "FAILED"));
    assert!(raw.rest().await.is_empty(), "and the connection is closed");
    assert_eq!(pool.node_calls("create"), 0);
}

#[tokio::test]
async fn nonsense_is_refused_and_closed() {
    let pool = Pool::start(config()).await;
    for nonsense in [
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut raw = pool.raw().await;
        raw.send(nonsense).await;
        let rest = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400"), "{nonsense:?}: {rest}");
    }
    assert_eq!(pool.admin("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_head_over_the_limit_gets_a_failure_that_front_ends_can_read() {
    let pool = Pool::start(config().set("limits.max_header", "4KiB")).await;
    let acme = pool.tenant("acme");
    let fits = format!("{CREATE}&welcome={}", "a".repeat(3000));
    acme.get("create", &fits).await.success();
    let long = format!("{CREATE}&welcome={}", "a".repeat(5000));
    let reply = acme.get("create", &long).await;
    assert_eq!((reply.status.as_u16(), reply.text("returncode").as_str()), (431, "FAILED"));
    let padded = acme.header("x-padding", &"a".repeat(5000)).get("getMeetings", "").await;
    assert_eq!(padded.status, 431);
}

#[tokio::test]
async fn a_body_over_the_limit_gets_a_failure_and_the_connection_stays_healthy() {
    let pool = Pool::start(config().set("limits.max_body", "64KiB")).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let body = "a".repeat(100 * 1024);
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (content_type, query) in [(FORM, ""), (XML, CREATE)] {
        let head = post(&acme, "create", query, content_type);
        let length = body.len();
        for request in [
            format!("{head}Content-Length: {length}\r\n\r\n{body}"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"),
        ] {
            raw.send(request).await;
            let reply = raw.reply().await.expect("an answer");
            assert_eq!((reply.status.as_u16(), reply.key().as_str()), (200, "requestTooLarge"));
            assert_eq!(reply.text("returncode"), "FAILED");
            assert!(reply.text("message").contains("64"), "{}", reply.body);
            is_healthy(&mut raw, &acme).await;
        }
    }
    assert_eq!(pool.nodes().iter().map(|node| node.meetings().len()).sum::<usize>(), 0);
}

/// Without end, it cannot be read to its end.
#[tokio::test]
async fn a_body_far_over_the_limit_is_not_read_to_its_end() {
    let pool = Pool::start(config().set("limits.max_body", "64KiB")).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let head = post(&acme, "create", CREATE, XML);
    raw.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    let piece = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let mut sent = 0;
    while raw.try_send(&piece).await.is_ok() {
        sent += piece.len();
        assert!(sent < 256 * 1024 * 1024, "it reads on and on");
    }
    assert_eq!(pool.nodes().iter().map(|node| node.meetings().len()).sum::<usize>(), 0);
    acme.create("algebra").await;
}

#[tokio::test]
async fn a_chunked_form_is_read_like_any_other() {
    let pool = Pool::start(config()).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let form = format!("{CREATE}&checksum={}", acme.checksum("create", ""));
    let (one, two) = form.split_at(17);
    let target = format!("{}/create", acme.base);
    raw.send(format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ))
    .await;
    for part in [one, two, ""] {
        raw.send(format!("{:x}\r\n{part}\r\n", part.len())).await;
    }
    assert_eq!(raw.reply().await.expect("an answer").success().text("meetingID"), "algebra");
    is_healthy(&mut raw, &acme).await;
}

const SLIDES: &str = "<modules><module name=\"presentation\">\
    <document url=\"https://slides.example/one.pdf\" filename=\"one.pdf\"/></module></modules>";

#[tokio::test]
async fn slides_are_asked_for_where_the_client_waits() {
    let pool = Pool::start(config()).await;
    let (acme, mut raw) = (pool.tenant("acme"), pool.raw().await);
    let head = post(&acme, "create", CREATE, XML);
    raw.send(format!("{head}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", SLIDES.len()))
        .await;
    assert_eq!(raw.reply().await.expect("an invitation").status, 100);
    raw.send(SLIDES).await;
    raw.reply().await.expect("an answer").success();
    assert_eq!(pool.node_of("algebra@acme").meetings()[0].documents, ["one.pdf"]);
    is_healthy(&mut raw, &acme).await;
}

/// A front end that is refused does not have to send its slides first.
#[tokio::test]
async fn a_refused_client_that_waits_is_answered_at_once() {
    let pool = Pool::start(config()).await;
    let (acme, mut raw) = (pool.tenant("acme").secret("not the secret"), pool.raw().await);
    let head = post(&acme, "create", CREATE, XML);
    let begun = Instant::now();
    raw.send(format!("{head}Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n")).await;
    let reply = raw.reply().await.expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.key().as_str()), (200, "checksumError"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_counted() {
    let pool = Pool::start(config().set("limits.max_connections", 3)).await;
    pool.becomes_idle().await;
    let acme = pool.tenant("acme");
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut raw = pool.raw().await;
        is_healthy(&mut raw, &acme).await;
        kept.push(raw);
    }
    let mut fourth = pool.raw().await;
    assert!(fourth.rest().await.is_empty());
    assert!(refused_connections(&pool, "limit").await > 0.5);
    for raw in &mut kept {
        is_healthy(raw, &acme).await;
    }
    kept.clear();
    eventually("there is room again", async || {
        acme.try_get("getMeetings", "").await.is_ok_and(|reply| reply.is_success())
    })
    .await;
}

#[tokio::test]
async fn requests_over_the_rate_of_an_address_are_refused() {
    let pool = Pool::start(config().set("limits.requests_per_second", 20)).await;
    let acme = pool.tenant("acme");
    let from = |address: &str| acme.header("x-forwarded-for", address);
    let (greedy, modest) = (from("203.0.113.1"), from("203.0.113.2"));
    let mut refused: Option<Reply> = None;
    eventually("it is too much", async || {
        let replies = (0..50).map(|_| greedy.get("getMeetings", ""));
        let replies = futures::future::join_all(replies).await;
        refused = replies.into_iter().find(|reply| reply.status == 429);
        refused.is_some()
    })
    .await;
    let refused = refused.expect("just seen");
    assert_eq!(refused.key(), "tooManyRequests");
    modest.get("getMeetings", "").await.success();
    eventually("the next second is another one", async || {
        greedy.get("getMeetings", "").await.status == 200
    })
    .await;
}

fn v1(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 10.0.0.1 4711 80\r\n").into_bytes()
}

fn v2(address: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(address);
    header.extend([10, 0, 0, 1, 0x12, 0x67, 0, 80]);
    header
}

#[tokio::test]
async fn the_proxy_protocol_names_the_client() {
    let pool = Pool::start(config().listener("proxy_protocol: true")).await;
    let acme = pool.tenant("acme");
    for (header, seen) in
        [(v1("203.0.113.9"), "203.0.113.9"), (v2([203, 0, 113, 10]), "203.0.113.10")]
    {
        let mut raw = Raw::connect(pool.listener(1)).await;
        raw.send(header).await;
        // It names the client for all requests of the connection.
        for _ in 0..2 {
            is_healthy(&mut raw, &acme).await;
        }
        let line = format!(" {seen} GET /bbb/acme/");
        eventually("it is logged", async || pool.log().matches(&line).count() == 2).await;
    }
    // The plain listener beside it knows nothing of it.
    let mut raw = pool.raw().await;
    raw.send(v1("203.0.113.9")).await;
    raw.send("\r\n").await;
    let rest = raw.rest().await;
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"));
}

#[tokio::test]
async fn without_a_proxy_header_the_connection_is_closed() {
    let config = config().set("limits.header_timeout", SHORT).listener("proxy_protocol: true");
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    for start in [format!("{}\r\n", get(&acme, "getMeetings", "")), "PROXY TCP4 ".to_owned()] {
        let mut raw = Raw::connect(pool.listener(1)).await;
        raw.send(start).await;
        assert!(raw.rest().await.is_empty());
    }
    assert!(refused_connections(&pool, "proxy_protocol").await > 1.5);
}

#[tokio::test]
async fn a_proxy_header_of_an_untrusted_peer_closes_the_connection() {
    let config = config().set("server.trusted_proxies", "[10.0.0.0/8]");
    let pool = Pool::start(config.listener("proxy_protocol: true")).await;
    let mut raw = Raw::connect(pool.listener(1)).await;
    raw.send(v1("203.0.113.9")).await;
    drop(raw.try_send(format!("{}\r\n", get(&pool.tenant("acme"), "getMeetings", ""))).await);
    assert!(raw.rest().await.is_empty());
    assert!(!pool.log().contains("203.0.113.9"), "{}", pool.log());
}
