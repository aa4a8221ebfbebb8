//! API clients that others wrote drive a pool, and notice nothing.

mod schemathesis;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Config, Pool, Tenant};

/// Interpreters start slowly on a busy machine, and each script makes dozens of calls.
const WHOLE_RUN: Duration = Duration::from_mins(2);

#[tokio::test]
async fn bigbluebutton_api_python_is_content() {
    run(&python(), "bigbluebutton_api_python_client.py").await;
}

#[tokio::test]
async fn bigbluebutton2_and_its_bbb_cli_are_content() {
    run(&python(), "bigbluebutton2_client.py").await;
}

#[tokio::test]
async fn bigbluebutton_js_is_content() {
    let prepared = root().join("target/clients/node/.ready");
    assert!(prepared.exists(), "{} is missing: run `make test`", prepared.display());
    run(Path::new("node"), "bigbluebutton_js_client.mjs").await;
}

/// Runs a script against every form of base URL that front ends are configured with.
async fn run(interpreter: &Path, script: &str) {
    let pool =
        Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme").set("default", true))).await;
    let address = pool.address();
    let secret = pool.tenant("acme").secret;
    for (index, base) in [
        "/bigbluebutton/api",
        "/bigbluebutton/api/",
        "/bbb/acme/bigbluebutton/api",
        "/bbb/acme/bigbluebutton/api/",
    ]
    .into_iter()
    .enumerate()
    {
        let output = Command::new(interpreter)
            .arg(root().join("tests/clients").join(script))
            .args([&format!("http://{address}{base}"), &secret, &format!("Kurs {index}")])
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(WHOLE_RUN, output).await.expect("it ends").expect("it starts");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{script} with {base}:\n{}\n{}\n{}",
            text(&output.stdout),
            text(&output.stderr),
            pool.log()
        );
    }
}

fn python() -> PathBuf {
    let python = root().join("target/clients/venv/bin/python");
    let prepared = root().join("target/clients/venv/.ready");
    assert!(prepared.exists(), "{} is missing: run `make test`", prepared.display());
    python
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
