//! What keeps the public side from being misused: rates, paths, and the headers of pages.

use futures::future::join_all;
use http::Method;

use crate::callbacks;
use crate::harness::{Client, Config, Pool, Reply, Tenant, eventually};

#[tokio::test]
async fn requests_over_the_rate_of_a_tenant_are_refused() {
    let tenant = Tenant::new("acme").sub(5).set("limits", "{ requests_per_second: 20 }");
    let config = Config::new().tenant(tenant).tenant(Tenant::new("other"));
    let pool = Pool::start(config).await;
    let (acme, five, other) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("other"));
    // From wherever they come, and whichever secret they have.
    let from = |client: &Client, number: usize| {
        client.header("x-forwarded-for", &format!("203.0.113.{number}"))
    };
    let mut refused: Option<Reply> = None;
    eventually("it is too much", async || {
        let clients: Vec<_> = (0..50)
            .map(|number| from(if number % 2 == 0 { &acme } else { &five }, number))
            .collect();
        let replies = join_all(clients.iter().map(|client| client.get("getMeetings", ""))).await;
        refused = replies.into_iter().find(|reply| reply.status == 429);
        refused.is_some()
    })
    .await;
    let refused = refused.expect("just seen");
    assert_eq!(refused.key(), "tooManyRequests");
    assert_eq!(
        refused.text("message"),
        "The request rate limit of this tenant (20) has been reached."
    );
    assert_eq!(refused.header("retry-after"), "1");
    other.get("getMeetings", "").await.success();
    let hits = "portico_limit_hits_total{limit=\"requests\",tenant=\"acme\"}";
    assert!(pool.metrics().await.get(hits) >= 1.0);
    eventually("the next second is another one", async || {
        acme.get("getMeetings", "").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn strangers_cannot_use_up_a_tenants_rate() {
    let tenant = Tenant::new("acme").set("limits", "{ requests_per_second: 1000 }");
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let stranger = pool.tenant("acme").secret("a guess");
    let calls = (0..1500).map(|_| stranger.get("getMeetings", ""));
    let replies = futures::StreamExt::collect::<Vec<_>>(futures::StreamExt::buffer_unordered(
        futures::stream::iter(calls),
        50,
    ))
    .await;
    assert!(replies.iter().all(|reply| reply.key() == "checksumError"));
    pool.tenant("acme").get("getMeetings", "").await.success();
    let hits = pool.metrics().await.sum("portico_limit_hits_total", &["limit=\"requests\""]);
    assert!(hits < 0.5, "{hits}");
}

/// Asks until the rate of this client's address is used up.
async fn use_up(client: &Client) {
    eventually("it is too much", async || {
        let replies = join_all((0..50).map(|_| client.get("getMeetings", ""))).await;
        replies.iter().any(|reply| reply.status == 429)
    })
    .await;
}

#[tokio::test]
async fn a_network_of_ipv6_has_one_rate() {
    let config = Config::new().tenant(Tenant::new("acme")).set("limits.requests_per_second", 20);
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    let mut last = 0;
    eventually("they are too many together", async || {
        // None of them comes twice.
        let mut next = || {
            last += 1;
            acme.header("x-forwarded-for", &format!("2001:db8:1:2::{last:x}"))
        };
        let clients: Vec<_> = (0..50).map(|_| next()).collect();
        let replies = join_all(clients.iter().map(|client| client.get("getMeetings", ""))).await;
        replies.iter().any(|reply| reply.status == 429)
    })
    .await;
    acme.header("x-forwarded-for", "2001:db8:1:3::1").get("getMeetings", "").await.success();
}

#[tokio::test]
async fn nodes_behind_the_address_of_others_are_heard_up_to_a_rate_of_their_own() {
    let config = callbacks::config().set("limits.requests_per_second", 5);
    let pool = Pool::start(config).await;
    // The node's address is this one, too.
    let acme = pool.tenant("acme").header("x-forwarded-for", "203.0.113.1");
    pool.tenant("acme").create("room").await;
    let end = callbacks::sent_to_node(&pool, "meetingEndedURL").expect("a URL of ours");
    let end = callbacks::target(&end);
    use_up(&acme).await;
    assert_eq!(callbacks::call(&acme, Method::GET, &end).await, 200);
    // What only looks like a node's call is anybody's.
    use_up(&acme).await;
    let refused = |status: u16| status == 429;
    for path in ["/b3lb/c/0123", "/b3lb/h/node0/0123", "/b3lb/b/meeting/end?nonce=0123"] {
        eventually("it is refused", async || {
            let calls = (0..30).map(|_| callbacks::call(&acme, Method::GET, path));
            join_all(calls).await.into_iter().any(refused)
        })
        .await;
    }
    // Nor may a well-formed token be asked for without end.
    let guess = format!("/b3lb/c/{}", "5a".repeat(24));
    eventually("guesses are refused", async || {
        let calls = (0..200).map(|_| callbacks::call(&acme, Method::GET, &guess));
        join_all(calls).await.into_iter().any(refused)
    })
    .await;
}

/// A form that a join link does not take is not passed on, and is read only if it is small.
#[tokio::test]
async fn a_body_beside_a_signed_join_never_reaches_the_node() {
    let config = Config::new().tenant(Tenant::new("acme")).set("limits.header_timeout", "500ms");
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    let query = "fullName=Ada&role=VIEWER&meetingID=room&redirect=false";
    let small = format!("fullName=Eve&pad={}", "a".repeat(60_000));
    let reply = acme.post_query_and_form("join", query, &small).await.success();
    assert_eq!(reply.key(), "successfullyJoined");
    let last = || {
        let seen = pool.node(0).requests();
        seen.into_iter().rfind(|seen| seen.path.ends_with("/join")).expect("a join")
    };
    assert!(last().query.contains("fullName=Ada") && !last().query.contains("Eve"));
    assert_eq!(last().body_len, 0);

    let large = "a".repeat(100_000);
    let reply = acme.post_query_and_form("join", query, &large).await;
    assert_eq!((reply.status.as_u16(), reply.key().as_str()), (200, "requestTooLarge"));
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        acme.target("join", query)
    );
    let mut endless = pool.raw().await;
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    endless.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}")).await;
    assert_eq!(endless.reply().await.expect("an answer").key(), "requestTooLarge");
    let mut slow = pool.raw().await;
    slow.send(format!("{head}Content-Length: 100\r\n\r\na=1")).await;
    assert_eq!(slow.reply().await.expect("an answer").key(), "requestTimeout");
    assert_eq!(pool.node_calls("join"), 1, "none of these");
}

