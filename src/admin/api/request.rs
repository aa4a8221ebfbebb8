//! What a request says: its path, its query and its body. What cannot be read is told as a problem.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::problem::Problem;
use super::{json, misread};

/// The largest documents are tenants with a thousand rules.
pub(super) const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Whoever takes longer for a document holds a place for nothing.
const DOCUMENT_WITHIN: Duration = Duration::from_secs(10);
/// What is only so much too large is read all the same, so that its sender sees the answer: a connection that closes
/// while somebody sends takes the answer along.
const SLIGHT: usize = 1024 * 1024;

/// What a path names.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(named)) => Ok(Self(named)),
            Err(rejected) => {
                let detail = format!("the path cannot be read: {}", rejected.body_text());
                Err(Problem::new(StatusCode::BAD_REQUEST, detail))
            }
        }
    }
}

/// A query string; what is wrong with it is told by the word.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        read_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let words = serde_urlencoded::Deserializer::new(pairs);
    serde_path_to_error::deserialize(words).map_err(|error| {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let found = move |name: &str| {
            let pair = pairs.clone().find(|(key, _)| key == name);
            pair.map(|(_, value)| value.into_owned())
        };
        Problem::fields([misread::told(&error, found)])
    })
}

/// A body that nobody has read so far: first it is to be clear that the caller may send one.
pub(super) struct Unread(Request);

impl<S: Send + Sync> FromRequest<S> for Unread {
    type Rejection = Infallible;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(request))
    }
}

impl Unread {
    /// A document of JSON, in which no key stands twice.
    pub(super) async fn json(self) -> Result<Value, Problem> {
        if !is_json(self.0.headers()) {
            let detail = "the Content-Type is to be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let bytes = self.bytes(MAX_DOCUMENT_BYTES, DOCUMENT_WITHIN).await?;
        json::read(&bytes)
    }

    /// A document of JSON; without a body an empty one.
    pub(super) async fn json_if_any(self) -> Result<Value, Problem> {
        let has_kind = self.0.headers().contains_key(header::CONTENT_TYPE);
        if !has_kind && self.0.body().is_end_stream() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        self.json().await
    }

    /// All of it.
    pub(super) async fn bytes(self, most: usize, within: Duration) -> Result<Bytes, Problem> {
        let too_large = || {
            let detail = format!("the body has more than {most} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        };
        let length = self.0.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > most + SLIGHT) {
            return Err(too_large());
        }
        let read = timeout(within, Limited::new(self.0.into_body(), most).collect()).await;
        let read = read.map_err(|_elapsed| {
            let detail = format!("the body did not come within {} s", within.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
        })?;
        match read {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => {
                let detail = format!("the body ends too early: {error}");
                Err(Problem::new(StatusCode::BAD_REQUEST, detail))
            }
        }
    }
}

/// `application/json`, or a kind that is JSON, too: `application/merge-patch+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::stream;
    use serde::Deserialize;

    use super::*;

    fn unread(body: Body, headers: &[(&str, &str)]) -> Unread {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Unread(request.body(body).expect("a request"))
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn status<T>(read: Result<T, Problem>) -> u16 {
        read.err().map_or(200, |problem| problem.told().0.as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up() {
        let each_second = tokio::time::interval(Duration::from_secs(1));
        let drops = stream::unfold(each_second, async |mut each_second| {
            each_second.tick().await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), each_second))
        });
        let body = Body::from_stream(drops);
        assert_eq!(status(unread(body, &[JSON]).json().await), 408);
    }

    #[tokio::test]
    async fn a_body_is_json_of_some_size() {
        let long = "[".repeat(MAX_DOCUMENT_BYTES + 1);
        let chunked = Body::from_stream(stream::iter([Ok::<_, Infallible>(long.clone())]));
        for (body, headers, expected) in [
            (Body::from("{}"), &[JSON][..], 200),
            (Body::from("{}"), &[("content-type", "application/merge-patch+json")], 200),
            (Body::from("{}"), &[("content-type", "Application/JSON; charset=utf-8")], 200),
            (Body::from("{}"), &[("content-type", "text/plain")], 415),
            (Body::from("{}"), &[], 415),
            (Body::from("{"), &[JSON], 400),
            (Body::from(""), &[JSON], 400),
            (Body::from(r#"{"a": 1, "a": 1}"#), &[JSON], 422),
            (Body::from("{}"), &[JSON, ("content-length", "9999999")], 413),
            (chunked, &[JSON], 413),
        ] {
            assert_eq!(status(unread(body, headers).json().await), expected, "{headers:?}");
        }
        assert_eq!(status(unread(Body::empty(), &[]).json_if_any().await), 200);
        assert_eq!(status(unread(Body::empty(), &[JSON]).json_if_any().await), 400);
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Words {
        limit: Option<u8>,
        state: Option<State>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Ready,
    }

    #[test]
    fn a_wrong_word_of_a_query_is_named() {
        for (query, named) in [
            ("limit=x", "limit"),
            ("limit=300", "limit"),
            ("limit=1&limit=2", "limit"),
            ("state=odd", "state"),
            ("stat=ready", "stat"),
            ("%FF=1", "\u{fffd}"),
        ] {
            let problem = read_query::<Words>(query).expect_err(query);
            let fields: Vec<_> = problem.wrong_fields().map(|(field, _)| field).collect();
            assert_eq!((problem.told().0.as_u16(), fields), (422, vec![named]), "{query}");
        }
        let words = read_query::<Words>("limit=7&state=ready").expect("words");
        assert!(matches!(words, Words { limit: Some(7), state: Some(State::Ready) }));
    }
}
