//! A query string with its checksum found.
//!
//! BigBlueButton cuts the checksum out of the query textually. We cut whole `checksum=V` items, which is the same
//! for every honest client and does not maul a parameter whose name merely ends in `checksum`. As there, the
//! first `checksum` gives `V`, and every item that repeats it goes; one with another value is part of the query.

use std::borrow::Cow;

use super::checksum::{Algorithm, Claim};
use super::params::{Params, decode_value, items, value_of};

/// A raw query string, apart from its checksum. Borrows the query; of an honest one nothing is copied.
#[derive(Debug, Clone)]
pub struct SignedQuery<'a> {
    /// The query up to its checksum, surrounding white space stripped. All of it where the checksum stood last.
    head: Cow<'a, [u8]>,
    /// The query from behind its checksum.
    tail: &'a [u8],
    /// What the client claims, decoded and trimmed; empty if there is no checksum.
    checksum: Cow<'a, str>,
    /// The raw value of `checksumHash`.
    algorithm: Option<&'a [u8]>,
    /// All but these two.
    params: Params<'a>,
}

impl<'a> SignedQuery<'a> {
    /// Finds the checksum. Any bytes are a query; see [`is_signed`](Self::is_signed).
    pub fn parse(raw: &'a [u8]) -> Self {
        let raw = trim(raw);
        let mut start = 0;
        let (mut found, mut algorithm) = (None, None);
        let params = Params::parse_some(raw, |item| {
            let at = start;
            start += item.len() + 1;
            if let Some(value) = value_of(item, b"checksum") {
                found.get_or_insert((at, item, value));
                false
            } else if let Some(value) = value_of(item, b"checksumHash") {
                algorithm.get_or_insert(value);
                false
            } else {
                true
            }
        });
        let Some((at, item, value)) = found else {
            return Self { head: raw.into(), tail: b"", checksum: "".into(), algorithm, params };
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
            return Self { head: query.into(), tail: b"", checksum, algorithm, params };
        }
        let (head, tail) = match (trim_start(head), trim_end(tail)) {
            (b"", tail) => (&raw[..0], trim_start(tail)),
            (head, b"") => (trim_end(head), &raw[..0]),
            both => both,
        };
        Self { head: head.into(), tail, checksum, algorithm, params }
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
        let named = self.algorithm.map(decode_value);
        let claim = Claim::read(self.checksum.as_bytes(), named.as_deref())?;
        claim.verify(call, [&self.head, self.tail], allowed, secrets)
    }

    /// What was asked: the parameters without `checksum` and `checksumHash`, as they stand between the
    /// `&`s. (White space there, which is not hashed at an end, cannot stand on a request line.)
    pub fn params(&self) -> &Params<'a> {
        &self.params
    }

    /// The query without its checksum, byte for byte what was hashed.
    #[cfg(test)]
    fn unsigned(&self) -> Cow<'a, [u8]> {
        if self.tail.is_empty() {
            self.head.clone()
        } else if self.head.is_empty() {
            self.tail.into()
        } else {
            [&self.head, self.tail].concat().into()
        }
    }
}

/// What BigBlueButton strips off the ends before it hashes: white space and control characters.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

