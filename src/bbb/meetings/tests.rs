//! However the bytes are cut, the same meetings come out, and bad bytes do no harm.

use proptest::prelude::*;

use super::*;
use crate::bbb::xml::soup;
use crate::bbb::{Element, Failure};

/// The meetings found, and how it ended.
fn read<'c>(
    chunks: impl IntoIterator<Item = &'c [u8]>,
    max_meeting_bytes: usize,
) -> (Vec<Element>, Result<(), ListError>) {
    let mut parser = MeetingsParser::new(max_meeting_bytes);
    let mut found = Vec::new();
    for chunk in chunks {
        if let Err(error) = parser.push(chunk, &mut |meeting| found.push(meeting.into_element())) {
            assert!(parser.push(b"<response>", &mut |_| panic!("broken")).is_err());
            assert!(parser.finish().is_err());
            return (found, Err(error.into()));
        }
    }
    (found, parser.finish())
}

fn read_whole(xml: &str) -> (Vec<String>, Result<(), ListError>) {
    let (found, result) = read([xml.as_bytes()], 1000);
    let id = |meeting: &Element| meeting.child_text("meetingID").unwrap_or_default().into_owned();
    (found.iter().map(id).collect(), result)
}

fn response(inside: &str) -> String {
    format!("<response><returncode>SUCCESS</returncode>{inside}</response>")
}

fn meetings(inside: &str) -> String {
    response(&format!("<meetings>{inside}</meetings>"))
}

#[test]
fn meetings_come_out_as_soon_as_they_are_complete() {
    let mut parser = MeetingsParser::new(100);
    let mut found = 0;
    let xml = meetings("<meeting><meetingID>a</meetingID></meeting><meeting></meeting>");
    let (first, rest) = xml.split_at(xml.find("</meeting>").unwrap() + "</meeting>".len());
    parser.push(first.as_bytes(), &mut |_| found += 1).unwrap();
    assert_eq!(found, 1);
    parser.push(rest.as_bytes(), &mut |_| found += 1).unwrap();
    assert_eq!(found, 2);
    assert_eq!(parser.finish(), Ok(()));
}

#[test]
fn no_meetings_are_an_answer() {
    for xml in [
        response("<meetings/><messageKey>noMeetings</messageKey><message>no meetings …</message>"),
        response("<meetings></meetings>"),
        response(""),
        "\u{feff}<?xml version=\"1.0\"?>\n<!-- x -->".to_owned()
            + &response("\n <meetings/>\n")
            + "\n",
        "<response><meetings/><returncode>SUCCESS</returncode></response>".to_owned(),
    ] {
        assert_eq!(read_whole(&xml), (vec![], Ok(())), "{xml}");
    }
}

#[test]
fn markup_within_a_meeting_does_not_end_it() {
    let (found, result) = read_whole(&meetings(
        "<meeting><!-- </meeting> --><n><![CDATA[</meeting>]]]]></n><n a='</meeting>' b=\"/>\"/><meeting/>\
         <?x </meeting>?><meetingID>a&gt;</meetingID></meeting><other/>\n<meeting/>",
    ));
    assert_eq!((found, result), (vec!["a>".to_owned(), String::new()], Ok(())));
}

#[test]
fn a_failure_tells_its_reason() {
    let failed = |inside: &str| {
        read_whole(&format!("<response><returncode>FAILED</returncode>{inside}</response>")).1
    };
    let key = "<key>x</key><message>y</message>";
    for inside in [
        "<messageKey>x</messageKey><message>y</message>",
        &format!("<errors><error>{key}</error></errors>"),
    ] {
        assert_eq!(failed(inside), Err(ListError::Failed(Failure::new("x", "y"))));
    }
    assert_eq!(failed(""), Err(ListError::Failed(Failure::new("", ""))));
}

