//! A whole answer as one text, without what must differ.

use std::fmt::Write as _;

use super::side::{Prepared, Side};
use crate::harness::{Reply, masked};

/// Headers that say something; the value of a cookie is the node's affair.
const HEADERS: [&str; 3] = ["allow", "location", "set-cookie"];

/// Status, content type, headers and body: ids, times, tokens, checksums and addresses are `*`, and everything else is
/// as it came. `asked` is the id that was asked for, which some failures repeat.
pub(super) fn shown(reply: &Reply, side: &Side<'_>, of: &Prepared, asked: &str) -> String {
    let mut text = format!("{} {}\n", reply.status.as_u16(), reply.header("content-type"));
    for name in HEADERS {
        let value = reply.header(name);
        if !value.is_empty() {
            writeln!(text, "{name}: {value}").expect("text");
        }
    }
    text.push_str(&masked(&reply.body));
    let servers = [side.sim().address(), side.client.address].map(|it| format!("http://{it}"));
    let mut known: Vec<(&str, &str)> = servers.iter().map(|it| (it.as_str(), "*server*")).collect();
    let token = reply.body.contains("<session_token>").then(|| reply.text("session_token"));
    let scope = side.scope.replace('@', "%40");
    known.extend(token.as_deref().map(|it| (it, "*token*")));
    known.extend([
        (of.token.as_str(), "*token*"),
        (of.record_id.as_str(), "*recording*"),
        (asked, "*asked*"),
        (scope.as_str(), "%40*scope*"),
    ]);
    for (value, mask) in known {
        if !value.is_empty() {
            text = text.replace(value, mask);
        }
    }
    text = without_internal_ids(&text);
    for (before, end) in [
        ("checksum=", &['&', '"', '\n'][..]),
        ("JSESSIONID=", &[';']),
        ("existingUserID=", &['&']),
        ("/textTrack/", &['/']),
        ("sessionToken=", &['&', '\n', '<']),
    ] {
        text = masked_after(&text, before, end);
    }
    text
}

/// A digest and a time.
fn without_internal_ids(text: &str) -> String {
    let is_internal = |word: &str| {
        word.split_once('-').is_some_and(|(digest, time)| {
            digest.len() == 40
                && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
                && time.len() == 13
                && time.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let ends_word = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let words = text.split_inclusive(ends_word).map(|word| {
        let bare = word.trim_end_matches(ends_word);
        if is_internal(bare) { word.replace(bare, "*internal*") } else { word.to_owned() }
    });
    words.collect()
}

fn masked_after(text: &str, before: &str, end: &[char]) -> String {
    let mut parts = text.split(before);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(end).map_or("", |at| part.get(at..).unwrap_or_default());
        write!(masked, "{before}*{rest}").expect("text");
    }
    masked
}
