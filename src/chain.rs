//! An error with all its causes, in one line: what the log gets.

use std::error::Error;
use std::fmt::{self, Write as _};

/// Writes an error and its chain of sources, separated by colons. What a node has said may be in it, so
/// control characters, with which a line could be forged, are escaped.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = Some(self.0);
        while let Some(error) = next {
            for character in error.to_string().chars() {
                if character.is_control() {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    f.write_char(character)?;
                }
            }
            next = error.source();
            if next.is_some() {
                f.write_str(": ")?;
            }
        }
        Ok(())
    }
}
