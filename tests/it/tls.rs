//! HTTPS and HTTP/2 on the public side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Client, Config, Pool, Raw, Reply, Tenant, eventually};

const HOST: &str = "bbb.example.org";

/// A certificate for [`HOST`] with its key, in PEM.
struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
        Self { cert: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("PEM")
    }

    fn write(&self, config: &std::path::Path) {
        std::fs::write(config.join("cert.pem"), &self.cert).expect("a file");
        std::fs::write(config.join("key.pem"), &self.key).expect("a file");
    }
}

/// A pool with a TLS listener, its second one, with these further keys.
async fn pool(pair: &Pair, keys: &str) -> Pool {
    let config = Config::new().nodes(2).tenant(Tenant::new("acme"));
    let cert = config.file("cert.pem", &pair.cert);
    let key = config.file("key.pem", &pair.key);
    let tls = format!("tls: {{ cert: {}, key: {} }}{keys}", cert.display(), key.display());
    Pool::start(config.listener(&tls)).await
}

/// Connects and shakes hands, trusting these certificates and nothing else. `before` is sent first of all.
async fn connect(
    address: SocketAddr,
    trusted: &[&Pair],
    alpn: &[&str],
    before: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.der()).expect("a certificate");
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(before.as_bytes()).await?;
    let name = ServerName::try_from(HOST).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn certificate(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().expect("it has shaken hands");
    chain[0].clone().into_owned()
}

/// Many requests at once over one HTTP/2 connection.
#[derive(Clone)]
struct Http2(http2::SendRequest<Full<Bytes>>);

impl Http2 {
    async fn connect(address: SocketAddr, pair: &Pair) -> Self {
        let stream = connect(address, &[pair], &["h2"], "").await.expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let sent = self.0.clone().send_request(request).await.expect("an answer");
        let (head, body) = sent.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        Reply { status: head.status, headers: head.headers, body }
    }

    async fn get(&self, client: &Client, call: &str, query: &str) -> Reply {
        let uri = format!("https://{HOST}{}", client.target(call, query));
        self.send(Request::get(uri).body(Full::default()).expect("a request")).await
    }
}

#[tokio::test]
async fn https_serves_http1() {
    let pair = Pair::new();
    let pool = pool(&pair, "").await;
    let acme = pool.tenant("acme");
    let stream = connect(pool.listener(1), &[&pair], &["http/1.1"], "").await.expect("TLS");
    let (mut sender, connection) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    for (call, query, status) in [
        ("create", "name=A+meeting&meetingID=algebra", 200),
        ("join", "fullName=Ada&meetingID=algebra", 302),
        ("getMeetings", "", 200),
    ] {
        let request = Request::get(acme.target(call, query)).header("host", HOST);
        let request = request.body(Full::default()).expect("a request");
        let reply = sender.send_request(request).await.expect("an answer");
        assert_eq!(reply.status(), status, "{call}");
        reply.into_body().collect().await.expect("a whole body");
    }
    assert_eq!(acme.listed().await, ["algebra"]);
}

