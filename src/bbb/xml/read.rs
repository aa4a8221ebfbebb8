//! Reading, with quick-xml underneath and its types ending here.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::{Child, Element, Error, is_legal, legal};

/// A page of recordings of a busy server is some megabytes; nothing honest is larger than this.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Elements and texts. A part weighs up to 100 bytes more than its text, so this bounds what `<a/><a/>…` can cost.
pub(super) const MAX_PARTS: usize = 500_000;
/// BigBlueButton's deepest answer, previews of recordings, has nine levels.
pub(super) const MAX_DEPTH: usize = 64;
/// BigBlueButton writes up to five.
const MAX_ATTRIBUTES: usize = 64;

pub(super) fn document(bytes: &[u8]) -> Result<Element, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    let mut reader = Reader::from_reader(bytes);
    let mut builder = Builder::default();
    loop {
        let malformed = |reader: &Reader<&[u8]>, error: quick_xml::Error| Error::Malformed {
            at: reader.error_position(),
            reason: error.to_string(),
        };
        let event = reader.read_event().map_err(|error| malformed(&reader, error))?;
        let at = reader.buffer_position();
        match event {
            Event::Start(tag) => builder.open(element(&tag, false, at)?, at)?,
            Event::Empty(tag) => {
                builder.open(element(&tag, true, at)?, at)?;
                builder.close();
            }
            Event::End(_) => builder.close(),
            Event::Text(text) => builder.text(&legal(text.xml10_content()), at)?,
            Event::GeneralRef(entity) => {
                let mut utf8 = [0; 4];
                let c = resolve(&entity).ok_or_else(|| broken(at, "unknown entity"))?;
                builder.text(if is_legal(c) { c.encode_utf8(&mut utf8) } else { "" }, at)?;
            }
            Event::CData(text) => {
                let text = legal(text.xml10_content()).into_owned();
                builder.part(Child::CData(text), at)?;
            }
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::DocType(_) => return Err(Error::Doctype),
            Event::Eof => return builder.finish(),
        }
    }
}

/// The tree so far: the elements that are still open, outermost first, and the root once it is closed.
#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    root: Option<Element>,
    parts: usize,
}

impl Builder {
    fn open(&mut self, element: Element, at: u64) -> Result<(), Error> {
        if self.open.len() == MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        if self.root.is_some() {
            return Err(broken(at, "more than one root element"));
        }
        self.count()?;
        self.open.push(element);
        Ok(())
    }

    /// quick-xml has checked that the end tag fits.
    fn close(&mut self) {
        let Some(element) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.push(element),
            None => self.root = Some(element),
        }
    }

    /// Entities cut text into pieces; here they grow together again.
    fn text(&mut self, text: &str, at: u64) -> Result<(), Error> {
        if text.is_empty() || (self.open.is_empty() && text.trim_ascii().is_empty()) {
            return Ok(());
        }
        let last = self.open.last_mut().and_then(|element| element.children.last_mut());
        if let Some(Child::Text(before)) = last {
            before.push_str(text);
            return Ok(());
        }
        // Most elements hold one text and nothing else; a vector begins with room for four parts.
        if let Some(parent) = self.open.last_mut().filter(|parent| parent.children.is_empty()) {
            parent.children.reserve_exact(1);
        }
        self.part(Child::Text(text.to_owned()), at)
    }

    fn part(&mut self, child: Child, at: u64) -> Result<(), Error> {
        self.count()?;
        let parent = self.open.last_mut().ok_or_else(|| broken(at, "text outside of elements"))?;
        parent.children.push(child);
        Ok(())
    }

    fn count(&mut self) -> Result<(), Error> {
        self.parts += 1;
        if self.parts > MAX_PARTS { Err(Error::TooLarge) } else { Ok(()) }
    }

    fn finish(self) -> Result<Element, Error> {
        self.root.ok_or(Error::Truncated)
    }
}

fn element(tag: &BytesStart<'_>, collapsed: bool, at: u64) -> Result<Element, Error> {
    let mut element = Element { collapsed, ..Element::new(name(tag.name().0, at)?) };
    // Looking for duplicates takes time that grows with their square, and nobody reads the second one anyway.
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute.map_err(|error| broken(at, error.to_string()))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| broken(at, error.to_string()))?;
        if element.attributes.len() == MAX_ATTRIBUTES {
            return Err(Error::TooLarge);
        }
        element.attributes.push((name(attribute.key.0, at)?, legal(value).into_owned()));
    }
    Ok(element)
}

/// Names are what they are written as later. Not every name that XML allows is checked for, since nodes print
/// `userdata-` names unchecked, but none may be able to break out of its tag.
fn name(name: &str, at: u64) -> Result<String, Error> {
    let breaks = |c: char| {
        matches!(c, '<' | '>' | '&' | '"' | '\'' | '=' | '/' | '!' | '?')
            || c.is_whitespace()
            || !is_legal(c)
    };
    // All names but those of an odd `userdata-` parameter.
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name.is_empty() || (!is_plain && name.contains(breaks)) {
        return Err(broken(at, "no name for an element or attribute"));
    }
    Ok(name.to_owned())
}

fn resolve(entity: &BytesRef<'_>) -> Option<char> {
    if entity.is_char_ref() {
        return entity.resolve_char_ref().ok().flatten();
    }
    resolve_predefined_entity(entity).and_then(|text| text.chars().next())
}

fn broken(at: u64, reason: impl Into<String>) -> Error {
    Error::Malformed { at, reason: reason.into() }
}
