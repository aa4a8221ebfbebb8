//! The calls for text tracks of recordings. They answer in JSON, but for what all signed calls share.

use std::convert::Infallible;

use bytes::Bytes;
use futures::FutureExt;
use http::header::CONTENT_TYPE;
use multer::{Multipart, parse_boundary};
use serde_json::{Value, json};

use crate::bbb::Failure;
use crate::sim::Shared;
use crate::sim::recording::{Recording, TextTrack};
use crate::sim::reply::{self, Reply};
use crate::sim::request::Request;
use crate::sim::world::random_word;

pub(super) fn list(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let id = request.text("recordID").ok_or(Failure::MISSING_RECORD_ID)?;
    let world = node.world.lock();
    let Some(recording) = world.recordings.iter().find(|known| is_meant(known, &id)) else {
        return Ok(reply::json(&unknown(&id).to_json()));
    };
    let tracks: Vec<Value> = recording
        .text_tracks
        .iter()
        .map(|track| {
            let TextTrack { kind, lang, label, .. } = track;
            // Good for one look at the file.
            let token = random_word(16);
            let href = format!("{}/textTrack/{token}/{id}/{kind}_{lang}.vtt", node.server_url);
            json!({"href": href, "kind": kind, "label": label, "lang": lang, "source": "upload"})
        })
        .collect();
    Ok(reply::json(&json!({"response": {"returncode": "SUCCESS", "tracks": tracks}})))
}

pub(super) fn put(node: &Shared, request: &Request) -> Reply {
    match add(node, request) {
        Ok(record_id) => reply::json(&json!({"response": {
            "messageKey": "upload_text_track_success",
            "message": "Text track uploaded successfully",
            "recordId": record_id,
            "returncode": "SUCCESS",
        }})),
        Err(failure) => reply::json(&failure.to_json()),
    }
}

fn add(node: &Shared, request: &Request) -> Result<String, Failure> {
    let needed = |name| request.text(name).ok_or_else(|| Failure::missing_param(name));
    let (id, kind, lang) = (needed("recordID")?, needed("kind")?, needed("lang")?);
    if kind != "subtitles" && kind != "captions" {
        return Err(Failure::INVALID_KIND);
    }
    let is_word = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !lang.split('-').all(is_word) {
        return Err(Failure::INVALID_LANG);
    }
    let mut world = node.world.lock();
    let recording = world.recordings.iter_mut().find(|known| is_meant(known, &id));
    let recording = recording.ok_or_else(|| unknown(&id))?;
    let content = file(request).filter(|file| !file.is_empty()).ok_or(Failure::EMPTY_TEXT_TRACK)?;
    let label = request.text("label").unwrap_or_else(|| lang.clone());
    recording.text_tracks.retain(|known| known.kind != kind || known.lang != lang);
    recording.text_tracks.push(TextTrack { kind, lang, label, bytes: content.len() });
    Ok(id)
}

fn is_meant(recording: &Recording, id: &str) -> bool {
    recording.record_id == id && recording.is_there()
}

fn unknown(id: &str) -> Failure {
    let message = format!("No recording found for {id}");
    Failure { key: Failure::NO_RECORDINGS.key, message: message.into() }
}

/// The part of the form called `file`.
fn file(request: &Request) -> Option<Bytes> {
    let kind = request.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let body = request.body.clone();
    let whole = futures::stream::once(async { Ok::<_, Infallible>(body) });
    let mut parts = Multipart::new(whole, parse_boundary(kind).ok()?);
    let find = async {
        while let Some(part) = parts.next_field().await.ok()? {
            if part.name() == Some("file") {
                return part.bytes().await.ok();
            }
        }
        None
    };
    // All of it is here, so nothing is ever waited for.
    find.now_or_never().flatten()
}
