//! The traps that other balancers have fallen into, each by its name. Several are taken apart further in
//! the module of the behaviour; here each is walked into as a front end or an operator would.

use std::time::Duration;

use http::Method;
use portico::sim::Fault;

use crate::harness::{Client, Config, Front, Pool, Tenant, eventually};
use crate::{callbacks, encodings};

async fn pool(nodes: usize) -> (Pool, Client) {
    let config = Config::new().nodes(nodes).set("polling.interval", "50ms");
    let pool = Pool::start(config.tenant(Tenant::new("acme")).tenant(Tenant::new("beta"))).await;
    let acme = pool.tenant("acme");
    (pool, acme)
}

async fn polls(pool: &Pool, count: usize) {
    let before: Vec<_> = pool.nodes().iter().map(|node| node.calls("getMeetings")).collect();
    eventually("polls", async || {
        let polled = |(node, before): (&portico::sim::Node, &usize)| {
            node.calls("getMeetings") >= before + count
        };
        pool.nodes().iter().zip(&before).all(polled)
    })
    .await;
}

#[tokio::test]
async fn trap_01_a_failed_create_leaves_no_claim_and_the_next_server_is_tried() {
    let (pool, acme) = pool(3).await;
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Status(500)));
    }
    let failed = acme.get("create", "name=Algebra&meetingID=room").await;
    assert_eq!(failed.text("returncode"), "FAILED");
    pool.node(2).set_call_fault("create", None);
    acme.create("room").await;
    assert_eq!(pool.node_of("room@acme").name(), "node2");
}

#[tokio::test]
async fn trap_02_a_missed_poll_drops_no_meeting_and_ends_none() {
    let (pool, acme) = pool(1).await;
    acme.create("room").await;
    pool.node(0).set_call_fault("getMeetings", Some(Fault::Status(502)));
    polls(&pool, 3).await;
    assert_eq!(acme.listed().await, ["room"]);
    let join = acme.get("join", "meetingID=room&fullName=Ada").await;
    assert!(join.status == 302 || join.text("returncode") == "FAILED");
    pool.node(0).set_call_fault("getMeetings", None);
    eventually("it can be joined", async || {
        acme.get("join", "meetingID=room&fullName=Ada").await.status == 302
    })
    .await;
    assert_eq!(pool.node_calls("end"), 0);
}

#[tokio::test]
async fn trap_03_a_poll_does_not_take_away_what_is_just_being_created() {
    let (pool, acme) = pool(1).await;
    pool.node(0).set_call_fault("create", Some(Fault::Delay(Duration::from_millis(500))));
    let creating = tokio::spawn({
        let acme = acme.clone();
        async move { acme.create("room").await }
    });
    polls(&pool, 4).await;
    creating.await.expect("a create").success();
    polls(&pool, 3).await;
    assert_eq!(acme.listed().await, ["room"]);
    assert_eq!(pool.node_calls("end"), 0);
}

#[tokio::test]
async fn trap_04_a_burst_spreads_and_its_reservations_do_not_weigh_for_ever() {
    let (pool, acme) = pool(4).await;
    let creates = (0..40).map(|number| {
        let acme = acme.clone();
        async move { acme.create(&format!("room-{number}")).await }
    });
    futures::future::join_all(creates).await;
    let counts: Vec<_> = pool.nodes().iter().map(|node| node.meetings().len()).collect();
    assert_eq!(counts, [10; 4]);
    // When all but one node's meetings are over, only that node is loaded.
    for number in 0..40 {
        let id = format!("room-{number}");
        if pool.node_of(&format!("{id}@acme")).name() != "node0" {
            acme.get("end", &format!("meetingID={id}")).await.success();
        }
    }
    eventually("they are gone", async || acme.listed().await.len() == 10).await;
    for number in 0..9 {
        acme.create(&format!("later-{number}")).await;
        assert_ne!(pool.node_of(&format!("later-{number}@acme")).name(), "node0");
    }
}

#[tokio::test]
async fn trap_05_one_bad_server_breaks_no_list_and_nobody_sees_others() {
    let (pool, acme) = pool(2).await;
    for id in ["a1", "a2"] {
        acme.create(id).await;
        pool.tenant("beta").create(&id.replace('a', "b")).await;
    }
    pool.node(0).set_fault(Some(Fault::EndlessBody));
    assert_eq!(acme.listed().await, ["a1", "a2"]);
    assert_eq!(pool.tenant("beta").listed().await, ["b1", "b2"]);
}

