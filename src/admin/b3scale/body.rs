//! Bodies as b3scale reads them: keys in any case, unknown ones ignored, and what is absent stays as it is.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::super::api::problem::Problem;
use super::MAX_BODY_BYTES;

/// Whoever takes longer for a body holds a place for nothing.
const WITHIN: Duration = Duration::from_secs(10);

/// The body of a request. One without a length is an empty object.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    let bytes = bytes_of(body, MAX_BODY_BYTES).await?;
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.unwrap_or_default().starts_with("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type"));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let detail = if error.is_eof() {
            "unexpected EOF".to_owned()
        } else {
            format!("Syntax error: {error}")
        };
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// All bytes of a body, or in b3scale's words why they are not there.
pub(super) async fn bytes_of(body: Body, most: usize) -> Result<Bytes, Problem> {
    let read = timeout(WITHIN, to_bytes(body, most)).await;
    let status = match read {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(broken)) => status_of(&broken),
        Err(_elapsed) => StatusCode::REQUEST_TIMEOUT,
    };
    let words = match status {
        // As its framework spells it.
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        other => other.canonical_reason().unwrap_or_default(),
    };
    Err(Problem::new(status, words))
}

fn status_of(broken: &(dyn Error + 'static)) -> StatusCode {
    for cause in successors(Some(broken), |cause| (*cause).source()) {
        if cause.is::<LengthLimitError>() {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return match cause.kind() {
                io::ErrorKind::FileTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                io::ErrorKind::TimedOut => StatusCode::REQUEST_TIMEOUT,
                io::ErrorKind::ResourceBusy => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_REQUEST,
            };
        }
    }
    StatusCode::BAD_REQUEST
}

/// What a body says of one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given<T> {
    /// Nothing: it stays.
    Absent,
    /// `null`: what can be empty is emptied.
    Null,
    /// A value.
    Is(T),
}

impl<T> Given<T> {
    /// The value, where `null` means nothing.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

/// An object in a body.
pub(super) struct Fields<'b> {
    path: String,
    map: &'b Map<String, Value>,
}

impl<'b> Fields<'b> {
    /// The whole body.
    pub(super) fn of(body: &'b Value) -> Result<Self, Problem> {
        match body {
            Value::Object(map) => Ok(Self { path: String::new(), map }),
            other => Err(mismatch("object", other, "")),
        }
    }

    fn get(&self, key: &str) -> Given<&'b Value> {
        let in_any_case = || self.map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        match self.map.get(key).or_else(|| in_any_case().map(|(_, value)| value)) {
            None => Given::Absent,
            Some(Value::Null) => Given::Null,
            Some(value) => Given::Is(value),
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take<T>(
        &self,
        key: &str,
        expected: &str,
        take: impl FnOnce(&'b Value) -> Option<T>,
    ) -> Result<Given<T>, Problem> {
        Ok(match self.get(key) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Is(value) => {
                Given::Is(take(value).ok_or_else(|| mismatch(expected, value, &self.path_of(key)))?)
            }
        })
    }

    pub(super) fn text(&self, key: &str) -> Result<Given<&'b str>, Problem> {
        self.take(key, "string", Value::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Given<bool>, Problem> {
        self.take(key, "bool", Value::as_bool)
    }

    pub(super) fn number(&self, key: &str) -> Result<Given<f64>, Problem> {
        self.take(key, "float64", Value::as_f64)
    }

    pub(super) fn integer(&self, key: &str) -> Result<Given<i64>, Problem> {
        self.take(key, "int", Value::as_i64)
    }

    pub(super) fn texts(&self, key: &str) -> Result<Given<Vec<String>>, Problem> {
        self.take(key, "[]string", |value| {
            let texts = value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect()
        })
    }

    pub(super) fn object(&self, key: &str) -> Result<Given<Self>, Problem> {
        let path = self.path_of(key);
        self.take(key, "object", |value| Some(Self { path, map: value.as_object()? }))
    }

    /// Texts by their names, which keep their case.
    pub(super) fn map(&self, key: &str) -> Result<Given<BTreeMap<String, String>>, Problem> {
        self.take(key, "string", |value| {
            let texts = value.as_object()?.iter();
            texts.map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect()
        })
    }
}

fn mismatch(expected: &str, got: &Value, field: &str) -> Problem {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let detail = format!("Unmarshal type error: expected={expected}, got={got}, field={field}");
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
