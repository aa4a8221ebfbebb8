//! Commands of the machine that Portico runs on need no token; and tokens of two keys are believed while one takes
//! the place of the other.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use http::Method;
use serde_json::json;

use crate::api::Operator;
use crate::command_line_api::Shell;
use crate::harness::{Config, Pool, Tenant, eventually, portico_with, request};

fn config() -> Config {
    Config::new().tenant(Tenant::new("acme"))
}

fn socket(pool: &Pool) -> PathBuf {
    pool.dir().join("data").join("portico.sock")
}

#[tokio::test]
async fn commands_of_this_machine_need_no_token() {
    let mut pool = Pool::start(config()).await;
    eventually("there is a socket", async || socket(&pool).exists()).await;
    let known = std::fs::symlink_metadata(socket(&pool)).expect("it is there");
    assert!(known.file_type().is_socket());
    assert_eq!(known.permissions().mode() & 0o777, 0o600);
    let shell = Shell(&pool);
    assert_eq!(shell.json("node list").await[0]["name"], "node0");
    shell.out("node cordon node0").await;
    let trail = shell.json("changes").await;
    let who = trail[0]["who"].as_str().expect("somebody").to_owned();
    assert!(who.strip_prefix("local uid ").is_some_and(|uid| uid.parse::<u32>().is_ok()), "{who}");
    pool.says(&format!("by token {who}")).await;
    // Over the network there is nobody who gets in, whatever they call themselves.
    let headers = [("authorization".to_owned(), format!("Bearer {who}"))];
    let path = "/api/portico/v1/nodes";
    let refused = request(pool.admin_address(), Method::GET, "localhost", path, &headers, "").await;
    assert_eq!(refused.expect("an answer").status, 401);

    // One that nobody has taken away makes room.
    pool.kill9();
    assert!(socket(&pool).exists());
    pool.restart().await;
    eventually("commands work again", async || Shell(&pool).run("node list").await.0 == 0).await;
    pool.signal("TERM");
    pool.ended().await;
    assert!(!socket(&pool).exists());
}

#[tokio::test]
async fn after_an_upgrade_there_is_a_socket_as_before() {
    let mut pool = Pool::start(config()).await;
    eventually("there is a socket", async || socket(&pool).exists()).await;
    Shell(&pool).out("node cordon node0").await;
    pool.signal("USR2");
    assert!(pool.ended().await.success(), "{}", pool.log());
    let shell = Shell(&pool);
    eventually("the new one answers", async || shell.run("node list").await.0 == 0).await;
    assert_eq!(shell.json("node show node0").await["state"], "cordoned");
}

#[tokio::test]
async fn a_socket_is_where_it_is_wanted_or_nowhere() {
    let config = config();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let path = elsewhere.path().join("p.sock");
    let pool = Pool::start(config.set("api.socket", path.display())).await;
    eventually("there is a socket", async || path.exists()).await;
    assert!(!socket(&pool).exists());
    Shell(&pool).out("node list").await;
    let off = Pool::start(self::config().set("api.socket", false)).await;
    assert!(!socket(&off).exists());
    let refused = Shell(&off).refused("node list", 2).await;
    assert!(refused.contains("api.jwt_secret is missing"), "{refused}");
}

const OLD: &str = "the-key-before-0123456789abcdef0123456789";
const NEW: &str = "the-key-of-now-0123456789abcdef0123456789";

#[tokio::test]
async fn a_token_of_the_key_before_is_believed_until_that_is_taken_out() {
    let config = config().set("api.jwt_secret", format!("[{NEW}, {OLD}]"));
    let mut pool = Pool::start(config).await;
    let signed = |key: &str, id: &str| {
        portico::bbb::jwt::hs384(&json!({"scope": "portico:operator", "jti": id}), key)
    };
    let status = async |pool: &Pool, token: String| {
        Operator { pool, token }.call(Method::GET, "/nodes", None).await.status
    };
    let made = Shell(&pool).out("token create --scope operator").await.trim().to_owned();
    assert!(portico::bbb::jwt::verify_hs384(&made, NEW).is_some(), "the first signs");
    assert_eq!(status(&pool, made.clone()).await, 200);
    assert_eq!(status(&pool, signed(OLD, "old")).await, 200);
    assert_eq!(status(&pool, signed("another-key-0123456789abcdef0123456789", "x")).await, 401);
    let yaml = pool.config_yaml();
    assert!(yaml.contains(OLD), "{yaml}");
    pool.rewrite_config(&yaml.replace(&format!(", {OLD}"), ""));
    pool.restart().await;
    assert_eq!(status(&pool, made).await, 200);
    assert_eq!(status(&pool, signed(OLD, "old")).await, 401);
    // The environment names no file, so nothing says where the socket is.
    let nowhere = portico_with(&[], &["node", "list"]).await;
    assert_eq!(nowhere.code, 2, "{}", nowhere.stderr);
}