#[tokio::test]
async fn a_page_by_https_asks_for_https_in_future() {
    let pair = Pair::new();
    let pool = pool(&pair, "").await;
    let (acme, h2) = (pool.tenant("acme"), Http2::connect(pool.listener(1), &pair).await);
    let uri = format!("https://{HOST}{}", acme.target("join", "fullName=Ada&meetingID=nowhere"));
    let request = Request::get(uri).header("accept", "text/html");
    let page = h2.send(request.body(Full::default()).expect("a request")).await;
    assert_eq!(page.header("strict-transport-security"), "max-age=31536000");
    let answer = h2.get(&acme, "getMeetings", "").await;
    assert!(!answer.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn http2_serves_many_requests_at_once() {
    let pair = Pair::new();
    let pool = pool(&pair, "").await;
    let (acme, h2) = (pool.tenant("acme"), Http2::connect(pool.listener(1), &pair).await);
    let creates =
        futures::future::join_all((0..20).map(|number| {
            let (h2, acme) = (h2.clone(), acme.clone());
            async move {
                h2.get(&acme, "create", &format!("name=A+meeting&meetingID=room{number}")).await
            }
        }));
    for reply in creates.await {
        reply.success();
    }
    let join = h2.get(&acme, "join", "fullName=Ada&meetingID=room7").await;
    assert_eq!(join.status, 302);
    let node = pool.node_of("room7@acme");
    assert!(join.header("location").starts_with(&node.url()), "{:?}", join.headers);
    let proxied =
        h2.get(&acme, "join", "fullName=Ada&role=VIEWER&meetingID=room7&redirect=false").await;
    assert_eq!(proxied.success().key(), "successfullyJoined");
    let list = h2.get(&acme, "getMeetings", "").await.success();
    assert_eq!(list.body.matches("<meetingID>").count(), 20);
    h2.get(&acme, "end", "meetingID=room7").await.success();
    let wrong = h2.get(&acme.secret("wrong"), "getMeetings", "").await;
    assert_eq!((wrong.status.as_u16(), wrong.key().as_str()), (200, "checksumError"));
}

#[tokio::test]
async fn http2_takes_forms_and_slides() {
    let pair = Pair::new();
    let pool = pool(&pair, "").await;
    let (acme, h2) = (pool.tenant("acme"), Http2::connect(pool.listener(1), &pair).await);
    let post = |target: String, content_type: &str, body: String| {
        Request::builder()
            .method(Method::POST)
            .uri(format!("https://{HOST}{target}"))
            .header("content-type", content_type)
            .body(Full::from(body))
            .expect("a request")
    };
    let form = "name=A+meeting&meetingID=by-form";
    let form = format!("{form}&checksum={}", acme.checksum("create", ""));
    let target = format!("{}/create", acme.base);
    let reply = h2.send(post(target, "application/x-www-form-urlencoded", form)).await;
    assert_eq!(reply.success().text("meetingID"), "by-form");
    let slides = "<modules><module name=\"presentation\"><document filename=\"one.pdf\" \
        url=\"https://slides.example/one.pdf\"/></module></modules>";
    let target = acme.target("create", "name=A+meeting&meetingID=with-slides");
    h2.send(post(target, "application/xml", slides.to_owned())).await.success();
    let node = pool.node_of("with-slides@acme");
    let meetings = node.meetings();
    let meeting = meetings.iter().find(|meeting| meeting.external_id == "with-slides@acme");
    assert_eq!(meeting.expect("it was found there").documents, ["one.pdf"]);
}

#[tokio::test]
async fn a_new_certificate_counts_after_sighup_and_a_bad_one_never() {
    let (old, new) = (Pair::new(), Pair::new());
    let pool = pool(&old, "").await;
    let both = [&old, &new];
    let seen = async || {
        let stream = connect(pool.listener(1), &both, &["h2"], "").await.expect("TLS");
        certificate(&stream)
    };
    assert_eq!(seen().await, old.der());
    let h2 = Http2::connect(pool.listener(1), &old).await;

    let reload = async |word: &str| {
        let count = pool.log().matches(word).count();
        pool.signal("HUP");
        eventually(word, async || pool.log().matches(word).count() > count).await;
    };
    new.write(pool.dir());
    assert_eq!(seen().await, old.der(), "not before it is told");
    reload("configuration read again").await;
    assert_eq!(seen().await, new.der());
    // Who is connected stays so.
    h2.get(&pool.tenant("acme"), "getMeetings", "").await.success();

    std::fs::write(pool.dir().join("key.pem"), &old.key).expect("a file");
    reload("stays as it was").await;
    assert_eq!(seen().await, new.der());
}

#[tokio::test]
async fn the_proxy_protocol_stands_before_the_handshake() {
    let pair = Pair::new();
    let pool = pool(&pair, ", proxy_protocol: true").await;
    let acme = pool.tenant("acme");
    let header = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n";
    let stream = connect(pool.listener(1), &[&pair], &["h2"], header).await.expect("TLS");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let h2 = Http2(sender);
    for _ in 0..2 {
        h2.get(&acme, "getMeetings", "").await.success();
    }
    eventually("it is logged", async || pool.log().matches(" 203.0.113.9 GET ").count() == 2).await;
    assert!(connect(pool.listener(1), &[&pair], &["h2"], "").await.is_err());
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let pool = hurried(&Pair::new()).await;
    let mut raw = Raw::connect(pool.listener(1)).await;
    assert!(raw.rest().await.is_empty());
}

/// A pool whose connections have to say soon what they want, and how many were closed for not doing so.
async fn hurried(pair: &Pair) -> Pool {
    let config = Config::new().tenant(Tenant::new("acme")).set("limits.header_timeout", "500ms");
    let cert = config.file("cert.pem", &pair.cert);
    let key = config.file("key.pem", &pair.key);
    let tls = format!("tls: {{ cert: {}, key: {} }}", cert.display(), key.display());
    Pool::start(config.listener(&tls)).await
}

async fn refused(pool: &Pool, reason: &str) -> f64 {
    let series = format!("portico_connections_refused_total{{reason=\"{reason}\"}}");
    pool.metrics().await.get(&series)
}

#[tokio::test]
async fn an_http2_connection_without_its_preface_is_closed() {
    let pair = Pair::new();
    let pool = hurried(&pair).await;
    for start in ["", "PRI * HTTP/2.0\r\n"] {
        let before = refused(&pool, "slow_head").await;
        let mut stream =
            connect(pool.listener(1), &[&pair], &["h2"], "").await.expect("a handshake");
        stream.write_all(start.as_bytes()).await.expect("it is open");
        stream.flush().await.expect("it is open");
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        drop(closed.expect("it stays open"));
        assert!(rest.is_empty(), "nobody has asked: {rest:?}");
        eventually("it is counted", async || refused(&pool, "slow_head").await > before + 0.5)
            .await;
    }
    // In time, it may stay for as long as it likes.
    let h2 = Http2::connect(pool.listener(1), &pair).await;
    h2.get(&pool.tenant("acme"), "getMeetings", "").await.success();
    let mut late = connect(pool.listener(1), &[&pair], &["h2"], "").await.expect("a handshake");
    let closed = timeout(Duration::from_secs(20), late.read_to_end(&mut Vec::new())).await;
    drop(closed.expect("one that came after it has had its time"));
    h2.get(&pool.tenant("acme"), "getMeetings", "").await.success();
}

/// Whoever is in the middle of a handshake counts as connected, and has as long for its hello as others for
/// a head.
#[tokio::test]
async fn connections_count_before_their_handshake() {
    let pair = Pair::new();
    let config = Config::new()
        .tenant(Tenant::new("acme"))
        .set("limits.max_connections", 3)
        .set("limits.header_timeout", "5s");
    let cert = config.file("cert.pem", &pair.cert);
    let key = config.file("key.pem", &pair.key);
    let tls = format!("tls: {{ cert: {}, key: {} }}", cert.display(), key.display());
    let pool = Pool::start(config.listener(&tls)).await;
    pool.becomes_idle().await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for start in [&b"\x16"[..], b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut raw = Raw::connect(pool.listener(1)).await;
        raw.send(start).await;
        slow.push(raw);
    }
    let refusals = refused(&pool, "limit").await;
    eventually("they fill it", async || {
        connect(pool.listener(1), &[&pair], &["h2"], "").await.is_err()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(refused(&pool, "limit").await > refusals + 0.5);
    for raw in &mut slow {
        assert!(raw.rest().await.is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let h2 = Http2::connect(pool.listener(1), &pair).await;
    h2.get(&pool.tenant("acme"), "getMeetings", "").await.success();
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_over_http2() {
    let pair = Pair::new();
    let mut pool = pool(&pair, "").await;
    let acme = pool.tenant("acme");
    let h2 = Http2::connect(pool.listener(1), &pair).await;
    for node in pool.nodes() {
        let delay = portico::sim::Fault::Delay(std::time::Duration::from_millis(500));
        node.set_call_fault("create", Some(delay));
    }
    let create = tokio::spawn({
        let acme = acme.clone();
        async move { h2.get(&acme, "create", "name=A+meeting&meetingID=algebra").await }
    });
    eventually("it is under way", async || pool.node_calls("create") == 1).await;
    pool.signal("TERM");
    create.await.expect("it is answered").success();
    assert!(pool.ended().await.success());
}
