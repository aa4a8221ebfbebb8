//! What serde says of a value that it cannot take, in words for operators: what stands there, what is taken, and
//! what helps.
//!
//! serde tells all that in a text alone. That it is the text which is understood here is held by the tests; what is
//! not understood is told to nobody, for it may have a misplaced secret in it. Values are read here, not texts, so
//! that nothing in it says a line and a column.

use std::fmt::Display;

use crate::config;

/// What is shown of a value.
const SHOWN_CHARS: usize = 60;
/// Fields that are shown to nobody.
const SECRETS: [&str; 3] = ["secret", "secret2", "stats_token"];
/// Keys of views that are taken and not looked at; nobody has meant them.
const IGNORED: [&str; 4] = ["files", "origin", "rolling", "status"];
const AN_OBJECT: &str = "an object of keys and values, such as {\"key\": \"value\"}";
/// What is said where it is not understood what serde says.
const NOT_TAKEN: &str = "cannot be taken as it stands there: see the description of the API";
const A_LIST: &str = "a list, such as [\"a\", \"b\"]";

/// The path of the field, and what is wrong with it. `found` gives what stands in a field, where serde does not say.
pub(super) fn told<E: Display>(
    error: &serde_path_to_error::Error<E>,
    found: impl Fn(&str) -> Option<String>,
) -> (String, String) {
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    let path = if path == "." { String::new() } else { path };
    // A key that is missing, or there twice, is no part of the path.
    if let Some(name) = quoted_after(&message, "missing field ") {
        return (joined(&path, name), format!("is missing: {}", what_of(name)));
    }
    if let Some(name) = quoted_after(&message, "duplicate field ") {
        return (joined(&path, name), "stands there twice: keep one of them".to_owned());
    }
    let detail = of_value(&path, &message, found);
    (path, detail)
}

fn of_value(path: &str, message: &str, found: impl Fn(&str) -> Option<String>) -> String {
    let name = path.rsplit('.').next().unwrap_or_default();
    let is_secret = SECRETS.contains(&name);
    if message.starts_with("unknown field ") {
        let known: Vec<_> = words_of(message).filter(|key| !IGNORED.contains(key)).collect();
        return config::unknown_key(name, &known);
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let given = rest.rsplit_once("`, expected ").map_or(rest, |(given, _)| given);
        let words: Vec<_> = words_of(message).collect();
        return format!("{:?} is not one of {}", clipped(given), words.join(", "));
    }
    if message.ends_with("untagged enum PolicyDocument") {
        return "is not one of predictive, b3lb, b3scale, nor {\"b3lb\": {…}} with factors: attendee_factor, \
                meeting_factor, cpu_iterations and cpu_max, which are numbers"
            .to_owned();
    }
    for before in ["invalid type: ", "invalid value: ", "invalid length "] {
        let Some((given, expected)) =
            message.strip_prefix(before).and_then(|rest| rest.rsplit_once(", expected "))
        else {
            continue;
        };
        let Expected { words, is_one, takes_text } = Expected::of(expected);
        // What stands in the place of many may be a secret, too.
        let given = Given::of(given, is_one && !is_secret);
        let remedy = match given.unquoted {
            Some(text) if takes_text => format!("; write it in quotes: {text:?}"),
            _ => String::new(),
        };
        return format!("{} is not {words}{remedy}", given.words);
    }
    let given = found(path).filter(|_| !is_secret);
    let given = given.map_or_else(|| "it".to_owned(), |text| format!("{:?}", clipped(&text)));
    match message {
        "provided string was not `true` or `false`" => format!("{given} is neither true nor false"),
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            format!("{given} is not a whole number; write digits alone, such as 100")
        }
        "number too large to fit in target type" => {
            format!("{given} is too large a number; write a smaller one")
        }
        "number too small to fit in target type" => {
            format!("{given} is too small a number; write a larger one")
        }
        _ => NOT_TAKEN.to_owned(),
    }
}

/// What belongs into a field that is missing.
fn what_of(name: &str) -> &'static str {
    match name {
        "name" => "a name of its own",
        "cluster" => "the name of its cluster",
        "url" => "the URL that `bbb-conf --secret` prints on the node",
        "slug" => "a short name of its own, such as acme",
        "cluster_group" => "the cluster group for its meetings",
        "sub_id" => "0 for the main secret, 1 to 999 for others",
        "mode" => "one of block, set, override, max, append",
        "state" => "one of ready, cordoned, draining",
        _ => "it is needed here",
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() || path == name { name.to_owned() } else { format!("{path}.{name}") }
}

