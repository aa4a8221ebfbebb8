//! What nodes call. The answer goes out when what is to be delivered is in the outbox.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use http::{Method, StatusCode, header};
use log::{error, warn};
use pingora_proxy::Session;
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;

use crate::bbb::{Params, jwt};
use crate::chain::Chain;
use crate::edge::Edge;
use crate::edge::refusal::Fault;
use crate::edge::reply::Reply;
use crate::edge::track::Track;
use crate::edge::upload::{self, Broken};
use crate::fleet::{Entry, Phase, callback_urls, identity, now_ms};
use crate::model::{Callback, CallbackKind, CallbackToken, NewDelivery};
use crate::store;

/// B3LB's own form.
const B3LB_END: &str = "/b3lb/b/meeting/end";
/// A token with two short claims.
const MAX_FORM_BYTES: usize = 64 * 1024;
/// What happened in a meeting of a thousand people for a day.
const MAX_ANALYTICS_BYTES: usize = 4 * 1024 * 1024;
/// For the place to read a body, and then for the body.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// Longer names of recordings are none.
const MAX_RECORD_ID_BYTES: usize = 256;

/// A request to one of our callback URLs.
pub(in crate::edge) struct Incoming {
    token: Option<CallbackToken>,
    recording_marks: bool,
    /// Called as B3LB has it, which answers always the same.
    is_b3lb: bool,
}

/// Whether a callback is about the meeting it was made for.
enum Meeting {
    /// It is; here it is, if it is still known.
    Own(Option<Arc<Entry>>),
    /// Another one has its name by now.
    Another,
}

impl Incoming {
    /// Whether path and query are those of a callback.
    pub(in crate::edge) fn of(path: &str, query: &[u8]) -> Option<Self> {
        let is_b3lb = path == B3LB_END;
        let text = if is_b3lb { None } else { Some(path.strip_prefix(callback_urls::PREFIX)?) };
        let params = Params::parse(query);
        let token = match text {
            Some(text) => CallbackToken::parse(text),
            None => params.get("nonce").and_then(|nonce| CallbackToken::parse(&nonce)),
        };
        let marks = params.get("recordingmarks");
        let recording_marks = marks.is_some_and(|marks| marks.trim().eq_ignore_ascii_case("true"));
        Some(Self { token, recording_marks, is_b3lb })
    }

    /// Whether there is something like a token of ours.
    pub(in crate::edge) fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

impl Edge {
    /// Takes a callback in.
    pub(in crate::edge) async fn receive(
        &self,
        session: &mut Session,
        incoming: Incoming,
        track: &Track,
    ) -> Reply {
        if incoming.is_b3lb {
            if session.req_header().method != Method::GET {
                return not_allowed("GET", track);
            }
            // An end that cannot be noted is found by the next poll.
            self.take_in(session, &incoming, track).await.ok();
            return plain(StatusCode::NO_CONTENT);
        }
        match self.take_in(session, &incoming, track).await {
            Ok(()) => plain(StatusCode::OK),
            Err(reply) => reply,
        }
    }

    async fn take_in(
        &self,
        session: &mut Session,
        incoming: &Incoming,
        track: &Track,
    ) -> Result<(), Reply> {
        let unknown = || refused(StatusCode::NOT_FOUND, "notFound", track);
        let token = incoming.token.as_ref().ok_or_else(unknown)?;
        let found = self.look_up(token, track).await?;
        let callback = found.ok_or_else(unknown)?;
        track.scope(&callback.key.scope);
        track.node(&callback.node);
        let outcome = self.act_on(session, incoming, &callback, track).await;
        let word = if outcome.is_ok() { "accepted" } else { "refused" };
        let labels = [callback.kind.as_str(), word];
        self.metrics.callbacks.received.with_label_values(&labels).inc();
        outcome
    }

    /// Looks a token up in the store.
    async fn look_up(
        &self,
        token: &CallbackToken,
        track: &Track,
    ) -> Result<Option<Callback>, Reply> {
        let found = self.settings.callbacks.lookups.take_turn(self.store.find_callback(token));
        found.await.ok_or_else(|| unavailable(track))?.map_err(|trouble| {
            self.settings.callbacks.say_lost("a callback", &trouble);
            unavailable(track)
        })
    }

