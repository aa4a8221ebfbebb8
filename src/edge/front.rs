//! What stands before pingora's proxy on every connection: the number of connections, the time a
//! request's head may take, and the PROXY protocol. Pingora has no bounds of its own for these; its 60 s
//! count per read, so that a client could dribble a head for months.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use http::StatusCode;
use ipnet::IpNet;
use log::debug;
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::http::ResponseHeader;
use pingora::listeners::PreTlsProcess;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{ALPN, GetProxyDigest, Peek, SocketDigest, Stream};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Edge;
use super::metrics::Metrics;
use super::rewound::Rewound;

/// Pingora keeps an idle connection for so long.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// After the listener is closed, a client that had just connected gets this long for its request.
const LAST_REQUEST_WITHIN: Duration = Duration::from_millis(500);
/// What every HTTP/2 connection begins with.
const H2_PREFACE_BYTES: usize = 24;
/// A TLS record begins with its type, version, and length; a hello that is longer is none.
const TLS_RECORD_HEAD_BYTES: usize = 5;
const TLS_HANDSHAKE: u8 = 22;
const MAX_HELLO_BYTES: usize = 16 * 1024;
/// A v1 header has at most 107 bytes; of a v2 header, addresses and TLVs fit into this.
const MAX_V1_BYTES: usize = 107;
const MAX_V2_BYTES: usize = 1024;

/// The edge as pingora serves it, and what all its listeners share.
#[derive(Clone)]
pub struct Doorway {
    proxy: Arc<HttpProxy<Edge>>,
    /// Free connections; `None` is no limit.
    slots: Option<Arc<Semaphore>>,
    header_timeout: Duration,
    metrics: Metrics,
}

/// The connection's side of the edge, for one listener.
pub struct Front {
    doorway: Doorway,
    /// Who may name another client's address, on a plain listener that expects it.
    proxy_protocol: Option<ProxyProtocol>,
}

/// Takes the client's address from the PROXY protocol of trusted peers. Others are closed: on such a
/// listener nobody else has any business.
#[derive(Clone)]
pub struct ProxyProtocol {
    trusted: Arc<[IpNet]>,
    within: Duration,
}

/// What has to happen on a TLS listener before the handshake, for which pingora leaves a minute.
pub struct BeforeTls {
    doorway: Doorway,
    proxy_protocol: Option<ProxyProtocol>,
}

impl Doorway {
    /// Hands the edge to pingora.
    pub fn new(edge: Edge, conf: &Arc<ServerConf>) -> Self {
        let metrics = edge.metrics.clone();
        let header_timeout = edge.settings.header_timeout;
        let slots = match edge.settings.max_connections {
            0 => None,
            max => Some(Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))),
        };
        let mut proxy = http_proxy(conf, edge);
        let mut options = HttpServerOptions::default();
        // Off by default; an idle HTTP/2 connection would stay for ever.
        options.h2_idle_timeout = Some(KEEP_ALIVE);
        proxy.server_options = Some(options);
        Self { proxy: Arc::new(proxy), slots, header_timeout, metrics }
    }

    /// What serves the connections of a listener. `proxy_protocol` is for plain ones; with TLS the
    /// header stands before the handshake, and pingora takes it there.
    pub fn front(&self, proxy_protocol: Option<ProxyProtocol>) -> Front {
        Front { doorway: self.clone(), proxy_protocol }
    }

    /// What a TLS listener needs besides: it takes the connection's place, expects the PROXY header, if
    /// there is to be one, and then a client's hello, each within the time of a head.
    pub fn before_tls(&self, proxy_protocol: Option<ProxyProtocol>) -> BeforeTls {
        BeforeTls { doorway: self.clone(), proxy_protocol }
    }

    /// Gives a connection its place for as long as it lives. False if there is none.
    fn admit(&self, stream: &mut L4Stream) -> pingora::Result<bool> {
        let Some(slots) = &self.slots else { return Ok(true) };
        let Ok(slot) = slots.clone().try_acquire_owned() else { return Ok(false) };
        // The one thing of ours that a stream carries along. We are no client of a proxy that would use it.
        let nothing = Box::new(ResponseHeader::build(StatusCode::OK, None)?);
        stream.set_proxy_digest(ProxyDigest::new(nothing, Some(Box::new(slot))));
        Ok(true)
    }
}

tokio::task_local! {
    /// Until when the connection of this task must have sent its next head.
    static NEXT_HEAD: Arc<NextHead>;
}

#[derive(Debug)]
struct NextHead {
    header_timeout: Duration,
    begun: Instant,
    /// Milliseconds after `begun`, or `NOTHING_DUE`.
    due_ms: AtomicU64,
}

/// While a request is served.
const NOTHING_DUE: u64 = u64::MAX;

