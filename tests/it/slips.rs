//! What operators get wrong in files: told at once, all of it, and no more than a start would say.

use std::net::TcpListener;

use http::Method;
use serde_json::json;
use tokio::time::{Duration, Instant};

use crate::api::{Operator, config};
use crate::command_line_api::Shell;
use crate::harness::{Config, Plan, Pool, eventually, portico};

#[tokio::test]
async fn all_secrets_that_are_to_be_filled_in_are_told_at_once() {
    let pool = Pool::start(config()).await;
    let shell = Shell(&pool);
    let path = pool.config_path().with_file_name("inventory.yaml");
    let text = "
clusters:
  - name: west
    nodes:
      - { name: one, url: http://one.example/bigbluebutton/api, secret: { fill_in: kept } }
      - { name: two, url: http://two.example/bigbluebutton/api, secret: { fill_in: kept } }
tenants:
  - slug: beta
    cluster_group: default
    secrets: [{ sub_id: 0, secret: { fill_in: kept } }, { sub_id: 1, secret: { fill_in: kept } }]
  - { slug: odd, cluster_group: default, limits: { meetings: -1 } }
";
    std::fs::write(&path, text).expect("a file");
    for line in [format!("apply {}", path.display()), format!("apply {} --dry-run", path.display())]
    {
        let (code, stdout, stderr) = shell.run(&line).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        for said in [
            "node one: secret: is still to be filled in",
            "node two: secret: is still to be filled in",
            "tenant beta: secrets[0].secret: is still to be filled in",
            "tenant beta: secrets[1].secret: is still to be filled in",
            "tenant odd: limits.meetings: ",
        ] {
            assert!(stderr.lines().any(|line| line.starts_with(said)), "{said}: {stderr}");
        }
    }
    assert_eq!(shell.json("changes").await, json!([]));
}

#[tokio::test]
async fn a_file_that_a_start_leaves_aside_passes_the_check() {
    let config = config().set("store.key", "the-key-of-all-instances-0123456789");
    let mut cluster = Plan::new(config, 1).without_redis().start().await;
    let pool = cluster.instance(0);
    let newer = pool.config_yaml();
    let gamma = "tenants:\n  - slug: gamma\n    cluster_group: default\n    domains: [beta.example]\n    \
                 secrets: [{ sub_id: 0, secret: another-secret-0123456789abcdefghijklmnopqrst }]\n";
    let older = newer.replace("tenants:\n", gamma);
    pool.reload(&older).await;
    pool.reload(&newer).await;
    let admin = Operator::of(pool, "admin").await;
    let beta = json!({"slug": "beta", "cluster_group": "default", "domains": ["beta.example"]});
    eventually("nobody has the domain", async || {
        admin.call(Method::POST, "/tenants", Some(beta.clone())).await.status == 201
    })
    .await;
    let path = pool.config_path().display().to_string();
    pool.rewrite_config(&older);
    let passed = portico(&["check", "-c", &path]).await;
    assert_eq!(passed.code, 0, "{}", passed.stderr);
    let said = "warning: this file is older than what is in force (applied by ";
    assert!(passed.stderr.starts_with(said), "{}", passed.stderr);
    let refused = "warning: SIGHUP would refuse it: ";
    assert!(passed.stderr.contains(refused), "{}", passed.stderr);
    assert!(passed.stderr.contains("tenant beta: domains: "), "{}", passed.stderr);

    // A start and an upgrade serve what is in force.
    cluster.instance_mut(0).restart().await;
    assert!(cluster.instance(0).log().contains("this file is older than what is in force"));
    let passed = portico(&["check", "-c", &path]).await;
    assert_eq!((passed.code, passed.stderr.lines().count()), (0, 1), "{}", passed.stderr);
    assert!(passed.stderr.starts_with(said), "{}", passed.stderr);
    // One that is neither is compared as ever.
    let pool = cluster.instance(0);
    pool.rewrite_config(&older.replace("slug: gamma", "slug: delta"));
    let refused = portico(&["check", "-c", &path]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}

#[tokio::test]
async fn a_check_does_not_wait_for_a_store_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let dir = Config::new();
    let yaml = format!(
        "server: {{ listen: [], admin: \"127.0.0.1:0\" }}\ndata_dir: {}\nclusters: []\n\
         store: {{ kind: postgres, url: \"postgres://u:hush@127.0.0.1:{port}/d\" }}\n",
        dir.dir().join("data").display()
    );
    let path = dir.file("portico.yaml", yaml);
    let begun = Instant::now();
    let passed = portico(&["check", "-c", path.to_str().expect("UTF-8")]).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(passed.code, 0, "{}", passed.stderr);
    let said = format!("127.0.0.1:{port}/d does not answer within 4 s");
    assert!(passed.stderr.contains(&said), "{}", passed.stderr);
}
