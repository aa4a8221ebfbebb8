//! Parameters of a query string or a form.
//!
//! Order, repetition and the raw bytes of everything untouched are kept, so that what we pass on to a node is
//! what the client wrote. Of a repeated name the first value counts, as it does for a node.

use std::borrow::Cow;

use form_urlencoded::byte_serialize;

/// Room for the parameters of most requests, so that it need not grow.
const USUAL_ITEMS: usize = 12;

/// Ordered parameters, each still encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params<'a> {
    /// What stands between the `&`s, empty items too, so that writing gives back what was parsed.
    items: Vec<Cow<'a, [u8]>>,
}

impl<'a> Params<'a> {
    /// Splits a raw query string or form body. Any bytes are parameters.
    pub fn parse(raw: &'a [u8]) -> Self {
        Self::parse_some(raw, |_item| true)
    }

    /// Those of them that `is_one` takes; it sees each item as it is, in order.
    pub(super) fn parse_some(raw: &'a [u8], mut is_one: impl FnMut(&'a [u8]) -> bool) -> Self {
        if raw.is_empty() {
            return Self::default();
        }
        let mut parsed = Vec::with_capacity(USUAL_ITEMS);
        parsed.extend(items(raw).filter(|item| is_one(item)).map(Cow::Borrowed));
        Self { items: parsed }
    }

    /// Adds other parameters behind these.
    pub fn append(&mut self, mut others: Self) {
        self.items.append(&mut others.items);
    }

    /// The same parameters, untied from the bytes they were parsed from.
    pub fn into_owned(self) -> Params<'static> {
        let items = self.items.into_iter().map(|item| Cow::Owned(item.into_owned())).collect();
        Params { items }
    }

    /// The first value of `name`, decoded. Bytes that are not UTF-8 come as replacement characters.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.raw_value(name).map(decode_value)
    }

    /// Whether `name` is missing, or has nothing but white space.
    pub fn is_blank(&self, name: &str) -> bool {
        let value = self.raw_value(name);
        // Nearly every text begins with a letter, and need not be decoded.
        let begins = |value: &[u8]| value.first().is_some_and(u8::is_ascii_alphanumeric);
        value.is_none_or(|value| !begins(value) && decode_value(value).trim().is_empty())
    }

    /// Whether `name` is there, with whatever value.
    pub fn contains(&self, name: &str) -> bool {
        self.raw_value(name).is_some()
    }

    fn raw_value(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        self.items.iter().filter(|item| may_be(item, name)).find_map(|item| value_of(item, name))
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

    /// Removes every one of `names`.
    pub fn remove_all(&mut self, names: &[&str]) {
        self.items.retain(|item| !names.iter().any(|name| is_named(item, name)));
    }

    /// Gives `name` this one value, in the place of its first occurrence or else at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        let Some(first) = self.items.iter().position(|item| is_named(item, name)) else {
            return self.push(name, value);
        };
        self.items[first] = encode(name, &[value]);
        let mut index = 0;
        self.items.retain(|item| {
            index += 1;
            index <= first + 1 || !is_named(item, name)
        });
    }

    /// Gives `name` this value where it is missing.
    pub fn set_if_missing(&mut self, name: &str, value: &str) {
        if !self.contains(name) {
            self.push(name, value);
        }
    }

    /// The names, decoded, in order, but for those that begin with a byte with which none `may_begin`.
    pub fn names(&self, may_begin: impl Fn(u8) -> bool) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let may_be = move |item: &&Cow<'_, [u8]>| {
            item.first().is_some_and(|first| matches!(first, b'%' | b'+') || may_begin(*first))
        };
        self.items.iter().filter(may_be).map(|item| decode(split(item).0))
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.items.reserve(more);
    }

    /// Appends a parameter that was written by [`write`](Self::write).
    pub fn push_encoded(&mut self, item: &'a [u8]) {
        self.items.push(Cow::Borrowed(item));
    }

    /// Appends a parameter whose value comes in pieces.
    pub fn push_pieces(&mut self, name: &str, value: &[&str]) {
        self.items.push(encode(name, value));
    }

    /// Appends a parameter.
    pub fn push(&mut self, name: &str, value: &str) {
        self.items.push(encode(name, &[value]));
    }

    /// The raw query string.
    pub fn write(&self) -> Vec<u8> {
        self.items.join(&b'&')
    }

    /// The parameters as they are written, without the `&`s between them.
    pub(super) fn raw_items(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.items.iter().map(|item| &**item)
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
    let mut rest = Some(raw);
    std::iter::from_fn(move || {
        let all = rest?;
        let Some(at) = memchr::memchr(b'&', all) else { return rest.take() };
        rest = Some(&all[at + 1..]);
        Some(&all[..at])
    })
}

