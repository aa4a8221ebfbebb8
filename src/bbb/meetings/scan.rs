//! Telling markup from text, byte by byte, with a state of a few bytes between chunks.

use crate::bbb::xml::Error;

/// Finds where markup begins and ends.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
}

/// A complete piece of markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Markup {
    /// `<a>`.
    Open,
    /// `</a>`.
    Close,
    /// `<a/>`.
    Whole,
    /// A comment, a processing instruction or the XML declaration.
    Aside,
    /// `<![CDATA[…]]>`.
    CData,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before the next `<`.
    #[default]
    Text,
    /// After `<`.
    Begin,
    /// In `<a …`; whether the last byte was a `/`.
    Tag { slash: bool },
    /// In an attribute's value, up to this quote.
    Quoted(u8),
    /// In `</a`.
    CloseTag,
    /// In `<!`, of which so much of `--` or `[CDATA[` has been seen.
    Bang { mark: &'static [u8], seen: usize },
    /// In a comment, after so many dashes (at most 2).
    Comment { dashes: u8 },
    /// In a CDATA section, after so many brackets (at most 2).
    CData { brackets: u8 },
    /// In `<?…`; whether the last byte was a `?`.
    Instruction { question: bool },
}

impl Scanner {
    /// Divides a chunk into the text at its beginning, if text is what is expected, and the rest.
    pub(super) fn text<'c>(&mut self, chunk: &'c [u8]) -> (&'c [u8], &'c [u8]) {
        if self.state != State::Text {
            return chunk.split_at(0);
        }
        chunk.split_at(chunk.iter().position(|byte| *byte == b'<').unwrap_or(chunk.len()))
    }

    /// Takes markup from a chunk, up to its end or the chunk's. Returns the markup if it is complete, and the rest.
    pub(super) fn markup<'c>(
        &mut self,
        chunk: &'c [u8],
    ) -> Result<(Option<Markup>, &'c [u8]), Error> {
        for (at, byte) in chunk.iter().enumerate() {
            if let Some(markup) = self.step(*byte)? {
                self.state = State::Text;
                return Ok((Some(markup), &chunk[at + 1..]));
            }
        }
        Ok((None, &[]))
    }

    /// Whether no markup is half done.
    pub(super) fn is_between_markup(&self) -> bool {
        self.state == State::Text
    }

    fn step(&mut self, byte: u8) -> Result<Option<Markup>, Error> {
        let (next, done) = match (self.state, byte) {
            (State::Text, _) => (State::Begin, None),

            (State::Begin, b'/') => (State::CloseTag, None),
            (State::Begin, b'?') => (State::Instruction { question: false }, None),
            (State::Begin, b'!') => (State::Bang { mark: b"", seen: 0 }, None),
            (State::Begin, b'>') => return Err(broken("a tag without a name")),

            (State::Bang { mark: b"", .. }, b'-') => (State::Bang { mark: b"--", seen: 1 }, None),
            (State::Bang { mark: b"", .. }, b'[') => {
                (State::Bang { mark: b"[CDATA[", seen: 1 }, None)
            }
            (State::Bang { mark: b"", .. }, b'D' | b'd') => return Err(Error::Doctype),
            (State::Bang { mark, seen }, _) if mark.get(seen) == Some(&byte) => {
                let seen = seen + 1;
                if seen < mark.len() {
                    (State::Bang { mark, seen }, None)
                } else if mark == b"--" {
                    (State::Comment { dashes: 0 }, None)
                } else {
                    (State::CData { brackets: 0 }, None)
                }
            }
            (State::Bang { .. }, _) => return Err(broken("unknown markup")),

            (State::Comment { dashes: 2 }, b'>') => (State::Text, Some(Markup::Aside)),
            (State::Comment { dashes }, b'-') => {
                (State::Comment { dashes: 2.min(dashes + 1) }, None)
            }
            (State::Comment { .. }, _) => (State::Comment { dashes: 0 }, None),

            (State::CData { brackets: 2 }, b'>') => (State::Text, Some(Markup::CData)),
            (State::CData { brackets }, b']') => {
                (State::CData { brackets: 2.min(brackets + 1) }, None)
            }
            (State::CData { .. }, _) => (State::CData { brackets: 0 }, None),

            (State::Instruction { question: true }, b'>') => (State::Text, Some(Markup::Aside)),
            (State::Instruction { .. }, _) => (State::Instruction { question: byte == b'?' }, None),

            (State::CloseTag, b'>') => (State::Text, Some(Markup::Close)),
            (State::CloseTag, _) => (State::CloseTag, None),

            (State::Quoted(quote), _) if byte == quote => (State::Tag { slash: false }, None),
            (State::Quoted(quote), _) => (State::Quoted(quote), None),

            (State::Tag { slash: true }, b'>') => (State::Text, Some(Markup::Whole)),
            (State::Tag { slash: false }, b'>') => (State::Text, Some(Markup::Open)),
            (State::Begin | State::Tag { .. }, b'"' | b'\'') => (State::Quoted(byte), None),
            (State::Begin | State::Tag { .. }, _) => (State::Tag { slash: byte == b'/' }, None),
        };
        self.state = next;
        Ok(done)
    }
}

fn broken(reason: &str) -> Error {
    Error::Malformed { at: 0, reason: reason.to_owned() }
}
