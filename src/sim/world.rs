//! Everything the node knows: its meetings, who is in them, and the recordings of those that are over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use sha1::{Digest, Sha1};
use tokio::time::Instant;

use super::meeting::{Attendee, Ended, Meeting, Role};
use super::recording::Recording;

/// Meetings that are gone but may still get a recording.
const PAST: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct World {
    /// By internal id, so that the prefix rule of [`World::find`] is a range.
    meetings: BTreeMap<String, Meeting>,
    past: VecDeque<Meeting>,
    /// By session token.
    pub(super) sessions: HashMap<String, Session>,
    pub(super) recordings: Vec<Recording>,
}

/// One participant's session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) meeting: String,
    pub(super) internal_user_id: String,
    pub(super) user_name: String,
    pub(super) cookie: String,
}

impl World {
    pub(super) fn meetings(&self) -> impl Iterator<Item = &Meeting> {
        self.meetings.values()
    }

    /// The meeting a `meetingID` parameter means: one whose internal id begins with it, else one whose internal id
    /// begins with its SHA-1. Live ones go first.
    pub(super) fn find(&self, id: &str) -> Option<&Meeting> {
        let hash = sha1_hex(id);
        self.live_beginning_with(id)
            .or_else(|| self.live_beginning_with(&hash))
            .or_else(|| self.beginning_with(id).last())
            .or_else(|| self.beginning_with(&hash).last())
    }

    /// The live meeting that a `create` for `id` is about; a breakout room is created by its internal id.
    pub(super) fn find_created(&self, id: &str, is_breakout: bool) -> Option<&Meeting> {
        if is_breakout {
            return self.get(id).filter(|meeting| meeting.is_live());
        }
        self.live_beginning_with(&sha1_hex(id)).filter(|meeting| meeting.external_id == id)
    }

    pub(super) fn find_live(&self, id: &str) -> Option<&Meeting> {
        self.find(id).filter(|meeting| meeting.is_live())
    }

    pub(super) fn get_mut(&mut self, internal_id: &str) -> Option<&mut Meeting> {
        self.meetings.get_mut(internal_id)
    }

    pub(super) fn get(&self, internal_id: &str) -> Option<&Meeting> {
        self.meetings.get(internal_id)
    }

    /// Also among those that are gone.
    pub(super) fn find_past(&self, id: &str) -> Option<&Meeting> {
        let is_meant = |meeting: &&Meeting| meeting.external_id == id || meeting.internal_id == id;
        self.find(id).or_else(|| self.past.iter().rev().find(is_meant))
    }

    /// Internal ids of the breakout rooms that a meeting has had.
    pub(super) fn rooms_of(&self, internal_id: &str) -> Vec<String> {
        let is_room = |meeting: &&Meeting| {
            let breakout = meeting.breakout.as_ref();
            breakout.is_some_and(|breakout| breakout.parent_internal_id == internal_id)
        };
        let all = self.past.iter().chain(self.meetings.values());
        all.filter(is_room).map(|room| room.internal_id.clone()).collect()
    }

    pub(super) fn contains(&self, internal_id: &str) -> bool {
        self.meetings.contains_key(internal_id)
    }

    pub(super) fn is_voice_bridge_used(&self, voice_bridge: &str) -> bool {
        self.meetings
            .values()
            .any(|meeting| meeting.is_live() && meeting.voice_bridge == voice_bridge)
    }

    pub(super) fn insert(&mut self, meeting: Meeting) {
        let parent = meeting.breakout.as_ref().map(|breakout| breakout.parent_internal_id.clone());
        if let Some(parent) = parent.and_then(|id| self.meetings.get_mut(&id)) {
            parent.rooms.push(meeting.external_id.clone());
        }
        self.meetings.insert(meeting.internal_id.clone(), meeting);
    }

    /// Lets somebody in and opens a session for the browser that holds `cookie`. Gives the session's token and its cookie, and
    /// whether the cookie is new.
    pub(super) fn enter(
        &mut self,
        internal_id: &str,
        attendee: Attendee,
        cookie: Option<&str>,
    ) -> Option<Entered> {
        let meeting = self.meetings.get_mut(internal_id)?;
        let known =
            cookie.filter(|cookie| self.sessions.values().any(|session| session.cookie == *cookie));
        let is_new = known.is_none();
        let cookie = known.map_or_else(|| random_word(32).to_uppercase(), str::to_owned);
        let token = random_word(16);
        let session = Session {
            meeting: internal_id.to_owned(),
            internal_user_id: attendee.internal_user_id.clone(),
            user_name: attendee.full_name.clone(),
            cookie: cookie.clone(),
        };
        meeting.enter(attendee);
        self.sessions.insert(token.clone(), session);
        Some(Entered { token, cookie, is_new_cookie: is_new })
    }

