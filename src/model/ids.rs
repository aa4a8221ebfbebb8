//! The names by which things are found: slugs, sub ids, scopes, node names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A tenant's short name: a DNS label of lower-case letters, digits and inner dashes, 1..=63 characters,
/// that does not end in a dash and digits (so that `acme-12` always reads as sub id 12 of `acme`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(Arc<str>);

/// Why a text is no [`Slug`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSlug {
    /// Empty, too long, or other characters than allowed.
    #[error(
        "is not a DNS label of lower-case letters, digits and inner dashes, 1 to 63 characters"
    )]
    NotALabel,
    /// `acme-12` would be ambiguous.
    #[error("ends in a dash and digits, which names a sub id")]
    EndsLikeASubId,
}

impl Slug {
    /// The text of the slug.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, InvalidSlug> {
        let label = (1..=63).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !label {
            return Err(InvalidSlug::NotALabel);
        }
        match text.rsplit_once('-') {
            Some((_, tail)) if tail.bytes().all(|b| b.is_ascii_digit()) => {
                Err(InvalidSlug::EndsLikeASubId)
            }
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl std::borrow::Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Which of a tenant's secrets: 0 is the main one and sees the whole tenant, 1..=999 see their own meetings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SubId(u16);

impl SubId {
    /// The main secret.
    pub const MAIN: Self = Self(0);

    /// A sub id, when `number` is at most 999.
    pub fn new(number: u16) -> Option<Self> {
        (number <= 999).then_some(Self(number))
    }

    /// The number, 0..=999.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for SubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tenant and sub id: meetings of two scopes never see each other, but sub id 0 sees its whole tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Scope {
    /// The tenant.
    pub tenant: Slug,
    /// Which of its secrets.
    pub sub: SubId,
}

impl Scope {
    /// Whether a caller in this scope may see what belongs to `owner`.
    pub fn sees(&self, owner: &Scope) -> bool {
        self.tenant == owner.tenant && (self.sub == SubId::MAIN || self.sub == owner.sub)
    }

    /// Reads `slug` or `slug-sub`, `sub` of one to three digits.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(tenant) = text.parse() {
            return Some(Self { tenant, sub: SubId::MAIN });
        }
        let (slug, sub) = text.rsplit_once('-')?;
        let digits = (1..=3).contains(&sub.len()) && sub.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return None;
        }
        Some(Self { tenant: slug.parse().ok()?, sub: SubId::new(sub.parse().ok()?)? })
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl TryFrom<String> for Scope {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("is no scope")
    }
}

/// `slug` for the main secret, `slug-sub` for the others.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sub == SubId::MAIN {
            self.tenant.fmt(f)
        } else {
            write!(f, "{}-{}", self.tenant, self.sub)
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node's unique name, as the operator wrote it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Wraps a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl std::borrow::Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_an_unambiguous_dns_label() {
        for good in ["a", "acme", "uni-x", "x9", "a-1b"] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        for bad in ["", "Acme", "-a", "a-", "a_b", "a.b", "ä"] {
            assert_eq!(bad.parse::<Slug>(), Err(InvalidSlug::NotALabel), "{bad}");
        }
        assert_eq!("acme-12".parse::<Slug>(), Err(InvalidSlug::EndsLikeASubId));
    }

    #[test]
    fn a_scope_reads_back_what_it_writes() {
        for text in ["acme", "acme-7", "uni-x-123"] {
            assert_eq!(Scope::parse(text).map(|s| s.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Scope::parse("acme-000").map(|s| s.to_string()).as_deref(), Some("acme"));
        for bad in ["acme-1234", "acme-1-2", "Acme", ""] {
            assert_eq!(Scope::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_main_secret_sees_the_whole_tenant() {
        let scope = |text| Scope::parse(text).expect("a scope");
        assert!(scope("acme").sees(&scope("acme-5")));
        assert!(!scope("acme-5").sees(&scope("acme")));
        assert!(!scope("acme").sees(&scope("other")));
    }
}
