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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;

    #[test]
    fn what_is_expected_of_a_meeting_is_told_and_an_older_version_tells_nothing() {
        let row = Row {
            key: MeetingKey { scope: Scope::parse("acme-5").unwrap(), id: "room".into() },
            node: NodeName::new("bbb01"),
            node_meeting_id: "room@acme-5".into(),
            internal_id: "abc-1".into(),
            created_at_ms: 5,
            parent_internal_id: None,
            extent: Extent { expected_thousandths: 150_000, peak: 60 },
        };
        let mut told = serde_json::to_value(&row).unwrap();
        assert_eq!(serde_json::from_value::<Row>(told.clone()).unwrap(), row);
        told.as_object_mut().unwrap().remove("extent");
        let older = serde_json::from_value::<Row>(told.clone()).unwrap();
        assert_eq!(older, Row { extent: Extent::default(), ..row.clone() });
        // A later version may tell more, or less.
        told["extent"] = serde_json::json!({"peak": 60, "shape": "round"});
        let later = serde_json::from_value::<Row>(told).unwrap().extent;
        assert_eq!(later, Extent { expected_thousandths: 0, ..row.extent });
    }
}