#[tokio::test]
async fn strangers_that_announce_forms_hold_no_place_for_them() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let head = "POST /bbb/acme/create HTTP/1.1\r\nHost: a\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 1048576\r\n\r\nname=";
    let mut strangers = Vec::new();
    for _ in 0..100 {
        let mut raw = pool.raw().await;
        raw.send(head).await;
        strangers.push(raw);
    }
    eventually("they are there", async || {
        pool.metrics().await.get("portico_requests_in_flight") > 99.5
    })
    .await;
    let begun = tokio::time::Instant::now();
    acme.post_form("create", "name=A+meeting&meetingID=room").await.success();
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}

/// Every path of the operators' side, and every way to write around a prefix.
const HOSTILE: [&str; 56] = [
    "/",
    "//",
    "/metrics",
    "//metrics",
    "/metrics/",
    "/%6detrics",
    "/./metrics",
    "/healthz",
    "/readyz",
    "/api",
    "/api/",
    "/api/portico/v1",
    "/api/portico/v1/tenants",
    "/api/v1/frontends",
    "/admin/",
    "/static/admin.css",
    "/files/download/?name=x",
    "/.git/config",
    "/.env",
    "/favicon.ico",
    "/bigbluebutton/../metrics",
    "/bigbluebutton/%2e%2e/metrics",
    "/bigbluebutton%2fapi/create",
    "/bigbluebutton/api%2fcreate",
    "/bigbluebutton/api/../../metrics",
    "/bigbluebutton/api/..%2f..%2fmetrics",
    "/bigbluebutton/api/%2e%2e/%2e%2e/metrics",
    "/bigbluebutton/api/create/",
    "/bigbluebutton/api/create/..",
    "/bigbluebutton/api/create%00",
    "/bigbluebutton/api/create;jsessionid=1",
    "/bigbluebutton/api/Create",
    "/bigbluebutton/api/c%72eate",
    "/bigbluebutton/api/..;/metrics",
    "/bigbluebutton/api\\create",
    "/bigbluebutton/apis/create",
    "//bigbluebutton/api/create",
    "/BigBlueButton/api/create",
    "/bigbluebutton/rap-pair",
    "/bbb",
    "/bbb/",
    "/bbb//create",
    "/bbb/../metrics",
    "/bbb/..%2f..%2fmetrics",
    "/bbb/%61cme/create",
    "/bbb/acme/../metrics",
    "/bbb/acme/..%2f..%2fmetrics",
    "/bbb/acme/bigbluebutton/api/../../../metrics",
    "/b3lb",
    "/b3lb/",
    "/b3lb/t/acme",
    "/b3lb/t/acme/",
    "/b3lb/t/acme/bbb/api/../metrics",
    "/b3lb/t/acme/../other/metrics",
    "/b3lb/t/../../metrics",
    "/b3lb/admin",
];

