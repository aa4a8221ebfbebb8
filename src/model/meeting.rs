//! A running meeting, as it is remembered.

use serde::{Deserialize, Serialize};

use super::{NodeName, Scope};

/// More attendees than any meeting has; beyond it, numbers are taken for mistakes.
pub const MOST_ATTENDEES: u32 = 100_000;

/// What a front end calls a meeting by: its scope and its own `meetingID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MeetingKey {
    /// Whose meeting it is.
    pub scope: Scope,
    /// The front end's own `meetingID`.
    pub id: String,
}

/// A running meeting: where it is and what it is called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    /// Whose it is and what the front end calls it.
    pub key: MeetingKey,
    /// The node that runs it.
    pub node: NodeName,
    /// `meetingID` on the node.
    pub node_meeting_id: String,
    /// BigBlueButton's internal id, `sha1(node_meeting_id)-createTime`; for a breakout room as created.
    pub internal_id: String,
    /// When we placed it, ms since 1970 by our clock.
    pub created_at_ms: u64,
    /// For a breakout room, the internal id of its parent.
    pub parent_internal_id: Option<String>,
    /// How large it is to become, and has been.
    pub extent: Extent,
    /// The `<meeting>` element for `getMeetings`, in the front end's words.
    pub xml: Box<[u8]>,
}

/// How large a meeting is to become, and has been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extent {
    /// Attendees that were expected at its fullest when it was placed, in thousandths; 0 where nobody knows.
    pub expected_thousandths: u32,
    /// Attendees at its fullest, as far as polls have counted.
    pub peak: u32,
}
