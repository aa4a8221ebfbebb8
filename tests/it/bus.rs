//! Instances know of each other over Redis: each node is polled by one of them, and what happens when
//! Redis or one of them goes.

use tokio::time::Instant;

use crate::harness::{Cluster, Config, Plan, Pool, Redis, Tenant, eventually, portico};

const NODES: usize = 6;

async fn two_instances() -> Cluster {
    let config = Config::new().nodes(NODES).tenant(Tenant::new("acme"));
    let config = config.set("polling.interval", "1s").env("RUST_LOG", "debug");
    Plan::new(config, 2).start().await
}

async fn metric(pool: &Pool, name: &str) -> f64 {
    pool.metrics().await.get(name)
}

/// All see so many.
async fn in_touch(cluster: &Cluster, instances: f64) {
    for pool in cluster.instances() {
        eventually("they are in touch", async || {
            let is_seen = metric(pool, "portico_bus_instances").await >= instances;
            is_seen && metric(pool, "portico_bus_up").await > 0.5
        })
        .await;
    }
}

fn polls(cluster: &Cluster) -> Vec<usize> {
    cluster.nodes().iter().map(|node| node.calls("getMeetings")).collect()
}

/// Waits until every node was polled so often once more.
async fn rounds(cluster: &Cluster, count: usize) {
    let before = polls(cluster);
    eventually("every node is polled", async || {
        polls(cluster).iter().zip(&before).all(|(now, before)| *now >= before + count)
    })
    .await;
}

/// How many of these instances have polled each node, over some rounds.
async fn pollers(cluster: &Cluster, of: &[&Pool]) -> Vec<usize> {
    let counts = async || {
        let metrics = futures::future::join_all(of.iter().map(|pool| pool.metrics())).await;
        let of_node = |node| {
            let label = format!("node=\"node{node}\"");
            let all = metrics.iter();
            all.map(|one| one.sum("portico_node_polls_total", &[&label])).collect::<Vec<_>>()
        };
        (0..NODES).map(of_node).collect::<Vec<_>>()
    };
    let before = counts().await;
    rounds(cluster, 4).await;
    let after = counts().await;
    let grown = |(before, after): (&Vec<f64>, &Vec<f64>)| {
        before.iter().zip(after).filter(|(before, after)| after > before).count()
    };
    before.iter().zip(&after).map(grown).collect()
}

#[tokio::test]
async fn each_node_is_polled_by_one_instance_and_taken_over_when_that_dies() {
    let mut cluster = two_instances().await;
    in_touch(&cluster, 2.0).await;
    let polled_by_one = async |cluster: &Cluster| {
        let both: Vec<_> = cluster.instances().iter().collect();
        eventually("one polls each", async || pollers(cluster, &both).await == [1; NODES]).await;
    };
    polled_by_one(&cluster).await;
    let ready = cluster.instance(0).metrics().await;
    let commands = ready.sum("portico_bus_commands_total", &["command=\"beat\""]);
    assert!(commands >= 2.0, "{commands}");

    cluster.instance_mut(1).kill9();
    rounds(&cluster, 1).await;
    assert_eq!(pollers(&cluster, &[cluster.instance(0)]).await, [1; NODES]);

    // Back, it takes its share.
    cluster.instance_mut(1).restart().await;
    in_touch(&cluster, 2.0).await;
    polled_by_one(&cluster).await;
    let share = cluster.instance(1).metrics().await.sum("portico_node_polls_total", &[]);
    assert!(share > 0.5, "{share}");
    // One that is stopped leaves at once.
    cluster.instance(1).signal("TERM");
    eventually("it has left", async || {
        metric(cluster.instance(0), "portico_bus_instances").await < 1.5
    })
    .await;
    cluster.instance_mut(1).ended().await;
}

