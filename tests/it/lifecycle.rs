//! How it stops, and how a new version takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portico::sim::{Fault, Node};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::harness::{Client, Config, Pool, Postgres, Tenant, eventually, portico};

fn config() -> Config {
    Config::new().nodes(2).tenant(Tenant::new("acme"))
}

async fn join_works(acme: &Client, id: &str) -> bool {
    acme.get("join", &format!("fullName=Ada&meetingID={id}")).await.status == 302
}

#[tokio::test]
async fn sigterm_lets_requests_in_flight_finish() {
    let mut pool = Pool::start(config().set("server.grace", "5s")).await;
    let acme = pool.tenant("acme");
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(1))));
    }
    let create = tokio::spawn(async move { acme.create("algebra").await });
    eventually("it is under way", async || pool.node_calls("create") == 1).await;
    pool.signal("TERM");
    let reply = create.await.expect("it is answered in full");
    assert_eq!(reply.text("meetingID"), "algebra");
    let address = pool.address();
    eventually("nobody new is let in", async || TcpStream::connect(address).await.is_err()).await;
    assert!(pool.ended().await.success(), "{}", pool.log());
    // What was acknowledged while it was leaving is known to the next one.
    pool.restart().await;
    assert!(join_works(&pool.tenant("acme"), "algebra").await);
}

/// What a balancer in front needs: time to notice before anybody is refused.
#[tokio::test]
async fn with_a_drain_sigterm_lets_everything_go_on_for_a_while_and_sends_clients_away() {
    let mut pool = Pool::start(config().set("server.drain", "4s")).await;
    let acme = pool.tenant("acme");
    assert_eq!(acme.create("before").await.header("connection"), "keep-alive");
    pool.signal("TERM");
    let leaves = async || {
        let ready = pool.admin("/readyz").await;
        ready.status == 503 && ready.body.contains("stopping")
    };
    eventually("it says that it leaves", leaves).await;
    assert_eq!(acme.create("after").await.header("connection"), "close");
    assert!(join_works(&acme, "before").await);
    assert!(pool.ended().await.success(), "{}", pool.log());
}

#[tokio::test]
async fn sigint_lets_requests_in_flight_finish() {
    let mut pool = Pool::start(config().set("server.grace", "10m")).await;
    let acme = pool.tenant("acme");
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(4))));
    }
    let create = tokio::spawn(async move { acme.create("algebra").await });
    eventually("it is under way", async || pool.node_calls("create") == 1).await;
    let begun = Instant::now();
    pool.signal("INT");
    let reply = create.await.expect("it is answered in full");
    assert_eq!(reply.text("meetingID"), "algebra");
    assert!(pool.ended().await.success(), "{}", pool.log());
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    pool.says("SIGINT: what is under way is finished first").await;
}

#[tokio::test]
async fn a_second_sigint_leaves_at_once() {
    let mut pool = Pool::start(config().set("server.grace", "10m")).await;
    let acme = pool.tenant("acme");
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Hang));
    }
    let create =
        tokio::spawn(async move { acme.get("create", "name=Algebra&meetingID=algebra").await });
    eventually("it is under way", async || pool.node_calls("create") == 1).await;
    let begun = Instant::now();
    pool.signal("INT");
    eventually("it is said", async || pool.log().contains("another one leaves at once")).await;
    pool.signal("INT");
    assert!(pool.ended().await.success(), "{}", pool.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    create.abort();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_is_left_running() {
    let pool = Pool::start(config()).await;
    let path = pool.config_path().to_str().expect("UTF-8");
    let second = portico(&["serve", "-c", path]).await;
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains(&pool.address().to_string()), "{}", second.stderr);
    assert!(second.stderr.contains("choose another address"), "{}", second.stderr);
    // The first one did not notice.
    pool.tenant("acme").create("algebra").await;
}

#[tokio::test]
async fn an_upgrade_fails_no_request_and_loses_no_meeting() {
    let mut pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    acme.create("before").await;
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..3)
        .map(|task| {
            let (acme, stop) = (acme.clone(), stop.clone());
            tokio::spawn(async move {
                let mut created = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let id = format!("during{task}-{}", created.len());
                    acme.create(&id).await;
                    created.push(id);
                    acme.get("getMeetings", "").await.success();
                    assert!(join_works(&acme, "before").await);
                    sleep(Duration::from_millis(5)).await;
                }
                created
            })
        })
        .collect();
    pool.signal("USR2");
    let status = pool.ended().await;
    assert!(status.success(), "{status}: {}", pool.log());
    stop.store(true, Ordering::SeqCst);
    let mut created = vec!["before".to_owned()];
    for task in asking {
        created.extend(task.await.expect("no request fails"));
    }
    for id in &created {
        assert!(join_works(&acme, id).await, "{id}\n{}", pool.log());
        assert_eq!(acme.create(id).await.key(), "duplicateWarning", "{id}");
        pool.node_of(&format!("{id}@acme"));
    }
    acme.create("after").await;
    assert_eq!(pool.admin("/healthz").await.status, 200);
    assert_eq!(pool.node_calls("end"), 0);
}