/// The raw value of an item, if it has this name, which may be encoded in the item.
pub(super) fn value_of<'i>(item: &'i [u8], name: &[u8]) -> Option<&'i [u8]> {
    // Every look-up comes by here with every item, and most differ in the first byte.
    let common = common_prefix(item, name);
    match item.get(common) {
        None if common == name.len() && common > 0 => return Some(b""),
        Some(b'=') if common == name.len() => return Some(&item[common + 1..]),
        _ => {}
    }
    // Hardly any name is encoded. One that is differs there, or where the name itself has such a byte.
    let is_escape = |byte: &u8| matches!(byte, b'%' | b'+');
    if !item.get(common).is_some_and(is_escape) && !name[..common].iter().any(is_escape) {
        return None;
    }
    let (found, value) = split(item);
    (*decode(found) == *name).then_some(value)
}

/// The length of what both begin with.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let (ones, _) = one.as_chunks::<8>();
    let (others, _) = other.as_chunks::<8>();
    // Names of one kind begin alike, `userdata-bbb_`, so eight bytes are compared at a time.
    let same = ones.iter().zip(others).take_while(|(one, other)| one == other).count() * 8;
    let rest = one[same..].iter().zip(&other[same..]);
    same + rest.take_while(|(one, other)| one == other).count()
}

/// Form-decodes a value. Borrows where there is nothing to decode.
pub(super) fn decode_value(raw: &[u8]) -> Cow<'_, str> {
    match decode(raw) {
        Cow::Borrowed(bytes) => {
            str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
        }
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            .into(),
    }
}

fn is_named(item: &[u8], name: &str) -> bool {
    may_be(item, name.as_bytes()) && value_of(item, name.as_bytes()).is_some()
}

/// Whether an item is long enough for a name, and begins with its first byte. What is encoded is longer than
/// what it says, and may begin with anything that it says.
fn may_be(item: &[u8], name: &[u8]) -> bool {
    let Some(first) = name.first() else { return true };
    item.len() >= name.len()
        && item.first().is_some_and(|begins| begins == first || matches!(begins, b'%' | b'+'))
}

fn split(item: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', item) {
        Some(at) => (&item[..at], &item[at + 1..]),
        None => (item, b""),
    }
}

fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut bytes = raw.to_vec();
    for byte in bytes.iter_mut().filter(|byte| **byte == b'+') {
        *byte = b' ';
    }
    match percent_encoding::percent_decode(&bytes).into() {
        Cow::Owned(decoded) => Cow::Owned(decoded),
        Cow::Borrowed(_) => Cow::Owned(bytes),
    }
}

