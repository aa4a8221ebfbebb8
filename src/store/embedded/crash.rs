//! `kill -9` loses nothing that was acknowledged.
//!
//! The test runs this same test binary again as a child which puts meetings and prints each id
//! once it is acknowledged, kills it in the middle, and looks for what was printed.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::Embedded;
use crate::store::{Store, contract};

/// Where the child finds its directory; set only for the child.
const DIRECTORY: &str = "PORTICO_TEST_CRASH_DIRECTORY";

/// As many as fill several transactions and force at least one checkpoint of the log.
const ENOUGH: usize = 3000;

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => put_until_killed(Path::new(&directory)),
        None => kill_a_child_and_look(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn put_until_killed(directory: &Path) {
    let store = Arc::new(Embedded::open(directory).unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32 {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0.. {
                let id = format!("{writer}-{number}");
                store.put_meeting(&contract::meeting("acme", &id, "sha1-1")).await.unwrap();
                writeln!(io::stdout(), "kept {id}").unwrap();
            }
        });
    }
    writers.join_all().await;
}

fn kill_a_child_and_look() {
    let directory = tempfile::tempdir().unwrap();
    let name = std::thread::current().name().expect("a test's thread has its name").to_owned();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(DIRECTORY, OsString::from(directory.path()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = HashSet::new();
    for line in lines {
        // What the harness says of itself stands between. The last line may be cut.
        let Ok(line) = line else { break };
        if let Some(id) = line.strip_prefix("kept ") {
            acknowledged.insert(id.to_owned());
        }
        if acknowledged.len() == ENOUGH {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "the child has been killed");
    assert!(acknowledged.len() >= ENOUGH, "{} acknowledged", acknowledged.len());

    let store = Embedded::open(directory.path()).unwrap();
    let saved = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(store.load())
        .unwrap();
    assert_eq!(saved.skipped, 0);
    let found: HashSet<_> = saved.meetings.into_iter().map(|meeting| meeting.key.id).collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
}
