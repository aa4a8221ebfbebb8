//! Pingora's phases: the one place where requests come in, decisions are acted on, and streams pass.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use prometheus::IntGauge;
use tokio::time::Instant;

use super::access_log::Line;
use super::authenticate::authenticate;
use super::calls::{self, Asked, Decision, Forward};
use super::client::{self, Client};
use super::refusal::{self, Fault, Refusal};
use super::reply::{self, Dialect, Reply};
use super::request::Request;
use super::route::{Route, route};
use super::track::Track;
use super::upload::{self, Broken, Pump, Upload};
use super::{Edge, front};
use crate::bbb::{Call, Failure};

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
    _in_flight: Counted,
    started: Instant,
    client: IpAddr,
    track: Track,
    dialect: Dialect,
    /// What *act* is to proxy.
    forward: Option<Forward>,
}

struct Counted(IntGauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        self.metrics.in_flight.inc();
        Context {
            _in_flight: Counted(self.metrics.in_flight.clone()),
            started: Instant::now(),
            client: IpAddr::from([0, 0, 0, 0]),
            track: Track::default(),
            dialect: Dialect::Xml,
            forward: None,
        }
    }

    async fn early_request_filter(
        &self,
        _session: &mut Session,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        front::head_is_in();
        // The context is older than the request on a connection that was kept alive.
        ctx.started = Instant::now();
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
            Error::explain(pingora::ErrorType::InternalError, "nothing was decided to be forwarded")
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
        let took = ctx.started.elapsed();
        self.metrics.count(&notes, status, took.as_secs_f64());
        let head = session.req_header();
        let line = Line {
            client: ctx.client,
            method: head.method.as_str(),
            path: head.uri.path(),
            status,
            bytes: session.body_bytes_sent(),
            took,
            notes: &notes,
        };
        line.write();
        front::awaits_head();
    }

    /// For pingora's own log lines: never the query.
    fn request_summary(&self, session: &Session, _ctx: &Context) -> String {
        let head = session.req_header();
        format!("{} {}", head.method, head.uri.path())
    }
}

impl Edge {
    /// Route, authenticate, apply rules, decide.
    async fn pipeline(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Decision, Refusal> {
        let head = session.req_header();
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(SocketAddr::ip);
        let authority = head.uri.host();
        let Client { address, host } =
            client::identify(peer, &head.headers, authority, &self.settings.trusted_proxies);
        ctx.client = address;
        if let Some(refused) = self.refuse_head(session, address) {
            ctx.track.blame("refused".to_owned(), Fault::Client);
            session.set_keepalive(None);
            return Ok(Decision::Respond(refused));
        }
        let head = session.req_header();
        let (path, query) = path_and_query(head);
        let Some(Route { who, call: name }) =
            route(&host, &path, self.settings.base_domain.as_deref())
        else {
            ctx.track.blame("notFound".to_owned(), Fault::Client);
            return Ok(Decision::Respond(nothing_here()));
        };
        let request = Request::new(head.method.clone(), &query, &head.headers);
        let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
        let Some(call) = Call::from_path(name) else {
            ctx.dialect = request.dialect(None);
            ctx.track.blame(Failure::UNSUPPORTED_REQUEST.key.to_string(), Fault::Client);
            let mut reply = Reply::failure(&Failure::UNSUPPORTED_REQUEST, ctx.dialect);
            reply.status = StatusCode::NOT_FOUND;
            return Ok(Decision::Respond(reply));
        };
        ctx.track.call(call);
        ctx.dialect = request.dialect(Some(call));
        if !is_allowed(call, &request.method) {
            ctx.track.blame("methodNotAllowed".to_owned(), Fault::Client);
            return Ok(Decision::Respond(method_not_allowed(call, ctx.dialect)));
        }
        if call == Call::Root {
            let content_type = content_type.as_ref().and_then(|own| own.to_str().ok());
            return Ok(Decision::Respond(calls::version(content_type)));
        }
        if !call.is_signed() {
            return Err(Refusal::client(refusal::unsupported(call)));
        }
        let body = self.body_kind(session, call, content_type.as_ref())?;
        let request = match body {
            Body::Form => {
                upload::invite(session).await;
                let max = upload::MAX_FORM_BYTES.min(self.settings.max_body_bytes);
                let form = upload::read_whole(session, max, self.settings.header_timeout)
                    .await
                    .map_err(|broken| refuse_body(broken, max))?;
                request.with_form(form)
            }
            Body::None | Body::Slides { .. } => request,
        };
        let snapshot = self.fleet.snapshot();
        let caller =
            authenticate(&snapshot, &who, call.as_str(), &request).map_err(Refusal::client)?;
        ctx.track.scope(&caller.scope);
        let params = request.params(call);
        let (upload, pump) = match body {
            Body::Slides { length } => {
                upload::invite(session).await;
                let max = self.settings.max_body_bytes;
                let (upload, pump) = Upload::begin(session, content_type, length, max)
                    .await
                    .map_err(|broken| refuse_body(broken, max))?;
                (Some(upload), pump)
            }
            Body::None | Body::Form => (None, None),
        };
        let asked = Asked {
            call,
            caller,
            params,
            request: &request,
            snapshot: &snapshot,
            upload,
            track: &ctx.track,
        };
        self.learn(&asked).await;
        self.decide(session, &asked, pump).await
    }

    /// Decides, moving the rest of an upload meanwhile.
    async fn decide(
        &self,
        session: &mut Session,
        asked: &Asked<'_>,
        pump: Option<Pump>,
    ) -> Result<Decision, Refusal> {
        let decision = calls::decide(self, asked);
        let Some(pump) = pump else { return decision.await };
        tokio::pin!(decision);
        let pumped = tokio::select! {
            decision = &mut decision => return decision,
            pumped = pump.run(session) => pumped,
        };
        match (decision.await, pumped) {
            // What the node says of half a body does not matter.
            (_, Err(broken)) => Err(refuse_body(broken, self.settings.max_body_bytes)),
            (decision, Ok(())) => decision,
        }
    }

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
        if !session.is_body_done() && !upload::drain(session, self.settings.header_timeout).await {
            session.set_keepalive(None);
        }
        match decision {
            Decision::Respond(reply) => {
                let is_head = session.req_header().method == Method::HEAD;
                reply::write(session, &reply, is_head).await?;
            }
            Decision::Redirect(location) => reply::redirect(session, &location).await?,
            Decision::Forward(_) => unreachable!("forwarded above"),
        }
        Ok(true)
    }

