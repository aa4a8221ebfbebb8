//! Nodes that go away and come back.

use std::time::Duration;

use http::Method;
use portico::sim::Fault;

use crate::harness::{Client, Config, Pool, Tenant, eventually};

/// One meeting, `algebra`, on the first of two nodes.
async fn pool(config: Config) -> (Pool, Client) {
    let config = config
        .nodes(2)
        .node(1, "tags", "[other]")
        .set("polling.interval", "50ms")
        .tenant(Tenant::new("acme"))
        .tenant(Tenant::new("busy").set("required_tags", "[other]"));
    let pool = Pool::start(config).await;
    pool.tenant("busy").create("lecture").await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    assert_eq!(pool.node_of("algebra@acme").name(), "node0");
    (pool, acme)
}

/// Waits until a node is in this health.
async fn becomes(pool: &Pool, node: &str, health: &str) {
    let series =
        format!("portico_node_health{{cluster=\"main\",health=\"{health}\",node=\"{node}\"}}");
    let what = format!("{node} is {health}");
    eventually(&what, async || pool.metrics().await.get(&series) > 0.5).await;
}

const JOIN: &str = "fullName=Ada&meetingID=algebra";

#[tokio::test]
async fn a_node_that_refuses_is_down_and_up_again_when_it_returns() {
    let (pool, acme) = pool(Config::new()).await;
    becomes(&pool, "node0", "up").await;
    pool.node(0).set_fault(Some(Fault::Refuse));
    becomes(&pool, "node0", "down").await;
    for said in ["node node0 is suspect (was up)", "node node0 is down (was suspect)"] {
        eventually(said, async || pool.log().contains(said)).await;
    }
    // New meetings go elsewhere.
    acme.create("geometry").await;
    assert_eq!(pool.node_of("geometry@acme").name(), "node1");
    pool.node(0).set_fault(None);
    becomes(&pool, "node0", "up").await;
    assert_eq!(acme.get("join", JOIN).await.status, 302);
}

#[tokio::test]
async fn while_a_node_is_down_people_see_a_page_that_retries_and_programs_a_failure() {
    let (pool, acme) = pool(Config::new()).await;
    pool.node(0).set_fault(Some(Fault::Refuse));
    becomes(&pool, "node0", "down").await;

    let page = acme.header("accept", "text/html,application/xhtml+xml").get("join", JOIN).await;
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.header("retry-after").is_empty());
    assert!(page.body.contains("http-equiv=\"refresh\""), "{}", page.body);

    let failure = acme.get("join", JOIN).await;
    assert_eq!((failure.status.as_u16(), failure.key().as_str()), (200, "serverUnavailable"));
    assert_eq!(failure.text("returncode"), "FAILED");

    let away = "&errorRedirectUrl=https%3A%2F%2Ffront.example%2Fback";
    let sent = acme.get("join", &format!("{JOIN}{away}")).await;
    assert_eq!(sent.status, 302);
    assert!(sent.header("location").starts_with("https://front.example/back?errors="));
    assert!(sent.header("location").contains("serverUnavailable"));

    let end = acme.get("end", "meetingID=algebra").await;
    assert_eq!(
        (end.text("returncode").as_str(), end.key().as_str()),
        ("FAILED", "serverUnavailable")
    );
    let create = acme.get("create", "name=A+meeting&meetingID=algebra").await;
    assert_eq!(create.key(), "serverUnavailable", "it may still run: {}", create.body);
}

#[tokio::test]
async fn while_a_node_is_down_questions_are_answered_from_memory() {
    let (pool, acme) = pool(Config::new()).await;
    assert!(pool.node(0).add_attendees("algebra@acme", 7));
    eventually("a poll has seen them", async || {
        pool.metrics().await.get("portico_node_attendees{cluster=\"main\",node=\"node0\"}") > 6.5
    })
    .await;
    pool.node(0).set_fault(Some(Fault::Refuse));
    becomes(&pool, "node0", "down").await;
    let running = acme.get("isMeetingRunning", "meetingID=algebra").await.success();
    assert_eq!(running.text("running"), "true");
    let info = acme.get("getMeetingInfo", "meetingID=algebra").await.success();
    assert_eq!(info.text("meetingID"), "algebra");
    assert_eq!(info.text("participantCount"), "7");
    assert_eq!(acme.listed().await, ["algebra"]);
}

/// Even before polls know of it.
#[tokio::test]
async fn a_question_to_a_node_that_just_went_away_is_answered_from_memory() {
    let config = Config::new().tenant(Tenant::new("acme")).set("polling.interval", "10m");
    let pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    pool.node(0).set_fault(Some(Fault::Refuse));
    assert_eq!(
        acme.get("isMeetingRunning", "meetingID=algebra").await.success().text("running"),
        "false"
    );
    let info = acme.get("getMeetingInfo", "meetingID=algebra").await.success();
    assert_eq!(info.text("meetingID"), "algebra");
    // A request has found out what the next poll will: no new meetings there.
    becomes(&pool, "node0", "suspect").await;
    let proxied = acme.get("join", &format!("{JOIN}&redirect=false")).await;
    assert_eq!((proxied.status.as_u16(), proxied.key().as_str()), (200, "serverUnavailable"));
}

