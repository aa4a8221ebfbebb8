//! The outline of a plain answer, for whoever passes it on and changes little.
//!
//! A tree of [`Element`](super::Element)s costs an allocation or two for each of a hundred parts, though nobody
//! looks at more than three. An outline is one look at each byte: it says where the elements of the two upper
//! levels are, and everything else stays where it is.
//!
//! It takes only what the tree would write again byte for byte: elements without attributes, text, the three
//! entities that must be. That is all that BigBlueButton sends where nobody is up to something. The rest is
//! for the tree, which knows all of XML and says what is wrong.

use std::borrow::Cow;
use std::ops::Range;

use super::read::{MAX_BYTES, MAX_DEPTH, MAX_PARTS};
use super::write::escaped;

/// A document of plain elements and text, whole and well-formed.
#[derive(Debug)]
pub struct Outline<'a> {
    bytes: &'a [u8],
    root: &'a [u8],
    /// The root's children, each followed by its own.
    parts: Vec<Part<'a>>,
    /// The root in `bytes`, tags and all.
    span: Range<usize>,
}

/// An element below the root.
#[derive(Debug)]
struct Part<'a> {
    name: &'a [u8],
    /// 1 for the children of the root, 2 for theirs.
    depth: usize,
    /// Between its tags; `None` where it is one tag.
    content: Option<Range<usize>>,
    /// There is nothing but text in it.
    is_leaf: bool,
}

/// What is to be written in place of other contents, in the order of the document.
#[derive(Debug, Default)]
pub struct Edits<'t>(Vec<(Range<usize>, Cow<'t, str>)>);

impl<'a> Outline<'a> {
    /// Looks a document through. `None` is for the tree to judge.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_BYTES || str::from_utf8(bytes).is_err() {
            return None;
        }
        Walk {
            bytes,
            at: behind_declaration(bytes)?,
            open: Vec::new(),
            parts: Vec::new(),
            count: 0,
        }
        .document()
    }

    /// The name of the root.
    pub fn root(&self) -> &'a [u8] {
        self.root
    }

    /// The document, without what surrounds its root.
    pub fn bytes(&self) -> &'a [u8] {
        &self.bytes[self.span.clone()]
    }

    /// The text of the first child of this name, if it has nothing but text in it.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let child = self.child(name)?;
        child.is_leaf.then(|| self.text_of(child))
    }

    /// Whether the root has a child of this name.
    pub fn has(&self, name: &str) -> bool {
        self.child(name).is_some()
    }

    /// The names of the root's children that have elements in them.
    pub fn nested(&self) -> impl Iterator<Item = &'a [u8]> {
        let children = self.parts.iter().filter(|part| part.depth == 1);
        children.filter(|child| !child.is_leaf).map(|child| child.name)
    }

    /// Writes a text into the first child of this name. `None` where there is no place for it.
    pub fn set_text<'t>(&self, name: &str, text: &'t str, edits: &mut Edits<'t>) -> Option<()> {
        let content = self.child(name)?.content.clone()?;
        edits.0.push((content, escaped(text)));
        Some(())
    }

    /// Writes other texts into the children called `name` of the first child called `list`. `None` where
    /// there is no place for one.
    pub fn map_texts(
        &self,
        list: &str,
        name: &str,
        edits: &mut Edits<'_>,
        text: impl Fn(&str) -> String,
    ) -> Option<()> {
        let is_list = |part: &Part<'_>| part.depth == 1 && part.name == list.as_bytes();
        let items = self.parts.iter().skip_while(|part| !is_list(part)).skip(1);
        let items = items.take_while(|part| part.depth == 2);
        for item in items.filter(|item| item.name == name.as_bytes()) {
            if !item.is_leaf {
                return None;
            }
            let text = text(&self.text_of(item));
            edits.0.push((item.content.clone()?, escaped(&text).into_owned().into()));
        }
        Some(())
    }

    /// The document with other contents in it.
    pub fn edited(&self, mut edits: Edits<'_>) -> Vec<u8> {
        edits.0.sort_by_key(|(content, _)| content.start);
        let longer: usize = edits.0.iter().map(|(_, text)| text.len()).sum();
        let mut out = Vec::with_capacity(self.span.len() + longer);
        let mut at = self.span.start;
        for (content, text) in edits.0 {
            out.extend_from_slice(&self.bytes[at..content.start]);
            out.extend_from_slice(text.as_bytes());
            at = content.end;
        }
        out.extend_from_slice(&self.bytes[at..self.span.end]);
        out
    }

    fn child(&self, name: &str) -> Option<&Part<'a>> {
        self.parts.iter().find(|part| part.depth == 1 && part.name == name.as_bytes())
    }

    fn text_of(&self, part: &Part<'_>) -> Cow<'a, str> {
        let content = part.content.clone().map_or(&b""[..], |content| &self.bytes[content]);
        let text = String::from_utf8_lossy(content);
        if content.contains(&b'&') {
            text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").into()
        } else {
            text
        }
    }
}

