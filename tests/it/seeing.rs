//! What operators see: health, metrics, the log.

use crate::harness::{Config, Pool, Tenant};

#[tokio::test]
async fn a_pool_that_has_started_is_healthy_and_ready() {
    let pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    assert_eq!(pool.admin("/healthz").await.seen(), (200, "ok\n"));
    assert_eq!(pool.admin("/readyz").await.seen(), (200, "ready\n"));
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
