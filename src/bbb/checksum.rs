//! Checksums: which hashes BigBlueButton knows.

use std::fmt;
use std::str::FromStr;

/// A hash that signs requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// 40 hex digits.
    Sha1,
    /// 64 hex digits.
    Sha256,
    /// 96 hex digits.
    Sha384,
    /// 128 hex digits.
    Sha512,
}

/// A text that names no [`Algorithm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of sha1, sha256, sha384, sha512")]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// All of them, by length of their digest.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in configuration and in `checksumHash`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
