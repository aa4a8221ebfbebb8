//! The relay of callbacks whose URLs b3scale has made, for what was created or recorded before Portico took over.
//!
//! Such a URL carries a token with the target in it, signed with the secret of b3scale's API, and without an end.
//! What comes in goes through the outbox as all callbacks do: it is kept, tried again, and reaches no address
//! that tenants may not choose. Whose meeting it is stands in b3scale's id of it, so nothing else is relayed.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::super::api::caller::{Claims, Ids};
use super::super::api::problem::Problem;
use super::body::bytes_of;
use super::meetings::decoded;
use super::{Annex, not_found, peer_of};
use crate::bbb::jwt;
use crate::fleet::{Node, now_ms};
use crate::model::{Callback, CallbackKind, CallbackToken, MeetingKey, NewDelivery, NodeName};

const SCOPE: &str = "b3scale:callback";
/// A token with two short claims.
const MAX_FORM_BYTES: usize = 64 * 1024;
/// Longer URLs are refused everywhere, and longer names of recordings are none.
const MAX_TARGET_BYTES: usize = 2048;
const MAX_RECORD_ID_BYTES: usize = 256;
/// As BigBlueButton and b3scale spell it.
const MEETING_IDS: [&str; 4] = ["meetingID", "meeting_id", "meetingId", "meetingid"];

/// What stands in the token of a URL, beside what stands in all tokens.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Some(Vec<String>),
}

/// What a node tells.
struct Told {
    kind: CallbackKind,
    key: MeetingKey,
    /// What it calls the meeting.
    on_node: String,
    node: NodeName,
    subject: String,
    payload: Vec<u8>,
}

impl Annex {
    /// Takes a callback in.
    pub(super) async fn relay(
        &self,
        token: &str,
        parts: &Parts,
        body: Body,
    ) -> Result<Response, Problem> {
        let header = format!("Bearer {token}");
        let claims = self.believed(Some(&header), peer_of(parts), Ids::Unlisted).await?;
        let target = target_of(&claims)?;
        let told = match parts.method {
            Method::GET => self.end_told(parts)?,
            Method::POST => self.recording_told(body).await?,
            _ => return Err(not_found()),
        };
        if self.memory.relayed.is_too_much(&claims.sub, token, &told.key.scope.tenant) {
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"));
        }
        self.deliver(token, target, told).await?;
        Ok(StatusCode::OK.into_response())
    }

    /// The meeting of an id that b3scale has made, if it is one of a tenant's.
    fn key_of(&self, id: &str) -> Result<MeetingKey, Problem> {
        let unusable = || Problem::new(StatusCode::BAD_REQUEST, "Bad Request");
        let (scope, id) = decoded(id).ok_or_else(unusable)?;
        let snapshot = self.desk.fleet.snapshot();
        let tenant = snapshot.tenant(scope.tenant.as_str());
        let is_known = tenant.is_some_and(|entry| entry.tenant.secret(scope.sub).is_some());
        if is_known { Ok(MeetingKey { scope, id }) } else { Err(not_found()) }
    }

    /// The end of a meeting.
    fn end_told(&self, parts: &Parts) -> Result<Told, Problem> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let pairs: Vec<_> = form_urlencoded::parse(query).into_owned().collect();
        let find = |names: &[&str]| {
            let found = pairs.iter().find(|(name, _)| names.contains(&name.as_str()));
            found.map(|(_, value)| value.as_str())
        };
        let on_node = find(&MEETING_IDS).unwrap_or_default();
        let marks = find(&["recordingmarks"]);
        let is_marked = marks.is_some_and(|marks| marks.trim().eq_ignore_ascii_case("true"));
        Ok(Told {
            kind: CallbackKind::End,
            key: self.key_of(on_node)?,
            on_node: on_node.to_owned(),
            node: NodeName::new(""),
            subject: String::new(),
            payload: is_marked.to_string().into_bytes(),
        })
    }

    /// A recording that is ready, told by one of our nodes.
    async fn recording_told(&self, body: Body) -> Result<Told, Problem> {
        let unusable = || Problem::new(StatusCode::BAD_REQUEST, "Bad Request");
        let bytes = bytes_of(body, MAX_FORM_BYTES).await?;
        let field = "signed_parameters";
        let in_form = form_urlencoded::parse(&bytes).find(|(name, _)| name == field);
        let token = if let Some((_, token)) = in_form {
            token.into_owned()
        } else {
            let json: Value = serde_json::from_slice(&bytes).map_err(|_no_json| unusable())?;
            json[field].as_str().ok_or_else(unusable)?.to_owned()
        };
        let snapshot = self.desk.fleet.snapshot();
        let verify = |node: &Arc<Node>| {
            let claims = jwt::verify_hs256(token.trim(), node.spec.secret.expose())?;
            Some((node.name().clone(), claims))
        };
        // Anybody could tell of a recording else.
        let unsigned =
            || Problem::new(StatusCode::UNAUTHORIZED, "it is not signed by a node of this pool");
        let (node, claims) = snapshot.nodes().find_map(verify).ok_or_else(unsigned)?;
        let record_id = claims["record_id"].as_str().unwrap_or_default();
        if !(1..=MAX_RECORD_ID_BYTES).contains(&record_id.len()) {
            return Err(unusable());
        }
        let on_node = claims["meeting_id"].as_str().ok_or_else(unusable)?;
        let key = self.key_of(on_node)?;
        let payload = json!({"meeting_id": key.id, "record_id": record_id});
        Ok(Told {
            kind: CallbackKind::RecordingReady,
            key,
            on_node: on_node.to_owned(),
            node,
            subject: record_id.to_owned(),
            payload: payload.to_string().into_bytes(),
        })
    }

    /// Puts it into the outbox, under a name of its own: a URL of b3scale's may serve many meetings.
    async fn deliver(&self, token: &str, target: Url, told: Told) -> Result<(), Problem> {
        let mut digest = Sha256::new();
        for part in [token, told.kind.as_str(), &told.on_node] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let name: [u8; 32] = digest.finalize().into();
        let mut first = [0; CallbackToken::BYTES];
        first.copy_from_slice(&name[..CallbackToken::BYTES]);
        let own = CallbackToken::new(first);
        let (store, now_ms) = (&self.desk.store, now_ms());
        if store.find_callback(&own).await?.is_none() {
            let callback = Callback {
                token: own.clone(),
                kind: told.kind,
                key: told.key,
                node: told.node,
                node_meeting_id: told.on_node,
                internal_id: None,
                target: Some(target.to_string()),
                created_at_ms: now_ms,
            };
            store.put_callbacks(&[callback]).await?;
        }
        let delivery = NewDelivery {
            token: own.clone(),
            subject: told.subject,
            origin: target.origin().ascii_serialization(),
            payload: told.payload,
            received_at_ms: now_ms,
        };
        store.put_delivery(&delivery).await?;
        Ok(store.end_callbacks(&own, now_ms).await?)
    }
}

fn target_of(claims: &Claims) -> Result<Url, Problem> {
    if !claims.scope.split_whitespace().any(|word| word == SCOPE) {
        let detail = format!("{SCOPE} scope required");
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let audience = claims.audience().and_then(|audience| serde_json::from_value(audience).ok());
    let target = match audience {
        Some(Audience::One(target)) => Some(target),
        Some(Audience::Some(targets)) => targets.into_iter().next(),
        None => None,
    };
    let target = target.filter(|target| target.len() <= MAX_TARGET_BYTES);
    let url = target.and_then(|target| Url::parse(&target).ok());
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "Bad Request"))
}
