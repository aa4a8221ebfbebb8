//! Backup and restore, by the commands of `docs/operations.md`.

use std::path::Path;
use std::process::Command;

use portico::sim::Fault;

use crate::harness::{Client, Config, Pool, Postgres, Tenant, eventually};

fn config() -> Config {
    Config::new().nodes(2).tenant(Tenant::new("acme"))
}

async fn joins(client: &Client, id: &str) -> bool {
    client.get("join", &format!("fullName=Ada&meetingID={id}")).await.status == 302
}

/// A store that is lost after a backup: what was in the backup is there at once, and what came later is
/// found on the nodes.
async fn survives(config: Config, backup: impl Fn(&Path), restore: impl Fn(&Path)) {
    let mut pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let data_dir = pool.dir().join("data");
    backup(&data_dir);
    acme.create("botany").await;
    pool.kill9();
    for node in pool.nodes() {
        node.set_fault(Some(Fault::Refuse));
    }
    restore(&data_dir);
    pool.restart().await;
    assert!(joins(&acme, "algebra").await);
    assert!(!joins(&acme, "botany").await);
    for node in pool.nodes() {
        node.set_fault(None);
    }
    eventually("the rest is found", async || joins(&acme, "botany").await).await;
    let create = "name=A+meeting&meetingID=chemistry";
    eventually("nodes take more", async || acme.get("create", create).await.is_success()).await;
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_backup_of_the_embedded_store_can_be_restored() {
    let dir = tempfile::tempdir().expect("a directory");
    let copy = dir.path().join("portico-backup.db");
    let copy = copy.to_str().expect("UTF-8");
    survives(
        config(),
        |data_dir| {
            let db = data_dir.join("portico.db");
            run("sqlite3", &[db.to_str().expect("UTF-8"), &format!(".backup '{copy}'")]);
        },
        |data_dir| {
            std::fs::remove_dir_all(data_dir).expect("it was there");
            std::fs::create_dir(data_dir).expect("its parent is there");
            let db = data_dir.join("portico.db");
            run("install", &["-m", "600", copy, db.to_str().expect("UTF-8")]);
        },
    )
    .await;
}

#[tokio::test]
async fn a_backup_of_postgresql_can_be_restored() {
    let server = Postgres::shared();
    let database = server.create_database();
    // An ordinary role that owns its database, as Portico should have.
    let role = format!("portico_{database}");
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD '{}'", Postgres::PASSWORD);
    server.sql("postgres", &sql);
    server.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO {role}"));
    let url = server.url(&database).replace(Postgres::USER, &role);
    let copy = server.file(&format!("{database}.dump"));
    let copy = copy.to_str().expect("UTF-8");
    survives(
        config().set("store.kind", "postgres").set("store.url", &url),
        |_data_dir| {
            server.tool("pg_dump", &["--format=custom", "--file", copy, &database]);
        },
        |_data_dir| {
            server.tool("dropdb", &["--force", &database]);
            let new =
                ["--owner", &role, "--encoding", "UTF8", "--template", "template0", &database];
            server.tool("createdb", &new);
            let into = ["--exit-on-error", "--no-owner", "--role", &role, "--dbname", &database];
            server.tool("pg_restore", &[&into[..], &[copy]].concat());
        },
    )
    .await;
}
