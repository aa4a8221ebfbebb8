//! Meetings, as b3scale shows them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use super::super::api::problem::Problem;
use super::super::api::{edits, time};
use super::backends::object_of;
use super::body::Fields;
use super::{Annex, Answer, NEVER, Right, Visitor, filter, id_of, not_found, ok};
use crate::bbb::Element;
use crate::fleet::{Entry, Fleet, Phase, now_ms};
use crate::model::{Change, Kind, MeetingKey, ObjectName, Scope};

/// The last of the three texts in an id.
const MARK: &str = "b3scl";
/// What the JSON of Go writes in another way than ours.
const GO_ESCAPES: [(char, &str); 5] = [
    ('<', "\\u003c"),
    ('>', "\\u003e"),
    ('&', "\\u0026"),
    ('\u{2028}', "\\u2028"),
    ('\u{2029}', "\\u2029"),
];

/// What b3scale calls a meeting.
pub(super) fn encoded(key: &MeetingKey) -> String {
    let mut json = json!([key.scope.to_string(), key.id, MARK]).to_string();
    // These can only be within a text. Go writes them so, and an id is compared as it is written.
    for (letter, escaped) in GO_ESCAPES {
        if json.contains(letter) {
            json = json.replace(letter, escaped);
        }
    }
    URL_SAFE.encode(json)
}

pub(super) fn decoded(id: &str) -> Option<(Scope, String)> {
    let bytes = URL_SAFE.decode(id).ok()?;
    let [scope, id, mark]: [String; 3] = serde_json::from_slice(&bytes).ok()?;
    Some((Scope::parse(&scope)?, id)).filter(|_| mark == MARK)
}

fn view(entry: &Entry, fleet: &Fleet) -> Value {
    let key = entry.key();
    let polled = fleet.peek().node(entry.node().as_str()).and_then(|node| node.live.polled_at_ms());
    // What is younger than the last poll is as it was created.
    let seen_at_ms = polled.map(|at_ms| at_ms.max(entry.created_at_ms()));
    let seen = seen_at_ms.map_or_else(|| NEVER.into(), time);
    let node = ObjectName::new(Kind::Node, entry.node().as_str());
    let tenant = ObjectName::new(Kind::Tenant, key.scope.tenant.as_str());
    json!({
        "id": encoded(key),
        "internal_id": entry.internal_id(),
        "meeting": Element::parse(&entry.xml()).map(|meeting| info(&meeting)).unwrap_or_default(),
        "frontend_id": id_of(&tenant),
        "backend_id": id_of(&node),
        "created_at": time(entry.created_at_ms()),
        "updated_at": seen,
        "synced_at": seen,
    })
}

/// The elements under b3scale's names, which are theirs with a capital letter, and its types.
fn info(meeting: &Element) -> Value {
    let text = |of: &Element, name: &str| of.child_text(name).unwrap_or_default().into_owned();
    let flag = |of: &Element, name: &str| text(of, name) == "true";
    let number =
        |of: &Element, name: &str| text(of, name).trim().parse::<u64>().unwrap_or_default();
    let attendees = meeting.child("attendees").map(|attendees| {
        let view = |one: &Element| {
            json!({
                "UserID": text(one, "userID"),
                "InternalUserID": text(one, "internalUserID"),
                "FullName": text(one, "fullName"),
                "Role": text(one, "role"),
                "IsPresenter": flag(one, "isPresenter"),
                "IsListeningOnly": flag(one, "isListeningOnly"),
                "HasJoinedVoice": flag(one, "hasJoinedVoice"),
                "HasVideo": flag(one, "hasVideo"),
                "ClientType": text(one, "clientType"),
            })
        };
        attendees.children_named("attendee").map(view).collect::<Vec<_>>()
    });
    let metadata = meeting.child("metadata").map(|metadata| {
        let pairs = metadata.elements().map(|one| (one.name.clone(), one.text().into()));
        pairs.collect::<serde_json::Map<String, Value>>()
    });
    let rooms = meeting
        .child("breakoutRooms")
        .map(|rooms| rooms.elements().map(|room| room.text().into_owned()).collect::<Vec<_>>());
    let breakout = meeting.child("breakout").map(|breakout| {
        json!({
            "ParentMeetingID": text(breakout, "parentMeetingID"),
            "Sequence": number(breakout, "sequence"),
            "FreeJoin": flag(breakout, "freeJoin"),
        })
    });
    let meeting_text = |name| text(meeting, name);
    json!({
        "MeetingName": meeting_text("meetingName"),
        "MeetingID": meeting_text("meetingID"),
        "InternalMeetingID": meeting_text("internalMeetingID"),
        "CreateTime": number(meeting, "createTime"),
        "CreateDate": meeting_text("createDate"),
        "VoiceBridge": meeting_text("voiceBridge"),
        "DialNumber": meeting_text("dialNumber"),
        "AttendeePW": meeting_text("attendeePW"),
        "ModeratorPW": meeting_text("moderatorPW"),
        "Running": flag(meeting, "running"),
        "Duration": number(meeting, "duration"),
        "Recording": flag(meeting, "recording"),
        "HasBeenForciblyEnded": flag(meeting, "hasBeenForciblyEnded"),
        "StartTime": number(meeting, "startTime"),
        "EndTime": number(meeting, "endTime"),
        "ParticipantCount": number(meeting, "participantCount"),
        "ListenerCount": number(meeting, "listenerCount"),
        "VoiceParticipantCount": number(meeting, "voiceParticipantCount"),
        "VideoCount": number(meeting, "videoCount"),
        "MaxUsers": number(meeting, "maxUsers"),
        "ModeratorCount": number(meeting, "moderatorCount"),
        "IsBreakout": flag(meeting, "isBreakout"),
        "Metadata": metadata,
        "Attendees": attendees,
        "BreakoutRooms": rooms,
        "Breakout": breakout,
    })
}

