//! Tenants: list, show, add, set, and what takes more than one call.

use clap::Subcommand;
use http::StatusCode;

use super::failure::Failure;
use super::objects::{self, Fields, TENANTS};
use super::output::{self, Format};
use super::question::confirm;
use super::{Access, Api, api, words};

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List all
    List,
    /// Show one, with all its fields
    Show {
        /// Its slug
        name: String,
    },
    /// Add one
    Add(Fields),
    /// Change fields of one; what is not named stays, and `KEY=` takes back to the default
    Set(Fields),
    /// Remove one that has no running meetings
    Delete {
        /// Its slug
        name: String,
        /// End its running meetings as well
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(access: &Access, verb: Verb) -> Result<(), Failure> {
    let verb = match verb {
        Verb::List => objects::Verb::List,
        Verb::Show { name } => objects::Verb::Show { name },
        Verb::Add(fields) => objects::Verb::Add(fields),
        Verb::Set(fields) => objects::Verb::Set(fields),
        Verb::Delete { name, force: true } => return delete_by_force(access, &name).await,
        Verb::Delete { name, force: false } => {
            let delete = objects::Verb::Delete { name: name.clone() };
            let done = objects::run(access, &TENANTS, delete).await;
            return done.map_err(|failure| match failure.status {
                Some(StatusCode::CONFLICT) => failure.in_words(|text| words::of(text, &name)),
                _ => failure,
            });
        }
    };
    objects::run(access, &TENANTS, verb).await
}

/// Says first what it would end.
async fn delete_by_force(access: &Access, name: &str) -> Result<(), Failure> {
    let api = Api::new(access)?;
    // So that who has mistyped the name is not asked about nothing.
    let path = api::path(TENANTS.collection, name);
    if api.get(&path).await?.body["origin"] == "file" {
        return Err(Failure::failed(format_args!(
            "tenant {name} stands in the configuration file: take it out there and send SIGHUP"
        )));
    }
    let query = api::query([("tenant", Some(name)), ("running", Some("true"))]);
    let running = api.all_of("/meetings", &query).await?;
    let people: u64 =
        running.iter().map(|meeting| meeting["attendees"].as_u64().unwrap_or_default()).sum();
    if running.is_empty() {
        confirm(access, &format!("remove tenant {name}, which runs no meetings"))?;
    } else {
        eprintln!(
            "tenant {name} has running meetings: {}, with {people} people in them",
            running.len()
        );
        confirm(access, &format!("remove tenant {name} and end them all"))?;
        eprintln!("ending them; this takes a minute at most");
    }
    let removed = api.delete_for(&format!("{path}?force=true")).await?;
    let count = |key: &str| removed[key].as_array().map_or(0, Vec::len);
    if access.output == Format::Table {
        eprintln!("tenant {name} is removed; meetings ended: {}", count("ended"));
    } else {
        output::value(access.output, &removed)?;
    }
    match count("left") {
        0 => Ok(()),
        left => Err(Failure::failed(format_args!(
            "{left} meetings of tenant {name} go on, as their nodes have not ended them: `portico meeting list --tenant \
             {name}` shows them, and `portico meeting end` ends them"
        ))),
    }
}
