//! What the node calls by itself: the end of a meeting, a recording that is ready, analytics.
//!
//! End callbacks follow bbb-web's service: a probing GET that must end in exactly 200, then a second GET to where the
//! probe ended; failed attempts are repeated after 30 s, 60 s, 120 s and 300 s; one at a time. Recording-ready and
//! analytics are scripts on a node: one POST each, never repeated. Only `http` targets can be called.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::meeting::{Attendee, Meeting, Role};
use super::recording::FORMATS;
use crate::bbb::jwt;

/// Java's read time-out of the probing request.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 5;
/// An answer to a callback is read only to free the connection.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Callbacks that may wait at once; a node that ends more meetings than this has lost its receivers anyway.
const MAX_WAITING: usize = 10_000;
/// Pauses before the attempts of an end callback, in half minutes.
const HALF_MINUTES_BEFORE_ATTEMPTS: [u32; 5] = [0, 1, 2, 4, 10];
/// How long the bearer token of analytics is good for.
const ANALYTICS_TOKEN_S: u64 = 24 * 60 * 60;

#[derive(Debug, Clone)]
pub(super) struct Callbacks {
    client: Client<HttpConnector, Full<Bytes>>,
    secret: Arc<str>,
    minute: Duration,
    stop: CancellationToken,
    tracker: TaskTracker,
    turn: Arc<Mutex<()>>,
}

