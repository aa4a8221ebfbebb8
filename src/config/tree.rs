//! YAML as a tree that remembers where everything stood.
//!
//! serde stops at the first mistake; a tree can be walked to the end. Scalars are kept as the text that
//! was written, not as what YAML makes of it: a secret `0123e45` must not become a number, and a
//! parameter value `no` must not become `false`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Spanned};

/// One value of the file and the line where it is used, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar, as written, without its quotes.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u64,
    pub(crate) node: Node,
}

/// JSON has no lines to remember: all of it is on the first.
impl From<&serde_json::Value> for Node {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Scalar(flag.to_string()),
            Json::Number(number) => Value::Scalar(number.to_string()),
            Json::String(text) => Value::Scalar(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from).collect()),
            Json::Object(fields) => {
                let entry = |(key, value): (&String, &Json)| Entry {
                    key: key.clone(),
                    line: 1,
                    node: Self::from(value),
                };
                Value::Map(fields.iter().map(entry).collect())
            }
        };
        Self { line: 1, value }
    }
}

/// Why, and where, a text is no YAML that we can read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Malformed {
    pub(crate) line: Option<u64>,
    pub(crate) message: String,
}

/// Every node and alias of the largest inventory we can imagine (10,000 tenants of 50 values each), while
/// a bomb of aliases stops at some 100 MiB.
const MAX_NODES: usize = 500_000;

/// Twice as deep as the file goes. The library reads recursively, and in a debug build its own limit of 64
/// is more than the stack of a thread holds.
const MAX_DEPTH: usize = 20;

/// Reads one YAML document. A duplicate key is a mistake like any other, so the rest is read in spite of
/// it; every other malformation ends the reading.
pub(crate) fn read(text: &str) -> (Option<Node>, Vec<Malformed>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match read_with(text, DuplicateKeyPolicy::Error) {
        Ok(node) => (Some(node), Vec::new()),
        Err(error) => {
            let duplicate = matches!(cause(&error), Error::DuplicateMappingKey { .. });
            let node =
                duplicate.then(|| read_with(text, DuplicateKeyPolicy::FirstWins).ok()).flatten();
            (node, vec![Malformed::from(error)])
        }
    }
}

fn read_with(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        duplicate_keys: duplicate_keys,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        // A snippet of the file could show a secret.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options)
        .map(|raw| Node::new(raw, text))
}

impl Node {
    /// Puts line numbers in and the text of plain scalars back.
    fn new(raw: Spanned<Raw>, source: &str) -> Self {
        let line = raw.referenced.line();
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Scalar(text),
            Raw::Inferred(fallback) => {
                let span = raw.defined.span();
                let start = span.byte_offset().and_then(|offset| usize::try_from(offset).ok());
                let length = span.byte_len().and_then(|length| usize::try_from(length).ok());
                let written = start
                    .zip(length)
                    .and_then(|(start, length)| source.get(start..start.checked_add(length)?));
                Value::Scalar(written.map_or(fallback, |text| text.trim().to_owned()))
            }
            Raw::List(items) => {
                Value::List(items.into_iter().map(|item| Self::new(item, source)).collect())
            }
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, raw)| Entry {
                        line: key.referenced.line(),
                        key: key.value,
                        node: Self::new(raw, source),
                    })
                    .collect(),
            ),
        };
        Self { line, value }
    }
}

impl From<Error> for Malformed {
    fn from(error: Error) -> Self {
        let location = error.location();
        let message = match cause(&error) {
            Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key {key:?} stands here twice; keep one of them")
            }
            Error::MultipleDocuments { .. } => {
                "a second YAML document begins here; keep one, without `---` after it".to_owned()
            }
            Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
                format!(
                    "the file is too large or too deep; {MAX_NODES} values and {MAX_DEPTH} levels are enough"
                )
            }
            error => {
                let text = error.to_string();
                // Its first line says what is wrong, and where at the end.
                let what = text.lines().next().unwrap_or_default();
                let what = what.split(" at line ").next().unwrap_or_default();
                let column = location.map_or(0, |location| location.column());
                format!("column {column}: cannot be read as YAML: {what}")
            }
        };
        Self { line: location.map(|location| location.line()), message }
    }
}

