//! Checksums: the hash over call, query and secret that signs every request.
//!
//! The query is hashed as it stands on the request line. Nothing here decodes or reorders it; clients disagree
//! about encoding, and only the bytes they sent give the hash they sent.

use std::fmt;
use std::str::FromStr;

use percent_encoding::AsciiSet;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::params::Params;

/// Bytes in the longest digest, that of SHA-512.
const MAX_DIGEST_LEN: usize = 64;

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

    /// The algorithm whose digest has this many hex digits.
    pub fn from_hex_len(hex_digits: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.digest_len() * 2 == hex_digits)
    }

    const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn digest(self, parts: &[&[u8]]) -> Sum {
        match self {
            Self::Sha1 => Sum::of::<Sha1>(parts),
            Self::Sha256 => Sum::of::<Sha256>(parts),
            Self::Sha384 => Sum::of::<Sha384>(parts),
            Self::Sha512 => Sum::of::<Sha512>(parts),
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

/// The checksum of a call in lower-case hex. `query` is raw and without a checksum.
pub fn checksum(algorithm: Algorithm, call: &str, query: &[u8], secret: &str) -> String {
    let sum = algorithm.digest(&[call.as_bytes(), query, secret.as_bytes()]);
    sum.hex_in(&mut [0; 2 * MAX_DIGEST_LEN]).to_owned()
}

/// `query` with its checksum appended, ready for a request line.
///
/// `query` is raw and without a checksum; like every request line it is ASCII. Bytes beyond that cannot stand
/// in a URL and are percent-encoded first, so what is hashed is what is sent.
pub fn signed_query(algorithm: Algorithm, call: &str, query: &[u8], secret: &str) -> String {
    sign(&[], algorithm, call, [query].into_iter(), secret)
}

/// The query of these parameters, signed like [`signed_query`], behind the pieces of `base`, which end in `?`
/// or are none.
pub fn signed_url(
    base: &[&str],
    algorithm: Algorithm,
    call: &str,
    params: &Params<'_>,
    secret: &str,
) -> String {
    sign(base, algorithm, call, params.raw_items(), secret)
}

fn sign<'p>(
    base: &[&str],
    algorithm: Algorithm,
    call: &str,
    items: impl ExactSizeIterator<Item = &'p [u8]> + Clone,
    secret: &str,
) -> String {
    const CHECKSUM: &[u8] = b"&checksum=";
    let separators = items.len().saturating_sub(1);
    let query_len = items.clone().map(<[u8]>::len).sum::<usize>() + separators;
    let start: usize = base.iter().map(|piece| piece.len()).sum();
    // No more and no less, mostly: a header value takes it over as it is.
    let checksum = if query_len == 0 { &CHECKSUM[1..] } else { CHECKSUM };
    let len = start + query_len + checksum.len() + algorithm.digest_len() * 2;
    let mut url = Vec::with_capacity(len);
    for piece in base {
        url.extend_from_slice(piece.as_bytes());
    }
    for (index, item) in items.enumerate() {
        if index > 0 {
            url.push(b'&');
        }
        url.extend_from_slice(item);
    }
    if !is_plain(&url[start..]) {
        let encoded = percent_encoding::percent_encode(&url[start..], REFUSED).to_string();
        url.truncate(start);
        url.extend(encoded.into_bytes());
    }
    let sum = algorithm.digest(&[call.as_bytes(), &url[start..], secret.as_bytes()]);
    url.extend_from_slice(checksum);
    url.extend_from_slice(sum.hex_in(&mut [0; 2 * MAX_DIGEST_LEN]).as_bytes());
    String::from_utf8(url).expect("what is not ASCII has been encoded")
}

/// What may not stand on a request line: controls, space, bytes beyond ASCII, and what HTTP libraries
/// refuse in a URI. A form that becomes a query may hold any of them.
const REFUSED: &AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'#')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'\\')
    .add(b'^');

