//! pingora-load-balancing over the fleet: our own discovery, health check and selection.
//!
//! The adapter decides nothing. Discovery lists the snapshot's nodes with their resolved addresses, the
//! health check repeats the verdict of our own polling, and the selection walks the fleet in the order of
//! the policy. Proxied requests find their peer through it; its own health bit is for whoever looks at
//! pingora, no choice depends on it. A node is known by the `Backend`'s weight, a number of its own,
//! because two nodes may share an address.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::debug;
use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::{Backend, Backends, Extensions, LoadBalancer};

use crate::fleet::{Fleet, Node};
use crate::model::{Health, NodeName};

/// How often changes of the inventory and of addresses are taken over.
const UPDATE_EVERY: Duration = Duration::from_secs(2);
/// A name that does not resolve must not hold up the others.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The load balancer of the proxied requests; a pingora background service keeps it up to date.
pub struct Balancer(Arc<LoadBalancer<Selection>>);

/// The balancer as pingora's background service wants it.
pub fn balancer(fleet: &Arc<Fleet>) -> LoadBalancer<Selection> {
    let discovery = Discovery { fleet: fleet.clone(), numbers: Mutex::default() };
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
        Self(service)
    }

    /// The peer for a request that must go to this node.
    pub(super) async fn peer(&self, node: &Node) -> pingora::Result<HttpPeer> {
        let key = Key::Node(node.name()).to_bytes();
        let select = || self.0.select_with(&key, usize::MAX, |_backend, _health| true);
        let backend = match select() {
            Some(backend) => backend,
            None => {
                // New in the inventory, and not taken over yet.
                self.0.update().await?;
                select().ok_or_else(|| {
                    Error::explain(ErrorType::ConnectNoRoute, "the node's name does not resolve")
                })?
            }
        };
        let url = &node.spec.url;
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(HttpPeer::new(backend.addr, url.scheme() == "https", host))
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
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port)));
        let address = match found.await {
            Ok(Ok(mut addresses)) => addresses.next()?,
            Ok(Err(error)) => {
                // The poller says so louder.
                debug!("node {}: its name does not resolve: {error}", node.name());
                return None;
            }
            Err(_elapsed) => return None,
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
