//! `portico simulate`: stands in for what is not there.

mod placement;
mod trace;

use std::io::{stdin, stdout};

use clap::{Args, Subcommand, ValueEnum};

use log::error;

use super::client::{self, Access, LoadWanted};
use super::{DONE, WRONG};
use crate::model::{B3lbFactors, Policy};
use crate::sim;

/// What can be simulated.
#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// A faithful BigBlueButton node, with faults on command over HTTP
    Node(sim::cli::Args),
    /// Where a policy places the meetings of a trace: reads its rows on stdin, writes a node for each create
    Placement(PlacementArgs),
    /// A trace of days that were, from what the store has of them; names nobody
    Trace(trace::TraceArgs),
    /// A day of a trace, played against a running Portico with simulated nodes: says how well it places meetings
    Load {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        wanted: LoadWanted,
    },
}

#[derive(Debug, Args)]
pub(super) struct PlacementArgs {
    /// The policy that places
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
}

/// A policy without the factors that a cluster may set.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum PolicyName {
    /// By expected attendance
    #[default]
    Predictive,
    /// B3LB's formula with its defaults
    B3lb,
    /// b3scale's formula
    B3scale,
}

impl From<PolicyName> for Policy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::Predictive => Self::Predictive,
            PolicyName::B3lb => Self::B3lb(B3lbFactors::default()),
            PolicyName::B3scale => Self::B3scale,
        }
    }
}

pub(super) fn simulate(what: What) -> anyhow::Result<u8> {
    match what {
        What::Node(args) => simulate_node(args),
        What::Trace(args) => trace::trace(&args),
        What::Load { access, wanted } => client::simulate_load(&access, &wanted),
        What::Placement(PlacementArgs { policy }) => {
            let played = placement::run(policy.into(), stdin().lock(), stdout().lock());
            Ok(played.map_or_else(|trouble| refused(&trouble), |()| DONE))
        }
    }
}

/// What was given cannot be played.
fn refused(trouble: &anyhow::Error) -> u8 {
    error!("{trouble:#}");
    WRONG
}

fn simulate_node(args: sim::cli::Args) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stopped = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        sim::cli::run(args, &mut std::io::stdout(), stopped).await
    })?;
    Ok(DONE)
}
