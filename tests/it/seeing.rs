//! What operators see: health, metrics, the log.

#![expect(clippy::float_cmp, reason = "what is counted is whole, and so exact")]

use portico::sim::Fault;

use crate::harness::{Config, Pool, Signed, Tenant, eventually};

#[tokio::test]
async fn a_pool_that_has_started_is_healthy_and_ready() {
    let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    assert_eq!(pool.admin("/healthz").await.seen(), (200, "ok\n"));
    assert_eq!(pool.admin("/readyz").await.seen(), (200, "ready\n"));
}

#[tokio::test]
async fn it_is_not_ready_before_every_node_was_polled() {
    let config = Config::new().nodes(3).set("polling.timeout", "2s").tenant(Tenant::new("acme"));
    let mut pool = Pool::start(config).await;
    for node in pool.nodes() {
        node.set_fault(Some(Fault::Hang));
    }
    pool.start_process();
    eventually("the admin side is there", async || pool.try_admin("/healthz").await.is_some())
        .await;
    let reply = pool.admin("/readyz").await;
    assert_eq!(reply.seen(), (503, "not ready: 3 of 3 nodes not polled yet\n"));
    for node in pool.nodes() {
        node.set_fault(None);
    }
    eventually("it is ready", async || pool.admin("/readyz").await.status == 200).await;
}

#[tokio::test]
async fn a_pool_comes_back_after_a_kill_and_ends_with_sigterm() {
    let mut pool = Pool::start(Config::new().tenant(Tenant::new("acme").sub(5))).await;
    pool.tenant("acme").create("algebra").await;
    pool.kill9();
    assert!(pool.try_admin("/healthz").await.is_none());
    pool.restart().await;
    assert_eq!(pool.tenant("acme").listed().await, ["algebra"]);
    assert_eq!(pool.tenant("acme-5").listed().await, Vec::<String>::new());
    assert!(pool.metrics().await.get("portico_meetings") > 0.0);
    pool.signal("TERM");
    assert!(pool.ended().await.success(), "{}", pool.log());
}

