//! A store whose disk is full: what runs goes on, what cannot be kept is refused or said, and all is as before
//! when there is room again.

use std::path::Path;

use rusqlite::Connection;

use crate::harness::{Client, Cluster, Config, Plan, Pool, Tenant, eventually};
use crate::several::goes_on;

/// What the log says of PostgreSQL.
const NO_SPACE: &str = "has no space left: make room on its disk";

fn config() -> Config {
    Config::new().nodes(2).tenant(Tenant::new("acme"))
}

async fn joins(client: &Client, id: &str) -> bool {
    client.get("join", &format!("fullName=Ada&meetingID={id}")).await.status == 302
}

/// Waits for a line of the log with all of these in it.
async fn says(pool: &Pool, parts: &[&str]) {
    let is_it = |line: &str| parts.iter().all(|part| line.contains(part));
    eventually("it is said", async || pool.log().lines().any(is_it)).await;
}

/// Has these tables of a cluster's database refuse all that takes room, as a full disk does; what shrinks them goes
/// on, as there.
fn fill(cluster: &Cluster, tables: &[&str]) {
    let function = "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$";
    cluster.postgres().sql(cluster.database(), function);
    for table in tables {
        let trigger = format!(
            "CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON {table}
                FOR EACH ROW EXECUTE FUNCTION no_room()"
        );
        cluster.postgres().sql(cluster.database(), &trigger);
    }
}

fn make_room(cluster: &Cluster) {
    cluster.postgres().sql(cluster.database(), "DROP FUNCTION no_room CASCADE");
}

/// The tables that a Portico that serves writes to.
const ALL: [&str; 7] =
    ["meetings", "claims", "callbacks", "deliveries", "counters", "nodes", "outbox_lines"];

fn saved(cluster: &Cluster) -> String {
    let ids = "SELECT string_agg(meeting_id, ' ' ORDER BY meeting_id) FROM meetings";
    cluster.postgres().sql(cluster.database(), ids).trim().to_owned()
}

#[tokio::test]
async fn a_full_disk_of_postgresql_refuses_new_meetings_and_nothing_else() {
    let cluster = Plan::new(config(), 2).without_redis().start().await;
    let [one, other] = [0, 1].map(|number| cluster.instance(number).tenant("acme"));
    one.create("algebra").await;
    one.create("chemistry").await;
    assert!(joins(&other, "algebra").await && joins(&other, "chemistry").await);
    fill(&cluster, &ALL);
    goes_on(&cluster, "botany").await;
    let refused = "a new meeting is refused, as nobody can tell: PostgreSQL at ";
    says(cluster.instance(0), &[refused, NO_SPACE]).await;
    other.get("end", "meetingID=chemistry").await.success();
    eventually("the end is seen", async || other.listed().await == ["algebra"]).await;
    for pool in cluster.instances() {
        assert_eq!(pool.admin("/readyz").await.status, 200);
    }
    make_room(&cluster);
    let creates = async || {
        let reply = one.get("create", "name=A+meeting&meetingID=botany").await;
        reply.is_success()
    };
    eventually("it is as before", creates).await;
    eventually("the end is saved", async || saved(&cluster) == "algebra botany").await;
}

#[tokio::test]
async fn a_start_waits_for_room() {
    let mut cluster = Plan::new(config(), 1).without_redis().start().await;
    let acme = cluster.instance(0).tenant("acme");
    acme.create("algebra").await;
    cluster.instance_mut(0).kill9();
    fill(&cluster, &ALL);
    cluster.instance_mut(0).start_process();
    let pool = cluster.instance(0);
    let waits = async || {
        let ready = pool.try_admin("/readyz").await;
        ready.is_some_and(|reply| reply.status == 503 && reply.body.contains(NO_SPACE))
    };
    eventually("it waits", waits).await;
    says(pool, &["waiting for the store: ", NO_SPACE]).await;
    make_room(&cluster);
    let ready = async || pool.try_admin("/readyz").await.is_some_and(|reply| reply.status == 200);
    eventually("it is ready", ready).await;
    let answers = async || acme.try_get("isMeetingRunning", "meetingID=algebra").await.is_ok();
    eventually("it listens", answers).await;
    assert!(joins(&acme, "algebra").await);
}

