//! What one instance reads from its file is in force on all that share its store.

use portico::sim;

use crate::edit;
use crate::harness::{Client, Config, Pool, Postgres, Tenant, eventually, portico};

/// For a `store.key` that is lost.
const REMEDY: &str = "DELETE FROM inventory; DELETE FROM inventory_revisions;";
const NEW_KEY: &str = "the-new-key-of-all-instances-0123456";
const SECRET: &str = "a secret that is not in the first file";

/// Two instances in front of one node.
async fn two(server: &Postgres, database: &str, change: fn(Config) -> Config) -> (Pool, Pool) {
    let config = || {
        let config = Config::new()
            .set("store.kind", "postgres")
            .set("store.url", server.url(database))
            .tenant(Tenant::new("acme"));
        change(config)
    };
    let one = Pool::start(config()).await;
    // Its own node is not in its file.
    let url = one.node(0).url();
    let two = Pool::start(config().node(0, "url", url)).await;
    (one, two)
}

fn client(pool: &Pool, tenant: &str, secret: &str) -> Client {
    Client {
        base: format!("/bbb/{tenant}/bigbluebutton/api"),
        secret: secret.to_owned(),
        ..pool.tenant("acme")
    }
}

async fn is_served(pool: &Pool, tenant: &str) -> bool {
    client(pool, tenant, SECRET).get("getMeetings", "").await.is_success()
}

fn reload(pool: &Pool, yaml: &str) {
    pool.rewrite_config(yaml);
    pool.signal("HUP");
}

#[tokio::test]
async fn a_tenant_that_one_reads_answers_on_the_other_within_a_second() {
    let server = Postgres::shared();
    let database = server.create_database();
    let (one, mut two) = two(server, &database, |config| config).await;
    let older = two.config_yaml();
    assert!(!is_served(&two, "beta").await);

    reload(&one, &edit::with_tenant(&one.config_yaml(), "beta", SECRET));
    eventually("it is read", async || is_served(&one, "beta").await).await;
    let begun = tokio::time::Instant::now();
    eventually("it answers on the other", async || is_served(&two, "beta").await).await;
    let took = begun.elapsed();
    assert!(took.as_millis() < 1000, "{took:?}");
    client(&two, "beta", SECRET).create("algebra").await;
    eventually("it says so", async || two.log().contains("has applied them, revision")).await;

    // Its file is older than that now, and nobody takes the tenant away by a restart.
    two.signal("TERM");
    assert!(two.ended().await.success());
    two.restart().await;
    assert!(is_served(&two, "beta").await);
    assert_eq!(client(&two, "beta", SECRET).listed().await, ["algebra"]);
    let warning = "this file is older than what is in force (applied by ";
    two.says(warning).await;
    assert!(!two.log().contains(SECRET) && !one.log().contains(SECRET));

    // Nor by a signal, as renewing a certificate sends, while nobody has touched the file.
    two.signal("HUP");
    eventually("it is said", async || two.log().matches(warning).count() == 2).await;
    let read = "configuration read again; its clusters, nodes and tenants are not in force";
    eventually("nothing else is claimed", async || two.log().contains(read)).await;
    assert!(is_served(&one, "beta").await && is_served(&two, "beta").await);

    // Once it is changed it counts; the tenant's meeting runs, so it is served until that ends.
    client(&two, "beta", SECRET).get("end", "meetingID=algebra").await.success();
    eventually("it is over", async || {
        client(&one, "beta", SECRET).listed().await.is_empty()
            && client(&two, "beta", SECRET).listed().await.is_empty()
    })
    .await;
    reload(&two, &format!("{older}# This one.\n"));
    for pool in [&one, &two] {
        eventually("it is gone", async || !is_served(pool, "beta").await).await;
    }
    // A file that was never applied counts at a start.
    two.rewrite_config(&edit::with_tenant(&older, "gamma", SECRET));
    two.restart().await;
    for pool in [&one, &two] {
        eventually("it is there", async || is_served(pool, "gamma").await).await;
    }
}

#[tokio::test]
async fn a_node_that_goes_from_one_file_is_retired_everywhere_while_meetings_run() {
    let server = Postgres::shared();
    let database = server.create_database();
    let (one, two) = two(server, &database, |config| config).await;
    let acme = two.tenant("acme");
    acme.create("algebra").await;
    let added = sim::Node::start(sim::Settings::default()).await.expect("a node");
    let yaml = edit::with_node(&one.config_yaml(), "added", &added.url(), added.secret());
    reload(&one, &edit::without_node(&yaml, "node0"));
    eventually("it is retired on the other", async || {
        let log = two.log();
        log.contains("node node0 is retired: it stays until its meetings end")
    })
    .await;
    assert_eq!(acme.listed().await, ["algebra"]);
    // It is told as retired a moment before it gets no more meetings.
    let mut attempt = 0;
    eventually("the new one gets meetings", async || {
        attempt += 1;
        let id = format!("meetingID=botany{attempt}");
        if acme.get("create", &format!("{id}&name=Botany")).await.is_success()
            && added.meetings().is_empty()
        {
            acme.get("end", &id).await.success();
        }
        !added.meetings().is_empty()
    })
    .await;
    assert_eq!(added.meetings().len(), 1);
    acme.get("end", "meetingID=algebra").await.success();
    eventually("it is gone", async || two.log().contains("node node0 is retired and empty: gone"))
        .await;
    added.stop().await;
}

