//! What the node answers, before faults have touched it.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};

pub(super) type Reply = Response<Bytes>;

/// 200 with XML, as every call but `getMeetingInfo` and `getRecordings` sends it.
pub(super) fn xml(body: String) -> Reply {
    let mut reply = xml_cacheable(body);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

/// XML without `Cache-Control`.
pub(super) fn xml_cacheable(body: String) -> Reply {
    with_type("text/xml;charset=utf-8", body)
}

pub(super) fn json(body: &impl Display) -> Reply {
    with_type("application/json;charset=utf-8", body.to_string())
}

pub(super) fn html(body: String) -> Reply {
    with_type("text/html;charset=utf-8", body)
}

pub(super) fn plain(body: String) -> Reply {
    with_type("text/plain;charset=utf-8", body)
}

/// A status with a page for people, as the servlet container and nginx write it.
pub(super) fn status(status: StatusCode) -> Reply {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut reply = html(format!(
        "<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    ));
    *reply.status_mut() = status;
    reply
}

/// 302; a location that cannot be a header value (it came from a parameter) becomes a 500, as it does on a node.
pub(super) fn redirect(location: &str) -> Reply {
    let Ok(location) = HeaderValue::from_str(location) else {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut reply = Reply::new(Bytes::new());
    *reply.status_mut() = StatusCode::FOUND;
    reply.headers_mut().insert(LOCATION, location);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

/// Adds the session cookie of the servlet container.
pub(super) fn set_session_cookie(reply: &mut Reply, id: &str) {
    let cookie = format!("JSESSIONID={id}; Path=/bigbluebutton; HttpOnly");
    let cookie = HeaderValue::from_str(&cookie).expect("session ids are letters and digits");
    reply.headers_mut().append(SET_COOKIE, cookie);
}

fn with_type(content_type: &'static str, body: String) -> Reply {
    let mut reply = Reply::new(Bytes::from(body));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
