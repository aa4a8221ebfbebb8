//! What is counted goes on after a restart, and is the sum over all instances.

use http::Method;

use crate::harness::{Cluster, Config, Plan, Pool, Postgres, Tenant, eventually};

const TOKEN: &str = "6f2f0d3e-0f39-4a0c-9a56-4c34a1c8d7e1";
const USES: &str = "portico_secret_uses_total{sub_id=\"0\",tenant=\"acme\",value=\"1\"}";
const REFUSED: &str = "portico_limit_hits_total{limit=\"tenant_meetings\",tenant=\"acme\"}";

fn config() -> Config {
    let acme =
        Tenant::new("acme").sub(5).set("stats_token", TOKEN).set("limits", "{ meetings: 2 }");
    Config::new().tenant(acme)
}

/// Meetings, joins and refusals as B3LB's metrics have them, refusals and uses as ours have.
async fn counted(pool: &Pool) -> [u64; 6] {
    let header = [("authorization", TOKEN)];
    let path = "/b3lb/t/acme/metrics";
    let text = pool.tenant("acme").send(Method::GET, path, &header, "").await.body;
    let b3lb = |row: &str| -> u64 {
        let row = text.lines().find_map(|line| line.strip_prefix(row));
        row.and_then(|value| value.trim().parse().ok()).expect("a row of the metrics")
    };
    let metrics = pool.metrics().await;
    let ours = |series| format!("{}", metrics.get(series)).parse().expect("a whole number");
    [
        b3lb("b3lb_meetings_total{secret=\"ACME\"}"),
        b3lb("b3lb_meetings_total{secret=\"ACME-005\"}"),
        b3lb("b3lb_attendees_total{secret=\"ACME\"}"),
        b3lb("b3lb_meeting_limit_hits{secret=\"ACME\"}"),
        ours(REFUSED),
        ours(USES),
    ]
}

/// Two meetings, three joins, a refusal: eight calls, five of them with the main secret. The meetings are its
/// own, and nothing runs before them as far as this instance knows.
async fn use_it(pool: &Pool, room: &str) {
    eventually("nothing runs", async || {
        pool.metrics().await.get("portico_tenant_meetings{tenant=\"acme\"}") < 0.5
    })
    .await;
    let (main, five) = (pool.tenant("acme"), pool.tenant("acme-5"));
    let [one, two] = [1, 2].map(|number| format!("{room}{number}"));
    main.create(&one).await.success();
    five.create(&two).await.success();
    for _ in 0..3 {
        let join = main.get("join", &format!("meetingID={one}&fullName=Ada")).await;
        assert_eq!(join.status, 302);
    }
    assert!(!five.get("create", "meetingID=three&name=Three").await.is_success());
    main.get("end", &format!("meetingID={one}")).await.success();
    five.get("end", &format!("meetingID={two}")).await.success();
}

const ONCE: [u64; 6] = [2, 1, 3, 1, 1, 5];

fn times(times: u64) -> [u64; 6] {
    ONCE.map(|once| once * times)
}

#[tokio::test]
async fn counters_go_on_after_a_restart() {
    let mut pool = Pool::start(config()).await;
    use_it(&pool, "a").await;
    assert_eq!(counted(&pool).await, times(1));
    pool.signal("TERM");
    assert!(pool.ended().await.success());
    pool.restart().await;
    // As soon as it can be asked.
    assert_eq!(counted(&pool).await, times(1));
    use_it(&pool, "b").await;
    assert_eq!(counted(&pool).await, times(2));
    // Another value of a secret begins at 0, and all else goes on.
    let secret = pool.tenant("acme").secret;
    let another = "another value of the secret, which nobody has used yet";
    pool.rewrite_config(&pool.config_yaml().replace(&secret, another));
    pool.signal("HUP");
    let [.., before] = times(2);
    eventually("it is in force", async || counted(&pool).await[5] < before).await;
    let mut expected = times(2);
    expected[5] = 0;
    assert_eq!(counted(&pool).await, expected);
}

#[tokio::test]
async fn each_instance_shows_what_all_have_counted_and_a_kill_loses_little() {
    let server = Postgres::shared();
    let database = server.create_database();
    // Both have one inventory.
    let config = || config().set("store.kind", "postgres").set("store.url", server.url(&database));
    let mut one = Pool::start(config()).await;
    let url = one.node(0).url();
    let two = Pool::start(config().node(0, "url", url)).await;
    use_it(&one, "a").await;
    use_it(&two, "b").await;
    for pool in [&one, &two] {
        eventually("it shows the sum", async || counted(pool).await == times(2)).await;
    }
    // Both have told the store by now, so nothing is lost.
    one.kill9();
    one.restart().await;
    assert_eq!(counted(&one).await, times(2));
    use_it(&one, "c").await;
    for pool in [&one, &two] {
        eventually("it shows the sum", async || counted(pool).await == times(3)).await;
    }
}

#[tokio::test]
async fn an_end_that_two_instances_see_is_counted_once() {
    let config = Config::new().tenant(Tenant::new("acme")).set("polling.interval", "100ms");
    let mut cluster = Plan::new(config, 2).without_redis().start().await;
    for number in 0..8 {
        cluster.instance(0).tenant("acme").create(&format!("room{number}")).await;
    }
    let listed = async |pool: &Pool| pool.tenant("acme").listed().await.len();
    for pool in cluster.instances() {
        eventually("it has found them", async || listed(pool).await == 8).await;
    }
    cluster.nodes()[0].restart();
    for pool in cluster.instances() {
        eventually("it sees that they are over", async || listed(pool).await == 0).await;
    }
    let sql = |cluster: &Cluster, statement: &str| {
        cluster.postgres().sql(cluster.database(), statement).trim().to_owned()
    };
    let rows = "SELECT count(*) FROM meetings";
    eventually("they are forgotten", async || sql(&cluster, rows) == "0").await;
    // Whoever stops has told the store what it counted.
    for index in 0..2 {
        cluster.instance(index).signal("TERM");
        assert!(cluster.instance_mut(index).ended().await.success());
    }
    let ended = "SELECT sum(value) FROM counters WHERE name = 'ended'";
    assert_eq!(sql(&cluster, ended), "8");
}