fn encode(name: &str, value: &[&str]) -> Cow<'static, [u8]> {
    let value_len: usize = value.iter().map(|piece| piece.len()).sum();
    let mut item = String::with_capacity(name.len() + 1 + value_len + value_len / 2);
    item.extend(byte_serialize(name.as_bytes()));
    item.push('=');
    item.extend(value.iter().flat_map(|piece| byte_serialize(piece.as_bytes())));
    Cow::Owned(item.into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bbb::{Algorithm, checksum, verify};

    fn written(params: &Params<'_>) -> String {
        String::from_utf8(params.write()).unwrap()
    }

    #[test]
    fn values_are_decoded_as_forms_are() {
        let params = Params::parse(b"a=1+2&b=%C3%BC%2b&c&d=x=y&%65=5&a=9&f=%zz%&g=%FF");
        for (name, value) in
            [("a", "1 2"), ("b", "ü+"), ("c", ""), ("d", "x=y"), ("e", "5"), ("f", "%zz%")]
        {
            assert_eq!(params.get(name).as_deref(), Some(value), "{name}");
            assert!(params.contains(name));
        }
        assert_eq!(params.get("g").as_deref(), Some("\u{fffd}"));
        let blank = Params::parse(b"a=&b=+%09%20&c=+x&d=x&e=%C3%BC");
        assert_eq!(
            ["a", "b", "c", "d", "e", "f"].map(|name| blank.is_blank(name)),
            [true, true, false, false, false, true]
        );
        assert_eq!(params.get("A"), None);
        assert_eq!(params.get(""), None);
        assert_eq!(Params::parse(b"a&&=1").get(""), Some("1".into()));
        assert!(matches!(params.get("d"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn only_touched_items_change() {
        let mut params = Params::parse(b"&n=a+b&x=%7e&n=c&y=~&");
        params.set("n", "ü &=");
        assert_eq!(written(&params), "&n=%C3%BC+%26%3D&x=%7e&y=~&");
        params.push("x", "2");
        assert!(params.remove("x"));
        assert!(!params.remove("x"));
        assert_eq!(written(&params), "&n=%C3%BC+%26%3D&y=~&");
        params.set("z", "");
        assert_eq!(written(&params), "&n=%C3%BC+%26%3D&y=~&&z=");
        assert_eq!(params.clone().into_owned(), params);
    }

    #[test]
    fn empty_items_are_no_parameters() {
        let params = Params::parse(b"&&a=1&=2&");
        let found: Vec<_> = params.iter().collect();
        assert_eq!(found, [("a".into(), "1".into()), ("".into(), "2".into())]);
        assert!(Params::parse(b"").is_empty());
        assert!(Params::parse(b"&").is_empty());
        assert!(!Params::parse(b"a").is_empty());
        let mut params = Params::default();
        params.push("a", "1");
        assert_eq!(written(&params), "a=1");
    }

    #[test]
    fn forms_verify_in_both_variants() {
        let form =
            b"name=Caf%C3%A9%20*-._~&meetingID=a%2Fb&checksum=00&meetingID=c&checksumHash=sha256";
        let form = Params::parse(form);
        let [empty, sorted] = form_queries(&form);
        assert_eq!(empty, b"");
        let expected = "checksumHash=sha256&meetingID=a%2Fb&name=Caf%C3%A9+*-._%7E";
        assert_eq!(String::from_utf8_lossy(&sorted), expected);
        for query in form_queries(&form) {
            let sum = checksum(Algorithm::Sha256, "create", &query, "s");
            let hash = form.get("checksumHash");
            let verify =
                |secret| verify(&sum, hash.as_deref(), "create", &query, &Algorithm::ALL, [secret]);
            assert_eq!(verify("s"), Some(0));
            assert_eq!(verify("t"), None);
        }
    }

    proptest! {
        #[test]
        fn writing_gives_back_what_was_parsed(raw: Vec<u8>) {
            prop_assert_eq!(Params::parse(&raw).write(), raw);
        }

        #[test]
        fn writing_gives_back_what_was_parsed_with_many_items(raw in "[&=+%a2]{0,40}") {
            let params = Params::parse(raw.as_bytes());
            prop_assert_eq!(params.iter().count() == 0, params.is_empty());
            prop_assert_eq!(params.write(), raw.as_bytes());
        }

        #[test]
        fn what_is_set_can_be_read(raw in "[&=+%a-c]{0,20}", name in "[^\u{fffd}]{1,3}|a|b", value: String) {
            let mut params = Params::parse(raw.as_bytes());
            params.set(&name, &value);
            let bytes = params.write();
            let params = Params::parse(&bytes);
            prop_assert_eq!(params.get(&name), Some(value.as_str().into()));
            prop_assert_eq!(params.iter().filter(|(found, _)| *found == name).count(), 1);
        }
    }
}