#[tokio::test]
async fn while_two_processes_serve_a_meeting_of_one_is_known_to_the_other() {
    each_knows_what_the_other_creates(config()).await;
}

#[tokio::test]
async fn while_two_processes_serve_from_postgres_it_is_the_same() {
    let server = Postgres::shared();
    let url = server.url(&server.create_database());
    each_knows_what_the_other_creates(config().set("store.kind", "postgres").set("store.url", url))
        .await;
}

/// Each process has only seen its own creates when it places or looks one up.
async fn each_knows_what_the_other_creates(config: Config) {
    let mut pool = Pool::start(config.set("polling.interval", "10m")).await;
    let acme = pool.tenant("acme");
    pool.signal("USR2");
    let successor = |log: &str| log.matches("running when we last looked").count();
    eventually("the successor runs", async || successor(&pool.log()) == 2).await;
    let mut created = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        let id = format!("room{}", created.len());
        acme.create(&id).await;
        for _ in 0..4 {
            // Fresh connections: some reach the other process.
            assert!(join_works(&acme, &id).await, "{id}");
            assert_eq!(acme.create(&id).await.key(), "duplicateWarning", "{id}");
        }
        created.push(id);
    }
    assert!(pool.ended().await.success());
    for id in created {
        assert!(join_works(&acme, &id).await, "{id}");
        pool.node_of(&format!("{id}@acme"));
    }
}

/// An id that was used again by way of one process looks to the other like a meeting that runs twice.
#[tokio::test]
async fn an_upgrade_ends_no_meeting_whose_id_was_used_again() {
    let mut pool = Pool::start(config().set("polling.interval", "50ms")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let creating: Vec<_> = (0..4)
        .map(|task| {
            let (acme, stop) = (pool.tenant("acme"), stop.clone());
            tokio::spawn(async move {
                let mut latest = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let id = format!("room{task}-{}", latest.len());
                    acme.create(&id).await;
                    acme.get("end", &format!("meetingID={id}")).await.success();
                    latest.push(acme.create(&id).await.text("internalMeetingID"));
                    sleep(Duration::from_millis(50)).await;
                }
                latest
            })
        })
        .collect();
    pool.signal("USR2");
    assert!(pool.ended().await.success(), "{}", pool.log());
    stop.store(true, Ordering::SeqCst);
    for task in creating {
        for internal_id in task.await.expect("no request fails") {
            let mut meetings = pool.nodes().iter().flat_map(Node::meetings);
            let is_live =
                meetings.any(|meeting| meeting.internal_id == internal_id && !meeting.ended);
            assert!(is_live, "{internal_id} was ended\n{}", pool.log());
        }
    }
}

/// The successor is no child of ours: it is found among the processes of the group.
#[tokio::test]
async fn an_upgrade_can_be_upgraded_again() {
    let mut pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    acme.create("first").await;
    let group = pool.process_id();
    pool.signal("USR2");
    assert!(pool.ended().await.success(), "{}", pool.log());
    acme.create("second").await;
    let [successor] = group_members(group)[..] else { panic!("one successor is expected") };
    let kill =
        std::process::Command::new("kill").args(["-s", "USR2", &successor.to_string()]).status();
    assert!(kill.expect("kill runs").success());
    eventually("it has left too", async || !group_members(group).contains(&successor)).await;
    for id in ["first", "second"] {
        assert!(join_works(&acme, id).await, "{id}\n{}", pool.log());
    }
    acme.create("third").await;
}

/// The processes of a group that have not ended.
fn group_members(group: u32) -> Vec<u32> {
    let members = std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
        let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name in parentheses: state, parent, group.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        (state != "Z" && fields.nth(1)? == group.to_string()).then_some(id)
    });
    members.collect()
}

#[tokio::test]
async fn an_upgrade_with_a_broken_configuration_does_not_happen() {
    let pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let good = pool.config_yaml();
    pool.rewrite_config("clusters: [");
    pool.signal("USR2");
    eventually("it is refused", async || pool.log().contains("no upgrade")).await;
    assert!(join_works(&acme, "algebra").await);
    acme.create("geometry").await;
    // Nor does it get in the way of a reload with a good one.
    pool.rewrite_config(&good);
    pool.signal("HUP");
    eventually("it is read", async || pool.log().contains("configuration read again")).await;
    assert!(join_works(&acme, "geometry").await);
}
