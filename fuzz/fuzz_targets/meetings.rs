//! However a list of meetings is cut, the same ones come out, and they are those of the tree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_fuzz::bbb::{Element, MeetingsParser};

const MAX_MEETING_BYTES: usize = 4096;

/// The meetings, and whether the list was complete.
fn read<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<Element>, bool) {
    let mut parser = MeetingsParser::new(MAX_MEETING_BYTES);
    let mut found = Vec::new();
    for chunk in chunks {
        if parser.push(chunk, &mut |meeting| found.push(meeting.into_element())).is_err() {
            return (found, false);
        }
    }
    (found, parser.finish().is_ok())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = read([bytes]);
    assert_eq!(read(bytes.chunks(usize::from(size) + 1)), whole);
    let (found, is_complete) = whole;
    if let (true, Ok(tree)) = (is_complete, Element::parse(bytes)) {
        let lists = tree.children_named("meetings");
        let meetings: Vec<_> = lists.flat_map(|list| list.children_named("meeting")).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), meetings);
    }
});
