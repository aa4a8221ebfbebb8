//! One attempt to tell a front end something: signed with its own secret, to an address that was checked.
//!
//! The name is resolved here and only here: what was checked is what is connected to, so that a name
//! cannot stand for another address a moment later. Redirects are followed where BigBlueButton does, each
//! checked like the first. Of an answer only its head is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::time::timeout;
use tower::Service;
use url::Url;

use crate::bbb::jwt;
use crate::chain::Chain;
use crate::model::{CallbackKind, Delivery, Forbidden, Reach};

/// For the whole attempt, redirects included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// As many as bbb-web follows.
const MAX_REDIRECTS: usize = 5;
/// How long the bearer token of analytics is good for.
const ANALYTICS_TOKEN_S: u64 = 24 * 60 * 60;
/// Longer reasons are cut: they are kept with each delivery.
const MAX_ERROR_CHARS: usize = 200;
const AGENT: &str = concat!("portico/", env!("CARGO_PKG_VERSION"));

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken.
    Delivered,
    /// The front end has deleted what it is about (410), and does not want to hear of it.
    Gone,
    /// Its address must not be called.
    Forbidden {
        /// Why.
        error: String,
    },
    /// It may go better later.
    Failed {
        /// A word from a closed set.
        kind: &'static str,
        /// What happened, without the URL.
        error: String,
    },
}

impl Verdict {
    /// A word from a closed set, for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Forbidden { .. } => "forbidden",
            Self::Failed { kind, .. } => kind,
        }
    }

    pub(super) fn failed(kind: &'static str, error: &impl ToString) -> Self {
        Self::Failed { kind, error: error.to_string().chars().take(MAX_ERROR_CHARS).collect() }
    }
}

impl From<Forbidden> for Verdict {
    fn from(forbidden: Forbidden) -> Self {
        Self::Forbidden { error: forbidden.to_string() }
    }
}

/// Sends callbacks to front ends.
#[derive(Debug, Clone)]
pub struct Sender {
    client: Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>,
    reach: Arc<Reach>,
}

impl Sender {
    /// A sender that calls within `reach` and trusts these certificates.
    pub fn new(reach: Reach, roots: RootCertStore) -> Self {
        let reach = Arc::new(reach);
        let resolver = Guarded { resolver: GaiResolver::new(), reach: reach.clone() };
        let mut http = HttpConnector::new_with_resolver(resolver);
        // HTTPS is checked by the layer above.
        http.enforce_http(false);
        http.set_connect_timeout(Some(TIMEOUT));
        // A kept connection would be one that may break under the next request.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(HttpsConnector::from((http, tls(roots))));
        Self { client, reach }
    }

