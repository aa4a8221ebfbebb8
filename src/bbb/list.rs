//! An answer that lists things as a stream: bytes are pushed in as they arrive, items come out one by one.
//!
//! No more than one item is held at a time, and one that is too large is an error, so a node that never stops
//! talking costs a bounded amount of memory. Every byte is looked at once to find where a piece ends, and once
//! more to read the piece, however the input is cut.
//!
//! [`scan`] tells markup from text. This file knows what the document looks like: a piece is a child of
//! `<response>` or of its list, and the tags of these two are the only ones outside of pieces.

mod scan;

use std::fmt;

use self::scan::{Markup, Scanner};
use super::xml::{Element, Error};
use super::{Answer, Failure};

/// What a list and its items are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListNames {
    /// The element with the items in it.
    pub list: &'static str,
    /// One of them.
    pub item: &'static str,
}

impl ListNames {
    /// `getMeetings`.
    pub const MEETINGS: Self = Self { list: "meetings", item: "meeting" };
    /// `getRecordings`.
    pub const RECORDINGS: Self = Self { list: "recordings", item: "recording" };
    /// `getSessions`.
    pub const SESSIONS: Self = Self { list: "sessions", item: "meeting" };
}

/// Is given the items.
type Each<'f> = dyn FnMut(&[u8]) -> Result<(), Error> + 'f;

/// Reads such an answer in chunks of any size.
pub struct ListParser {
    names: ListNames,
    max_item_bytes: usize,
    scanner: Scanner,
    /// What has arrived of the piece or tag that is still open.
    pending: Vec<u8>,
    place: Place,
    /// Within a piece: how many of its elements are open.
    piece_depth: usize,
    /// The `<response>` without its list.
    response: Element,
    /// How many bytes went into `response`, which counts against the limit of one item.
    response_bytes: usize,
}

/// Where in the document the next piece stands. The order of the variants is the order of the document, except
/// that there may be several lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before `<response>`.
    Start,
    /// Directly in `<response>`.
    Response,
    /// Directly in the list.
    List,
    /// After `</response>`.
    End,
    /// Something was wrong; what follows means nothing.
    Broken,
}

/// Why there is no complete list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The input ended early, or was no answer.
    #[error(transparent)]
    Xml(#[from] Error),
    /// The node answered `FAILED`.
    #[error("the node answered FAILED: {} ({})", .0.key, .0.message)]
    Failed(Failure),
}

impl ListParser {
    /// A parser that refuses an item of more than `max_item_bytes`.
    pub fn new(names: ListNames, max_item_bytes: usize) -> Self {
        Self {
            names,
            max_item_bytes,
            scanner: Scanner::default(),
            pending: Vec::new(),
            place: Place::Start,
            piece_depth: 0,
            response: Element::new("response"),
            response_bytes: 0,
        }
    }

