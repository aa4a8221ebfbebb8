//! Nodes, and what is wanted of them.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::failure::Failure;
use super::objects::{self, Fields, NODES};
use super::output::{Column, Format};
use super::question::confirm;
use super::{Access, Api, api, output, words};

/// Nodes are polled less often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REASONS: &[Column] = &[("WHAT IS WRONG", "/reason"), ("WHAT HELPS", "/remedy")];

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List all, with their load
    List,
    /// Show one, with all its fields
    Show {
        /// Its name
        name: String,
    },
    /// Add one, unless something is wrong with it: it is asked first
    Add {
        #[command(flatten)]
        fields: Fields,
        /// Do not ask it: it is not there yet
        #[arg(long)]
        no_probe: bool,
    },
    /// Change fields of one; what is not named stays, and `KEY=` takes back to the default. It is asked before its URL,
    /// secret or cluster changes
    Set {
        #[command(flatten)]
        fields: Fields,
        /// Do not ask it: it is not there yet
        #[arg(long)]
        no_probe: bool,
    },
    /// Remove one that runs no meetings
    Delete {
        /// Its name
        name: String,
        /// End the meetings that it runs
        #[arg(long)]
        force: bool,
    },
    /// Say why one takes no meetings, and what helps
    Explain {
        /// Its name
        name: String,
    },
    /// Ask one right now, and say what is wrong with it
    Probe {
        /// Its name
        name: String,
    },
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
    match verb {
        Verb::List => {
            let api = Api::new(access)?;
            let mut nodes = api.all(NODES.collection).await?;
            // They are removed already, and still run meetings.
            nodes.extend(api.all_of(NODES.collection, "&state=retired").await?);
            output::list(access.output, NODES.columns, &nodes)
        }
        Verb::Show { name } => objects::run(access, &NODES, objects::Verb::Show { name }).await,
        Verb::Set { fields, no_probe } => {
            let query = if no_probe { "" } else { "?probe=true" };
            objects::set(access, &Api::new(access)?, &NODES, &fields, query).await
        }
        Verb::Add { fields, no_probe } => {
            // Whoever adds a node wants it to take meetings, and is there now to hear why it would not.
            let query = if no_probe { "" } else { "?probe=true" };
            objects::add(access, &Api::new(access)?, &NODES, &fields, query).await
        }
        Verb::Delete { name, force: false } => {
            let done =
                objects::run(access, &NODES, objects::Verb::Delete { name: name.clone() }).await;
            done.map_err(|failure| match failure.status {
                Some(StatusCode::CONFLICT) => failure.in_words(|text| words::of(text, &name)),
                _ => failure,
            })
        }
        Verb::Delete { name, force: true } => delete_by_force(access, &name).await,
        Verb::Explain { name } => explain(access, &name).await,
        Verb::Probe { name } => probe(access, &name).await,
        Verb::Cordon { name } => set_state(access, &name, "cordoned", false).await,
        Verb::Drain { name, wait } => set_state(access, &name, "draining", wait).await,
        Verb::Ready { name } => set_state(access, &name, "ready", false).await,
    }
}

async fn set_state(
    access: &Access,
    name: &str,
    state: &str,
    is_awaited: bool,
) -> Result<(), Failure> {
    let api = Api::new(access)?;
    let path = api::path(NODES.collection, name);
    let mut node = api.put(&format!("{path}/state"), &json!({"state": state})).await?.body;
    if is_awaited {
        node = tokio::select! {
            empty = until_empty(&api, &path, name) => empty?,
            _interrupted = tokio::signal::ctrl_c() => {
                return Err(Failure::failed(format_args!(
                    "node {name} goes on draining; `portico node ready {name}` takes that back"
                )));
            }
        };
    }
    output::row(access.output, NODES.columns, &node)
}

async fn explain(access: &Access, name: &str) -> Result<(), Failure> {
    let path = format!("{}/explanation", api::path(NODES.collection, name));
    let mut reasons = api::list(&mut Api::new(access)?.get(&path).await?.body, "items")?;
    reword(&mut reasons, name);
    if access.output == Format::Table && reasons.is_empty() {
        return output::write(format!("node {name} takes meetings\n").as_bytes());
    }
    output::list(access.output, REASONS, &reasons)
}