#[tokio::test]
async fn trap_06_a_meeting_is_forgotten_when_its_node_says_so_and_not_before() {
    let (pool, acme) = pool(1).await;
    acme.create("room").await;
    polls(&pool, 5).await;
    assert_eq!(acme.listed().await, ["room"]);
    assert!(pool.node(0).end_meeting("room@acme"));
    eventually("it is forgotten", async || acme.listed().await.is_empty()).await;
}

#[tokio::test]
async fn trap_07_equal_ids_of_two_tenants_never_meet_and_scoped_ids_never_leak() {
    let (pool, acme) = pool(1).await;
    let beta = pool.tenant("beta");
    let ours = acme.create("room").await.text("internalMeetingID");
    let theirs = beta.create("room").await.text("internalMeetingID");
    assert_ne!(ours, theirs);
    polls(&pool, 2).await;
    for call in ["getMeetingInfo", "getMeetings", "isMeetingRunning", "create", "end"] {
        let reply = acme.get(call, "meetingID=room&name=A+meeting").await.success();
        assert!(!reply.body.contains("@acme") && !reply.body.contains("beta"), "{call}");
    }
    assert_eq!(beta.listed().await, ["room"]);
}

#[tokio::test]
async fn trap_08_callbacks_are_neither_lost_nor_repeated_and_carry_the_tenants_id_and_signature() {
    // The first three tries fail.
    let front = Front::start(&[503, 500, 503]).await;
    let mut pool = Pool::start(callbacks::config()).await;
    let acme = pool.tenant("acme");
    let query = format!(
        "name=A+room&meetingID=room&record=true&meta_endCallbackUrl={}&meta_bbb-recording-ready-url={}",
        front.encoded("/end?id=7"),
        front.encoded("/ready"),
    );
    let record_id = acme.get("create", &query).await.success().text("internalMeetingID");
    let ours = callbacks::sent_to_node(&pool, "meta_endCallbackUrl").expect("a URL of ours");
    pool.node(0).end_meeting("room@acme");
    pool.node(0).publish_recording("room@acme");
    let is_tried = |path: &str| !front.heard(path).is_empty();
    eventually("both were tried", async || is_tried("/end") && is_tried("/ready")).await;
    pool.kill9();
    pool.restart().await;
    let is_taken = |path: &str| front.heard(path).iter().any(|heard| heard.status == 200);
    eventually("both are told", async || is_taken("/end") && is_taken("/ready")).await;
    // The node calls once more. What is delivered stays so, whatever happens to us.
    assert_eq!(callbacks::call(&acme, Method::GET, &callbacks::target(&ours)).await, 200);
    eventually("nothing is left", async || callbacks::is_all_delivered(&pool).await).await;
    pool.kill9();
    pool.restart().await;
    eventually("nothing is left", async || callbacks::is_all_delivered(&pool).await).await;
    assert_eq!(front.heard("/").len(), 3 + 2);
    let told = |path: &str| {
        let mut heard = front.heard(path);
        heard.retain(|heard| heard.status == 200);
        assert_eq!(heard.len(), 1, "{path}");
        heard.swap_remove(0)
    };
    assert_eq!(told("/end").target, "/end?id=7&recordingmarks=false&meetingID=room");
    let ready = told("/ready");
    let expected = serde_json::json!({"meeting_id": "room", "record_id": record_id});
    assert_eq!(callbacks::claims(&ready, &acme.secret), Some(expected));
    assert_eq!(callbacks::claims(&ready, pool.node(0).secret()), None);
}

