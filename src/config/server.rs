//! `server`: where Portico listens and who it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use url::Url;

use super::files;
use super::reader::{Fields, Item};

/// The listeners and the outside view of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The public side. Default: plain HTTP on port 8080 of every address.
    pub listen: Vec<Listen>,
    /// The operators' side, never public. Default: 127.0.0.1:8081.
    pub admin: SocketAddr,
    /// How front ends reach us, where that is not what their requests say.
    pub public_url: Option<Url>,
    /// The domain whose sub-domains are tenants; lower-case.
    pub base_domain: Option<String>,
    /// Whose `X-Forwarded-*` and `Forwarded` count. Default: this machine.
    pub trusted_proxies: Vec<IpNet>,
    /// Worker threads; 0 is one per core.
    pub threads: usize,
    /// After SIGTERM everything goes on for so long, but for `/readyz`, so that a balancer in front looks
    /// elsewhere before the listeners close. Default: 0, there is none.
    pub drain: Duration,
    /// How long requests in flight may go on after a stop. Default: 10 s.
    pub grace: Duration,
}

/// One public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// HTTPS with this certificate, else plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether a load balancer in front speaks the PROXY protocol here; then everyone must.
    pub proxy_protocol: bool,
}

/// PEM files that exist, parse and belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its intermediates.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Above 1024, so that no privilege is needed; what B3LB and Scalelite users have behind their proxy.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Only this machine: who reaches the console rules the pool.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// A proxy on the same machine is the usual reason for forwarded headers.
const DEFAULT_TRUSTED: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];
/// The slowest ordinary call, a create with a slide upload, takes a few seconds.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// More is a typing mistake: no machine we know has more cores.
const MAX_THREADS: usize = 1024;
const MAX_GRACE: Duration = Duration::from_hours(1);
/// A chain of certificates has a few KiB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

pub(super) fn read(item: &Item<'_>) -> Option<Server> {
    item.fields(|fields| {
        let (admin, admin_item) = admin(fields);
        let listen = listen(fields, admin, &admin_item);
        let public_url = fields.optional("public_url").http_url();
        let base_domain = fields.optional("base_domain").host();
        let trusted_proxies = trusted_proxies(&fields.optional("trusted_proxies"));
        let threads = fields.optional("threads").whole(0..=MAX_THREADS).unwrap_or(0);
        let drain = fields.optional("drain").duration(Duration::ZERO..=MAX_GRACE);
        let drain = drain.unwrap_or(Duration::ZERO);
        let grace = fields.optional("grace").duration(Duration::ZERO..=MAX_GRACE);
        let grace = grace.unwrap_or(DEFAULT_GRACE);
        Some(Server {
            listen,
            admin,
            public_url,
            base_domain,
            trusted_proxies,
            threads,
            drain,
            grace,
        })
    })
}

/// The address of the operators' side, for those who only want to call it.
fn admin<'a>(fields: &Fields<'a, '_>) -> (SocketAddr, Item<'a>) {
    let item = fields.optional("admin");
    (item.socket_address().unwrap_or(DEFAULT_ADMIN), item)
}

fn trusted_proxies(item: &Item<'_>) -> Vec<IpNet> {
    if item.is_absent() {
        return DEFAULT_TRUSTED.to_vec();
    }
    item.networks()
}

fn listen(fields: &Fields<'_, '_>, admin: SocketAddr, admin_item: &Item<'_>) -> Vec<Listen> {
    let item = fields.optional("listen");
    if item.is_absent() {
        let address = DEFAULT_LISTEN;
        if collide(address, admin) {
            admin_item.problem(format_args!(
                "{admin} is where the public side listens by default; choose another port"
            ));
        }
        return vec![Listen { address, tls: None, proxy_protocol: false }];
    }
    let mut taken: Vec<SocketAddr> = Vec::new();
    let listeners = item.list(|item| {
        item.fields(|fields| {
            let address_item = fields.required("address", "an IP address and a port");
            let address = address_item.socket_address();
            let tls = fields.optional("tls");
            let tls_files = (!tls.is_absent()).then(|| read_tls(&tls));
            let proxy_protocol = fields.optional("proxy_protocol").flag().unwrap_or(false);
            let address = address?;
            if taken.iter().any(|other| collide(*other, address)) {
                address_item.problem(format_args!("{address} is taken by another listener"));
            }
            if collide(admin, address) {
                address_item.problem(format_args!(
                    "{address} is taken by server.admin, which must not be public"
                ));
            }
            taken.push(address);
            let tls = match tls_files {
                Some(files) => Some(files?),
                None => None,
            };
            Some(Listen { address, tls, proxy_protocol })
        })
    });
    if taken.is_empty() {
        item.warn("no public listener: front ends cannot reach Portico");
    }
    listeners
}

/// Whether two listeners cannot both have their address. Port 0 is a free port, a new one each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same_ip = a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4());
    a.port() != 0 && a.port() == b.port() && same_ip
}

fn read_tls(item: &Item<'_>) -> Option<TlsFiles> {
    item.fields(|fields| {
        let cert_item = fields.required("cert", "the path of the certificate chain, PEM");
        let key_item = fields.required("key", "the path of the private key, PEM");
        let cert = pem(&cert_item, certificates);
        let key = pem(&key_item, private_key);
        let ((cert, chain), (key, der)) = (cert?, key?);
        if let Err(error) = CertifiedKey::from_der(chain, der, &ring::default_provider()) {
            key_item.problem(format_args!("the key does not fit the certificate: {error}"));
            return None;
        }
        Some(TlsFiles { cert, key })
    })
}

fn pem<T>(
    item: &Item<'_>,
    parse: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Option<(PathBuf, T)> {
    let path = item.path()?;
    let parsed = files::read(&path, MAX_PEM_BYTES)
        .and_then(|bytes| parse(&bytes).map_err(|allowed| format!("holds no {allowed}")));
    match parsed {
        Ok(parsed) => Some((path, parsed)),
        Err(reason) => {
            item.problem(format_args!("{} {reason}; name a PEM file", path.display()));
            None
        }
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or("certificate in PEM")
}

fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_error| "unencrypted private key in PEM")
}
