//! `getMeetings` as a stream: bytes are pushed in as they arrive, meetings come out one by one.
//!
//! No more than one meeting is held at a time, and one that is too large is an error, so a node that never stops
//! talking costs a bounded amount of memory. Every byte is looked at once to find where a piece ends, and once
//! more to read the piece, however the input is cut.
//!
//! [`scan`] tells markup from text. This file knows what the document looks like: a piece is a child of
//! `<response>` or of its `<meetings>`, and the tags of these two are the only ones outside of pieces.

mod scan;

use std::fmt;

use self::scan::{Markup, Scanner};
use super::xml::{Element, Error};
use super::{Answer, Failure, MeetingInfo};

/// Reads the answer to `getMeetings` in chunks of any size.
pub struct MeetingsParser {
    max_meeting_bytes: usize,
    scanner: Scanner,
    /// What has arrived of the piece or tag that is still open.
    pending: Vec<u8>,
    place: Place,
    /// Within a piece: how many of its elements are open.
    piece_depth: usize,
    /// The `<response>` without its meetings.
    response: Element,
    /// How many bytes went into `response`, which counts against the limit of one meeting.
    response_bytes: usize,
}

/// Where in the document the next piece stands. The order of the variants is the order of the document, except
/// that there may be several `<meetings>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before `<response>`.
    Start,
    /// Directly in `<response>`.
    Response,
    /// Directly in `<meetings>`.
    Meetings,
    /// After `</response>`.
    End,
    /// Something was wrong; what follows means nothing.
    Broken,
}

/// Why there is no complete list of meetings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeetingsError {
    /// The input ended early, or was no answer.
    #[error(transparent)]
    Xml(#[from] Error),
    /// The node answered `FAILED`.
    #[error("the node answered FAILED: {} ({})", .0.key, .0.message)]
    Failed(Failure),
}

impl MeetingsParser {
    /// A parser that refuses a meeting of more than `max_meeting_bytes`.
    pub fn new(max_meeting_bytes: usize) -> Self {
        Self {
            max_meeting_bytes,
            scanner: Scanner::default(),
            pending: Vec::new(),
            place: Place::Start,
            piece_depth: 0,
            response: Element::new("response"),
            response_bytes: 0,
        }
    }

    /// Takes the next bytes and gives every meeting that is complete with them to `each`.
    ///
    /// # Errors
    /// When the input cannot become a list of meetings. The parser is of no further use then.
    pub fn push(
        &mut self,
        chunk: &[u8],
        each: &mut dyn FnMut(MeetingInfo<'_>),
    ) -> Result<(), Error> {
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
    pub fn finish(self) -> Result<(), MeetingsError> {
        if self.place != Place::End || !self.scanner.is_between_markup() {
            return Err(Error::Truncated.into());
        }
        let answer = Answer::from_element(self.response)?;
        if answer.is_success() {
            return Ok(());
        }
        let owned =
            |text: Option<std::borrow::Cow<'_, str>>| text.unwrap_or_default().into_owned().into();
        Err(MeetingsError::Failed(Failure {
            key: owned(answer.message_key()),
            message: owned(answer.message()),
        }))
    }

    fn take(
        &mut self,
        mut chunk: &[u8],
        each: &mut dyn FnMut(MeetingInfo<'_>),
    ) -> Result<(), Error> {
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
        if self.pending.len() + bytes.len() > self.max_meeting_bytes {
            return Err(Error::TooLarge);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// A piece of markup is complete, and is the end of what is pending.
    fn markup(
        &mut self,
        markup: Markup,
        each: &mut dyn FnMut(MeetingInfo<'_>),
    ) -> Result<(), Error> {
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
        match (self.place, markup, tag_name(&self.pending)) {
            (Place::Start, Markup::Open, b"response")
            | (Place::Meetings, Markup::Close, b"meetings") => self.step(Place::Response),
            (Place::Response, Markup::Open, b"meetings") => self.step(Place::Meetings),
            (Place::Response, Markup::Close, b"response") => self.step(Place::End),
            (Place::Response | Place::Meetings, Markup::Open, _) => self.piece_depth = 1,
            (Place::Response | Place::Meetings, Markup::Whole, _) => return self.piece(each),
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
    fn piece(&mut self, each: &mut dyn FnMut(MeetingInfo<'_>)) -> Result<(), Error> {
        if self.place == Place::Meetings {
            let meeting = MeetingInfo::read(&self.pending)?;
            if tag_name(&self.pending) == b"meeting" {
                each(meeting);
            }
            self.pending.clear();
            return Ok(());
        }
        let element = Element::parse(&self.pending)?;
        if element.name != "meetings" {
            self.response_bytes += self.pending.len();
            if self.response_bytes > self.max_meeting_bytes {
                return Err(Error::TooLarge);
            }
            self.response.push(element);
        }
        self.pending.clear();
        Ok(())
    }
}

impl fmt::Debug for MeetingsParser {
    /// Without what was read, which has people's names in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeetingsParser")
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

#[cfg(test)]
mod tests;
