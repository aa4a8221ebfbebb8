//! A start that finds the store, and loses it again before it has read everything.

use crate::harness::{Client, Config, Pool, Postgres, Reply, Tenant, eventually};

fn config(url: &str) -> Config {
    Config::new()
        .nodes(2)
        .tenant(Tenant::new("acme"))
        .set("store.kind", "postgres")
        .set("store.url", url)
}

/// Waits until it is said to operators that it is not ready, and why.
async fn waits(pool: &Pool, why: &str) {
    let says = |reply: Reply| reply.status == 503 && reply.body.contains(why);
    let waits = async || pool.try_admin("/readyz").await.is_some_and(says);
    eventually(&format!("it waits: {why}"), waits).await;
    assert_eq!(pool.admin("/healthz").await.status, 200);
    assert!(tokio::net::TcpStream::connect(pool.address()).await.is_err(), "nobody is let in");
}

/// Waits until it serves what there was.
async fn serves(pool: &Pool, acme: &Client) {
    let ready = async || pool.try_admin("/readyz").await.is_some_and(|reply| reply.status == 200);
    eventually("it is ready", ready).await;
    let join = "fullName=Ada&meetingID=algebra";
    let joins = async || acme.try_get("join", join).await.is_ok_and(|reply| reply.status == 302);
    eventually("it serves what there was", joins).await;
}

/// Holds a table, so that nobody reads it, until the connection ends.
async fn hold(server: &Postgres, database: &str, table: &str) -> tokio_postgres::Client {
    let url = server.url(database);
    let (client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("a connection");
    drop(tokio::spawn(connection));
    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    client.batch_execute(&lock).await.expect("nobody has it");
    client
}

/// Whether somebody waits for a table.
fn is_wanted(server: &Postgres, database: &str, table: &str) -> bool {
    let waiting = format!(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    );
    server.sql(database, &waiting).trim() != "0"
}

#[tokio::test]
async fn a_database_that_goes_between_its_opening_and_its_reading_is_waited_for() {
    let server = Postgres::start_new();
    let database = server.create_database();
    let mut pool = Pool::start(config(&server.url(&database))).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    pool.kill9();
    let held = hold(&server, &database, "meetings").await;
    pool.start_process();
    eventually("it was opened and is read", async || is_wanted(&server, &database, "meetings"))
        .await;
    server.stop();
    drop(held);
    waits(&pool, "cannot be reached: start it").await;
    server.start();
    serves(&pool, &acme).await;
}

#[tokio::test]
async fn counters_that_cannot_be_read_are_waited_for() {
    let server = Postgres::shared();
    let database = server.create_database();
    let mut pool = Pool::start(config(&server.url(&database))).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    pool.kill9();
    let held = hold(server, &database, "counters").await;
    pool.start_process();
    eventually("they are read", async || is_wanted(server, &database, "counters")).await;
    waits(&pool, "reading the store").await;
    // The server gives up on a lock after a while; then it is asked again.
    waits(&pool, "did not answer in time: look at its load and its locks").await;
    drop(held);
    serves(&pool, &acme).await;
}

/// Whether the log says of a create that it was refused, and why.
fn refusal_names(pool: &Pool, why: &str) -> bool {
    let refused = "a new meeting is refused, as nobody can tell: ";
    pool.log().lines().any(|line| line.contains(refused) && line.contains(why))
}

/// All connections that an ordinary user gets, taken by somebody else.
async fn take_all(server: &Postgres, role: &str, database: &str) -> Vec<tokio_postgres::Client> {
    let url = server.url(database).replace(Postgres::USER, role);
    let mut taken = Vec::new();
    loop {
        match tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                drop(tokio::spawn(connection));
                taken.push(client);
            }
            Err(error) => {
                let code = error.code().expect("the server says so").code();
                assert_eq!(code, "53300", "{error}");
                return taken;
            }
        }
    }
}

/// All that a small server has for anybody but its superuser; whoever had one may still be leaving.
async fn take_every_one(server: &Postgres) -> Vec<tokio_postgres::Client> {
    let mut taken = Vec::new();
    eventually("all are taken", async || {
        taken.extend(take_all(server, "others", "postgres").await);
        taken.len() == Postgres::SMALL - Postgres::RESERVED
    })
    .await;
    taken
}

#[tokio::test]
async fn a_database_without_connections_left_is_waited_for() {
    const CROWDED: &str = "has no connection left: raise its `max_connections`";
    let server = Postgres::start_small();
    let database = server.create_database();
    for role in ["portico", "others"] {
        let sql = format!("CREATE ROLE {role} LOGIN PASSWORD '{}'", Postgres::PASSWORD);
        server.sql("postgres", &sql);
    }
    server.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO portico"));
    let url = server.url(&database).replace(Postgres::USER, "portico");
    let mut pool = Pool::start(config(&url)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;

    // While it serves: what it has is taken away, and given to others before it is let in again.
    server.sql("postgres", "ALTER ROLE portico NOLOGIN");
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
        WHERE usename = 'portico'";
    server.sql("postgres", end);
    let taken = take_every_one(&server).await;
    server.sql("postgres", "ALTER ROLE portico LOGIN");
    eventually("it is said", async || pool.log().contains(CROWDED)).await;
    let join = acme.get("join", "fullName=Ada&meetingID=algebra").await;
    assert_eq!(join.status, 302, "{}", join.body);
    acme.get("getMeetingInfo", "meetingID=algebra").await.success();
    assert_eq!(acme.listed().await, ["algebra"]);
    let refused = acme.get("create", "name=A+meeting&meetingID=botany").await;
    assert!(refused.body.contains("serverUnavailable"), "{}", refused.body);
    let refused = async || refusal_names(&pool, CROWDED);
    eventually("the refusal says why", refused).await;
    assert_eq!(pool.admin("/readyz").await.status, 200);
    drop(taken);
    let creates = async || acme.get("create", "name=A+meeting&meetingID=botany").await.is_success();
    eventually("it goes on by itself", creates).await;

    pool.kill9();
    let taken = take_every_one(&server).await;
    pool.start_process();
    waits(&pool, CROWDED).await;
    eventually("it is said", async || pool.log().contains("waiting for the store: ")).await;
    drop(taken);
    serves(&pool, &acme).await;
}

#[tokio::test]
async fn a_database_whose_clock_differs_is_warned_of_and_served_with() {
    let server = Postgres::shared();
    let database = server.create_database();
    // Found before the server's own.
    let function = "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''";
    server.sql(&database, function);
    let path = format!("ALTER DATABASE {database} SET search_path = public, pg_catalog");
    server.sql("postgres", &path);
    let [one, other] = [(), ()].map(|()| Pool::start(config(&server.url(&database))));
    let (one, other) = tokio::join!(one, other);
    for pool in [&one, &other] {
        let log = pool.log();
        let said = log.lines().find(|line| line.contains("the clock of this machine is"));
        let said = said.unwrap_or_else(|| panic!("{log}"));
        assert!(said.contains(" s behind that of PostgreSQL at 127.0.0.1:"), "{said}");
        assert!(said.contains(": let NTP set both"), "{said}");
        assert!(said.contains("is 3599.9") || said.contains("is 3600.0"), "{said}");
    }
}
