//! `portico serve`: everything is assembled here and handed down as narrow parts.
//!
//! What can fail fails before a port is bound: the configuration, the certificates, the store. Only then
//! pingora's server takes over the process; it ends with it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use log::{error, info, warn};
use pingora::listeners::tls::TlsSettings;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::background::{Axum, background};
use super::data_dir::DataDir;
use super::gossip::gossip;
use super::instances::{self, Instances};
use super::local::local_socket;
use super::public_api::public_api;
use super::reload::{Reloader, follow_hangups};
use super::services::{
    chronicle, counters, counting, history, hooks, housekeeping, leases, outbox, poller, reach,
    statistics,
};
use super::signals::{self, Signals, Successor};
use super::{DONE, WRONG, check, environment, own, store};
use crate::admin::{Admin, Desk, Tools};
use crate::bus::Membership;
use crate::config::{self, Listen, Own, Settings};
use crate::edge::{self, Balancer, Certificate, Doorway, Edge, ProxyProtocol};
use crate::fleet::predict::History;
use crate::fleet::{Fleet, Leases, now_ms};
use crate::inventory::{self, Keeper, Seen, branding};
use crate::model::{AdminState, NodeName};
use crate::node::{Client, ClientSettings};
use crate::store::{Health, Saved, Store};
use crate::tasks::{self, Ending, NodeHooks};

/// A node on the same continent connects in a tenth of this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Beside its grace, the process that hands its sockets over takes so long at most: pingora waits 5 s
/// before it closes its listeners, and 5 s for its runtimes; in between 5 s are for what the store is to be told.
const OVERLAP: Duration = Duration::from_secs(30);
/// What operators are told meanwhile.
const READING: &str = "reading the store";
/// Meetings of an unknown tenant are kept: its slug may be mistyped.
const UNKNOWN_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// After the grace the store is told what there is to tell for so long.
const TELLING_WITHIN: Duration = Duration::from_secs(5);
/// What pingora gives its runtimes when the grace is over.
const RUNTIMES_WITHIN_SECONDS: u64 = 5;
/// Idle connections that are kept for proxied requests, over all nodes.
const UPSTREAM_POOL: usize = 512;

/// Whether sockets are taken over from a running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// A fresh start.
    No,
    /// The running process hands its sockets over and leaves.
    Yes,
}

pub(super) fn serve(path: &Path, is_upgrade: bool) -> anyhow::Result<u8> {
    let settings = match config::load(path, &environment) {
        Ok(settings) => settings,
        Err(report) => {
            error!("{report}");
            return Ok(WRONG);
        }
    };
    for warning in settings.warnings.iter().chain(&check::unused(&settings)) {
        warn!("{warning}");
    }
    if let Err(missing) = check::supported(path, &settings) {
        error!("{missing}");
        return Ok(WRONG);
    }
    if let Some(refused) = own::refuse_at_start(path, &settings)? {
        error!("{refused}");
        return Ok(WRONG);
    }
    let upgrade = if is_upgrade { Upgrade::Yes } else { Upgrade::No };
    info!("portico {}: {}", env!("CARGO_PKG_VERSION"), check::summary(&settings));
    let admin = settings.server.admin;
    let public: Vec<String> = settings.server.listen.iter().map(shown).collect();
    let portico = match Portico::assemble(settings, upgrade, Some(path.to_owned())) {
        Err(refused) if refused.is::<config::Report>() || refused.is::<inventory::Clashed>() => {
            error!("{refused}");
            return Ok(WRONG);
        }
        assembled => assembled?,
    };
    info!("listening on {}; operators on http://{admin}", public.join(", "));
    portico.run();
    Ok(DONE)
}

fn shown(listen: &Listen) -> String {
    let scheme = if listen.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", listen.address)
}

/// Everything, assembled and ready to run.
pub(super) struct Portico {
    server: Server,
    signals: Signals,
    /// Others see us as alive while it is there.
    _membership: Option<Arc<Membership>>,
    /// Carries the store's and the client's own tasks; they live as long as the process.
    _runtime: Runtime,
}

