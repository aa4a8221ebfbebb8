//! Pingora's phases: the one place where requests come in, decisions are acted on, and streams pass.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tokio::time::Instant;

use super::access_log::Line;
use super::calls::{Decision, Forward};
use super::metrics::InFlight;
use super::refusal::{self, Fault};
use super::reply::{self, Dialect, Reply};
use super::track::Track;
use super::{Edge, front, head, upload};

/// A node's TCP connection, and that with TLS, for proxied requests.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TLS_CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// Between two reads or writes of a proxied request.
const IO_TIMEOUT: Duration = Duration::from_secs(15);
/// Below the 75 s after which a node's nginx closes an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// One request on its way through the phases.
pub struct Context {
    /// Takes the request off the count of those in flight when it is over, however it ends.
    _in_flight: InFlight,
    /// The head of the request was in.
    started: Instant,
    pub(super) client: IpAddr,
    pub(super) track: Track,
    /// The form in which the client reads failures.
    pub(super) dialect: Dialect,
    /// What *act* is to proxy.
    forward: Option<Forward>,
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            _in_flight: self.metrics.requests.begin(),
            started: Instant::now(),
            client: IpAddr::from([0, 0, 0, 0]),
            track: Track::default(),
            dialect: Dialect::Xml,
            forward: None,
        }
    }

    /// None: the default one compresses answers, which we never let it do.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        _ctx: &mut Context,
    ) -> pingora::Result<()> {
        front::head_is_in();
        // Nobody may hold an answer by not reading it.
        session.set_write_timeout(Some(IO_TIMEOUT));
        session.set_total_drain_timeout(Some(IO_TIMEOUT));
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<bool> {
        let decision = match self.pipeline(session, ctx).await {
            Ok(decision) => decision,
            Err(refusal) => {
                ctx.track.blame(refusal.failure.key.to_string(), refusal.fault);
                Decision::Respond(Reply::failure(&refusal.failure, ctx.dialect))
            }
        };
        self.act(session, ctx, decision).await
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        let forward = ctx.forward.as_ref().ok_or_else(|| {
            Error::explain(ErrorType::InternalError, "nothing was decided to be forwarded")
        })?;
        let mut peer = self.balancer.peer(&forward.node).await?;
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.total_connection_timeout = Some(TLS_CONNECT_TIMEOUT);
        peer.options.read_timeout = Some(IO_TIMEOUT);
        peer.options.write_timeout = Some(IO_TIMEOUT);
        peer.options.idle_timeout = Some(IDLE_TIMEOUT);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        let Some(forward) = &ctx.forward else { return Ok(()) };
        // The form of a POST has become part of the query.
        upstream.set_method(Method::GET);
        upstream.set_raw_path(forward.path_and_query.as_bytes())?;
        for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::TRANSFER_ENCODING] {
            upstream.remove_header(&name);
        }
        if session.req_header().method != Method::GET {
            // Without a length pingora would announce a chunked body, of which nothing is left to send.
            upstream.insert_header(header::CONTENT_LENGTH, 0)?;
        }
        for name in ["forwarded", "x-forwarded-host", "x-forwarded-port", "x-forwarded-server"] {
            upstream.remove_header(name);
        }
        let url = &forward.node.spec.url;
        let host = url.host_str().unwrap_or_default();
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        upstream.insert_header(header::HOST, authority)?;
        let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        upstream.insert_header("x-forwarded-proto", if is_tls { "https" } else { "http" })?;
        upstream.insert_header("x-forwarded-for", ctx.client.to_string())?;
        upstream.insert_header("x-real-ip", ctx.client.to_string())?;
        Ok(())
    }

    /// Only BigBlueButton's own answers pass: its redirects, and XML or JSON with 200.
    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut Context,
    ) -> pingora::Result<()> {
        let kind = response.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_data = kind.is_some_and(|kind| kind.contains("xml") || kind.contains("json"));
        if response.status.is_redirection() || response.status.is_success() && is_data {
            return Ok(());
        }
        let what = format!("no answer of BigBlueButton, status {}", response.status.as_u16());
        Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let fault = match error.esource() {
            ErrorSource::Downstream => Fault::Client,
            ErrorSource::Upstream => Fault::Node,
            ErrorSource::Internal | ErrorSource::Unset => Fault::Portico,
        };
        ctx.track.blame("internalError".to_owned(), fault);
        let is_answered = session.response_written().is_some();
        if fault == Fault::Client || is_answered {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let reply = Reply::failure(&refusal::meeting_unavailable(), ctx.dialect);
        let is_written = reply::write(session, &reply, false).await.is_ok();
        FailToProxy { error_code: reply.status.as_u16(), can_reuse_downstream: is_written }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map_or(0, |head| head.status.as_u16());
        if status == 0 && error.is_some() {
            ctx.track.blame("unanswered".to_owned(), Fault::Client);
        }
        let notes = ctx.track.notes();
        let now = Instant::now();
        let took = now - ctx.started;
        self.metrics.requests.count(&notes, status, took.as_secs_f64());
        let req = session.req_header();
        let line = Line {
            client: ctx.client,
            method: req.method.as_str(),
            path: head::loggable_path(req.uri.path()),
            status,
            bytes: session.body_bytes_sent(),
            took,
            notes: &notes,
        };
        line.write();
        front::awaits_head(now);
    }

    /// For pingora's own log lines: never the query.
    fn request_summary(&self, session: &Session, _ctx: &Context) -> String {
        let req = session.req_header();
        format!("{} {}", req.method, head::loggable_path(req.uri.path()))
    }
}

impl Edge {
    /// Carries a decision out. True when the request is answered.
    async fn act(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        decision: Decision,
    ) -> pingora::Result<bool> {
        if let Decision::Forward(forward) = decision {
            ctx.forward = Some(forward);
            return Ok(false);
        }
        if !session.is_body_done() {
            let is_drained = Box::pin(upload::drain(session, self.settings.header_timeout)).await;
            if !is_drained {
                session.set_keepalive(None);
            }
        }
        match decision {
            Decision::Respond(reply) => {
                let is_head = session.req_header().method == Method::HEAD;
                reply::write(session, &reply, is_head).await?;
            }
            Decision::Redirect(location) => reply::redirect(session, location).await?,
            Decision::Forward(_) => unreachable!("forwarded above"),
        }
        Ok(true)
    }
}
