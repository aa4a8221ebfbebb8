//! Reading and writing together: what comes in goes out, and nothing that comes in does harm.

use proptest::prelude::*;

use super::*;

fn parse(xml: &str) -> Result<Element, Error> {
    Element::parse(xml.as_bytes())
}

#[test]
fn what_bigbluebutton_sends_is_written_as_it_came() {
    for xml in [
        "<response><returncode>SUCCESS</returncode><meetings/><messageKey></messageKey></response>",
        "<response>\n  <a>&lt;b&gt; &amp; \"c\" 'd'</a>\n</response>",
        "<hook><callbackURL><![CDATA[https://x/?a=1&b=<2>]]></callbackURL><e><![CDATA[]]></e></hook>",
        r#"<images><image width="176" alt="a &quot;b&quot; &lt;c&gt;">https://x/1.png</image></images>"#,
        "<a xmlns:x=\"urn:x\"><x:b>ünïcødé 😀</x:b></a>",
        "<metadata><bbb-origin>a&#13;\nb</bbb-origin><customdata><1x></1x></customdata></metadata>",
    ] {
        let element = parse(xml).unwrap();
        assert_eq!(String::from_utf8(element.to_vec()).unwrap(), xml);
    }
}

#[test]
fn what_surrounds_the_root_is_dropped() {
    let xml =
        "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x --><a>b<!-- y -->c<?d?></a>\n";
    assert_eq!(parse(xml), Ok(Element::with_text("a", "bc")));
}

#[test]
fn entities_are_decoded() {
    let element = parse("<a b='&apos;&#x41;'>&lt;&#65;&#x1F600;&quot;&amp;amp;</a>").unwrap();
    assert_eq!(element.attribute("b"), Some("'A"));
    assert_eq!(element.text(), "<A😀\"&amp;");
    assert!(matches!(element.text(), Cow::Borrowed(_)), "text grows together");
}

#[test]
fn forbidden_characters_are_dropped() {
    let element = parse("<a b='\u{1}x'>\u{8}y&#7;z<![CDATA[\u{c}]]></a>").unwrap();
    assert_eq!(element.to_vec(), b"<a b=\"x\">yz<![CDATA[]]></a>");
    assert_eq!(Element::with_text("a", "\u{0}b\u{ffff}").to_vec(), b"<a>b</a>");
}

#[test]
fn a_cdata_section_cannot_be_broken_out_of() {
    let mut element = Element::new("a");
    element.children.push(Child::CData("]]><b/>]]>".into()));
    let read = Element::parse(&element.to_vec()).unwrap();
    assert_eq!(read.text(), "]]><b/>]]>");
    assert_eq!(read.elements().count(), 0);
}

#[test]
fn children_are_found_and_changed() {
    let mut element = parse("<r>\n<a>1</a><b/><a>2</a></r>").unwrap();
    assert_eq!(element.child_text("a").as_deref(), Some("1"));
    assert_eq!(element.child_text("c"), None);
    assert_eq!(element.children_named("a").map(Element::text).collect::<Vec<_>>(), ["1", "2"]);
    element.set_child_text("a", "<3>");
    element.set_child_text("b", "x");
    element.set_child_text("c", "");
    assert_eq!(element.to_vec(), b"<r>\n<a>&lt;3&gt;</a><b>x</b><a>2</a><c></c></r>");
    assert!(element.remove_child("a"));
    assert!(!element.remove_child("a"));
    assert_eq!(element.to_vec(), b"<r>\n<b>x</b><c></c></r>");
    assert_eq!(Element::collapsed("meetings").to_vec(), b"<meetings/>");
}

#[test]
fn what_is_no_element_is_refused() {
    for (xml, expected) in [
        ("", Error::Truncated),
        (" \n", Error::Truncated),
        ("<a><b></b>", Error::Truncated),
        ("<!DOCTYPE a><a/>", Error::Doctype),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", Error::Doctype),
    ] {
        assert_eq!(parse(xml), Err(expected), "{xml}");
    }
    for xml in [
        "text",
        "<a>",
        "<a/><b/>",
        "<a/>text",
        "<a></b>",
        "</a>",
        "<a>&unknown;</a>",
        "<a>&</a>",
        "<a>&#0;</a>",
        "<a b=1/>",
        "<a b/>",
        "<a b='&c;'/>",
        "<>x</>",
        "<a<b></a<b>",
        "<!DOCTYPE html><html><body>502 Bad Gateway<hr></body></html>",
    ] {
        assert!(parse(xml).is_err(), "{xml}");
    }
    assert!(Element::parse(b"<a>\xff</a>").is_err());
}

