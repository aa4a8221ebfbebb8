//! Start-up: arguments, assembly, exit codes. Nothing here decides anything about meetings.

mod background;
mod check;
mod client;
mod data_dir;
mod demo;
mod gossip;
mod instances;
mod local;
mod logging;
mod migrate;
mod own;
mod public_api;
mod reload;
mod serve;
mod services;
mod signals;
mod simulate;
mod store;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use log::error;

use serve::Upgrade;

/// Done.
const DONE: u8 = 0;
/// It did not work out.
const FAILED: u8 = 1;
/// Wrong usage or configuration; clap uses the same.
const WRONG: u8 = 2;

/// One door in front of a pool of BigBlueButton servers
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pool from a configuration file
    Serve {
        /// Configuration file; conf/portico.yaml shows every key
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Take the sockets over from the running process, which then leaves
        #[arg(long)]
        upgrade: bool,
    },
    /// Check a configuration file and say all that is wrong with it
    Check {
        /// Configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Bring the store to this version's schema; serve does it by itself unless told not to
    Migrate {
        /// Configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Only say how far it has come
        #[arg(long)]
        status: bool,
    },
    /// Tokens of the operators' API
    Token {
        #[command(subcommand)]
        what: token::What,
    },
    #[command(flatten)]
    Client(client::Command),
    /// Try it out: simulated nodes, one tenant and the edge in one process
    Demo(demo::Args),
    /// Stand in for something that is not there
    Simulate {
        #[command(subcommand)]
        what: simulate::What,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let command = Args::parse().command;
    // Before anything that speaks TLS; pingora would install the same one.
    rustls::crypto::ring::default_provider().install_default().ok();
    if let Err(trouble) = logging::init(matches!(command, Command::Demo(_))) {
        eprintln!("portico cannot start its log: {trouble}");
        return ExitCode::from(FAILED);
    }
    let _last_words = logging::LastWords;
    let outcome = match command {
        Command::Serve { config, upgrade } => serve::serve(&config, upgrade),
        Command::Check { config } => check::check(&config),
        Command::Migrate { config, status } => migrate::migrate(&config, status),
        Command::Token { what } => token::token(&what),
        Command::Client(command) => client::client(command),
        Command::Demo(args) => demo::demo(&args),
        Command::Simulate { what } => simulate::simulate(what),
    };
    let code = outcome.unwrap_or_else(|trouble| {
        error!("{trouble:#}");
        FAILED
    });
    ExitCode::from(code)
}

/// The process's environment, for configuration that names variables.
fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok()
}