#[tokio::test]
async fn a_look_that_one_reads_from_a_file_is_shown_by_the_other() {
    let server = Postgres::shared();
    let database = server.create_database();
    let (one, two) = two(server, &database, |config| config).await;
    let css = one.dir().join("acme.css");
    std::fs::write(&css, "body { color: green }").expect("a file");
    let branding = format!("    branding: {{ css: {} }}\n    secrets:\n", css.display());
    reload(&one, &one.config_yaml().replacen("    secrets:\n", &branding, 1));
    let shown = async |pool: &Pool| {
        let path = "/b3lb/t/acme/css";
        let reply = pool.tenant("acme").send(http::Method::GET, path, &[], "").await;
        reply.status == 200 && reply.body.contains("green")
    };
    eventually("it is shown", async || shown(&one).await).await;
    eventually("the other shows it", async || shown(&two).await).await;
}

#[tokio::test]
async fn a_start_with_another_key_is_refused_before_it_seals_anything() {
    let server = Postgres::shared();
    let database = server.create_database();
    let config = Config::new()
        .set("store.kind", "postgres")
        .set("store.url", server.url(&database))
        .set("store.key", "the-key-of-all-instances-0123456789")
        .tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    let in_force = || server.sql(&database, "SELECT * FROM inventory ORDER BY position");
    let before = in_force();
    let yaml = pool.config_yaml();
    for (key, why) in [
        ("  key: a-mistyped-key-0123456789-0123456789", "another key than `store.key`"),
        ("", "is sealed, and `store.key` is missing"),
    ] {
        let line = yaml.lines().find(|line| line.contains("the-key-of-all")).expect("it is there");
        let other = yaml.replace(line, key).replace("admin: ", "admin: 127.0.0.1:0 # ");
        let other = other
            .replace("data_dir: ", "data_dir: other-data # ")
            .replace("listen: [", "listen: [] # [");
        let path = pool.dir().join("other.yaml");
        std::fs::write(&path, other).expect("a file");
        let refused = portico(&["serve", "-c", path.to_str().expect("UTF-8")]).await;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        for said in [why, "all instances need the same `store.key`", REMEDY] {
            assert!(refused.stderr.contains(said), "{}", refused.stderr);
        }
    }
    assert_eq!(in_force(), before);

    // The way out that it names leads to a start, and says once what it cannot read.
    let mut pool = pool;
    pool.kill9();
    server.sql(&database, REMEDY);
    let mistyped = yaml.replace("the-key-of-all-instances-0123456789", NEW_KEY);
    pool.rewrite_config(&mistyped);
    pool.restart().await;
    let said = "left out what cannot be understood: 1 saved row, the first: ";
    eventually("it is said", async || pool.log().contains(said)).await;
    assert_eq!(pool.log().matches("cannot be understood").count(), 1, "{}", pool.log());
    pool.tenant("acme").create("algebra").await;
}

#[tokio::test]
async fn what_a_restored_database_says_is_in_force_again() {
    let server = Postgres::shared();
    let database = server.create_database();
    let (one, two) = two(server, &database, |config| config).await;
    reload(&one, &edit::with_tenant(&one.config_yaml(), "beta", SECRET));
    eventually("it is there", async || is_served(&two, "beta").await).await;
    let backup =
        "CREATE TABLE old AS TABLE inventory; CREATE TABLE olds AS TABLE inventory_revisions";
    server.sql(&database, backup);
    reload(&one, &edit::with_tenant(&one.config_yaml(), "gamma", SECRET));
    eventually("it is there", async || is_served(&two, "gamma").await).await;
    let restore = "DELETE FROM inventory; DELETE FROM inventory_revisions;
        INSERT INTO inventory SELECT * FROM old;
        INSERT INTO inventory_revisions OVERRIDING SYSTEM VALUE SELECT * FROM olds;
        NOTIFY portico_inventory";
    server.sql(&database, restore);
    for pool in [&one, &two] {
        eventually("it is as it was", async || !is_served(pool, "gamma").await).await;
        assert!(is_served(pool, "beta").await);
    }
}

#[tokio::test]
async fn an_embedded_store_whose_secrets_another_key_hides_is_left_as_it_is() {
    let config = Config::new()
        .nodes(2)
        .set("store.kind", "embedded")
        .set("store.key", "the-key-of-this-machine-0123456789abc")
        .tenant(Tenant::new("acme"));
    let mut pool = Pool::start(config).await;
    let acme = pool.tenant("acme");
    acme.create("algebra").await;
    let (name, url) = {
        let node = pool.node_of("algebra@acme");
        (node.name().to_owned(), node.url())
    };
    pool.kill9();
    // Only the store knows the node from here on.
    let yaml = edit::without_node(&pool.config_yaml(), &name);
    let line = yaml.lines().find(|line| line.contains("the-key-of-this")).expect("it is there");
    for (key, why) in [
        ("  key: a-mistyped-key-0123456789-0123456789", "were sealed with another key"),
        ("", "are sealed, and it is missing"),
    ] {
        let path = pool.dir().join("other.yaml");
        std::fs::write(&path, yaml.replace(line, key)).expect("a file");
        let refused = portico(&["serve", "-c", path.to_str().expect("UTF-8")]).await;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        let said = format!(
            "store.key: the secrets of nodes that are not in the file ({name}) {why}; they have 1 running \
             meeting: put the former key back"
        );
        assert!(refused.stderr.contains(&said), "{}", refused.stderr);
        assert!(!refused.stderr.contains("-0123456789"), "{}", refused.stderr);
    }
    pool.rewrite_config(&yaml);
    pool.restart().await;
    let join = acme.get("join", "fullName=Ada&meetingID=algebra").await;
    assert_eq!(join.status, 302, "{}", join.body);
    assert!(join.header("location").starts_with(&url));
}
