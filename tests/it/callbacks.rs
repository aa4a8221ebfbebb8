//! What nodes call reaches the front end once, in its own words, signed with its own secret.

use std::time::Duration;

use http::Method;
use portico::bbb::{Params, jwt};
use portico::sim::Fault;
use serde_json::{Value, json};

use crate::harness::{Client, Config, Front, Heard, Pool, Tenant, eventually};

pub(crate) fn config() -> Config {
    Config::new()
        .tenant(Tenant::new("acme"))
        .tenant(Tenant::new("other"))
        .set("callbacks.allow_targets", "[127.0.0.0/8]")
}

/// The value of a parameter in the latest create that a node was sent.
pub(crate) fn sent_to_node(pool: &Pool, name: &str) -> Option<String> {
    let seen = pool.nodes().iter().flat_map(portico::sim::Node::requests);
    let last = seen.filter(|seen| seen.path.ends_with("/create")).max_by_key(|seen| seen.at)?;
    Params::parse(last.query.as_bytes()).get(name).map(std::borrow::Cow::into_owned)
}

/// Path and query of a URL.
pub(crate) fn target(url: &str) -> String {
    let rest = url.split_once("://").expect("a URL").1;
    format!("/{}", rest.split_once('/').expect("a path").1)
}

pub(crate) async fn call(client: &Client, method: Method, target: &str) -> u16 {
    client.send(method, target, &[], "").await.status.as_u16()
}

async fn delivered(pool: &Pool, kind: &str) -> f64 {
    let name =
        format!("portico_callback_deliveries_total{{kind=\"{kind}\",outcome=\"delivered\"}}");
    pool.metrics().await.get(&name)
}

pub(crate) async fn is_all_delivered(pool: &Pool) -> bool {
    let metrics = pool.metrics().await;
    metrics.get("portico_callbacks_pending") < 0.5
        && metrics.get("portico_callbacks_in_flight") < 0.5
}

pub(crate) fn claims(heard: &Heard, secret: &str) -> Option<Value> {
    let params = Params::parse(heard.body.as_bytes());
    jwt::verify_hs256(&params.get("signed_parameters").expect("a token"), secret)
}

#[tokio::test]
async fn an_end_is_told_once_though_the_node_calls_twice_and_again() {
    let (mut pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let query = format!(
        "name=A+room&meetingID=room+1&record=true&meta_endCallbackUrl={}&meetingEndedURL={}",
        front.encoded("/end?id=7&x=%2f"),
        front.encoded("/over?y=%2f"),
    );
    acme.get("create", &query).await.success();
    let ours = ["meta_endCallbackUrl", "meetingEndedURL"]
        .map(|name| sent_to_node(&pool, name).expect("a URL of ours"));
    for url in &ours {
        assert!(url.starts_with(&format!("http://{}/b3lb/c/", pool.address())), "{url}");
    }
    pool.node(0).add_attendees("room 1@acme", 1);
    acme.get("end", "meetingID=room+1").await.success();
    eventually("both are told", async || {
        front.heard("/end").len() == 1 && front.heard("/over").len() == 1
    })
    .await;
    // The front end's own parameters stay as they are, and so does the URL without any.
    let end = &front.heard("/end")[0];
    assert_eq!(end.target, "/end?id=7&x=%2f&recordingmarks=true&meetingID=room+1");
    assert_eq!((&end.method, end.body.as_str()), (&Method::GET, ""));
    assert_eq!(front.heard("/over")[0].target, "/over?y=%2f");

    // A node that calls again, as it does when an answer of ours is lost.
    for url in &ours {
        assert_eq!(call(&acme, Method::GET, &target(url)).await, 200);
        assert_eq!(call(&acme, Method::POST, &target(url)).await, 405);
    }
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert_eq!((front.heard("/end").len(), front.heard("/over").len()), (1, 1));
    assert!((delivered(&pool, "end").await - 1.0).abs() < 0.5);
    let token = ours[0].split_once("/b3lb/c/").expect("a token").1;
    let token = token.split('?').next().expect("a token");
    pool.signal("TERM");
    assert!(pool.ended().await.success());
    pool.says("GET /b3lb/c/ 200").await;
    assert!(!pool.log().contains(token), "a token is in the log");
}

#[tokio::test]
async fn a_recording_is_announced_to_each_tenant_with_its_own_id_and_secret() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    for tenant in ["acme", "other"] {
        let url = front.encoded(&format!("/ready/{tenant}"));
        let query =
            format!("name=A+room&meetingID=room&record=true&meta_bbb-recording-ready-url={url}");
        let created = pool.tenant(tenant).get("create", &query).await.success();
        pool.node(0).publish_recording(&format!("room@{tenant}"));
        let path = format!("/ready/{tenant}");
        eventually("it is announced", async || front.heard(&path).len() == 1).await;
        let heard = &front.heard(&path)[0];
        assert_eq!(heard.method, Method::POST);
        assert_eq!(heard.headers["content-type"], "application/x-www-form-urlencoded");
        let expected =
            json!({"meeting_id": "room", "record_id": created.text("internalMeetingID")});
        assert_eq!(claims(heard, &pool.tenant(tenant).secret), Some(expected));
        assert_eq!(claims(heard, pool.node(0).secret()), None);
        let another = if tenant == "acme" { "other" } else { "acme" };
        assert_eq!(claims(heard, &pool.tenant(another).secret), None);
    }
    // A node tells of each format.
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert_eq!(front.heard("/ready").len(), 2);
}