impl NextHead {
    fn new(header_timeout: Duration) -> Self {
        let next = Self { header_timeout, begun: Instant::now(), due_ms: AtomicU64::default() };
        next.set_due(next.begun + header_timeout);
        next
    }

    fn set_due(&self, due: Instant) {
        let due = due.saturating_duration_since(self.begun).as_millis();
        self.due_ms.store(u64::try_from(due).unwrap_or(NOTHING_DUE), Ordering::Relaxed);
    }

    fn due(&self) -> Option<Instant> {
        match self.due_ms.load(Ordering::Relaxed) {
            NOTHING_DUE => None,
            due_ms => self.begun.checked_add(Duration::from_millis(due_ms)),
        }
    }
}

/// Tells the connection that the head of its request is in.
pub(super) fn head_is_in() {
    // Outside of such a task it is HTTP/2, whose streams are tasks of their own.
    NEXT_HEAD.try_with(|next| next.due_ms.store(NOTHING_DUE, Ordering::Relaxed)).ok();
}

/// Tells the connection that it waits for its next request.
pub(super) fn awaits_head(now: Instant) {
    NEXT_HEAD.try_with(|next| next.set_due(now + KEEP_ALIVE + next.header_timeout)).ok();
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Doorway { proxy, slots, metrics, .. } = &self.doorway;
        let refused = |reason| metrics.connections_refused.with_label_values(&[reason]).inc();
        // With TLS it has one since before its handshake.
        let is_counted = stream.get_ssl_digest().is_some();
        let slot = slots.as_ref().filter(|_| !is_counted).map(|slots| slots.try_acquire());
        if matches!(slot, Some(Err(_))) {
            refused("limit");
            return None;
        }
        if let Some(protocol) = &self.proxy_protocol
            && let Err(error) = protocol.read_plain(&mut stream).await
        {
            debug!("closed a connection without a usable PROXY header: {error}");
            refused("proxy_protocol");
            return None;
        }
        metrics.connections.inc();
        let is_h2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let left = if is_h2 {
            if let Some(stream) = self.after_preface(stream).await {
                ServerApp::process_new(proxy, stream, shutdown).await
            } else {
                refused("slow_head");
                None
            }
        } else {
            let left = self.with_deadline(stream, shutdown).await;
            if left.is_none() {
                refused("slow_head");
            }
            left.flatten()
        };
        metrics.connections.dec();
        drop(slot);
        left
    }

    /// Pingora then cuts every connection that waits for a request, also one that was accepted the moment
    /// before and has its request on the way.
    async fn cleanup(&self) {
        sleep(LAST_REQUEST_WITHIN).await;
        ServerApp::cleanup(&*self.doorway.proxy).await;
    }
}

impl Front {
    /// An HTTP/2 connection, once its client has said that it means it; `None` if it does not in time.
    /// Pingora would wait for ever; from then on it closes the connection when it is idle.
    async fn after_preface(&self, mut stream: Stream) -> Option<Stream> {
        let mut preface = BytesMut::zeroed(H2_PREFACE_BYTES);
        match timeout(self.doorway.header_timeout, stream.read_exact(&mut preface)).await {
            Ok(Ok(_)) => Some(Box::new(Rewound::new(preface.freeze(), stream))),
            // Gone; pingora finds that out, too.
            Ok(Err(_)) => Some(stream),
            Err(_) => None,
        }
    }

    /// Serves a connection as long as its heads come in time; `None` if one did not.
    async fn with_deadline(
        &self,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Option<Stream>> {
        let Doorway { proxy, header_timeout, .. } = &self.doorway;
        let header_timeout = *header_timeout;
        let next = Arc::new(NextHead::new(header_timeout));
        let served = NEXT_HEAD.scope(next.clone(), ServerApp::process_new(proxy, stream, shutdown));
        tokio::pin!(served);
        loop {
            // While a request is served nothing is due; look again when the earliest next could be.
            let wake = next.due().unwrap_or_else(|| Instant::now() + header_timeout);
            tokio::select! {
                left = &mut served => return Some(left),
                () = sleep_until(wake) => {
                    if next.due().is_some_and(|due| due <= Instant::now()) {
                        return None;
                    }
                }
            }
        }
    }
}

impl ProxyProtocol {
    /// Believes the peers in `trusted`; their header must be in `within` this time.
    pub fn new(trusted: &[IpNet], within: Duration) -> Self {
        Self { trusted: trusted.into(), within }
    }

    async fn read_plain(&self, stream: &mut Stream) -> io::Result<()> {
        let digest = stream.get_socket_digest();
        self.expect_trusted(digest.as_deref())?;
        if let Some(client) = timeout(self.within, read_header(stream)).await?? {
            stream.set_socket_digest(named(stream.id(), client));
        }
        Ok(())
    }