fn is_blank_byte(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank_byte(*byte));
    &bytes[start.unwrap_or(bytes.len())..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| !is_blank_byte(*byte));
    &bytes[..last.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bbb::{checksum, signed_query};

    const SECRET: &str = "MyTestSalt";
    /// sha1 of `isMeetingRunning`, `meetingID=Foo` and the secret.
    const SUM: &str = "f59b73c5cf1db387da4ca7d937049420d4c50a12";

    fn verifies(query: &str) -> bool {
        let found = SignedQuery::parse(query.as_bytes()).verify(
            "isMeetingRunning",
            &Algorithm::ALL,
            ["", SECRET],
        );
        found == Some(1)
    }

    /// The query without its checksum, where `V` stands for a checksum.
    fn unsigned(query: &str) -> String {
        let query = query.replace('V', SUM);
        let signed = SignedQuery::parse(query.as_bytes());
        String::from_utf8(signed.unsigned().into_owned()).unwrap().replace(SUM, "V")
    }

    #[test]
    fn the_checksum_is_cut_out_wherever_it_stands() {
        for (query, expected) in [
            ("", ""),
            ("a=1", "a=1"),
            ("checksum=V", ""),
            ("&checksum=V", ""),
            ("checksum=V&", ""),
            ("&checksum=V&", "&"),
            ("checksum=V&a=1", "a=1"),
            ("checksum=V&&a=1", "&a=1"),
            ("a=1&checksum=V", "a=1"),
            ("a=1&checksum=V&", "a=1&"),
            ("a=1&checksum=V&b=2", "a=1&b=2"),
            ("&a=1&checksum=V", "&a=1"),
            ("&checksum=V&a=1", "&a=1"),
            // Every repetition of the first one goes, another value stays.
            ("checksum=V&checksum=V", ""),
            ("checksum=V&a=1&checksum=V", "a=1"),
            ("a=1&checksum=V&checksum=V&b=2", "a=1&b=2"),
            ("a=1&checksum=V&checksum=W", "a=1&checksum=W"),
            // Names that only look like it.
            ("mychecksum=V&a=1&checksum=V", "mychecksum=V&a=1"),
            ("checksum=V&mychecksum=V", "mychecksum=V"),
            ("a=1&checksum=V&checksumHash=sha1", "a=1&checksumHash=sha1"),
            ("checksum=V&checksums=V", "checksums=V"),
            ("Checksum=V", "Checksum=V"),
            // White space around the query is no part of it.
            (" a=1&checksum=V\r\n", "a=1"),
            ("a=1\t&checksum=V", "a=1"),
            ("checksum=V& a=1 ", "a=1"),
            (" \n", ""),
        ] {
            assert_eq!(unsigned(query), expected, "{query:?}");
        }
    }

    #[test]
    fn a_right_checksum_verifies_in_every_position_and_spelling() {
        for query in [
            format!("meetingID=Foo&checksum={SUM}"),
            format!("checksum={SUM}&meetingID=Foo"),
            format!("checksum={SUM}&meetingID=Foo&checksum={SUM}"),
            format!("meetingID=Foo&checksum={}", SUM.to_uppercase()),
            format!("meetingID=Foo&checksum={SUM}%20"),
            format!("meetingID=Foo&checksum=+{SUM}%0A"),
            format!("meetingID=Foo&check%73um={SUM}"),
        ] {
            assert!(verifies(&query), "{query}");
        }
    }

    #[test]
    fn a_wrong_checksum_never_verifies() {
        let unkeyed = checksum(Algorithm::Sha1, "isMeetingRunning", b"meetingID=Foo", "");
        for query in [
            "meetingID=Foo".to_owned(),
            "meetingID=Foo&checksum".to_owned(),
            "meetingID=Foo&checksum=".to_owned(),
            format!("meetingID=foo&checksum={SUM}"),
            format!("&meetingID=Foo&checksum={SUM}"),
            format!("meetingID=Foo&checksum={SUM}0"),
            format!("meetingID=Foo&checksum=00&checksum={SUM}"),
            format!("meetingID=Foo&checksum={unkeyed}"),
            format!("meetingID=Foo&checksum={}", SUM.split_at(39).0),
            format!("meetingID=Foo&checksum={}ü", SUM.split_at(38).0),
        ] {
            assert!(!verifies(&query), "{query}");
        }
    }

    #[test]
    fn queries_of_real_clients_verify() {
        let sign =
            |call: &str, query: &str| checksum(Algorithm::Sha1, call, query.as_bytes(), SECRET);
        for (call, query, raw) in [
            ("", "", format!("checksum={}", sign("", ""))),
            ("hooks/list", "", format!("&checksum={}", sign("hooks/list", ""))),
            ("join", "&a=1", format!("&a=1&checksum={}", sign("join", "&a=1"))),
        ] {
            let signed = SignedQuery::parse(raw.as_bytes());
            assert!(signed.is_signed());
            assert_eq!(signed.unsigned(), query.as_bytes());
            assert_eq!(signed.verify(call, &Algorithm::ALL, [SECRET]), Some(0), "{raw}");
        }
    }

    #[test]
    fn checksum_hash_is_part_of_the_query_and_names_the_algorithm() {
        let verifies = |signed_with: Algorithm, named: &str| {
            let raw = format!("meetingID=a&checksumHash={named}");
            let raw = signed_query(signed_with, "end", raw.as_bytes(), SECRET);
            SignedQuery::parse(raw.as_bytes()).verify("end", &Algorithm::ALL, [SECRET]).is_some()
        };
        assert!(verifies(Algorithm::Sha512, "sha512"));
        assert!(!verifies(Algorithm::Sha512, "sha256"));
        assert!(verifies(Algorithm::Sha512, "whirlpool"));
    }

    #[test]
    fn only_allowed_algorithms_verify() {
        let raw = signed_query(Algorithm::Sha1, "end", b"meetingID=a", SECRET);
        let signed = SignedQuery::parse(raw.as_bytes());
        assert_eq!(signed.verify("end", &[Algorithm::Sha256], [SECRET]), None);
        assert_eq!(signed.verify("end", &[Algorithm::Sha256, Algorithm::Sha1], [SECRET]), Some(0));
    }

    #[test]
    fn nothing_is_copied_for_an_honest_query() {
        let query = format!("meetingID=Foo&checksum={SUM}");
        let signed = SignedQuery::parse(query.as_bytes());
        assert!(matches!(signed.head, Cow::Borrowed(_)));
        assert!(matches!(signed.checksum, Cow::Borrowed(_)));
        assert!(matches!(signed.unsigned(), Cow::Borrowed(b"meetingID=Foo")));
    }

    proptest! {
        #[test]
        fn what_signed_query_signs_verifies(
            query in "(&?[a-zA-Z%+~*:,/]{0,8}=[!-%'-~]{0,12}){0,6}",
            algorithm in proptest::sample::select(&Algorithm::ALL),
            secret in "[!-~]{1,40}",
        ) {
            prop_assume!(!query.contains("checksum"));
            let raw = signed_query(algorithm, "create", query.as_bytes(), &secret);
            let signed = SignedQuery::parse(raw.as_bytes());
            prop_assert!(signed.is_signed());
            prop_assert_eq!(signed.verify("create", &[algorithm], [secret.as_str()]), Some(0));
            prop_assert_eq!(signed.verify("join", &[algorithm], [secret.as_str()]), None);
            // Moved to the front it is as good.
            let (query, sum) = raw.rsplit_once("checksum=").unwrap();
            let query = query.strip_suffix('&').unwrap_or(query);
            let raw = format!("checksum={sum}&{query}");
            let signed = SignedQuery::parse(raw.as_bytes());
            prop_assert_eq!(signed.verify("create", &[algorithm], [secret.as_str()]), Some(0));
        }

        #[test]
        fn any_bytes_are_a_query(raw: Vec<u8>) {
            let signed = SignedQuery::parse(&raw);
            prop_assert_eq!(signed.verify("create", &Algorithm::ALL, ["", "s"]), None);
            prop_assert!(signed.unsigned().len() <= raw.len());
        }

        #[test]
        fn any_items_are_a_query(
            items in prop::collection::vec(
                prop::sample::select(&["checksum=V", "checksum=W", "a=checksum=V", "", " ", "a"]), 0..8,
            ),
        ) {
            let raw = items.join("&");
            let signed = SignedQuery::parse(raw.as_bytes());
            let found = items.iter().find(|item| item.starts_with("checksum="));
            let kept: Vec<_> = items.iter().filter(|item| Some(*item) != found).copied().collect();
            let kept = kept.join("&");
            prop_assert_eq!(signed.unsigned(), kept.trim_ascii().as_bytes());
        }
    }
}
