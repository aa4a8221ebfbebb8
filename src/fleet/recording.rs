//! Whose a recording on a node is, and how it is put into its owner's words.
//!
//! A recording names the meeting it was made of as its node has called it, so the rules are those of
//! [`identity`]: the scope behind the last `@` is its owner.

use super::{Snapshot, callback_urls, identity};
use crate::bbb::Element;
use crate::model::{MeetingKey, SubId};

/// Whose a `<recording>` is and what its owner calls the meeting; a digest where one stands in for the id.
///
/// `None` for a recording of nobody we know, and for those of breakout rooms: a node makes up their ids, which
/// name no scope. Such a one is whose its [`parent`] is.
pub fn owner(snapshot: &Snapshot, recording: &Element) -> Option<MeetingKey> {
    // Of a breakout room the node makes up both ids, so that one fits the other, too.
    let is_breakout = recording.child_text("isBreakout").is_some_and(|is| is.trim() == "true");
    if is_breakout || parent(recording).is_some() {
        return None;
    }
    let record_id = recording.child_text("recordID")?;
    let on_node = meeting_id(recording)?;
    // A node makes the one of the other. What a front end may write into a recording does not do that.
    if !identity::is_internal_id_of(record_id.trim(), &on_node) {
        return None;
    }
    if let Some((scope, id)) = identity::owner(&on_node) {
        let tenant = &snapshot.tenant(scope.tenant.as_str())?.tenant;
        return Some(MeetingKey { id: id.to_owned(), scope: tenant.scope(scope.sub) });
    }
    let tenant = &snapshot.plain_tenant()?.tenant;
    Some(MeetingKey { id: on_node, scope: tenant.scope(SubId::MAIN) })
}

/// For the recording of a breakout room, the recording of the meeting whose room it was. A node alone writes that.
pub fn parent(recording: &Element) -> Option<Box<str>> {
    let parent = recording.child("breakout")?.child_text("parentId")?;
    Some(parent.trim()).filter(|id| !id.is_empty()).map(Into::into)
}

/// Puts a recording into the words of its owner, who calls the meeting `id`.
pub fn reword(recording: &mut Element, id: &str) {
    if let Some(meeting_id) = recording.child_mut("meetingID") {
        meeting_id.set_text(id);
    }
    if let Some(meeting_id) =
        recording.child_mut("metadata").and_then(|metadata| metadata.child_mut("meetingId"))
    {
        meeting_id.set_text(id);
    }
    callback_urls::restore(recording);
}

/// What the node calls the meeting. The list of a video alone may lack the element; the node writes the same
/// into the metadata.
fn meeting_id(recording: &Element) -> Option<String> {
    let own = recording.child_text("meetingID").filter(|id| !id.is_empty());
    let id = own.or_else(|| recording.child("metadata")?.child_text("meetingId"))?;
    Some(id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(id: &str, of: &str, metadata: &str) -> Element {
        let xml = format!(
            "<recording><recordID>{id}</recordID><meetingID>{of}</meetingID><x/>\
             <metadata><meetingId>{metadata}</meetingId><meetingid>mine</meetingid></metadata></recording>"
        );
        Element::parse(xml.as_bytes()).expect("XML")
    }

    #[test]
    fn both_places_get_the_owners_id_and_nothing_else_changes() {
        let mut recording = recording("1-2", "room@acme", "room@acme");
        reword(&mut recording, "r & m");
        let xml = String::from_utf8(recording.to_vec()).expect("UTF-8");
        assert_eq!(
            xml,
            "<recording><recordID>1-2</recordID><meetingID>r &amp; m</meetingID><x/><metadata>\
             <meetingId>r &amp; m</meetingId><meetingid>mine</meetingid></metadata></recording>"
        );
    }

    #[test]
    fn what_no_tenant_owns_is_nobodys() {
        let snapshot = Snapshot::default();
        for (id, of, metadata) in [
            ("1-2", "room@acme", "room@acme"),
            // sha1 of room@acme, but there is no such tenant.
            ("c9ec4ae3c0a29ad0ef7c42e0be3fd5d28a9a7a1b-1", "room@acme", ""),
            ("", "", ""),
        ] {
            assert_eq!(owner(&snapshot, &recording(id, of, metadata)), None);
        }
    }
}
