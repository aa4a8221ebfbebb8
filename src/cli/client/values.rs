//! Fields on the command line and in files.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::failure::Failure;

/// The longest document that the API takes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Fields that are texts, whatever they look like.
const TEXTS: [&str; 10] = [
    "account",
    "name",
    "slug",
    "cluster",
    "cluster_group",
    "url",
    "load_url",
    "secret",
    "secret2",
    "stats_token",
];

/// `limits.meetings=5`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Pair {
    path: Vec<String>,
    value: Value,
}

/// Reads a pair: numbers, `true`, lists and mappings as in YAML, anything else as a text, nothing as null.
pub(super) fn pair(text: &str) -> Result<Pair, String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as weight=2")?;
    let path: Vec<_> = key.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err("a KEY is words with dots between them, such as limits.meetings".to_owned());
    }
    let is_text = path.last().is_some_and(|last| TEXTS.contains(&last.as_str()));
    let value = if value.is_empty() {
        Value::Null
    } else if is_text {
        value.into()
    } else if value.starts_with(['[', '{']) {
        serde_saphyr::from_str(value)
            .map_err(|_malformed| "this is no list or mapping in YAML".to_owned())?
    } else {
        serde_json::from_str(value).unwrap_or_else(|_no_json| value.into())
    };
    Ok(Pair { path, value })
}

/// The document of a file, with these pairs over it.
pub(super) fn document(file: Option<&Path>, pairs: &[Pair]) -> Result<Map<String, Value>, Failure> {
    let mut document = match file {
        None => Map::new(),
        Some(file) => mapping(file)?,
    };
    let mut seen = HashSet::new();
    for Pair { path, value } in pairs {
        if !seen.insert(path) {
            let key = path.join(".");
            return Err(Failure::wrong(format_args!("{key}: is set twice: keep one of them")));
        }
        put(&mut document, path, value);
    }
    Ok(document)
}

fn put(document: &mut Map<String, Value>, path: &[String], value: &Value) {
    let Some((key, below)) = path.split_first() else { return };
    if below.is_empty() {
        document.insert(key.clone(), value.clone());
        return;
    }
    let at = document.entry(key.clone()).or_insert(Value::Null);
    if !at.is_object() {
        *at = Map::new().into();
    }
    if let Value::Object(at) = at {
        put(at, below, value);
    }
}

/// A file of YAML or JSON that is a mapping.
pub(super) fn mapping(file: &Path) -> Result<Map<String, Value>, Failure> {
    let text = read(file)?;
    // The parser's own words may quote the file, and so a secret.
    let parsed: Result<Value, _> = serde_saphyr::from_str(&text);
    match parsed {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(Failure::wrong(format_args!("{}: is no mapping", file.display()))),
        Err(error) => {
            let line = error.location().map(|at| format!(":{}", at.line())).unwrap_or_default();
            let what = match error.without_snippet() {
                serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                    format!("the key {key:?} stands there twice: keep one of them")
                }
                _ => "is no YAML or JSON".to_owned(),
            };
            Err(Failure::wrong(format_args!("{}{line}: {what}", file.display())))
        }
    }
}

/// A file, or with `-` standard input.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::wrong(format_args!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    let done = if file == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)
    } else {
        let opened = std::fs::File::open(file).map_err(|error| wrong(&error))?;
        opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)
    };
    done.map_err(|error| wrong(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong(&"is too large"));
    }
    String::from_utf8(bytes).map_err(|_binary| wrong(&"is no text"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pairs_are_what_they_look_like() {
        let pairs: Vec<_> = [
            "limits.meetings=5",
            "limits.limit_joins=true",
            "weight=0.5",
            "tags=[sip, 2g]",
            "name=123",
            "checksum=sha1",
            "secret=[x",
            "load_url=",
            "policy={b3lb: {meeting_factor: 15}}",
        ]
        .iter()
        .map(|text| pair(text).unwrap())
        .collect();
        assert_eq!(
            Value::Object(document(None, &pairs).unwrap()),
            json!({
                "limits": {"meetings": 5, "limit_joins": true}, "weight": 0.5, "tags": ["sip", "2g"],
                "name": "123", "checksum": "sha1", "secret": "[x", "load_url": null,
                "policy": {"b3lb": {"meeting_factor": 15}},
            })
        );
        let twice = [pair("limits.meetings=1").unwrap(), pair("limits.meetings=2").unwrap()];
        assert!(document(None, &twice).is_err());
        for wrong in ["weight", "=1", "a..b=1", "tags=[sip"] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
