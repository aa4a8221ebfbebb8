//! Instances that share nothing but PostgreSQL: it decides who creates a meeting, and tells what others did.

use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use portico::sim::Fault;
use tokio::time::{Instant, timeout};

use crate::harness::{Client, Cluster, Config, Plan, Pool, Postgres, Tenant, eventually};

/// What a call that waits for nobody takes at most on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(2);

fn config() -> Config {
    Config::new().nodes(4).tenant(Tenant::new("acme"))
}

async fn two(config: Config) -> Cluster {
    Plan::new(config, 2).without_redis().own_postgres().start().await
}

fn acme(cluster: &Cluster, instance: usize) -> Client {
    cluster.instance(instance).tenant("acme")
}

async fn joins(client: &Client, id: &str) -> bool {
    client.get("join", &format!("fullName=Ada&meetingID={id}")).await.status == 302
}

fn saved(cluster: &Cluster) -> usize {
    let count = cluster.postgres().sql(cluster.database(), "SELECT count(*) FROM meetings");
    count.trim().parse().expect("a number")
}

fn claims(cluster: &Cluster) -> usize {
    let count = cluster.postgres().sql(cluster.database(), "SELECT count(*) FROM claims");
    count.trim().parse().expect("a number")
}

/// On how many nodes a meeting runs.
fn runs(pool: &Pool, id: &str) -> usize {
    let name = format!("{id}@acme");
    let meetings = pool.nodes().iter().flat_map(portico::sim::Node::meetings);
    meetings.filter(|meeting| meeting.external_id == name && !meeting.ended).count()
}

#[tokio::test]
async fn a_thousand_creates_of_two_hundred_meetings_make_two_hundred() {
    let cluster = two(config()).await;
    let both = [acme(&cluster, 0), acme(&cluster, 1)];
    let mut seed = 7_u32;
    let creates = (0..1000_u32).map(|number| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let client = &both[usize::from(seed >> 16 & 1 == 1)];
        let id = if number < 200 { number } else { (seed >> 8) % 200 };
        async move { client.create(&format!("room-{id}")).await }
    });
    let answers = join_all(creates.collect::<Vec<_>>()).await;
    assert_eq!(answers.len(), 1000);
    for id in 0..200 {
        let id = format!("room-{id}");
        assert_eq!(runs(cluster.instance(0), &id), 1, "{id}");
        for client in &both {
            assert!(joins(client, &id).await, "{id}");
        }
    }
    assert_eq!(saved(&cluster), 200);
    eventually("all claims are given back", async || claims(&cluster) == 0).await;
}

#[tokio::test]
async fn what_one_creates_every_call_of_the_other_finds_at_once() {
    let config = config().set("polling.interval", "10m");
    let cluster = two(config).await;
    let [one, other] = [acme(&cluster, 0), acme(&cluster, 1)];
    for (id, call) in [
        ("algebra", "join"),
        ("botany", "getMeetingInfo"),
        ("chemistry", "isMeetingRunning"),
        ("drawing", "sendChatMessage"),
        ("english", "end"),
    ] {
        one.create(id).await;
        let reply = other.get(call, &format!("fullName=Ada&message=hi&meetingID={id}")).await;
        assert!(!reply.body.contains("notFound"), "{call}: {}", reply.body);
        assert!(other.listed().await.contains(&id.to_owned()), "{call}");
    }
    // A create goes to the node that runs it, and so does that of its breakout room.
    one.create("french").await;
    other.create("french").await;
    assert_eq!(runs(cluster.instance(0), "french"), 1);
    one.create("german").await;
    let breakout = "name=Group&meetingID=group&isBreakout=true&parentMeetingID=german&sequence=1";
    other.get("create", breakout).await.success();
    one.get("create", breakout).await.success();
    assert!(joins(&one, "group").await);

    // Whoever has asked too early gets in all the same.
    let early = other.get("getMeetingInfo", "meetingID=history").await;
    assert!(early.body.contains("notFound"), "{}", early.body);
    one.create("history").await;
    eventually("it is joined", async || joins(&other, "history").await).await;

    // However many ask for what nobody has.
    let misses = (0..200).map(|_| other.get("isMeetingRunning", "meetingID=nowhere"));
    for reply in join_all(misses).await {
        assert!(reply.body.contains("<running>false"), "{}", reply.body);
    }
}

