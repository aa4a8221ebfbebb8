//! The HTTP client that talks to nodes: whole answers, streamed answers, uploads, and B3LB's load.
//!
//! A node is not trusted to behave. Every call has one deadline over name, connection, request and
//! answer, and a bound on the bytes of the answer; neither a slow nor an endless one costs more.
//! Redirects are answers like any other. HTTP/1.1 only, as BigBlueButton's nginx speaks it to API
//! callers, over connections kept for the next call and driven by the task that calls.
//!
//! Errors say what failed towards whom. They carry scheme, host, port and path, never a query:
//! queries hold checksums and names of people.

mod connect;
mod connection;
mod error;
mod pool;
mod roots;
mod target;

#[cfg(test)]
mod tests;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use rustls::RootCertStore;
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use error::{Error, Stage};

pub(crate) use roots::load as load_roots;

use connect::Connector;
use connection::{Connection, Sending, Sent};
use pool::Pool;
use target::Target;

/// What we call ourselves.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("portico/", env!("CARGO_PKG_VERSION")));

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
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connector: Connector,
    pool: Pool,
}

/// What is read of the body of an answer.
struct Reading<'a> {
    /// Whether it is read whatever the status, or only with 200.
    any_status: bool,
    max_bytes: usize,
    each_chunk: &'a mut (dyn FnMut(&[u8]) -> ControlFlow<()> + Send),
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
        let connector = Connector::new(settings.connect_timeout, roots);
        Self { shared: Arc::new(Shared { connector, pool: Pool::new(Instant::now()) }) }
    }

    /// One call of the API at `base`: GET without a body, POST with one. `query` is signed already
    /// and goes out byte for byte. Any status is an answer.
    ///
    /// A GET is sent again when it met a kept connection that the node had closed meanwhile without
    /// a word; a POST never is once any of it was sent, and no request is that was sent over a new
    /// connection.
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
        let (head, body) = self.collect(&target, body, true, timeout, max_bytes).await?;
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
        let reading = Reading { any_status: false, max_bytes, each_chunk };
        let head = self.ask(&target, None, timeout, reading).await?;
        Ok(head.status.as_u16())
    }

    /// The load that a node's script answers, an integer 0..=10000 in the first line.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`], and [`Error::Load`] for any other answer.
    pub async fn fetch_load(&self, url: &Url, timeout: Duration) -> Result<u32, Error> {
        let target = Target::of(url)?;
        let (head, body) = self.collect(&target, None, false, timeout, MAX_LOAD_BYTES).await?;
        if head.status != StatusCode::OK {
            let reason = format!("status {}", head.status.as_u16());
            return Err(Error::Load { target: target.shown(), reason: reason.into() });
        }
        first_integer(&body).ok_or_else(|| Error::Load {
            target: target.shown(),
            reason: "no integer from 0 to 10000 in the first line".into(),
        })
    }

    async fn collect(
        &self,
        target: &Target<'_>,
        body: Option<RequestBody>,
        any_status: bool,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<(response::Parts, Vec<u8>), Error> {
        let mut all = Vec::new();
        let mut each_chunk = |chunk: &[u8]| {
            all.extend_from_slice(chunk);
            ControlFlow::Continue(())
        };
        let reading = Reading { any_status, max_bytes, each_chunk: &mut each_chunk };
        let head = self.ask(target, body, timeout, reading).await?;
        Ok((head, all))
    }

    /// One request and its answer, under one deadline.
    async fn ask(
        &self,
        target: &Target<'_>,
        body: Option<RequestBody>,
        timeout: Duration,
        reading: Reading<'_>,
    ) -> Result<response::Parts, Error> {
        let mut stage = Stage::Connect;
        let asking = async {
            let (answer, connection) = self.open(target, body, &mut stage).await?;
            stage = Stage::Body;
            let (head, incoming) = answer.into_parts();
            if reading.any_status || head.status == StatusCode::OK {
                self.read(target, connection, incoming, reading).await?;
            }
            Ok(head)
        };
        let asked = timeout_at(Instant::now() + timeout.min(LONGEST), asking).await;
        asked.unwrap_or_else(|_elapsed| Err(Error::Timeout { target: target.shown(), stage }))
    }

    /// Sends a request and waits for the head of its answer.
    async fn open(
        &self,
        target: &Target<'_>,
        body: Option<RequestBody>,
        stage: &mut Stage,
    ) -> Result<(http::Response<Incoming>, Box<Connection>), Error> {
        let is_get = body.is_none();
        let mut request = body.map_or_else(|| get(target), |body| post(target, body));
        let mut repeats = 0;
        loop {
            let mut connection = match self.shared.pool.take(target.origin(), Instant::now()) {
                Some(kept) => kept,
                // Rare, and large beside the rest.
                None => match Box::pin(self.connect(target)).await {
                    Ok(new) => new,
                    // What was sent before may have been seen.
                    Err(error) if repeats > 0 => {
                        let (target, source) = (target.shown(), error.into());
                        return Err(Error::Reset { target, source });
                    }
                    Err(error) => return Err(error),
                },
            };
            *stage = Stage::Answer;
            request = match connection.send(request).await {
                Sent::Answered(answer) => return Ok((answer, connection)),
                Sent::Unsent(request) => request,
                Sent::Stale(_) if is_get && repeats < STALE_RETRIES => {
                    repeats += 1;
                    get(target)
                }
                Sent::Stale(error) | Sent::Failed(error) => {
                    return Err(Error::talking(target, error));
                }
            }
        }
    }

    async fn connect(&self, target: &Target<'_>) -> Result<Box<Connection>, Error> {
        let address = target.address()?;
        let host = HeaderValue::from_str(target.authority());
        let host = host.map_err(|_invalid| target.cannot_be_asked())?;
        let wire = self.shared.connector.connect(address).await;
        let wire = wire.map_err(|error| Error::connecting(target, error))?;
        let connection = Connection::new(wire, host).await;
        connection.map(Box::new).map_err(|error| Error::talking(target, error))
    }

    /// Reads a body to its end and puts the connection back. Anything else closes it.
    async fn read(
        &self,
        target: &Target<'_>,
        mut connection: Box<Connection>,
        mut body: Incoming,
        reading: Reading<'_>,
    ) -> Result<(), Error> {
        let Reading { max_bytes, each_chunk, .. } = reading;
        let too_large = || Error::TooLarge { target: target.shown(), max_bytes };
        // What the head promises; 0 when it promises nothing.
        if usize::try_from(body.size_hint().lower()).map_or(true, |promised| promised > max_bytes) {
            return Err(too_large());
        }
        let mut room = max_bytes;
        while let Some(frame) = connection.frame(&mut body).await {
            let frame = frame.map_err(|error| Error::talking(target, error))?;
            let Some(chunk) = frame.data_ref() else { continue };
            room = room.checked_sub(chunk.len()).ok_or_else(too_large)?;
            if each_chunk(chunk).is_break() {
                return Ok(());
            }
        }
        self.shared.pool.put_back(target.origin(), connection, Instant::now());
        Ok(())
    }
}

fn get(target: &Target<'_>) -> Request<Sending> {
    request(target, Method::GET, Empty::new().map_err(|never| match never {}).boxed())
}

fn post(target: &Target<'_>, body: RequestBody) -> Request<Sending> {
    let mut request = request(target, Method::POST, body.body);
    if let Some(length) = body.length {
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    if let Some(content_type) = body.content_type {
        request.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    request
}

/// Without `Host`, which the connection adds.
fn request(target: &Target<'_>, method: Method, body: Sending) -> Request<Sending> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.uri();
    request.headers_mut().insert(USER_AGENT, AGENT);
    request
}

fn first_integer(body: &[u8]) -> Option<u32> {
    let line = body.split(|&byte| byte == b'\n').next()?;
    let load = str::from_utf8(line).ok()?.trim().parse().ok()?;
    (load <= MAX_LOAD).then_some(load)
}