#[tokio::test]
async fn analytics_come_in_the_front_ends_words() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let url = front.encoded("/stats?a=1");
    let query = format!(
        "name=A+room&meetingID=room&meetingKeepEvents=true&meta_analytics-callback-url={url}"
    );
    let internal_id = acme.get("create", &query).await.success().text("internalMeetingID");
    pool.node(0).add_attendees("room@acme", 2);
    pool.node(0).end_meeting("room@acme");
    eventually("it is told", async || front.heard("/stats").len() == 1).await;
    let heard = &front.heard("/stats")[0];
    assert_eq!(heard.target, "/stats?a=1");
    let token = heard.headers["authorization"].to_str().expect("ASCII");
    let token = token.strip_prefix("Bearer ").expect("a token");
    assert!(jwt::verify_hs512(token, &acme.secret).is_some());
    assert!(jwt::verify_hs512(token, pool.node(0).secret()).is_none());
    let body: Value = serde_json::from_str(&heard.body).expect("JSON");
    assert_eq!(body["meeting_id"], "room");
    assert_eq!(body["internal_meeting_id"], internal_id);
    assert_eq!(body["data"]["attendees"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["data"]["metadata"]["analytics-callback-url"], front.url("/stats?a=1"));
}

#[tokio::test]
async fn a_forbidden_target_is_left_out_and_the_create_succeeds() {
    let config = Config::new().tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    for (number, url) in [
        "http://127.0.0.1:9/",
        "http://2130706433/",
        "http://[::ffff:a00:1]/",
        "file:///etc/passwd",
    ]
    .iter()
    .enumerate()
    {
        let url: String = form_urlencoded::byte_serialize(url.as_bytes()).collect();
        let query = format!("name=A+room&meetingID=room{number}&meta_endCallbackUrl={url}");
        acme.get("create", &query).await.success();
        assert_eq!(sent_to_node(&pool, "meta_endCallbackUrl"), None);
        // Our own hook goes out all the same.
        assert!(sent_to_node(&pool, "meetingEndedURL").expect("ours").contains("/b3lb/c/"));
    }
    let dropped = pool.metrics().await;
    let name =
        |reason| format!("portico_callbacks_dropped_total{{kind=\"end\",reason=\"{reason}\"}}");
    assert!((dropped.get(&name("address")) - 3.0).abs() < 0.5);
    assert!((dropped.get(&name("not_http")) - 1.0).abs() < 0.5);
    let warning = "callback is left out of a create";
    eventually("the operator is told", async || pool.log().contains(warning)).await;
}