/// The error itself, without the alias through which it was met.
fn cause(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => cause(error),
        error => error,
    }
}

/// A value while the library still holds its position.
enum Raw {
    Null,
    Text(String),
    /// A plain scalar that YAML takes for a boolean or a number, and how Rust would print it.
    Inferred(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Inferred(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Inferred(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Inferred(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Inferred(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn scalar_at<'a>(node: &'a Node, key: &str) -> (&'a str, u64) {
        let Value::Map(entries) = &node.value else { panic!("a mapping") };
        let entry = entries.iter().find(|entry| entry.key == key).expect("the key");
        let Value::Scalar(text) = &entry.node.value else { panic!("a scalar") };
        (text, entry.node.line)
    }

    #[test]
    fn scalars_keep_the_text_that_was_written() {
        let text = "a: 0123e45\nb: no\nc: 1.0 # one\nd: \"7\"\ne: 1e999\nf: 007\nü: -0x1F\n";
        let (node, malformed) = read(text);
        assert_eq!(malformed, []);
        let node = node.expect("a tree");
        assert_eq!(scalar_at(&node, "a"), ("0123e45", 1));
        assert_eq!(scalar_at(&node, "b"), ("no", 2));
        assert_eq!(scalar_at(&node, "c"), ("1.0", 3));
        assert_eq!(scalar_at(&node, "d"), ("7", 4));
        assert_eq!(scalar_at(&node, "e"), ("1e999", 5));
        assert_eq!(scalar_at(&node, "f"), ("007", 6));
        assert_eq!(scalar_at(&node, "ü"), ("-0x1F", 7));
    }

    #[test]
    fn aliases_and_merges_stand_where_they_are_used() {
        let (node, _) = read("a: &x 010\nb: *x\n");
        assert_eq!(scalar_at(&node.expect("a tree"), "b"), ("010", 2));
        let (node, _) = read("a: &x { n: 010 }\nb:\n  <<: *x\n  m: 2\n");
        let Value::Map(entries) = node.expect("a tree").value else { panic!("a mapping") };
        assert_eq!(scalar_at(&entries[1].node, "n"), ("010", 3));
    }

    #[test]
    fn a_duplicate_key_does_not_hide_the_rest() {
        let (node, malformed) = read("a: 1\nb: 2\na: 3\n");
        assert_eq!(scalar_at(&node.expect("a tree"), "a"), ("1", 1));
        let message = "the key \"a\" stands here twice; keep one of them".to_owned();
        assert_eq!(malformed, [Malformed { line: Some(3), message }]);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let item = format!("*a{}", level - 1);
            let items = [item.as_str(); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{items}]").unwrap();
        }
        let (node, malformed) = read(&text);
        assert_eq!((node, malformed.len()), (None, 1));
        assert!(malformed[0].message.contains("too large"), "{malformed:?}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
            let (node, malformed) = read(&text);
            assert_eq!((node, malformed.len()), (None, 1));
        }
        let mut chain = "a0: &a0 x\n".to_owned();
        for level in 1..50 {
            let (open, close) = ("[".repeat(15), "]".repeat(15));
            writeln!(chain, "a{level}: &a{level} {open}*a{}{close}", level - 1).unwrap();
        }
        assert_eq!(read(&chain).1.len(), 1, "a chain of aliases");
        let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(read(&deepest).1, []);
    }

    #[test]
    fn nothing_is_an_empty_tree_and_odd_keys_are_refused() {
        for text in ["", "# only a comment\n", "---\n", "~"] {
            assert_eq!(read(text).0.map(|node| node.value), Some(Value::Null), "{text:?}");
        }
        for text in ["? [a, b]\n: c", "~: a", "{a: 1}: b"] {
            assert_eq!(read(text).1.len(), 1, "{text:?}");
        }
    }
}
