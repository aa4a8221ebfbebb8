//! Parameters of a query string or a form.
//!
//! Order, repetition and the raw bytes of everything untouched are kept, so that what we pass on to a node is
//! what the client wrote. Of a repeated name the first value counts, as it does for a node.

use std::borrow::Cow;

use form_urlencoded::byte_serialize;

/// Ordered parameters, each still encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params<'a> {
    /// What stands between the `&`s, empty items too, so that writing gives back what was parsed.
    items: Vec<Cow<'a, [u8]>>,
}

impl<'a> Params<'a> {
    /// Splits a raw query string or form body. Any bytes are parameters.
    pub fn parse(raw: &'a [u8]) -> Self {
        if raw.is_empty() {
            return Self::default();
        }
        Self { items: items(raw).map(Cow::Borrowed).collect() }
    }

    /// The same parameters, untied from the bytes they were parsed from.
    pub fn into_owned(self) -> Params<'static> {
        let items = self.items.into_iter().map(|item| Cow::Owned(item.into_owned())).collect();
        Params { items }
    }

    /// The first value of `name`, decoded. Bytes that are not UTF-8 come as replacement characters.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.items.iter().find_map(|item| value_of(item, name.as_bytes())).map(decode_value)
    }

    /// Whether `name` is there, with whatever value.
    pub fn contains(&self, name: &str) -> bool {
        self.items.iter().any(|item| is_named(item, name))
    }

    /// Names and values, decoded, in order. Empty items are no parameters.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.items.iter().filter(|item| !item.is_empty()).map(|item| {
            let (name, value) = split(item);
            (decode_value(name), decode_value(value))
        })
    }

    /// Removes every `name`. Returns whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.items.len();
        self.items.retain(|item| !is_named(item, name));
        self.items.len() < before
    }

    /// Gives `name` this one value, in the place of its first occurrence or else at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        let Some(first) = self.items.iter().position(|item| is_named(item, name)) else {
            return self.push(name, value);
        };
        self.items[first] = encode(name, value);
        let mut index = 0;
        self.items.retain(|item| {
            index += 1;
            index <= first + 1 || !is_named(item, name)
        });
    }

    /// Appends a parameter.
    pub fn push(&mut self, name: &str, value: &str) {
        self.items.push(encode(name, value));
    }

    /// The raw query string.
    pub fn write(&self) -> Vec<u8> {
        self.items.join(&b'&')
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.items.iter().all(|item| item.is_empty())
    }
}

/// The queries that a form with its checksum in the body may have been signed over.
///
/// BigBlueButton 3.0 hashes an empty query for such a form, and so leaves the values unauthenticated; versions
/// up to 2.7 hash the parameters sorted by name and encoded anew as Java encodes forms. Check a checksum against
/// both with [`verify`](super::verify).
pub fn form_queries(form: &Params<'_>) -> [Vec<u8>; 2] {
    let mut sorted: Vec<_> = form.iter().filter(|(name, _)| name != "checksum").collect();
    // The sort is stable: of a repeated name the first stays first, and it alone counts.
    sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
    sorted.dedup_by(|(later, _), (earlier, _)| later == earlier);
    let rebuilt: Vec<_> = sorted
        .iter()
        .map(|(name, value)| {
            let value = byte_serialize(value.as_bytes());
            [name, "="].into_iter().chain(value).collect::<String>()
        })
        .collect();
    [Vec::new(), rebuilt.join("&").into_bytes()]
}

/// What stands between the `&`s.
pub(super) fn items(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split(|byte| *byte == b'&')
}

/// The raw value of an item, if it has this name, which may be encoded in the item.
pub(super) fn value_of<'i>(item: &'i [u8], name: &[u8]) -> Option<&'i [u8]> {
    let (found, value) = split(item);
    (decode(found).as_ref() == name && !item.is_empty()).then_some(value)
}

/// Form-decodes a value. Borrows where there is nothing to decode.
pub(super) fn decode_value(raw: &[u8]) -> Cow<'_, str> {
    match decode(raw) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => match String::from_utf8_lossy(&bytes) {
            Cow::Borrowed(_) => String::from_utf8(bytes).unwrap_or_default().into(),
            Cow::Owned(text) => text.into(),
        },
    }
}

fn is_named(item: &[u8], name: &str) -> bool {
    value_of(item, name.as_bytes()).is_some()
}

fn split(item: &[u8]) -> (&[u8], &[u8]) {
    match item.iter().position(|byte| *byte == b'=') {
        Some(at) => (&item[..at], &item[at + 1..]),
        None => (item, b""),
    }
}

fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.contains(&b'+') {
        let spaced: Vec<u8> = raw.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        percent_encoding::percent_decode(&spaced).collect::<Vec<u8>>().into()
    } else {
        percent_encoding::percent_decode(raw).into()
    }
}

fn encode(name: &str, value: &str) -> Cow<'static, [u8]> {
    let (name, value) = (byte_serialize(name.as_bytes()), byte_serialize(value.as_bytes()));
    Cow::Owned(name.chain(["="]).chain(value).collect::<String>().into_bytes())
}