fn quoted_after<'m>(message: &'m str, before: &str) -> Option<&'m str> {
    message.strip_prefix(before)?.strip_prefix('`')?.split('`').next()
}

/// The words of ours behind what was given, which may have anything in it.
fn words_of(message: &str) -> impl Iterator<Item = &str> {
    let expected = message.rsplit_once("`, expected ").map_or("", |(_, expected)| expected);
    expected.split('`').skip(1).step_by(2)
}

/// What would be taken.
struct Expected<'m> {
    words: &'m str,
    /// It is a single value.
    is_one: bool,
    takes_text: bool,
}

impl<'m> Expected<'m> {
    fn of(expected: &'m str) -> Self {
        let one = |words| Self { words, is_one: true, takes_text: false };
        let many = |words| Self { words, is_one: false, takes_text: false };
        match expected {
            "a string" | "string" => Self { words: "a text", is_one: true, takes_text: true },
            "a boolean" => one("true or false, without quotes"),
            "u8" => one("a whole number of 0 to 255, without quotes"),
            "u16" => one("a whole number of 0 to 65535, without quotes"),
            "u32" => one("a whole number of 0 to 4294967295, without quotes"),
            "u64" | "usize" => one("a whole number of 0 or more, without quotes"),
            "i32" | "i64" => one("a whole number, without quotes"),
            "f32" | "f64" => one("a number, without quotes"),
            "a sequence" => many(A_LIST),
            "a map" => many(AN_OBJECT),
            other if other.starts_with("struct ") => many(AN_OBJECT),
            other => one(other),
        }
    }
}

/// What stands there.
struct Given {
    words: String,
    /// What is no text and could be one.
    unquoted: Option<String>,
}

impl Given {
    fn of(given: &str, is_shown: bool) -> Self {
        let plain = |words: &str| Self { words: words.to_owned(), unquoted: None };
        let quoted = given.split('`').nth(1).unwrap_or_default();
        let shown = |kind: &str| {
            if !is_shown {
                return plain(&format!("a {kind}"));
            }
            Self { words: format!("the {kind} {quoted}"), unquoted: Some(quoted.to_owned()) }
        };
        match given {
            "sequence" => plain("a list"),
            "map" => plain("an object"),
            "null" | "unit value" => plain("null"),
            _ if given.starts_with(|first: char| first.is_ascii_digit()) => plain("a list"),
            _ if given.starts_with("string ") && is_shown => {
                plain(&format!("the text {}", clipped(given.trim_start_matches("string "))))
            }
            _ if given.starts_with("string ") => plain("a text"),
            _ if given.starts_with("boolean ") => shown("word"),
            _ if given.starts_with("integer ") || given.starts_with("floating point ") => {
                shown("number")
            }
            _ => plain("it"),
        }
    }
}

