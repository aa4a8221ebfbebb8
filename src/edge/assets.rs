//! Tenants' logos, slides and style sheets, at B3LB's addresses: `/b3lb/t/{slug}/logo`, `slide`, `css`.
//!
//! Public, from memory. Whatever follows these words in the path is ignored, as B3LB does it. A tenant
//! without the file and no tenant at all are the same to whoever asks.

use std::ops::RangeInclusive;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::reply::Reply;
use crate::fleet::Snapshot;
use crate::model::{Asset, AssetKind, Look};

/// Long enough for a lecture hall that opens the same page, short enough for a new logo to be seen.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// A drawing can hold scripts, which must never run as ours.
const SVG_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");

/// Where the parts of tenants' looks are, below our own address.
const PREFIX: &str = "/b3lb/t/";

/// The address of one part of a tenant's look, below `base`, in pieces.
pub(super) fn url<'u>(base: &'u str, slug: &'u str, kind: AssetKind) -> [&'u str; 5] {
    [base, PREFIX, slug, "/", kind.as_str()]
}

/// The answer, if the path is that of an asset that exists.
pub(super) fn answer(
    snapshot: &Snapshot,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
) -> Option<Reply> {
    let (slug, rest) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let kind = AssetKind::ALL.into_iter().find(|kind| rest.starts_with(kind.as_str()))?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut reply = Reply::new(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "");
        reply.allow = Some("GET, HEAD");
        return Some(reply);
    }
    match snapshot.tenant(slug)?.tenant.branding.get(kind)? {
        Look::File(asset) => Some(file(asset, method, headers)),
        Look::Url(_) | Look::Lost(_) => None,
    }
}

fn file(asset: &Asset, method: &Method, headers: &HeaderMap) -> Reply {
    let etag = format!("\"{}\"", asset.digest());
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tags| names(tags, &etag));
    let mut reply = if is_known {
        Reply::new(StatusCode::NOT_MODIFIED, asset.content_type(), "")
    } else {
        content(asset, &etag, method, headers)
    };
    let mut extra = |name: HeaderName, value: HeaderValue| reply.extra.push((name, value));
    extra(header::CACHE_CONTROL, CACHE_CONTROL);
    extra(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    extra(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if asset.content_type() == "image/svg+xml" {
        extra(header::CONTENT_SECURITY_POLICY, SVG_POLICY);
    }
    if let Ok(etag) = HeaderValue::try_from(etag) {
        extra(header::ETAG, etag);
    }
    reply
}

/// All of it, or the part that is asked for.
fn content(asset: &Asset, etag: &str, method: &Method, headers: &HeaderMap) -> Reply {
    let (bytes, kind) = (asset.bytes(), asset.content_type());
    let is_same = headers.get(header::IF_RANGE).is_none_or(|own| own.as_bytes() == etag.as_bytes());
    let range = headers.get(header::RANGE).filter(|_| is_same && *method == Method::GET);
    let range = range.and_then(|range| requested(range.to_str().ok()?, bytes.len()));
    let (mut reply, part) = match range {
        None => return Reply::new(StatusCode::OK, kind, bytes.clone()),
        Some(Ok(range)) => {
            let part = format!("bytes {}-{}/{}", range.start(), range.end(), bytes.len());
            (Reply::new(StatusCode::PARTIAL_CONTENT, kind, bytes.slice(range)), part)
        }
        Some(Err(NoSuchBytes)) => {
            let reply = Reply::new(StatusCode::RANGE_NOT_SATISFIABLE, kind, "");
            (reply, format!("bytes */{}", bytes.len()))
        }
    };
    if let Ok(part) = HeaderValue::try_from(part) {
        reply.extra.push((header::CONTENT_RANGE, part));
    }
    reply
}

/// Whether a list of tags has this one, or is `*`.
fn names(tags: &HeaderValue, etag: &str) -> bool {
    let Ok(tags) = tags.to_str() else { return false };
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag == etag
    })
}

/// A range beyond the end.
#[derive(Debug, PartialEq, Eq)]
struct NoSuchBytes;

/// The range that a header asks for: `None` where it is to be ignored, for being none, or several.
fn requested(header: &str, length: usize) -> Option<Result<RangeInclusive<usize>, NoSuchBytes>> {
    let (first, last) = header.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Too large for a number is also beyond the end.
        is_number.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let end = length.checked_sub(1);
    if first.is_empty() {
        let count = number(last)?;
        let end = end.filter(|_| count > 0).ok_or(NoSuchBytes);
        return Some(end.map(|end| length.saturating_sub(count)..=end));
    }
    let first = number(first)?;
    let last = if last.is_empty() { usize::MAX } else { number(last)? };
    if first > last {
        return None;
    }
    let end = end.filter(|end| first <= *end).ok_or(NoSuchBytes);
    Some(end.map(|end| first..=last.min(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_nothing_else() {
        for (header, range) in [
            ("bytes=0-0", Some(Ok(0..=0))),
            ("bytes=2-4", Some(Ok(2..=4))),
            ("bytes=2-", Some(Ok(2..=9))),
            ("bytes=2-99", Some(Ok(2..=9))),
            ("bytes=2-99999999999999999999999", Some(Ok(2..=9))),
            ("bytes=-3", Some(Ok(7..=9))),
            ("bytes=-30", Some(Ok(0..=9))),
            ("bytes=-0", Some(Err(NoSuchBytes))),
            ("bytes=10-", Some(Err(NoSuchBytes))),
            ("bytes=99999999999999999999999-", Some(Err(NoSuchBytes))),
            ("bytes=4-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=--1", None),
            ("lines=0-1", None),
            ("", None),
        ] {
            assert_eq!(requested(header, 10), range, "{header}");
        }
        assert_eq!(requested("bytes=0-", 0), Some(Err(NoSuchBytes)));
        assert_eq!(requested("bytes=-1", 0), Some(Err(NoSuchBytes)));
    }

    #[test]
    fn a_tag_is_found_in_a_list() {
        let names = |tags| names(&HeaderValue::from_static(tags), "\"a\"");
        assert!(names("\"a\"") && names("W/\"a\"") && names("\"b\", \"a\"") && names("*"));
        assert!(!names("\"b\"") && !names("a") && !names(""));
    }
}