#[test]
fn size_and_depth_are_bounded() {
    let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert!(parse(&nested(64)).is_ok());
    assert_eq!(parse(&nested(65)), Err(Error::TooDeep));
    assert_eq!(parse(&format!("<a>{}</a>", "<b/>".repeat(500_000))), Err(Error::TooLarge));
    assert_eq!(Element::parse(&vec![b' '; 33 * 1024 * 1024]), Err(Error::TooLarge));
    assert_eq!(parse(&format!("<a{}/>", " b=''".repeat(65))), Err(Error::TooLarge));
}

/// Text that has a way through XML: no forbidden characters. Line breaks and quotes are frequent in it.
fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(&['\r', '\n', '\t', '<', '>', '&', '"', '\'', ']', ' ', ';']);
    let c = prop_oneof![odd, any::<char>().prop_filter("legal", |c| is_legal(*c))];
    prop::collection::vec(c, 1..12).prop_map(String::from_iter)
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_-]{0,8}"
}

fn element() -> impl Strategy<Value = Element> {
    let leaf =
        (name(), prop::option::of(text()), any::<bool>()).prop_map(|(name, text, collapsed)| {
            let mut element =
                Element { collapsed: collapsed && text.is_none(), ..Element::new(name) };
            element.children.extend(text.map(Child::Text));
            element
        });
    leaf.prop_recursive(5, 40, 6, |inner| {
        // A section ends at its first end mark, so there is none in it, and its line breaks are folded by every reader.
        let cdata = text().prop_map(|text| text.replace(['>', '\r'], ""));
        let child = prop_oneof![
            3 => inner.prop_map(Child::Element),
            1 => text().prop_map(Child::Text),
            1 => cdata.prop_map(Child::CData),
        ];
        let attributes = prop::collection::vec((name(), text()), 0..3);
        (name(), attributes, prop::collection::vec(child, 1..6)).prop_map(
            |(name, attributes, mut children)| {
                // Two texts in a row would be read as one.
                children.dedup_by(|next, before| {
                    matches!((before, next), (Child::Text(_), Child::Text(_)))
                });
                Element { name, attributes, children, collapsed: false }
            },
        )
    })
}

/// XML gone wrong in every way that chance finds.
pub(crate) fn soup() -> impl Strategy<Value = Vec<u8>> {
    let tokens: &[&[u8]] = &[
        b"<response>",
        b"</response>",
        b"<returncode>SUCCESS</returncode>",
        b"<meetings>",
        b"</meetings>",
        b"<meetings/>",
        b"<meeting>",
        b"</meeting>",
        b"<meetingID>",
        b"</meetingID>",
        b"<a b='",
        b"<a>",
        b"</a>",
        b"<a/>",
        b"<",
        b"</",
        b"/>",
        b">",
        b"<!--",
        b"--",
        b"-->",
        b"<![CDATA[",
        b"]]",
        b"]]>",
        b"<?",
        b"?>",
        b"'",
        b"\"",
        b"=",
        b"&",
        b"&amp;",
        b"&#",
        b";",
        b"x",
        b" ",
        b"\r\n",
        b"/",
        b"!",
        b"\xff",
        b"\xef\xbb\xbf",
        b"<!D",
    ];
    prop::collection::vec(prop::sample::select(tokens), 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn parsing_what_was_written_gives_the_same(element in element()) {
        let bytes = element.to_vec();
        let read = Element::parse(&bytes).unwrap();
        prop_assert_eq!(&read, &element);
        prop_assert_eq!(read.to_vec(), bytes);
    }

    #[test]
    fn anything_can_be_set_and_the_xml_stays_whole(value: String, other: String) {
        let mut element = Element::with_text("a", &value);
        element.attributes.push(("b".into(), other.clone()));
        element.children.push(Child::CData(other));
        let read = Element::parse(&element.to_vec()).unwrap();
        prop_assert_eq!(Element::parse(&read.to_vec()).unwrap(), read);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
        prop_assert!(Element::parse(&bytes).is_err());
    }

    #[test]
    fn broken_xml_does_no_harm(bytes in soup()) {
        if let Ok(element) = Element::parse(&bytes) {
            let again = Element::parse(&element.to_vec());
            prop_assert_eq!(again, Ok(element));
        }
    }
}
