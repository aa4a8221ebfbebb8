//! What went wrong, in lines for people, and the exit code that tells it to scripts.

use std::fmt::Display;

use http::StatusCode;
use serde_json::Value;

use crate::cli::{DONE, FAILED, WRONG};

/// How much of an answer that is no problem of the API is shown.
const SHOWN: usize = 200;

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    lines: Vec<String>,
    /// What the API has answered.
    pub(super) status: Option<StatusCode>,
    /// Whether it may have been done all the same.
    pub(super) is_unsure: bool,
}

impl Failure {
    /// It was tried, and did not work out.
    pub(super) fn failed(line: impl Display) -> Self {
        Self { code: FAILED, lines: vec![line.to_string()], status: None, is_unsure: false }
    }

    /// It was asked for, and there is no answer.
    pub(super) fn unsure(line: impl Display) -> Self {
        Self { is_unsure: true, ..Self::failed(line) }
    }

    /// The same of a question, which changes nothing.
    pub(super) fn without_effect(self) -> Self {
        Self { is_unsure: false, ..self }
    }

    /// It was not tried: the arguments or a file are wrong.
    pub(super) fn wrong(line: impl Display) -> Self {
        Self { code: WRONG, ..Self::failed(line) }
    }

    /// It was not tried: these fields of a file are wrong.
    pub(super) fn wrong_fields(fields: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { code: WRONG, ..Self::fields(fields) }
    }

    /// All that is wrong at once, if anything is.
    pub(super) fn together(all: Vec<Self>) -> Result<(), Self> {
        let whole = all.into_iter().reduce(|mut whole, mut more| {
            whole.lines.append(&mut more.lines);
            whole
        });
        whole.map_or(Ok(()), Err)
    }

    /// These fields are wrong.
    pub(super) fn fields(fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let line = |(field, detail): (String, String)| match field.as_str() {
            "" => detail,
            field => format!("{field}: {detail}"),
        };
        let lines = fields.into_iter().map(line).collect();
        Self { code: FAILED, lines, status: None, is_unsure: false }
    }

    /// It was not tried: all of this is wrong.
    pub(super) fn all_wrong(failures: Vec<Self>) -> Self {
        let lines = failures.into_iter().flat_map(|failure| failure.lines).collect();
        Self { code: WRONG, lines, status: None, is_unsure: false }
    }

    /// As the API has told it: a problem of RFC 9457, unless somebody else has answered.
    pub(super) fn answered(status: StatusCode, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value, key: &str| {
            value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let errors = problem.get("errors").and_then(Value::as_array);
        let errors: Vec<_> = errors
            .into_iter()
            .flatten()
            .map(|error| (text(error, "field"), text(error, "detail")))
            .collect();
        let failure = if !errors.is_empty() {
            Self::fields(errors)
        } else if problem.get("detail").is_some_and(Value::is_string) {
            Self::failed(text(&problem, "detail"))
        } else {
            let body: String = String::from_utf8_lossy(body).chars().take(SHOWN).collect();
            Self::failed(format_args!("this is no answer of Portico's API: {status}: {body}"))
        };
        Self { status: Some(status), is_unsure: status.is_server_error(), ..failure }
    }

    /// Whether it may work once something else was changed.
    pub(super) fn is_clash(&self) -> bool {
        let statuses = [StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY];
        self.status.is_some_and(|status| statuses.contains(&status))
    }

    /// The same in other words.
    pub(super) fn in_words(mut self, words: impl Fn(&str) -> String) -> Self {
        for line in &mut self.lines {
            *line = words(line);
        }
        self
    }

    /// The same with what it is about before each line.
    pub(super) fn of(mut self, what: impl Display) -> Self {
        for line in &mut self.lines {
            *line = format!("{what}: {line}");
        }
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

/// A line for a terminal: what others have written into it must not steer that.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Says what went wrong, if anything did.
pub(super) fn code_of(done: Result<(), Failure>) -> u8 {
    let Err(failure) = done else { return DONE };
    for line in failure.lines.iter().flat_map(|text| text.lines()) {
        eprintln!("{}", plain(line));
    }
    failure.code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_lines() {
        let lines = |status, body: &str| Failure::answered(status, body.as_bytes()).lines;
        let fields = r#"{"status":422,"detail":"a: b","errors":[
            {"field":"limits.meetings","detail":"is no number"},{"field":"","detail":"is wrong"}]}"#;
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        assert_eq!(lines(status, fields), ["limits.meetings: is no number", "is wrong"]);
        assert_eq!(lines(StatusCode::CONFLICT, r#"{"detail":"it is there"}"#), ["it is there"]);
        let other = lines(StatusCode::BAD_GATEWAY, &"<html>".repeat(1000));
        assert!(other[0].contains("502 Bad Gateway: <html>"), "{other:?}");
        assert!(other[0].len() < 300);
        assert_eq!(plain("a\u{1b}[31mb"), "a\u{fffd}[31mb");
    }
}
