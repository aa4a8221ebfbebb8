//! Callbacks that front ends were not told yet.

use clap::{Subcommand, ValueEnum};

use super::failure::Failure;
use super::output::Column;
use super::question::confirm;
use super::{Access, Api, api, output};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("TENANT", "/tenant"),
    ("KIND", "/kind"),
    ("MEETING", "/meeting_id"),
    ("TO", "/to"),
    ("STATE", "/state"),
    ("TRIES", "/attempts"),
    ("NEXT", "/next_attempt"),
    ("LAST ERROR", "/last_error"),
];

/// What can be done with callbacks.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Verb {
    /// List what waits and what was given up, the oldest first
    List {
        /// Only those of this tenant
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
        /// Only those that are still tried, or only those that were given up
        #[arg(long, value_enum)]
        state: Option<State>,
    },
    /// Show one, with all its fields
    Show {
        /// Its number
        id: i64,
    },
    /// Try one now, also if it was given up
    Retry {
        /// Its number
        id: i64,
    },
    /// Give one up for good: its front end is never told
    Delete {
        /// Its number
        id: i64,
    },
}

/// Whether it is still tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum State {
    /// It is still tried
    Pending,
    /// It was given up
    Dead,
}

pub(super) async fn run(access: &Access, verb: &Verb) -> Result<(), Failure> {
    let path = |id: &i64| api::path("/callbacks", &id.to_string());
    match verb {
        Verb::List { tenant, state } => {
            let state = state.map(|state| match state {
                State::Pending => "pending",
                State::Dead => "dead",
            });
            let query = api::query([("tenant", tenant.as_deref()), ("state", state)]);
            let found = Api::new(access)?.all_of("/callbacks", &query).await?;
            output::list(access.output, COLUMNS, &found)
        }
        Verb::Show { id } => {
            let found = Api::new(access)?.get(&path(id)).await?;
            output::one(access.output, &found.body)
        }
        Verb::Retry { id } => {
            let tried = Api::new(access)?.post_nothing(&format!("{}/retry", path(id))).await?;
            output::row(access.output, COLUMNS, &tried.body)
        }
        Verb::Delete { id } => {
            confirm(access, &format!("remove callback {id}: its front end is never told"))?;
            Api::new(access)?.delete(&path(id)).await?;
            eprintln!("callback {id} is removed");
            Ok(())
        }
    }
}