async fn probe(access: &Access, name: &str) -> Result<(), Failure> {
    let path = format!("{}/probe", api::path(NODES.collection, name));
    let mut found = Api::new(access)?.post_nothing(&path).await?.body;
    let mut problems = api::list(&mut found, "problems")?;
    reword(&mut problems, name);
    if access.output == Format::Table && !problems.is_empty() {
        output::list(access.output, REASONS, &problems)?;
    } else {
        if let Value::Object(fields) = &mut found {
            match access.output {
                Format::Table => drop(fields.remove("problems")),
                _ => drop(fields.insert("problems".to_owned(), problems.into())),
            }
        }
        output::one(access.output, &found)?;
    }
    if found["ok"] == true {
        return Ok(());
    }
    Err(Failure::failed(format_args!("node {name} does not answer as it should")))
}

/// Commands in place of what the API would have one do.
fn reword(reasons: &mut [Value], name: &str) {
    for reason in reasons {
        if let Some(Value::String(remedy)) = reason.get_mut("remedy") {
            *remedy = words::of(remedy, name);
        }
    }
}

/// Says first what it would end.
async fn delete_by_force(access: &Access, name: &str) -> Result<(), Failure> {
    let api = Api::new(access)?;
    // So that who has mistyped the name is not asked about nothing.
    let path = api::path(NODES.collection, name);
    if api.get(&path).await?.body["origin"] == "file" {
        return Err(Failure::failed(format_args!(
            "node {name} stands in the configuration file: take it out there and send SIGHUP"
        )));
    }
    let query = api::query([("node", Some(name)), ("running", Some("true"))]);
    let running = api.all_of("/meetings", &query).await?;
    let mut of_tenants: BTreeMap<String, u64> = BTreeMap::new();
    let mut people = 0;
    for meeting in &running {
        *of_tenants.entry(output::text(meeting.get("tenant"))).or_default() += 1;
        people += meeting["attendees"].as_u64().unwrap_or_default();
    }
    if running.is_empty() {
        confirm(access, &format!("remove node {name}, which runs no meetings"))?;
    } else {
        let tenants: Vec<_> =
            of_tenants.iter().map(|(tenant, count)| format!("{tenant}: {count}")).collect();
        eprintln!(
            "node {name} runs meetings: {} ({}), with {people} people in them",
            running.len(),
            tenants.join(", ")
        );
        confirm(access, &format!("end them all and remove node {name}"))?;
        eprintln!("ending them; this takes a minute at most");
    }
    let removed = api.delete_for(&format!("{path}?force=true")).await?;
    let count = |key: &str| removed[key].as_array().map_or(0, Vec::len);
    if access.output == Format::Table {
        eprintln!("node {name} is removed; meetings ended: {}", count("ended"));
    } else {
        output::value(access.output, &removed)?;
    }
    match count("left") {
        0 => Ok(()),
        left => Err(Failure::failed(format_args!(
            "node {name} has not ended {left} of its meetings: it stays, retired, until they are over"
        ))),
    }
}

/// Waits, and tells what is left whenever that changes. It takes hours, and so goes on over a restart of Portico.
async fn until_empty(api: &Api, path: &str, name: &str) -> Result<Value, Failure> {
    let (mut told, mut is_away) = (None, false);
    loop {
        let node = match api.get(path).await {
            Ok(node) => node,
            // The same will not do better next time.
            Err(failure) if failure.status.is_some_and(|status| status.is_client_error()) => {
                return Err(failure.of(format_args!("node {name} is draining")));
            }
            Err(_away) => {
                if !std::mem::replace(&mut is_away, true) {
                    eprintln!("node {name} is draining, and Portico does not answer: trying again");
                }
                sleep(LOOK_EVERY).await;
                continue;
            }
        };
        if std::mem::take(&mut is_away) {
            eprintln!("Portico answers again");
        }
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
            return Ok(node.body);
        }
        sleep(LOOK_EVERY).await;
    }
}
