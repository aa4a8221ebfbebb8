//! The public side: pingora's `ProxyHttp`, and a pipeline of plain functions behind it.
//!
//! A request goes **route → authenticate → apply rules → decide → act**. *Decide* gives one value, a
//! `Decision`: answer, redirect or forward; only *act*, in `proxy.rs`, touches pingora. Each BBB call is
//! one file below `calls/`.
//!
//! Calls whose answer must be read, retried or merged go through our own node client (`ask.rs`); what is
//! only passed on (`join` with `redirect=false`) is truly proxied, by way of pingora-load-balancing
//! (`balancer.rs`).

mod access_log;
mod ask;
mod assets;
mod authenticate;
mod b3lb;
mod balancer;
mod branding;
mod callbacks;
mod calls;
mod claiming;
mod client;
mod coalesce;
mod events;
mod expiry;
mod fan_out;
mod farewell;
mod form;
mod front;
mod head;
mod limits;
mod lookups;
mod metrics;
mod pages;
mod patience;
mod ping;
mod pipeline;
mod protection;
mod proxy;
mod public_api;
mod rates;
mod refusal;
mod reply;
mod request;
mod rewound;
mod route;
mod rules;
mod tls;
mod track;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use prometheus::Registry;
use tokio::sync::Semaphore;
use url::Url;

pub use balancer::{Balancer, balancer};
pub use callbacks::Callbacks;
pub use expiry::watch_expiry;
pub use farewell::Farewell;
pub use front::{BeforeTls, Doorway, Front, ProxyProtocol};
pub use public_api::{PublicApi, Unread};
pub use rates::Rates;
pub use tls::{Certificate, Unusable};

use crate::fleet::Fleet;
use crate::node::Client;
use crate::store::Store;

/// What the edge needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Hosts below it name a tenant.
    pub base_domain: Option<String>,
    /// Where browsers and nodes reach us, if that is not where they ask.
    pub public_url: Option<Url>,
    /// Whose forwarding headers count.
    pub trusted_proxies: Vec<IpNet>,
    /// Request line and headers together.
    pub max_header_bytes: usize,
    /// A request body.
    pub max_body_bytes: usize,
    /// From the first byte of a head to its last, and from there to the end of a form.
    pub header_timeout: Duration,
    /// Open connections; 0 is no limit.
    pub max_connections: usize,
    /// Requests of one client address in a second; 0 is no limit.
    pub requests_per_second: u32,
    /// The parameter of `create` by which a front end says how many it expects.
    pub size_hint: String,
    /// What becomes of callbacks.
    pub callbacks: Callbacks,
}

/// The public side of Portico.
pub struct Edge {
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    client: Client,
    balancer: Arc<Balancer>,
    settings: Settings,
    api: Option<PublicApi>,
    coalesced: coalesce::Coalesced,
    kept: Arc<fan_out::Kept>,
    lookups: lookups::Lookups,
    patience: Arc<patience::Patience>,
    ping: ping::Ping,
    farewell: Farewell,
    /// Memory, in KiB, for forms that must be read before their sender is known.
    strangers_forms: Semaphore,
    address_rates: Option<protection::AddressRates>,
    tenant_rates: protection::TenantRates,
    rates: Arc<Rates>,
    metrics: metrics::Metrics,
}

/// Counts the requests that are being served; it reads 0 when nothing would be cut off.
#[derive(Clone)]
pub struct InFlight(metrics::Requests);

impl InFlight {
    /// Requests whose answer is not out yet.
    pub fn count(&self) -> i64 {
        self.0.in_flight()
    }
}

impl Edge {
    /// Assembles the edge.
    ///
    /// # Errors
    /// When its metrics are registered already.
    pub fn new(
        fleet: Arc<Fleet>,
        store: Arc<dyn Store>,
        client: Client,
        balancer: Arc<Balancer>,
        settings: Settings,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let rates = Arc::new(Rates::new());
        Ok(Self {
            fleet,
            store,
            client,
            balancer,
            address_rates: protection::AddressRates::new(&rates, settings.requests_per_second),
            settings,
            api: None,
            tenant_rates: protection::TenantRates::new(&rates),
            rates,
            strangers_forms: Semaphore::new(pipeline::STRANGERS_FORMS_KIB),
            coalesced: coalesce::Coalesced::default(),
            kept: fan_out::Kept::register(registry)?,
            lookups: lookups::Lookups::default(),
            patience: Arc::default(),
            ping: ping::Ping::default(),
            farewell: Farewell::default(),
            metrics: metrics::Metrics::register(registry)?,
        })
    }

    /// What is counted of requests, for other instances to know.
    pub fn rates(&self) -> Arc<Rates> {
        self.rates.clone()
    }

    /// The requests that are being served.
    pub fn in_flight(&self) -> InFlight {
        InFlight(self.metrics.requests.clone())
    }

    /// Has clients open new connections, which a balancer may send elsewhere.
    pub fn farewell(&self) -> Farewell {
        self.farewell.clone()
    }
}
