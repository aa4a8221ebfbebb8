//! What a meeting is called on its node, and back.
//!
//! On the node a meeting is `{meetingID}@{scope}`, so two scopes never meet. The last `@` decides, so
//! whatever a front end puts into its id cannot reach into another scope.

use std::borrow::Cow;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::bbb::Element;
use crate::model::{MeetingIds, MeetingKey, Scope, SubId};

/// The longest `meetingID` that BigBlueButton takes, in characters (bbb-web's validation).
pub const MAX_MEETING_ID_CHARS: usize = 256;

/// What `id` of `scope` is called on a node.
///
/// Where `{id}@{scope}` would be too long, a digest stands in for the id; the directory remembers. With
/// plain ids, one that could be read as another scope's is scoped all the same, and so are those of other
/// secrets than the main one.
pub fn node_meeting_id(scope: &Scope, ids: MeetingIds, id: &str) -> String {
    if ids == MeetingIds::Plain && scope.sub == SubId::MAIN && owner(id).is_none() {
        return id.to_owned();
    }
    let scoped = format!("{id}@{scope}");
    if scoped.chars().count() <= MAX_MEETING_ID_CHARS {
        return scoped;
    }
    format!("{}@{scope}", hex::encode(Sha256::digest(id)))
}

/// Whose meeting a node's id names, and what its owner calls it, unless a digest stands in.
pub fn owner(node_meeting_id: &str) -> Option<(Scope, &str)> {
    let (id, scope) = node_meeting_id.rsplit_once('@')?;
    Some((Scope::parse(scope)?, id))
}

/// A node's id in the words of its owner: without the scope. Other texts stay as they are.
pub fn front_id<'a>(scope: &Scope, node_id: &'a str) -> Cow<'a, str> {
    match owner(node_id) {
        Some((owner, id)) if owner == *scope => Cow::Borrowed(id),
        _ => Cow::Borrowed(node_id),
    }
}

/// Whether a node can have given this internal id to a meeting of this id: bbb-web makes it of the sha1
/// of the id and the time of creation.
pub fn is_internal_id_of(internal_id: &str, node_meeting_id: &str) -> bool {
    let Some((digest, time)) = internal_id.split_once('-') else { return false };
    !time.is_empty()
        && time.bytes().all(|byte| byte.is_ascii_digit())
        && digest.eq_ignore_ascii_case(&hex::encode(Sha1::digest(node_meeting_id)))
}

/// Puts a meeting as its node shows it (`<meeting>`, or the `<response>` of `getMeetingInfo` or `create`)
/// into the words of its owner.
pub fn reword(meeting: &mut Element, key: &MeetingKey) {
    meeting.set_child_text("meetingID", &key.id);
    for name in ["internalMeetingID", "parentMeetingID"] {
        if let Some(id) = meeting.child_text(name) {
            let id = front_id(&key.scope, &id).into_owned();
            meeting.set_child_text(name, &id);
        }
    }
    if let Some(rooms) = meeting.child_mut("breakoutRooms") {
        for room in rooms.elements_mut().filter(|room| room.name == "breakout") {
            let id = front_id(&key.scope, &room.text()).into_owned();
            room.set_text(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).expect("a scope")
    }

    #[test]
    fn scopes_never_meet_on_a_node() {
        let ids = MeetingIds::Scoped;
        assert_eq!(node_meeting_id(&scope("acme"), ids, "room"), "room@acme");
        assert_eq!(node_meeting_id(&scope("acme-5"), ids, "room"), "room@acme-5");
        // An id that imitates another scope stays with its owner.
        let imitation = node_meeting_id(&scope("evil"), ids, "room@acme");
        assert_eq!(owner(&imitation), Some((scope("evil"), "room@acme")));
    }

    #[test]
    fn a_plain_id_cannot_imitate_a_scope() {
        assert_eq!(node_meeting_id(&scope("old"), MeetingIds::Plain, "room"), "room");
        assert_eq!(node_meeting_id(&scope("old"), MeetingIds::Plain, "room@acme"), "room@acme@old");
        assert_eq!(node_meeting_id(&scope("old-5"), MeetingIds::Plain, "room"), "room@old-5");
    }

    #[test]
    fn a_long_id_is_stood_in_for_by_a_digest() {
        let long = "ü".repeat(255);
        let on_node = node_meeting_id(&scope("acme"), MeetingIds::Scoped, &long);
        assert_eq!(on_node.len(), 64 + "@acme".len());
        let longest = "x".repeat(256 - "@acme".len());
        let on_node = node_meeting_id(&scope("acme"), MeetingIds::Scoped, &longest);
        assert_eq!(on_node.chars().count(), 256);
    }

    #[test]
    fn the_front_end_gets_its_own_id_back() {
        assert_eq!(front_id(&scope("acme"), "room@acme"), "room");
        assert_eq!(front_id(&scope("acme"), "room@other"), "room@other");
        assert_eq!(front_id(&scope("acme"), "bbb-none"), "bbb-none");
    }
}