/// An element whose end has not come yet.
struct Open<'a> {
    name: &'a [u8],
    start: usize,
    /// Its place among the parts, if it has one.
    part: Option<usize>,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open<'a>>,
    parts: Vec<Part<'a>>,
    /// Elements and texts, counted as the tree counts them.
    count: usize,
}

impl<'a> Walk<'a> {
    fn document(mut self) -> Option<Outline<'a>> {
        self.at += blanks(&self.bytes[self.at..]);
        let start = self.at;
        let root = self.tag()?;
        while !self.open.is_empty() {
            let text = self.at;
            self.at = end_of_text(self.bytes, self.at)?;
            self.count += usize::from(self.at > text);
            self.tag()?;
        }
        let rest = &self.bytes[self.at..];
        let is_bounded = self.count <= MAX_PARTS;
        (is_bounded && blanks(rest) == rest.len()).then_some(Outline {
            bytes: self.bytes,
            root,
            parts: self.parts,
            span: start..self.at,
        })
    }

    /// Takes the tag that begins here; returns its name.
    fn tag(&mut self) -> Option<&'a [u8]> {
        let tag = self.bytes.get(self.at..)?;
        match tag {
            [b'<', b'/', ..] => self.end_tag(&tag[2..]),
            [b'<', ..] => self.start_tag(&tag[1..]),
            _ => None,
        }
    }

    fn start_tag(&mut self, inside: &'a [u8]) -> Option<&'a [u8]> {
        let length =
            inside.iter().position(|byte| !is(NAME, *byte)).filter(|length| *length > 0)?;
        let (name, behind) = inside.split_at(length);
        self.at += 1 + length;
        match behind {
            [b'>', ..] => {
                self.at += 1;
                self.open(name)?;
            }
            [b'/', b'>', ..] => {
                self.open(name)?;
                self.at += 2;
                self.close(None)?;
            }
            _ => return None,
        }
        Some(name)
    }

    /// Which name there must be is known.
    fn end_tag(&mut self, inside: &'a [u8]) -> Option<&'a [u8]> {
        let name = self.open.last()?.name;
        let behind = inside.strip_prefix(name)?;
        if behind.first() != Some(&b'>') {
            return None;
        }
        let tag = self.at;
        self.at += 2 + name.len() + 1;
        self.close(Some(tag))?;
        Some(name)
    }

    fn open(&mut self, name: &'a [u8]) -> Option<()> {
        let depth = self.open.len();
        self.count += 1;
        if let Some(parent) = self.open.last().and_then(|parent| parent.part) {
            self.parts[parent].is_leaf = false;
        }
        let part = matches!(depth, 1 | 2).then(|| {
            self.parts.push(Part { name, depth, content: None, is_leaf: true });
            self.parts.len() - 1
        });
        self.open.push(Open { name, start: self.at, part });
        (depth < MAX_DEPTH && self.count <= MAX_PARTS).then_some(())
    }

    /// `end` is where the content ends, unless the element is one tag.
    fn close(&mut self, end: Option<usize>) -> Option<()> {
        let open = self.open.pop()?;
        if let Some(part) = open.part {
            self.parts[part].content = end.map(|end| open.start..end);
        }
        Some(())
    }
}

/// What a byte can be: part of a plain name, or of text that is written as it stands.
const NAME: u8 = 1;
const TEXT: u8 = 2;

/// One look instead of several comparisons, for there are thousands of bytes.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            classes[byte as usize] |= NAME;
        }
        // An entity is not as it stands, and 0xef may begin what is no character.
        if matches!(byte, b'\t' | b'\n' | b' '..=b'%' | b'\''..=b';' | b'=' | b'?'..=0xee | 0xf0..)
        {
            classes[byte as usize] |= TEXT;
        }
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