impl Annex {
    pub(super) fn list_meetings(
        &self,
        visitor: &Visitor,
        query: &HashMap<String, String>,
    ) -> Answer {
        visitor.may(&[Right::Admin])?;
        let node = match (filter(query, "backend_id"), filter(query, "backend_host")) {
            (Some(id), _) => self.find_node(|node| id_of(&object_of(node)) == id),
            (None, Some(host)) => self.find_node(|node| Self::has_host(node, host)),
            (None, None) => return Err(Problem::new(StatusCode::BAD_REQUEST, "Bad Request")),
        };
        let node = node.ok_or_else(not_found)?;
        let mut meetings = self.desk.fleet.directory.on_node(node.name());
        meetings.retain(|entry| entry.phase() == Phase::Running);
        meetings.sort_by(|a, b| a.internal_id().cmp(b.internal_id()));
        Ok(ok(meetings.iter().map(|entry| view(entry, &self.desk.fleet)).collect()))
    }

    /// The meeting of an id; for an agent, only one on its node.
    fn meeting(&self, visitor: &Visitor, id: &str) -> Result<Arc<Entry>, Problem> {
        visitor.may(&[Right::Admin, Right::Node])?;
        let directory = &self.desk.fleet.directory;
        let entry = match id.strip_prefix("internal:") {
            Some(id) => directory.get_internal(id),
            None => decoded(id).and_then(|(scope, id)| directory.get(&scope, &id)),
        };
        let own = if visitor.is(Right::Node) {
            let own = self.node_of_agent(visitor);
            Some(own.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "Forbidden"))?)
        } else {
            None
        };
        let is_shown = |entry: &Arc<Entry>| {
            entry.phase() == Phase::Running
                && own.as_ref().is_none_or(|own| own.name() == entry.node())
        };
        entry.filter(is_shown).ok_or_else(not_found)
    }

    pub(super) fn get_meeting(&self, visitor: &Visitor, id: &str) -> Answer {
        Ok(ok(view(&*self.meeting(visitor, id)?, &self.desk.fleet)))
    }

    /// What a meeting is, its node knows: this says it, whatever was sent.
    pub(super) async fn patch_meeting(
        &self,
        visitor: &Visitor,
        id: &str,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        let entry = self.meeting(visitor, id)?;
        let body = body().await?;
        Fields::of(&body)?.object("meeting")?;
        Ok(ok(view(&entry, &self.desk.fleet)))
    }

    /// Somebody says that a meeting is gone: its agent, or an admin. Its node is asked.
    pub(super) async fn forget_meeting(&self, visitor: &Visitor, id: &str) -> Answer {
        let entry = self.meeting(visitor, id)?;
        let view = view(&entry, &self.desk.fleet);
        if visitor.is(Right::Node) {
            // It goes on listening, and the next poll looks again.
            self.look_whether_it_is_over(&entry).await;
            return Ok(ok(view));
        }
        if !self.desk.has_gone(&entry).await? {
            let detail = format!(
                "node {} runs it, and would have it back with the next poll: end it there",
                entry.node()
            );
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        self.desk.fleet.end(&entry);
        let key = entry.key();
        let told = json!({"tenant": key.scope.to_string(), "meeting_id": key.id});
        let change = Change {
            at_ms: now_ms(),
            who: visitor.who.name.clone(),
            action: "forget".to_owned(),
            object: format!("meeting {}", entry.internal_id()),
            before: Some(told.to_string()),
            after: None,
        };
        edits::keep(&self.desk, &visitor.who, change).await;
        Ok(ok(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_b3scale() {
        let scope = Scope::parse("fkey1").expect("a scope");
        let id = encoded(&MeetingKey { scope: scope.clone(), id: "mid1".to_owned() });
        assert_eq!(id, "WyJma2V5MSIsIm1pZDEiLCJiM3NjbCJd");
        assert_eq!(decoded(&id), Some((scope.clone(), "mid1".to_owned())));
        let id = encoded(&MeetingKey { scope: scope.clone(), id: "a<b>&c\u{2028}".to_owned() });
        let json = br#"["fkey1","a\u003cb\u003e\u0026c\u2028","b3scl"]"#;
        assert_eq!(id, URL_SAFE.encode(json));
        assert_eq!(decoded(&id), Some((scope, "a<b>&c\u{2028}".to_owned())));
        for odd in ["", "internal:x", "WyJma2V5MSJd", "!"] {
            assert_eq!(decoded(odd), None, "{odd}");
        }
    }
}
