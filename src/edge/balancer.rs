//! pingora-load-balancing over the fleet: our own discovery, health check and selection.
//!
//! The adapter decides nothing. Discovery lists the snapshot's nodes with their resolved addresses, the
//! health check repeats the verdict of our own polling, and the selection walks the fleet in the order of
//! the policy. Proxied requests find their peer through it; its own health bit is for whoever looks at
//! pingora, no choice depends on it. A node is known by the `Backend`'s weight, a number of its own,
//! because two nodes may share an address.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::{Backend, Backends, Extensions, LoadBalancer};
use tokio::time::{Instant, timeout};

use crate::fleet::{Fleet, Node};
use crate::model::{Health, NodeName};

/// How often changes of the inventory and of addresses are taken over.
const UPDATE_EVERY: Duration = Duration::from_secs(2);
/// How often requests can bring that forward.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A name that does not resolve must not hold up the others.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The load balancer of the proxied requests; a pingora background service keeps it up to date.
pub struct Balancer {
    service: Arc<LoadBalancer<Selection>>,
    /// When a request has last asked for an update; held while it runs.
    updated: tokio::sync::Mutex<Option<Instant>>,
}

/// The balancer as pingora's background service wants it.
pub fn balancer(fleet: &Arc<Fleet>) -> LoadBalancer<Selection> {
    let discovery =
        Discovery { fleet: fleet.clone(), numbers: Mutex::default(), addresses: Mutex::default() };
    let mut backends = Backends::new(Box::new(discovery));
    backends.set_health_check(Box::new(Verdict(fleet.clone())));
    let mut balancer = LoadBalancer::from_backends_with_config(backends, Some(fleet.clone()));
    balancer.update_frequency = Some(UPDATE_EVERY);
    balancer.health_check_frequency = Some(UPDATE_EVERY);
    balancer.parallel_health_check = true;
    balancer
}

impl Balancer {
    /// Looks through the running service.
    pub fn new(service: Arc<LoadBalancer<Selection>>) -> Self {
        Self { service, updated: tokio::sync::Mutex::default() }
    }

    /// The peer for a request that must go to this node.
    pub(super) async fn peer(&self, node: &Node) -> pingora::Result<HttpPeer> {
        let key = Key::Node(node.name()).to_bytes();
        let select = || self.service.select_with(&key, usize::MAX, |_backend, _health| true);
        let mut backend = select();
        if backend.is_none() {
            // New in the inventory, and not taken over yet.
            self.update().await?;
            backend = select();
        }
        let backend = backend.ok_or_else(|| {
            Error::explain(ErrorType::ConnectNoRoute, "the node's name does not resolve")
        })?;
        let url = &node.spec.url;
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(HttpPeer::new(backend.addr, url.scheme() == "https", host))
    }
}

impl Balancer {
    /// Takes the inventory over now, for all requests of a moment together.
    async fn update(&self) -> pingora::Result<()> {
        let mut updated = self.updated.lock().await;
        if updated.is_none_or(|last| last.elapsed() > AT_MOST_EVERY) {
            *updated = Some(Instant::now());
            self.service.update().await?;
        }
        Ok(())
    }
}

/// What is to be selected for.
enum Key<'a> {
    /// A meeting that runs there.
    Node(&'a NodeName),
    /// Anything that any of a tenant's nodes can answer.
    #[cfg(test)]
    Tenant(&'a str),
}

impl Key<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Node(name) => format!("node/{name}").into_bytes(),
            #[cfg(test)]
            Self::Tenant(slug) => format!("tenant/{slug}").into_bytes(),
        }
    }
}

struct Discovery {
    fleet: Arc<Fleet>,
    /// A number for each node that was ever seen.
    numbers: Mutex<HashMap<NodeName, usize>>,
    /// Addresses as last resolved; they stay good while DNS is away.
    addresses: Mutex<HashMap<String, SocketAddr>>,
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let snapshot = self.fleet.snapshot();
        let resolving = snapshot.nodes().map(|node| self.backend(node));
        let backends = futures::future::join_all(resolving).await.into_iter().flatten().collect();
        Ok((backends, HashMap::new()))
    }
}

impl Discovery {
    async fn backend(&self, node: &Node) -> Option<Backend> {
        let url = &node.spec.url;
        let host = url.host_str()?.trim_matches(['[', ']']);
        let port = url.port_or_known_default()?;
        let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port))).await;
        let resolved = found.ok().and_then(Result::ok).and_then(|mut addresses| addresses.next());
        let name = format!("{host}:{port}");
        let address = {
            let mut known = self.addresses.lock();
            match resolved {
                Some(address) => *known.entry(name).insert_entry(address).get(),
                // The poller says so louder.
                None => *known.get(&name)?,
            }
        };
        let weight = {
            let mut numbers = self.numbers.lock();
            let next = numbers.len() + 1;
            *numbers.entry(node.name().clone()).or_insert(next)
        };
        let mut ext = Extensions::new();
        ext.insert(node.name().clone());
        Some(Backend {
            addr: pingora::protocols::l4::socket::SocketAddr::Inet(address),
            weight,
            ext,
        })
    }
}

/// Repeats what our own polling says; no IO.
struct Verdict(Arc<Fleet>);

