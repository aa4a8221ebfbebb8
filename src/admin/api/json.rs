//! JSON as somebody has written it, in which no key stands twice: of two values only one could count, and nobody
//! could tell which its writer meant.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use axum::http::StatusCode;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use super::problem::{MAX_FIELDS, Problem};

/// What is told of a path. Keys are as long as whoever sends them likes.
const MAX_PATH_CHARS: usize = 200;

/// Reads a document.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Problem> {
    let twice = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let all = Each { place: Place::Whole, twice: &twice };
    let read = all.deserialize(&mut deserializer);
    let read = read.and_then(|document| deserializer.end().map(|()| document));
    let document = read.map_err(|error| {
        let detail = format!("the body is no JSON: {}", malformed(bytes, &error));
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let twice = twice.into_inner();
    if twice.is_empty() {
        return Ok(document);
    }
    let told = |path| (path, "stands there twice: keep one of them".to_owned());
    Err(Problem::fields(twice.into_iter().map(told)))
}

/// Why, and where, it is no JSON. Lines and columns are of no use where all is on one line.
fn malformed(bytes: &[u8], error: &serde_json::Error) -> String {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return "there is nothing in it; send a document such as {\"key\": \"value\"}".to_owned();
    }
    let before: usize = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let at = before + error.column();
    if error.classify() == Category::Eof {
        return format!("it ends after byte {at}, before the document does");
    }
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    let what = match what {
        "expected value" => "there is no value",
        "key must be a string" => "a key is not in double quotes",
        "trailing comma" => "a comma stands before a closing bracket",
        "trailing characters" => "something stands behind the document",
        "recursion limit exceeded" => "it is nested too deeply",
        other => other,
    };
    format!("at byte {at}: {what}")
}

/// Where a value stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Whole,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

/// Takes the beginning of a text, and ends its writing.
struct Clipped {
    text: String,
    left: usize,
}

impl fmt::Write for Clipped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}

impl Place<'_> {
    /// Its beginning. The whole is not made first: it may be as long as the document.
    fn clipped(&self) -> String {
        let mut clipped = Clipped { text: String::new(), left: MAX_PATH_CHARS };
        if write!(clipped, "{self}").is_err() {
            clipped.text.push('…');
        }
        clipped.text
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Key(Self::Whole, key) => f.write_str(key),
            Self::Key(above, key) => write!(f, "{above}.{key}"),
            Self::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// Reads one value, and goes on behind a key that stands there twice: all of them are told.
struct Each<'a> {
    place: Place<'a>,
    twice: &'a RefCell<Vec<String>>,
}

impl Each<'_> {
    /// Tells that a key stands here twice, unless nobody would be told of it.
    fn tell(&self, key: &str) {
        let mut twice = self.twice.borrow_mut();
        if twice.len() >= MAX_FIELDS {
            return;
        }
        let path = Place::Key(&self.place, key).clipped();
        // Three times is twice, too.
        if !twice.contains(&path) {
            twice.push(path);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let place = Place::Item(&self.place, items.len());
            match seq.next_element_seed(Each { place, twice: self.twice })? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let place = Place::Key(&self.place, &key);
            let value = map.next_value_seed(Each { place, twice: self.twice })?;
            match fields.entry(key) {
                Entry::Vacant(field) => drop(field.insert(value)),
                Entry::Occupied(field) => self.tell(field.key()),
            }
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_once_is_read_as_ever() {
        for text in [
            r#"{"a": [1, -2, 0.5, "x", null, true, {"a": {}}], "b": "\u00e9", "c": 18446744073709551615}"#,
            "[]",
            " 7 ",
            "null",
        ] {
            let expected: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(read(text.as_bytes()).expect("JSON"), expected, "{text}");
        }
    }

    #[test]
    fn every_key_that_stands_there_twice_is_named() {
        let text =
            r#"{"name": 1, "list": [{}, {"b": {"c": 1, "c": 2, "c": 3}}], "name": 2, "name": 2}"#;
        let problem = read(text.as_bytes()).expect_err("twice");
        let fields: Vec<_> = problem.wrong_fields().map(|(field, _)| field).collect();
        assert_eq!(fields, ["list[1].b.c", "name"]);
        assert_eq!(problem.told().0, StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn keys_as_long_as_the_document_are_told_by_their_beginnings() {
        let long = "ä".repeat(250_000);
        // Each pair in its own object, too: no two paths are the same.
        let pairs = r#"{"aa":0,"aa":0},"#.repeat(30_000);
        let text = format!(r#"{{"{long}":[{pairs}0],"list":[{pairs}0]}}"#);
        let problem = read(text.as_bytes()).expect_err("twice");
        let fields: Vec<_> = problem.wrong_fields().map(|(field, _)| field).collect();
        assert_eq!(fields.len(), MAX_FIELDS);
        let clipped = format!("{}…", "ä".repeat(MAX_PATH_CHARS));
        assert_eq!(fields[..2], [clipped.as_str(), "list[0].aa"]);
        assert_eq!(fields[MAX_FIELDS - 1], format!("list[{}].aa", MAX_FIELDS - 2));
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place_in_the_body() {
        let deep = "[".repeat(1000);
        for (text, told) in [
            ("", "there is nothing in it"),
            ("{\n\"a\": 1", "it ends after byte 8"),
            ("{\n\"a\": ?}", "at byte 8: there is no value"),
            ("{a: 1}", "at byte 2: a key is not in double quotes"),
            ("{\"a\": 1,}", "at byte 9: a comma stands before"),
            ("{} {}", "at byte 4: something stands behind the document"),
            (&deep, "it is nested too deeply"),
        ] {
            let problem = read(text.as_bytes()).expect_err(text);
            let (status, detail) = problem.told();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{detail}");
            assert!(detail.contains(told) && !detail.contains("line"), "{detail}");
        }
    }
}
