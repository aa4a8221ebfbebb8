//! A running pool.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use portico::bbb::Algorithm;
use portico::sim::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::Client;
use super::config::Config;
use super::http::{Reply, request};
use super::metrics::Metrics;
use super::process::Process;
use super::raw::Raw;
use super::wait::{PATIENCE, eventually};

/// Starts that are tried when somebody else takes a port between our looking and Portico's binding.
const MAX_STARTS: usize = 5;

/// Simulated nodes with Portico in front of them.
#[derive(Debug)]
pub(crate) struct Pool {
    // Dropped first, while the nodes still answer.
    process: Process,
    nodes: Arc<Vec<Node>>,
    listen: Vec<SocketAddr>,
    admin: SocketAddr,
    path: PathBuf,
    log: Arc<Mutex<String>>,
    /// Holds the directory.
    config: Config,
}

impl Pool {
    /// Starts nodes and Portico and waits until it is ready.
    pub(crate) async fn start(config: Config) -> Self {
        let nodes = start_nodes(&config).await;
        Self::start_before(config, nodes).await
    }

    /// The same in front of nodes that exist already, as many as the configuration plans.
    pub(crate) async fn start_before(config: Config, nodes: Vec<Node>) -> Self {
        Self::start_sharing(config, Arc::new(nodes)).await
    }

    /// The same in front of nodes that others are in front of, too.
    pub(super) async fn start_sharing(mut config: Config, mut nodes: Arc<Vec<Node>>) -> Self {
        let urls: Vec<String> = nodes.iter().map(Node::url).collect();
        for _ in 0..MAX_STARTS {
            let mut listen = free_ports(config.listeners.len() + 1);
            let admin = listen.pop().expect("one more");
            let path = config.file("portico.yaml", config.to_yaml(&urls, &listen, admin));
            let log = Arc::default();
            let process = Process::start(&path, &config.env, Arc::clone(&log));
            let mut pool = Self { process, nodes, listen, admin, path, log, config };
            if pool.becomes_ready().await {
                return pool;
            }
            Self { nodes, config, .. } = pool;
        }
        panic!("ports are taken again and again");
    }

    /// Waits until it is ready. False if it ended because of a port.
    async fn becomes_ready(&mut self) -> bool {
        let mut ended = None;
        eventually("Portico is ready", async || {
            ended = self.process.ended();
            ended.is_some() || (self.is_ready().await && self.listens().await)
        })
        .await;
        let Some(status) = ended else { return true };
        // All of its log is there only now.
        self.process.kill();
        let log = self.log();
        assert!(log.contains("listening on"), "Portico ended with {status}:\n{log}");
        false
    }

    async fn is_ready(&self) -> bool {
        self.try_admin("/readyz").await.is_some_and(|reply| reply.status == 200)
    }

    /// Whether each listener accepts. Waits for the end of the connections that asked, so that none of
    /// them is accepted only after the test's own.
    async fn listens(&self) -> bool {
        for address in &self.listen {
            let Ok(mut stream) = TcpStream::connect(address).await else { return false };
            let ended = async {
                stream.shutdown().await?;
                stream.read_to_end(&mut Vec::new()).await
            };
            // However it ends: it was there.
            drop(timeout(PATIENCE, ended).await.expect("it stays open"));
        }
        true
    }

    /// Waits until nobody is connected: for tests that count connections, which would count those of
    /// the wait for readiness.
    pub(crate) async fn becomes_idle(&self) {
        eventually("nobody is connected", async || {
            self.metrics().await.get("portico_connections") < 0.5
        })
        .await;
    }

    /// A simulated node, to be looked at and made to fail.
    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The one node that runs this meeting, by its id on the node.
    ///
    /// # Panics
    /// When there is none or more than one.
    pub(crate) fn node_of(&self, node_meeting_id: &str) -> &Node {
        let runs = |node: &&Node| {
            let meetings = node.meetings();
            meetings.iter().any(|meeting| meeting.external_id == node_meeting_id && !meeting.ended)
        };
        let mut found = self.nodes.iter().filter(runs);
        let node = found.next().expect("a node runs the meeting");
        assert!(found.next().is_none(), "{node_meeting_id} runs on two nodes");
        node
    }

