//! A pool: Portico itself, the release binary with a configuration file, in front of its nodes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{Process, free_address, get, until};
use crate::requests::{SECRET, SLUG};

/// Worker threads of Portico and of its baselines. One, so that on a machine of two cores the load has
/// the other one, and the server's own CPU is what limits it.
pub(crate) const THREADS: usize = 1;

/// What runs on the pool.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) meetings_per_node: usize,
    pub(crate) attendees_per_meeting: usize,
}

impl Size {
    pub(crate) fn meetings(self) -> usize {
        self.nodes * self.meetings_per_node
    }
}

/// A running pool. Its meetings came in through polls, as for an instance that lost its memory, or were in
/// the store.
pub(crate) struct Pool {
    pub(crate) portico: Process,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) nodes: Vec<SocketAddr>,
    /// From the start of the process until it was ready.
    pub(crate) ready_after: Duration,
    _nodes: Process,
    _dir: TempDir,
}

/// A pool to be started.
pub(crate) struct Plan {
    size: Size,
    /// That part of the configuration.
    polling: &'static str,
    /// More keys of the tenant, each a line that is indented by four; more tenants after them.
    pub(crate) tenant: String,
    /// More keys of the file, each a line.
    pub(crate) settings: String,
    /// `data_dir`, and a place for files that the configuration names.
    pub(crate) dir: TempDir,
}

impl Plan {
    pub(crate) fn new(size: Size, polling: &'static str) -> anyhow::Result<Self> {
        let (tenant, settings) = (String::new(), String::new());
        Ok(Self { size, polling, tenant, settings, dir: tempfile::tempdir()? })
    }

    /// Starts it, and waits until it knows all its meetings and is calm.
    pub(crate) async fn start(self) -> anyhow::Result<Pool> {
        let Self { size, polling, tenant, settings, dir } = self;
        let Size { nodes, meetings_per_node, attendees_per_meeting } = size;
        let numbers = [nodes, meetings_per_node, attendees_per_meeting].map(|n| n.to_string());
        let mut serving = Process::role(["nodes"].into_iter().chain(numbers.iter().map(|n| &**n)))?;
        let addresses = serving.lines(nodes)?;
        let addresses = addresses.iter().map(|line| line.parse()).collect::<Result<Vec<_>, _>>()?;

        let (public, admin) = (free_address()?, free_address()?);
        let file = dir.path().join("portico.yaml");
        let mut yaml = format!(
            "server: {{ listen: [{{ address: '{public}' }}], admin: '{admin}', threads: {THREADS} }}\n\
             data_dir: {}\n\
             polling: {polling}\n\
             {settings}\
             clusters:\n  - name: main\n    policy: b3lb\n    nodes:\n",
            dir.path().display()
        );
        for (number, address) in addresses.iter().enumerate() {
            let address: &SocketAddr = address;
            writeln!(
                yaml,
                "      - {{ name: {}, url: 'http://{address}/bigbluebutton/api', secret: {SECRET} }}",
                node_name(number)
            )?;
        }
        write!(
            yaml,
            "cluster_groups: [{{ name: default, clusters: [main] }}]\n\
             tenants:\n  - slug: {SLUG}\n    default: true\n    cluster_group: default\n\
             \x20   secrets: [{{ sub_id: 0, secret: {SECRET} }}]\n{tenant}"
        )?;
        std::fs::write(&file, yaml)?;
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
        let portico = Process::start(command.arg("serve").arg("--config").arg(&file))?;
        until("Portico to be ready", || {
            get(admin, "/readyz").is_ok_and(|answer| answer.contains(" 200 "))
        })
        .await?;
        let ready_after = begun.elapsed();
        let known = format!("\nportico_meetings {}\n", size.meetings());
        until("Portico to know its meetings", || {
            get(admin, "/metrics").is_ok_and(|metrics| metrics.contains(&known))
        })
        .await?;
        let nodes = addresses;
        Ok(Pool { portico, public, admin, nodes, ready_after, _nodes: serving, _dir: dir })
    }
}

impl Pool {
    /// Starts a pool that has nothing special.
    pub(crate) async fn start(size: Size, polling: &'static str) -> anyhow::Result<Self> {
        Plan::new(size, polling)?.start().await
    }
}

/// What a node is called in the configuration.
pub(crate) fn node_name(number: usize) -> String {
    format!("bbb{number:03}")
}
