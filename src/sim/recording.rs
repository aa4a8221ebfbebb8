//! One recording, and how it is printed.

use super::meeting::{Meeting, print_pairs};
use super::xml::Xml;

/// The formats every recording is published in, one after the other.
pub(super) const FORMATS: [&str; 2] = ["presentation", "video"];

#[derive(Debug, Clone)]
pub(super) struct Recording {
    pub(super) record_id: String,
    pub(super) meeting_id: String,
    name: String,
    is_breakout: bool,
    pub(super) published: bool,
    start_ms: u64,
    end_ms: u64,
    pub(super) metadata: Vec<(String, String)>,
}

impl Recording {
    pub(super) fn of(meeting: &Meeting, now_ms: u64) -> Self {
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
            is_breakout,
            published: true,
            start_ms: meeting.created_ms,
            end_ms: meeting.ended.map_or(now_ms, |ended| ended.at_ms),
            metadata,
        }
    }

    pub(super) fn state(&self) -> &'static str {
        if self.published { "published" } else { "unpublished" }
    }

    /// A `<recording>`; `server` is where its playback links point.
    pub(super) fn print(&self, xml: &mut Xml, server: &str) {
        let id = &self.record_id;
        xml.open("recording")
            .text("recordID", id)
            .text("meetingID", &self.meeting_id)
            .text("internalMeetingID", id)
            .text("name", &self.name)
            .flag("isBreakout", self.is_breakout)
            .flag("published", self.published)
            .text("state", self.state())
            .number("startTime", self.start_ms)
            .number("endTime", self.end_ms)
            .number("participants", 1_u64)
            .number("rawSize", 951_067_u64)
            .number("size", 1_104_836_u64);
        print_pairs(xml, "metadata", &self.metadata);
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
