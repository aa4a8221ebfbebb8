//! The tree reads what it writes, and an outline says of a document what the tree says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_fuzz::bbb::xml::Edits;
use portico_fuzz::bbb::{Element, MeetingInfo, Outline};

const NAMES: [&str; 5] = ["meetingID", "internalMeetingID", "isBreakout", "a", "b"];

fuzz_target!(|bytes: &[u8]| {
    let outline = Outline::of(bytes);
    let Ok(mut tree) = Element::parse(bytes) else {
        assert!(outline.is_none());
        assert!(MeetingInfo::read(bytes).is_err());
        return;
    };
    let written = tree.to_vec();
    let again = Element::parse(&written).expect("what is written can be read");
    assert_eq!(again.to_vec(), written);

    let read = MeetingInfo::read(bytes).expect("the tree could");
    let by_tree = MeetingInfo::from_element(tree.clone());
    assert_eq!(read.meeting_id(), by_tree.meeting_id());
    assert_eq!(read.internal_id(), by_tree.internal_id());
    assert_eq!(read.participant_count(), by_tree.participant_count());
    assert_eq!(read.is_breakout(), by_tree.is_breakout());
    assert_eq!(read.parent_internal_id(), by_tree.parent_internal_id());
    assert_eq!(read.to_vec(), by_tree.to_vec());
    assert_eq!(read.into_element(), tree);

    let Some(outline) = outline else { return };
    assert_eq!(outline.bytes(), written);
    assert_eq!(outline.root(), tree.name.as_bytes());
    for name in NAMES {
        assert_eq!(outline.has(name), tree.child(name).is_some());
        if let Some(text) = outline.text(name) {
            assert_eq!(tree.child_text(name), Some(text));
        }
    }
    let mut edits = Edits::default();
    if outline.set_text("meetingID", "<&>", &mut edits).is_some() {
        tree.set_child_text("meetingID", "<&>");
        assert_eq!(outline.edited(edits), tree.to_vec());
    }
});
