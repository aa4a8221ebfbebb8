//! Schemathesis reads the description of the REST API, and looks for a call that is not answered as it says.

use std::process::Stdio;
use std::time::Duration;

use portico::bbb::jwt;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::{python, root};
use crate::api::KEY;
use crate::harness::{Config, Pool, Tenant};

/// Two thousand calls, of which few take more than a millisecond, by an interpreter.
const WHOLE_RUN: Duration = Duration::from_mins(5);
/// Calls of each route that are made up beside those at the edges of what is described.
const EXAMPLES: &str = "5";

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let config = Config::new().nodes(2).set("api.jwt_secret", KEY).tenant(Tenant::new("acme"));
    let pool = Pool::start(config).await;
    // By this id `hooks.py` knows the token that must not be revoked.
    let claims = json!({"scope": "portico:admin", "jti": "schemathesis", "sub": "tests"});
    let authorization = format!("Authorization: Bearer {}", jwt::hs384(&claims, KEY));
    let own = root().join("tests/clients/schemathesis");
    let description = format!("http://{}/api/portico/v1/openapi.json", pool.admin_address());
    let output = Command::new(python().with_file_name("st"))
        .args(["--config-file".as_ref(), own.join("schemathesis.toml").as_os_str()])
        .args(["run", &description, "--header", &authorization, "--header", "Connection: close"])
        .args(["--checks", "all", "--max-examples", EXAMPLES, "--generation-deterministic"])
        .args(["--continue-on-failure", "--suppress-health-check", "all", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &own)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .current_dir(pool.dir())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(WHOLE_RUN, output).await.expect("it ends").expect("it starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (told, wrong) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}\n{wrong}\n{}", pool.log());
    // Nothing was left out.
    let tested = told.lines().find_map(|line| line.trim().strip_prefix("Tested: "));
    let selected = told.lines().find_map(|line| line.trim().strip_prefix("Selected: "));
    let (tested, selected) = (tested.expect("a sum"), selected.expect("a sum"));
    assert_eq!(selected, format!("{tested}/{tested}"), "{told}");
}
