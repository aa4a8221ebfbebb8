//! Our services as pingora runs them: background work, and the admin listener.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use log::debug;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use pingora::services::background::{BackgroundService, GenBackgroundService, background_service};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::admin::Peer;

/// Also bounds how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Work beside the requests, as pingora runs it; it ends when the watch turns true.
pub(super) struct Work(Box<dyn Fn(ShutdownWatch) -> BoxFuture<'static, ()> + Send + Sync>);

#[async_trait]
impl BackgroundService for Work {
    async fn start(&self, shutdown: ShutdownWatch) {
        (self.0)(shutdown).await;
    }
}

/// A background service of what `begin` begins.
pub(super) fn background<R>(
    name: &str,
    begin: impl Fn(ShutdownWatch) -> R + Send + Sync + 'static,
) -> GenBackgroundService<Work>
where
    R: Future<Output = ()> + Send + 'static,
{
    background_service(name, Work(Box::new(move |stop| Box::pin(begin(stop)))))
}

/// Routes by axum, listening by pingora: so that the admin port takes part in an upgrade.
pub(super) struct Axum(pub(super) axum::Router);

#[async_trait]
impl ServerApp for Axum {
    async fn process_new(
        self: &std::sync::Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let digest = stream.get_socket_digest();
        let address = digest.as_deref().and_then(|digest| digest.peer_addr());
        let peer = address.and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        let app = match peer {
            Some(peer) => self.0.clone().layer(axum::Extension(Peer(peer))),
            None => self.0.clone(),
        };
        serve_http(stream, app, shutdown.clone()).await;
        None
    }
}

/// Serves one connection of operators; after a stop it ends with the answer under way.
pub(super) async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    app: axum::Router,
    mut stop: ShutdownWatch,
) {
    let service = TowerToHyperService::new(app);
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        // An error is a server that is gone, which also means to stop.
        () = async { drop(stop.wait_for(|stop| *stop).await) } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        debug!("an admin connection broke off: {error}");
    }
}