#[tokio::test]
async fn a_meeting_that_a_full_disk_does_not_take_is_saved_when_there_is_room() {
    let cluster = Plan::new(config(), 2).without_redis().start().await;
    let [one, other] = [0, 1].map(|number| cluster.instance(number).tenant("acme"));
    // The claim and the callbacks still had a place.
    fill(&cluster, &["meetings"]);
    one.create("algebra").await;
    assert!(joins(&one, "algebra").await);
    says(cluster.instance(0), &["is not saved yet: ", NO_SPACE]).await;
    assert!(cluster.instance(0).metrics().await.get("portico_store_failures_total") > 0.5);
    make_room(&cluster);
    eventually("it is saved", async || saved(&cluster) == "algebra").await;

    fill(&cluster, &["callbacks"]);
    let reply = one.get("create", "name=A+meeting&meetingID=botany").await;
    assert!(reply.body.contains("serverUnavailable"), "{}", reply.body);
    let refused = "a new meeting is refused, as its callbacks are not saved: PostgreSQL at ";
    says(cluster.instance(0), &[refused, NO_SPACE]).await;
    make_room(&cluster);
    other.create("algebra").await;
    assert_eq!(cluster.node_calls("create"), 2, "it was asked for where it runs");
    assert!(joins(&other, "algebra").await);
}

/// The embedded store, by a connection of our own.
struct Database(Connection);

impl Database {
    fn of(pool: &Pool) -> Self {
        Self(Connection::open(Self::path(&pool.dir().join("data"))).expect("it is there"))
    }

    fn path(data_dir: &Path) -> std::path::PathBuf {
        data_dir.join("portico.db")
    }

    /// Has writes fail as on a full disk: `SQLite` says the same of a table that has no number left for a row.
    fn fill(&self) {
        let table = "CREATE TABLE no_room (number INTEGER PRIMARY KEY AUTOINCREMENT)";
        self.0.execute_batch(table).expect("it has room");
        self.fill_again();
        for table in ["meetings", "callbacks", "deliveries", "counters", "nodes"] {
            for what in ["INSERT", "UPDATE"] {
                let trigger = format!(
                    "CREATE TRIGGER no_room_{what}_{table} BEFORE {what} ON {table}
                        BEGIN INSERT INTO no_room VALUES (NULL); END;"
                );
                self.0.execute_batch(&trigger).expect("it has room");
            }
        }
    }

    fn fill_again(&self) {
        self.0
            .execute_batch("INSERT INTO no_room VALUES (9223372036854775807)")
            .expect("it has room");
    }

    fn make_room(&self) {
        self.0.execute_batch("DELETE FROM no_room; DELETE FROM sqlite_sequence").expect("it goes");
    }

    fn saved(&self) -> Vec<String> {
        let sql = "SELECT meeting_id FROM meetings ORDER BY meeting_id";
        let mut ids = self.0.prepare(sql).expect("a table");
        let ids = ids.query_map([], |row| row.get(0)).expect("a query");
        ids.collect::<Result<_, _>>().expect("texts")
    }
}

#[tokio::test]
async fn a_full_disk_of_the_embedded_store_stops_nobody() {
    let mut pool = Pool::start(config()).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    acme.create("botany").await;
    let database = Database::of(&pool);
    database.fill();
    // A node remembers whose meeting it is.
    let front = "meta_endCallbackUrl=https%3A%2F%2Ffront.example.org%2Fend";
    let create = format!("name=A+meeting&meetingID=chemistry&{front}");
    acme.get("create", &create).await.success();
    let metrics = pool.metrics().await;
    assert!(metrics.get("portico_store_up") < 0.5);
    let dropped = "portico_callbacks_dropped_total{kind=\"end\",reason=\"store\"}";
    assert!((metrics.get(dropped) - 1.0).abs() < 0.5);
    for id in ["algebra", "botany", "chemistry"] {
        assert!(joins(&acme, id).await, "{id}");
        acme.get("getMeetingInfo", &format!("meetingID={id}")).await.success();
    }
    acme.create("algebra").await;
    acme.get("end", "meetingID=botany").await.success();
    eventually("the end is seen", async || acme.listed().await == ["algebra", "chemistry"]).await;
    let full = "portico.db: the disk or the quota is full, make room";
    says(&pool, &["is not saved yet: cannot write to ", full]).await;
    assert!(pool.metrics().await.get("portico_store_failures_total") > 0.5);
    assert_eq!(pool.admin("/readyz").await.status, 200);
    database.make_room();
    let all = async || database.saved() == ["algebra", "chemistry"];
    eventually("all is saved", all).await;
    assert!(pool.metrics().await.get("portico_store_up") > 0.5);

    // A start waits for room.
    pool.kill9();
    database.fill_again();
    pool.start_process();
    let waits = async || {
        let ready = pool.try_admin("/readyz").await;
        ready.is_some_and(|reply| reply.status == 503 && reply.body.contains("full, make room"))
    };
    eventually("it waits", waits).await;
    database.make_room();
    let join = "fullName=Ada&meetingID=chemistry";
    let joins = async || acme.try_get("join", join).await.is_ok_and(|reply| reply.status == 302);
    eventually("it serves what there was", joins).await;
}
