//! One attempt to tell a front end something: signed with its own secret, to an address that was checked.
//!
//! A secret may have two values while it is rolled over, and which one a front end has it does not say. So
//! what is refused when it is signed with one is sent once more, signed with the other.
//!
//! Redirects are followed where BigBlueButton does, each checked like the first. Of an answer only its head
//! is looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rustls::RootCertStore;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::time::timeout;
use url::Url;

use super::clients::{Clients, Connection, finish};
use crate::bbb::jwt;
use crate::chain::Chain;
use crate::model::{CallbackKind, Delivery, Forbidden, Reach};

/// For the whole attempt, redirects included.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// As many as bbb-web follows.
const MAX_REDIRECTS: usize = 5;
/// How long the bearer token of analytics is good for.
const ANALYTICS_TOKEN_S: u64 = 24 * 60 * 60;
/// Longer reasons are cut: they are kept with each delivery.
const MAX_ERROR_CHARS: usize = 200;
const AGENT: &str = concat!("portico/", env!("CARGO_PKG_VERSION"));

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken.
    Delivered,
    /// The front end has deleted what it is about (410), and does not want to hear of it.
    Gone,
    /// Its address, as it is written, must not be called.
    Forbidden {
        /// Why.
        error: String,
    },
    /// It was not sent: its recording is not listed yet.
    NotListed {
        /// What was seen of it.
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
            Self::NotListed { .. } => "not_listed",
            Self::Failed { kind, .. } => kind,
        }
    }

    pub(super) fn failed(kind: &'static str, error: &impl ToString) -> Self {
        Self::Failed { kind, error: cut(error) }
    }

    pub(super) fn not_listed(error: &impl ToString) -> Self {
        Self::NotListed { error: cut(error) }
    }
}

fn cut(error: &impl ToString) -> String {
    error.to_string().chars().take(MAX_ERROR_CHARS).collect()
}

impl From<Forbidden> for Verdict {
    fn from(forbidden: Forbidden) -> Self {
        Self::Forbidden { error: forbidden.to_string() }
    }
}

/// Sends callbacks to front ends.
#[derive(Debug, Clone)]
pub struct Sender {
    clients: Clients,
    reach: Arc<Reach>,
}

impl Sender {
    /// A sender that calls within `reach` and trusts these certificates.
    pub fn new(reach: Reach, roots: RootCertStore) -> Self {
        let reach = Arc::new(reach);
        Self { clients: Clients::new(&reach, roots), reach }
    }

