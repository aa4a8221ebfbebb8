//! B3LB's own endpoints: ping, and a tenant's statistics and metrics for whoever has its token.

use http::Method;

use crate::harness::{Client, Config, Pool, Reply, Tenant, eventually};

const TOKEN: &str = "6f2f0d3e-0f39-4a0c-9a56-4c34a1c8d7e1";
const OTHERS: &str = "another-token-of-another-tenant";

async fn pool() -> Pool {
    let acme = Tenant::new("acme")
        .sub(5)
        .set("stats_token", TOKEN)
        .set("domains", "[meet.acme.example]")
        .set("limits", "{ meetings: 3, attendees: 100 }")
        .secret_key(5, "limits", "{ meetings: 1 }");
    let other = Tenant::new("other").set("stats_token", OTHERS);
    let config = Config::new()
        .set("server.base_domain", "bbb.example.org")
        .tenant(acme)
        .tenant(other)
        .tenant(Tenant::new("third"));
    Pool::start(config).await
}

async fn get(pool: &Pool, host: &str, path: &str, token: &str) -> Reply {
    let headers = [("authorization", token)];
    let headers = if token.is_empty() { &[][..] } else { &headers[..] };
    pool.tenant("acme").host(host).send(Method::GET, path, headers, "").await
}

fn is_unauthorized(reply: &Reply) -> bool {
    let kind = reply.header("content-type");
    (reply.status.as_u16(), kind, &*reply.body) == (401, "text/html; charset=utf-8", "Unauthorized")
}

#[tokio::test]
async fn ping_needs_nothing() {
    let pool = pool().await;
    let reply = get(&pool, "any", "/b3lb/ping", "").await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (200, "OK!"));
    assert_eq!(reply.header("content-type"), "text/plain");
    for path in ["/b3lb/ping", "/b3lb/t/acme/stats"] {
        let reply = pool.tenant("acme").send(Method::POST, path, &[], "").await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET"), "{path}");
    }
}

/// As in B3LB, whose answer it is, too.
#[tokio::test]
async fn ping_tells_when_the_store_does_not_work() {
    let pool = pool().await;
    let database = pool.dir().join("data").join("portico.db");
    let other = rusqlite::Connection::open(database).expect("the database");
    let ping = async || {
        let reply = get(&pool, "any", "/b3lb/ping", "").await;
        assert_eq!(reply.header("content-type"), "text/plain");
        (reply.status.as_u16(), reply.body)
    };
    assert_eq!(ping().await, (200, "OK!".to_owned()));
    // It can still be read, but nothing can be kept.
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    eventually("it is told", async || ping().await == (503, "Doh!".to_owned())).await;
    other.execute_batch("ROLLBACK").expect("no lock");
    eventually("all is well", async || ping().await == (200, "OK!".to_owned())).await;
}

#[tokio::test]
async fn nobody_sees_a_tenants_figures_without_its_token() {
    let pool = pool().await;
    let paths = ["/b3lb/t/acme/stats", "/b3lb/t/acme/metrics", "/b3lb/t/acme-005/metrics"];
    let hosts = ["acme.bbb.example.org", "acme-005.bbb.example.org", "meet.acme.example"];
    let by_path = paths.map(|path| ("any", path));
    let by_host =
        hosts.into_iter().flat_map(|host| [(host, "/b3lb/stats"), (host, "/b3lb/metrics")]);
    for (host, path) in by_path.into_iter().chain(by_host) {
        for token in [TOKEN.to_owned(), format!("Bearer {TOKEN}")] {
            assert_eq!(get(&pool, host, path, &token).await.status, 200, "{host}{path}");
        }
        for token in
            ["", "Bearer ", OTHERS, "6f2f0d3e", &TOKEN.to_uppercase(), &format!("Basic {TOKEN}")]
        {
            assert!(is_unauthorized(&get(&pool, host, path, token).await), "{host}{path} {token}");
        }
    }
    // Nobody, one without a token, and all together.
    for (host, path) in [
        ("any", "/b3lb/t/nobody/stats"),
        ("any", "/b3lb/t/acme-006/metrics"),
        ("any", "/b3lb/t/third/metrics"),
        ("third.bbb.example.org", "/b3lb/stats"),
        ("bbb.example.org", "/b3lb/metrics"),
        ("bbb.example.org", "/b3lb/stats"),
        ("any", "/b3lb/metrics"),
    ] {
        for token in ["", TOKEN, "Bearer "] {
            assert!(is_unauthorized(&get(&pool, host, path, token).await), "{host}{path} {token}");
        }
    }
    // The path wins over the host: the base domain opens nothing.
    assert!(is_unauthorized(&get(&pool, "bbb.example.org", "/b3lb/t/acme/metrics", "").await));
    assert!(is_unauthorized(
        &get(&pool, "acme.bbb.example.org", "/b3lb/t/other/metrics", TOKEN).await
    ));
}

async fn create(client: &Client, id: &str, origin: &str) -> Reply {
    let origin =
        format!("meta_bbb-origin={origin}&meta_bbb-origin-server-name=moodle.acme.example");
    client.get("create", &format!("name=A+meeting&meetingID={id}&{origin}")).await
}

