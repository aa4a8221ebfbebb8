//! One line per request, under the target `portico::access`:
//!
//! `client method path status bytes milliseconds call tenant node outcome`
//!
//! `-` stands for what is not known, `tenant` is `slug` or `slug-sub`, `outcome` is `ok` or the
//! `messageKey` of a failure with whose fault it was (`notFound:client`). The query, which holds
//! checksums, passwords and names of people, is never in it.

use std::fmt::{Display, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use log::info;

use super::track::Notes;
use crate::model::NodeName;

/// Room for most lines.
const USUAL_LINE_BYTES: usize = 160;
/// A longer path is cut: it is none of ours.
const MAX_PATH_CHARS: usize = 120;
/// So is a longer key, which a node may have made up.
const MAX_KEY_CHARS: usize = 40;

pub(super) struct Line<'a> {
    pub(super) client: IpAddr,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) bytes: usize,
    pub(super) took: Duration,
    pub(super) notes: &'a Notes,
}

impl Line<'_> {
    pub(super) fn write(&self) {
        if log::log_enabled!(target: "portico::access", log::Level::Info) {
            info!(target: "portico::access", "{}", self.text());
        }
    }

    fn text(&self) -> String {
        let Self { client, method, status, bytes, notes, .. } = self;
        let mut line = String::with_capacity(USUAL_LINE_BYTES);
        let begun = write!(line, "{client} {method} ");
        escape(self.path, MAX_PATH_CHARS, &mut line);
        let (milliseconds, rest) = (self.took.as_millis(), self.took.subsec_micros() % 1000);
        let call = match notes.call.map(crate::bbb::Call::as_str) {
            None => "-",
            Some("") => "version",
            Some(call) => call,
        };
        let scope: &dyn Display = notes.scope.as_ref().map_or(&"-", |scope| scope);
        let node = notes.node.as_ref().map_or("-", NodeName::as_str);
        let hundredths = rest / 10;
        let wrote =
            write!(line, " {status} {bytes} {milliseconds}.{hundredths:02} {call} {scope} {node} ");
        debug_assert!(begun.is_ok() && wrote.is_ok(), "a String takes everything");
        match &notes.failure {
            None => line.push_str("ok"),
            Some((key, fault)) => {
                escape(key, MAX_KEY_CHARS, &mut line);
                line.push(':');
                line.push_str(fault.as_str());
            }
        }
        line
    }
}

/// Appends the beginning of a text, in which nothing can end the line.
fn escape(text: &str, max_chars: usize, line: &mut String) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'');
    if text.len() <= max_chars && text.bytes().all(is_plain) {
        line.push_str(text);
    } else {
        line.extend(text.chars().take(max_chars).flat_map(char::escape_default));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bbb::{Call, Failure};
    use crate::edge::track::Track;
    use crate::model::Scope;

    #[test]
    fn a_line_tells_who_what_where_and_how_it_went() {
        let track = Track::default();
        track.call(Call::Create);
        track.scope(&Scope::parse("acme-5").expect("a scope"));
        track.node(&NodeName::new("bbb01"));
        track.failed(&Failure::NOT_FOUND);
        let line = Line {
            client: [192, 0, 2, 1].into(),
            method: "GET",
            path: "/bbb/acme/create\n",
            status: 200,
            bytes: 17,
            took: Duration::from_micros(1234),
            notes: &track.notes(),
        };
        assert_eq!(
            line.text(),
            "192.0.2.1 GET /bbb/acme/create\\n 200 17 1.23 create acme-5 bbb01 notFound:client"
        );
    }
}
