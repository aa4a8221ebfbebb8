//! The same pool over PostgreSQL, and what becomes of it while the database is away.

use portico::sim::Fault;

use crate::harness::{Client, Config, Pool, Postgres, Tenant, eventually, portico};

fn config(server: &Postgres, database: &str) -> Config {
    Config::new()
        .nodes(2)
        .tenant(Tenant::new("acme"))
        .set("store.kind", "postgres")
        .set("store.url", server.url(database))
}

async fn joins(client: &Client, id: &str) -> bool {
    client.get("join", &format!("fullName=Ada&meetingID={id}")).await.status == 302
}

/// What the database would bring back after a kill.
fn saved(server: &Postgres, database: &str) -> String {
    let ids = "SELECT string_agg(meeting_id, ' ' ORDER BY meeting_id) FROM meetings";
    server.sql(database, ids).trim().to_owned()
}

#[tokio::test]
async fn a_join_works_at_once_after_a_kill_between_create_and_join() {
    let server = Postgres::shared();
    let database = server.create_database();
    let config = config(server, &database).set("polling.interval", "10m").env("RUST_LOG", "trace");
    let mut pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let url = pool.node_of("algebra@acme").url();
    pool.kill9();
    for node in pool.nodes() {
        node.set_fault(Some(Fault::Refuse));
    }
    pool.restart().await;
    let reply = acme.get("join", "fullName=Ada&meetingID=algebra").await;
    assert_eq!(reply.status, 302, "{}", reply.body);
    assert!(reply.header("location").starts_with(&url));
    for hush in [Postgres::PASSWORD, pool.node(0).secret()] {
        assert!(!pool.log().contains(hush), "{}", pool.log());
    }
}

#[tokio::test]
async fn what_is_known_goes_on_while_the_database_is_away_and_the_rest_is_made_up_for() {
    let server = Postgres::start_new();
    let database = server.create_database();
    let pool = Pool::start(config(&server, &database)).await;
    let acme = pool.tenant("acme");
    for id in ["algebra", "botany", "chemistry"] {
        acme.create(id).await;
    }
    assert_eq!(saved(&server, &database), "algebra botany chemistry");

    server.stop();
    eventually("it is noticed", async || pool.log().contains("is lost")).await;
    assert!(joins(&acme, "algebra").await);
    acme.get("getMeetingInfo", "meetingID=botany").await.success();
    assert_eq!(acme.listed().await, ["algebra", "botany", "chemistry"]);
    acme.get("end", "meetingID=chemistry").await.success();
    // What runs goes on; of a new meeting nobody can know whether another instance creates it.
    acme.create("algebra").await;
    let refused = acme.get("create", "name=A+meeting&meetingID=drawing").await;
    assert!(
        refused.body.contains("<messageKey>serverUnavailable</messageKey>"),
        "{}",
        refused.body
    );
    assert!(pool.metrics().await.get("portico_creates_refused_total") > 0.5);
    pool.says("a new meeting is refused, as nobody can tell").await;
    assert!(pool.node_calls("create") == 4, "no node was asked for it");
    assert_eq!(pool.admin("/readyz").await.status, 200);
    let gone = async || acme.listed().await == ["algebra", "botany"];
    eventually("the end is seen", gone).await;

    server.start();
    let made_up = async || saved(&server, &database) == "algebra botany";
    eventually("all is as if nothing had been", made_up).await;
    acme.create("english").await;
    assert_eq!(saved(&server, &database), "algebra botany english");
}

