//! What went wrong, as RFC 9457 tells it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use log::error;
use serde::Serialize;
use utoipa::ToSchema;

use super::generated::NoRandomness;
use crate::chain::Chain;
use crate::config;
use crate::inventory::Unchanged;
use crate::model::{Clash, ObjectName};
use crate::store;

/// How a problem is told from an answer.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";
/// Whoever has made more mistakes than these is told of the rest when they are mended.
pub(super) const MAX_FIELDS: usize = 100;

/// Why a request was refused (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::admin) struct Problem {
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The same in words.
    title: String,
    /// What is wrong, and what would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Every field that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct FieldProblem {
    /// Its path, such as `secrets[0].secret`; empty: the whole.
    field: String,
    /// What is wrong, and what would be right.
    detail: String,
}

impl Problem {
    pub(in crate::admin) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            detail: Some(detail.into()),
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    pub(super) fn not_found(object: &ObjectName) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {object}"))
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn too_many(detail: impl Into<String>, retry_after_s: u64) -> Self {
        let retry_after_s = Some(retry_after_s);
        Self { retry_after_s, ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// The store is away; soon it may not be.
    pub(super) fn away(detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The HTTP status, and what is wrong in words.
    pub(in crate::admin) fn told(&self) -> (StatusCode, &str) {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.detail.as_deref().unwrap_or(&self.title))
    }

    /// The same, with the fields by other names.
    pub(in crate::admin) fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        if self.errors.is_empty() {
            return self;
        }
        Self::fields(self.errors.into_iter().map(|error| (name(&error.field), error.detail)))
    }

    /// A conflict as what is wrong with a field; anything else as it is.
    pub(in crate::admin) fn into_field(self, field: &str) -> Self {
        if self.status != StatusCode::CONFLICT.as_u16() {
            return self;
        }
        Self::fields([(field.to_owned(), self.detail.unwrap_or(self.title))])
    }

    /// Every field that is wrong, with what is wrong with it.
    pub(in crate::admin) fn wrong_fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.errors.iter().map(|error| (error.field.as_str(), error.detail.as_str()))
    }

    /// Fields that are wrong, by their paths.
    pub(in crate::admin) fn fields(fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let fields = fields.into_iter().take(MAX_FIELDS);
        let errors: Vec<_> = fields.map(|(field, detail)| FieldProblem { field, detail }).collect();
        let detail = errors.first().map(|first| match first.field.as_str() {
            "" => first.detail.clone(),
            field => format!("{field}: {}", first.detail),
        });
        Self { detail, errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, String::new()) }
    }

    fn clashes(clashes: &[Clash], changed: &ObjectName) -> Self {
        let shown = |clash: &Clash| match clash.of(changed) {
            Some((field, message)) => (field.to_owned(), message.to_owned()),
            None => (String::new(), clash.to_string()),
        };
        Self::fields(clashes.iter().map(shown))
    }

    /// Why a change of this object came to nothing.
    pub(super) fn unchanged(why: Unchanged<Self>, changed: &ObjectName) -> Self {
        match why {
            Unchanged::Refused(problem) => problem,
            Unchanged::Clashes(clashes) => Self::clashes(&clashes, changed),
            Unchanged::Store(trouble) => trouble.into(),
            Unchanged::Unsaved => Self::conflict(
                "what is in force at this instance is not in the store, or a file of a tenant's look is missing there: \
                 send SIGHUP again, or upload the file",
            ),
            Unchanged::Busy => Self {
                retry_after_s: Some(1),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "others change it at the same time")
            },
        }
    }
}

impl From<Vec<config::Problem>> for Problem {
    fn from(problems: Vec<config::Problem>) -> Self {
        Self::fields(problems.into_iter().map(|problem| (problem.path, problem.message)))
    }
}

impl From<NoRandomness> for Problem {
    fn from(trouble: NoRandomness) -> Self {
        error!("the API cannot make a secret: {trouble}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, trouble.to_string())
    }
}

impl From<store::Error> for Problem {
    fn from(trouble: store::Error) -> Self {
        error!("the API cannot use the store: {}", Chain(&trouble));
        Self::away("the store cannot be used at the moment; the log says why")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_s = self.retry_after_s;
        let body = serde_json::to_vec(&self).expect("a struct of texts is JSON");
        let kind = HeaderValue::from_static(CONTENT_TYPE);
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"portico\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What every route may answer, for the description.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Refused {
    /// The path cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] Problem),
    /// No token, or one that is not believed.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] Problem),
    /// The token's scope does not reach here.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The path or the query is too long.
    #[response(status = 414, content_type = "application/problem+json")]
    TooLong(#[to_schema] Problem),
    /// Something in the request is wrong.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] Problem),
    /// Too many wrong tokens.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] Problem),
    /// The store cannot be used.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}

/// What every route that changes something may answer, for the description.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Changing {
    /// The path cannot be read, or the body is no JSON.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] Problem),
    /// No token, or one that is not believed.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] Problem),
    /// The token's scope does not reach here.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The body did not come in time.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(#[to_schema] Problem),
    /// It is there already, in use, or stands in the file.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// It was changed since it was read.
    #[response(status = 412, content_type = "application/problem+json")]
    Outdated(#[to_schema] Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
    /// The path or the query is too long.
    #[response(status = 414, content_type = "application/problem+json")]
    TooLong(#[to_schema] Problem),
    /// The body is of another kind.
    #[response(status = 415, content_type = "application/problem+json")]
    Unsupported(#[to_schema] Problem),
    /// Fields are wrong, each with what would be right.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] Problem),
    /// Too many wrong tokens.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] Problem),
    /// The store cannot be used.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}