#[tokio::test]
async fn trap_09_no_change_of_recordings_is_half_done_and_said_to_be_done() {
    let (pool, acme) = pool(3).await;
    let own: Vec<_> =
        pool.nodes().iter().flat_map(|node| node.add_recordings("room@acme", 1)).collect();
    let ids = own.join(",");
    let count = async |query: &str| {
        let list = acme.get("getRecordings", query).await.success();
        list.body.matches("<recordID>").count()
    };
    for (call, more, wanted, left) in [
        ("updateRecordings", "&meta_Tag=x", "meta_tag=x", 3),
        ("publishRecordings", "&publish=false", "state=unpublished", 3),
        ("deleteRecordings", "", "", 0),
    ] {
        let query = format!("recordID={ids}{more}");
        // One of them cannot do it, and in its own words; then one cannot even say what it has.
        for (faulty, fault, key) in [
            (call, Fault::Status(500), "internalError"),
            (call, Fault::Failed, "simulatedFailure"),
            ("getRecordings", Fault::Status(500), "serverUnavailable"),
        ] {
            pool.node(1).set_call_fault(faulty, Some(fault));
            let reply = acme.get(call, &query).await;
            assert!(!reply.is_success(), "{call}, {fault:?}: {}", reply.body);
            assert_eq!(reply.key(), key, "{call}, {fault:?}");
            pool.node(1).set_call_fault(faulty, None);
            assert_ne!(count(wanted).await, left, "{call}, {fault:?}");
        }
        // What was not done is done when it is asked for again.
        acme.get(call, &query).await.success();
        assert_eq!(count(wanted).await, left, "{call}");
    }
    // In any state.
    assert_eq!(count("state=published,unpublished").await, 0);
    assert_eq!(count("state=deleted").await, 3);
}

#[tokio::test]
async fn trap_10_front_end_secrets_open_no_operators_door() {
    let (_pool, acme) = pool(1).await;
    for path in
        ["/api", "/api/v1/backends", "/admin", "/metrics", "/healthz", "/scalelite/api/servers"]
    {
        let target = format!("{path}?checksum={}", acme.checksum("", ""));
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let reply = acme.send(method, &target, &[], "").await;
            assert_eq!(reply.status, 404, "{path}");
        }
    }
}

#[tokio::test]
async fn trap_11_nobody_is_redirected_to_a_room_that_does_not_exist() {
    let (pool, acme) = pool(2).await;
    let reply = acme.get("join", "meetingID=nowhere&fullName=Ada").await;
    assert_eq!((reply.status.as_u16(), reply.key().as_str()), (200, "invalidMeetingIdentifier"));
    acme.create("room").await;
    let reply = acme.get("join", "meetingID=room&fullName=Ada").await;
    assert_eq!(reply.status, 302, "as BigBlueButton, not 307");
    assert_eq!(pool.node_calls("join"), 0);
}

#[tokio::test]
async fn trap_12_content_types_sizes_and_methods_are_taken_as_clients_send_them() {
    let (pool, acme) = pool(1).await;
    let slides = |kib: usize| {
        let content = "QUJD".repeat(kib * 256);
        format!(
            "<modules><module name=\"presentation\"><document name=\"s.pdf\">{content}</document>\
             </module></modules>"
        )
    };
    // bbb-web itself refuses the second; a front end cannot know which server it talks to.
    for (id, kind) in
        [("r1", "application/xml"), ("r2", "text/xml"), ("r3", "application/xml; charset=utf-8")]
    {
        let target = acme.target("create", &format!("name=Algebra&meetingID={id}"));
        let reply = acme.send(Method::POST, &target, &[("content-type", kind)], slides(1)).await;
        assert!(reply.is_success(), "{kind}: {}", reply.body);
        assert_eq!(pool.node_of(&format!("{id}@acme")).name(), "node0");
    }
    acme.post_xml("create", "name=Algebra&meetingID=large", slides(3 * 1024)).await.success();
    let welcome = "w".repeat(7000);
    acme.get("create", &format!("name=Algebra&meetingID=long&welcome={welcome}")).await.success();
    acme.post_form("create", "name=Algebra&meetingID=form").await.success();
    let target = format!("{}/create", acme.base);
    let form = format!("name=Algebra&meetingID=charset&checksum={}", acme.checksum("create", ""));
    let kind = ("content-type", "application/x-www-form-urlencoded;charset=UTF-8");
    let reply = acme.send(Method::POST, &target, &[kind], form).await;
    assert!(reply.is_success(), "{}", reply.body);
}

#[tokio::test]
async fn trap_13_whatever_a_client_writes_reaches_the_node_and_its_checksum_holds() {
    encodings::whatever_a_client_writes_reaches_the_node().await;
}
