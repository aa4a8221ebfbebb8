//! What operators are shown of the store while it goes and comes.

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
