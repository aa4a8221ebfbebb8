//! The head of a request as it was sent: what is wrong with it before anybody looks at what it says, and
//! where its parts are.

use http::uri::PathAndQuery;
use http::{HeaderMap, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use super::public_api;
use crate::fleet::{HOOK_PREFIX, callback_urls};

/// Whether the head has two lengths, which is how one request is smuggled behind another. Beside a
/// `Transfer-Encoding` pingora takes the `Content-Length` out of the parsed one.
pub(super) fn has_two_lengths(session: &Session) -> bool {
    if !session.req_header().headers.contains_key(header::TRANSFER_ENCODING) {
        return false;
    }
    let Some(http1) = session.downstream_session.as_http1() else { return false };
    let name = header::CONTENT_LENGTH.as_str().as_bytes();
    http1.get_headers_raw_bytes().split(|byte| *byte == b'\n').any(|line| {
        line.split(|byte| *byte == b':').next().is_some_and(|own| own.eq_ignore_ascii_case(name))
    })
}

/// Request line and headers together.
pub(super) fn bytes(head: &RequestHeader) -> usize {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    head.raw_path().len() + fields.sum::<usize>()
}

pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Path and raw query, held for as long as the session is worked with.
pub(super) enum Target {
    /// As pingora has it.
    Shared(PathAndQuery),
    /// With bytes beyond ASCII, which some clients leave unencoded.
    Raw { path: String, query: Vec<u8> },
}

impl Target {
    pub(super) fn of(head: &RequestHeader) -> Self {
        let raw = head.raw_path();
        match head.uri.path_and_query() {
            // Where the request line has the absolute form, and with HTTP/2, they differ from the raw path.
            Some(both) if both.as_str().as_bytes() == raw || raw.first() != Some(&b'/') => {
                Self::Shared(both.clone())
            }
            None if raw.first() != Some(&b'/') => Self::Shared(PathAndQuery::from_static("/")),
            _ => {
                let (path, query) = match raw.iter().position(|byte| *byte == b'?') {
                    Some(at) => (&raw[..at], &raw[at + 1..]),
                    None => (raw, &b""[..]),
                };
                let path = String::from_utf8_lossy(path).into_owned();
                Self::Raw { path, query: query.to_vec() }
            }
        }
    }

    pub(super) fn path(&self) -> &str {
        match self {
            Self::Shared(both) => both.path(),
            Self::Raw { path, .. } => path,
        }
    }

    pub(super) fn query(&self) -> &[u8] {
        match self {
            Self::Shared(both) => both.query().unwrap_or_default().as_bytes(),
            Self::Raw { query, .. } => query,
        }
    }
}

/// A path for logs. Clients that encode a `?` put their query into it, so it ends where one could begin.
pub(super) fn loggable_path(path: &str) -> &str {
    // What follows is a token.
    for prefix in [callback_urls::PREFIX, HOOK_PREFIX, public_api::RELAY] {
        if path.starts_with(prefix) {
            return prefix;
        }
    }
    let end = path.find(['?', '%', '&', ';', '=', '#']).unwrap_or(path.len());
    path.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_in_disguise_is_not_logged() {
        for (path, logged) in [
            ("/bigbluebutton/api/join", "/bigbluebutton/api/join"),
            ("/bigbluebutton/api/join%3FfullName=Ada&checksum=1", "/bigbluebutton/api/join"),
            ("/bigbluebutton/api/join&fullName=Ada", "/bigbluebutton/api/join"),
            ("/x;fullName=Ada", "/x"),
            ("/b3lb/c/0123abcd", "/b3lb/c/"),
            ("/b3lb/h/bbb01/0123abcd", "/b3lb/h/"),
            ("/api/v1/callbacks/proxy/e30.e30.x", "/api/v1/callbacks/proxy/"),
        ] {
            assert_eq!(loggable_path(path), logged);
        }
    }
}
