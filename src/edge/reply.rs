//! What the edge answers by itself, and the one place that writes it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::fan_out::Share;
use super::protection;
use crate::bbb::Failure;

/// BigBlueButton's own content type for XML.
pub(super) const XML: &str = "text/xml;charset=utf-8";
/// For the calls that answer in JSON.
pub(super) const JSON: &str = "application/json;charset=utf-8";
/// For pages that people see.
pub(super) const HTML: &str = "text/html;charset=utf-8";

/// Room for ours and for those that pingora adds.
const HEADERS: usize = 6;

const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// Seconds after which to come again.
    pub(super) retry_after: Option<u32>,
    /// Methods that would be allowed, with 405.
    pub(super) allow: Option<&'static str>,
    /// Further headers, which win over ours.
    pub(super) extra: Vec<(HeaderName, HeaderValue)>,
    /// The share of memory that the body has until it is out.
    _share: Option<Arc<Share>>,
}

impl Reply {
    /// An answer in BigBlueButton's XML.
    pub(super) fn xml(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, XML, body)
    }

    pub(super) fn new(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            retry_after: None,
            allow: None,
            extra: Vec::new(),
            _share: None,
        }
    }

    /// The same, with the memory that its body has.
    pub(super) fn with_share(self, share: Arc<Share>) -> Self {
        Self { _share: Some(share), ..self }
    }

    /// A failure in BigBlueButton's words, in the form the caller reads.
    pub(super) fn failure(failure: &Failure, dialect: Dialect) -> Self {
        match dialect {
            Dialect::Xml => Self::xml(failure.to_xml()),
            Dialect::Json => Self::new(StatusCode::OK, JSON, failure.to_json()),
        }
    }
}

/// The form in which a caller reads answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Nearly everybody.
    Xml,
    /// Who asks for it by `Accept`, and the calls that always answer so.
    Json,
}

/// Writes a reply, as the only answer to this request.
pub(super) async fn write(
    session: &mut Session,
    reply: &Reply,
    is_head: bool,
) -> pingora::Result<()> {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    // What has not changed has its old type and length.
    if reply.status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    if !matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        headers.insert(header::CONTENT_LENGTH, reply.body.len().into());
    }
    headers.insert(header::CACHE_CONTROL, NO_CACHE);
    if let Some(seconds) = reply.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(methods) = reply.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    protection::guard_page(session, reply.content_type, &mut headers);
    for (name, value) in &reply.extra {
        headers.insert(name, value.clone());
    }
    let has_body = !is_head && !reply.body.is_empty();
    session.write_response_header(head(reply.status, headers), !has_body).await?;
    if has_body {
        session.write_response_body(Some(reply.body.clone()), true).await?;
    }
    Ok(())
}

/// Sends the client elsewhere, as BigBlueButton does it after a join.
pub(super) async fn redirect(session: &mut Session, location: HeaderValue) -> pingora::Result<()> {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::LOCATION, location);
    headers.insert(header::CONTENT_LENGTH, 0.into());
    headers.insert(header::CACHE_CONTROL, NO_CACHE);
    session.write_response_header(head(StatusCode::FOUND, headers), true).await
}

/// Pingora's form of a head. One that is built by pingora itself keeps a second map, of how names are
/// spelled. Without it pingora spells a dozen names as is usual, and the others, such as `location`, in lower
/// case; names have no case for whoever reads them.
fn head(status: StatusCode, headers: HeaderMap) -> Box<ResponseHeader> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    Box::new(parts.into())
}
