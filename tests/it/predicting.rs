//! Meetings are placed by how large they are expected to become.

use portico::sim::Fault;
use serde_json::Value;

use crate::api::Operator;
use crate::command_line_api::Shell;
use crate::harness::{Cluster, Config, Plan, Pool, Tenant, eventually};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Polls come no more after the first ones.
const NEVER: &str = "10m";

fn config(tenant: Tenant) -> Config {
    Config::new().nodes(2).set("api.jwt_secret", KEY).tenant(tenant)
}

/// Where a meeting of `acme` would go, as the API says.
async fn explained(pool: &Pool, query: &str) -> Value {
    let operator = Operator::of(pool, "operator").await;
    operator.get(&format!("/tenants/acme/placement?{query}")).await
}

/// A meeting of `acme`, `algebra`, in which a poll has counted 60, and which its front end has ended.
pub(crate) async fn hold_and_end(pool: &Pool) {
    let acme = pool.tenant("acme");
    acme.create("algebra").await.success();
    pool.node_of("algebra@acme").add_attendees("algebra@acme", 60);
    let metric = "portico_tenant_attendees{tenant=\"acme\"}";
    eventually("a poll has counted them", async || pool.metrics().await.get(metric) > 59.0).await;
    acme.get("end", "meetingID=algebra").await.success();
}

/// What node a meeting of `acme` is on.
fn node_of(pool: &Pool, id: &str) -> usize {
    let name = pool.node_of(&format!("{id}@acme")).name().to_owned();
    pool.nodes().iter().position(|node| node.name() == name).expect("a node of the pool")
}

#[tokio::test]
async fn room_is_held_for_those_who_are_still_expected() {
    let tenant = Tenant::new("acme");
    let pool = Pool::start(config(tenant).set("polling.interval", NEVER)).await;
    let acme = pool.tenant("acme");
    acme.get("create", "name=name&meetingID=webinar&meta_bbb-meeting-size-hint=150")
        .await
        .success();
    let webinar = node_of(&pool, "webinar");
    // All small ones together need no more than what is held for the large one.
    for number in 0..4 {
        let query = format!("name=name&meetingID=m{number}&meta_bbb-meeting-size-hint=30");
        acme.get("create", &query).await.success();
        assert_ne!(node_of(&pool, &format!("m{number}")), webinar);
    }
    let told = explained(&pool, "meeting_id=next&size_hint=10").await;
    let candidates = told["candidates"].as_array().expect("candidates");
    assert_eq!(told["expected"]["source"], "hint");
    assert_eq!(candidates[0]["occupied"].as_f64(), Some(120.0), "{told}");
    assert_eq!(candidates[1]["occupied"].as_f64(), Some(150.0), "{told}");
    assert_eq!(told["node"], candidates[0]["node"]);
    let shown = &pool.node(webinar).requests();
    let create = shown.iter().rfind(|seen| seen.path.ends_with("/create")).expect("a create");
    assert!(create.query.contains("meta_bbb-meeting-size-hint=150"), "{}", create.query);
}

#[tokio::test]
async fn hints_are_capped_taken_off_and_passed_over_where_they_make_no_sense() {
    let placement = "{ max_size: 40, strip_hints: true }";
    let tenant = Tenant::new("acme").set("placement", placement);
    let pool = Pool::start(config(tenant).set("polling.interval", NEVER)).await;
    let acme = pool.tenant("acme");
    for (number, hint) in ["1000000", "-7", "NaN", "many", ""].iter().enumerate() {
        let query = format!("name=name&meetingID=m{number}&meta_bbb-meeting-size-hint={hint}");
        acme.get("create", &query).await.success();
    }
    for node in pool.nodes() {
        for seen in node.requests().iter().filter(|seen| seen.path.ends_with("/create")) {
            assert!(!seen.query.contains("size-hint"), "{}", seen.query);
        }
    }
    let told = explained(&pool, "meeting_id=new&size_hint=500").await;
    assert_eq!(told["expected"]["attendees"], 40.0);
}

