//! `branding`: a tenant's logo, first slides and style sheet.
//!
//! The files are read here, once: what was checked is what is served.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::files;
use super::reader::Item;
use super::report::{Problem, Report};
use crate::model::{Asset, AssetKey, AssetKind, Branding, Look, Slug};

/// A node takes no larger body.
const MAX_BYTES: u64 = 30 * 1024 * 1024;

/// A file name extension, and whether a file holds what it says.
type Kind = (&'static str, fn(&[u8]) -> bool);
const SVG: Kind = ("svg", is_svg);
const PNG: Kind = ("png", |bytes| bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
const JPG: Kind = ("jpg", is_jpeg);
const JPEG: Kind = ("jpeg", is_jpeg);
const GIF: Kind = ("gif", |bytes| bytes.starts_with(b"GIF8"));
const WEBP: Kind =
    ("webp", |bytes| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"));
const PDF: Kind = ("pdf", |bytes| bytes.starts_with(b"%PDF-"));
const CSS: Kind = ("css", is_text);

/// A branding file that is not there. It is a mistake, unless a copy of it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct MissingAsset {
    /// Whose file.
    pub key: AssetKey,
    /// Where it should be.
    pub path: PathBuf,
    /// The mistake that it is.
    pub problem: Problem,
}

impl MissingAsset {
    /// The refusal of the file that names them.
    pub fn refuse(file: impl Into<PathBuf>, missing: Vec<Self>) -> Report {
        Report::new(file, missing.into_iter().map(|missing| missing.problem).collect())
    }
}

pub(super) fn read(item: &Item<'_>, tenant: Option<&Slug>) -> Option<Branding> {
    item.fields(|fields| {
        let look = |kind: AssetKind| {
            let key = tenant.map(|tenant| AssetKey { tenant: tenant.clone(), kind });
            look(&fields.optional(kind.as_str()), kinds_of(kind), key)
        };
        let logo = look(AssetKind::Logo);
        let slide = look(AssetKind::Slide);
        let css = look(AssetKind::Css);
        let force_item = fields.optional("force");
        let force = force_item.flag().unwrap_or(false);
        if force && fields.optional("slide").is_absent() {
            force_item.warn("true is without effect, as there is no slide");
        }
        Some(Branding { logo, slide, css, force })
    })
}

fn look(item: &Item<'_>, kinds: &[Kind], key: Option<AssetKey>) -> Option<Look> {
    let url = item.parse("a path, or an http or https URL", |text| {
        let is_url = text.starts_with("http://") || text.starts_with("https://");
        match is_url {
            true if is_public(text) => Some(Some(text)),
            false if !text.is_empty() => Some(None),
            _ => None,
        }
    })?;
    if let Some(url) = url {
        return Some(Look::Url(url.to_owned()));
    }
    if item.reading.is_remote {
        item.refuse("an http or https URL; files are uploaded");
        return None;
    }
    let path = item.path()?;
    let reason = match check(&path, kinds) {
        Ok(bytes) => return Some(Look::File(Arc::new(Asset::new(path, bytes)))),
        Err(reason) => reason,
    };
    let extensions: Vec<_> = kinds.iter().map(|(extension, _)| *extension).collect();
    let extensions = extensions.join(", ");
    let message = format!("{} {reason}; name a file of type {extensions}", path.display());
    match key {
        Some(key) if is_gone(&path) && kind_of(&path, kinds).is_some() => {
            item.missing_asset(key, path, message);
        }
        _ => item.problem(message),
    }
    None
}

/// Whether it may be told to every browser: an address without user name and password.
fn is_public(text: &str) -> bool {
    Url::parse(text)
        .is_ok_and(|url| url.has_host() && url.username().is_empty() && url.password().is_none())
}

fn is_gone(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn kind_of<'k>(path: &Path, kinds: &'k [Kind]) -> Option<&'k Kind> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    kinds.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension))
}

/// Whether these bytes are what a file of this name is for.
///
/// # Errors
/// What is wrong with them, to stand after the name.
pub fn check_upload(of: AssetKind, name: &Path, bytes: &[u8]) -> Result<(), String> {
    let kinds = kinds_of(of);
    let Some((extension, holds)) = kind_of(name, kinds) else {
        let extensions: Vec<_> = kinds.iter().map(|(extension, _)| *extension).collect();
        return Err(format!("is of another type than {}", extensions.join(", ")));
    };
    match bytes {
        [] => Err("is empty".to_owned()),
        bytes if bytes.len() as u64 > MAX_BYTES => {
            Err(format!("is larger than {}", bytesize::ByteSize(MAX_BYTES)))
        }
        bytes if !holds(bytes) => Err(format!("does not hold what its name says, {extension}")),
        _ => Ok(()),
    }
}

fn kinds_of(of: AssetKind) -> &'static [Kind] {
    match of {
        AssetKind::Logo => &[SVG, PNG, JPG, JPEG, GIF, WEBP],
        AssetKind::Slide => &[PDF, PNG, JPG, JPEG, GIF, WEBP, SVG],
        AssetKind::Css => &[CSS],
    }
}

fn check(path: &Path, kinds: &[Kind]) -> Result<Vec<u8>, String> {
    let Some((extension, holds)) = kind_of(path, kinds) else {
        return Err("is of another type".to_owned());
    };
    let bytes = files::read(path, MAX_BYTES)?;
    if bytes.is_empty() {
        return Err("is empty".to_owned());
    }
    if !holds(&bytes) {
        return Err(format!("does not hold what its name says, {extension}"));
    }
    Ok(bytes)
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8\xff")
}

fn is_text(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
}

fn is_svg(bytes: &[u8]) -> bool {
    let name = str::from_utf8(bytes).ok().and_then(first_element);
    name.is_some_and(|name| name.rsplit(':').next() == Some("svg"))
}

/// The name of the first element, whatever stands before it: a declaration, comments, a DOCTYPE with or
/// without definitions.
fn first_element(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start().strip_prefix('<')?;
        let end = match rest {
            _ if rest.starts_with('?') => "?>",
            _ if rest.starts_with("!--") => "-->",
            _ if rest.starts_with('!') => {
                let defines = rest.find('[').is_some_and(|at| rest.find('>') > Some(at));
                if defines {
                    rest = rest.split_once(']')?.1;
                }
                ">"
            }
            _ => return rest.split(|c: char| c.is_whitespace() || "/>".contains(c)).next(),
        };
        rest = rest.split_once(end)?.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_svg_is_known_by_its_first_element() {
        for svg in [
            "<svg/>",
            "\u{feff}<?xml version=\"1.0\"?>\n<!-- <html> -->\n<svg width=\"1\">",
            "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"x.dtd\"><svg>",
            "<!DOCTYPE svg PUBLIC \"a\" \"b\" [\n<!ENTITY ns \"http://x/\">\n]>\n<svg:svg xmlns:svg=\"&ns;\">",
        ] {
            assert!(is_svg(svg.as_bytes()), "{svg}");
        }
        for other in [
            "",
            "svg",
            "<svgs>",
            "<html><svg/></html>",
            "<!DOCTYPE html><html><svg/>",
            "<!-- <svg/>",
            "<!-- --><g><svg/>",
            "<? <svg/>",
            "<!DOCTYPE a [ <svg/>",
            "\u{1f}\u{8b}<svg/>",
        ] {
            assert!(!is_svg(other.as_bytes()), "{other}");
        }
        assert!(!is_svg(b"<svg>\xff"));
    }
}