#[tokio::test]
async fn nobody_learns_anything_from_guessing() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let url = front.encoded("/ready");
    let query = format!("name=A+room&meetingID=room&meta_bbb-recording-ready-url={url}");
    let created = acme.get("create", &query).await.success();
    let guess = format!("/b3lb/c/{}", "a7".repeat(24));
    let mut replies = Vec::new();
    for target in [guess.as_str(), "/b3lb/c/", "/b3lb/c/x", "/b3lb/c/../t/acme"] {
        for method in [Method::GET, Method::POST] {
            replies.push(acme.send(method, target, &[], "").await);
        }
    }
    for reply in &replies {
        assert_eq!(reply.seen(), (404, ""));
    }
    // Whoever knows the URL cannot announce what the node has not signed.
    let ours = target(&sent_to_node(&pool, "meta_bbb-recording-ready-url").expect("ours"));
    let claims = json!({"meeting_id": "room@acme", "record_id": created.text("internalMeetingID")});
    let form = |secret: &str| format!("signed_parameters={}", jwt::hs256(&claims, secret));
    for (body, status) in [
        (form(&acme.secret), 401),
        (form(""), 401),
        ("signed_parameters=x".to_owned(), 401),
        (String::new(), 400),
        ("x".repeat(100_000), 413),
        (form(pool.node(0).secret()), 200),
    ] {
        let reply = acme.send(Method::POST, &ours, &[], body).await;
        assert_eq!(reply.status, status);
    }
    // Even what the node has signed is told only when there is one.
    assert!(front.heard("/ready").is_empty());
    assert!(pool.node(0).publish_recording("room@acme"));
    eventually("it is announced", async || front.heard("/ready").len() == 1).await;
}

#[tokio::test]
async fn b3lbs_form_is_answered_alike_whatever_it_says() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let url = front.encoded("/end");
    acme.get("create", &format!("name=A+room&meetingID=room&meta_endCallbackUrl={url}"))
        .await
        .success();
    let ours = sent_to_node(&pool, "meta_endCallbackUrl").expect("ours");
    let token = ours.split_once("/b3lb/c/").expect("a token").1.split('?').next().expect("a token");
    for nonce in ["", "x", &"a7".repeat(24), token, token] {
        let target =
            format!("/b3lb/b/meeting/end?nonce={nonce}&recordingmarks=true&meetingID=room");
        let reply = acme.send(Method::GET, &target, &[], "").await;
        assert_eq!(reply.seen(), (204, ""), "{nonce}");
        assert_eq!(call(&acme, Method::POST, &target).await, 405);
    }
    eventually("it is told", async || !front.heard("/end").is_empty()).await;
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    let heard = front.heard("/end");
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].target, "/end?recordingmarks=true&meetingID=room");
}

#[tokio::test]
async fn the_end_of_a_meeting_frees_its_id_at_once_and_only_its_own() {
    let pool = Pool::start(config().nodes(2).set("polling.interval", "10m")).await;
    let acme = pool.tenant("acme");
    // No callback of the front end's.
    acme.create("room").await;
    let first = target(&sent_to_node(&pool, "meetingEndedURL").expect("ours"));
    let node = pool.node_of("room@acme");
    node.end_meeting("room@acme");
    let accepted = "portico_callbacks_received_total{kind=\"meeting_ended\",outcome=\"accepted\"}";
    eventually("its end is known", async || pool.metrics().await.get(accepted) > 0.5).await;
    // Its node is not even asked.
    node.set_fault(Some(Fault::Refuse));
    let second = acme.create("room").await;
    assert_eq!(second.key(), "");
    node.set_fault(None);

    // The late end of the first one leaves the second alone.
    assert_eq!(call(&acme, Method::GET, &first).await, 200);
    let again = acme.create("room").await;
    assert_eq!(again.key(), "duplicateWarning");
    assert_eq!(again.text("internalMeetingID"), second.text("internalMeetingID"));
    let creates = pool.node_of("room@acme").calls("create");
    assert_eq!(creates, 2, "the same node was asked");
}

