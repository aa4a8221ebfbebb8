//! What operators are shown of the store while it goes and comes.

use http::Method;

use crate::callbacks::call;
use crate::harness::{Config, Pool, Postgres, Tenant, eventually, portico};

fn config(url: &str) -> Config {
    Config::new()
        .nodes(2)
        .tenant(Tenant::new("acme"))
        .set("store.kind", "postgres")
        .set("store.url", url)
}

/// Waits until the metric says that the store can be used, or not.
async fn is_shown(pool: &Pool, is_up: bool) {
    let shows = async || (pool.metrics().await.get("portico_store_up") > 0.5) == is_up;
    eventually(&format!("portico_store_up says {is_up}"), shows).await;
}

#[tokio::test]
async fn a_database_that_is_away_is_shown_and_said_until_it_is_back() {
    let server = Postgres::start_new();
    let pool = Pool::start(config(&server.url(&server.create_database()))).await;
    is_shown(&pool, true).await;
    server.stop();
    is_shown(&pool, false).await;
    let said = "new meetings are refused until it is back";
    eventually("it is said", async || pool.log().contains(said)).await;
    assert_eq!(pool.admin("/readyz").await.status, 200);
    server.start();
    is_shown(&pool, true).await;
    pool.tenant("acme").create("algebra").await;
}

#[tokio::test]
async fn a_database_that_was_made_anew_is_not_taken_for_the_one_before() {
    let server = Postgres::shared();
    let database = server.create_database();
    let pool = Pool::start(config(&server.url(&database))).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    server.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
    server.sql("postgres", &format!("CREATE DATABASE {database}"));
    let said = "is empty, somebody has made it anew: restore a backup";
    eventually("it is said", async || pool.log().contains(said)).await;
    is_shown(&pool, false).await;
    let log = pool.log();
    assert!(!log.contains(&format!("{database} is back")), "{log}");
    let join = acme.get("join", "fullName=Ada&meetingID=algebra").await;
    assert_eq!(join.status, 302, "{}", join.body);
    let path = pool.config_path().display().to_string();
    let migrated = portico(&["migrate", "-c", &path]).await;
    assert_eq!(migrated.code, 0, "{migrated:?}");
    is_shown(&pool, true).await;
    acme.create("botany").await;
}

#[tokio::test]
async fn the_schema_of_a_database_that_is_read_only_is_told() {
    let server = Postgres::shared();
    let database = server.create_database();
    let pool = Pool::start(config(&server.url(&database))).await;
    let read_only = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    server.sql("postgres", &read_only);
    let path = pool.config_path().display().to_string();
    let status = portico(&["migrate", "--status", "-c", &path]).await;
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.stdout.contains(", up to date"), "{status:?}");
    let refused = portico(&["migrate", "-c", &path]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("is read-only: name the primary"), "{refused:?}");
}

#[tokio::test]
async fn an_outage_is_not_told_with_every_call_nor_as_a_loss_that_it_is_not() {
    let server = Postgres::start_new();
    let pool = Pool::start(config(&server.url(&server.create_database()))).await;
    let acme = pool.tenant("acme");
    let front = "meta_endCallbackUrl=https%3A%2F%2Ffront.example.org%2Fend";
    let create = format!("name=A+meeting&meetingID=algebra&{front}");
    acme.get("create", &create).await.success();
    server.stop();
    is_shown(&pool, false).await;
    // It runs with the callbacks that it was created with.
    for _ in 0..2 {
        acme.get("create", &create).await.success();
    }
    let dropped = pool.metrics().await.sum("portico_callbacks_dropped_total", &[]);
    assert!(dropped < 0.5, "{dropped}");
    // Nodes call again and again.
    let token = "a7".repeat(24);
    for _ in 0..5 {
        let status = call(&acme, Method::GET, &format!("/b3lb/c/{token}")).await;
        assert_eq!(status, 503);
    }
    let said = "a callback cannot be looked up: ";
    eventually("it is said", async || pool.log().contains(said)).await;
    let log = pool.log();
    assert_eq!(log.matches(said).count(), 1, "{log}");
    assert!(!log.contains("goes on without callbacks"), "{log}");
}
