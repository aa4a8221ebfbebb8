//! `getMeetings` as a stream: bytes are pushed in as they arrive, meetings come out one by one.

use std::fmt;

use super::MeetingInfo;
use super::list::{ListError, ListNames, ListParser};
use super::xml::Error;

/// Reads the answer to `getMeetings` in chunks of any size.
pub struct MeetingsParser(ListParser);

impl MeetingsParser {
    /// A parser that refuses a meeting of more than `max_meeting_bytes`.
    pub fn new(max_meeting_bytes: usize) -> Self {
        Self(ListParser::new(ListNames::MEETINGS, max_meeting_bytes))
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
        self.0.push_bytes(chunk, &mut |item| {
            each(MeetingInfo::read(item)?);
            Ok(())
        })
    }

    /// Ends the input.
    ///
    /// # Errors
    /// Unless a complete answer with returncode `SUCCESS` has been pushed.
    pub fn finish(self) -> Result<(), ListError> {
        self.0.finish()
    }
}

impl fmt::Debug for MeetingsParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
