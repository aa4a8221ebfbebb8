//! Several instances over one PostgreSQL and one Redis.

use crate::harness::{Cluster, Config, Plan, Redis, Tenant};

fn plan(instances: usize) -> Plan {
    Plan::new(Config::new().nodes(2).tenant(Tenant::new("acme")), instances)
}

async fn listed(cluster: &Cluster, instance: usize) -> Vec<String> {
    cluster.instance(instance).tenant("acme").listed().await
}

#[tokio::test]
async fn instances_start_at_once_over_an_empty_database() {
    let mut cluster = plan(2).start().await;
    assert!(listed(&cluster, 0).await.is_empty() && listed(&cluster, 1).await.is_empty());
    for pool in cluster.instances() {
        assert_eq!(pool.admin("/readyz").await.status, 200);
        assert!(cluster.nodes().iter().all(|node| pool.config_yaml().contains(&node.url())));
        assert!(pool.config_yaml().contains(&cluster.redis().url()));
    }
    let tables = "SELECT count(*) FROM meetings";
    assert_eq!(cluster.postgres().sql(cluster.database(), tables).trim(), "0");
    cluster.instance_mut(1).restart().await;
    cluster.instance(1).tenant("acme").create("algebra").await;
    assert_eq!(cluster.postgres().sql(cluster.database(), tables).trim(), "1");
}

#[tokio::test]
async fn instances_need_no_redis_and_may_have_a_database_server_of_their_own() {
    let cluster = plan(2).without_redis().own_postgres().start().await;
    assert!(!cluster.instance(0).config_yaml().contains("redis"));
    cluster.postgres().stop();
    assert_eq!(cluster.instance(0).admin("/healthz").await.status, 200);
}

/// What the tests take for granted of the server they start.
#[test]
fn a_private_redis_comes_and_goes() {
    let redis = Redis::start_new();
    assert_eq!(redis.ask("SET a b").as_deref(), Some("+OK\r\n"));
    redis.pause();
    redis.resume();
    assert_eq!(redis.ask("GET a").as_deref(), Some("$1\r\nb\r\n"));
    redis.stop();
    assert_eq!(redis.ask("GET a"), None);
    redis.start();
    assert_eq!(redis.ask("GET a").as_deref(), Some("$-1\r\n"), "it begins empty");
}