impl Portico {
    /// Assembles all parts of a configuration. `path` is where it is read again from on a hangup.
    ///
    /// # Errors
    /// When the store, a certificate or a port cannot be used.
    pub(super) fn assemble(
        mut settings: Settings,
        upgrade: Upgrade,
        path: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        if upgrade == Upgrade::No {
            let public = settings.server.listen.iter().map(|listen| listen.address);
            probe_ports(public.chain([settings.server.admin]))?;
        }
        let certificates = load_certificates(&settings.server.listen)?;
        let client = Client::new(ClientSettings { connect_timeout: CONNECT_TIMEOUT })?;
        let runtime = Runtime::new().context("starting the runtime")?;
        signals::prepare(&runtime)?;
        let mut patience = store::Patience::new(&settings, upgrade);
        let registry = Registry::new();
        let health = Health::register(&registry)?;
        let store = runtime.block_on(store::open(&settings, &mut patience, health))?;
        let data_dir = Arc::new(DataDir::take(&settings.data_dir, upgrade)?);
        let file = path.as_deref().unwrap_or(Path::new("configuration"));
        let mut seen = Seen::load(&settings.data_dir);
        let (applied, fleet, counters) = runtime.block_on(async {
            let complete = async || branding::complete(&mut settings, file, store.as_ref()).await;
            patience.until(READING, complete).await?;
            // Before anything is sealed with another key than it was.
            let open = async || refuse_to_lose(&settings, &store.load().await?);
            patience.until(READING, open).await?;
            let choose = async || inventory::choose(&mut settings, &mut seen, store.as_ref()).await;
            let applied = patience.until(READING, choose).await?;
            let restore = async || restore(&settings, store.as_ref()).await;
            let mut fleet = patience.until(READING, restore).await?;
            fleet.leases = Leases::of(instances::own_name());
            let fleet = Arc::new(fleet);
            fleet.set_overlapping(upgrade == Upgrade::Yes);
            let counters = counters(&settings, &fleet, &store);
            // Before anybody looks: what is seen at 0 first would have grown by all of it at once.
            let sync = async || anyhow::Ok(counters.sync().await?);
            match patience.until(READING, sync).await {
                // Its task does it later, and the process that is to leave may not come back.
                Err(trouble) if upgrade == Upgrade::Yes => {
                    warn!("counters begin at 0 for now: {trouble:#}");
                }
                synced => synced?,
            }
            patience.end().await;
            anyhow::Ok((applied, fleet, counters))
        })?;

        fleet.journal().open();
        register_process(&registry)?;
        let metrics = tasks::Metrics::register(&registry)?;
        let mut instances = Instances::open(&settings, &fleet, &runtime, &registry)?;
        instances.keep_in_step(&runtime, &fleet, &store);
        let Instances { duties, membership, .. } = instances;
        let outbox = outbox(&settings, &fleet, &store, &client, &registry, &duties)?;
        let poller = poller(&settings, &fleet, &store, &client, &metrics, &duties, &outbox.wake);
        if upgrade == Upgrade::Yes {
            // Requests come as soon as the sockets do, and a node that was never polled gets no meetings.
            runtime.block_on(poller.poll_all());
        }
        let upgrade_socket = runtime_dir(&settings.data_dir).join("upgrade.sock");
        let conf = server_conf(&settings, &upgrade_socket);
        let options = Opt { upgrade: upgrade == Upgrade::Yes, ..Opt::default() };
        let mut server = Server::new_with_opt_and_conf(options, conf);
        server.bootstrap();

        let balancing = background_service("balancer", edge::balancer(&fleet));
        let edge = Edge::new(
            fleet.clone(),
            store.clone(),
            client.clone(),
            Arc::new(Balancer::new(balancing.task())),
            edge_settings(&settings, &outbox.wake),
            &registry,
        )?;
        server.add_service(balancing);
        let (in_flight, farewell, rates) = (edge.in_flight(), edge.farewell(), edge.rates());
        let listeners = settings.server.listen.iter().map(|listen| listen.address.to_string());
        edge::watch_expiry(listeners.zip(certificates.iter().cloned()), &registry)?;

        let (leaving, is_leaving) = watch::channel(false);
        let keeper = Keeper::new(fleet.clone(), store.clone(), &settings, applied, seen);
        let keeper = Arc::new(keeper);
        let keys = settings.api.jwt_secrets();
        let tools = Tools {
            client: client.clone(),
            duties: duties.clone(),
            own: Own::of(&settings.server),
            remembered: settings.placement.keep,
        };
        let desk = Desk::new(fleet.clone(), keeper.clone(), store.clone(), keys, tools);
        let admin = Admin::new(fleet.clone(), registry.clone(), is_leaving, settings.metrics);
        let edge = edge.with_api(public_api(&settings.api, admin.b3scale(desk.clone())));
        let doorway = Doorway::new(edge, &server.configuration);
        for (listen, certificate) in settings.server.listen.iter().zip(&certificates) {
            server.add_service(listener(&settings, listen, certificate.as_ref(), &doorway)?);
        }
        let router = admin.router(desk);
        if let Some(path) = settings.api.socket_path(&settings.data_dir) {
            server.add_service(local_socket(path, router.clone(), settings.server.grace));
        }
        let mut service = Service::new("admin".to_owned(), Axum(router));
        service.add_tcp(&settings.server.admin.to_string());
        service.threads = Some(1);
        server.add_service(service);

        server.add_service(background("poller", move |stop| {
            let poller = poller.clone();
            async move { poller.run(stop).await }
        }));
        server.add_service(housekeeping(&fleet, &store, &metrics, &duties));
        server.add_service(leases(&fleet, &store, settings.server.grace, &metrics));
        // In an upgrade requests have all the time that pingora gives them, and what comes of these is to be told.
        let ending = Ending::new(settings.server.grace + TELLING_WITHIN / 2);
        server.add_service(counting(counters, &metrics, &ending));
        server.add_service(statistics(&settings, &fleet, &store, &metrics, &ending));
        server.add_service(history(&settings, &fleet, &store, &metrics, &ending));
        chronicle(&settings, &fleet, &store, &metrics, &duties, &ending)
            .map(|it| server.add_service(it));
        let delivering = outbox.metrics.in_flight();
        server.add_service(background("outbox", move |stop| outbox.clone().run(stop)));
        if let Some(public_url) = settings.server.public_url.clone() {
            server.add_service(hooks(
                NodeHooks { fleet: fleet.clone(), client, public_url, duties },
                &metrics,
            ));
        }
        if let Some(membership) = &membership {
            server.add_service(instances::leaving(membership.clone()));
            server.add_service(gossip(&fleet, rates));
        }
        let successor =
            path.clone().map(|config| Successor { program: program(), config, upgrade_socket });
        let signals = Signals {
            successor,
            fleet: fleet.clone(),
            in_flight,
            delivering,
            ending,
            farewell,
            leaving: leaving.clone(),
            drain: settings.server.drain,
            grace: settings.server.grace,
        };
        let overlap = settings.server.grace + OVERLAP;
        let overlapping = fleet.clone();
        let follower = keeper.clone();
        server.add_service(background("inventory", move |stop| {
            let follower = follower.clone();
            async move { follower.follow(stop).await }
        }));
        let reloader = Arc::new(Reloader { path, settings, keeper, store, certificates });
        server.add_service(background("configuration", move |stop| {
            follow_hangups(reloader.clone(), stop)
        }));
        server.add_service(background("service manager", move |stop| {
            let alone = alone(overlapping.clone(), data_dir.clone(), overlap);
            tell_service_manager(overlapping.clone(), alone, leaving.clone(), stop)
        }));
        Ok(Self { server, signals, _membership: membership, _runtime: runtime })
    }

