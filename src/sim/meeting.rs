//! One meeting on the simulated node, and how it is printed.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::xml::Xml;

#[expect(clippy::struct_excessive_bools, reason = "these are the facts a node reports")]
#[derive(Debug, Clone)]
pub(super) struct Meeting {
    pub(super) external_id: String,
    pub(super) internal_id: String,
    pub(super) name: String,
    pub(super) attendee_pw: String,
    pub(super) moderator_pw: String,
    pub(super) created_ms: u64,
    /// The same moment on the clock that decides when the meeting expires.
    pub(super) created: Instant,
    pub(super) voice_bridge: String,
    pub(super) dial_number: String,
    /// Minutes; 0: as long as somebody stays.
    pub(super) duration: u64,
    /// Minutes until a meeting that nobody joined is ended; 0: never.
    pub(super) expire_unused: u64,
    /// Minutes until a meeting that everybody left is ended; 0: never.
    pub(super) expire_empty: u64,
    pub(super) record: bool,
    pub(super) keep_events: bool,
    pub(super) max_users: u64,
    pub(super) allow_requests_without_session: bool,
    /// `guestPolicy` `ALWAYS_DENY`; the other policies let everybody in here.
    pub(super) denies_guests: bool,
    pub(super) disabled_features: Vec<String>,
    pub(super) logout_url: Option<String>,
    pub(super) ended_url: Option<String>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) documents: Vec<String>,
    pub(super) breakout: Option<Breakout>,
    /// External ids of the rooms this meeting is the parent of.
    pub(super) rooms: Vec<String>,
    pub(super) attendees: Vec<Attendee>,
    pub(super) has_user_joined: bool,
    /// When the last attendee left, while nobody is in.
    pub(super) empty_since: Option<Instant>,
    pub(super) ended: Option<Ended>,
}

/// What makes a meeting a breakout room.
#[derive(Debug, Clone)]
pub(super) struct Breakout {
    pub(super) parent_internal_id: String,
    pub(super) sequence: u64,
    pub(super) free_join: bool,
}

/// A meeting that is over stays visible for a little while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) at: Instant,
    pub(super) at_ms: u64,
    /// By the `end` call, not by itself.
    pub(super) forcibly: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "these are the facts a node reports")]
#[derive(Debug, Clone)]
pub(super) struct Attendee {
    pub(super) internal_user_id: String,
    /// The `userID` of the join call, or the internal one.
    pub(super) user_id: String,
    pub(super) full_name: String,
    pub(super) role: Role,
    pub(super) presenter: bool,
    pub(super) voice: bool,
    pub(super) listening_only: bool,
    pub(super) video: bool,
    pub(super) custom_data: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Moderator,
    Viewer,
}

impl Role {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Moderator, Self::Viewer]
            .into_iter()
            .find(|role| role.as_str().eq_ignore_ascii_case(word))
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Moderator => "MODERATOR",
            Self::Viewer => "VIEWER",
        }
    }
}

impl Meeting {
    pub(super) fn is_live(&self) -> bool {
        self.ended.is_none()
    }

    /// True only while somebody is in.
    pub(super) fn is_running(&self) -> bool {
        self.is_live() && !self.attendees.is_empty()
    }

    pub(super) fn is_forcibly_ended(&self) -> bool {
        self.ended.is_some_and(|ended| ended.forcibly)
    }

    pub(super) fn is_full(&self) -> bool {
        self.max_users > 0 && self.attendees.len() as u64 >= self.max_users
    }

    pub(super) fn disables(&self, feature: &str) -> bool {
        self.disabled_features.iter().any(|disabled| disabled == feature)
    }

    pub(super) fn meta(&self, name: &str) -> Option<&str> {
        let (_, value) = self.metadata.iter().find(|(known, _)| known == name)?;
        Some(value).filter(|value| !value.is_empty()).map(String::as_str)
    }

    pub(super) fn enter(&mut self, mut attendee: Attendee) {
        let nobody_presents = !self.attendees.iter().any(|present| present.presenter);
        attendee.presenter = nobody_presents && attendee.role == Role::Moderator;
        self.attendees.push(attendee);
        self.has_user_joined = true;
        self.empty_since = None;
    }

    /// Removes an attendee, if present.
    pub(super) fn leave(&mut self, internal_user_id: &str, now: Instant) {
        let before = self.attendees.len();
        self.attendees.retain(|attendee| attendee.internal_user_id != internal_user_id);
        if self.attendees.is_empty() && before > 0 {
            self.empty_since = Some(now);
        }
    }

