//! The HTTP client that talks to nodes: whole answers, streamed answers, uploads, and B3LB's load.
//!
//! A node is not trusted to behave. Every call has one deadline over name, connection, request and
//! answer, and a bound on the bytes of the answer; neither a slow nor an endless one costs more.
//! Redirects are answers like any other. HTTP/1.1 only, as BigBlueButton's nginx speaks it to API
//! callers, over connections kept for the next call.
//!
//! Errors say what failed towards whom. They carry scheme, host, port and path, never a query:
//! queries hold checksums and names of people.

mod connect;
mod error;
mod roots;
mod target;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use error::{Error, Stage};

use connect::{Connector, Talk};
use target::Target;

/// What we call ourselves.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("portico/", env!("CARGO_PKG_VERSION")));

/// How long an idle connection is kept: well below the 75 s after which a node's nginx closes it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle connections kept per node. More than a poller and a few callers need, fewer than a burst
/// of creates opens.
const IDLE_PER_NODE: usize = 32;

/// Of each connection, exactly: a buffer that grows with the longest list of meetings would stay with
/// every kept connection. The head of an answer has to fit into it.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// How often a request without body is repeated because the kept connection it went to had been
/// closed by the node meanwhile. After a node's restart all of them have.
const STALE_RETRIES: usize = 3;

/// No call takes longer, whatever it was given: sums of times must not overflow.
const LONGEST: Duration = Duration::from_hours(24);

/// B3LB's load answer is a line of at most five digits.
const MAX_LOAD_BYTES: usize = 4096;

/// The highest load that a load script may answer.
const MAX_LOAD: u32 = 10_000;

/// How a [`Client`] behaves towards all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSettings {
    /// Bound on resolving the name, connecting and the TLS handshake together. Default 5 s.
    pub connect_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5) }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The body of a POST; it may be a stream and is never repeated.
#[derive(Debug)]
pub struct RequestBody {
    /// `Content-Type`, as the front end sent it.
    pub content_type: Option<HeaderValue>,
    /// The bytes.
    pub body: BoxBody<Bytes, io::Error>,
    /// Their number, if known; sent in chunks otherwise.
    pub length: Option<u64>,
}

/// Talks HTTP to any number of nodes. Cloning is cheap and shares the kept connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: hyper_util::client::legacy::Client<Connector, BoxBody<Bytes, io::Error>>,
}

impl Client {
    /// A client that trusts the certificates that the system trusts (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name others). Reads them once; that blocks for a moment.
    ///
    /// # Errors
    ///
    /// [`Error::Roots`] when there are certificates that cannot be read. None at all is fine:
    /// then no node can be reached over https, and each says so.
    pub fn new(settings: ClientSettings) -> Result<Self, Error> {
        Ok(Self::with_roots(settings, roots::load()?))
    }