#[tokio::test]
async fn hints_that_make_no_sense_count_for_nothing_where_no_size_is_set() {
    let pool = Pool::start(config(Tenant::new("acme")).set("polling.interval", NEVER)).await;
    let acme = pool.tenant("acme");
    let hints = ["1000000", "100001", "-7", "NaN", "inf", "1e9", "4294967296", "many", ""];
    for (number, hint) in hints.iter().enumerate() {
        for parameter in ["meta_bbb-meeting-size-hint", "maxParticipants"] {
            let query = format!("name=name&meetingID={number}-{parameter}&{parameter}={hint}");
            acme.get("create", &query).await.success();
        }
    }
    let told = explained(&pool, "meeting_id=new").await;
    assert_eq!(told["expected"]["attendees"], 20.0, "as of one of which nothing is known");
    let candidates = told["candidates"].as_array().expect("candidates");
    let occupied: f64 = candidates.iter().filter_map(|one| one["occupied"].as_f64()).sum();
    assert!((occupied - 18.0 * 20.0).abs() < 1.0, "{told}");
}

/// A pool with a meeting that is over, and a store that takes its time for `slow`.
async fn with_a_slow_store(grace: &str, slow: &str, seconds: f64) -> Cluster {
    let config = config(Tenant::new("acme")).set("polling.interval", "50ms");
    let cluster = Plan::new(config.set("server.grace", grace), 1).without_redis().start().await;
    let slow = format!(
        "CREATE FUNCTION slow() RETURNS trigger AS
            'BEGIN PERFORM pg_sleep({seconds}); RETURN coalesce(NEW, OLD); END' LANGUAGE plpgsql;
        CREATE TRIGGER slow BEFORE {slow} FOR EACH ROW EXECUTE FUNCTION slow()"
    );
    cluster.postgres().sql(cluster.database(), &slow);
    let pool = cluster.instance(0);
    hold_and_end(pool).await;
    cluster
}

async fn is_learned(pool: &Pool) -> bool {
    let expected = explained(pool, "meeting_id=algebra").await["expected"].take();
    expected["source"].as_str().is_some_and(|source| source.starts_with("room"))
}

/// What the store knows of the room after a stop.
async fn rows_after_a_stop(mut cluster: Cluster) -> String {
    cluster.instance(0).signal("TERM");
    assert!(cluster.instance_mut(0).ended().await.success());
    let rows = "SELECT count(*) FROM history WHERE room = 'algebra'";
    cluster.postgres().sql(cluster.database(), rows).trim().to_owned()
}

#[tokio::test]
async fn what_was_learned_a_moment_ago_is_kept_by_a_stop_though_the_store_is_slow() {
    let cluster = with_a_slow_store("30s", "INSERT ON history", 0.4).await;
    eventually("it is learned", async || is_learned(cluster.instance(0)).await).await;
    assert_eq!(rows_after_a_stop(cluster).await, "2");
}

#[tokio::test]
async fn what_was_learned_is_kept_though_a_request_takes_all_of_the_grace() {
    let cluster = with_a_slow_store("1s", "INSERT ON history", 0.4).await;
    let pool = cluster.instance(0);
    eventually("it is learned", async || is_learned(pool).await).await;
    for node in pool.nodes() {
        node.set_call_fault("create", Some(Fault::Hang));
    }
    let (acme, before) = (pool.tenant("acme"), pool.node_calls("create"));
    let hanging =
        tokio::spawn(async move { acme.try_get("create", "name=Botany&meetingID=botany").await });
    eventually("it is under way", async || pool.node_calls("create") > before).await;
    assert_eq!(rows_after_a_stop(cluster).await, "2");
    hanging.abort();
}

#[tokio::test]
async fn a_stop_waits_for_what_a_poll_is_finding_out() {
    let cluster = with_a_slow_store("30s", "DELETE ON meetings", 3.0).await;
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'
        AND datname = current_database()";
    let is_asked = async || cluster.postgres().sql(cluster.database(), asked).trim() != "0";
    eventually("its row is about to go", is_asked).await;
    assert_eq!(rows_after_a_stop(cluster).await, "2");
}

#[tokio::test]
async fn what_became_of_a_room_is_remembered_also_after_a_crash() {
    let config = config(Tenant::new("acme")).set("polling.interval", "50ms");
    let mut pool = Pool::start(config).await;
    hold_and_end(&pool).await;
    let source = async |pool: &Pool| explained(pool, "meeting_id=algebra").await["expected"].take();
    eventually("it is learned", async || {
        source(&pool).await["source"].as_str().is_some_and(|source| source.starts_with("room"))
    })
    .await;
    let before = source(&pool).await;
    assert!(before["attendees"].as_f64().is_some_and(|size| size > 50.0), "{before}");
    let path = pool.dir().join("data/portico.db");
    let kept = async || {
        let store = rusqlite::Connection::open(&path).expect("the store");
        let count = "SELECT count(*) FROM history WHERE room = 'algebra'";
        store.query_row(count, [], |row| row.get::<_, i64>(0)).expect("a number") == 2
    };
    eventually("it is kept", kept).await;
    pool.kill9();
    // A row that nobody can have learned is passed over, and said.
    let store = rusqlite::Connection::open(&path).expect("the store");
    let broken = "INSERT INTO history VALUES ('acme', 0, 'broken', -1, 3, -5.0, 1.0, 1)";
    store.execute(broken, []).expect("a row");
    drop(store);
    pool.restart().await;
    eventually("it is known again", async || source(&pool).await == before).await;
    eventually("what is broken is told", async || {
        pool.log().contains("1 row of the history of meetings cannot be right")
    })
    .await;
    assert_eq!(explained(&pool, "meeting_id=broken").await["expected"]["source"], "tenant");
}

