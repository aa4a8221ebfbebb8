//! b3scale's REST API on the public side, where the operator wants it there.
//!
//! What it says is none of our business: requests are handed to whoever answers them, with the client's address as
//! trusted proxies tell it, within the bounds that hold for all public requests. No tenant has such a path.
//!
//! A body is read when whoever answers asks for it: that is once the token was believed, so that strangers cannot
//! have us keep anything. Bodies have memory of their own, which front ends' forms do not miss.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use pingora_proxy::Session;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::Edge;
use super::protection;
use super::refusal::Fault;
use super::reply::Reply;
use super::track::Track;
use super::upload::{self, Broken};

/// Where it is.
const ROOT: &str = "/api/v1";
/// What follows is a token.
pub(super) const RELAY: &str = "/api/v1/callbacks/proxy/";
const JSON: &str = "application/json";
/// A frontend with a thousand parameters is far below.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// What all bodies may hold together, in KiB.
const BODIES_KIB: usize = 16 * 1024;
/// What ends meetings on a node may take a minute.
const WITHIN: Duration = Duration::from_secs(75);

/// A body that is read once somebody waits for it. The kind of an error tells what is wrong with it: `FileTooLarge`,
/// `TimedOut`, `ResourceBusy` if there is no room for it now, `UnexpectedEof` if its sender went away.
pub type Unread = BoxFuture<'static, io::Result<Bytes>>;

/// Answers one request of a client at this address.
type Answer =
    dyn Fn(IpAddr, Request<Unread>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static;

/// Who answers requests to the API.
pub struct PublicApi {
    answer: Box<Answer>,
    bodies: Semaphore,
}

impl fmt::Debug for PublicApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicApi")
    }
}

impl PublicApi {
    /// Has `answer` answer.
    pub fn new(
        answer: impl Fn(IpAddr, Request<Unread>) -> BoxFuture<'static, Response<Bytes>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { answer: Box::new(answer), bodies: Semaphore::new(BODIES_KIB) }
    }
}

/// Whether a path is the API's.
pub(super) fn is_at(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Edge {
    /// Serves b3scale's REST API, too.
    #[must_use]
    pub fn with_api(mut self, api: Option<PublicApi>) -> Self {
        self.api = api;
        self
    }

    /// A refusal in the words of the API, if it is the API's client who is refused.
    pub(super) fn in_apis_words(&self, path: &str, refused: Reply) -> Reply {
        if self.api_at(path).is_none() {
            return refused;
        }
        let mut reply = message(refused.status);
        reply.retry_after = refused.retry_after;
        reply
    }

    /// Who answers a request for this path, if it is the API's and the API is public.
    pub(super) fn api_at(&self, path: &str) -> Option<&PublicApi> {
        self.api.as_ref().filter(|_| is_at(path))
    }

    /// Answers a request to the API.
    pub(super) async fn ask_api(
        &self,
        api: &PublicApi,
        session: &mut Session,
        path: &str,
        query: &[u8],
        client: IpAddr,
        track: &Track,
    ) -> Reply {
        let reply = match head_for_api(session, path, query) {
            Ok(head) => self.answer_of(api, session, head, client).await,
            Err(refused) => refused,
        };
        match reply.status {
            // The answer says which node did not do what it was asked for.
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => track.node_at_fault(),
            status if status.is_server_error() => {
                track.blame("serverUnavailable".to_owned(), Fault::Portico);
            }
            status if status.is_client_error() => {
                track.blame("refused".to_owned(), Fault::Client);
            }
            _ => {}
        }
        reply
    }

    async fn answer_of(
        &self,
        api: &PublicApi,
        session: &mut Session,
        head: Request<()>,
        client: IpAddr,
    ) -> Reply {
        let (wants, wanted) = oneshot::channel();
        let (reads, read) = oneshot::channel();
        let unread: Unread = Box::pin(async move {
            let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
            wants.send(()).map_err(|()| gone())?;
            read.await.map_err(|_nobody_reads| gone())?
        });
        let reading = async {
            if wanted.await.is_err() {
                return pending().await;
            }
            let (body, share) = match self.read_for_api(session, &api.bodies).await {
                Ok((body, share)) => (Ok(body), share),
                Err(broken) => (Err(kind_of(broken).into()), None),
            };
            // Who does not want it any more has answered.
            drop(reads.send(body));
            share
        };
        // Of IPv6 everybody has a whole network to guess from.
        let request = head.map(|()| unread);
        let answering = timeout(WITHIN, (api.answer)(protection::network(client), request));
        let mut answering = pin!(answering);
        let answered = tokio::select! {
            answered = &mut answering => answered,
            share = reading => {
                let answered = answering.await;
                drop(share);
                answered
            }
        };
        match answered {
            Ok(response) => reply_of(response),
            Err(_elapsed) => message(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// The body, with its share of the memory, which is to be kept as long.
    async fn read_for_api<'m>(
        &self,
        session: &mut Session,
        memory: &'m Semaphore,
    ) -> Result<(Bytes, Option<SemaphorePermit<'m>>), Broken> {
        upload::invite(session).await;
        let max = MAX_BODY_BYTES.min(self.settings.max_body_bytes);
        let within = self.settings.header_timeout;
        let (body, share) = upload::read_whole_within(session, max, within, memory).await?;
        Ok((body.into(), share))
    }
}

/// The request without its body.
fn head_for_api(session: &Session, path: &str, query: &[u8]) -> Result<Request<()>, Reply> {
    let bad = || message(StatusCode::BAD_REQUEST);
    let query = std::str::from_utf8(query).map_err(|_not_utf8| bad())?;
    let uri = if query.is_empty() { path.to_owned() } else { [path, "?", query].concat() };
    let head = session.req_header();
    let mut request = Request::builder().method(head.method.clone()).uri(uri);
    if let Some(headers) = request.headers_mut() {
        headers.extend(head.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        // What it reads whole has no other framing.
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::EXPECT);
    }
    request.body(()).map_err(|_odd| bad())
}

fn kind_of(broken: Broken) -> io::ErrorKind {
    match broken {
        Broken::TooLarge => io::ErrorKind::FileTooLarge,
        Broken::TooSlow => io::ErrorKind::TimedOut,
        Broken::Gone => io::ErrorKind::UnexpectedEof,
        Broken::NoRoom => io::ErrorKind::ResourceBusy,
    }
}

/// An answer with the headers that say something of it.
fn reply_of(response: Response<Bytes>) -> Reply {
    let (head, body) = response.into_parts();
    let mut reply = Reply::new(head.status, JSON, body);
    for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, header::WWW_AUTHENTICATE] {
        if let Some(value) = head.headers.get(&name) {
            reply.extra.push((name, value.clone()));
        }
    }
    reply
}

/// A status in words, as the API says it.
fn message(status: StatusCode) -> Reply {
    let words = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        other => other.canonical_reason().unwrap_or_default(),
    };
    Reply::new(status, JSON, format!("{{\"message\":\"{words}\"}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_api_is_meant() {
        for path in ["/api/v1", "/api/v1/", "/api/v1/frontends/x"] {
            assert!(is_at(path), "{path}");
        }
        for path in ["/api/v10", "/api/portico/v1/nodes", "/api", "/", "/API/v1", "/bbb/api/v1"] {
            assert!(!is_at(path), "{path}");
        }
    }
}