/// A create that comes before the end of the last meeting is known goes to the node, which has ended it and
/// creates it anew.
#[tokio::test]
async fn a_late_end_is_told_and_does_not_end_what_was_created_meanwhile() {
    let config = (0..2).fold(config().nodes(2), |config, index| {
        config.sim(index, |node| node.minute = Duration::from_secs(6))
    });
    let mut pool = Pool::start(config.set("polling.interval", "10m")).await;
    let front = Front::start(&[]).await;
    let acme = pool.tenant("acme");
    let query = format!("name=A+room&meetingID=room&meta_endCallbackUrl={}", front.encoded("/end"));
    let first = acme.get("create", &query).await.success();
    pool.kill9();
    pool.node_of("room@acme").end_meeting("room@acme");
    for node in pool.nodes() {
        node.set_fault(Some(Fault::Refuse));
    }
    pool.restart().await;
    for node in pool.nodes() {
        node.set_fault(None);
    }
    let second = acme.get("create", &query).await.success();
    assert_ne!(second.text("internalMeetingID"), first.text("internalMeetingID"));
    eventually("the first end is told", async || front.heard("/end").len() == 1).await;
    let ended = "portico_callbacks_received_total{kind=\"meeting_ended\",outcome=\"accepted\"}";
    eventually("and known", async || pool.metrics().await.get(ended) > 0.5).await;
    let again = acme.get("create", &query).await.success();
    assert_eq!(again.text("internalMeetingID"), second.text("internalMeetingID"));
    pool.node_of("room@acme").end_meeting("room@acme");
    eventually("the second end is told", async || front.heard("/end").len() == 2).await;
}

