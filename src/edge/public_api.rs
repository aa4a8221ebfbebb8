//! b3scale's REST API on the public side, where the operator wants it there.
//!
//! What it says is none of our business: requests are handed to whoever answers them, with the client's address as
//! trusted proxies tell it, within the bounds that hold for all public requests. No tenant has such a path.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use pingora_proxy::Session;
use tokio::sync::SemaphorePermit;
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
/// What ends meetings on a node may take a minute.
const WITHIN: Duration = Duration::from_secs(75);

/// Answers one request of a client at this address.
type Answer =
    dyn Fn(IpAddr, Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static;

/// Who answers requests to the API.
#[derive(Clone)]
pub struct PublicApi(Arc<Answer>);

impl fmt::Debug for PublicApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicApi")
    }
}

impl PublicApi {
    /// Has `answer` answer.
    pub fn new(
        answer: impl Fn(IpAddr, Request<Bytes>) -> BoxFuture<'static, Response<Bytes>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(answer))
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
        let reply = match self.read_for_api(session, path, query).await {
            Ok((request, _share)) => {
                // Of IPv6 everybody has a whole network to guess from.
                match timeout(WITHIN, (api.0)(protection::network(client), request)).await {
                    Ok(response) => reply_of(response),
                    Err(_elapsed) => message(StatusCode::SERVICE_UNAVAILABLE),
                }
            }
            Err(refused) => refused,
        };
        let status = reply.status;
        if status.is_server_error() {
            track.blame("serverUnavailable".to_owned(), Fault::Portico);
        } else if status.is_client_error() {
            track.blame("refused".to_owned(), Fault::Client);
        }
        reply
    }

    /// The request, with its body's share of the memory, which is to be kept as long.
    async fn read_for_api(
        &self,
        session: &mut Session,
        path: &str,
        query: &[u8],
    ) -> Result<(Request<Bytes>, Option<SemaphorePermit<'_>>), Reply> {
        let bad = || message(StatusCode::BAD_REQUEST);
        let query = std::str::from_utf8(query).map_err(|_not_utf8| bad())?;
        let uri = if query.is_empty() { path.to_owned() } else { [path, "?", query].concat() };
        let head = session.req_header();
        let mut request = Request::builder().method(head.method.clone()).uri(uri);
        if let Some(headers) = request.headers_mut() {
            headers.extend(head.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            // What it has read whole has a length, and no other framing.
            headers.remove(header::TRANSFER_ENCODING);
            headers.remove(header::EXPECT);
        }
        upload::invite(session).await;
        let max = MAX_BODY_BYTES.min(self.settings.max_body_bytes);
        let (within, memory) = (self.settings.header_timeout, &self.strangers_forms);
        let read = upload::read_whole_within(session, max, within, memory).await;
        let (body, share) = read.map_err(|broken| {
            message(match broken {
                Broken::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                Broken::TooSlow | Broken::Gone => StatusCode::REQUEST_TIMEOUT,
                Broken::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            })
        })?;
        Ok((request.body(body.into()).map_err(|_odd| bad())?, share))
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