#[tokio::test]
async fn whoever_asked_too_early_finds_the_meeting_all_the_same() {
    let cluster = two(config()).await;
    let [one, two] = [acme(&cluster, 0), acme(&cluster, 1)];
    for number in 0..20 {
        let id = format!("room-{number}");
        let query = format!("meetingID={id}");
        assert!(!joins(&two, &id).await);
        two.get("isMeetingRunning", &query).await.success();
        assert_eq!(two.get("getMeetingInfo", &query).await.key(), "notFound");
        one.create(&id).await;
        assert!(joins(&two, &id).await, "{id}");
    }
}

#[tokio::test]
async fn an_end_reaches_the_meeting_that_runs_and_not_the_one_before() {
    let cluster = two(config()).await;
    let [one, two] = [acme(&cluster, 0), acme(&cluster, 1)];
    for round in 0..20 {
        one.create("again").await;
        two.get("end", "meetingID=again").await.success();
        assert_eq!(runs(cluster.instance(0), "again"), 0, "round {round}");
    }
}

#[tokio::test]
async fn a_new_meeting_waits_for_its_callbacks_to_be_saved() {
    let cluster = two(config()).await;
    let sql = |text: &str| cluster.postgres().sql(cluster.database(), text);
    sql("CREATE SEQUENCE refused;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM nextval('refused'); RAISE 'not now'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON callbacks EXECUTE FUNCTION refuse()");
    let client = acme(&cluster, 0);
    let creating = tokio::spawn(async move { client.create("algebra").await });
    let refused = || sql("SELECT is_called::text FROM refused").trim() == "true";
    eventually("it was refused", async || refused()).await;
    assert!(!creating.is_finished());
    sql("DROP TRIGGER refuse ON callbacks");
    creating.await.expect("no panic");
    let bound = "SELECT count(*) FROM callbacks WHERE meeting_id = 'algebra'";
    assert_eq!(sql(bound).trim(), "1");
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_create_leaves_the_meeting_to_the_others() {
    let mut cluster = two(config()).await;
    for node in cluster.nodes() {
        node.set_call_fault("create", Some(Fault::Hang));
    }
    let one = acme(&cluster, 0);
    let hanging = tokio::spawn(async move {
        drop(one.try_get("create", "name=A+meeting&meetingID=algebra").await);
    });
    eventually("it is claimed", async || claims(&cluster) == 1).await;
    let asked = async || cluster.nodes().iter().map(|node| node.calls("create")).sum::<usize>() > 0;
    eventually("a node is asked", asked).await;
    cluster.instance_mut(0).kill9();
    hanging.await.expect("it has ended");
    for node in cluster.nodes() {
        node.set_call_fault("create", None);
    }
    let left = "SELECT expires_at - clock_timestamp() <= interval '20 s' FROM claims";
    assert_eq!(cluster.postgres().sql(cluster.database(), left).trim(), "t");
    let sooner = "UPDATE claims SET expires_at = clock_timestamp() + interval '1 s'";
    cluster.postgres().sql(cluster.database(), sooner);
    let other = acme(&cluster, 1);
    other.create("algebra").await;
    assert_eq!(runs(cluster.instance(1), "algebra"), 1);
    assert!(joins(&other, "algebra").await);
    cluster.instance_mut(0).restart().await;
    assert!(joins(&acme(&cluster, 0), "algebra").await);
}

#[tokio::test]
async fn a_create_under_way_keeps_its_claim_while_its_instance_stops() {
    let config = config().set("polling.interval", "10m").set("server.grace", "30s");
    let cluster = two(config).await;
    for node in cluster.nodes() {
        node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(12))));
    }
    let one = acme(&cluster, 0);
    let stopped = one.clone();
    let creating = tokio::spawn(async move { one.create("algebra").await });
    let asked = async || cluster.node_calls("create") > 0;
    eventually("a node is asked", asked).await;
    cluster.instance(0).signal("TERM");
    let leaves = async || stopped.try_get("getMeetings", "").await.is_err();
    eventually("it takes no more calls", leaves).await;
    let sql = |statement: &str| cluster.postgres().sql(cluster.database(), statement);
    sql("UPDATE claims SET expires_at = clock_timestamp() + interval '3 s'");
    let renewed = "SELECT expires_at > clock_timestamp() + interval '10 s' FROM claims";
    eventually("it is renewed", async || sql(renewed).trim() == "t").await;
    creating.await.expect("it is acknowledged");
    acme(&cluster, 1).create("algebra").await;
    assert_eq!(runs(cluster.instance(1), "algebra"), 1);
}