    fn with_roots(settings: ClientSettings, roots: RootCertStore) -> Self {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_NODE)
            .http1_read_buf_exact_size(READ_BUFFER_BYTES)
            .build(Connector::new(settings.connect_timeout, roots));
        Self { http }
    }

    /// One call of the API at `base`: GET without a body, POST with one. `query` is signed already
    /// and goes out byte for byte. Any status is an answer.
    ///
    /// A GET is sent again when it met a kept connection that the node had closed meanwhile without
    /// a word; a POST never is, and no request is that was sent over a new connection.
    ///
    /// # Errors
    ///
    /// When there is no whole answer of at most `max_bytes` within `timeout`.
    pub async fn call(
        &self,
        base: &Url,
        call: &str,
        query: &str,
        body: Option<RequestBody>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Response, Error> {
        let target = Target::api(base, call, query)?;
        let deadline = Instant::now() + timeout.min(LONGEST);
        let (head, incoming) = self.open(&target, body, deadline).await?.into_parts();
        let body = collect(&target, incoming, deadline, max_bytes).await?;
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body: body.into() })
    }

    /// Like [`Client::call`] without a body, but gives the answer to `each_chunk` piece by piece
    /// and holds none of it. `Break` ends the call, which is then fine.
    ///
    /// With another status than 200 the body is not read at all.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`]; `each_chunk` may have been called before.
    pub async fn stream(
        &self,
        base: &Url,
        call: &str,
        query: &str,
        timeout: Duration,
        max_bytes: usize,
        each_chunk: &mut (dyn FnMut(&[u8]) -> ControlFlow<()> + Send),
    ) -> Result<u16, Error> {
        let target = Target::api(base, call, query)?;
        let deadline = Instant::now() + timeout.min(LONGEST);
        let (head, incoming) = self.open(&target, None, deadline).await?.into_parts();
        if head.status == StatusCode::OK {
            read(&target, incoming, deadline, max_bytes, each_chunk).await?;
        }
        Ok(head.status.as_u16())
    }

    /// The load that a node's script answers, an integer 0..=10000 in the first line.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`], and [`Error::Load`] for any other answer.
    pub async fn fetch_load(&self, url: &Url, timeout: Duration) -> Result<u32, Error> {
        let target = Target::of(url)?;
        let deadline = Instant::now() + timeout.min(LONGEST);
        let (head, incoming) = self.open(&target, None, deadline).await?.into_parts();
        if head.status != StatusCode::OK {
            let reason = format!("status {}", head.status.as_u16());
            return Err(Error::Load { target: target.shown(), reason: reason.into() });
        }
        let body = collect(&target, incoming, deadline, MAX_LOAD_BYTES).await?;
        first_integer(&body).ok_or_else(|| Error::Load {
            target: target.shown(),
            reason: "no integer from 0 to 10000 in the first line".into(),
        })
    }

    /// Sends a request and waits for the head of its answer.
    async fn open(
        &self,
        target: &Target,
        body: Option<RequestBody>,
        deadline: Instant,
    ) -> Result<http::Response<Incoming>, Error> {
        if let Some(body) = body {
            let (answer, _) = self.send(target, post(target, body), deadline).await;
            return answer;
        }
        let mut repeats = 0;
        loop {
            let (answer, stale) = self.send(target, get(target), deadline).await;
            if !stale || repeats == STALE_RETRIES {
                return answer;
            }
            repeats += 1;
        }
    }

    /// The second value is whether the request met a kept connection that the node had closed
    /// meanwhile: it fell silent since its last answer, so the request was never looked at.
    async fn send(
        &self,
        target: &Target,
        mut request: Request<BoxBody<Bytes, io::Error>>,
        deadline: Instant,
    ) -> (Result<http::Response<Incoming>, Error>, bool) {
        let connection = capture_connection(&mut request);
        match timeout_at(deadline, self.http.request(request)).await {
            Ok(Ok(response)) => (Ok(response), false),
            Ok(Err(error)) => {
                let stale = error.connect_info().is_some_and(Talk::is_stale);
                (Err(Error::sending(target, error)), stale)
            }
            Err(_elapsed) => {
                let connected = connection.connection_metadata().is_some();
                let stage = if connected { Stage::Answer } else { Stage::Connect };
                (Err(Error::Timeout { target: target.shown(), stage }), false)
            }
        }
    }
}

fn get(target: &Target) -> Request<BoxBody<Bytes, io::Error>> {
    request(target, Method::GET, Empty::new().map_err(|never| match never {}).boxed())
}

fn post(target: &Target, body: RequestBody) -> Request<BoxBody<Bytes, io::Error>> {
    let mut request = request(target, Method::POST, body.body);
    if let Some(length) = body.length {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    if let Some(content_type) = body.content_type {
        request.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    request
}

fn request<B>(target: &Target, method: Method, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.uri();
    request.headers_mut().insert(USER_AGENT, AGENT);
    request
}

async fn collect(
    target: &Target,
    body: Incoming,
    deadline: Instant,
    max_bytes: usize,
) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    read(target, body, deadline, max_bytes, &mut |chunk| {
        all.extend_from_slice(chunk);
        ControlFlow::Continue(())
    })
    .await?;
    Ok(all)
}

/// Reads a body to its end. Dropped before, it takes its connection with it.
async fn read(
    target: &Target,
    mut body: Incoming,
    deadline: Instant,
    max_bytes: usize,
    each_chunk: &mut (dyn FnMut(&[u8]) -> ControlFlow<()> + Send),
) -> Result<(), Error> {
    let too_large = || Error::TooLarge { target: target.shown(), max_bytes };
    // What the head promises; 0 when it promises nothing.
    if usize::try_from(body.size_hint().lower()).map_or(true, |promised| promised > max_bytes) {
        return Err(too_large());
    }
    let mut room = max_bytes;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(Error::reading(target, error)),
            Ok(None) => return Ok(()),
            Err(_elapsed) => {
                return Err(Error::Timeout { target: target.shown(), stage: Stage::Body });
            }
        };
        let Some(chunk) = frame.data_ref() else { continue };
        room = room.checked_sub(chunk.len()).ok_or_else(too_large)?;
        if each_chunk(chunk).is_break() {
            return Ok(());
        }
    }
}

fn first_integer(body: &[u8]) -> Option<u32> {
    let line = body.split(|&byte| byte == b'\n').next()?;
    let load = str::from_utf8(line).ok()?.trim().parse().ok()?;
    (load <= MAX_LOAD).then_some(load)
}
