//! Speaks with the API: JSON there and back, problems as failures.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH};
use http::request::Builder;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::timeout;

use super::Access;
use super::access::Right;
use super::failure::Failure;
use super::lost::Place;
use super::output::Format;
use super::way::{self, Way};
use crate::admin::ROOT;

/// Longer than a forced removal, which gives nodes a minute to end their meetings.
const TIMEOUT: Duration = Duration::from_secs(90);
/// A thousand tenants with a thousand rules each.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// What stands for itself in a part of a path.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The API of a running Portico.
pub(super) struct Api {
    way: Way,
    /// With [`ROOT`].
    base: String,
    right: Right,
    place: Place,
}

/// What it answers when all is well.
pub(super) struct Answer {
    pub(super) body: Value,
    /// Which state of the object this is.
    pub(super) tag: Option<HeaderValue>,
}

impl Api {
    pub(super) fn new(access: &Access) -> Result<Self, Failure> {
        // Before anything is asked: what was done could not be told, a new secret among it.
        if access.output == Format::Csv {
            return Err(Failure::wrong("only statistics can be printed as CSV"));
        }
        Self::for_csv(access)
    }

    /// The same for what can be printed as CSV.
    pub(super) fn for_csv(access: &Access) -> Result<Self, Failure> {
        let (base, right, place) = access.find()?;
        let base = base.trim().trim_end_matches('/');
        let base = base.strip_suffix(ROOT).unwrap_or(base);
        let is_https = base.starts_with("https://");
        if !is_https && !base.starts_with("http://") {
            return Err(Failure::wrong(format_args!(
                "PORTICO_API is no URL of http or https: {base}"
            )));
        }
        let way = match &right {
            Right::Local(path) => Way::Socket(path.clone()),
            _ => Way::network(is_https)?,
        };
        Ok(Self { way, base: format!("{base}{ROOT}"), right, place })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::GET, path, None, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.call(Method::POST, path, Some(body), None).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.call(Method::PUT, path, Some(body), None).await
    }

    /// With a tag: unless somebody has changed it since.
    pub(super) async fn patch(
        &self,
        path: &str,
        body: &Value,
        tag: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        self.call(Method::PATCH, path, Some(body), tag).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.delete_for(path).await.map(drop)
    }

    /// With what the API tells of it.
    pub(super) async fn delete_for(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.call(Method::DELETE, path, None, None).await?.body)
    }

    /// Where there is nothing to say.
    pub(super) async fn post_nothing(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::POST, path, None, None).await
    }

    /// All pages of a list.
    pub(super) async fn all(&self, collection: &str) -> Result<Vec<Value>, Failure> {
        self.all_of(collection, "").await
    }

    /// The same of what a [`query()`] asks for.
    pub(super) async fn all_of(
        &self,
        collection: &str,
        query: &str,
    ) -> Result<Vec<Value>, Failure> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("{collection}?limit=1000{query}{cursor}");
            let mut page = self.get(&path).await?.body;
            all.extend(list(&mut page, "items")?);
            let Some(next) = page["next"].as_str() else { return Ok(all) };
            cursor = format!("&cursor={}", utf8_percent_encode(next, NOT_IN_PATH));
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        tag: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let mut request = self.request(method, path)?.header(ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(tag) = tag {
            request = request.header(IF_MATCH, tag);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::from(body))
            .map_err(|error| Failure::wrong(format_args!("{}: {error}", self.base)))?;
        let exchange = async {
            let answer = self.way.send(request).await.map_err(|error| self.unsent(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| self.place.lost(error.as_ref(), true))?.to_bytes();
            Ok::<_, Failure>((head, body))
        };
        let (head, body) = match timeout(TIMEOUT, exchange).await {
            Ok(answered) => answered?,
            Err(_elapsed) => return Err(self.place.silent(TIMEOUT.as_secs())),
        };
        if !head.status.is_success() {
            return Err(Failure::answered(head.status, &body));
        }
        let tag = head.headers.get(ETAG).cloned();
        if body.is_empty() {
            return Ok(Answer { body: Value::Null, tag });
        }
        match serde_json::from_slice(&body) {
            Ok(body) => Ok(Answer { body, tag }),
            Err(_no_json) => Err(Failure::answered(head.status, &body)),
        }
    }

    /// A request with our right to it.
    fn request(&self, method: Method, path: &str) -> Result<Builder, Failure> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let Some(token) = self.right.token() else { return Ok(request) };
        let mut token = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_broken| Failure::wrong("PORTICO_TOKEN is no token"))?;
        token.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, token))
    }

    /// Server-sent events, from behind the one with this id on.
    pub(super) async fn stream(&self, path: &str, last: Option<&str>) -> Result<Incoming, Failure> {
        let mut request = self.request(Method::GET, path)?.header(ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request
            .body(Full::default())
            .map_err(|error| Failure::wrong(format_args!("{}: {error}", self.base)))?;
        let sent = timeout(TIMEOUT, self.way.send(request)).await;
        let answer = sent.map_err(|_elapsed| self.place.silent(TIMEOUT.as_secs()))?;
        let (head, body) = answer.map_err(|error| self.unsent(&error))?.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.place.lost(error.as_ref(), true))?.to_bytes();
        Err(Failure::answered(head.status, &body))
    }

    fn unsent(&self, error: &way::Error) -> Failure {
        self.place.lost(error.as_ref(), way::is_connected(error))
    }
}

/// The path of an object.
pub(super) fn path(collection: &str, name: &str) -> String {
    format!("{collection}/{}", utf8_percent_encode(name, NOT_IN_PATH))
}

/// Takes a list out of an answer. Without it somebody else has answered, or another release: that is not to look as if
/// there were nothing in it.
pub(super) fn list(body: &mut Value, key: &str) -> Result<Vec<Value>, Failure> {
    match body.get_mut(key).map(Value::take) {
        Some(Value::Array(list)) => Ok(list),
        _ => Err(Failure::failed(format_args!(
            "this is no answer of Portico's API, or of another release: it has no list {key:?}"
        ))),
    }
}

/// What is said of these, to go behind another parameter.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            let value = utf8_percent_encode(value, NOT_IN_PATH).to_string();
            query.extend(["&", name, "=", &value]);
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_without_its_list_is_a_failure() {
        let mut well = json!({"items": [1, 2], "next": null});
        assert_eq!(list(&mut well, "items").unwrap(), [json!(1), json!(2)]);
        for mut body in [json!([]), json!([1]), json!({}), json!({"items": {}}), Value::Null] {
            let told = list(&mut body, "items").expect_err("no list");
            assert!(format!("{told:?}").contains("no answer of Portico's API"), "{told:?}");
        }
    }
}
