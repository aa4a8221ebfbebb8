//! `getRecordingTextTracks` and `putRecordingTextTrack`: passed to the node that has the recording. They
//! answer in JSON.

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;

use super::passed::unknown_to_the_node;
use super::recordings::{locate, record_ids};
use super::{Asked, Decision};
use crate::bbb::{Failure, Params};
use crate::edge::Edge;
use crate::edge::ask::{self, Trouble};
use crate::edge::refusal::{Fault, Refusal};
use crate::edge::reply::{Dialect, JSON, Reply};
use crate::fleet::Node;

/// Lists the text tracks of a recording.
pub(super) async fn get(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let ids = record_ids(&asked.params);
    if ids.is_empty() {
        // The one failure that comes in the common form.
        return Err(Refusal::client(Failure::MISSING_RECORD_ID));
    }
    let passed = async {
        let (node, params) = find(edge, asked, &ids).await?;
        pass(edge, asked, &node, &params).await
    };
    Ok(or_json(asked, passed.await))
}

/// Adds a text track to a recording. The file streams through.
pub(super) async fn put(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let passed = async {
        for name in ["recordID", "kind", "lang"] {
            if asked.params.is_blank(name) {
                return Err(Refusal::client(Failure::missing_param(name)));
            }
        }
        let text = |name| asked.params.get(name).unwrap_or_default();
        if !matches!(text("kind").trim(), "subtitles" | "captions") {
            return Err(Refusal::client(Failure::INVALID_KIND));
        }
        if !is_language_tag(text("lang").trim()) {
            return Err(Refusal::client(Failure::INVALID_LANG));
        }
        let ids = [text("recordID").trim().to_owned()];
        let (node, params) = find(edge, asked, &ids).await?;
        if asked.upload.is_none() {
            return Err(Refusal::client(Failure::EMPTY_TEXT_TRACK));
        }
        pass(edge, asked, &node, &params).await
    };
    Ok(or_json(asked, passed.await))
}

/// The node that has the caller's recording, and the parameters for it.
async fn find<'a>(
    edge: &Edge,
    asked: &Asked<'a>,
    ids: &[String],
) -> Result<(Arc<Node>, Params<'a>), Refusal> {
    let mut located = locate(edge, asked, ids).await?;
    if located.on.is_empty() {
        let message = format!("No recording found for {}", ids.join(","));
        let unknown = Failure { key: Failure::NO_RECORDINGS.key, message: message.into() };
        return Err(located.missing(unknown));
    }
    let (node, ids) = located.on.swap_remove(0);
    asked.track.node(node.name());
    let mut params = asked.params.as_ref().clone();
    params.set("recordID", &ids.join(","));
    Ok((node, params))
}

async fn pass(
    edge: &Edge,
    asked: &Asked<'_>,
    node: &Node,
    params: &Params<'_>,
) -> Result<Decision, Refusal> {
    let body = match edge.fetch(node, asked.call, params, asked.upload.as_ref()).await {
        Err(Trouble::Status(404)) => return Ok(unknown_to_the_node(asked)),
        body => edge.usable(node, asked.call, body)?,
    };
    if let Some(key) = edge.usable(node, asked.call, failure_key(&body))? {
        asked.track.blame(key, Fault::Client);
    }
    Ok(Decision::Respond(Reply::new(StatusCode::OK, JSON, body)))
}

/// The key of a failure, if the answer is one.
fn failure_key(body: &[u8]) -> Result<Option<String>, Trouble> {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let response = answer.as_ref().and_then(|answer| answer.get("response"));
    let text = |name| response.and_then(|response| response.get(name)).and_then(Value::as_str);
    match text("returncode") {
        Some("SUCCESS") => Ok(None),
        Some("FAILED") => Ok(Some(text("messageKey").unwrap_or_default().to_owned())),
        // A wrong checksum is told in XML.
        _ => match ask::read(body) {
            Err(Trouble::ChecksumRefused) => Err(Trouble::ChecksumRefused),
            _ => Err(Trouble::NotJson),
        },
    }
}

/// Failures of these calls are JSON, whatever the client accepts.
fn or_json(asked: &Asked<'_>, decision: Result<Decision, Refusal>) -> Decision {
    decision.unwrap_or_else(|Refusal { failure, fault }| {
        asked.track.blame(failure.key.to_string(), fault);
        Decision::Respond(Reply::failure(&failure, Dialect::Json))
    })
}

/// Whether a text is formed as an IETF language tag: `de`, `en-US`, `sr-Latn-RS`.
fn is_language_tag(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_tags_are_told_from_other_texts() {
        for tag in ["de", "en-US", "sr-Latn-RS", "de-CH-1996"] {
            assert!(is_language_tag(tag), "{tag}");
        }
        for text in ["", "e", "en_US", "en-", "-en", "english language", "ü", "toolonglang", "d3"]
        {
            assert!(!is_language_tag(text), "{text}");
        }
    }

    #[test]
    fn only_bigbluebuttons_json_is_an_answer() {
        let read = |body: &str| failure_key(body.as_bytes()).map_err(|trouble| trouble.kind());
        assert_eq!(read(r#"{"response":{"returncode":"SUCCESS","tracks":[]}}"#), Ok(None));
        let failed = r#"{"response":{"returncode":"FAILED","messageKey":"noRecordings"}}"#;
        assert_eq!(read(failed), Ok(Some("noRecordings".to_owned())));
        for body in ["", "{}", "[]", "<html/>", r#"{"returncode":"SUCCESS"}"#] {
            assert_eq!(read(body), Err("not_json"), "{body}");
        }
        let refused = Failure::RECORDING_CHECKSUM.to_xml();
        assert_eq!(read(&refused), Err("checksum"));
    }
}