    /// How often a call was made to all nodes together.
    pub(crate) fn node_calls(&self, call: &str) -> usize {
        self.nodes.iter().map(|node| node.calls(call)).sum()
    }

    /// A front end of a tenant, or of a part of it as `slug-sub`, by way of `/bbb/{slug}/bigbluebutton/api`.
    pub(crate) fn tenant(&self, scope: &str) -> Client {
        let (slug, sub) = match scope.rsplit_once('-') {
            Some((slug, sub)) if sub.parse::<u16>().is_ok() => (slug, sub.parse().expect("digits")),
            _ => (scope, 0),
        };
        let tenants = &self.config.tenants;
        let tenant = tenants.iter().find(|tenant| tenant.slug == slug).expect("a tenant");
        Client {
            address: self.address(),
            host: self.address().to_string(),
            base: format!("/bbb/{scope}/bigbluebutton/api"),
            secret: tenant.secrets[&sub].clone(),
            algorithm: Algorithm::Sha256,
            headers: Vec::new(),
        }
    }

    /// The first public listener, plain HTTP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen[0]
    }

    /// The operators' listener.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// A public listener; 0 is the first.
    pub(crate) fn listener(&self, index: usize) -> SocketAddr {
        self.listen[index]
    }

    /// A connection to the first public listener.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.address()).await
    }

    /// A GET on the operators' listener.
    pub(crate) async fn admin(&self, path: &str) -> Reply {
        self.try_admin(path).await.expect("an answer")
    }

    /// The same, when nobody may answer.
    pub(crate) async fn try_admin(&self, path: &str) -> Option<Reply> {
        let host = self.admin.to_string();
        request(self.admin, Method::GET, &host, path, &[], "").await.ok()
    }

    /// What `/metrics` says now.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("/metrics").await.body)
    }

    /// Everything the process has written so far, over all its restarts.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Waits until its log has this: a line is written a moment after what it tells of.
    pub(crate) async fn says(&self, text: &str) {
        let has_it = async || self.log().contains(text);
        eventually(&format!("{text:?} is in the log"), has_it).await;
    }

    /// The directory of configuration and data.
    pub(crate) fn dir(&self) -> &Path {
        self.config.dir()
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> &Path {
        &self.path
    }

    /// What is in the configuration file.
    pub(crate) fn config_yaml(&self) -> String {
        std::fs::read_to_string(&self.path).expect("the file is there")
    }

    /// Writes another configuration, which counts after `signal("HUP")`.
    pub(crate) fn rewrite_config(&self, yaml: &str) {
        std::fs::write(&self.path, yaml).expect("a file");
    }

    /// Puts another configuration in force and waits until it is.
    pub(crate) async fn reload(&self, yaml: &str) {
        let read = "configuration read again";
        let times = self.log().matches(read).count();
        self.rewrite_config(yaml);
        self.signal("HUP");
        eventually("the file is read", async || self.log().matches(read).count() > times).await;
    }

    /// The id of the process.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal: `"HUP"`, `"TERM"`, `"USR2"`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until the process that we started has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("Portico has ended", async || {
            status = self.process.ended();
            status.is_some()
        })
        .await;
        status.expect("just seen")
    }

    /// Kills the process, and its successor if it has one, as a power cut would.
    pub(crate) fn kill9(&mut self) {
        self.process.kill();
    }

    /// Starts Portico again, after killing it if it still runs, on the same ports, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        for _ in 0..MAX_STARTS {
            self.start_process();
            if self.becomes_ready().await {
                return;
            }
        }
        panic!("ports are taken again and again");
    }

    /// The same without waiting for anything.
    pub(crate) fn start_process(&mut self) {
        self.process.kill();
        self.process = Process::start(&self.path, &self.config.env, Arc::clone(&self.log));
    }
}

/// The nodes that a configuration plans.
pub(super) async fn start_nodes(config: &Config) -> Vec<Node> {
    let mut nodes = Vec::new();
    for plan in &config.nodes {
        nodes.push(Node::start(plan.settings.clone()).await.expect("a node"));
    }
    nodes
}

/// Ports of 127.0.0.1 that nobody uses at the moment, all different.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound")).collect()
}
