//! The baseline: pingora with next to nothing of our own, in a process like Portico's.

use std::net::SocketAddr;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::server::Server;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// What it does with every request, whatever it asks for.
pub(crate) enum Constant {
    /// Sends the client there.
    Redirect(HeaderValue),
    /// Answers with these bytes.
    Body(Bytes),
    /// Passes it on.
    Proxy(SocketAddr),
}

impl Constant {
    pub(crate) fn redirect(location: &str) -> anyhow::Result<Self> {
        Ok(Self::Redirect(location.parse()?))
    }

    pub(crate) fn body(file: &str) -> anyhow::Result<Self> {
        let body = std::fs::read(file).with_context(|| format!("reading {file}"))?;
        Ok(Self::Body(body.into()))
    }
}

/// Serves until the process is killed.
pub(crate) fn serve(address: &str, constant: Constant) -> anyhow::Result<()> {
    // What Portico sets, but for what only matters when a server ends.
    let conf = ServerConf {
        threads: crate::pool::THREADS,
        upstream_keepalive_pool_size: 512,
        max_retries: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Opt::default(), conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, constant);
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever()
}

#[async_trait]
impl ProxyHttp for Constant {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<bool> {
        match self {
            Self::Redirect(location) => {
                let mut head = ResponseHeader::build(StatusCode::FOUND, Some(3))?;
                head.insert_header(header::LOCATION, location)?;
                head.insert_header(header::CONTENT_LENGTH, 0)?;
                head.insert_header(header::CACHE_CONTROL, "no-cache")?;
                session.write_response_header(Box::new(head), true).await?;
            }
            Self::Body(body) => {
                let mut head = ResponseHeader::build(StatusCode::OK, Some(3))?;
                head.insert_header(header::CONTENT_TYPE, "text/xml;charset=utf-8")?;
                head.insert_header(header::CONTENT_LENGTH, body.len())?;
                head.insert_header(header::CACHE_CONTROL, "no-cache")?;
                session.write_response_header(Box::new(head), false).await?;
                session.write_response_body(Some(body.clone()), true).await?;
            }
            Self::Proxy(_) => return Ok(false),
        }
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        (): &mut (),
    ) -> pingora::Result<Box<HttpPeer>> {
        match self {
            Self::Proxy(upstream) => Ok(Box::new(HttpPeer::new(upstream, false, String::new()))),
            Self::Redirect(_) | Self::Body(_) => {
                unreachable!("answered by the request filter")
            }
        }
    }
}
