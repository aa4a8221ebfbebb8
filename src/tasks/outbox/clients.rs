//! Connections to front ends, to addresses that were checked.
//!
//! The name is resolved here and only here: what was checked is what is connected to, so that a name
//! cannot stand for another address a moment later.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tower::Service;

use super::sender::TIMEOUT;
use crate::model::{CallbackKind, Forbidden, Reach};

/// Less than the five seconds after which common servers close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Kept to one host.
const MAX_IDLE: usize = 4;
/// A connection can be used again when its answer was read; a longer or slower one is not worth it.
const MAX_REST_BYTES: usize = 16 * 1024;
const REST_TIMEOUT: Duration = Duration::from_millis(500);

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
type HttpClient = Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>;

/// Which connection a request goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// Its own: a kept one may break under it, and nobody knows then whether it was taken.
    Fresh,
    /// One of those before it, if there is one.
    Kept,
}

impl Connection {
    /// Events of a webhook go one after the other, and each may come twice: they need no connection, and no TLS
    /// handshake, of their own.
    pub(super) fn of(kind: CallbackKind) -> Self {
        if kind == CallbackKind::Hook { Self::Kept } else { Self::Fresh }
    }
}

/// The clients for both.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    fresh: HttpClient,
    keeping: HttpClient,
}

impl Clients {
    pub(super) fn new(reach: &Arc<Reach>, roots: RootCertStore) -> Self {
        let resolver = Guarded { resolver: GaiResolver::new(), reach: Arc::clone(reach) };
        let mut http = HttpConnector::new_with_resolver(resolver);
        // HTTPS is checked by the layer above.
        http.enforce_http(false);
        http.set_connect_timeout(Some(TIMEOUT));
        let connector = HttpsConnector::from((http, tls(roots)));
        let fresh = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector.clone());
        // A kept connection leads where it led when it was made, to an address that was checked then by a
        // reach that does not change; what its name stands for by now does not matter. The URL itself is
        // checked before each request.
        let keeping = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector);
        Self { fresh, keeping }
    }

    pub(super) fn of(&self, connection: Connection) -> &HttpClient {
        match connection {
            Connection::Fresh => &self.fresh,
            Connection::Kept => &self.keeping,
        }
    }
}

/// Reads the rest of an answer, so that its connection can be used again. If that fails it is closed.
pub(super) async fn finish(body: Incoming) {
    let rest = Limited::new(body, MAX_REST_BYTES).collect();
    let _read_or_closed = timeout(REST_TIMEOUT, rest).await;
}

fn tls(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The system's resolver, which leaves out addresses that may not be called.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) resolver: GaiResolver,
    pub(super) reach: Arc<Reach>,
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<std::net::SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Name>::poll_ready(&mut self.resolver, cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, reach) = (self.resolver.call(name), self.reach.clone());
        Box::pin(async move {
            let found: Vec<_> = resolving.await?.collect();
            if found.is_empty() {
                return Err(io::Error::other("the name has no address").into());
            }
            let permitted: Vec<_> =
                found.into_iter().filter(|address| reach.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(Forbidden::Address.into());
            }
            Ok(permitted.into_iter())
        })
    }
}
