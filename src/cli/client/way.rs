//! The way of a request: over the network, or by the socket of this machine.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::UnixStream;

use super::failure::Failure;
use crate::chain::Chain;

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Who takes longer to take a connection is behind a firewall, or off.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Whether a request may have been on its way when this happened.
pub(super) fn is_connected(error: &Error) -> bool {
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        return !error.is_connect();
    }
    // By the socket, nothing is sent before all of this.
    !error.is::<std::io::Error>() && !error.is::<Untrusted>()
}

/// Somebody else has put a socket there.
#[derive(Debug, thiserror::Error)]
#[error("uid {0} listens there, which is not Portico's")]
struct Untrusted(u32);

/// How a server is reached.
pub(super) enum Way {
    /// By the address in the URL.
    Network(Box<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>),
    /// Whatever the URL says.
    Socket(PathBuf),
}

impl Way {
    /// The way to URLs of this scheme.
    pub(super) fn network(is_https: bool) -> Result<Self, Failure> {
        // Reading all certificates takes a while, and HTTP needs none.
        let roots = if is_https { crate::node::load_roots() } else { Ok(RootCertStore::empty()) };
        let roots = roots.map_err(|error| Failure::failed(Chain(&error)))?;
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let http = Client::builder(TokioExecutor::new()).build(connector.wrap_connector(tcp));
        Ok(Self::Network(Box::new(http)))
    }

    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Network(http) => Ok(http.request(request).await?),
            Self::Socket(path) => by_socket(path, request).await,
        }
    }
}

/// Who may be there: root, who we are, and whose directory it is. Anybody else would be told secrets.
fn is_trusted(path: &Path, peer: u32) -> std::io::Result<bool> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let owners = [std::fs::metadata("/proc/self")?.uid(), std::fs::metadata(directory)?.uid()];
    Ok(peer == 0 || owners.contains(&peer))
}

async fn by_socket(
    path: &Path,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Error> {
    let stream = UnixStream::connect(path).await?;
    let peer = stream.peer_cred()?.uid();
    if !is_trusted(path, peer)? {
        return Err(Untrusted(peer).into());
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong on it, the one request that it carries is told.
    drop(tokio::spawn(connection));
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).parse()?;
    *request.uri_mut() = target;
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
    Ok(sender.send_request(request).await?)
}
