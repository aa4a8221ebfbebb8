//! The HTTP server: connections, the way from a path to an answer, and what faults do to it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::fault::{self, Fault};
use super::reply::{self, Reply};
use super::request::Request;
use super::seen::{self, Seen};
use super::{Shared, calls, control};

/// A node takes presentations of 30 MB, which base64 makes a third larger.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Idle connections are closed after nginx's default.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// Accepting fails when file descriptors run out; that does not get better at once.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

type Body = BoxBody<Bytes, Infallible>;

/// Takes connections until the node stops.
pub(super) async fn accept(node: Arc<Shared>) {
    loop {
        match node.gate.accept().await {
            Ok((stream, end)) => node.spawn(serve(Arc::clone(&node), stream, end)),
            Err(error) => {
                log::warn!(
                    "the simulated node {} could not accept a connection: {error}",
                    node.settings.name
                );
                tokio::time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
            }
        }
    }
}

async fn serve(node: Arc<Shared>, stream: TcpStream, end: CancellationToken) {
    let connection = Connection { end, resets: Arc::default() };
    let socket = Socket { stream, resets: Arc::clone(&connection.resets) };
    let service = service_fn(|request| {
        let (node, connection) = (Arc::clone(&node), connection.clone());
        async move { Ok::<_, Infallible>(respond(&node, &connection, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service);
    if let Some(Err(error)) = connection.end.run_until_cancelled(serving).await {
        log::debug!("a connection to the simulated node {} failed: {error}", node.settings.name);
    }
}

async fn respond(
    node: &Arc<Shared>,
    connection: &Connection,
    request: http::Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        return whole(reply::status(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let (body, query) = (body.to_bytes(), parts.uri.query().unwrap_or_default());
    let target = Target::of(parts.uri.path());
    let request = |call: &str| {
        Request::new(
            parts.method.clone(),
            call.to_owned(),
            query,
            parts.headers.clone(),
            body.clone(),
        )
    };
    if let Target::Control(command) = &target {
        // Not a call on a node: neither counted nor subject to faults, or they could not be taken back.
        return whole(control::answer(node, &request(command)));
    }
    node.log.lock().note(
        target.name(),
        Seen {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: query.to_owned(),
            headers: parts.headers.clone(),
            body_start: seen::body_start(&body),
            body_len: body.len(),
            at: Timestamp::now(),
        },
    );
    let fault = node.faults.lock().of(target.name());
    match fault {
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::Refuse | Fault::Reset) => return connection.reset().await,
        Some(Fault::Hang) => return pending().await,
        Some(Fault::Status(code)) => {
            return whole(reply::status(
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            ));
        }
        Some(Fault::Failed) => return whole(reply::xml(fault::FAILED.to_owned())),
        Some(Fault::BadXml) => return whole(reply::xml(fault::BAD_XML.to_owned())),
        Some(Fault::Html) => return whole(reply::html(fault::HTML_PAGE.to_owned())),
        Some(Fault::EndlessBody) => {
            let (body, write) = fault::endless();
            node.spawn(write);
            return reply::xml(String::new()).map(|_| body.boxed());
        }
        Some(Fault::WrongId | Fault::Dribble) | None => {}
    }
    let reply = match target {
        Target::Api(call) => calls::answer(node, &request(&call)),
        Target::Client => calls::page(node, &request("html5client")),
        Target::Load => reply::plain(format!("{}\n", node.load.load(Ordering::Relaxed))),
        Target::Start if parts.method == Method::GET => {
            reply::html(format!("<h1>{}</h1>\n", "A simulated node"))
        }
        Target::Start | Target::Control(_) | Target::Unknown => {
            reply::status(StatusCode::NOT_FOUND)
        }
    };
    match fault {
        Some(Fault::WrongId) => whole(fault::with_wrong_id(reply)),
        Some(Fault::Dribble) => {
            let (parts, content) = reply.into_parts();
            let (body, write) = fault::dribble(content);
            node.spawn(write);
            Response::from_parts(parts, body.boxed())
        }
        _ => whole(reply),
    }
}

fn whole(reply: Reply) -> Response<Body> {
    reply.map(|content| Full::new(content).boxed())
}

/// What a path leads to.
enum Target {
    /// A call below `/bigbluebutton/api`.
    Api(String),
    /// The HTML5 client, also with a prefix in front as in a cluster proxy.
    Client,
    /// B3LB's script.
    Load,
    Control(String),
    /// `/`, where people land after a meeting.
    Start,
    Unknown,
}

impl Target {
    /// Slashes at the end and doubled ones mean nothing, as behind nginx.
    fn of(path: &str) -> Self {
        let words: Vec<_> = path.split('/').filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Self::Start,
            ["bigbluebutton"] => Self::Api(String::new()),
            ["bigbluebutton", "api", call @ ..] => Self::Api(call.join("/")),
            ["b3lb", "load"] => Self::Load,
            ["sim", command] => Self::Control((*command).to_owned()),
            [.., "html5client"] => Self::Client,
            _ => Self::Unknown,
        }
    }

    /// The name it is counted under, and that faults are set for.
    fn name(&self) -> &str {
        match self {
            Self::Api(call) => call,
            Self::Client => "html5client",
            Self::Load => "load",
            Self::Control(_) | Self::Start | Self::Unknown => "other",
        }
    }
}

/// How a request can end the connection it came on.
#[derive(Clone)]
struct Connection {
    end: CancellationToken,
    resets: Arc<AtomicBool>,
}

impl Connection {
    /// Ends the connection with a TCP reset; never comes back.
    async fn reset<T>(&self) -> T {
        self.resets.store(true, Ordering::Relaxed);
        self.end.cancel();
        pending().await
    }
}

/// A stream that can be told to end with a reset instead of a proper close.
struct Socket {
    stream: TcpStream,
    resets: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.resets.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            log::warn!("a connection is closed, not reset: {error}");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