#[tokio::test]
async fn what_became_of_a_room_is_learned_also_where_the_next_meeting_has_its_row() {
    for is_lost in [false, true] {
        let config = config(Tenant::new("acme")).set("polling.interval", "1s");
        let config = config.set("polling.down_after", 1).set("polling.node_down_grace", "100ms");
        let pool = Pool::start(config).await;
        let acme = pool.tenant("acme");
        acme.create("algebra").await.success();
        let node = node_of(&pool, "algebra");
        pool.node(node).add_attendees("algebra@acme", 60);
        let metric = "portico_tenant_attendees{tenant=\"acme\"}";
        let counted = async || pool.metrics().await.get(metric) > 59.0;
        eventually("a poll has counted them", counted).await;
        if is_lost {
            pool.node(node).set_fault(Some(Fault::Refuse));
            let given_up = async || acme.listed().await.is_empty();
            eventually("the node is given up", given_up).await;
        } else {
            acme.get("end", "meetingID=algebra").await.success();
        }
        // Before a poll can show that the first one is over.
        acme.create("algebra").await.success();
        let path = pool.dir().join("data/portico.db");
        let learned = || {
            let store = rusqlite::Connection::open(&path).expect("the store");
            let mean =
                "SELECT count(*), coalesce(avg(mean), 0) FROM history WHERE room = 'algebra'";
            store.query_row(mean, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("numbers")
        };
        eventually("it is learned", async || learned() == (2_i64, 60.0_f64)).await;
    }
}

#[tokio::test]
async fn what_a_node_creates_anew_weighs_what_is_expected_of_it() {
    let pool = Pool::start(config(Tenant::new("acme")).set("polling.interval", NEVER)).await;
    let acme = pool.tenant("acme");
    acme.create("webinar").await.success();
    let node = node_of(&pool, "webinar");
    // No poll sees it.
    pool.node(node).restart();
    let query = "name=name&meetingID=webinar&meta_bbb-meeting-size-hint=150";
    acme.get("create", query).await.success();
    let told = explained(&pool, "meeting_id=next&size_hint=10").await;
    let name = pool.node(node).name();
    let all = told["candidates"].as_array().expect("candidates");
    let one = all.iter().find(|one| one["node"] == *name).expect("the node");
    assert_eq!(one["occupied"].as_f64(), Some(150.0), "{told}");
}

#[tokio::test]
async fn what_is_expected_of_a_running_meeting_survives_a_crash() {
    let mut pool = Pool::start(config(Tenant::new("acme")).set("polling.interval", NEVER)).await;
    let acme = pool.tenant("acme");
    acme.get("create", "name=name&meetingID=webinar&meta_bbb-meeting-size-hint=150")
        .await
        .success();
    let webinar = node_of(&pool, "webinar");
    pool.kill9();
    // No poll of its node comes back; the other's does.
    pool.node(webinar).set_call_fault("getMeetings", Some(Fault::Hang));
    pool.restart().await;
    let occupied = async |pool: &Pool, number: usize| {
        let told = explained(pool, "meeting_id=next&size_hint=10").await;
        let name = pool.node(number).name();
        let all = told["candidates"].as_array().expect("candidates");
        let one = all.iter().find(|one| one["node"] == *name).expect("the node");
        one["occupied"].as_f64().expect("a number")
    };
    assert!((occupied(&pool, webinar).await - 150.0).abs() < 0.1);
    assert!(occupied(&pool, 1 - webinar).await.abs() < 0.1);
    // The next time both are polled, and nobody has come yet.
    pool.kill9();
    pool.node(webinar).set_call_fault("getMeetings", None);
    pool.restart().await;
    eventually("both are up", async || {
        let told = explained(&pool, "meeting_id=next").await;
        told["candidates"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| !one["score"].is_null()))
    })
    .await;
    for number in 0..4 {
        let query = format!("name=name&meetingID=m{number}&meta_bbb-meeting-size-hint=30");
        acme.get("create", &query).await.success();
        assert_ne!(node_of(&pool, &format!("m{number}")), webinar);
    }
    assert!((occupied(&pool, webinar).await - 150.0).abs() < 0.1);
}

