//! One line per request, under the target `portico::access`:
//!
//! `client method path status bytes milliseconds call tenant node outcome`
//!
//! `-` stands for what is not known, `tenant` is `slug` or `slug-sub`, `outcome` is `ok` or the
//! `messageKey` of a failure with whose fault it was (`notFound:client`). The query, which holds
//! checksums, passwords and names of people, is never in it.

use std::fmt::{self, Display, Formatter, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use log::info;

use super::track::Notes;
use crate::model::NodeName;

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
        info!(target: "portico::access", "{self}");
    }
}

/// In as few steps as it takes: there is one for every request.
impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut digits = itoa::Buffer::new();
        match self.client {
            IpAddr::V4(address) => {
                let [first, others @ ..] = address.octets();
                f.write_str(digits.format(first))?;
                for octet in others {
                    f.write_str(".")?;
                    f.write_str(digits.format(octet))?;
                }
            }
            IpAddr::V6(address) => address.fmt(f)?,
        }
        f.write_str(" ")?;
        f.write_str(self.method)?;
        f.write_str(" ")?;
        escape(self.path, MAX_PATH_CHARS, f)?;
        f.write_str(" ")?;
        f.write_str(digits.format(self.status))?;
        f.write_str(" ")?;
        f.write_str(digits.format(self.bytes))?;
        f.write_str(" ")?;
        f.write_str(digits.format(self.took.as_millis()))?;
        let hundredths = self.took.subsec_micros() % 1000 / 10;
        f.write_str(if hundredths < 10 { ".0" } else { "." })?;
        f.write_str(digits.format(hundredths))?;
        f.write_str(" ")?;
        let Notes { call, scope, node, failure } = self.notes;
        f.write_str(match call.map(crate::bbb::Call::as_str) {
            None => "-",
            Some("") => "version",
            Some(call) => call,
        })?;
        f.write_str(" ")?;
        match scope {
            None => f.write_str("-")?,
            Some(scope) => scope.fmt(f)?,
        }
        f.write_str(" ")?;
        f.write_str(node.as_ref().map_or("-", NodeName::as_str))?;
        match failure {
            None => f.write_str(" ok"),
            Some((key, fault)) => {
                f.write_str(" ")?;
                escape(key, MAX_KEY_CHARS, f)?;
                f.write_str(":")?;
                f.write_str(fault.as_str())
            }
        }
    }
}

/// Writes the beginning of a text, in which nothing can end the line.
fn escape(text: &str, max_chars: usize, f: &mut Formatter<'_>) -> fmt::Result {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'');
    if text.len() <= max_chars && text.bytes().all(is_plain) {
        return f.write_str(text);
    }
    text.chars().take(max_chars).flat_map(char::escape_default).try_for_each(|c| f.write_char(c))
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
            line.to_string(),
            "192.0.2.1 GET /bbb/acme/create\\n 200 17 1.23 create acme-5 bbb01 notFound:client"
        );
    }
}