/// The node has the callbacks of the first create, and tells so in the answer to the second one.
#[tokio::test]
async fn an_end_is_told_though_the_answer_to_the_first_create_was_lost() {
    let (pool, front) =
        (Pool::start(config().set("polling.interval", "10m")).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let query = format!("name=A+room&meetingID=room&meta_endCallbackUrl={}", front.encoded("/end"));
    pool.node(0).set_call_fault("create", Some(Fault::WrongId));
    assert!(!acme.get("create", &query).await.is_success());
    let ours = ["meta_endCallbackUrl", "meetingEndedURL"]
        .map(|name| target(&sent_to_node(&pool, name).expect("a URL of ours")));
    pool.node(0).set_call_fault("create", None);
    assert_eq!(acme.get("create", &query).await.success().key(), "duplicateWarning");

    // A store that cannot be read loses nothing: the node calls again.
    let path = pool.dir().join("data").join("portico.db");
    let db = rusqlite::Connection::open(path).expect("the database");
    db.busy_timeout(Duration::from_secs(10)).expect("a connection");
    let unreadable = "INSERT INTO callbacks SELECT 'x', 'end', tenant, sub_id, meeting_id, node,
         node_meeting_id, internal_id, '', created_at_ms, NULL FROM (SELECT * FROM meetings)";
    db.execute(unreadable, []).expect("a row");
    for url in &ours {
        assert_eq!(call(&acme, Method::GET, url).await, 503);
    }
    assert_eq!(acme.listed().await, ["room"]);
    db.execute("DELETE FROM callbacks WHERE token = 'x'", []).expect("a row");

    pool.node(0).end_meeting("room@acme");
    eventually("the end is told", async || front.heard("/end").len() == 1).await;
}

#[tokio::test]
async fn the_end_of_a_double_is_not_told() {
    let config = config().nodes(2).set("polling.interval", "50ms");
    let config = config.set("polling.node_down_grace", "300ms");
    let (pool, front) = (Pool::start(config).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let query = format!("name=A+room&meetingID=room&meta_endCallbackUrl={}", front.encoded("/end"));
    acme.get("create", &query).await.success();
    let old = pool.node_of("room@acme");
    old.set_fault(Some(Fault::Refuse));
    eventually("the id is free", async || acme.listed().await.is_empty()).await;
    acme.get("create", &query).await.success();
    old.set_fault(None);
    let in_vain = "GET /b3lb/c/ 404";
    eventually("the double is ended, in vain", async || pool.log().contains(in_vain)).await;
    pool.node_of("room@acme").end_meeting("room@acme");
    eventually("the end is told", async || !front.heard("/end").is_empty()).await;
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert_eq!(front.heard("/end").len(), 1);
}

#[tokio::test]
async fn names_count_in_any_case_and_the_front_end_sees_its_own_urls() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let query = format!(
        "name=A+room&meetingID=room&meta_ENDcallbackURL={}&MEETINGENDEDURL={}&meta_Analytics-Callback-Url={}",
        front.encoded("/end?a=1&b=%C3%BC"),
        front.encoded("/over"),
        front.encoded("/stats"),
    );
    acme.get("create", &query).await.success();
    let ours = sent_to_node(&pool, "meta_ENDcallbackURL").expect("ours");
    assert!(ours.contains("/b3lb/c/"), "{ours}");
    assert_eq!(sent_to_node(&pool, "MEETINGENDEDURL"), None);

    let own = front.url("/end?a=1&b=%C3%BC");
    let shown = async || {
        let info = acme.get("getMeetingInfo", "meetingID=room").await.success();
        let list = acme.get("getMeetings", "").await.success().xml();
        let meeting = list.child("meetings").and_then(|all| all.child("meeting")).expect("one");
        let url = |element: &portico::bbb::Element| {
            let metadata = element.child("metadata").expect("metadata");
            metadata.child_text("endcallbackurl").expect("a URL").into_owned()
        };
        assert!(!info.body.contains("/b3lb/c/"), "{}", info.body);
        [url(&info.xml()), url(meeting)]
    };
    assert_eq!(shown().await, [own.clone(), own.clone()]);
    let polls = pool.node(0).calls("getMeetings");
    eventually("two more polls", async || pool.node(0).calls("getMeetings") >= polls + 2).await;
    assert_eq!(shown().await, [own.clone(), own]);

    // Asked for again, the callbacks of the first create are those that count.
    let repeated = acme.get("create", &query).await.success();
    assert_eq!(repeated.key(), "duplicateWarning");
    let unused = sent_to_node(&pool, "meta_ENDcallbackURL").expect("another one of ours");
    assert_eq!(call(&acme, Method::GET, &target(&unused)).await, 404);
    pool.node(0).end_meeting("room@acme");
    eventually("both are told", async || {
        front.heard("/end").len() == 1 && front.heard("/over").len() == 1
    })
    .await;
}

#[tokio::test]
async fn without_an_address_of_ours_a_create_goes_on_without_callbacks() {
    let config = config().set("server.trusted_proxies", "[]");
    let (pool, front) = (Pool::start(config).await, Front::start(&[]).await);
    let query = format!("name=A+room&meetingID=room&meta_endCallbackUrl={}", front.encoded("/end"));
    pool.tenant("acme").get("create", &query).await.success();
    assert_eq!(sent_to_node(&pool, "meta_endCallbackUrl"), None);
    assert_eq!(sent_to_node(&pool, "meetingEndedURL"), None);
    let warning = "set server.public_url";
    eventually("the operator is told", async || pool.log().contains(warning)).await;
}

/// Front ends ask for the recording while they are told of it.
#[tokio::test]
async fn a_recording_is_announced_when_its_node_lists_it() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let query = format!(
        "name=A+room&meetingID=room&meta_bbb-recording-ready-url={}",
        front.encoded("/ready")
    );
    let created = acme.get("create", &query).await.success();
    pool.node(0).set_call_fault("getRecordings", Some(Fault::Status(503)));
    assert!(pool.node(0).publish_recording("room@acme"));
    let waits = async || {
        let name = "portico_callback_deliveries_total";
        pool.metrics().await.sum(name, &["outcome=\"not_listed\""])
    };
    eventually("it waits", async || waits().await > 0.5).await;
    // By now it can be asked, and the recording is away.
    let node = crate::calls::at(pool.node(0));
    let id = created.text("internalMeetingID");
    node.get("deleteRecordings", &format!("recordID={id}")).await.success();
    pool.node(0).set_call_fault("getRecordings", None);
    let before = waits().await;
    eventually("it waits again", async || waits().await > before + 0.5).await;
    assert!(front.heard("/ready").is_empty());
    assert!(pool.node(0).publish_recording("room@acme"));
    eventually("it is announced", async || front.heard("/ready").len() == 1).await;
    let seen = acme.get("getRecordings", &format!("recordID={id}")).await.success();
    assert!(seen.body.contains(&id), "{}", seen.body);
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert_eq!(front.heard("/ready").len(), 1);
}

