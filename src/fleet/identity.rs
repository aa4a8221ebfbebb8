//! What a meeting is called on its node, and back.
//!
//! On the node a meeting is `{meetingID}@{scope}`, so two scopes never meet. The last `@` decides, so
//! whatever a front end puts into its id cannot reach into another scope.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::callback_urls;
use crate::bbb::xml::Edits;
use crate::bbb::{Element, MeetingInfo, Outline};
use crate::model::{MeetingIds, MeetingKey, Scope, SubId};

/// The longest `meetingID` that BigBlueButton takes, in characters (bbb-web's validation).
pub const MAX_MEETING_ID_CHARS: usize = 256;

/// Stands before a digest that stands in for an id.
const DIGEST: &str = "sha256-";

/// What `id` of `scope` is called on a node.
///
/// Where `{id}@{scope}` would be too long, a digest stands in for the id; the directory remembers. With
/// plain ids, one that could be read as another scope's is scoped all the same, and so are those of other
/// secrets than the main one.
pub fn node_meeting_id(scope: &Scope, ids: MeetingIds, id: &str) -> String {
    if ids == MeetingIds::Plain && scope.sub == SubId::MAIN && owner(id).is_none() {
        return id.to_owned();
    }
    let scoped = scoped(scope, id);
    if scoped.chars().count() <= MAX_MEETING_ID_CHARS {
        return scoped;
    }
    format!("{}@{scope}", digest(id))
}

/// What stands in for an id that is too long for a node.
pub fn digest(id: &str) -> String {
    format!("{DIGEST}{}", hex::encode(Sha256::digest(id)))
}

/// `{id}@{scope}`.
pub(super) fn scoped(scope: &Scope, id: &str) -> String {
    let tenant = scope.tenant.as_str();
    let mut scoped = String::with_capacity(id.len() + tenant.len() + "@-999".len());
    scoped.push_str(id);
    scoped.push('@');
    scoped.push_str(tenant);
    if scope.sub != SubId::MAIN {
        scoped.extend(["-", &scope.sub.to_string()]);
    }
    scoped
}

/// The internal id of a breakout room that a front end creates as `id` under this parent.
///
/// A node takes the `meetingID` of such a create for the internal id, and finds meetings by any beginning
/// of their internal id. So it must not begin with anything a front end can choose: it has the shape of
/// those that nodes make, from the scoped id and the parent's time.
pub fn breakout_internal_id(scope: &Scope, id: &str, parent_internal_id: &str) -> String {
    let digest = Sha1::digest(format!("{} {parent_internal_id}", scoped(scope, id)));
    let time = parent_internal_id.rsplit_once('-').map_or("0", |(_, time)| time);
    format!("{}-{time}", hex::encode(digest))
}

/// What a breakout room is remembered as, for calls by the id it was created with.
pub fn breakout_alias(scope: &Scope, id: &str) -> String {
    scoped(scope, id)
}

/// Whether a digest stands in for the front end's id.
pub fn is_digest(id: &str) -> bool {
    id.strip_prefix(DIGEST).is_some_and(|hex| hex.len() == 64)
}

/// Whose meeting a node's id names, and what its owner calls it, unless a digest stands in.
pub fn owner(node_meeting_id: &str) -> Option<(Scope, &str)> {
    let (id, scope) = node_meeting_id.rsplit_once('@')?;
    Some((Scope::parse(scope)?, id))
}