    /// Serves until a signal ends it.
    pub(super) fn run(self) {
        self.server.run(RunArgs { shutdown_signal: Box::new(self.signals) });
    }
}

/// Binds every port for a moment: pingora would retry for half a minute and then lose the listener while
/// the process lives on.
fn probe_ports(addresses: impl Iterator<Item = SocketAddr>) -> anyhow::Result<()> {
    for address in addresses {
        TcpListener::bind(address).with_context(|| {
            format!(
                "listening on {address}: choose another address in `server`, or stop what uses it"
            )
        })?;
    }
    Ok(())
}

fn load_certificates(listens: &[Listen]) -> anyhow::Result<Vec<Option<Arc<Certificate>>>> {
    let load = |listen: &Listen| {
        let files = listen.tls.as_ref();
        files.map(|files| Certificate::load(files.cert.clone(), files.key.clone())).transpose()
    };
    Ok(listens.iter().map(load).collect::<Result<_, _>>()?)
}

/// The fleet as it was: meetings, and what operators wanted of nodes.
async fn restore(settings: &Settings, store: &dyn Store) -> anyhow::Result<Fleet> {
    let saved = store.load().await?;
    refuse_to_lose(settings, &saved)?;
    let Saved { meetings, nodes, hooks, skipped, first_skipped, .. } = saved;
    if let Some(first) = first_skipped {
        let rows = check::counted(skipped, "saved row");
        error!("left out what cannot be understood: {rows}, the first: {first}");
    }
    let fleet = Fleet::new(settings.inventory.clone(), |name| {
        let saved = nodes.iter().find(|node| node.name == *name);
        match saved.map(|node| node.state) {
            None | Some(AdminState::Retired) => AdminState::Ready,
            Some(state) => state,
        }
    })
    .in_zone(settings.placement.timezone.clone())
    .at_speed(settings.clock_speed)
    .with_history(History::of_at_most(settings.placement.max_rows));
    fleet.hooks.restore(hooks);
    let gone: Vec<_> = nodes.into_iter().filter_map(|node| node.spec).collect();
    let count = meetings.len();
    let dropped = fleet.restore(meetings, gone);
    let too_old = now_ms().saturating_sub(UNKNOWN_KEPT_MS);
    for meeting in dropped.iter().filter(|meeting| meeting.created_at_ms < too_old) {
        store.remove_meeting(&meeting.key, &meeting.internal_id).await?;
    }
    if !dropped.is_empty() {
        warn!(
            "{} left out, as the node is not in the file; back if it is within a day",
            check::counted(dropped.len(), "saved meeting")
        );
    }
    for (tenant, meetings) in fleet.gone_tenants() {
        inventory::warn_of_gone(&tenant, meetings);
    }
    let running = check::counted(count - dropped.len(), "meeting");
    info!("{running} running when we last looked");
    inventory::save_nodes(&fleet, store, |_| true).await?;
    Ok(fleet)
}