    /// Takes the next bytes and gives every item that is complete with them to `each`.
    ///
    /// # Errors
    /// When the input cannot become such a list. The parser is of no further use then.
    pub fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Element)) -> Result<(), Error> {
        self.push_bytes(chunk, &mut |item| {
            each(Element::parse(item)?);
            Ok(())
        })
    }

    /// The same for items that are given as they came; `each` says whether it can read them.
    pub(super) fn push_bytes(&mut self, chunk: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
        let result = self.take(chunk, each);
        if result.is_err() {
            self.place = Place::Broken;
            self.pending = Vec::new();
        }
        result
    }

    /// Ends the input.
    ///
    /// # Errors
    /// Unless a complete answer with returncode `SUCCESS` has been pushed.
    pub fn finish(self) -> Result<(), ListError> {
        if self.place != Place::End || !self.scanner.is_between_markup() {
            return Err(Error::Truncated.into());
        }
        let answer = Answer::from_element(self.response)?;
        if answer.is_success() {
            return Ok(());
        }
        let owned =
            |text: Option<std::borrow::Cow<'_, str>>| text.unwrap_or_default().into_owned().into();
        Err(ListError::Failed(Failure {
            key: owned(answer.message_key()),
            message: owned(answer.message()),
        }))
    }

    /// How much memory waits for the end of an item.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.pending.capacity()
    }

    fn take(&mut self, mut chunk: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
        if self.place == Place::Broken {
            return Err(Error::NotAnAnswer("it was broken before"));
        }
        while !chunk.is_empty() {
            let (text, rest) = self.scanner.text(chunk);
            self.text(text)?;
            let (markup, rest) = self.scanner.markup(rest)?;
            self.keep(&chunk[text.len()..chunk.len() - rest.len()])?;
            if let Some(markup) = markup {
                self.markup(markup, each)?;
            }
            chunk = rest;
        }
        Ok(())
    }

    /// Text belongs to a piece, or else is only there to look nice. (A byte-order mark is text, too.)
    fn text(&mut self, text: &[u8]) -> Result<(), Error> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        if self.piece_depth > 0 {
            return self.keep(text);
        }
        let is_blank = |byte: &u8| {
            byte.is_ascii_whitespace()
                || (self.place == Place::Start && BYTE_ORDER_MARK.contains(byte))
        };
        if text.iter().all(is_blank) {
            Ok(())
        } else {
            Err(Error::NotAnAnswer("it has text between its elements"))
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.pending.len() + bytes.len() > self.max_item_bytes {
            return Err(Error::TooLarge);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// A piece of markup is complete, and is the end of what is pending.
    fn markup(&mut self, markup: Markup, each: &mut Each<'_>) -> Result<(), Error> {
        if self.piece_depth > 0 {
            match markup {
                Markup::Open => self.piece_depth += 1,
                Markup::Close => self.piece_depth -= 1,
                Markup::Whole | Markup::Aside | Markup::CData => {}
            }
            return if self.piece_depth == 0 { self.piece(each) } else { Ok(()) };
        }
        if markup == Markup::Aside {
            self.pending.clear();
            return Ok(());
        }
        let name = tag_name(&self.pending);
        let is_list = name == self.names.list.as_bytes();
        match (self.place, markup, name) {
            (Place::Start, Markup::Open, b"response") => self.step(Place::Response),
            (Place::List, Markup::Close, _) if is_list => self.step(Place::Response),
            (Place::Response, Markup::Open, _) if is_list => self.step(Place::List),
            (Place::Response, Markup::Close, b"response") => self.step(Place::End),
            (Place::Response | Place::List, Markup::Open, _) => self.piece_depth = 1,
            (Place::Response | Place::List, Markup::Whole, _) => return self.piece(each),
            (Place::Start, ..) => return Err(Error::NotAnAnswer("its root is not <response>")),
            _ => return Err(Error::NotAnAnswer("its tags do not match")),
        }
        Ok(())
    }

    fn step(&mut self, place: Place) {
        self.place = place;
        self.pending.clear();
    }

    /// What is pending is one whole element.
    fn piece(&mut self, each: &mut Each<'_>) -> Result<(), Error> {
        if self.place == Place::List && tag_name(&self.pending) == self.names.item.as_bytes() {
            each(&self.pending)?;
            self.pending.clear();
            return Ok(());
        }
        let element = Element::parse(&self.pending)?;
        if self.place != Place::List && element.name != self.names.list {
            self.response_bytes += self.pending.len();
            if self.response_bytes > self.max_item_bytes {
                return Err(Error::TooLarge);
            }
            self.response.push(element);
        }
        self.pending.clear();
        Ok(())
    }
}

impl fmt::Debug for ListParser {
    /// Without what was read, which has people's names in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListParser")
            .field("place", &self.place)
            .field("pending_bytes", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// The name in a tag: `<name …>`, `<name/>` or `</name >`.
fn tag_name(tag: &[u8]) -> &[u8] {
    let name = tag.strip_prefix(b"</").or_else(|| tag.strip_prefix(b"<")).unwrap_or_default();
    let end = name.iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>'));
    &name[..end.unwrap_or(name.len())]
}