#[tokio::test]
async fn a_start_waits_for_the_database() {
    let server = Postgres::start_new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    server.use_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    server.stop();
    server.start();
    let database = server.create_database();
    let config = config(&server, &database);
    let root = config.file("root.crt", made.cert.pem());
    let (url, root) = (server.url(&database), root.display());
    let url = format!("\"{url}?sslmode=verify-full&sslrootcert={root}\"");
    let mut pool = Pool::start(config.set("store.url", url)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    pool.kill9();
    server.stop();
    pool.start_process();
    let waits = async || {
        let ready = pool.try_admin("/readyz").await;
        ready.is_some_and(|reply| {
            reply.status == 503 && reply.body.contains("not ready: waiting for the store")
        })
    };
    eventually("it waits", waits).await;
    assert_eq!(pool.admin("/healthz").await.status, 200);
    assert!(tokio::net::TcpStream::connect(pool.address()).await.is_err());
    let said = "cannot be reached: start it, or correct host and port in `store.url`";
    eventually("the log says so", async || pool.log().contains(said)).await;

    server.start();
    let ready = async || pool.try_admin("/readyz").await.is_some_and(|reply| reply.status == 200);
    eventually("it is ready", ready).await;
    let answers = async || acme.try_get("isMeetingRunning", "meetingID=algebra").await.is_ok();
    eventually("it listens", answers).await;
    assert!(joins(&acme, "algebra").await);
    assert!(!pool.log().contains(Postgres::PASSWORD), "{}", pool.log());
}

#[tokio::test]
async fn a_start_waits_for_a_fail_over() {
    let server = Postgres::shared();
    let database = server.create_database();
    let mut pool = Pool::start(config(server, &database)).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    pool.kill9();
    // As a standby is that is about to be the primary.
    let read_only = "default_transaction_read_only";
    server.sql("postgres", &format!("ALTER DATABASE {database} SET {read_only} = on"));
    pool.start_process();
    let waits = async || {
        let ready = pool.try_admin("/readyz").await;
        ready.is_some_and(|reply| reply.status == 503 && reply.body.contains("is read-only"))
    };
    eventually("it waits", waits).await;
    server.sql("postgres", &format!("ALTER DATABASE {database} RESET {read_only}"));
    let ready = async || pool.try_admin("/readyz").await.is_some_and(|reply| reply.status == 200);
    eventually("it is ready", ready).await;
    let answers = async || acme.try_get("isMeetingRunning", "meetingID=algebra").await.is_ok();
    eventually("it listens", answers).await;
    assert!(joins(&acme, "algebra").await);
}

#[tokio::test]
async fn migrate_brings_a_store_to_its_schema_and_serve_leaves_it_alone_when_told_to() {
    let server = Postgres::shared();
    let database = server.create_database();
    let dir = Config::new();
    let data_dir = dir.dir().join("data");
    let file = |name: &str, store: &str| {
        let yaml = format!(
            "server: {{ listen: [], admin: \"127.0.0.1:0\" }}\ndata_dir: {}\nclusters: []\n\
             store: {store}\n",
            data_dir.display()
        );
        dir.file(name, yaml).to_str().expect("UTF-8").to_owned()
    };
    let url = server.url(&database);
    let place = format!("127.0.0.1:{}/{database}", server.port());
    let postgres =
        file("postgres.yaml", &format!("{{ kind: postgres, url: \"{url}\", migrate: false }}"));
    let embedded = file("embedded.yaml", "{ kind: embedded, migrate: false }");
    let path = data_dir.join("portico.db");
    for (config, place, known) in
        [(&postgres, place.as_str(), 15), (&embedded, path.to_str().expect("UTF-8"), 18)]
    {
        let refused = portico(&["serve", "-c", config]).await;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        let said = format!(
            "{place} has schema version 0, this Portico needs {known}: run `portico migrate`"
        );
        assert!(refused.stderr.contains(&said), "{}", refused.stderr);
        for (arguments, said) in [
            (
                &["--status"][..],
                format!("schema version 0 of {known}; `portico migrate` brings it to {known}"),
            ),
            (&[], format!("schema version {known}, was 0")),
            (&["--status"], format!("schema version {known}, up to date")),
            (&[], format!("schema version {known}, up to date")),
        ] {
            let done = portico(&[&["migrate", "-c", config], arguments].concat()).await;
            assert_eq!(
                (done.code, done.stdout),
                (0, format!("{place}: {said}\n")),
                "{}",
                done.stderr
            );
        }
    }
    server.sql(&database, "INSERT INTO portico_migrations VALUES (99, 'later', now()::text, '1')");
    for command in [&["serve", "-c", &postgres][..], &["migrate", "-c", &postgres]] {
        let refused = portico(command).await;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(
            refused
                .stderr
                .contains("schema version 99, this Portico knows up to 15: start the newer")
        );
    }
}

#[tokio::test]
async fn a_wrong_setting_is_named_and_its_password_is_not() {
    let server = Postgres::shared();
    let (user, port) = (Postgres::USER, server.port());
    let dir = Config::new();
    for (command, rest, code, expected) in [
        (
            "check",
            "h/d?sslmode=always",
            2,
            "portico.yaml:4: store.url: sslmode=always is not one of disable, allow",
        ),
        (
            "serve",
            "h/d?sslcert=x",
            2,
            "portico.yaml:4: store.url: is no URL of a database: unknown option `sslcert`",
        ),
        ("check", "127.0.0.1:PORT/postgres", 0, "was not checked, as the store cannot be read: "),
        ("serve", "127.0.0.1:PORT/postgres", 1, "correct user and password in `store.url`"),
        ("migrate", "127.0.0.1:PORT/postgres", 1, "correct user and password in `store.url`"),
        ("migrate", "127.0.0.1:1/postgres", 1, "correct host and port in `store.url`"),
    ] {
        let rest = rest.replace("PORT", &port.to_string());
        let url = format!("postgres://{user}:wrong-hush@{rest}");
        let yaml = format!(
            "server: {{ listen: [], admin: \"127.0.0.1:0\" }}\ndata_dir: {}\nclusters: []\n\
             store: {{ kind: postgres, url: \"{url}\" }}\n",
            dir.dir().join("data").display()
        );
        let path = dir.file("portico.yaml", yaml);
        let done = portico(&[command, "-c", path.to_str().expect("UTF-8")]).await;
        assert_eq!(done.code, code, "{url}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{url}: {}", done.stderr);
        assert!(!done.stderr.contains("hush"), "{}", done.stderr);
    }
}