/// Another `store.key` than the one before hides where retired nodes are.
fn refuse_to_lose(settings: &Settings, saved: &Saved) -> anyhow::Result<()> {
    let in_file = &settings.inventory.nodes;
    let is_in_file = |name: &NodeName| in_file.iter().any(|node| node.name == *name);
    let (nodes, meetings) = saved.lost_with_key(is_in_file);
    if nodes.is_empty() {
        return Ok(());
    }
    let names = nodes.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let why = match settings.store.key {
        Some(_) => "were sealed with another key",
        None => "are sealed, and it is missing",
    };
    let running = check::counted(meetings, "running meeting");
    anyhow::bail!(
        "store.key: the secrets of nodes that are not in the file ({names}) {why}; they have {running}: put the \
         former key back until these are over, or the nodes into the file"
    );
}

fn register_process(registry: &Registry) -> prometheus::Result<()> {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))
}

fn server_conf(settings: &Settings, upgrade_socket: &Path) -> ServerConf {
    let threads = match settings.server.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    let grace = settings.server.grace;
    let grace_seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    ServerConf {
        threads,
        grace_period_seconds: Some(grace_seconds + TELLING_WITHIN.as_secs()),
        graceful_shutdown_timeout_seconds: Some(RUNTIMES_WITHIN_SECONDS),
        upgrade_sock: upgrade_socket.display().to_string(),
        pid_file: upgrade_socket.with_file_name("portico.pid").display().to_string(),
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        // A request is proxied to the one node that runs its meeting.
        max_retries: 1,
        ..ServerConf::default()
    }
}