fn is(class: u8, byte: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Where the root may begin: what an XML declaration says is known.
fn behind_declaration(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(b"<?xml ") {
        return Some(0);
    }
    let end = bytes.iter().position(|byte| *byte == b'>')?;
    bytes[..end].ends_with(b"?").then_some(end + 1)
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Where the next tag begins, if all before it is written as the tree writes text.
fn end_of_text(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| !is(TEXT, *byte))?;
        match bytes[at..] {
            [b'<', ..] => return Some(at),
            [b'&', ..] => {
                let entities: [&[u8]; 3] = [b"&amp;", b"&lt;", b"&gt;"];
                at += entities.iter().find(|entity| bytes[at..].starts_with(entity))?.len();
            }
            // U+FFFE and U+FFFF are no characters.
            [0xef, 0xbf, 0xbe | 0xbf, ..] => return None,
            [0xef, ..] => at += 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bbb::xml::{Element, soup};

    const INFO: &str = "<?xml version=\"1.0\"?>\n<response>\n<returncode>SUCCESS</returncode>\
        <meetingID>a&amp;lt;@acme</meetingID><attendees><attendee><userID>1</userID></attendee>\
        </attendees><meetingID>second</meetingID><breakoutRooms><breakout>b@acme</breakout>\
        <other>c@acme</other></breakoutRooms><metadata/><breakout>d@acme</breakout></response>\n";

    #[test]
    fn what_is_changed_is_changed_in_place() {
        let outline = Outline::of(INFO.as_bytes()).unwrap();
        assert_eq!(outline.root(), b"response");
        assert_eq!(outline.text("meetingID").as_deref(), Some("a&lt;@acme"));
        assert_eq!(outline.text("attendees"), None);
        assert!(outline.has("attendees") && !outline.has("attendee"));
        let mut edits = Edits::default();
        let cut = |id: &str| id.replace("@acme", "<");
        outline.map_texts("breakoutRooms", "breakout", &mut edits, cut).unwrap();
        outline.set_text("meetingID", "x&y", &mut edits).unwrap();
        assert_eq!(outline.set_text("metadata", "x", &mut edits), None);
        assert_eq!(outline.set_text("absent", "x", &mut edits), None);
        let edited = String::from_utf8(outline.edited(edits)).unwrap();
        let expected = INFO
            .replace("a&amp;lt;@acme", "x&amp;y")
            .replace("b@acme", "b&lt;")
            .replace("<?xml version=\"1.0\"?>", "");
        assert_eq!(edited, expected.trim());
    }

    #[test]
    fn what_the_tree_would_write_otherwise_is_left_to_it() {
        for xml in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/>b",
            "<a/><b/>",
            "<a b='c'/>",
            "<a />",
            "<a>&quot;</a>",
            "<a>&</a>",
            "<a>></a>",
            "<a>\r</a>",
            "<a>\u{1}</a>",
            "<a>\u{ffff}</a>",
            "<a><!-- b --></a>",
            "<a><![CDATA[b]]></a>",
            "<!DOCTYPE a><a/>",
            "<>",
            "</>",
        ] {
            assert!(Outline::of(xml.as_bytes()).is_none(), "{xml}");
        }
        assert!(Outline::of(b"<a>\xff</a>").is_none());
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(Outline::of(nested(64).as_bytes()).is_some());
        assert!(Outline::of(nested(65).as_bytes()).is_none());
    }

    fn same_as_the_tree(xml: &[u8]) {
        let Some(outline) = Outline::of(xml) else { return };
        let mut tree = Element::parse(xml).expect("what is plain is fine");
        assert_eq!(tree.to_vec(), outline.bytes());
        for name in ["a", "meetingID"] {
            assert_eq!(outline.has(name), tree.child(name).is_some());
            if let Some(text) = outline.text(name) {
                assert_eq!(Some(text), tree.child_text(name));
            }
        }
        let mut edits = Edits::default();
        if outline.set_text("a", "<x>", &mut edits).is_some() {
            tree.set_child_text("a", "<x>");
            assert_eq!(tree.to_vec(), outline.edited(edits));
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_the_tree_writes(
            pieces in prop::collection::vec(
                prop::sample::select(&["<a>", "</a>", "<b>", "</b>", "<a/>", "x", "&amp;", "ü", "\n"]), 0..16,
            ),
        ) {
            same_as_the_tree(format!("<r>{}</r>", pieces.concat()).as_bytes());
        }

        #[test]
        fn broken_xml_does_no_harm(xml in soup()) {
            same_as_the_tree(&xml);
        }
    }
}
