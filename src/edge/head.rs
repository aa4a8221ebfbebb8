//! The head of a request as it was sent: what is wrong with it before anybody looks at what it says, and
//! where its parts are.

use http::{HeaderMap, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

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

/// Path and raw query; bytes beyond ASCII, which some clients leave unencoded, included.
pub(super) fn path_and_query(head: &RequestHeader) -> (String, Vec<u8>) {
    let raw = match head.raw_path() {
        raw if raw.first() == Some(&b'/') => raw,
        // The absolute form, or HTTP/2.
        _ => head.uri.path_and_query().map_or(&b"/"[..], |both| both.as_str().as_bytes()),
    };
    let (path, query) = match raw.iter().position(|byte| *byte == b'?') {
        Some(at) => (&raw[..at], &raw[at + 1..]),
        None => (raw, &b""[..]),
    };
    (String::from_utf8_lossy(path).into_owned(), query.to_vec())
}

/// A path for logs. Clients that encode a `?` put their query into it, so it ends where one could begin.
pub(super) fn loggable_path(path: &str) -> &str {
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
        ] {
            assert_eq!(loggable_path(path), logged);
        }
    }
}