#[tokio::test]
async fn who_has_left_before_a_crash_is_learned_after_it() {
    let config = config(Tenant::new("acme")).set("polling.interval", "50ms");
    let mut pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await.success();
    pool.node_of("algebra@acme").add_attendees("algebra@acme", 60);
    let path = pool.dir().join("data/portico.db");
    let kept = async || {
        let store = rusqlite::Connection::open(&path).expect("the store");
        let peak = "SELECT peak FROM meetings WHERE meeting_id = 'algebra'";
        store.query_row(peak, [], |row| row.get::<_, i64>(0)).expect("a number") == 60
    };
    eventually("the store knows how many came", kept).await;
    pool.kill9();
    let node = pool.node_of("algebra@acme");
    assert!(node.remove_attendees("algebra@acme") && node.add_attendees("algebra@acme", 10));
    pool.restart().await;
    let metric = "portico_tenant_attendees{tenant=\"acme\"}";
    eventually("those who stayed are counted", async || {
        (pool.metrics().await.get(metric) - 10.0).abs() < 0.1
    })
    .await;
    acme.get("end", "meetingID=algebra").await.success();
    eventually("all who came are learned", async || {
        let told = explained(&pool, "meeting_id=algebra").await;
        let source =
            told["expected"]["source"].as_str().is_some_and(|from| from.starts_with("room"));
        source && told["expected"]["attendees"].as_f64().is_some_and(|size| size > 50.0)
    })
    .await;
}

#[tokio::test]
async fn the_command_tells_where_a_meeting_would_go_and_why() {
    let tenant = Tenant::new("acme").set("placement", "{ spread: meetings }");
    let pool = Pool::start(config(tenant).set("polling.interval", NEVER)).await;
    pool.tenant("acme").create("first").await.success();
    let shell = Shell(&pool);
    let told = shell.out("place explain --tenant acme --meeting second").await;
    let other = pool.node(1 - node_of(&pool, "first")).name();
    assert!(told.contains("expected: 20.0 attendees (from prior), looked at as 100.0"), "{told}");
    assert!(told.contains(&format!("it would go to {other}")), "{told}");
    assert!(told.contains("it has more meetings that this one keeps off"), "{told}");
    let runs = shell.out("place explain --tenant acme --meeting first").await;
    assert!(runs.contains("it runs already on"), "{runs}");
    shell.out(&format!("node cordon {other}")).await;
    let closed = shell.out("place explain --tenant acme --meeting second").await;
    assert!(closed.contains("an operator has it cordoned"), "{closed}");
    for (line, told) in [
        ("place explain --tenant none --meeting m", "none"),
        ("place explain --tenant acme --meeting m --sub 7", "sub_id"),
        ("place explain --tenant acme --meeting m --size-hint 100001", "size_hint"),
    ] {
        let (code, stdout, stderr) = shell.run(line).await;
        assert_eq!((code, stdout.as_str()), (1, ""), "{line}: {stderr}");
        assert!(stderr.contains(told), "{line}: {stderr}");
    }
}

#[tokio::test]
async fn who_must_put_a_meeting_on_a_node_that_is_too_small_is_told() {
    let pool = Pool::start(config(Tenant::new("acme")).set("polling.interval", NEVER)).await;
    let acme = pool.tenant("acme");
    let metric = "portico_placements_on_full_nodes_total";
    for (room, hint, full) in [("small", 200, 0.0), ("large", 300, 1.0), ("larger", 200, 2.0)] {
        let query = format!("name=A+name&meetingID={room}&meta_bbb-meeting-size-hint={hint}");
        acme.get("create", &query).await.success();
        assert!((pool.metrics().await.get(metric) - full).abs() < 0.1, "{room}");
    }
    let node = pool.node(node_of(&pool, "large")).name();
    let told = format!("{node}, holds room for 300 attendees and is built for 200");
    eventually("it is told", async || pool.log().contains(&told)).await;
    assert_eq!(pool.log().matches("holds room for").count(), 1, "once a minute");
}