#[tokio::test]
async fn what_a_dead_instance_has_created_is_found_before_it_is_created_again() {
    let config = config().set("polling.interval", "10m");
    let mut cluster = two(config).await;
    acme(&cluster, 0).create("algebra").await;
    cluster.instance_mut(0).kill9();
    // As if it had died after the node's answer and before it was saved.
    let undo = "DELETE FROM meetings; INSERT INTO claims
        VALUES ('acme', 0, 'algebra', 'dead', 1, clock_timestamp())";
    cluster.postgres().sql(cluster.database(), undo);
    acme(&cluster, 1).create("algebra").await;
    assert_eq!(runs(cluster.instance(1), "algebra"), 1);
    assert_eq!(saved(&cluster), 1);
}

#[tokio::test]
async fn what_a_dead_instance_may_have_created_on_a_node_that_is_silent_is_not_created_again() {
    let config = config().set("polling.interval", "10m");
    let mut cluster = two(config).await;
    acme(&cluster, 0).create("algebra").await;
    cluster.instance_mut(0).kill9();
    let undo = "DELETE FROM meetings; INSERT INTO claims
        VALUES ('acme', 0, 'algebra', 'dead', 1, clock_timestamp())";
    cluster.postgres().sql(cluster.database(), undo);
    let runs_there = |node: &&portico::sim::Node| !node.meetings().is_empty();
    let node = cluster.nodes().iter().find(runs_there).expect("some node runs it");
    node.set_call_fault("getMeetingInfo", Some(Fault::Hang));
    let other = acme(&cluster, 1);
    let refused = other.get("create", "name=A+meeting&meetingID=algebra").await;
    assert!(refused.body.contains("serverUnavailable"), "{}", refused.body);
    // It is as open as before, though the claim has passed to this instance.
    assert_eq!(claims(&cluster), 1);
    node.set_call_fault("getMeetingInfo", None);
    other.create("algebra").await;
    assert_eq!(runs(cluster.instance(1), "algebra"), 1);
    assert_eq!((saved(&cluster), claims(&cluster)), (1, 0));
}

#[tokio::test]
async fn a_meeting_on_a_node_that_only_others_know_yet_is_waited_for() {
    let cluster = two(config().set("polling.interval", "10m")).await;
    acme(&cluster, 0).create("algebra").await;
    let sql = |statement: &str| cluster.postgres().sql(cluster.database(), statement);
    let node = sql("SELECT node FROM meetings").trim().to_owned();
    // As it is for whoever has not caught up with the inventory.
    sql("UPDATE meetings SET node = 'brand-new'");
    let other = acme(&cluster, 1);
    let creating = other.create("algebra");
    tokio::pin!(creating);
    let early = timeout(Duration::from_secs(2), &mut creating).await;
    assert!(early.is_err(), "it was created a second time");
    assert_eq!(runs(cluster.instance(1), "algebra"), 1);
    sql(&format!("UPDATE meetings SET node = '{node}'"));
    creating.await;
    assert_eq!(runs(cluster.instance(1), "algebra"), 1);
    assert!(joins(&other, "algebra").await);
}

/// A server whose processes all stand still, as on a machine that hangs: connections stay, nothing answers.
pub(crate) struct Halted(Vec<String>);