    async fn act_on(
        &self,
        session: &mut Session,
        incoming: &Incoming,
        callback: &Callback,
        track: &Track,
    ) -> Result<(), Reply> {
        let is_end = matches!(callback.kind, CallbackKind::End | CallbackKind::MeetingEnded);
        let (method, name) = if is_end { (Method::GET, "GET") } else { (Method::POST, "POST") };
        if incoming.is_b3lb && !is_end {
            return Err(refused(StatusCode::NOT_FOUND, "notFound", track));
        }
        if session.req_header().method != method {
            return Err(not_allowed(name, track));
        }
        let (subject, payload) = match callback.kind {
            CallbackKind::End => (String::new(), incoming.recording_marks.to_string().into_bytes()),
            CallbackKind::MeetingEnded => (String::new(), Vec::new()),
            CallbackKind::RecordingReady => self.recording_ready(session, callback, track).await?,
            CallbackKind::Analytics => self.analytics(session, callback, track).await?,
            CallbackKind::Hook => {
                return Err(refused(StatusCode::NOT_FOUND, "notFound", track));
            }
        };
        if is_end {
            let meeting = self.meeting_of(callback).await.map_err(|trouble| {
                self.settings.callbacks.say_lost("the meeting of a callback", &trouble);
                unavailable(track)
            })?;
            match meeting {
                Meeting::Another => return Ok(()),
                Meeting::Own(entry) => {
                    let is_hook = callback.kind == CallbackKind::MeetingEnded;
                    // A lost one would come into sight again.
                    if let Some(entry) = entry.filter(|_| is_hook)
                        && entry.phase() == Phase::Running
                    {
                        self.fleet.end(&entry);
                    }
                }
            }
        }
        let now_ms = now_ms();
        let delivery = callback.target.as_deref().map(|target| NewDelivery {
            token: callback.token.clone(),
            subject,
            origin: Url::parse(target)
                .map(|url| url.origin().ascii_serialization())
                .unwrap_or_default(),
            payload,
            received_at_ms: now_ms,
        });
        let deliver = async {
            match &delivery {
                Some(delivery) => {
                    let put = self.store.put_delivery(delivery).await?;
                    self.metrics.callbacks.overflow.note(put, callback.kind, &callback.key.scope);
                    if put == store::Put::GivenUp {
                        let why = "too much was waiting for its tenant";
                        self.fleet.journal().callback_dead(&callback.key.scope, callback.kind, why);
                    }
                    Ok::<_, store::Error>(())
                }
                None => Ok(()),
            }
        };
        let (delivered, ended) =
            join(deliver, self.store.end_callbacks(&callback.token, now_ms)).await;
        if let Err(trouble) = ended {
            warn!("a callback stays for longer than it need: {}", Chain(&trouble));
        }
        delivered.map_err(|trouble| {
            error!("a callback cannot be saved, its node may try again: {}", Chain(&trouble));
            unavailable(track)
        })?;
        self.settings.callbacks.wake.notify_one();
        Ok(())
    }

    /// The meeting of a callback. One that was never tied to a meeting belongs to what its node runs by that
    /// name, unless that has callbacks of its own.
    async fn meeting_of(&self, callback: &Callback) -> Result<Meeting, store::Error> {
        let directory = &self.fleet.directory;
        let key = &callback.key;
        // Another instance may have created it.
        let names = callback.internal_id.iter().chain([&key.id]).cloned();
        let internal_id = callback.internal_id.as_deref().unwrap_or_default();
        if directory.get_internal(internal_id).is_none() {
            self.look_up_names(&key.scope.tenant, names).await;
        }
        if let Some(internal_id) = &callback.internal_id {
            let entry = directory.get_internal(internal_id);
            let entry = entry.filter(|entry| entry.key().scope == key.scope);
            // On a node that was away, and created anew elsewhere: what ends is the double.
            let is_lost = entry.as_ref().is_some_and(|entry| entry.phase() == Phase::Lost);
            let other = directory.get(&key.scope, &key.id);
            return Ok(match other.filter(|other| is_lost && other.phase() == Phase::Running) {
                Some(_) => Meeting::Another,
                None => Meeting::Own(entry),
            });
        }
        Ok(match directory.get(&key.scope, &key.id) {
            None => Meeting::Own(None),
            Some(entry) if *entry.node() == callback.node => {
                let own = self.store.callbacks_of(key, entry.internal_id()).await?;
                if own.is_empty() { Meeting::Own(Some(entry)) } else { Meeting::Another }
            }
            Some(entry) if entry.phase() == Phase::Running => Meeting::Another,
            Some(_ended) => Meeting::Own(None),
        })
    }

    /// Reads the token of a recording that is ready; gives its name and what to tell.
    async fn recording_ready(
        &self,
        session: &mut Session,
        callback: &Callback,
        track: &Track,
    ) -> Result<(String, Vec<u8>), Reply> {
        // Small enough to be read without a place: nothing but its URL shows yet that it is a node's, a node
        // never calls again, and whoever knows one URL could take all places.
        let form = read(session, MAX_FORM_BYTES, track).await?;
        let params = Params::parse(&form);
        let unusable = || refused(StatusCode::BAD_REQUEST, "invalidCallback", track);
        let token = params.get("signed_parameters").ok_or_else(unusable)?;
        let claims = self
            .secret_of_node(callback)
            .and_then(|secret| jwt::verify_hs256(token.trim(), &secret))
            .ok_or_else(|| unauthorized(callback, track))?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let record_id = text("record_id")
            .filter(|id| (1..=MAX_RECORD_ID_BYTES).contains(&id.len()))
            .ok_or_else(unusable)?;
        let meeting_id = text("meeting_id").ok_or_else(unusable)?;
        let meeting_id = front_id(callback, meeting_id, record_id);
        let claims = json!({"meeting_id": meeting_id, "record_id": record_id});
        Ok((record_id.to_owned(), claims.to_string().into_bytes()))
    }

