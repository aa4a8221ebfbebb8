//! bbb-webhooks: who has asked to be told of what, and telling them.
//!
//! On a real node this is a program of its own beside bbb-web, with a table of its own.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::callbacks::Callbacks;
use super::meeting::{Attendee, Meeting};
use super::now_ms;

/// Pauses before the attempts to deliver an event, in thousandths of a minute: from 0.1 s to 60 s.
const PAUSES: [u32; 9] = [0, 2, 8, 17, 50, 83, 167, 500, 1000];
/// Hooks that one node keeps.
const MAX_HOOKS: usize = 1_000;

/// What somebody wants to be told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) id: u64,
    pub(super) callback_url: String,
    /// Only of this meeting; its hook goes when it ends.
    pub(super) meeting_id: Option<String>,
    /// Only these events; empty is all.
    pub(super) events: Vec<String>,
    pub(super) raw: bool,
}

/// The hooks of a node.
#[derive(Debug, Default)]
pub(super) struct Hooks(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    hooks: Vec<Hook>,
    last_id: u64,
}

/// What became of a wish for a hook.
pub(super) enum Created {
    New(Hook),
    Known(Hook),
    Full,
}

impl Hooks {
    /// Adds a hook, unless one with its URL is there already. Its `id` is chosen here.
    pub(super) fn create(&self, hook: Hook) -> Created {
        let mut table = self.0.lock();
        if let Some(known) = table.hooks.iter().find(|own| own.callback_url == hook.callback_url) {
            return Created::Known(known.clone());
        }
        if table.hooks.len() == MAX_HOOKS {
            return Created::Full;
        }
        table.last_id += 1;
        let hook = Hook { id: table.last_id, ..hook };
        table.hooks.push(hook.clone());
        Created::New(hook)
    }

    /// Those of a meeting and those of all meetings, or all there are.
    pub(super) fn list(&self, meeting_id: Option<&str>) -> Vec<Hook> {
        let is_meant = |hook: &&Hook| {
            meeting_id.is_none()
                || hook.meeting_id.is_none()
                || hook.meeting_id.as_deref() == meeting_id
        };
        self.0.lock().hooks.iter().filter(is_meant).cloned().collect()
    }

    /// False if there is no such hook.
    pub(super) fn destroy(&self, id: u64) -> bool {
        let mut table = self.0.lock();
        let before = table.hooks.len();
        table.hooks.retain(|hook| hook.id != id);
        table.hooks.len() < before
    }

    /// As when the program is started anew and has lost its table.
    pub(super) fn forget(&self) {
        self.0.lock().hooks.clear();
    }

    pub(super) fn meeting_created(&self, meeting: &Meeting, callbacks: &Callbacks) {
        let more = json!({
            "name": meeting.name,
            "is-breakout": meeting.breakout.is_some(),
            "parent-id": meeting.breakout.as_ref().map(|breakout| &breakout.parent_internal_id),
            "duration": meeting.duration,
            "create-time": meeting.created_ms,
            "moderator-pass": meeting.moderator_pw,
            "viewer-pass": meeting.attendee_pw,
            "record": meeting.record,
            "voice-conf": meeting.voice_bridge,
            "dial-number": meeting.dial_number,
            "max-users": meeting.max_users,
            "metadata": meeting.metadata.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        });
        let mut attributes = of_meeting(meeting);
        if let (Some(own), Some(more)) = (attributes["meeting"].as_object_mut(), more.as_object()) {
            own.extend(more.clone());
        }
        self.tell("meeting-created", meeting, &attributes, callbacks);
    }

    pub(super) fn user_joined(&self, meeting: &Meeting, who: &Attendee, callbacks: &Callbacks) {
        self.tell("user-joined", meeting, &of_user(meeting, who), callbacks);
    }

    pub(super) fn meeting_ended(&self, meeting: &Meeting, callbacks: &Callbacks) {
        self.tell("meeting-ended", meeting, &of_meeting(meeting), callbacks);
        let is_over = |hook: &Hook| hook.meeting_id.as_deref() == Some(&*meeting.external_id);
        self.0.lock().hooks.retain(|hook| !is_over(hook));
    }

    pub(super) fn recording_published(&self, meeting: &Meeting, callbacks: &Callbacks) {
        let mut attributes = of_meeting(meeting);
        attributes["record-id"] = meeting.internal_id.clone().into();
        attributes["success"] = true.into();
        self.tell("rap-publish-ended", meeting, &attributes, callbacks);
    }

    fn tell(&self, event: &str, meeting: &Meeting, attributes: &Value, callbacks: &Callbacks) {
        let data = json!({"data": {
            "type": "event", "id": event, "attributes": attributes, "event": {"ts": now_ms()},
        }});
        let is_meant = |hook: &&Hook| {
            let of_another = |id: &String| *id != meeting.external_id;
            !hook.meeting_id.as_ref().is_some_and(of_another)
                && (hook.events.is_empty() || hook.events.iter().any(|own| own == event))
        };
        for hook in self.0.lock().hooks.iter().filter(is_meant) {
            deliver(hook, &data, callbacks);
        }
    }
}

/// Sends one event to one hook, again and again for a few minutes.
fn deliver(hook: &Hook, data: &Value, callbacks: &Callbacks) {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("domain", "127.0.0.1")
        .append_pair("event", &format!("[{data}]"))
        .append_pair("timestamp", &now_ms().to_string())
        .finish();
    let sum = Sha1::digest([&hook.callback_url, &*form, callbacks.secret()].concat());
    let separator = if hook.callback_url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}checksum={}", hook.callback_url, hex::encode(sum));
    let pauses = PAUSES.map(|pause| callbacks.minute().saturating_mul(pause) / 1000);
    callbacks.spawn_event(url, form, pauses.into_iter().collect::<Vec<Duration>>());
}

fn of_meeting(meeting: &Meeting) -> Value {
    json!({"meeting": {
        "internal-meeting-id": meeting.internal_id,
        "external-meeting-id": meeting.external_id,
    }})
}

fn of_user(meeting: &Meeting, who: &Attendee) -> Value {
    let mut attributes = of_meeting(meeting);
    attributes["user"] = json!({
        "internal-user-id": who.internal_user_id,
        "external-user-id": who.user_id,
        "name": who.full_name,
        "role": who.role.as_str(),
        "presenter": who.presenter,
    });
    attributes
}