fn clipped(text: &str) -> String {
    let mut chars = text.chars();
    let mut clipped: String = chars.by_ref().take(SHOWN_CHARS).collect();
    if chars.next().is_some() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::super::documents::{ClusterDocument, NodeDocument, TenantDocument};
    use super::*;

    fn of<D: DeserializeOwned>(document: &Value) -> String {
        let read: Result<D, _> = serde_path_to_error::deserialize(document);
        let Err(error) = read else { panic!("{document} is read") };
        let (field, detail) = told(&error, |_| None);
        format!("{field}: {detail}")
    }

    #[test]
    fn mistakes_in_a_document_are_told_in_words() {
        let tenant = |more: Value| {
            let mut document = json!({"slug": "acme", "cluster_group": "all"});
            json_patch::merge(&mut document, &more);
            of::<TenantDocument>(&document)
        };
        for (more, said) in [
            (
                json!({"limits": {"meetings": "many"}}),
                "limits.meetings: the text \"many\" is not a whole number of 0 to 4294967295, without quotes",
            ),
            (
                json!({"limits": {"meetings": -1}}),
                "limits.meetings: the number -1 is not a whole number of 0 to 4294967295, without quotes",
            ),
            (
                json!({"limits": {"meetings": 1.5}}),
                "limits.meetings: the number 1.5 is not a whole number of 0 to 4294967295, without quotes",
            ),
            (
                json!({"limits": {"meeting": 1}}),
                "limits.meeting: is no known key; did you mean \"meetings\"?",
            ),
            (json!({"limit": {}}), "limit: is no known key; did you mean \"limits\"?"),
            (
                json!({"clustergroup": "x"}),
                "clustergroup: is no known key; did you mean \"cluster_group\"?",
            ),
            (json!({"group": "x"}), "group: is no known key; it is called \"cluster_group\" here"),
            (
                json!({"limits": {"zzz": 1}}),
                "limits.zzz: is no known key; the keys here are meetings, attendees, limit_joins, requests_per_second",
            ),
            (json!({"name": 7}), "name: the number 7 is not a text; write it in quotes: \"7\""),
            (
                json!({"name": true}),
                "name: the word true is not a text; write it in quotes: \"true\"",
            ),
            (json!({"name": ["x"]}), "name: a list is not a text"),
            (
                json!({"default": "yes"}),
                "default: the text \"yes\" is not true or false, without quotes",
            ),
            (
                json!({"domains": "x.example"}),
                "domains: a text is not a list, such as [\"a\", \"b\"]",
            ),
            (
                json!({"domains": "x at line 5"}),
                "domains: a text is not a list, such as [\"a\", \"b\"]",
            ),
            (
                json!({"domains": "x at line 5 column 7"}),
                "domains: a text is not a list, such as [\"a\", \"b\"]",
            ),
            (
                json!({"limits": {"meetings": "5 at line 5 column 7"}}),
                "limits.meetings: the text \"5 at line 5 column 7\" is not a whole number of 0 to 4294967295, without quotes",
            ),
            (
                json!({"secrets": ["a misplaced secret"]}),
                "secrets[0]: a text is not an object of keys and values, such as {\"key\": \"value\"}",
            ),
            (
                json!({"secrets": [{"sub_id": 0, "secret": 123}]}),
                "secrets[0].secret: a number is not a text",
            ),
            (
                json!({"secrets": [{}]}),
                "secrets[0].sub_id: is missing: 0 for the main secret, 1 to 999 for others",
            ),
        ] {
            assert_eq!(tenant(more), said);
        }
        let cluster = |document| of::<ClusterDocument>(&document);
        assert_eq!(cluster(json!({})), "name: is missing: a name of its own");
        assert_eq!(cluster(json!([])), format!(": a list is not {AN_OBJECT}"));
        assert_eq!(cluster(json!(null)), format!(": null is not {AN_OBJECT}"));
        let policy = cluster(json!({"name": "a", "policy": 7}));
        assert!(policy.starts_with("policy: is not one of predictive, b3lb, b3scale"), "{policy}");
        let node =
            of::<NodeDocument>(&json!({"name": "n", "cluster": "c", "url": "u", "weight": "2"}));
        assert_eq!(node, "weight: the text \"2\" is not a number, without quotes");
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Odd {
        #[serde(deserialize_with = "no_text")]
        name: String,
    }

    fn no_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(text) } else { Err(serde::de::Error::custom(text)) }
    }

    #[test]
    fn what_is_not_understood_shows_no_value() {
        for name in ["a misplaced secret", "secret at line 5", "invalid type: secret"] {
            assert_eq!(of::<Odd>(&json!({"name": name})), format!("name: {NOT_TAKEN}"));
        }
        let value = json!({"name": "invalid value: character `secret`, expected nothing"});
        assert_eq!(of::<Odd>(&value), "name: it is not nothing");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Words {
        limit: Option<u8>,
        probe: Option<bool>,
        state: Option<State>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Ready,
        Cordoned,
    }

    #[test]
    fn mistakes_in_a_query_are_told_in_words() {
        for (query, said) in [
            ("limit=x", "limit: \"x\" is not a whole number; write digits alone, such as 100"),
            ("limit=-1", "limit: \"-1\" is not a whole number; write digits alone, such as 100"),
            ("limit=", "limit: \"\" is not a whole number; write digits alone, such as 100"),
            ("limit=999", "limit: \"999\" is too large a number; write a smaller one"),
            ("limit=1&limit=2", "limit: stands there twice: keep one of them"),
            ("probe=yes", "probe: \"yes\" is neither true nor false"),
            (
                "state=odd`, expected `x",
                "state: \"odd`, expected `x\" is not one of ready, cordoned",
            ),
            ("stat=ready", "stat: is no known key; did you mean \"state\"?"),
        ] {
            let pairs = || form_urlencoded::parse(query.as_bytes());
            let read: Result<Words, _> =
                serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs()));
            let error = read.expect_err(query);
            let found = |name: &str| {
                pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
            };
            let (field, detail) = told(&error, found);
            assert_eq!(format!("{field}: {detail}"), said);
        }
    }
}