#[tokio::test]
async fn without_redis_each_polls_for_itself_until_it_is_back() {
    let cluster = two_instances().await;
    in_touch(&cluster, 2.0).await;
    let gone = "each instance polls for itself until it is back";
    cluster.redis().stop();
    for pool in cluster.instances() {
        eventually("it is gone", async || metric(pool, "portico_bus_up").await < 0.5).await;
        eventually("it is said", async || pool.log().contains(gone)).await;
        assert_eq!(pool.admin("/readyz").await.status, 200);
    }
    let both: Vec<_> = cluster.instances().iter().collect();
    eventually("both poll all", async || pollers(&cluster, &both).await == [2; NODES]).await;
    cluster.instance(0).tenant("acme").create("algebra").await;

    cluster.redis().start();
    in_touch(&cluster, 2.0).await;
    for pool in cluster.instances() {
        let log = pool.log();
        assert_eq!(log.matches(gone).count(), 1, "{log}");
        assert_eq!(log.matches("is back: ").count(), 1, "{log}");
        assert!(!log.contains(Redis::PASSWORD), "{log}");
    }
    // A Redis that says nothing is as good as none.
    cluster.redis().pause();
    for pool in cluster.instances() {
        eventually("it is gone", async || metric(pool, "portico_bus_up").await < 0.5).await;
        assert!(pool.metrics().await.sum("portico_bus_failures_total", &[]) > 0.5);
    }
    cluster.redis().resume();
    in_touch(&cluster, 2.0).await;
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_is_named_and_no_reason_not_to_serve() {
    let redis = Redis::start_new();
    let wrong = redis.url().replace(Redis::PASSWORD, "hush-hush");
    let config = Config::new().nodes(1).tenant(Tenant::new("acme")).set("redis.url", wrong);
    let cluster = Plan::new(config, 1).without_redis().start().await;
    let pool = cluster.instance(0);
    let said = "does not let us in: correct user and password in `redis.url`";
    eventually("it is said", async || pool.log().contains(said)).await;
    pool.tenant("acme").create("algebra").await;
    assert!(!pool.log().contains("hush-hush"), "{}", pool.log());
    pool.rewrite_config(&pool.config_yaml().replace("/0", "/zero"));
    let checked = portico(&["check", "-c", &pool.config_path().display().to_string()]).await;
    assert_eq!(checked.code, 2, "{checked:?}");
    assert!(
        checked.stderr.contains(": redis.url: ends in what is no database number"),
        "{checked:?}"
    );
    assert!(!checked.stderr.contains("hush-hush"), "{checked:?}");
}

#[tokio::test]
async fn a_tenants_rate_holds_over_instances() {
    let tenant = Tenant::new("acme").set("limits", "{ requests_per_second: 100 }");
    let config = Config::new().tenant(tenant);
    let cluster = Plan::new(config, 2).start().await;
    in_touch(&cluster, 2.0).await;
    let (busy, idle) = (cluster.instance(0).tenant("acme"), cluster.instance(1).tenant("acme"));
    let mut asked = 0;
    let begun = Instant::now();
    eventually("it is too much at the idle instance, too", async || {
        let calls = (0..60).map(|_| busy.get("getMeetings", ""));
        futures::future::join_all(calls).await;
        asked += 1;
        idle.get("getMeetings", "").await.status == 429
    })
    .await;
    let own_rate = f64::from(asked) / begun.elapsed().as_secs_f64();
    assert!(own_rate < 100.0 || asked < 100, "it could have been its own doing: {own_rate}");
}

#[tokio::test]
async fn a_redis_that_is_set_up_wrongly_is_named_with_the_remedy() {
    let redis = Redis::start_new();
    let set = |what: &str| {
        let answer = redis.ask(what).unwrap_or_else(|| panic!("{what}"));
        assert_eq!(answer, "+OK\r\n", "{what}");
    };
    set("CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru");
    let config = Config::new().nodes(1).tenant(Tenant::new("acme")).set("redis.url", redis.url());
    let cluster = Plan::new(config, 1).without_redis().start().await;
    let pool = cluster.instance(0);
    in_touch(&cluster, 1.0).await;
    let warning = "set `maxmemory-policy noeviction`";
    eventually("it is warned of", async || pool.log().contains(warning)).await;
    for (wrong, said, right) in [
        (
            "CONFIG SET maxmemory 1 maxmemory-policy noeviction",
            "has no memory left: raise its `maxmemory`",
            "CONFIG SET maxmemory 0",
        ),
        (
            "REPLICAOF 127.0.0.1 1",
            "is a read-only replica: name the primary in `redis.url`",
            "REPLICAOF NO ONE",
        ),
    ] {
        set(wrong);
        eventually("it is said", async || pool.log().contains(said)).await;
        eventually("it is gone", async || metric(pool, "portico_bus_up").await < 0.5).await;
        let failed = pool.metrics().await.sum("portico_bus_failures_total", &["command=\"beat\""]);
        assert!(failed > 0.5, "{failed}");
        pool.tenant("acme").create("algebra").await;
        set(right);
        in_touch(&cluster, 1.0).await;
    }
    assert!(!pool.log().contains(Redis::PASSWORD), "{}", pool.log());
}