impl Halted {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let data = cluster.postgres().sql(cluster.database(), "SHOW data_directory");
        let pid = std::fs::read_to_string(format!("{}/postmaster.pid", data.trim()));
        let pid = pid.expect("it runs").lines().next().expect("a number").to_owned();
        let send = |pid: &str| signal("STOP", pid);
        // The first one first, so that it starts no other.
        send(&pid);
        let others = Command::new("pgrep").args(["-P", &pid]).output().expect("pgrep");
        let others = String::from_utf8(others.stdout).expect("UTF-8");
        others.lines().for_each(send);
        Self(std::iter::once(pid).chain(others.lines().map(str::to_owned)).collect())
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // One that has nothing left to do ends as soon as it goes on.
        for pid in self.0.iter().rev() {
            drop(Command::new("kill").args(["-s", "CONT", pid]).status());
        }
    }
}

fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args(["-s", name, pid]).status();
    assert!(sent.is_ok_and(|status| status.success()), "{name} {pid}");
}

/// Everything that needs no store answers at once, and new meetings wait and are refused.
pub(crate) async fn goes_on(cluster: &Cluster, id: &str) {
    let client = acme(cluster, 0);
    let begun = Instant::now();
    let refused = async {
        let new = format!("name=A+meeting&meetingID={id}");
        let refused = client.get("create", &new).await;
        assert!(refused.body.contains("serverUnavailable"), "{}", refused.body);
        begun.elapsed()
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            for (call, query) in [
                ("join", "fullName=Ada&meetingID=algebra"),
                ("getMeetingInfo", "meetingID=algebra"),
                ("isMeetingRunning", "meetingID=nowhere"),
                ("getMeetings", ""),
                ("create", "name=A+meeting&meetingID=algebra"),
            ] {
                let begun = Instant::now();
                let reply = client.get(call, query).await;
                slowest = slowest.max(begun.elapsed());
                let is_well = reply.status == 302 || reply.body.contains("SUCCESS");
                assert!(is_well, "{call}: {}", reply.body);
            }
        }
        slowest
    };
    let (waited, slowest) = tokio::join!(refused, others);
    assert!(slowest < AT_ONCE, "{slowest:?}");
    assert!(waited < Duration::from_secs(15), "{waited:?}");
    let refusals = cluster.instance(0).metrics().await.get("portico_creates_refused_total");
    assert!(refusals > 0.5);
}

#[tokio::test]
async fn without_the_database_running_meetings_go_on_and_new_ones_are_refused() {
    let cluster = two(config()).await;
    let [one, other] = [acme(&cluster, 0), acme(&cluster, 1)];
    one.create("algebra").await;
    assert!(joins(&other, "algebra").await);
    cluster.postgres().stop();
    goes_on(&cluster, "botany").await;
    cluster.postgres().start();
    // Whoever waits for it meanwhile gets the meeting.
    other.create("botany").await;
    one.create("botany").await;
    assert_eq!(runs(cluster.instance(0), "botany"), 1);
}

#[tokio::test]
async fn a_database_that_hangs_holds_up_nobody_who_does_not_need_it() {
    let cluster = two(config()).await;
    let [one, other] = [acme(&cluster, 0), acme(&cluster, 1)];
    one.create("algebra").await;
    let halted = Halted::new(&cluster);
    goes_on(&cluster, "botany").await;
    drop(halted);
    let back = async || {
        let reply = other.get("create", "name=A+meeting&meetingID=botany").await;
        reply.body.contains("SUCCESS")
    };
    eventually("it is as before", back).await;
    one.create("botany").await;
    assert_eq!(runs(cluster.instance(0), "botany"), 1);
}

