//! Nodes, and what is wanted of them.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;
use tokio::time::sleep;

use super::failure::Failure;
use super::objects::{self, NODES};
use super::{Access, Api, api, output};

/// Nodes are polled less often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    #[command(flatten)]
    Common(objects::Verb),
    /// Give it no new meetings; those it has go on
    Cordon {
        /// Its name
        name: String,
    },
    /// Cordon it until it is empty, so that it can be taken away
    Drain {
        /// Its name
        name: String,
        /// Wait until it has no meetings
        #[arg(long)]
        wait: bool,
    },
    /// Give it meetings again
    Ready {
        /// Its name
        name: String,
    },
}

pub(super) async fn run(access: &Access, verb: Verb) -> Result<(), Failure> {
    let (name, state, is_awaited) = match verb {
        Verb::Common(verb) => return objects::run(access, &NODES, verb).await,
        Verb::Cordon { name } => (name, "cordoned", false),
        Verb::Drain { name, wait } => (name, "draining", wait),
        Verb::Ready { name } => (name, "ready", false),
    };
    let api = Api::new(access)?;
    let path = api::path(NODES.collection, &name);
    let mut node = api.put(&format!("{path}/state"), &json!({"state": state})).await?.body;
    if is_awaited {
        tokio::select! {
            empty = until_empty(&api, &path, &name) => empty?,
            _interrupted = tokio::signal::ctrl_c() => {
                return Err(Failure::failed(format_args!(
                    "node {name} goes on draining; `portico node ready {name}` takes that back"
                )));
            }
        }
        node = api.get(&path).await?.body;
    }
    output::list(access.output, NODES.columns, &[node])
}

/// Waits, and tells what is left whenever that changes.
async fn until_empty(api: &Api, path: &str, name: &str) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let node = api.get(path).await;
        let node = node.map_err(|failure| failure.of(format_args!("node {name} is draining")))?;
        let state = node.body["state"].as_str().unwrap_or_default();
        if state != "draining" {
            return Err(Failure::failed(format_args!(
                "node {name} is {state} by now, not draining"
            )));
        }
        let count = |key: &str| node.body["status"][key].as_u64().unwrap_or_default();
        // What was placed there right before is not among its meetings until it is polled, and may count
        // as both for a moment after.
        let left = (count("meetings").max(count("reserved")), count("attendees"));
        if told.replace(left) != Some(left) {
            let (meetings, people) = left;
            eprintln!("node {name}: meetings: {meetings}, people: {people}");
        }
        if left.0 == 0 {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}
