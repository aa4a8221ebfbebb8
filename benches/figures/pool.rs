//! A pool: Portico itself, the release binary with a configuration file, in front of its nodes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

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

/// A running pool. All its meetings came in through polls, as for an instance that lost its memory.
pub(crate) struct Pool {
    pub(crate) portico: Process,
    pub(crate) public: SocketAddr,
    pub(crate) nodes: Vec<SocketAddr>,
    _nodes: Process,
    _dir: TempDir,
}

impl Pool {
    /// Starts a pool, and waits until it knows all its meetings and is calm. `polling` is that part of
    /// the configuration.
    pub(crate) async fn start(size: Size, polling: &str) -> anyhow::Result<Self> {
        Self::start_with(size, polling, |_dir| Ok(String::new())).await
    }

    /// The same with more keys of the tenant, each a line that is indented by four; the files that they
    /// name go into the directory.
    pub(crate) async fn start_with(
        size: Size,
        polling: &str,
        tenant: impl FnOnce(&Path) -> anyhow::Result<String>,
    ) -> anyhow::Result<Self> {
        let Size { nodes, meetings_per_node, attendees_per_meeting } = size;
        let numbers = [nodes, meetings_per_node, attendees_per_meeting].map(|n| n.to_string());
        let mut serving = Process::role(["nodes"].into_iter().chain(numbers.iter().map(|n| &**n)))?;
        let addresses = serving.lines(nodes)?;
        let addresses = addresses.iter().map(|line| line.parse()).collect::<Result<Vec<_>, _>>()?;

        let dir = tempfile::tempdir()?;
        let (public, admin) = (free_address()?, free_address()?);
        let file = dir.path().join("portico.yaml");
        let mut yaml = format!(
            "server: {{ listen: [{{ address: '{public}' }}], admin: '{admin}', threads: {THREADS} }}\n\
             data_dir: {}\n\
             polling: {polling}\n\
             clusters:\n  - name: main\n    policy: b3lb\n    nodes:\n",
            dir.path().display()
        );
        for (number, address) in addresses.iter().enumerate() {
            let address: &SocketAddr = address;
            writeln!(
                yaml,
                "      - {{ name: bbb{number:03}, url: 'http://{address}/bigbluebutton/api', secret: {SECRET} }}"
            )?;
        }
        write!(
            yaml,
            "cluster_groups: [{{ name: default, clusters: [main] }}]\n\
             tenants:\n  - slug: {SLUG}\n    default: true\n    cluster_group: default\n\
             \x20   secrets: [{{ sub_id: 0, secret: {SECRET} }}]\n{}",
            tenant(dir.path())?
        )?;
        std::fs::write(&file, yaml)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
        let portico = Process::start(command.arg("serve").arg("--config").arg(&file))?;

        let known = format!("\nportico_meetings {}\n", size.meetings());
        until("Portico to know its meetings", || {
            let is_ready = get(admin, "/readyz").is_ok_and(|answer| answer.contains(" 200 "));
            is_ready && get(admin, "/metrics").is_ok_and(|metrics| metrics.contains(&known))
        })
        .await?;
        Ok(Self { portico, public, nodes: addresses, _nodes: serving, _dir: dir })
    }
}