impl Callbacks {
    pub(super) fn new(secret: &str, minute: Duration, stop: CancellationToken) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(1))
                .build_http(),
            secret: secret.into(),
            minute,
            stop,
            tracker: TaskTracker::new(),
            turn: Arc::default(),
        }
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    pub(super) fn minute(&self) -> Duration {
        self.minute
    }

    /// Posts a form to a webhook after each of these pauses until it is taken. That somebody refuses the
    /// checksum counts as taken.
    pub(super) fn spawn_event(&self, url: String, form: String, pauses: Vec<Duration>) {
        let this = self.clone();
        self.spawn(async move {
            for pause in pauses {
                tokio::time::sleep(pause).await;
                let request = Request::post(&url)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(Full::from(form.clone()));
                let Ok(request) = request else { return };
                match this.send(request).await {
                    Ok((status, _))
                        if status.is_success() || status == StatusCode::UNAUTHORIZED =>
                    {
                        return;
                    }
                    Ok((status, _)) => log::info!("a webhook answered {status}"),
                    Err(problem) => log::info!("a webhook failed: {problem}"),
                }
            }
        });
    }

    /// Waits for the callbacks under way, after the token given to [`Callbacks::new`] was cancelled.
    pub(super) async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Everything that is due when a meeting has ended.
    pub(super) fn meeting_ended(&self, meeting: &Meeting) {
        if let Some(url) = &meeting.ended_url {
            self.spawn_end_callback(url.clone());
        }
        // Breakout rooms do not report their end.
        if let Some(url) = meeting.meta("endcallbackurl").filter(|_| meeting.breakout.is_none()) {
            let marks = if meeting.record && meeting.has_user_joined { "true" } else { "false" };
            match Url::parse(url) {
                Ok(mut url) => {
                    url.query_pairs_mut()
                        .append_pair("recordingmarks", marks)
                        .append_pair("meetingID", &meeting.external_id);
                    self.spawn_end_callback(url.into());
                }
                Err(error) => log::warn!("the end callback of a meeting is not a URL: {error}"),
            }
        }
        let analytics = meeting
            .meta("analytics-callback-url")
            .filter(|_| meeting.keep_events || meeting.record);
        if let Some(url) = analytics {
            self.spawn_analytics(url, meeting);
        }
    }

    /// One call for each format, as the scripts on a node run once for each.
    pub(super) fn recording_ready(&self, meeting: &Meeting) {
        let names =
            ["bbb-recording-ready-url", "bn-recording-ready-url", "canvas-recording-ready-url"];
        let Some(url) = names.iter().find_map(|name| meeting.meta(name)) else { return };
        let claims = json!({"meeting_id": meeting.external_id, "record_id": meeting.internal_id});
        let token = jwt::hs256(&claims, &self.secret);
        let form: Bytes = form_urlencoded::Serializer::new(String::new())
            .append_pair("signed_parameters", &token)
            .finish()
            .into();
        let requests: Vec<_> = FORMATS
            .iter()
            .filter_map(|_| {
                let request =
                    Request::post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                request.body(Full::new(form.clone())).ok()
            })
            .collect();
        let this = self.clone();
        self.spawn(async move {
            for request in requests {
                this.post(request).await;
            }
        });
    }

    fn spawn_analytics(&self, url: &str, meeting: &Meeting) {
        let (start, finish) =
            (meeting.created_ms, meeting.ended.map_or(meeting.created_ms, |ended| ended.at_ms));
        let attendees: Vec<_> = meeting.attendees.iter().map(activity).collect();
        let body = json!({
            "version": "1.0",
            "meeting_id": meeting.external_id,
            "internal_meeting_id": meeting.internal_id,
            "data": {
                "metadata": meeting.metadata.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "duration": finish.saturating_sub(start) / 1000,
                "start": start,
                "finish": finish,
                "attendees": attendees,
                "files": meeting.documents,
                "polls": [],
            },
        });
        let token = jwt::hs512(&json!({"exp": finish / 1000 + ANALYTICS_TOKEN_S}), &self.secret);
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::from(body.to_string()));
        let this = self.clone();
        match request {
            Ok(request) => self.spawn(async move { this.post(request).await }),
            Err(error) => log::warn!("the analytics callback of a meeting is not a URL: {error}"),
        }
    }

    fn spawn_end_callback(&self, url: String) {
        let this = self.clone();
        self.spawn(async move {
            for half_minutes in HALF_MINUTES_BEFORE_ATTEMPTS {
                tokio::time::sleep((this.minute / 2).saturating_mul(half_minutes)).await;
                let _turn = this.turn.lock().await;
                match this.attempt_end_callback(&url).await {
                    Ok(()) => return,
                    Err(problem) => {
                        log::info!("an end callback failed, it is repeated later: {problem}");
                    }
                }
            }
            log::warn!("an end callback was given up");
        });
    }

    async fn attempt_end_callback(&self, url: &str) -> Result<(), String> {
        let found = self.probe(url).await?;
        let (status, _) = self.get(&found, None).await?;
        if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
    }

    /// Follows redirects until a 200; gives where that was.
    async fn probe(&self, url: &str) -> Result<Url, String> {
        let mut url = Url::parse(url).map_err(|error| error.to_string())?;
        for _ in 0..=MAX_REDIRECTS {
            match self.get(&url, Some("Mozilla")).await? {
                (StatusCode::OK, _) => return Ok(url),
                (
                    StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER,
                    Some(location),
                ) => {
                    url = url.join(&location).map_err(|error| error.to_string())?;
                }
                (status, _) => return Err(format!("the probe was answered {status}")),
            }
        }
        Err("too many redirects".to_owned())
    }

    async fn get(
        &self,
        url: &Url,
        agent: Option<&str>,
    ) -> Result<(StatusCode, Option<String>), String> {
        let uri: Uri =
            url.as_str().parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let agent = agent.unwrap_or("Apache-HttpAsyncClient/4.1.5 (Java/17)");
        let request = Request::get(uri).header(USER_AGENT, agent).body(Full::default());
        self.send(request.map_err(|error| error.to_string())?).await
    }

    async fn post(&self, request: Request<Full<Bytes>>) {
        match self.send(request).await {
            Ok((status, _)) if status.is_success() => {}
            Ok((status, _)) => log::info!("a callback was answered {status}"),
            Err(problem) => log::info!("a callback failed: {problem}"),
        }
    }

    /// Status and `Location` of the answer.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Option<String>), String> {
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
            let location = answer
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned);
            let status = answer.status();
            Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| error.to_string())?;
            Ok((status, location))
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.tracker.len() >= MAX_WAITING {
            log::warn!("a callback was dropped: {MAX_WAITING} are waiting");
            return;
        }
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}

fn activity(attendee: &Attendee) -> serde_json::Value {
    json!({
        "ext_user_id": attendee.user_id,
        "name": attendee.full_name,
        "moderator": attendee.role == Role::Moderator,
        "joins": [],
        "leaves": [],
        "duration": 0,
        "recent_talking_time": "",
        "engagement": {"chats": 0, "talks": 0, "raisehand": 0, "emojis": 0, "poll_votes": 0, "talk_time": 0},
    })
}