    /// What is wrong with a request before anybody looks at what it says.
    fn refuse_head(&self, session: &Session, client: IpAddr) -> Option<Reply> {
        let head = session.req_header();
        let with_status = |status, failure: &Failure| {
            let mut reply = Reply::failure(failure, Dialect::Xml);
            reply.status = status;
            Some(reply)
        };
        if head.headers.contains_key(header::TRANSFER_ENCODING) && sends_length(session) {
            return with_status(StatusCode::BAD_REQUEST, &Failure::REQUEST_NOT_RECOGNIZED);
        }
        if head_bytes(head) > self.settings.max_header_bytes {
            return with_status(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                &refusal::HEADER_TOO_LARGE,
            );
        }
        let limit = isize::try_from(self.settings.requests_per_second).unwrap_or(isize::MAX);
        if self.rate.as_ref().is_some_and(|rate| rate.observe(&client, 1) > limit) {
            return with_status(StatusCode::TOO_MANY_REQUESTS, &refusal::TOO_MANY_REQUESTS);
        }
        None
    }

    /// What the body is, by its declared type and length.
    fn body_kind(
        &self,
        session: &mut Session,
        call: Call,
        content_type: Option<&HeaderValue>,
    ) -> Result<Body, Refusal> {
        let head = session.req_header();
        let length = content_length(&head.headers);
        // On a GET without body, front ends send any content type.
        let has_body = length.is_some_and(|length| length > 0) || !session.is_body_empty();
        if !has_body {
            return Ok(Body::None);
        }
        let max = self.settings.max_body_bytes;
        if length.is_some_and(|length| length > max as u64) {
            return Err(refuse_body(Broken::TooLarge, max));
        }
        let mime = content_type.and_then(|own| own.to_str().ok()).unwrap_or_default();
        let mime = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match mime.as_str() {
            "application/x-www-form-urlencoded" => Ok(Body::Form),
            "application/xml" | "text/xml" | "multipart/form-data" if call == Call::Create => {
                Ok(Body::Slides { length })
            }
            _ => Err(Refusal::client(Failure::UNSUPPORTED_CONTENT_TYPE)),
        }
    }
}

/// What a request carries behind its head.
#[derive(Clone, Copy)]
enum Body {
    None,
    Form,
    Slides { length: Option<u64> },
}

fn refuse_body(broken: Broken, max: usize) -> Refusal {
    Refusal::client(match broken {
        Broken::TooLarge => refusal::too_large(max),
        Broken::TooSlow | Broken::Gone => refusal::TOO_SLOW,
    })
}

/// GET stands for HEAD too; a HEAD shows no answer, so it must not act.
fn is_allowed(call: Call, method: &Method) -> bool {
    call.allows(method.as_str())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether the head, as it was sent, has a `Content-Length`. Beside a `Transfer-Encoding` pingora takes it
/// out of the parsed one, but two lengths are how one request is smuggled behind another.
fn sends_length(session: &Session) -> bool {
    let Some(http1) = session.downstream_session.as_http1() else { return false };
    let name = header::CONTENT_LENGTH.as_str().as_bytes();
    http1.get_headers_raw_bytes().split(|byte| *byte == b'\n').any(|line| {
        line.split(|byte| *byte == b':').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
    })
}

fn head_bytes(head: &RequestHeader) -> usize {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    head.raw_path().len() + fields.sum::<usize>()
}

/// Path and raw query; bytes beyond ASCII, which some clients leave unencoded, included.
fn path_and_query(head: &RequestHeader) -> (String, Vec<u8>) {
    let raw = match head.raw_path() {
        raw if raw.first() == Some(&b'/') => raw,
        // The absolute form, or HTTP/2.
        _ => head.uri.path_and_query().map_or(&b"/"[..], |both| both.as_str().as_bytes()),
    };
    let (path, query) = match raw.iter().position(|byte| *byte == b'?') {
        Some(at) => (&raw[..at], &raw[at + 1..]),
        None => (raw, &b""[..]),
    };
    (String::from_utf8_lossy(path).into_owned(), query.to_vec())
}

fn nothing_here() -> Reply {
    let text = "There is nothing here. The BigBlueButton API is at /bigbluebutton/api.\n";
    Reply::new(StatusCode::NOT_FOUND, "text/plain;charset=utf-8", text)
}

fn method_not_allowed(call: Call, dialect: Dialect) -> Reply {
    let mut reply = Reply::failure(&Failure::REQUEST_NOT_RECOGNIZED, dialect);
    reply.status = StatusCode::METHOD_NOT_ALLOWED;
    reply.allow = Some(match (call.allows("GET"), call.allows("POST")) {
        (true, true) => "GET, POST",
        (true, false) => "GET",
        (false, _) => "POST",
    });
    reply
}