    /// Tries once. `secrets` are the values of the front end's own.
    pub(super) async fn send(
        &self,
        delivery: &Delivery,
        payload: Vec<u8>,
        secrets: &[String],
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
                CallbackKind::RecordingReady | CallbackKind::Analytics | CallbackKind::Hook => {
                    self.post(url, delivery, &payload.into(), secrets, now_ms).await
                }
            }
        };
        let within = timeout(TIMEOUT, attempt).await;
        within.unwrap_or_else(|_elapsed| Verdict::failed("timeout", &"no answer in time"))
    }

    /// Posts what is signed, with one value of the secret after the other while it is refused.
    async fn post(
        &self,
        url: Url,
        delivery: &Delivery,
        payload: &Bytes,
        secrets: &[String],
        now_ms: u64,
    ) -> Verdict {
        let mut verdict = Verdict::failed("no_tenant", &"its secret is gone");
        let mut is_unauthorized = false;
        // Another one first each time: some fail in other ways over a signature that they do not know.
        let connection = Connection::of(delivery.kind);
        let first = delivery.attempts as usize % secrets.len().max(1);
        let (later, sooner) = secrets.split_at(first);
        for secret in sooner.iter().chain(later) {
            let Some(post) = Post::signed(url.clone(), delivery, payload, secret, now_ms) else {
                return Verdict::failed("damaged", &"what was saved of it is no JSON");
            };
            let sent = self.exchange(connection, Method::POST, &post.url, &post.headers, post.body);
            let sent = sent.await;
            let status = match sent {
                Ok((status, _)) => status,
                Err(verdict) => return verdict,
            };
            verdict = judged(status);
            is_unauthorized |= status == StatusCode::UNAUTHORIZED;
            if !may_be_the_signature(status) {
                return verdict;
            }
        }
        // To bbb-webhooks a 401 is an answer like any other: it came across.
        if is_unauthorized && delivery.kind == CallbackKind::Hook {
            return Verdict::Delivered;
        }
        verdict
    }

    /// Follows the redirects that bbb-web follows.
    async fn get(&self, mut url: Url) -> Verdict {
        for _ in 0..=MAX_REDIRECTS {
            if let Err(forbidden) = self.reach.judge(&url) {
                return forbidden.into();
            }
            let answer = self.exchange(Connection::Fresh, Method::GET, &url, &[], Bytes::new());
            let (status, location) = match answer.await {
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

    /// Status and `Location` of the answer.
    async fn exchange(
        &self,
        connection: Connection,
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
        let answer = self.clients.of(connection).request(request).await.map_err(|error| {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
            while let Some(error) = cause {
                // A resolver in trouble says what it will not say in an hour.
                if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
                    return Verdict::failed("forbidden", forbidden);
                }
                cause = error.source();
            }
            let kind = if error.is_connect() { "connect" } else { "broken" };
            Verdict::failed(kind, &Chain(&error))
        })?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let seen = (answer.status(), location.map(str::to_owned));
        if connection == Connection::Kept {
            finish(answer.into_body()).await;
        }
        Ok(seen)
    }
}

/// As bbb-web appends them, with the front end's own id.
fn with_end(mut url: Url, delivery: &Delivery, payload: &[u8]) -> Url {
    let marks = if payload == b"true" { "true" } else { "false" };
    url.query_pairs_mut()
        .append_pair("recordingmarks", marks)
        .append_pair("meetingID", &delivery.key.id);
    url
}

/// A request that its front end can tell to be ours.
struct Post {
    url: Url,
    headers: Vec<(http::HeaderName, String)>,
    body: Bytes,
}

impl Post {
    /// `None` if the payload is not what it should be.
    fn signed(
        mut url: Url,
        delivery: &Delivery,
        payload: &Bytes,
        secret: &str,
        now_ms: u64,
    ) -> Option<Self> {
        let form = (CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned());
        let (headers, body) = match delivery.kind {
            CallbackKind::RecordingReady => {
                let claims: Value = serde_json::from_slice(payload).ok()?;
                let body = form_urlencoded::Serializer::new(String::new())
                    .append_pair("signed_parameters", &jwt::hs256(&claims, secret))
                    .finish();
                (vec![form], body.into())
            }
            CallbackKind::Analytics => {
                let expires = json!({"exp": now_ms / 1000 + ANALYTICS_TOKEN_S});
                let bearer = format!("Bearer {}", jwt::hs512(&expires, secret));
                let json = (CONTENT_TYPE, "application/json".to_owned());
                (vec![json, (AUTHORIZATION, bearer)], payload.clone())
            }
            CallbackKind::Hook => {
                url = with_checksum(&delivery.target, payload, secret)?;
                (vec![form], payload.clone())
            }
            CallbackKind::End | CallbackKind::MeetingEnded => return None,
        };
        Some(Self { url, headers, body })
    }
}

/// As bbb-webhooks appends it by default.
fn with_checksum(target: &str, body: &[u8], secret: &str) -> Option<Url> {
    let sum = Sha1::new().chain_update(target).chain_update(body).chain_update(secret).finalize();
    let separator = if target.contains('?') { '&' } else { '?' };
    Url::parse(&format!("{target}{separator}checksum={}", hex::encode(sum))).ok()
}

/// What a front end may say to a signature that it does not know: 401 as it should, or 400, 403, 422.
fn may_be_the_signature(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::GONE
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::TOO_MANY_REQUESTS
        )
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

#[cfg(test)]
mod tests {
    use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
    use tower::Service;

    use super::super::clients::Guarded;
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
            let verdict = sender.send(&delivery(target), Vec::new(), &[], 0).await;
            assert!(matches!(verdict, Verdict::Forbidden { .. }), "{target}: {verdict:?}");
        }
        // Past the look at the URL, too. What a name stands for may have changed by the next attempt.
        let url = Url::parse("http://localhost:1/").unwrap();
        for connection in [Connection::Fresh, Connection::Kept] {
            let refused = sender.exchange(connection, Method::GET, &url, &[], Bytes::new()).await;
            assert_eq!(refused, Err(Verdict::failed("forbidden", &Forbidden::Address)));
        }
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
        let (verdict, ()) = tokio::join!(sender.send(&delivery, Vec::new(), &[], 0), serve);
        assert_eq!(verdict.kind(), "forbidden");
    }

    #[tokio::test]
    async fn each_attempt_begins_with_another_value_of_the_secret() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reach = Reach { allowed: vec![format!("{}/32", address.ip()).parse().unwrap()] };
        let sender = Sender::new(reach, RootCertStore::empty());
        let target = format!("http://{address}/");
        let answer = b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let serve = async || {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        let secrets = ["old".to_owned(), "new".to_owned()];
        for (attempts, secret) in [(0, "old"), (1, "new"), (2, "old")] {
            let kind = CallbackKind::Hook;
            let delivery = Delivery { kind, attempts, ..delivery(&target) };
            let sending = sender.send(&delivery, b"event=1".to_vec(), &secrets, 0);
            let (verdict, request) = tokio::join!(sending, serve());
            assert_eq!(verdict.kind(), "status");
            let sum = hex::encode(Sha1::digest([&*target, "event=1", secret].concat()));
            assert!(request.contains(&format!("?checksum={sum} ")), "{request}");
        }
    }

    #[tokio::test]
    async fn only_events_of_webhooks_share_a_connection() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reach = Reach { allowed: vec![format!("{}/32", address.ip()).parse().unwrap()] };
        let sender = Sender::new(reach, RootCertStore::empty());
        let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::spawn(async move {
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        let secrets = ["secret".to_owned()];
        let taken = || accepted.swap(0, std::sync::atomic::Ordering::Relaxed);
        let kinds =
            CallbackKind::ALL.into_iter().filter(|kind| *kind != CallbackKind::MeetingEnded);
        for kind in kinds.chain([CallbackKind::Hook]) {
            let delivery = Delivery { kind, ..delivery(&format!("http://{address}/")) };
            for _ in 0..5 {
                let verdict = sender.send(&delivery, b"{}".to_vec(), &secrets, 0).await;
                assert_eq!(verdict, Verdict::Delivered);
            }
            // One may come before the connection of the one before it is back.
            let connections = taken();
            assert!((connections < 5) == (kind == CallbackKind::Hook), "{kind:?}: {connections}");
        }
    }
}
