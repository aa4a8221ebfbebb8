//! `portico simulate node`: one node in a process of its own.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::world::random_word;
use super::{Node, Settings};

/// Letters and digits of a secret that is made up.
const SECRET_LENGTH: usize = 40;

/// Arguments of `portico simulate node`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Name shown on its pages
    #[arg(long, default_value = "sim")]
    pub name: String,

    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8091")]
    pub address: SocketAddr,

    /// API secret; made up when absent
    #[arg(long)]
    pub secret: Option<String>,

    /// Address by which browsers reach it, when that is another one
    #[arg(long)]
    pub public_url: Option<String>,

    /// How long a minute lasts; shorter ones let idle meetings end sooner
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub minute: Duration,
}

/// Runs a node until `shutdown`; says on `out` where it is.
///
/// # Errors
/// The address cannot be bound, or `out` cannot be written.
pub async fn run(
    args: Args,
    out: &mut (dyn Write + Send),
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let node = Node::start(Settings {
        name: args.name,
        address: args.address,
        secret: args.secret.unwrap_or_else(|| random_word(SECRET_LENGTH)),
        public_url: args.public_url,
        minute: args.minute,
        control: true,
        ..Settings::default()
    })
    .await?;
    writeln!(out, "url: {}\nsecret: {}", node.url(), node.secret())?;
    out.flush()?;
    shutdown.await;
    node.stop().await;
    Ok(())
}
