//! BigBlueButton's failures as they stand on the wire, written out once more on purpose.

use super::http::Reply;

/// The XML of a failure.
pub(crate) fn failed(key: &str, message: &str) -> String {
    format!(
        "<response><returncode>FAILED</returncode><messageKey>{key}</messageKey>\
         <message>{message}</message></response>"
    )
}

/// Asserts that this and nothing else was answered: status 200, BigBlueButton's content type, the failure.
#[track_caller]
pub(crate) fn assert_failed(reply: &Reply, key: &str, message: &str) {
    assert_eq!(reply.seen(), (200, failed(key, message).as_str()));
    assert_eq!(reply.header("content-type"), "text/xml;charset=utf-8");
    assert_eq!(reply.header("cache-control"), "no-cache");
}
