//! `portico node`, `portico tenant` and so on: the program as a client of the operators' API.
//!
//! `access.rs` says which API and with what token, `api.rs` speaks with it, `objects.rs` has what all kinds of
//! objects have in common; `apply.rs` does what `plan.rs` finds. What is printed comes out of `output.rs`, and what went wrong out of `failure.rs`.

mod access;
mod api;
mod apply;
mod callbacks;
mod changes;
mod events;
mod export;
mod failure;
mod history;
mod links;
mod load;
mod lost;
mod meetings;
mod nodes;
mod objects;
mod output;
mod place;
mod plan;
mod pool;
mod question;
mod secrets;
mod signing;
mod statistics;
mod tenants;
mod tokens;
mod values;
mod way;
mod whole;
mod words;

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

pub(super) use access::Access;
use api::Api;
use failure::Failure;
pub(super) use load::Wanted as LoadWanted;

/// What is asked of the API.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Nodes, over the API of a running Portico
    Node {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: nodes::Verb,
    },
    /// Clusters, over the API
    Cluster {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: objects::Verb,
    },
    /// Cluster groups, over the API
    ClusterGroup {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: objects::Verb,
    },
    /// Tenants, over the API
    Tenant {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: tenants::Verb,
    },
    /// Secrets of tenants, over the API
    Secret {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: secrets::Verb,
    },
    /// Meetings, over the API; or as a tenant's front end, for testing
    Meeting {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: meetings::Verb,
    },
    /// Print signed links of BigBlueButton's API to be tried by hand; no secret leaves this machine
    Link {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        wanted: links::Wanted,
    },
    /// Callbacks that front ends were not told yet, over the API
    Callback {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: callbacks::Verb,
    },
    /// What has happened a moment ago: nodes, meetings, instances, the inventory
    Events {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        which: events::Which,
    },
    /// The running Porticos that share one store
    Instance {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: pool::Instances,
    },
    /// Where meetings go, and why
    Place {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: place::Verb,
    },
    /// How large meetings have become: what is known of tenants and rooms, and resetting, exporting and importing it
    History {
        #[command(flatten)]
        access: Access,
        #[command(subcommand)]
        verb: history::Verb,
    },
    /// How much room there is, and which nodes could go
    Capacity {
        #[command(flatten)]
        access: Access,
    },
    /// What operators have changed over the API, the latest first
    Changes {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        which: changes::Which,
    },
    /// What tenants have used, by days or hours: meetings, attendee-minutes, peaks
    Statistics {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        which: statistics::Which,
    },
    /// Print the whole inventory as YAML in the shape of the configuration file, without secrets
    Export {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        wanted: export::Wanted,
    },
    /// Make the inventory what a file says; what the file does not name of an object stays
    Apply {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        wanted: apply::Wanted,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Runs it. What went wrong is on standard error then.
pub(super) fn client(command: Command) -> anyhow::Result<u8> {
    let done = match command {
        Command::Completions { shell } => completions(shell),
        other => wait(async {
            match other {
                Command::Node { access, verb } => nodes::run(&access, verb).await,
                Command::Cluster { access, verb } => {
                    objects::run(&access, &objects::CLUSTERS, verb).await
                }
                Command::ClusterGroup { access, verb } => {
                    objects::run(&access, &objects::GROUPS, verb).await
                }
                Command::Tenant { access, verb } => tenants::run(&access, verb).await,
                Command::Secret { access, verb } => secrets::run(&access, verb).await,
                Command::Meeting { access, verb } => meetings::run(&access, &verb).await,
                Command::Link { access, wanted } => links::run(&access, &wanted),
                Command::Callback { access, verb } => callbacks::run(&access, &verb).await,
                Command::Events { access, which } => events::run(&access, &which).await,
                Command::Instance { access, verb } => pool::instances(&access, &verb).await,
                Command::Place { access, verb } => place::run(&access, &verb).await,
                Command::History { access, verb } => history::run(&access, &verb).await,
                Command::Capacity { access } => pool::capacity(&access).await,
                Command::Changes { access, which } => changes::run(&access, &which).await,
                Command::Statistics { access, which } => statistics::run(&access, &which).await,
                Command::Export { access, wanted } => export::run(&access, &wanted).await,
                Command::Apply { access, wanted } => apply::run(&access, &wanted).await,
                Command::Completions { shell } => completions(shell),
            }
        })?,
    };
    Ok(failure::code_of(done))
}

/// Plays a trace against a running Portico.
pub(super) fn simulate_load(access: &Access, wanted: &LoadWanted) -> anyhow::Result<u8> {
    // Nodes and front ends are in one process, and are not to wait for each other.
    let runtime = tokio::runtime::Runtime::new()?;
    match runtime.block_on(Box::pin(load::run(access, wanted))) {
        Ok(code) => Ok(code),
        Err(failure) => Ok(failure::code_of(Err(failure))),
    }
}

/// Tokens that the API knows.
pub(super) fn list_tokens(access: &Access) -> anyhow::Result<u8> {
    Ok(failure::code_of(wait(tokens::list(access))?))
}

/// Revokes a token.
pub(super) fn revoke_token(access: &Access, id: &str) -> anyhow::Result<u8> {
    Ok(failure::code_of(wait(tokens::revoke(access, id))?))
}

fn wait<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(Box::pin(work)))
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Args::command(), "portico", &mut script);
    output::write(&script)
}