    /// Whether the meeting ends by itself now, a minute being `minute` long.
    pub(super) fn is_due(&self, now: Instant, minute: Duration) -> bool {
        let passed = |since: Instant, minutes: u64| {
            let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
            minutes > 0 && now.duration_since(since) >= minute.saturating_mul(minutes)
        };
        self.is_live()
            && (passed(self.created, self.duration)
                || (!self.has_user_joined && passed(self.created, self.expire_unused))
                || self.empty_since.is_some_and(|since| passed(since, self.expire_empty)))
    }

    /// When it was created, as Java prints a date.
    pub(super) fn create_date(&self) -> String {
        java_date(self.created_ms)
    }

    fn count(&self, predicate: impl Fn(&Attendee) -> bool) -> u64 {
        self.attendees.iter().filter(|attendee| predicate(attendee)).count() as u64
    }

    /// Everything `getMeetingInfo` and `getMeetings` say, in the order of their template.
    pub(super) fn print(&self, xml: &mut Xml) {
        xml.text("meetingName", &self.name)
            .text("meetingID", &self.external_id)
            .text("internalMeetingID", &self.internal_id)
            .number("createTime", self.created_ms)
            .text("createDate", &self.create_date())
            .text("voiceBridge", &self.voice_bridge)
            .text("dialNumber", &self.dial_number)
            .text("attendeePW", &self.attendee_pw)
            .text("moderatorPW", &self.moderator_pw)
            .flag("running", self.is_running())
            .number("duration", self.duration)
            .flag("hasUserJoined", self.has_user_joined)
            .flag("recording", self.record)
            .flag("hasBeenForciblyEnded", self.is_forcibly_ended())
            .number("startTime", self.created_ms)
            .number("endTime", self.ended.map_or(0, |ended| ended.at_ms))
            .number("participantCount", self.count(|_| true))
            .number("listenerCount", self.count(|attendee| attendee.listening_only))
            .number("voiceParticipantCount", self.count(|attendee| attendee.voice))
            .number("videoCount", self.count(|attendee| attendee.video))
            .number("maxUsers", self.max_users)
            .number("moderatorCount", self.count(|attendee| attendee.role == Role::Moderator));
        xml.open("attendees");
        for attendee in &self.attendees {
            attendee.print(xml);
        }
        xml.close("attendees");
        print_pairs(xml, "metadata", &self.metadata);
        xml.flag("isBreakout", self.breakout.is_some());
        if let Some(breakout) = &self.breakout {
            xml.text("parentMeetingID", &breakout.parent_internal_id)
                .number("sequence", breakout.sequence)
                .flag("freeJoin", breakout.free_join);
        }
        if !self.rooms.is_empty() {
            xml.open("breakoutRooms");
            for room in &self.rooms {
                xml.text("breakout", room);
            }
            xml.close("breakoutRooms");
        }
    }
}

impl Attendee {
    fn print(&self, xml: &mut Xml) {
        xml.open("attendee")
            .text("userID", &self.user_id)
            .text("fullName", &self.full_name)
            .text("role", self.role.as_str())
            .flag("isPresenter", self.presenter)
            .flag("isListeningOnly", self.listening_only)
            .flag("hasJoinedVoice", self.voice)
            .flag("hasVideo", self.video)
            .text("clientType", "HTML5");
        print_pairs(xml, "customdata", &self.custom_data);
        xml.close("attendee");
    }
}

/// An element for each pair; the names were checked when they came in.
pub(super) fn print_pairs(xml: &mut Xml, name: &str, pairs: &[(String, String)]) {
    xml.open(name);
    for (key, value) in pairs {
        xml.text(key, value);
    }
    xml.close(name);
}

/// `Mon Jul 09 17:03:29 UTC 2018`: `java.util.Date` on a machine that runs on UTC.
fn java_date(ms: u64) -> String {
    let moment = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default();
    moment.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_like_java() {
        assert_eq!(java_date(1_531_155_809_613), "Mon Jul 09 17:03:29 UTC 2018");
    }

    #[test]
    fn roles_are_read_in_any_case() {
        assert_eq!(Role::from_word("moderator"), Some(Role::Moderator));
        assert_eq!(Role::from_word("VIEWER"), Some(Role::Viewer));
        assert_eq!(Role::from_word("boss"), None);
    }
}