#[tokio::test]
async fn a_suspect_node_keeps_its_meetings_and_gets_no_new_ones() {
    let (pool, acme) = pool(Config::new().set("polling.down_after", 100)).await;
    pool.node(0).set_call_fault("getMeetings", Some(Fault::Status(500)));
    becomes(&pool, "node0", "suspect").await;
    assert_eq!(acme.get("join", JOIN).await.status, 302);
    let again = acme.create("algebra").await;
    assert_eq!(again.key(), "duplicateWarning");
    acme.create("geometry").await;
    assert_eq!(pool.node_of("geometry@acme").name(), "node1");
    assert_eq!(acme.listed().await, ["algebra", "geometry"]);
}

#[tokio::test]
async fn a_blip_of_polls_never_ends_a_meeting() {
    let (pool, acme) = pool(Config::new()).await;
    let internal_id = acme.create("algebra").await.text("internalMeetingID");
    let faults = [
        Fault::Refuse,
        Fault::Reset,
        Fault::Status(502),
        Fault::BadXml,
        Fault::Html,
        Fault::EndlessBody,
    ];
    for fault in faults {
        pool.node(0).set_fault(Some(fault));
        becomes(&pool, "node0", "down").await;
        assert_eq!(acme.listed().await, ["algebra"], "{fault:?}");
        pool.node(0).set_fault(None);
        becomes(&pool, "node0", "up").await;
        let again = acme.create("algebra").await;
        assert_eq!(again.key(), "duplicateWarning", "{fault:?}");
        assert_eq!(again.text("internalMeetingID"), internal_id, "{fault:?}");
    }
    assert_eq!(pool.node_calls("end"), 0);
}

#[tokio::test]
async fn after_the_grace_a_meeting_is_created_elsewhere_and_its_double_ends_when_the_node_returns()
{
    let (pool, acme) = pool(Config::new().set("polling.node_down_grace", "300ms")).await;
    let old = acme.create("algebra").await.text("internalMeetingID");
    pool.node(0).set_fault(Some(Fault::Refuse));
    eventually("the id is free", async || acme.listed().await.is_empty()).await;
    assert_eq!(acme.get("getMeetingInfo", "meetingID=algebra").await.key(), "notFound");
    let reply = acme.create("algebra").await;
    assert_eq!(reply.key(), "");
    let new = reply.text("internalMeetingID");
    assert_ne!(new, old);

    pool.node(0).set_fault(None);
    eventually("the double is ended", async || {
        pool.node(0).meetings().iter().all(|meeting| meeting.ended)
    })
    .await;
    becomes(&pool, "node0", "up").await;
    let stays = pool.node(1).meetings().iter().any(|own| own.internal_id == new && !own.ended);
    assert!(stays, "{:?}", pool.node(1).meetings());
    assert_eq!(pool.node(1).calls("end"), 0);
    let join = acme.get("join", JOIN).await;
    assert!(join.header("location").starts_with(&pool.node(1).url()), "{:?}", join.headers);
    assert_eq!(acme.listed().await, ["algebra"]);
}

#[tokio::test]
async fn a_lost_meeting_that_nobody_created_again_is_back_with_its_node() {
    let (pool, acme) = pool(Config::new().set("polling.node_down_grace", "300ms")).await;
    pool.node(0).set_fault(Some(Fault::Refuse));
    eventually("it is lost", async || acme.listed().await.is_empty()).await;
    pool.node(0).set_fault(None);
    eventually("it is back", async || acme.listed().await == ["algebra"]).await;
    becomes(&pool, "node0", "up").await;
    let join = acme.get("join", JOIN).await;
    assert!(join.header("location").starts_with(&pool.node(0).url()), "{:?}", join.headers);
    assert_eq!(pool.node(0).calls("end"), 0);
}

#[tokio::test]
async fn a_meeting_that_ended_by_itself_is_forgotten() {
    let (pool, acme) =
        pool(Config::new().sim(0, |node| node.minute = Duration::from_secs(4))).await;
    assert!(pool.node(0).end_meeting("algebra@acme"));
    eventually("it is gone", async || acme.listed().await.is_empty()).await;
    let join = acme.send(Method::GET, &acme.target("join", JOIN), &[], "").await;
    assert_eq!(join.key(), "invalidMeetingIdentifier");
    assert!(pool.metrics().await.get("portico_meetings") < 1.5);
}
