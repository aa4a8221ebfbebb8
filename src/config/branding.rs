//! `branding`: a tenant's logo, first slide and style sheet.

use std::path::{Path, PathBuf};

use super::files;
use super::reader::Item;
use crate::model::Branding;

/// A node takes no larger body.
const MAX_BYTES: u64 = 30 * 1024 * 1024;

/// File name extensions and how such a file begins, where it always begins the same.
type Kind = (&'static str, &'static [u8]);
const SVG: Kind = ("svg", b"");
const PNG: Kind = ("png", b"\x89PNG\r\n\x1a\n");
const JPG: Kind = ("jpg", b"\xff\xd8\xff");
const JPEG: Kind = ("jpeg", b"\xff\xd8\xff");
const GIF: Kind = ("gif", b"GIF8");
const WEBP: Kind = ("webp", b"RIFF");
const PDF: Kind = ("pdf", b"%PDF-");
const CSS: Kind = ("css", b"");

pub(super) fn read(item: &Item<'_>) -> Option<Branding> {
    item.fields(|fields| {
        let logo = file(&fields.optional("logo"), &[SVG, PNG, JPG, JPEG, GIF, WEBP]);
        let slide = file(&fields.optional("slide"), &[PDF, PNG, JPG, JPEG, GIF, WEBP, SVG]);
        let css = file(&fields.optional("css"), &[CSS]);
        Some(Branding { logo, slide, css })
    })
}

fn file(item: &Item<'_>, kinds: &[Kind]) -> Option<PathBuf> {
    let path = item.path()?;
    match check(&path, kinds) {
        Ok(()) => Some(path),
        Err(reason) => {
            let extensions: Vec<_> = kinds.iter().map(|(extension, _)| *extension).collect();
            let extensions = extensions.join(", ");
            item.problem(format_args!(
                "{} {reason}; name a file of type {extensions}",
                path.display()
            ));
            None
        }
    }
}

fn check(path: &Path, kinds: &[Kind]) -> Result<(), String> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let kind = kinds.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    let Some((_, start)) = kind else {
        return Err("is of another type".to_owned());
    };
    let bytes = files::read(path, MAX_BYTES)?;
    if bytes.is_empty() {
        return Err("is empty".to_owned());
    }
    if !bytes.starts_with(start) {
        return Err(format!("does not hold what its name says, {extension}"));
    }
    Ok(())
}
