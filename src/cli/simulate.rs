//! `portico simulate`: stands in for what is not there.

use clap::Subcommand;

use super::DONE;
use crate::sim;

/// What can be simulated.
#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// A faithful BigBlueButton node, with faults on command over HTTP
    Node(sim::cli::Args),
}

pub(super) fn simulate(what: What) -> anyhow::Result<u8> {
    let What::Node(args) = what;
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