/// A node's id in the words of its owner: without the scope. Other texts stay as they are.
pub fn front_id<'a>(scope: &Scope, node_id: &'a str) -> &'a str {
    match owner(node_id) {
        Some((owner, id)) if owner == *scope => id,
        _ => node_id,
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
/// into the words of its owner. `created_as` is what a breakout room was created as: its owner takes
/// that for the internal id.
pub fn reword(meeting: &mut Element, key: &MeetingKey, created_as: Option<&str>) {
    meeting.set_child_text("meetingID", &key.id);
    if let Some(id) = created_as {
        meeting.set_child_text("internalMeetingID", id);
    }
    callback_urls::restore(meeting);
    if let Some(rooms) = meeting.child_mut("breakoutRooms") {
        for room in rooms.elements_mut().filter(|room| room.name == "breakout") {
            let id = front_id(&key.scope, &room.text()).to_owned();
            room.set_text(&id);
        }
    }
}

/// The same for a plain answer, in place; `None` where [`reword`] has to do it.
pub fn reword_in_place(
    meeting: &Outline<'_>,
    key: &MeetingKey,
    created_as: Option<&str>,
) -> Option<Vec<u8>> {
    let mut edits = Edits::default();
    meeting.set_text("meetingID", &key.id, &mut edits)?;
    if let Some(id) = created_as {
        meeting.set_text("internalMeetingID", id, &mut edits)?;
    }
    let front_id = |id: &str| front_id(&key.scope, id).to_owned();
    meeting.map_texts("breakoutRooms", "breakout", &mut edits, front_id)?;
    callback_urls::restore_in_place(meeting, &mut edits)?;
    Some(meeting.edited(edits))
}

/// A meeting of a node's list in the words of its owner, by the shorter way where there is one.
pub fn reworded(meeting: MeetingInfo<'_>, key: &MeetingKey, created_as: Option<&str>) -> Vec<u8> {
    let in_place = meeting.outline();
    if let Some(xml) = in_place.and_then(|outline| reword_in_place(outline, key, created_as)) {
        return xml;
    }
    let mut meeting = meeting.into_element();
    reword(&mut meeting, key, created_as);
    meeting.to_vec()
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
        assert_eq!(on_node.len(), "sha256-".len() + 64 + "@acme".len());
        assert!(is_digest(owner(&on_node).expect("scoped").1));
        let longest = "x".repeat(256 - "@acme".len());
        let on_node = node_meeting_id(&scope("acme"), MeetingIds::Scoped, &longest);
        assert_eq!(on_node.chars().count(), 256);
    }

    #[test]
    fn no_breakout_room_begins_with_what_a_front_end_can_choose() {
        let parent = "640ab2bae07bedc4c163f679a746f7ab7fb5d1fa-1531155809613";
        let id = breakout_internal_id(&scope("acme"), "b1", parent);
        assert_eq!((id.len(), id.split_once('-').map(|(_, t)| t)), (54, Some("1531155809613")));
        assert_ne!(id, breakout_internal_id(&scope("acme-1"), "b1", parent));
        assert_ne!(id, breakout_internal_id(&scope("acme"), "b1", "other-1531155809613"));
    }

    #[test]
    fn the_front_end_gets_its_own_id_back() {
        assert_eq!(front_id(&scope("acme"), "room@acme"), "room");
        assert_eq!(front_id(&scope("acme"), "room@other"), "room@other");
        assert_eq!(front_id(&scope("acme"), "bbb-none"), "bbb-none");
    }

    #[test]
    fn in_place_a_meeting_is_reworded_as_in_a_tree() {
        let xml =
            b"<response><meetingID>room@acme</meetingID><internalMeetingID>1-2</internalMeetingID>\
            <breakoutRooms><breakout>b@acme</breakout><breakout>c@other</breakout></breakoutRooms>\
            </response>";
        let key = MeetingKey { scope: scope("acme"), id: "r&m".into() };
        let outline = Outline::of(xml).expect("plain");
        for created_as in [None, Some("b1")] {
            let mut tree = Element::parse(xml).expect("XML");
            reword(&mut tree, &key, created_as);
            assert_eq!(reword_in_place(&outline, &key, created_as), Some(tree.to_vec()));
        }
    }

    #[test]
    fn a_listed_meeting_is_reworded_the_same_with_and_without_a_tree() {
        let key = MeetingKey { scope: scope("acme"), id: "r&m".into() };
        for children in [
            "<meetingID>room@acme</meetingID><internalMeetingID>1-2</internalMeetingID>",
            "<meetingID>room@acme</meetingID><breakoutRooms>\n<breakout>b@acme</breakout>\n</breakoutRooms>",
            "<meetingName>A &lt; ü</meetingName><meetingID></meetingID><internalMeetingID/>",
            "<meetingID/><attendees><attendee><userID>1</userID></attendee></attendees>",
            "<meetingName>no id</meetingName>",
            "<meetingID>room@acme</meetingID><breakoutRooms><breakout><x/>b@acme</breakout></breakoutRooms>",
            "<meetingID>b</meetingID><isBreakout>true</isBreakout><internalMeetingID>1</internalMeetingID>",
            "<meetingID><![CDATA[room]]></meetingID><a b='c'/>",
        ] {
            let xml = format!("<meeting>{children}</meeting>");
            for created_as in [None, Some("b<1")] {
                let mut tree = Element::parse(xml.as_bytes()).expect("XML");
                reword(&mut tree, &key, created_as);
                let meeting = MeetingInfo::read(xml.as_bytes()).expect("XML");
                assert_eq!(reworded(meeting, &key, created_as), tree.to_vec(), "{xml}");
            }
        }
    }
}
