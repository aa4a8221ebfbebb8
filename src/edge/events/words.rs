//! An event in the words of its meeting's owner.
//!
//! A node's id of the meeting and our callback URLs stand in more places than one: the metadata of a
//! recording has them, too. Which events have metadata, and where, changes with versions of bbb-webhooks.

use serde_json::{Map, Value};

use super::Event;
use super::owner::About;
use crate::fleet::{callback_urls, identity};
use crate::model::MeetingKey;

/// Puts an event into the words of its meeting's owner.
pub(super) fn in_owners_words(mut event: Value, about: About, key: MeetingKey) -> Event {
    let words = Words { about: &about, key: &key };
    words.reword(&mut event);
    if let Some(meeting) =
        event.pointer_mut("/data/attributes/meeting").and_then(Value::as_object_mut)
    {
        meeting.insert("external-meeting-id".to_owned(), key.id.clone().into());
    }
    Event { id: about.id, internal_id: about.internal_id, key, data: event }
}

struct Words<'a> {
    about: &'a About,
    key: &'a MeetingKey,
}

impl Words<'_> {
    /// As deep as the parser goes.
    fn reword(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(own) = callback_urls::unwrap(text) {
                    *text = own;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.reword(value)),
            Value::Object(fields) => self.reword_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn reword_fields(&self, fields: &mut Map<String, Value>) {
        for (name, value) in fields {
            match value {
                Value::String(id) if is_meeting_id(name) => {
                    *id = if *id == self.about.external_id {
                        self.key.id.clone()
                    } else {
                        identity::front_id(&self.key.scope, id).to_owned()
                    };
                }
                value => self.reword(value),
            }
        }
    }
}

/// `external-meeting-id`, `meetingId`, `meeting_id`, `parentMeetingID` … What people write is in fields of
/// other names. Internal ids have no scope, so nothing changes in them.
fn is_meeting_id(name: &str) -> bool {
    let letters =
        name.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase());
    let letters: Vec<u8> = letters.collect();
    letters.ends_with(b"meetingid") || letters == b"parentid"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{CallbackToken, Scope};

    #[test]
    fn nothing_of_ours_is_left_wherever_it_stands() {
        let token = CallbackToken::new([0x5a; CallbackToken::BYTES]);
        let ours = callback_urls::wrap("https://lb", &token, Some("https://front/end?a=1"));
        let event = |id: &str, room: &str, url: &str| {
            json!({"data": {"id": "rap-publish-ended", "attributes": {
                "meeting": {"internal-meeting-id": "1-2", "external-meeting-id": id},
                "recording": {
                    "name": "room@acme",
                    "metadata": {"meetingId": id, "endcallbackurl": url, "bbb-recording-ready-url": url},
                    "breakout": [{"meeting_id": room, "parentId": "1-2"}, {"x": [url, 7, null]}],
                },
                "chat-message": {"message": "room@acme"},
            }}})
        };
        let key =
            MeetingKey { scope: Scope::parse("acme").expect("a scope"), id: "r&m".to_owned() };
        let node = event("digest@acme", "one@acme", &ours);
        let about = About::read(&node).expect("of a meeting");
        let told = in_owners_words(node, about, key);
        assert_eq!(told.data, event("r&m", "one", "https://front/end?a=1"));
        assert_eq!((&*told.id, &*told.internal_id), ("rap-publish-ended", "1-2"));
    }
}