#[test]
fn an_incomplete_answer_is_none() {
    let xml = meetings("<meeting><meetingID>a</meetingID></meeting>");
    for end in 0..xml.len() {
        let (part, _) = xml.split_at(end);
        let (_, result) = read_whole(part);
        assert_eq!(result, Err(ListError::Xml(Error::Truncated)), "{part}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    for xml in [
        "<html><body>502</body></html>".to_owned(),
        "Bad Gateway".to_owned(),
        "{\"response\":{}}".to_owned(),
        "<!DOCTYPE html><html></html>".to_owned(),
        "<response/>".to_owned(),
        "<response></response>".to_owned(),
        response("<meetings></response>"),
        response("</meetings>"),
        response("text"),
        response("<![CDATA[x]]>"),
        response("") + "<response>",
        response("") + "x",
        response("") + "<!--",
        meetings("<meeting><a></b></meeting>"),
        meetings("<meeting>&x;</meeting>"),
        meetings("text"),
        meetings("<!ELEMENT>"),
        meetings("<>"),
    ] {
        assert!(read_whole(&xml).1.is_err(), "{xml}");
    }
}

#[test]
fn memory_is_bounded_by_one_meeting() {
    let too_large = Err(ListError::Xml(Error::TooLarge));
    let endless = "<a>".repeat(400);
    assert_eq!(read_whole(&meetings(&format!("<meeting>{endless}"))).1, too_large);
    assert_eq!(read_whole(&meetings(&format!("<meeting a='{}", "x".repeat(1000)))).1, too_large);
    assert_eq!(read_whole(&format!("<!--{}", "x".repeat(1000))).1, too_large);
    assert_eq!(read_whole(&response(&"<a>b</a>".repeat(200))).1, too_large);
    let many = meetings(&"<meeting></meeting>".repeat(500));
    let (found, result) = read(many.as_bytes().chunks(7), 100);
    assert_eq!((found.len(), result), (500, Ok(())));
    let mut parser = MeetingsParser::new(1000);
    parser.push(many.as_bytes(), &mut |_| {}).unwrap();
    assert!(parser.0.held_bytes() <= 2000);
}

/// A document of meetings with everything in them that might confuse where they end.
fn document() -> impl Strategy<Value = String> {
    let content = prop::sample::select(&[
        "<meetingID>a</meetingID>",
        "<name>&lt;/meeting&gt; ü</name>",
        "<![CDATA[</meeting>]]]]>",
        "<!-- </meeting> - -->",
        "<a b=\"</meeting>\" c='>'/>",
        "<meeting><meeting/></meeting>",
        "<?x </meeting> ?>",
        "\n  ",
        "1,000",
    ]);
    let meeting = prop::collection::vec(content, 0..6)
        .prop_map(|content| format!("<meeting>{}</meeting>\n", content.concat()));
    prop::collection::vec(meeting, 0..5).prop_map(|inside| meetings(&inside.concat()))
}

/// The bytes in chunks that end at the given places.
fn cut<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_meetings(
        xml in document(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = Element::parse(xml.as_bytes()).unwrap();
        let whole: Vec<_> = whole.child("meetings").unwrap().children_named("meeting").cloned().collect();
        for chunks in [cut(xml.as_bytes(), &cuts), xml.as_bytes().chunks(1).collect()] {
            let (found, result) = read(chunks, 1000);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(&found, &whole);
        }
    }

    #[test]
    fn any_chunking_of_broken_xml_gives_the_same(
        prefix in prop::sample::select(&["", "<response>", "<response><returncode>SUCCESS</returncode><meetings>"]),
        bytes in soup(),
        limit in 30_usize..300,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = [prefix.as_bytes(), &bytes].concat();
        // Of a piece that is both wrong and too large, the cuts decide which is seen first.
        let read = |chunks: Vec<&[u8]>| {
            let (found, result) = read(chunks, limit);
            (found, result.map_err(|_wrong_or_too_large| ()))
        };
        let whole = read(vec![bytes.as_slice()]);
        prop_assert_eq!(&read(cut(&bytes, &cuts)), &whole);
        prop_assert_eq!(&read(bytes.chunks(1).collect()), &whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
        let (found, result) = read([bytes.as_slice()], 100);
        prop_assert!(found.is_empty() && result.is_err());
    }
}