/// Whether nothing has to be encoded in a query of the usual characters.
fn is_plain(query: &[u8]) -> bool {
    // Without a way out in the middle, so that many bytes are looked at in one step.
    query.iter().fold(true, |all, byte| {
        let is_usual = (b'$'..=b';').contains(byte)
            | (b'?'..=b'Z').contains(byte)
            | byte.is_ascii_lowercase()
            | matches!(byte, b'=' | b'_' | b'~');
        all & is_usual
    })
}

/// The position of the first of `secrets` under which `hex` is the checksum of `call` and `query`.
///
/// The algorithm is the one that `checksum_hash` (the request's `checksumHash`) names, else the one whose digest
/// has the length of `hex`; it must be among `allowed`. Upper- and lower-case hex are equal. An empty secret
/// never matches: BigBlueButton takes it for "do not check". The comparison takes the same time wherever the
/// digests differ.
pub fn verify<'s>(
    hex: &str,
    checksum_hash: Option<&str>,
    call: &str,
    query: &[u8],
    allowed: &[Algorithm],
    secrets: impl IntoIterator<Item = &'s str>,
) -> Option<usize> {
    let claim = Claim::read(hex.as_bytes(), checksum_hash)?;
    claim.verify(call, [query, b""], allowed, secrets)
}

/// A checksum as a client sent it, decoded.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    algorithm: Algorithm,
    sum: Sum,
}

impl Claim {
    pub(super) fn read(hex: &[u8], checksum_hash: Option<&str>) -> Option<Self> {
        let of_len = Algorithm::from_hex_len(hex.len())?;
        let algorithm = checksum_hash.and_then(|name| name.parse().ok()).unwrap_or(of_len);
        let mut sum = Sum { bytes: [0; MAX_DIGEST_LEN], len: hex.len() / 2 };
        hex::decode_to_slice(hex, &mut sum.bytes[..sum.len]).ok()?;
        // A named algorithm of another length can match nothing.
        (algorithm == of_len).then_some(Self { algorithm, sum })
    }

    /// The query comes in two pieces, what stands before its checksum and what stands behind, so that nobody
    /// has to join them.
    pub(super) fn verify<'s>(
        &self,
        call: &str,
        [head, tail]: [&[u8]; 2],
        allowed: &[Algorithm],
        secrets: impl IntoIterator<Item = &'s str>,
    ) -> Option<usize> {
        if !allowed.contains(&self.algorithm) {
            return None;
        }
        secrets.into_iter().position(|secret| {
            let parts = [call.as_bytes(), head, tail, secret.as_bytes()];
            !secret.is_empty() && self.algorithm.digest(&parts).same_as(&self.sum)
        })
    }
}

/// A digest of any of the algorithms, without an allocation.
#[derive(Clone, Copy)]
struct Sum {
    bytes: [u8; MAX_DIGEST_LEN],
    len: usize,
}