#[async_trait]
impl HealthCheck for Verdict {
    async fn check(&self, target: &Backend) -> pingora::Result<()> {
        let health = target
            .ext
            .get::<NodeName>()
            .and_then(|name| self.0.peek().node(name.as_str()).map(|node| node.live.health()));
        match health {
            Some(Health::Up | Health::Suspect) => Ok(()),
            _ => Err(Error::explain(ErrorType::ConnectError, "not up by our own polling")),
        }
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }

    fn backend_summary(&self, target: &Backend) -> String {
        target.ext.get::<NodeName>().map(ToString::to_string).unwrap_or_default()
    }
}

/// Selects by the fleet's own state.
pub struct Selection {
    fleet: Option<Arc<Fleet>>,
    backends: HashMap<NodeName, Backend>,
}

impl BackendSelection for Selection {
    type Iter = Walk;
    type Config = Arc<Fleet>;

    fn build_with_config(backends: &BTreeSet<Backend>, fleet: &Arc<Fleet>) -> Self {
        Self { fleet: Some(fleet.clone()), ..Self::build(backends) }
    }

    fn build(backends: &BTreeSet<Backend>) -> Self {
        let named =
            |backend: &Backend| Some((backend.ext.get::<NodeName>()?.clone(), backend.clone()));
        Self { fleet: None, backends: backends.iter().filter_map(named).collect() }
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> Walk {
        let key = String::from_utf8_lossy(key);
        let names = match key.split_once('/') {
            Some(("node", name)) => vec![NodeName::new(name)],
            Some(("tenant", slug)) => self.by_load(slug),
            _ => Vec::new(),
        };
        Walk { selection: self.clone(), names: names.into_iter() }
    }
}

impl Selection {
    /// The eligible nodes of a tenant, the least loaded first.
    fn by_load(&self, slug: &str) -> Vec<NodeName> {
        let Some(fleet) = &self.fleet else { return Vec::new() };
        let snapshot = fleet.peek();
        snapshot.tenant(slug).map(|tenant| tenant.eligible_by_load()).unwrap_or_default()
    }
}

/// Walks through a selection.
pub struct Walk {
    selection: Arc<Selection>,
    names: std::vec::IntoIter<NodeName>,
}

impl BackendIter for Walk {
    fn next(&mut self) -> Option<&Backend> {
        let backends = &self.selection.backends;
        self.names.find_map(|name| backends.get(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Thresholds, Wanted};
    use crate::model::{Cluster, ClusterGroup, Inventory, Secret, Tenant};

    /// Three nodes behind one address; of `busy` meetings each carries its number.
    fn fleet() -> Arc<Fleet> {
        let node = |name: &str| crate::model::Node {
            name: NodeName::new(name),
            cluster: "main".into(),
            url: "http://127.0.0.1:8090/bigbluebutton/api".parse().expect("a URL"),
            secret: Secret::new("s"),
            weight: 1.0,
            capacity: 200,
            tags: Vec::new(),
            load_url: None,
        };
        let inventory = Inventory {
            clusters: vec![Cluster { name: "main".into(), ..Cluster::default() }],
            groups: vec![ClusterGroup { name: "all".into(), clusters: vec!["main".into()] }],
            nodes: vec![node("a"), node("b"), node("c")],
            tenants: vec![Tenant::sample("acme", &[])],
            ..Inventory::default()
        };
        Arc::new(Fleet::new(inventory, |_| crate::model::AdminState::Ready))
    }

    fn poll(fleet: &Fleet, name: &str) {
        let snapshot = fleet.snapshot();
        let node = snapshot.node(name).expect("a node");
        let thresholds = Thresholds { down_after: 3, up_after: 2 };
        fleet.begin_poll(node).finish(thresholds, 1);
    }

    fn first(balancer: &LoadBalancer<Selection>, key: &Key<'_>) -> Option<String> {
        let backend = balancer.select_with(&key.to_bytes(), usize::MAX, |_, _| true)?;
        backend.ext.get::<NodeName>().map(ToString::to_string)
    }

    #[tokio::test]
    async fn nodes_that_share_an_address_are_told_apart() {
        let fleet = fleet();
        let balancer = balancer(&fleet);
        balancer.update().await.expect("addresses resolve");
        for name in ["a", "b", "c"] {
            let selected = first(&balancer, &Key::Node(&NodeName::new(name)));
            assert_eq!(selected.as_deref(), Some(name));
        }
        assert_eq!(first(&balancer, &Key::Node(&NodeName::new("nobody"))), None);
    }

    #[tokio::test]
    async fn a_tenants_request_walks_its_eligible_nodes_by_load() {
        let fleet = fleet();
        let balancer = balancer(&fleet);
        balancer.update().await.expect("addresses resolve");
        assert_eq!(first(&balancer, &Key::Tenant("acme")), None, "no node is up yet");
        poll(&fleet, "b");
        poll(&fleet, "c");
        let snapshot = fleet.snapshot();
        let tenant = snapshot.tenant("acme").expect("the tenant");
        let key = crate::model::MeetingKey {
            scope: tenant.tenant.scope(crate::model::SubId::MAIN),
            id: "m".into(),
        };
        let taken = tenant.place(&Wanted::new(&key)).expect("two nodes are up");
        let other = if taken.node().name().as_str() == "b" { "c" } else { "b" };
        assert_eq!(first(&balancer, &Key::Tenant("acme")).as_deref(), Some(other));
    }
}