#[tokio::test]
async fn metrics_tell_of_requests_nodes_and_meetings() {
    let config = Config::new().nodes(2).node(1, "weight", "2.5").tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("algebra-101").await;
    acme.get("join", "meetingID=algebra-101&fullName=Ada&role=VIEWER").await;
    acme.get("getMeetingInfo", "meetingID=nowhere").await;
    acme.get("deleteRecordings", "").await;
    acme.secret("wrong wrong wrong").get("end", "meetingID=algebra-101").await;
    acme.get("nonsense", "").await;
    pool.node_of("algebra-101@acme").set_call_fault("end", Some(Fault::Status(502)));
    acme.get("end", "meetingID=algebra-101").await;
    assert!(pool.node_of("algebra-101@acme").add_attendees("algebra-101@acme", 7));
    eventually("the attendees are counted", async || {
        pool.metrics().await.sum("portico_node_attendees", &[]) >= 7.0
    })
    .await;

    let metrics = pool.metrics().await;
    for (labels, count) in [
        (r#"call="create",fault="none",outcome="answered""#, 1.0),
        (r#"call="join",fault="none",outcome="redirected""#, 1.0),
        (r#"call="getMeetingInfo",fault="client",outcome="failed""#, 1.0),
        (r#"call="deleteRecordings",fault="client",outcome="failed""#, 1.0),
        (r#"call="end",fault="client",outcome="failed""#, 1.0),
        (r#"call="end",fault="node",outcome="failed""#, 1.0),
        (r#"call="other",fault="client",outcome="failed""#, 1.0),
    ] {
        assert_eq!(metrics.get(&format!("portico_requests_total{{{labels}}}")), count, "{labels}");
    }
    assert_eq!(metrics.sum("portico_requests_total", &[]), 7.0);
    assert_eq!(metrics.get(r#"portico_request_seconds_count{call="create"}"#), 1.0);
    assert!(metrics.get(r#"portico_request_seconds_sum{call="create"}"#) > 0.0);
    for (series, value) in [
        (r#"portico_node_failures_total{call="end",kind="status"}"#, 1.0),
        (r#"portico_placements_total{cluster="main",why="load"}"#, 1.0),
        (r#"portico_node_health{cluster="main",health="up",node="node0"}"#, 1.0),
        (r#"portico_node_health{cluster="main",health="down",node="node0"}"#, 0.0),
        (r#"portico_node_state{cluster="main",node="node1",state="ready"}"#, 1.0),
        (r#"portico_node_weight{cluster="main",node="node1"}"#, 2.5),
        (r#"portico_placements_refused_total{reason="not_up"}"#, 0.0),
        ("portico_store_failures_total", 0.0),
        ("portico_meetings", 1.0),
        (r#"portico_tenant_meetings{tenant="acme"}"#, 1.0),
        (r#"portico_tenant_attendees{tenant="acme"}"#, 7.0),
        (concat!("portico_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        let found = metrics.series().find(|(name, _)| *name == series);
        assert_eq!(found, Some((series, value)));
    }
    assert_eq!(metrics.sum("portico_node_meetings", &[]), 1.0);
    assert!(metrics.sum("portico_node_load", &[]) > 0.0);
    assert!(metrics.sum("process_resident_memory_bytes", &[]) > 0.0);
    let text = pool.admin("/metrics").await;
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4");
    // A tenant is named as what it is, and nowhere else.
    let rest = text.body.replace("tenant=\"acme\"", "");
    for secret in ["acme", "algebra-101", "Ada", "checksum"] {
        assert!(!rest.contains(secret), "labels come from closed sets: {secret}");
    }
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme").sub(5))).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    pool.tenant("acme-5").get("getMeetingInfo", "meetingID=room").await;
    acme.header("x-forwarded-for", "192.0.2.77").get("getMeetings", "").await;
    acme.get("", "").await;
    let lines = || {
        let log = pool.log();
        let of_access = log.lines().filter_map(|line| line.split_once("portico::access] "));
        // A line is written after its answer, so two may change places.
        let mut lines: Vec<_> = of_access.map(|(_, line)| line.to_owned()).collect();
        lines.sort();
        lines
    };
    eventually("all lines are there", async || lines().len() >= 4).await;
    let found: Vec<_> = lines()
        .iter()
        .map(|line| {
            let mut words: Vec<_> = line.split(' ').collect();
            assert!(words[4].parse::<u64>().is_ok_and(|bytes| bytes > 0), "{line}");
            assert!(words[5].parse::<f64>().is_ok_and(|milliseconds| milliseconds > 0.0), "{line}");
            words[4] = "BYTES";
            words[5] = "MS";
            words.join(" ")
        })
        .collect();
    let at = "/bigbluebutton/api";
    assert_eq!(
        found,
        [
            format!(
                "127.0.0.1 GET /bbb/acme-5{at}/getMeetingInfo 200 BYTES MS getMeetingInfo acme-5 - \
                 notFound:client"
            ),
            format!("127.0.0.1 GET /bbb/acme{at}/ 200 BYTES MS version - - ok"),
            format!("127.0.0.1 GET /bbb/acme{at}/create 200 BYTES MS create acme node0 ok"),
            format!("192.0.2.77 GET /bbb/acme{at}/getMeetings 200 BYTES MS getMeetings acme - ok"),
        ]
    );
}

#[tokio::test]
async fn no_secret_checksum_name_or_query_is_ever_logged() {
    for level in ["info", "trace"] {
        let config = Config::new().nodes(2).env("RUST_LOG", level).tenant(Tenant::new("acme"));
        let pool = Pool::start(config).await;
        let acme = pool.tenant("acme");
        acme.create("room").await;
        let join = "meetingID=room&fullName=Ada+Lovelace&role=VIEWER&userdata-x=Lovelace";
        acme.get("join", join).await;
        acme.get("join", &format!("{join}&redirect=false")).await;
        acme.post_signed_form("join", &format!("{join}&redirect=false"), Signed::Sorted).await;
        acme.get("join", "meetingID=nowhere&fullName=Ada+Lovelace").await;
        acme.secret("wrong wrong wrong").get("join", join).await;
        for fault in [Fault::Html, Fault::BadXml, Fault::Reset, Fault::Status(500)] {
            pool.node_of("room@acme").set_fault(Some(fault));
            acme.get("end", "meetingID=room&password=moderators-word").await;
            acme.get("join", &format!("{join}&redirect=false")).await;
            acme.get("create", &format!("meetingID=new&name=Ada+Lovelace&n={fault:?}")).await;
        }
        eventually("the last line is there", async || {
            pool.log().matches("portico::access] ").count() >= 18
        })
        .await;
        let log = pool.log();
        let mut secrets = vec![
            acme.secret.clone(),
            acme.checksum("join", join),
            "checksum=".to_owned(),
            "fullName".to_owned(),
            "Lovelace".to_owned(),
            "moderators-word".to_owned(),
            "meetingID=".to_owned(),
            "sessionToken".to_owned(),
            "JSESSIONID".to_owned(),
        ];
        secrets.extend(pool.nodes().iter().map(|node| node.secret().to_owned()));
        for secret in secrets {
            let line = log.lines().find(|line| line.contains(&secret));
            assert_eq!(line, None, "at {level}: {secret}");
        }
    }
}
