//! A query string with its checksum found.
//!
//! BigBlueButton cuts the checksum out of the query textually. We cut whole `checksum=V` items, which is the same
//! for every honest client and does not maul a parameter whose name merely ends in `checksum`. As there, the
//! first `checksum` gives `V`, and every item that repeats it goes; one with another value is part of the query.

use std::borrow::Cow;

use super::checksum::{Algorithm, Claim};
use super::params::{decode_value, items, value_of};

/// A raw query string, apart from its checksum. Borrows the query; parsing and verifying allocate nothing.
#[derive(Debug, Clone)]
pub struct SignedQuery<'a> {
    /// The query up to its checksum, surrounding white space stripped. All of it where the checksum stood last.
    head: Cow<'a, [u8]>,
    /// The query from behind its checksum.
    tail: &'a [u8],
    /// What the client claims, decoded and trimmed; empty if there is no checksum.
    checksum: Cow<'a, str>,
}

impl<'a> SignedQuery<'a> {
    /// Finds the checksum. Any bytes are a query; see [`is_signed`](Self::is_signed).
    pub fn parse(raw: &'a [u8]) -> Self {
        let mut start = 0;
        let found = items(raw).find_map(|item| {
            let at = start;
            start += item.len() + 1;
            value_of(item, b"checksum").map(|value| (at, item, value))
        });
        let Some((at, item, value)) = found else {
            return Self { head: trim(raw).into(), tail: b"", checksum: "".into() };
        };
        let checksum = match decode_value(value) {
            Cow::Borrowed(text) => text.trim_matches(is_blank).into(),
            Cow::Owned(text) => text.trim_matches(is_blank).to_owned().into(),
        };
        // One `&` goes with the item: the one before it, or behind it where the item stands first.
        let end = at + item.len();
        let (head, tail) = match at.checked_sub(1) {
            Some(before) => (&raw[..before], &raw[end..]),
            None => (&raw[..0], raw.get(end + 1..).unwrap_or_default()),
        };
        if items(tail).any(|other| other == item) {
            let kept: Vec<_> = items(raw).filter(|other| *other != item).collect();
            let query = trim(&kept.join(&b'&')).to_vec();
            return Self { head: query.into(), tail: b"", checksum };
        }
        let (head, tail) = match (head.trim_blank_start(), tail.trim_blank_end()) {
            (b"", tail) => (&b""[..], tail.trim_blank_start()),
            (head, b"") => (head.trim_blank_end(), &b""[..]),
            both => both,
        };
        Self { head: head.into(), tail, checksum }
    }

    /// Whether there is a checksum at all. One that is empty does not count.
    pub fn is_signed(&self) -> bool {
        !self.checksum.is_empty()
    }

    /// The position of the first of `secrets` under which the checksum is right.
    ///
    /// The algorithm is the one that a `checksumHash` parameter names, else the one of the digest's length, and
    /// must be among `allowed`. An empty secret never matches.
    pub fn verify<'s>(
        &self,
        call: &str,
        allowed: &[Algorithm],
        secrets: impl IntoIterator<Item = &'s str>,
    ) -> Option<usize> {
        let named = items(&self.head)
            .chain(items(self.tail))
            .find_map(|item| value_of(item, b"checksumHash"))
            .map(decode_value);
        let claim = Claim::read(self.checksum.as_bytes(), named.as_deref())?;
        claim.verify(call, [&self.head, self.tail], allowed, secrets)
    }

    /// The query without its checksum, byte for byte what was hashed.
    pub fn unsigned(&self) -> Cow<'a, [u8]> {
        if self.tail.is_empty() {
            self.head.clone()
        } else if self.head.is_empty() {
            self.tail.into()
        } else {
            [&self.head, self.tail].concat().into()
        }
    }
}

/// What Java's `strip` and BigBlueButton's own cleaning take off the ends: white space and control characters.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

fn is_blank_byte(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_blank_start().trim_blank_end()
}

trait TrimBlank {
    fn trim_blank_start(&self) -> &[u8];
    fn trim_blank_end(&self) -> &[u8];
}

impl TrimBlank for [u8] {
    fn trim_blank_start(&self) -> &[u8] {
        let start = self.iter().position(|byte| !is_blank_byte(*byte)).unwrap_or(self.len());
        &self[start..]
    }

    fn trim_blank_end(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| !is_blank_byte(*byte)).map_or(0, |last| last + 1);
        &self[..end]
    }
}