impl Sum {
    fn of<D: Digest>(parts: &[&[u8]]) -> Self {
        let mut hasher = D::new();
        for part in parts {
            hasher.update(part);
        }
        let digest = hasher.finalize();
        let mut bytes = [0; 64];
        bytes[..digest.len()].copy_from_slice(&digest);
        Self { bytes, len: digest.len() }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn hex_in<'h>(&self, hex: &'h mut [u8; 2 * MAX_DIGEST_LEN]) -> &'h str {
        let hex = &mut hex[..2 * self.len];
        hex::encode_to_slice(self.as_bytes(), hex).expect("two digits for each byte");
        str::from_utf8(hex).expect("hex digits are ASCII")
    }

    /// In words instead of bytes; behind the digest there are only zeros.
    fn same_as(&self, other: &Self) -> bool {
        let words = |sum: &Self| {
            let (chunks, _) = sum.bytes.as_chunks();
            let mut words = [0; MAX_DIGEST_LEN / 8];
            words
                .iter_mut()
                .zip(chunks)
                .for_each(|(word, chunk)| *word = u64::from_ne_bytes(*chunk));
            words
        };
        bool::from(words(self).ct_eq(&words(other))) && self.len == other.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "639259d4-9dd8-4b25-bf01-95f9567eaf4b";
    const QUERY: &[u8] = b"name=Test+Meeting&meetingID=abc123&attendeePW=111222&moderatorPW=333444";

    #[test]
    fn checksums_are_those_of_the_documentation() {
        let sum = checksum(Algorithm::Sha1, "create", QUERY, SECRET);
        assert_eq!(sum, "1fcbb0c4fc1f039f73aa6d697d2db9ba7f803f17");
        let sum = checksum(Algorithm::Sha1, "isMeetingRunning", b"meetingID=Foo", "MyTestSalt");
        assert_eq!(sum, "f59b73c5cf1db387da4ca7d937049420d4c50a12");
    }

    #[test]
    fn the_length_of_a_checksum_tells_its_algorithm() {
        for algorithm in Algorithm::ALL {
            let sum = checksum(algorithm, "end", b"", "s");
            assert_eq!(Algorithm::from_hex_len(sum.len()), Some(algorithm));
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        assert_eq!(Algorithm::from_hex_len(0), None);
        assert_eq!(Algorithm::from_hex_len(41), None);
    }

    #[test]
    fn a_signed_query_is_a_request_line() {
        let signed = signed_query(Algorithm::Sha1, "create", QUERY, SECRET);
        let query = str::from_utf8(QUERY).unwrap();
        assert_eq!(signed, format!("{query}&checksum=1fcbb0c4fc1f039f73aa6d697d2db9ba7f803f17"));
        let empty = checksum(Algorithm::Sha256, "getMeetings", b"", SECRET);
        let signed = signed_query(Algorithm::Sha256, "getMeetings", b"", SECRET);
        assert_eq!(signed, format!("checksum={empty}"));
        let signed = signed_query(Algorithm::Sha1, "create", "name=ü b".as_bytes(), SECRET);
        let sum = checksum(Algorithm::Sha1, "create", b"name=%C3%BC%20b", SECRET);
        assert_eq!(signed, format!("name=%C3%BC%20b&checksum={sum}"));
    }

    #[test]
    fn the_first_fitting_secret_is_found_and_an_empty_one_never_fits() {
        let all = &Algorithm::ALL;
        for algorithm in Algorithm::ALL {
            let sum = checksum(algorithm, "end", b"meetingID=a", SECRET);
            let verify = |hex: &str, allowed: &[Algorithm], secrets: &[&str]| {
                verify(hex, None, "end", b"meetingID=a", allowed, secrets.iter().copied())
            };
            assert_eq!(verify(&sum, all, &["", "other", SECRET, SECRET]), Some(2));
            assert_eq!(verify(&sum.to_uppercase(), all, &[SECRET]), Some(0));
            assert_eq!(verify(&sum, all, &["other"]), None);
            assert_eq!(verify(&sum, all, &[]), None);
            assert_eq!(verify(&sum, &[], &[SECRET]), None);
            assert_eq!(verify(sum.split_at(1).1, all, &[SECRET]), None);
            assert_eq!(
                verify(&sum.replace(|c: char| c.is_ascii_digit(), "g"), all, &[SECRET]),
                None
            );
            let unkeyed = checksum(algorithm, "end", b"meetingID=a", "");
            assert_eq!(verify(&unkeyed, all, &["", ""]), None);
        }
    }

    #[test]
    fn checksum_hash_names_the_algorithm() {
        let sum = checksum(Algorithm::Sha256, "end", b"", SECRET);
        let verify = |name| verify(&sum, Some(name), "end", b"", &Algorithm::ALL, [SECRET]);
        assert_eq!(verify("sha256"), Some(0));
        assert_eq!(verify("sha1"), None);
        assert_eq!(verify("md5"), Some(0), "an unknown name leaves it to the length");
    }
}