    /// Closes a session; its participant leaves.
    pub(super) fn sign_out(&mut self, token: &str, now: Instant) {
        let Some(session) = self.sessions.remove(token) else { return };
        if let Some(meeting) = self.meetings.get_mut(&session.meeting) {
            meeting.leave(&session.internal_user_id, now);
        }
    }

    /// Fills a meeting with people who never used a browser: all of them speak, every third shows a camera.
    pub(super) fn add_attendees(&mut self, id: &str, count: usize) -> bool {
        let Some(internal_id) = self.find_live(id).map(|meeting| meeting.internal_id.clone())
        else {
            return false;
        };
        let Some(meeting) = self.meetings.get_mut(&internal_id) else { return false };
        for _ in 0..count {
            let number = meeting.attendees.len() + 1;
            let internal_user_id = user_id();
            meeting.enter(Attendee {
                user_id: internal_user_id.clone(),
                internal_user_id,
                full_name: format!("Attendee {number}"),
                role: Role::Viewer,
                presenter: false,
                voice: true,
                listening_only: false,
                video: number % 3 == 0,
                custom_data: Vec::new(),
            });
        }
        true
    }

    pub(super) fn remove_attendees(&mut self, id: &str, now: Instant) -> bool {
        let Some(internal_id) = self.find_live(id).map(|meeting| meeting.internal_id.clone())
        else {
            return false;
        };
        let Some(meeting) = self.meetings.get_mut(&internal_id) else { return false };
        meeting.attendees.clear();
        meeting.empty_since = Some(now);
        self.sessions.retain(|_, session| session.meeting != internal_id);
        true
    }

    /// Ends a meeting and its breakout rooms: everybody is out at once, the meetings stay visible for a while.
    /// Gives the meetings that ended, as they were at that moment.
    pub(super) fn end(
        &mut self,
        internal_id: &str,
        forcibly: bool,
        now: Instant,
        now_ms: u64,
    ) -> Vec<Meeting> {
        let is_meant = |meeting: &Meeting| {
            let parent =
                meeting.breakout.as_ref().map(|breakout| breakout.parent_internal_id.as_str());
            meeting.internal_id == internal_id || parent == Some(internal_id)
        };
        let mut ended = Vec::new();
        for meeting in
            self.meetings.values_mut().filter(|meeting| meeting.is_live() && is_meant(meeting))
        {
            meeting.ended = Some(Ended { at: now, at_ms: now_ms, forcibly });
            ended.push(meeting.clone());
            meeting.attendees.clear();
        }
        self.sessions.retain(|_, session| {
            !ended.iter().any(|meeting| meeting.internal_id == session.meeting)
        });
        ended
    }

    /// Ends what is due and forgets what ended longer than `linger` ago. Gives the meetings that ended now.
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        now_ms: u64,
        minute: Duration,
        linger: Duration,
    ) -> Vec<Meeting> {
        let due: Vec<String> = self
            .meetings
            .values()
            .filter(|meeting| meeting.is_due(now, minute))
            .map(|meeting| meeting.internal_id.clone())
            .collect();
        let ended =
            due.iter().flat_map(|internal_id| self.end(internal_id, false, now, now_ms)).collect();
        let is_gone = |meeting: &Meeting| {
            meeting.ended.is_some_and(|ended| now.duration_since(ended.at) >= linger)
        };
        for (_, meeting) in self.meetings.extract_if(.., |_, meeting| is_gone(meeting)) {
            if self.past.len() == PAST {
                self.past.pop_front();
            }
            self.past.push_back(meeting);
        }
        ended
    }

    /// Forgets meetings and sessions, live and gone.
    pub(super) fn forget_meetings(&mut self) {
        self.meetings.clear();
        self.past.clear();
        self.sessions.clear();
    }

    fn live_beginning_with(&self, prefix: &str) -> Option<&Meeting> {
        self.beginning_with(prefix).find(|meeting| meeting.is_live())
    }

    fn beginning_with<'w, 'p>(
        &'w self,
        prefix: &'p str,
    ) -> impl Iterator<Item = &'w Meeting> + use<'w, 'p> {
        self.meetings
            .range(prefix.to_owned()..)
            .take_while(move |(internal_id, _)| internal_id.starts_with(prefix))
            .map(|(_, meeting)| meeting)
    }
}

/// What a participant is given at the door.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) token: String,
    pub(super) cookie: String,
    pub(super) is_new_cookie: bool,
}

pub(super) fn sha1_hex(text: &str) -> String {
    hex::encode(Sha1::digest(text))
}

/// An internal user id.
pub(super) fn user_id() -> String {
    format!("w_{}", random_word(12))
}

/// Lower-case letters and digits.
pub(super) fn random_word(length: usize) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}
