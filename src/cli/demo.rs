//! `portico demo`: simulated nodes, one tenant and the edge in one process, with nothing to set up.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::DONE;
use super::serve::{Portico, Upgrade};
use crate::admin::{Scope, generate_secret};
use crate::bbb::{Algorithm, jwt, signed_query};
use crate::config;
use crate::fleet::now_ms;
use crate::model::Secret;
use crate::sim;

const TENANT: &str = "demo";
/// As `serve` has them.
const POLLED_EVERY: Duration = Duration::from_secs(5);
const NODE_DOWN_GRACE: Duration = Duration::from_mins(1);
/// More often, polls would be what a fast demo does.
const POLLED_EVERY_AT_MOST: Duration = Duration::from_millis(100);

/// How the demo is set up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of the public side
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the operators' side
    #[arg(long, default_value = "127.0.0.1:8081")]
    admin: SocketAddr,
    /// Simulated nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    nodes: u8,
    /// The tenant's API secret
    #[arg(long, default_value = "demo-secret-only-for-this-machine-0123456789")]
    secret: String,
    /// How many times faster meetings grow old and nodes are polled, every 100 ms at most: for `portico simulate load`
    /// at the same speed
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    speed: u16,
    /// Directory of the embedded store; a temporary one when absent
    #[arg(long, value_name = "DIR")]
    data_dir: Option<std::path::PathBuf>,
}

pub(super) fn demo(args: &Args) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Runtime::new()?;
    let nodes = runtime.block_on(start_nodes(args))?;
    let temporary = tempfile::Builder::new().prefix("portico-demo-").tempdir()?;
    let data_dir = args.data_dir.as_deref().unwrap_or(temporary.path());
    let text = configuration(args, &nodes, data_dir);
    let mut settings = config::parse(&text, Path::new("."), &|_| None)
        .map_err(|report| anyhow::anyhow!("the demo's own configuration is refused: {report}"))?;
    settings.clock_speed = args.speed.into();
    let key = generate_secret()?;
    let token = operators_token(&key);
    settings.api.jwt_secret = Some(Secret::new(key));
    let portico = Portico::assemble(settings, Upgrade::No, None)?;
    explain(args, &nodes, &token, &mut std::io::stdout().lock())?;
    portico.run();
    runtime.block_on(async {
        for node in nodes {
            node.stop().await;
        }
    });
    writeln!(std::io::stdout(), "\nThe demo is over; nothing of it runs any more.")?;
    Ok(DONE)
}

async fn start_nodes(args: &Args) -> anyhow::Result<Vec<sim::Node>> {
    let mut nodes = Vec::new();
    for number in 1..=args.nodes {
        let name = format!("sim{number:02}");
        let secret = format!("the-secret-of-simulated-node-{number:02}");
        let settings = sim::Settings { name, secret, control: true, ..sim::Settings::default() };
        nodes.push(sim::Node::start(settings).await.context("starting a simulated node")?);
    }
    Ok(nodes)
}

/// The same file that an operator would write.
fn configuration(args: &Args, nodes: &[sim::Node], data_dir: &Path) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("a text is JSON");
    let nodes: Vec<String> = nodes
        .iter()
        .map(|node| {
            let (name, url, secret) = (node.name(), node.url(), quoted(node.secret()));
            format!("      - {{ name: {name}, url: \"{url}\", secret: {secret} }}\n")
        })
        .collect();
    let nodes = nodes.concat();
    format!(
        "server:\n  listen: [ {{ address: \"{}\" }} ]\n  admin: \"{}\"\n  grace: 1s\n\
         data_dir: {}\npolling: {}\n\
         callbacks: {{ allow_targets: [127.0.0.0/8, \"::1/128\"] }}\n\
         clusters:\n  - name: demo\n    nodes:\n{nodes}\
         cluster_groups: [ {{ name: demo, clusters: [demo] }} ]\n\
         tenants:\n  - slug: {TENANT}\n    name: Demo University\n    default: true\n\
         \x20   cluster_group: demo\n    secrets: [ {{ sub_id: 0, secret: {} }} ]\n",
        args.listen,
        args.admin,
        quoted(&data_dir.display().to_string()),
        polling(args.speed),
        quoted(&args.secret),
    )
}

/// Often, for somebody who looks on; or as often as usual, in a time that goes faster.
fn polling(speed: u16) -> String {
    if speed == 1 {
        return "{ interval: 1s }".to_owned();
    }
    let faster = |time: Duration| (time / u32::from(speed)).max(POLLED_EVERY_AT_MOST).as_millis();
    let (interval, grace) = (faster(POLLED_EVERY), faster(NODE_DOWN_GRACE));
    format!("{{ interval: {interval}ms, node_down_grace: {grace}ms }}")
}

/// Lets whoever sees what the demo prints do everything, as long as it runs.
fn operators_token(key: &str) -> String {
    let claims = json!({
        "scope": Scope::Admin.claim(),
        "sub": TENANT,
        "jti": hex::encode(rand::random::<[u8; 12]>()),
        "iat": now_ms() / 1000,
    });
    jwt::hs384(&claims, key)
}

/// Says what there is and what to do with it.
fn explain(
    args: &Args,
    nodes: &[sim::Node],
    token: &str,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let base = format!("http://{}/bigbluebutton/api", args.listen);
    let signed = |call: &str, query: &str| {
        let query = signed_query(Algorithm::Sha256, call, query.as_bytes(), &args.secret);
        format!("{base}/{call}?{query}")
    };
    let count = nodes.len();
    writeln!(out, "Portico stands in front of {count} simulated BigBlueButton nodes.\n")?;
    writeln!(out, "  API base URL   {base}/")?;
    writeln!(out, "  secret         {}", args.secret)?;
    writeln!(out, "  tenant         {TENANT}, also at http://{}/bbb/{TENANT}/", args.listen)?;
    writeln!(out, "  metrics        http://{}/metrics", args.admin)?;
    writeln!(
        out,
        "  operators      export PORTICO_API=http://{} PORTICO_TOKEN={token}\n",
        args.admin
    )?;
    for node in nodes {
        writeln!(out, "  node {}     {}", node.name(), node.url())?;
    }
    writeln!(
        out,
        "\nCreate a meeting:\n\n  curl '{}'\n",
        signed("create", "name=First+meeting&meetingID=first")
    )?;
    writeln!(
        out,
        "Join it, in a browser:\n\n  {}\n",
        signed("join", "fullName=Ada&meetingID=first&role=MODERATOR")
    )?;
    writeln!(out, "See what runs:\n\n  curl '{}'\n", signed("getMeetings", ""))?;
    writeln!(
        out,
        "Point Moodle or Greenlight at the base URL with the secret. Ctrl-C ends it all.\n"
    )?;
    out.flush()
}