#[tokio::test]
async fn a_database_that_refuses_writes_is_as_one_that_is_away() {
    let cluster = two(config()).await;
    acme(&cluster, 0).create("algebra").await;
    let database = cluster.database();
    let set = |what: &str| {
        cluster.postgres().sql("postgres", &format!("ALTER DATABASE {database} {what}"));
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        cluster.postgres().sql("postgres", end);
    };
    set("SET default_transaction_read_only = on");
    goes_on(&cluster, "botany").await;
    assert!(cluster.instance(0).log().contains("is read-only"), "{}", cluster.instance(0).log());
    set("RESET default_transaction_read_only");
    let back = async || {
        let reply = acme(&cluster, 1).get("create", "name=A+meeting&meetingID=botany").await;
        reply.body.contains("SUCCESS")
    };
    eventually("it is as before", back).await;
}

#[tokio::test]
async fn a_meeting_that_cannot_be_saved_is_saved_when_the_database_is_back() {
    let cluster = two(config().set("polling.interval", "10m")).await;
    let [one, other] = [acme(&cluster, 0), acme(&cluster, 1)];
    for node in cluster.nodes() {
        node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(2))));
    }
    let creating = tokio::spawn(async move { one.create("algebra").await });
    eventually("it is claimed", async || claims(&cluster) == 1).await;
    let asked = async || cluster.nodes().iter().map(|node| node.calls("create")).sum::<usize>() > 0;
    eventually("a node is asked", asked).await;
    cluster.postgres().stop();
    creating.await.expect("it is acknowledged");
    cluster.postgres().start();
    other.create("algebra").await;
    assert_eq!(runs(cluster.instance(0), "algebra"), 1);
    assert_eq!(saved(&cluster), 1);
}

/// For as long as both processes serve, every id is created by many connections at the same moment.
async fn an_upgrade_doubles_nothing(config: Config) {
    let mut pool = Pool::start(config.set("polling.interval", "10m")).await;
    let acme = pool.tenant("acme");
    pool.signal("USR2");
    let successor = |log: &str| log.matches("running when we last looked").count();
    eventually("the successor runs", async || successor(&pool.log()) == 2).await;
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut count = 0;
    while Instant::now() < deadline {
        let id = format!("room{count}");
        join_all((0..8).map(|_| acme.create(&id))).await;
        count += 1;
    }
    assert!(pool.ended().await.success(), "{}", pool.log());
    for number in 0..count {
        assert_eq!(runs(&pool, &format!("room{number}")), 1, "room{number}\n{}", pool.log());
    }
}

#[tokio::test]
async fn two_processes_of_an_upgrade_create_one_meeting() {
    an_upgrade_doubles_nothing(config()).await;
}

#[tokio::test]
async fn two_processes_of_an_upgrade_over_postgres_create_one_meeting() {
    let server = Postgres::shared();
    let url = server.url(&server.create_database());
    an_upgrade_doubles_nothing(config().set("store.kind", "postgres").set("store.url", url)).await;
}

#[tokio::test]
async fn a_webhook_of_one_is_a_webhook_of_all() {
    let config = config().set("server.public_url", "https://portico.example");
    let cluster = two(config).await;
    let both = [acme(&cluster, 0), acme(&cluster, 1)];
    let create = |client: usize, number: u32| {
        let client = both[client].clone();
        async move {
            let hook = format!("callbackURL=https%3A%2F%2Fmoodle.example%2F{number}");
            client.get("hooks/create", &hook).await.success().text("hookID")
        }
    };
    // The same on both at once is one, and different ones have different numbers.
    let wishes = (0..20).flat_map(|number| [create(0, number), create(1, number)]);
    let ids = join_all(wishes.collect::<Vec<_>>()).await;
    let different: std::collections::HashSet<_> = ids.iter().collect();
    assert!(ids.chunks(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    assert_eq!(different.len(), 20, "{ids:?}");
    for client in &both {
        let listed = client.get("hooks/list", "").await.success();
        assert_eq!(listed.body.matches("<hookID>").count(), 20, "{}", listed.body);
    }
    both[0].get("hooks/destroy", &format!("hookID={}", ids[0])).await.success();
    let gone = both[1].get("hooks/list", "").await.success();
    assert_eq!(gone.body.matches("<hookID>").count(), 19, "{}", gone.body);
    let late = create(0, 99).await;
    both[1].get("hooks/destroy", &format!("hookID={late}")).await.success();
}
