//! What a node's bbb-webhooks tells us: whose meeting it is about, and the event in its owner's words.

mod owner;
mod words;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use log::error;
use pingora_proxy::Session;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::Edge;
use super::refusal::Fault;
use super::reply::Reply;
use super::track::Track;
use super::upload::{self, Broken};
use crate::chain::Chain;
use crate::fleet::{HOOK_PREFIX, MEETING_ENDED, Node, Snapshot, form_of, hook_path};
use crate::model::{CallbackKind, MeetingKey};
use owner::About;
use words::in_owners_words;

const PLAIN: &str = "text/plain;charset=utf-8";
/// A body of bbb-webhooks: events of a moment.
const MAX_POST_BYTES: usize = 1024 * 1024;
const POST_WITHIN: Duration = Duration::from_secs(15);
/// bbb-webhooks posts one at a time; versions that gather them are not known.
const MAX_EVENTS: usize = 100;

/// What bbb-webhooks posts: a form of these fields, in this order.
pub(super) struct Post {
    pub(super) domain: String,
    pub(super) events: Vec<Value>,
    pub(super) timestamp: String,
}

/// One event in the words of the meeting's owner.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) internal_id: String,
    pub(super) key: MeetingKey,
    pub(super) data: Value,
}

impl Post {
    /// Reads a form; `None` if there is no list of events in it.
    pub(super) fn read(form: &[u8]) -> Option<Self> {
        let (mut domain, mut events, mut timestamp) = (String::new(), None, String::new());
        for (name, value) in form_urlencoded::parse(form) {
            match &*name {
                "domain" => domain = value.into_owned(),
                "timestamp" => timestamp = value.into_owned(),
                "event" => events = serde_json::from_str(&value).ok(),
                _ => {}
            }
        }
        Some(Self { domain, events: events?, timestamp })
    }

    /// The same form with one event.
    pub(super) fn with(&self, event: &Value) -> String {
        form_of(&self.domain, event, &self.timestamp)
    }
}

/// The node to which alone we have given this path.
pub(super) fn sender<'s>(snapshot: &'s Snapshot, path: &str) -> Option<&'s Arc<Node>> {
    let node = snapshot.node(path.strip_prefix(HOOK_PREFIX)?.split('/').next()?)?;
    bool::from(hook_path(node).as_bytes().ct_eq(path.as_bytes())).then_some(node)
}

impl Edge {
    /// Takes what a node's bbb-webhooks tells, and puts it into the outbox for every hook that wants it.
    pub(super) async fn receive_events(
        &self,
        session: &mut Session,
        path: &str,
        track: &Track,
    ) -> Reply {
        match self.take_events(session, path, track).await {
            Ok(()) => Reply::new(StatusCode::OK, PLAIN, ""),
            Err(status) => {
                let fault = if status.is_server_error() { Fault::Portico } else { Fault::Client };
                track.blame("invalidCallback".to_owned(), fault);
                Reply::new(status, PLAIN, "")
            }
        }
    }

    async fn take_events(
        &self,
        session: &mut Session,
        path: &str,
        track: &Track,
    ) -> Result<(), StatusCode> {
        let snapshot = self.fleet.snapshot();
        let node = sender(&snapshot, path).ok_or(StatusCode::NOT_FOUND)?;
        track.node(node.name());
        if session.req_header().method != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        upload::invite(session).await;
        let body = upload::read_whole(session, MAX_POST_BYTES, POST_WITHIN).await;
        let body = body.map_err(|broken| match broken {
            Broken::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Broken::TooSlow | Broken::Gone | Broken::NoRoom => StatusCode::REQUEST_TIMEOUT,
        })?;
        let mut post = Post::read(&body).ok_or(StatusCode::BAD_REQUEST)?;
        let mut events = std::mem::take(&mut post.events);
        events.truncate(MAX_EVENTS);
        for event in events {
            let Some(about) = About::read(&event) else { continue };
            let owner = self.owner_of(&about, node, &snapshot).await.map_err(|trouble| {
                self.settings.callbacks.say_lost("the meeting of an event", &trouble);
                StatusCode::SERVICE_UNAVAILABLE
            })?;
            let Some(key) = owner else { continue };
            let event = in_owners_words(event, about, key);
            self.tell(&post, &event).await?;
        }
        Ok(())
    }

    /// Puts an event into the outbox for every hook that wants it.
    async fn tell(&self, post: &Post, event: &Event) -> Result<(), StatusCode> {
        let form = post.with(&event.data);
        for (scope, delivery) in
            self.fleet.to_hooks(&event.id, &event.key, &event.internal_id, &form)
        {
            let put = self.store.put_delivery(&delivery).await.map_err(|trouble| {
                error!("an event cannot be saved, its node may tell it again: {}", Chain(&trouble));
                StatusCode::SERVICE_UNAVAILABLE
            })?;
            self.metrics.callbacks.overflow.note(put, CallbackKind::Hook, &scope);
        }
        self.settings.callbacks.wake();
        if event.id == MEETING_ENDED {
            self.fleet.remove_hooks_of(&*self.store, &event.key, &event.internal_id).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_of_one_event_is_written_as_it_was_read() {
        let form = "domain=bbb.example&event=%5B%7B%22a%22%3A1%7D%5D&timestamp=7";
        let post = Post::read(form.as_bytes()).expect("a list of events");
        assert_eq!(post.with(&post.events[0]), form);
        for broken in ["", "event=", "event=%7B%7D", "event=%5B"] {
            assert!(Post::read(broken.as_bytes()).is_none(), "{broken}");
        }
    }
}
