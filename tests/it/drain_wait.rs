//! Whoever waits for a node to become empty waits for hours, and Portico may be restarted meanwhile.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::command_line_api::{Shell, config};
use crate::harness::Pool;

#[tokio::test]
async fn a_wait_for_an_empty_node_goes_on_over_a_restart() {
    let mut pool = Pool::start(config()).await;
    let create = "name=Algebra&meetingID=algebra&moderatorPW=mp";
    pool.tenant("acme").get("create", create).await.success();
    let shell = Shell(&pool);
    let busy = if pool.node(0).meetings().is_empty() { "node1" } else { "node0" };
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["node", "drain", busy, "--wait", "-c", shell.file()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut hears = async || said.next_line().await.expect("text").expect("a line");
    assert_eq!(hears().await, format!("node {busy}: meetings: 1, people: 0"));
    pool.kill9();
    let away = format!("node {busy} is draining, and Portico does not answer: trying again");
    assert_eq!(hears().await, away);
    pool.restart().await;
    assert_eq!(hears().await, "Portico answers again");
    pool.tenant("acme").get("end", "meetingID=algebra&password=mp").await.success();
    assert_eq!(hears().await, format!("node {busy}: meetings: 0, people: 0"));
    let done = child.wait_with_output().await.expect("an end");
    assert_eq!(done.status.code(), Some(0));
    let table = String::from_utf8(done.stdout).expect("UTF-8");
    assert!(table.contains(&format!("{busy}  main     draining  ")), "{table}");
}