    /// Reads analytics; gives the meeting's internal id and what to tell, in the front end's words.
    async fn analytics(
        &self,
        session: &mut Session,
        callback: &Callback,
        track: &Track,
    ) -> Result<(String, Vec<u8>), Reply> {
        let authorization = session.req_header().headers.get(header::AUTHORIZATION);
        let token = authorization.and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        let is_signed = token.is_some_and(|token| {
            let secret = self.secret_of_node(callback);
            let claims = secret.and_then(|secret| jwt::verify_hs512(&token, &secret));
            let expires = claims.as_ref().and_then(|claims| claims.get("exp")?.as_u64());
            expires.is_some_and(|expires| expires >= now_ms() / 1000)
        });
        if !is_signed {
            return Err(unauthorized(callback, track));
        }
        let body = self.body(session, MAX_ANALYTICS_BYTES, track).await?;
        let unusable = || refused(StatusCode::BAD_REQUEST, "invalidCallback", track);
        let mut body: Value = serde_json::from_slice(&body).map_err(|_not_json| unusable())?;
        reword(&mut body, callback).ok_or_else(unusable).map(|internal_id| {
            let payload = body.to_string().into_bytes();
            (internal_id, payload)
        })
    }

    fn secret_of_node(&self, callback: &Callback) -> Option<String> {
        let snapshot = self.fleet.peek();
        Some(snapshot.node(callback.node.as_str())?.spec.secret.expose().to_owned())
    }

    /// Reads a body that may be large, once there is a place for it.
    async fn body(
        &self,
        session: &mut Session,
        max: usize,
        track: &Track,
    ) -> Result<Vec<u8>, Reply> {
        let place = timeout(BODY_WITHIN, self.settings.callbacks.bodies.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(unavailable(track)) };
        read(session, max, track).await
    }
}

async fn read(session: &mut Session, max: usize, track: &Track) -> Result<Vec<u8>, Reply> {
    upload::invite(session).await;
    upload::read_whole(session, max, BODY_WITHIN).await.map_err(|broken| match broken {
        Broken::TooLarge => refused(StatusCode::PAYLOAD_TOO_LARGE, "requestTooLarge", track),
        Broken::TooSlow | Broken::Gone | Broken::NoRoom => {
            refused(StatusCode::REQUEST_TIMEOUT, "requestTimeout", track)
        }
    })
}

/// Puts a body of analytics into the front end's words; gives the internal id of its meeting.
fn reword(body: &mut Value, callback: &Callback) -> Option<String> {
    let internal_id = body.get("internal_meeting_id")?.as_str()?.to_owned();
    if internal_id.len() > MAX_RECORD_ID_BYTES {
        return None;
    }
    let meeting_id = front_id(callback, body.get("meeting_id")?.as_str()?, &internal_id);
    *body.get_mut("meeting_id")? = Value::String(meeting_id);
    let metadata = body.get_mut("data").and_then(|data| data.get_mut("metadata"));
    if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
        let urls = metadata.iter_mut().filter(|(name, _)| callback_urls::is_callback(name));
        for (_, value) in urls {
            if let Some(own) = value.as_str().and_then(callback_urls::unwrap) {
                *value = Value::String(own);
            }
        }
    }
    Some(internal_id)
}

/// What the front end calls a meeting. Breakout rooms that a node makes by itself inherit the callbacks of
/// their parent, with ids of their own.
fn front_id(callback: &Callback, node_meeting_id: &str, internal_id: &str) -> String {
    let is_own = node_meeting_id == callback.node_meeting_id
        || callback.internal_id.as_deref() == Some(internal_id);
    if is_own {
        return callback.key.id.clone();
    }
    identity::front_id(&callback.key.scope, node_meeting_id).to_owned()
}

fn plain(status: StatusCode) -> Reply {
    Reply::new(status, "text/plain;charset=utf-8", "")
}

fn refused(status: StatusCode, key: &str, track: &Track) -> Reply {
    track.blame(key.to_owned(), Fault::Client);
    plain(status)
}

fn unauthorized(callback: &Callback, track: &Track) -> Reply {
    let (kind, node) = (callback.kind, &callback.node);
    warn!("node {node}: a {kind} callback is not signed with this node's secret");
    refused(StatusCode::UNAUTHORIZED, "checksumError", track)
}

fn unavailable(track: &Track) -> Reply {
    track.blame("serverUnavailable".to_owned(), Fault::Portico);
    let mut reply = plain(StatusCode::SERVICE_UNAVAILABLE);
    reply.retry_after = Some(10);
    reply
}

fn not_allowed(method: &'static str, track: &Track) -> Reply {
    let mut reply = refused(StatusCode::METHOD_NOT_ALLOWED, "methodNotAllowed", track);
    reply.allow = Some(method);
    reply
}
