//! What a node says it has created.

use super::{Order, Trouble, new_meeting};
use crate::bbb::Answer;
use crate::fleet::{Node, identity, now_ms};
use crate::model::{Extent, Meeting, MeetingKey};

impl Order<'_> {
    /// The meeting that a node says it has created.
    ///
    /// # Errors
    /// When the answer is about another meeting: a node that mixes up its meetings, or lies.
    pub(super) fn meeting(&self, answer: &Answer, node: &Node) -> Result<Meeting, Trouble> {
        let text = |name| answer.text(name).map(std::borrow::Cow::into_owned).unwrap_or_default();
        let (meeting_id, internal_id) = (text("meetingID"), text("internalMeetingID"));
        let Self { key, params, node_meeting_id, parent, .. } = self;
        let mut shown = new_meeting(answer, params);
        let created_at_ms = now_ms();
        let node = node.name().clone();
        let Some(parent) = parent else {
            let is_ours = meeting_id == *node_meeting_id
                && identity::is_internal_id_of(&internal_id, &meeting_id);
            if !is_ours {
                return Err(Trouble::WrongMeeting);
            }
            identity::reword(&mut shown, key, None);
            return Ok(Meeting {
                key: key.clone(),
                node,
                node_meeting_id: meeting_id,
                internal_id,
                created_at_ms,
                parent_internal_id: None,
                extent: Extent::default(),
                xml: shown.to_vec().into(),
            });
        };
        if internal_id != *node_meeting_id || meeting_id.is_empty() {
            return Err(Trouble::WrongMeeting);
        }
        // The node has made up the id that a breakout room goes by.
        let own = MeetingKey { scope: key.scope.clone(), id: meeting_id };
        identity::reword(&mut shown, &own, Some(&key.id));
        Ok(Meeting {
            key: own,
            node,
            node_meeting_id: identity::breakout_alias(&key.scope, &key.id),
            internal_id,
            created_at_ms,
            parent_internal_id: Some(parent.internal_id().to_owned()),
            extent: Extent::default(),
            xml: shown.to_vec().into(),
        })
    }
}
