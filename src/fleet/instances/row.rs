//! A meeting as instances tell each other of it.

use serde::{Deserialize, Serialize};

use super::event::Xml;
use crate::model::{Extent, Meeting, MeetingKey, NodeName};

/// A meeting without its element: whose it is, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose it is and what the front end calls it.
    pub key: MeetingKey,
    /// The node that runs it.
    pub node: NodeName,
    /// `meetingID` on the node.
    pub node_meeting_id: String,
    /// BigBlueButton's internal id.
    pub internal_id: String,
    /// When it was placed.
    pub created_at_ms: u64,
    /// For a breakout room, the internal id of its parent.
    #[serde(default)]
    pub parent_internal_id: Option<String>,
    /// How large it is to become, and has been; nothing where an older version tells.
    #[serde(default)]
    pub extent: Extent,
}

impl Row {
    /// The meeting, listed as in `xml`.
    pub fn into_meeting(self, xml: &Xml) -> Meeting {
        Meeting {
            key: self.key,
            node: self.node,
            node_meeting_id: self.node_meeting_id,
            internal_id: self.internal_id,
            created_at_ms: self.created_at_ms,
            parent_internal_id: self.parent_internal_id,
            extent: self.extent,
            xml: xml.bytes().into(),
        }
    }
}

impl From<Meeting> for (Row, Xml) {
    fn from(meeting: Meeting) -> Self {
        let xml = Xml::of(&meeting.xml);
        let row = Row {
            key: meeting.key,
            node: meeting.node,
            node_meeting_id: meeting.node_meeting_id,
            internal_id: meeting.internal_id,
            created_at_ms: meeting.created_at_ms,
            parent_internal_id: meeting.parent_internal_id,
            extent: meeting.extent,
        };
        (row, xml)
    }
}
