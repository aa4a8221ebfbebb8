//! What b3scale's programs read of an answer, field by field.

use serde_json::Value;

/// Into what Go decodes a field. Anything else ends the program with an error.
#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Text,
    TextOrNull,
    Time,
    TimeOrNull,
    Whole,
    Number,
    Flag,
    Object,
    ObjectOrNull,
    ListOrNull,
    Any,
}

pub(super) type Fields = &'static [(&'static str, Type)];

pub(super) const STATUS: Fields = &[
    ("version", Type::Text),
    ("build", Type::Text),
    ("api", Type::Text),
    ("account_ref", Type::Text),
    ("is_admin", Type::Flag),
    ("database", Type::Object),
];
pub(super) const DATABASE: Fields = &[
    ("available", Type::Flag),
    ("database", Type::Text),
    ("migrated", Type::Flag),
    ("migration", Type::Object),
    ("pending_migrations", Type::Whole),
    ("error", Type::TextOrNull),
];
pub(super) const MIGRATION: Fields =
    &[("version", Type::Whole), ("description", Type::Text), ("applied_at", Type::Time)];
pub(super) const BACKEND: Fields = &[
    ("id", Type::Text),
    ("node_state", Type::Text),
    ("admin_state", Type::Text),
    ("agent_heartbeat", Type::Time),
    ("agent_ref", Type::TextOrNull),
    ("last_error", Type::TextOrNull),
    ("latency", Type::Whole),
    ("meetings_count", Type::Whole),
    ("attendees_count", Type::Whole),
    ("load_factor", Type::Number),
    ("bbb", Type::Object),
    ("settings", Type::Object),
    ("created_at", Type::Time),
    ("updated_at", Type::Time),
    ("synced_at", Type::Time),
];
pub(super) const FRONTEND: Fields = &[
    ("id", Type::Text),
    ("active", Type::Flag),
    ("bbb", Type::Object),
    ("settings", Type::Object),
    ("account_ref", Type::TextOrNull),
    ("created_at", Type::Time),
    ("updated_at", Type::Time),
];
pub(super) const SETTINGS: Fields = &[
    ("required_tags", Type::ListOrNull),
    ("default_presentation", Type::ObjectOrNull),
    ("attendees_limit", Type::ObjectOrNull),
    ("create_default_params", Type::Object),
    ("create_override_params", Type::Object),
    ("join_default_params", Type::Object),
    ("join_override_params", Type::Object),
    ("recordings", Type::ObjectOrNull),
];
pub(super) const MEETING: Fields = &[
    ("id", Type::Text),
    ("internal_id", Type::Text),
    ("meeting", Type::Object),
    ("frontend_id", Type::TextOrNull),
    ("backend_id", Type::TextOrNull),
    ("created_at", Type::Time),
    ("updated_at", Type::Time),
    ("synced_at", Type::Time),
];
pub(super) const INFO: Fields = &[
    ("MeetingName", Type::Text),
    ("MeetingID", Type::Text),
    ("InternalMeetingID", Type::Text),
    ("CreateTime", Type::Whole),
    ("CreateDate", Type::Text),
    ("VoiceBridge", Type::Text),
    ("DialNumber", Type::Text),
    ("AttendeePW", Type::Text),
    ("ModeratorPW", Type::Text),
    ("Running", Type::Flag),
    ("Duration", Type::Whole),
    ("Recording", Type::Flag),
    ("HasBeenForciblyEnded", Type::Flag),
    ("StartTime", Type::Whole),
    ("EndTime", Type::Whole),
    ("ParticipantCount", Type::Whole),
    ("ListenerCount", Type::Whole),
    ("VoiceParticipantCount", Type::Whole),
    ("VideoCount", Type::Whole),
    ("MaxUsers", Type::Whole),
    ("ModeratorCount", Type::Whole),
    ("IsBreakout", Type::Flag),
    ("Metadata", Type::ObjectOrNull),
    ("Attendees", Type::ListOrNull),
    ("BreakoutRooms", Type::ListOrNull),
    ("Breakout", Type::ObjectOrNull),
];
pub(super) const COMMAND: Fields = &[
    ("id", Type::Text),
    ("seq", Type::Whole),
    ("state", Type::Text),
    ("action", Type::Text),
    ("params", Type::Any),
    ("result", Type::Any),
    ("deadline", Type::Time),
    ("started_at", Type::TimeOrNull),
    ("stopped_at", Type::TimeOrNull),
    ("created_at", Type::Time),
];
pub(super) const RECORDING: Fields = &[
    ("record_id", Type::Text),
    ("recording", Type::Object),
    ("meeting_id", Type::Text),
    ("internal_meeting_id", Type::Text),
    ("frontend_id", Type::Text),
    ("created_at", Type::Time),
    ("updated_at", Type::Time),
    ("synced_at", Type::Time),
];
pub(super) const RECORDING_DATA: Fields = &[
    ("XMLName", Type::Object),
    ("RecordID", Type::Text),
    ("MeetingID", Type::Text),
    ("InternalMeetingID", Type::Text),
    ("Name", Type::Text),
    ("IsBreakout", Type::Flag),
    ("Published", Type::Flag),
    ("State", Type::Text),
    ("StartTime", Type::Whole),
    ("EndTime", Type::Whole),
    ("Participants", Type::Whole),
    ("Metadata", Type::Object),
    ("Formats", Type::ListOrNull),
];

/// Every field is there, and Go can decode it.
#[track_caller]
pub(super) fn decodes(object: &Value, fields: Fields) {
    let known = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    for (name, kind) in fields {
        let value = known.get(*name).unwrap_or_else(|| panic!("{name} is missing: {object}"));
        let is_time = || {
            let text = value.as_str().unwrap_or_default();
            text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
        };
        let fits = match kind {
            Type::Text => value.is_string(),
            Type::TextOrNull => value.is_string() || value.is_null(),
            Type::Time => is_time(),
            Type::TimeOrNull => value.is_null() || is_time(),
            Type::Whole => value.is_u64() || value.is_i64(),
            Type::Number => value.is_number(),
            Type::Flag => value.is_boolean(),
            Type::Object => value.is_object(),
            Type::ObjectOrNull => value.is_object() || value.is_null(),
            Type::ListOrNull => value.is_array() || value.is_null(),
            Type::Any => true,
        };
        assert!(fits, "{name} is no {kind:?}: {value}");
    }
    for name in known.keys() {
        assert!(fields.iter().any(|(own, _)| own == name), "{name} is not b3scale's");
    }
}