#[tokio::test]
async fn a_tenant_whose_front_ends_hang_does_not_hold_up_the_others() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let (acme, other) = (pool.tenant("acme"), pool.tenant("other"));
    // They take connections and never answer.
    let hanging: Vec<_> =
        (0..40).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    for (number, hangs) in hanging.iter().enumerate() {
        let url = format!("http%3A%2F%2F{}%2F", hangs.local_addr().expect("it is bound"));
        let query = format!("name=A+room&meetingID=room{number}&meta_endCallbackUrl={url}");
        acme.get("create", &query).await.success();
        acme.get("end", &format!("meetingID=room{number}")).await.success();
    }
    let pending = async || pool.metrics().await.get("portico_callbacks_pending");
    eventually("all of them wait", async || pending().await > 39.5).await;
    let query = format!("name=A+room&meetingID=room&meta_endCallbackUrl={}", front.encoded("/end"));
    other.get("create", &query).await.success();
    other.get("end", "meetingID=room").await.success();
    eventually("the other one is told", async || front.heard("/end").len() == 1).await;
    let metrics = pool.metrics().await;
    let given_up = metrics.sum("portico_callback_deliveries_total", &["outcome=\"timeout\""]);
    assert!(given_up < 4.5, "it waited for those that hang: {given_up}");
    assert!(metrics.get("portico_callbacks_in_flight") < 5.5);
}

/// A front end has one of the two values, and which one only its answer tells.
#[tokio::test]
async fn during_a_rollover_what_one_value_signs_in_vain_the_other_signs_at_once() {
    let new = "the new value, which front ends are given one by one";
    let tenant = Tenant::new("acme").secret_key(0, "secret2", format!("\"{new}\""));
    let config = Config::new().tenant(tenant).set("callbacks.allow_targets", "[127.0.0.0/8]");
    // Greenlight says 401, Moodle 400.
    let (pool, fronts) =
        (Pool::start(config).await, [Front::start(&[401]).await, Front::start(&[400]).await]);
    let acme = pool.tenant("acme");
    for (number, front) in fronts.iter().enumerate() {
        let url = front.encoded("/ready");
        let query = format!(
            "name=A+room&meetingID=room{number}&record=true&meta_bbb-recording-ready-url={url}"
        );
        acme.secret(new).get("create", &query).await.success();
        pool.node(0).publish_recording(&format!("room{number}@acme"));
        eventually("it is announced", async || front.heard("/ready").len() == 2).await;
        let heard = front.heard("/ready");
        assert!(claims(&heard[0], &acme.secret).is_some());
        assert!(claims(&heard[1], new).is_some());
    }
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert!((delivered(&pool, "recording_ready").await - 2.0).abs() < 0.5);
    assert!(fronts.iter().all(|front| front.heard("/ready").len() == 2), "as one attempt");
}