    /// Tries once. `secret` is the front end's own.
    pub(super) async fn send(
        &self,
        delivery: &Delivery,
        payload: Vec<u8>,
        secret: &str,
        now_ms: u64,
    ) -> Verdict {
        let url = match self.reach.read(&delivery.target) {
            Ok(url) => url,
            Err(forbidden) => return forbidden.into(),
        };
        let attempt = async {
            match delivery.kind {
                CallbackKind::End => self.get(with_end(url, delivery, &payload)).await,
                CallbackKind::MeetingEnded => self.get(url).await,
                CallbackKind::RecordingReady => {
                    let Ok(claims) = serde_json::from_slice::<Value>(&payload) else {
                        return Verdict::failed("damaged", &"what was saved of it is no JSON");
                    };
                    let token = jwt::hs256(&claims, secret);
                    let form = form_urlencoded::Serializer::new(String::new())
                        .append_pair("signed_parameters", &token)
                        .finish();
                    let headers = [(CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
                    self.post(&url, &headers, form.into()).await
                }
                CallbackKind::Analytics => {
                    let expires = json!({"exp": now_ms / 1000 + ANALYTICS_TOKEN_S});
                    let bearer = format!("Bearer {}", jwt::hs512(&expires, secret));
                    let headers =
                        [(CONTENT_TYPE, "application/json".to_owned()), (AUTHORIZATION, bearer)];
                    self.post(&url, &headers, payload.into()).await
                }
                CallbackKind::Hook => self.event(delivery, payload, secret).await,
            }
        };
        let within = timeout(TIMEOUT, attempt).await;
        within.unwrap_or_else(|_elapsed| Verdict::failed("timeout", &"no answer in time"))
    }

    /// Posts an event as bbb-webhooks does it. To that a 401 is an answer like any other: it came across.
    async fn event(&self, delivery: &Delivery, payload: Vec<u8>, secret: &str) -> Verdict {
        let target = &delivery.target;
        let sum =
            Sha1::new().chain_update(target).chain_update(&payload).chain_update(secret).finalize();
        let separator = if target.contains('?') { '&' } else { '?' };
        let url = format!("{target}{separator}checksum={}", hex::encode(sum));
        let Ok(url) = Url::parse(&url) else { return Forbidden::NotHttp.into() };
        let headers = [(CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
        match self.exchange(Method::POST, &url, &headers, payload.into()).await {
            Ok((StatusCode::UNAUTHORIZED, _)) => Verdict::Delivered,
            Ok((status, _)) => judged(status),
            Err(verdict) => verdict,
        }
    }

    /// Follows the redirects that bbb-web follows.
    async fn get(&self, mut url: Url) -> Verdict {
        for _ in 0..=MAX_REDIRECTS {
            if let Err(forbidden) = self.reach.judge(&url) {
                return forbidden.into();
            }
            let (status, location) = match self.exchange(Method::GET, &url, &[], Bytes::new()).await
            {
                Ok(answer) => answer,
                Err(verdict) => return verdict,
            };
            let is_redirect = matches!(
                status,
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER
            );
            match location.and_then(|location| url.join(&location).ok()) {
                Some(next) if is_redirect => url = next,
                _ => return judged(status),
            }
        }
        Verdict::failed("redirects", &"too many redirects")
    }

    async fn post(
        &self,
        url: &Url,
        headers: &[(http::HeaderName, String)],
        body: Bytes,
    ) -> Verdict {
        match self.exchange(Method::POST, url, headers, body).await {
            Ok((status, _)) => judged(status),
            Err(verdict) => verdict,
        }
    }

    /// Status and `Location` of the answer.
    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        headers: &[(http::HeaderName, String)],
        body: Bytes,
    ) -> Result<(StatusCode, Option<String>), Verdict> {
        let mut url = url.clone();
        url.set_fragment(None);
        // Like the clients of a node, we do not log in.
        let is_bare = url.set_username("").is_ok() && url.set_password(None).is_ok();
        debug_assert!(is_bare, "http URLs may have a user");
        let mut request =
            Request::builder().method(method).uri(url.as_str()).header(USER_AGENT, AGENT);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(body)).map_err(|_invalid| Verdict::from(Forbidden::NotHttp))?;
        let answer = self.client.request(request).await.map_err(|error| {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
            while let Some(error) = cause {
                if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
                    return (*forbidden).into();
                }
                cause = error.source();
            }
            let kind = if error.is_connect() { "connect" } else { "broken" };
            Verdict::failed(kind, &Chain(&error))
        })?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        Ok((answer.status(), location.map(str::to_owned)))
    }
}

fn tls(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// As bbb-web appends them, with the front end's own id.
fn with_end(mut url: Url, delivery: &Delivery, payload: &[u8]) -> Url {
    let marks = if payload == b"true" { "true" } else { "false" };
    url.query_pairs_mut()
        .append_pair("recordingmarks", marks)
        .append_pair("meetingID", &delivery.key.id);
    url
}

fn judged(status: StatusCode) -> Verdict {
    match status {
        status if status.is_success() => Verdict::Delivered,
        StatusCode::GONE => Verdict::Gone,
        status => {
            let error = format!("answered with status {}", status.as_u16());
            Verdict::failed("status", &error)
        }
    }
}

/// The system's resolver, which leaves out addresses that may not be called.
#[derive(Debug, Clone)]
struct Guarded {
    resolver: GaiResolver,
    reach: Arc<Reach>,
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<std::net::SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Name>::poll_ready(&mut self.resolver, cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, reach) = (self.resolver.call(name), self.reach.clone());
        Box::pin(async move {
            let found: Vec<_> = resolving.await?.collect();
            if found.is_empty() {
                return Err(io::Error::other("the name has no address").into());
            }
            let permitted: Vec<_> =
                found.into_iter().filter(|address| reach.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(Forbidden::Address.into());
            }
            Ok(permitted.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MeetingKey, Scope};

    fn delivery(target: &str) -> Delivery {
        Delivery {
            id: 1,
            node: crate::model::NodeName::new("bbb01"),
            kind: CallbackKind::End,
            key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: "a b&c/ü".to_owned() },
            target: target.to_owned(),
            received_at_ms: 0,
            attempts: 0,
        }
    }

    #[test]
    fn an_end_is_appended_as_bbb_web_does_it() {
        for (target, url) in [
            (
                "https://f/end?x=%2f&meetingID=7",
                "https://f/end?x=%2f&meetingID=7&recordingmarks=true&meetingID=a+b%26c%2F%C3%BC",
            ),
            ("https://f", "https://f/?recordingmarks=true&meetingID=a+b%26c%2F%C3%BC"),
        ] {
            let delivery = delivery(target);
            assert_eq!(with_end(Url::parse(target).unwrap(), &delivery, b"true").as_str(), url);
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_a_forbidden_address_is_not_called() {
        let sender = Sender::new(Reach::default(), RootCertStore::empty());
        let mut resolver =
            Guarded { resolver: GaiResolver::new(), reach: Arc::clone(&sender.reach) };
        let name: Name = "localhost".parse().unwrap();
        let refused = resolver.call(name).await.unwrap_err();
        assert!(refused.is::<Forbidden>(), "{refused}");
        for target in ["http://127.0.0.1:1/", "ftp://f/", "http://localhost:1/"] {
            let verdict = sender.send(&delivery(target), Vec::new(), "secret", 0).await;
            assert_eq!(verdict.kind(), "forbidden", "{target}");
        }
        // Past the look at the URL, too.
        let url = Url::parse("http://localhost:1/").unwrap();
        let refused = sender.exchange(Method::GET, &url, &[], Bytes::new()).await.unwrap_err();
        assert_eq!(refused, Verdict::from(Forbidden::Address));
    }

    #[tokio::test]
    async fn a_redirect_to_a_forbidden_place_is_not_followed() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reach = Reach { allowed: vec![format!("{}/32", address.ip()).parse().unwrap()] };
        let sender = Sender::new(reach, RootCertStore::empty());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let read = stream.read(&mut [0; 4096]).await.unwrap();
            assert!(read > 0);
            let answer = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let delivery = delivery(&format!("http://{address}/"));
        let (verdict, ()) = tokio::join!(sender.send(&delivery, Vec::new(), "secret", 0), serve);
        assert_eq!(verdict.kind(), "forbidden");
    }
}
