//! A tenant's look: logo, slides and style sheet.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Slug;
use crate::bbb::{Slides, slides_body};

/// Slides up to this size travel in the body of a `create`, larger ones are fetched from us. B3LB's bound.
const MAX_INLINE_BYTES: usize = 768_000;

/// What a tenant's meetings look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branding {
    /// Logo image.
    pub logo: Option<Look>,
    /// First slides, PDF or an image.
    pub slide: Option<Look>,
    /// Style sheet of the client.
    pub css: Option<Look>,
    /// Whether the slides also take the place of those that a front end sends.
    pub force: bool,
}

impl Branding {
    /// One of the three.
    pub fn get(&self, kind: AssetKind) -> Option<&Look> {
        match kind {
            AssetKind::Logo => self.logo.as_ref(),
            AssetKind::Slide => self.slide.as_ref(),
            AssetKind::Css => self.css.as_ref(),
        }
    }

    /// Puts one of the three in place.
    pub fn set(&mut self, kind: AssetKind, look: Look) {
        *self.slot(kind) = Some(look);
    }

    /// Takes one of the three away.
    pub fn remove(&mut self, kind: AssetKind) {
        *self.slot(kind) = None;
    }

    fn slot(&mut self, kind: AssetKind) -> &mut Option<Look> {
        match kind {
            AssetKind::Logo => &mut self.logo,
            AssetKind::Slide => &mut self.slide,
            AssetKind::Css => &mut self.css,
        }
    }
}

/// Where a part of the look comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Somebody else serves it, at this `http` or `https` URL.
    Url(String),
    /// We serve it.
    File(Arc<Asset>),
    /// A file that nobody has any more: served by nobody, and not forgotten, as a copy may turn up.
    Lost(LostFile),
}

impl Look {
    /// Name and digest of a file, where it is one.
    pub fn file(&self) -> Option<(String, &str)> {
        match self {
            Self::Url(_) => None,
            Self::File(asset) => Some((asset.name(), asset.digest())),
            Self::Lost(LostFile { path, digest }) => Some((name_of(path), digest)),
        }
    }
}

/// What is known of a file of which there is no copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFile {
    /// Where it was read.
    pub path: PathBuf,
    /// SHA-256 of the content, in hex.
    pub digest: String,
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Which part of the look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AssetKind {
    /// Logo image.
    Logo,
    /// First slides.
    Slide,
    /// Style sheet.
    Css,
}

impl AssetKind {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::Logo, Self::Slide, Self::Css];

    /// The word in configuration, URLs and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logo => "logo",
            Self::Slide => "slide",
            Self::Css => "css",
        }
    }
}

/// Whose part of the look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AssetKey {
    /// The tenant.
    pub tenant: Slug,
    /// The part.
    pub kind: AssetKind,
}

/// A file of the look as it was read. `Debug` shows no content.
pub struct Asset {
    path: PathBuf,
    bytes: Bytes,
    digest: String,
    /// The body of a create with these slides. Made once: base64 of a large file takes a while.
    inline: OnceLock<Bytes>,
}

impl Asset {
    /// The content of a file.
    pub fn new(path: PathBuf, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = hex::encode(Sha256::digest(&bytes));
        Self { path, bytes, digest, inline: OnceLock::new() }
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name that people see.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }

    /// The content.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the content, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the file is, by its name.
    pub fn content_type(&self) -> &'static str {
        let extension = self.path.extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "svg" => "image/svg+xml",
            "png" => "image/png",
            "jpg" | "jpeg" => "image/jpeg",
            "gif" => "image/gif",
            "webp" => "image/webp",
            "pdf" => "application/pdf",
            "css" => "text/css;charset=utf-8",
            _ => "application/octet-stream",
        }
    }

    /// The body of a create with these slides in it, unless they are too large for that.
    pub fn inline_slides(&self) -> Option<Bytes> {
        (self.bytes.len() <= MAX_INLINE_BYTES).then(|| {
            let body = || slides_body(&self.name(), Slides::Inline(&self.bytes), Vec::new()).into();
            self.inline.get_or_init(body).clone()
        })
    }
}

impl PartialEq for Asset {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.digest == other.digest
    }
}

impl Eq for Asset {}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asset").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slides_are_inline_up_to_b3lbs_bound() {
        let slides = |bytes| Asset::new("conf/a.pdf".into(), vec![b'x'; bytes]);
        assert!(slides(768_000).inline_slides().is_some_and(|body| body.len() > 1_024_000));
        assert_eq!(slides(768_001).inline_slides(), None);
    }

    #[test]
    fn the_type_is_that_of_the_name() {
        let asset = Asset::new("conf/Logo.SVG".into(), "<svg/>");
        assert_eq!((asset.content_type(), asset.name().as_str()), ("image/svg+xml", "Logo.SVG"));
        assert_ne!(asset, Asset::new("conf/Logo.SVG".into(), "<svg />"));
    }
}
