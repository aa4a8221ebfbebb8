//! One recording, and how it is printed.

use super::meeting::{Breakout, Meeting, print_pairs};
use super::world::sha1_hex;
use super::xml::Xml;

/// The formats every recording is published in, one after the other.
pub(super) const FORMATS: [&str; 2] = ["presentation", "video"];

/// Where its files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Published,
    Unpublished,
    /// Out of sight, but not gone.
    Deleted,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unpublished => "unpublished",
            Self::Deleted => "deleted",
        }
    }
}

/// Subtitles or captions that somebody has uploaded.
#[derive(Debug, Clone)]
pub(super) struct TextTrack {
    pub(super) kind: String,
    pub(super) lang: String,
    pub(super) label: String,
    pub(super) bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Recording {
    pub(super) record_id: String,
    pub(super) meeting_id: String,
    name: String,
    breakout: Option<Breakout>,
    /// Internal ids of its breakout rooms.
    rooms: Vec<String>,
    pub(super) state: State,
    pub(super) text_tracks: Vec<TextTrack>,
    start_ms: u64,
    end_ms: u64,
    pub(super) metadata: Vec<(String, String)>,
}

impl Recording {
    pub(super) fn of(meeting: &Meeting, rooms: Vec<String>, now_ms: u64) -> Self {
        let is_breakout = meeting.breakout.is_some();
        let mut metadata = vec![
            ("isBreakout".to_owned(), is_breakout.to_string()),
            ("meetingName".to_owned(), meeting.name.clone()),
        ];
        metadata.extend(meeting.metadata.iter().cloned());
        metadata.push(("meetingId".to_owned(), meeting.external_id.clone()));
        Self {
            record_id: meeting.internal_id.clone(),
            meeting_id: meeting.external_id.clone(),
            name: meeting.name.clone(),
            breakout: meeting.breakout.clone(),
            rooms,
            state: State::Published,
            text_tracks: Vec::new(),
            start_ms: meeting.created_ms,
            end_ms: meeting.ended.map_or(now_ms, |ended| ended.at_ms),
            metadata,
        }
    }

    /// One of a meeting that was there before the node was started.
    pub(super) fn of_old(meeting_id: &str, start_ms: u64) -> Self {
        let name = "An old meeting".to_owned();
        Self {
            record_id: format!("{}-{start_ms}", sha1_hex(meeting_id)),
            meeting_id: meeting_id.to_owned(),
            name: name.clone(),
            breakout: None,
            rooms: Vec::new(),
            state: State::Published,
            text_tracks: Vec::new(),
            start_ms,
            end_ms: start_ms + 3_600_000,
            metadata: vec![
                ("isBreakout".to_owned(), "false".to_owned()),
                ("meetingName".to_owned(), name),
                ("gl-listed".to_owned(), "false".to_owned()),
                ("meetingId".to_owned(), meeting_id.to_owned()),
            ],
        }
    }

    /// Whether it can be changed.
    pub(super) fn is_there(&self) -> bool {
        self.state != State::Deleted
    }

    /// A `<recording>`; `server` is where its playback links point.
    pub(super) fn print(&self, xml: &mut Xml, server: &str) {
        let id = &self.record_id;
        xml.open("recording")
            .text("recordID", id)
            .text("meetingID", &self.meeting_id)
            .text("internalMeetingID", id)
            .text("name", &self.name)
            .flag("isBreakout", self.breakout.is_some())
            .flag("published", self.state == State::Published)
            .text("state", self.state.as_str())
            .number("startTime", self.start_ms)
            .number("endTime", self.end_ms)
            .number("participants", 1_u64)
            .number("rawSize", 951_067_u64)
            .number("size", 1_104_836_u64);
        print_pairs(xml, "metadata", &self.metadata);
        if let Some(breakout) = &self.breakout {
            xml.open("breakout")
                .text("parentId", &breakout.parent_internal_id)
                .number("sequence", breakout.sequence)
                .flag("freeJoin", breakout.free_join)
                .close("breakout");
        }
        if !self.rooms.is_empty() {
            xml.open("breakoutRooms");
            for room in &self.rooms {
                xml.text("breakoutRoom", room);
            }
            xml.close("breakoutRooms");
        }
        xml.open("playback");
        for format in FORMATS {
            let url = match format {
                "presentation" => format!("{server}/playback/presentation/2.3/{id}"),
                other => format!("{server}/playback/{other}/{id}/"),
            };
            xml.open("format")
                .text("type", format)
                .text("url", &url)
                .number("processingTime", 7_177_u64)
                .number("length", self.end_ms.saturating_sub(self.start_ms) / 60_000)
                .number("size", 552_418_u64)
                .close("format");
        }
        xml.close("playback").close("recording");
    }
}