#[tokio::test]
async fn metrics_and_statistics_have_b3lbs_names_labels_and_order() {
    let pool = pool().await;
    let (main, five) = (pool.tenant("acme"), pool.tenant("acme-5"));
    create(&main, "one", "Moodle").await.success();
    create(&five, "two", "Moodle").await.success();
    assert!(!create(&five, "three", "Moodle").await.is_success());
    create(&main, "three", "Greenlight").await.success();
    assert!(!create(&five, "four", "Moodle").await.is_success());
    pool.tenant("other").create("one").await;
    for (client, id) in [(&main, "one"), (&five, "two"), (&five, "two"), (&main, "two")] {
        let join = client.get("join", &format!("meetingID={id}&fullName=Ada&role=VIEWER")).await;
        assert_eq!(join.status, 302);
    }
    let before = get(&pool, "any", "/b3lb/t/acme/stats", TOKEN).await;
    assert_eq!(before.header("content-type"), "application/json");
    assert!(before.body.contains("\"moodle.acme.example\":{\"Greenlight\":{"), "{}", before.body);

    pool.node(0).add_attendees("one@acme", 2);
    pool.node(0).add_attendees("two@acme-5", 7);
    pool.node(0).end_meeting("three@acme");
    eventually("polls have seen it", async || {
        let text = get(&pool, "any", "/b3lb/t/acme/metrics", TOKEN).await.body;
        text.contains("b3lb_attendees{secret=\"ACME\"} 9\n")
            && text.contains("b3lb_meeting_duration_seconds_count{secret=\"ACME\"} 1\n")
    })
    .await;
    let stats = get(&pool, "any", "/b3lb/t/acme-005/stats", TOKEN).await;
    assert_eq!(
        stats.body,
        "{\"moodle.acme.example\":{\"Moodle\":{\"participantCount\":9,\"listenerCount\":0,\
         \"voiceParticipantCount\":9,\"moderatorCount\":0,\"videoCount\":2,\"meetingCount\":2}}}"
    );
    let reply = get(&pool, "any", "/b3lb/t/acme/metrics", TOKEN).await;
    assert_eq!(reply.header("content-type"), "text/plain");
    let rows = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| !line.starts_with('#'));
        // The length of the meeting that is over is a matter of the machine.
        rows.filter(|line| !line.contains("seconds_sum")).map(str::to_owned).collect()
    };
    let expected = [
        "b3lb_tenant_attendee_limit{tenant=\"ACME\"} 100",
        "b3lb_tenant_meeting_limit{tenant=\"ACME\"} 3",
        "b3lb_secret_attendee_limit{secret=\"ACME\"} 0",
        "b3lb_secret_attendee_limit{secret=\"ACME-005\"} 0",
        "b3lb_secret_meeting_limit{secret=\"ACME\"} 0",
        "b3lb_secret_meeting_limit{secret=\"ACME-005\"} 1",
        "b3lb_attendees{secret=\"ACME\"} 9",
        "b3lb_attendees{secret=\"ACME-005\"} 7",
        "b3lb_listeners{secret=\"ACME\"} 0",
        "b3lb_listeners{secret=\"ACME-005\"} 0",
        "b3lb_voices{secret=\"ACME\"} 9",
        "b3lb_voices{secret=\"ACME-005\"} 7",
        "b3lb_videos{secret=\"ACME\"} 2",
        "b3lb_videos{secret=\"ACME-005\"} 2",
        "b3lb_meetings{secret=\"ACME\"} 2",
        "b3lb_meetings{secret=\"ACME-005\"} 1",
        "b3lb_attendees_total{secret=\"ACME\"} 4",
        "b3lb_attendees_total{secret=\"ACME-005\"} 2",
        "b3lb_meetings_total{secret=\"ACME\"} 3",
        "b3lb_meetings_total{secret=\"ACME-005\"} 1",
        "b3lb_meeting_duration_seconds_count{secret=\"ACME\"} 1",
        "b3lb_meeting_duration_seconds_count{secret=\"ACME-005\"} 0",
        "b3lb_attendee_limit_hits{secret=\"ACME\"} 0",
        "b3lb_attendee_limit_hits{secret=\"ACME-005\"} 0",
        "b3lb_meeting_limit_hits{secret=\"ACME\"} 2",
        "b3lb_meeting_limit_hits{secret=\"ACME-005\"} 1",
    ];
    assert_eq!(rows(&reply.body), expected);
    for name in ["b3lb_meetings", "b3lb_attendees_total"] {
        let kind = if name.ends_with("total") { "counter" } else { "gauge" };
        assert!(reply.body.contains(&format!("# TYPE {name} {kind}\n{name}{{")), "{name}");
    }
    let own = get(&pool, "acme-005.bbb.example.org", "/b3lb/metrics", TOKEN).await;
    let of_five: Vec<_> = expected.into_iter().filter(|row| row.contains("ACME-005")).collect();
    assert_eq!(rows(&own.body), of_five);
}