#[tokio::test]
async fn no_path_leads_anywhere_but_to_the_api() {
    let tenant = Tenant::new("acme").set("default", "true").set("stats_token", "hush");
    let pool =
        Pool::start(Config::new().set("server.base_domain", "bbb.example.org").tenant(tenant))
            .await;
    pool.tenant("acme").create("room").await;
    let before =
        pool.node(0).requests().iter().filter(|seen| !seen.path.ends_with("/getMeetings")).count();
    for path in HOSTILE {
        for host in ["any", "acme.bbb.example.org"] {
            for method in ["GET", "POST"] {
                let mut raw = pool.raw().await;
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: hush\r\n\
                     Content-Length: 0\r\nConnection: close\r\n\r\n"
                );
                raw.send(request.as_bytes()).await;
                let reply = raw.reply().await.unwrap_or_else(|error| panic!("{path}: {error}"));
                let status = reply.status.as_u16();
                assert!([400, 404].contains(&status), "{method} {host}{path}: {reply:?}");
                assert!(
                    !reply.body.contains("portico_") && !reply.body.contains("b3lb_"),
                    "{path}"
                );
            }
        }
    }
    let after =
        pool.node(0).requests().iter().filter(|seen| !seen.path.ends_with("/getMeetings")).count();
    assert_eq!(before, after, "nothing of it reached a node");
    assert_eq!(pool.tenant("acme").listed().await, ["room"]);
}

#[tokio::test]
async fn a_page_carries_what_protects_it_and_an_answer_to_a_program_does_not() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    let join = "meetingID=nowhere&fullName=Ada&role=VIEWER";
    let browser = acme.header("accept", "text/html,application/xhtml+xml");
    let page = browser.get("join", join).await;
    assert_eq!(page.header("content-type"), "text/html;charset=utf-8");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    assert!(!page.headers.contains_key("strict-transport-security"));
    let policy = page.header("content-security-policy");
    let (before, rest) = policy.split_once("'sha256-").expect("the hash of a style sheet");
    let (hash, after) = rest.split_once('\'').expect("its end");
    assert_eq!(before, "default-src 'none'; style-src ");
    assert_eq!(after, "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    // A browser applies the page's style sheet, for the hash is that of its very text.
    let (_, style) = page.body.split_once("<style>").expect("a style sheet");
    let (style, _) = style.split_once("</style>").expect("its end");
    assert_eq!(hash, sha256(style));
    for forbidden in ["<script", "<img", "style=", "onclick", "<form", "http://", "https://"] {
        assert!(!page.body.contains(forbidden), "{forbidden}");
    }

    let proxied = browser.header("x-forwarded-proto", "https").get("join", join).await;
    assert_eq!(proxied.header("strict-transport-security"), "max-age=31536000");
    let plain = acme.header("x-forwarded-proto", "https").get("join", join).await;
    let version = acme.send(Method::GET, "/bigbluebutton/api", &[], "").await;
    for reply in [plain, version] {
        for name in ["content-security-policy", "strict-transport-security", "x-frame-options"] {
            assert!(!reply.headers.contains_key(name), "{name}");
        }
    }
}

fn sha256(text: &str) -> String {
    use base64::Engine;
    use sha2::Digest;
    base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(text))
}