/// Where sockets belong: systemd's `RuntimeDirectory`, else beside the data.
fn runtime_dir(data_dir: &Path) -> PathBuf {
    environment("RUNTIME_DIRECTORY").map_or_else(|| data_dir.to_owned(), PathBuf::from)
}

/// The program by the name it was started with; a bare name is looked up again.
fn program() -> PathBuf {
    match std::env::args_os().next() {
        Some(name) if !name.is_empty() => name.into(),
        _ => PathBuf::from("portico"),
    }
}

fn edge_settings(settings: &Settings, wake: &Arc<Notify>) -> edge::Settings {
    let public_url = settings.server.public_url.clone();
    edge::Settings {
        base_domain: settings.server.base_domain.clone(),
        public_url: settings.server.public_url.clone(),
        trusted_proxies: settings.server.trusted_proxies.clone(),
        max_header_bytes: settings.limits.max_header_bytes,
        max_body_bytes: settings.limits.max_body_bytes,
        header_timeout: settings.limits.header_timeout,
        max_connections: settings.limits.max_connections,
        requests_per_second: settings.limits.requests_per_second,
        size_hint: settings.placement.size_hint.clone(),
        callbacks: edge::Callbacks::new(public_url, reach(settings), wake.clone()),
    }
}

fn listener(
    settings: &Settings,
    listen: &Listen,
    certificate: Option<&Arc<Certificate>>,
    doorway: &Doorway,
) -> anyhow::Result<Service<edge::Front>> {
    let address = listen.address.to_string();
    let header_timeout = settings.limits.header_timeout;
    let protocol = listen
        .proxy_protocol
        .then(|| ProxyProtocol::new(&settings.server.trusted_proxies, header_timeout));
    let name = format!("edge {address}");
    let Some(certificate) = certificate else {
        let mut service = Service::new(name, doorway.front(protocol));
        service.add_tcp(&address);
        return Ok(service);
    };
    let mut service = Service::new(name, doorway.front(None));
    let files = listen.tls.as_ref().context("a certificate comes from files")?;
    let mut tls =
        TlsSettings::intermediate(&files.cert.to_string_lossy(), &files.key.to_string_lossy())?;
    tls.set_cert_resolver(certificate.clone());
    tls.enable_h2();
    service.add_tls_with_settings(&address, None, tls);
    let before = doorway.before_tls(protocol);
    service.endpoints().set_pre_tls_callback(Arc::new(before));
    Ok(service)
}

/// The process that hands its sockets over to us goes on for a while; then we are alone. Never ends.
async fn alone(fleet: Arc<Fleet>, data_dir: Arc<DataDir>, overlap: Duration) {
    sleep(overlap).await;
    if fleet.is_overlapping() && !data_dir.inherit() {
        warn!("the process that was to leave is still there");
    }
    fleet.set_overlapping(false);
    std::future::pending::<()>().await;
}

/// Tells systemd, if it has started us, that we are there and that we leave.
async fn tell_service_manager(
    fleet: Arc<Fleet>,
    alone: impl Future<Output = ()>,
    leaving: watch::Sender<bool>,
    mut stop: ShutdownWatch,
) {
    use sd_notify::NotifyState;

    notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    // An error is a server that is gone, which also means to leave.
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = alone => {}
    }
    // After an upgrade the unit goes on, with another process, which is as ready.
    if !fleet.is_overlapping() {
        leaving.send_replace(true);
        notify(&[NotifyState::Stopping]);
    }
}

pub(super) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(trouble) = sd_notify::notify(states) {
        warn!("systemd cannot be told: {trouble}");
    }
}
