//! A small owned XML tree, for the answers of nodes and the bodies of clients.
//!
//! What BigBlueButton can send comes out as it went in: order, attributes, unknown elements, CDATA, and whether
//! an empty element was written as one tag or two. Comments and processing instructions are dropped.
//!
//! Strangers write this XML. Depth, size and number of parts are bounded, a DOCTYPE is refused (so there are no
//! entities to expand), and characters that XML forbids are dropped on the way in and on the way out.

mod outline;
mod read;
mod write;

use std::borrow::Cow;

pub use outline::{Edits, Outline};

/// Why something is not the XML we expect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not well-formed.
    #[error("the XML is broken at byte {at}: {reason}")]
    Malformed {
        /// How many bytes were fine.
        at: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The input ends within the document.
    #[error("the XML ends too early")]
    Truncated,
    /// More bytes or parts than we are willing to hold.
    #[error("the XML is larger than allowed")]
    TooLarge,
    /// Elements within elements within elements.
    #[error("the XML is nested too deeply")]
    TooDeep,
    /// A document type definition, which no honest peer sends.
    #[error("the XML has a DOCTYPE")]
    Doctype,
    /// Well-formed, but not an answer of BigBlueButton.
    #[error("the XML is no BigBlueButton answer: {0}")]
    NotAnAnswer(&'static str),
}

/// An element with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The tag's name, with its prefix if it has one.
    pub name: String,
    /// Names and decoded values, in order.
    pub attributes: Vec<(String, String)>,
    /// What is inside, in order.
    pub children: Vec<Child>,
    /// Whether it is written `<a/>` rather than `<a></a>` while there is nothing inside.
    collapsed: bool,
}

/// A part of an element's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Child {
    /// A nested element.
    Element(Element),
    /// Text, with its entities decoded.
    Text(String),
    /// A CDATA section, which is text that is written differently.
    CData(String),
}

impl Element {
    /// An empty element. `name` must be an XML name: it is written as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attributes: Vec::new(), children: Vec::new(), collapsed: false }
    }

    /// An element that is written as one tag, `<name/>`, while it is empty.
    pub fn collapsed(name: impl Into<String>) -> Self {
        Self { collapsed: true, ..Self::new(name) }
    }

    /// An element with nothing but text in it.
    pub fn with_text(name: impl Into<String>, text: &str) -> Self {
        let mut element = Self::new(name);
        element.set_text(text);
        element
    }

    /// Reads a document, or a piece of one with a single element around it.
    ///
    /// # Errors
    /// Anything but well-formed XML within the bounds of this module.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        read::document(bytes)
    }

    /// Appends the element to `out`, without an XML declaration.
    pub fn write(&self, out: &mut Vec<u8>) {
        write::element(self, out);
    }

    /// The element as bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The nested elements, without what stands between them.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|child| match child {
            Child::Element(element) => Some(element),
            Child::Text(_) | Child::CData(_) => None,
        })
    }

    /// As [`elements`](Self::elements), to change them.
    pub fn elements_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        self.children.iter_mut().filter_map(|child| match child {
            Child::Element(element) => Some(element),
            Child::Text(_) | Child::CData(_) => None,
        })
    }

    /// The first nested element of this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.elements().find(|element| element.name == name)
    }

    /// As [`child`](Self::child), to change it.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.elements_mut().find(|element| element.name == name)
    }

    /// All nested elements of this name.
    pub fn children_named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Self> {
        self.elements().filter(move |element| element.name == name)
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The text directly inside, CDATA included. Borrowed where it is of one piece, as it nearly always is.
    pub fn text(&self) -> Cow<'_, str> {
        let mut pieces = self.children.iter().filter_map(|child| match child {
            Child::Text(text) | Child::CData(text) => Some(text.as_str()),
            Child::Element(_) => None,
        });
        let first = pieces.next().unwrap_or_default();
        match pieces.next() {
            None => first.into(),
            Some(second) => [first, second].into_iter().chain(pieces).collect::<String>().into(),
        }
    }

    /// Replaces the content by text.
    pub fn set_text(&mut self, text: &str) {
        self.children.clear();
        if !text.is_empty() {
            self.children.push(Child::Text(text.to_owned()));
        }
    }

    /// The text of the first nested element of this name.
    pub fn child_text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.child(name).map(Self::text)
    }

    /// Replaces the content of the first nested element of this name, or appends one.
    pub fn set_child_text(&mut self, name: &str, text: &str) {
        match self.child_mut(name) {
            Some(child) => child.set_text(text),
            None => self.push_text(name, text),
        }
    }

    /// Removes every nested element of this name. Returns whether there was one.
    pub fn remove_child(&mut self, name: &str) -> bool {
        let before = self.children.len();
        self.children
            .retain(|child| !matches!(child, Child::Element(element) if element.name == name));
        self.children.len() < before
    }

    /// Appends a nested element.
    pub fn push(&mut self, element: Self) {
        self.children.push(Child::Element(element));
    }

    /// Appends a nested element with nothing but text in it.
    pub fn push_text(&mut self, name: &str, text: &str) {
        self.push(Self::with_text(name, text));
    }
}

/// Text as it stands in a document, for XML too small to be worth a tree.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    write::escaped(text)
}

/// Whether XML 1.0 lets the character stand in a document, escaped or not.
fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// Drops what XML forbids. Such characters come from nodes that print a name unchecked, and must not break the
/// document for everybody else.
fn legal<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    let text = text.into();
    // Nearly all text is plain, and bytes are looked at many at a time.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || text.chars().all(is_legal) {
        text
    } else {
        text.chars().filter(|c| is_legal(*c)).collect::<String>().into()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::soup;
