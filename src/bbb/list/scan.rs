//! Telling markup from text, byte by byte, with a state of a few bytes between chunks.

use crate::bbb::xml::Error;

/// What begins a comment, and what begins a CDATA section, behind the `<!`.
const COMMENT: &[u8] = b"--";
const CDATA: &[u8] = b"[CDATA[";

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
        let end = self.state.end(byte);
        self.state = if end.is_some() { State::Text } else { self.state.next(byte)? };
        Ok(end)
    }
}

impl State {
    /// What the byte completes, if it does.
    fn end(self, byte: u8) -> Option<Markup> {
        match self {
            _ if byte != b'>' => None,
            Self::Tag { slash: false } => Some(Markup::Open),
            Self::Tag { slash: true } => Some(Markup::Whole),
            Self::CloseTag => Some(Markup::Close),
            Self::CData { brackets: 2 } => Some(Markup::CData),
            Self::Comment { dashes: 2 } | Self::Instruction { question: true } => {
                Some(Markup::Aside)
            }
            _ => None,
        }
    }

    /// Where a byte leads that completes nothing.
    fn next(self, byte: u8) -> Result<Self, Error> {
        let two_of = |sign: u8, before: u8| if byte == sign { 2.min(before + 1) } else { 0 };
        Ok(match (self, byte) {
            (Self::Text, _) => Self::Begin,

            (Self::Begin, b'/') | (Self::CloseTag, _) => Self::CloseTag,
            (Self::Begin, b'?') => Self::Instruction { question: false },
            (Self::Begin, b'!') => Self::Bang { mark: b"", seen: 0 },
            (Self::Begin, b'>') => return Err(Error::NotAnAnswer("it has a tag without a name")),
            (Self::Begin | Self::Tag { .. }, b'"' | b'\'') => Self::Quoted(byte),
            (Self::Begin | Self::Tag { .. }, _) => Self::Tag { slash: byte == b'/' },

            (Self::Quoted(quote), _) if byte == quote => Self::Tag { slash: false },
            (Self::Quoted(quote), _) => Self::Quoted(quote),

            (Self::Bang { mark: b"", .. }, b'-') => Self::Bang { mark: COMMENT, seen: 1 },
            (Self::Bang { mark: b"", .. }, b'[') => Self::Bang { mark: CDATA, seen: 1 },
            (Self::Bang { mark: b"", .. }, b'D' | b'd') => return Err(Error::Doctype),
            (Self::Bang { mark, seen }, _) if mark.get(seen) == Some(&byte) => {
                match (mark, mark.len() - (seen + 1)) {
                    (COMMENT, 0) => Self::Comment { dashes: 0 },
                    (_, 0) => Self::CData { brackets: 0 },
                    _ => Self::Bang { mark, seen: seen + 1 },
                }
            }
            (Self::Bang { .. }, _) => return Err(Error::NotAnAnswer("it has unknown markup")),

            (Self::Comment { dashes }, _) => Self::Comment { dashes: two_of(b'-', dashes) },
            (Self::CData { brackets }, _) => Self::CData { brackets: two_of(b']', brackets) },
            (Self::Instruction { .. }, _) => Self::Instruction { question: byte == b'?' },
        })
    }
}