    async fn read_before_tls(&self, stream: &mut L4Stream) -> io::Result<()> {
        use pingora::protocols::{GetSocketDigest, UniqueID};

        let digest = stream.get_socket_digest();
        self.expect_trusted(digest.as_deref())?;
        if let Some(client) = timeout(self.within, read_header(stream)).await?? {
            let id = stream.id();
            stream.set_socket_digest(named(id, client));
        }
        Ok(())
    }

    fn expect_trusted(&self, peer: Option<&SocketDigest>) -> io::Result<()> {
        let address = peer.and_then(SocketDigest::peer_addr).and_then(|peer| peer.as_inet());
        match address.map(|address| address.ip().to_canonical()) {
            Some(ip) if !self.trusted.iter().any(|net| net.contains(&ip)) => {
                Err(io::Error::other("its sender is not in server.trusted_proxies"))
            }
            _ => Ok(()),
        }
    }
}

/// On a TLS listener the header stands before the handshake.
#[async_trait]
impl PreTlsProcess for BeforeTls {
    async fn process(&self, stream: &mut L4Stream) -> pingora::Result<()> {
        use pingora::ErrorType::ConnectError;

        let Doorway { header_timeout, metrics, .. } = &self.doorway;
        let refused = |reason| metrics.connections_refused.with_label_values(&[reason]).inc();
        if !self.doorway.admit(stream)? {
            refused("limit");
            return pingora::Error::e_explain(ConnectError, "too many connections");
        }
        if let Some(protocol) = &self.proxy_protocol {
            protocol.read_before_tls(stream).await.map_err(|error| {
                refused("proxy_protocol");
                pingora::Error::because(ConnectError, "no PROXY header", error)
            })?;
        }
        match timeout(*header_timeout, hello_is_in(stream)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                pingora::Error::e_because(ConnectError, "before the handshake", error)
            }
            Err(elapsed) => {
                refused("slow_head");
                pingora::Error::e_because(ConnectError, "no handshake", elapsed)
            }
        }
    }
}

/// Waits for the first record of a handshake, which stays in the stream. Anything else is for the handshake
/// to refuse.
async fn hello_is_in(stream: &mut L4Stream) -> io::Result<()> {
    let mut record = vec![0; TLS_RECORD_HEAD_BYTES];
    stream.try_peek(&mut record).await?;
    let [kind, _, _, high, low] = record[..] else { return Ok(()) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind == TLS_HANDSHAKE && length <= MAX_HELLO_BYTES {
        record.resize(TLS_RECORD_HEAD_BYTES + length, 0);
        stream.try_peek(&mut record).await?;
    }
    Ok(())
}

/// The digest of a connection whose client a proxy has named.
fn named(fd: i32, client: SocketAddr) -> SocketDigest {
    let digest = SocketDigest::from_raw_fd(fd);
    let is_new = digest.peer_addr.set(Some(client.into())).is_ok();
    debug_assert!(is_new, "the digest was made just now");
    digest
}

/// Reads exactly one header, v1 or v2. `None` when the proxy speaks for itself.
async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        // Version and command, family, and the length of the rest.
        header.resize(16, 0);
        stream.read_exact(&mut header[12..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > MAX_V2_BYTES {
            return Err(invalid());
        }
        header.resize(16 + length, 0);
        stream.read_exact(&mut header[16..]).await?;
    } else {
        while !header.ends_with(b"\r\n") {
            if header.len() == MAX_V1_BYTES || !header.starts_with(b"PROXY ") {
                return Err(invalid());
            }
            header.push(stream.read_u8().await?);
        }
    }
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(match header.addresses {
            v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
            v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
            v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (Option<String>, usize) {
        let mut stream = bytes;
        let client = read_header(&mut stream).await;
        (client.ok().flatten().map(|client| client.to_string()), stream.len())
    }

    #[tokio::test]
    async fn a_header_is_read_to_its_end_and_no_further() {
        let v1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\nGET / HTTP/1.1\r\n";
        assert_eq!(read(v1).await, (Some("203.0.113.9:4711".into()), 16));
        let mut v2 = v2::PROTOCOL_PREFIX.to_vec();
        v2.extend([0x21, 0x11, 0, 12, 203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
        v2.extend(b"GET /");
        assert_eq!(read(&v2).await, (Some("203.0.113.9:4711".into()), 5));
        assert_eq!(read(b"PROXY UNKNOWN\r\nGET").await, (None, 3));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        for bytes in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"PROXY TCP4 ", &[b'P'; 400], b""]
        {
            assert!(read_header(&mut &*bytes).await.is_err(), "{bytes:?}");
        }
    }
}
