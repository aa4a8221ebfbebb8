//! Scalars that mean something: numbers, durations, sizes, addresses, names.
//!
//! Each names what it allows, so that a refusal is also the remedy.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use humantime::format_duration;
use ipnet::IpNet;
use url::{Host, Url};

use super::reader::Item;

/// Names of clusters and groups may be whole words; they end up in tables and metrics labels.
const MAX_NAME_CHARS: usize = 100;

impl<'a> Item<'a> {
    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        self.one_of(&[("true", true), ("false", false)])
    }

    /// A whole number within a range.
    pub(super) fn whole<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.parse(allowed, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// A finite number that is not negative.
    pub(super) fn number(&self) -> Option<f64> {
        self.parse("a number from 0", |text| {
            text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
        })
    }

    /// A number within a range.
    pub(super) fn number_within(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let allowed = format!("a number from {} to {}", range.start(), range.end());
        self.parse(allowed, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// A duration with its unit, within a range.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let allowed = format!(
            "a duration with its unit, such as 5s or 500ms, from {} to {}",
            format_duration(*range.start()),
            format_duration(*range.end())
        );
        self.parse(allowed, |text| {
            humantime::parse_duration(text).ok().filter(|duration| range.contains(duration))
        })
    }

    /// A size in bytes, within a range.
    pub(super) fn size(&self, range: RangeInclusive<ByteSize>) -> Option<usize> {
        let allowed =
            format!("a size such as 16KiB or 64MiB, from {} to {}", range.start(), range.end());
        self.parse(allowed, |text| {
            let size: ByteSize = text.parse().ok().filter(|size| range.contains(size))?;
            usize::try_from(size.as_u64()).ok()
        })
    }

    /// An address and a port to listen on.
    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        let allowed = "an IP address and a port, such as 0.0.0.0:8080 or \"[::]:8080\"";
        self.parse(allowed, |text| text.parse().ok())
    }

    /// A network; a single address is a network of one.
    pub(super) fn network(&self) -> Option<IpNet> {
        self.parse("a network such as 10.0.0.0/8 or an address", |text| {
            let network = text.parse::<IpNet>().ok();
            network.or_else(|| Some(text.parse::<IpAddr>().ok()?.into())).map(|net| net.trunc())
        })
    }

    /// A list of networks.
    pub(super) fn networks(&self) -> Vec<IpNet> {
        self.list(Item::network)
    }

    /// An `http` or `https` URL with a host, and nothing that an address does not need.
    pub(super) fn http_url(&self) -> Option<Url> {
        self.parse("an http or https URL, without user name, password, query or fragment", |text| {
            let url: Url = text.parse().ok()?;
            let plain = matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            plain.then_some(url)
        })
    }

    /// A host name as browsers send it: lower-case, international names in their ASCII form.
    pub(super) fn host(&self) -> Option<String> {
        let allowed = "a host name such as bbb.example.org, without scheme, port, path or wildcard";
        self.parse(allowed, |text| {
            let text = text.strip_suffix('.').unwrap_or(text);
            let host = Host::parse(text).ok()?;
            (!text.contains('*')).then(|| host.to_string())
        })
    }

    /// A name of a cluster or a group.
    pub(super) fn name(&self) -> Option<&'a str> {
        let allowed = format!("a name of 1 to {MAX_NAME_CHARS} printable characters");
        let name = self.parse(allowed, |text| {
            let fits = (1..=MAX_NAME_CHARS).contains(&text.chars().count());
            (fits && text.trim() == text && !text.contains(char::is_control)).then_some(text)
        });
        self.that_urls_can_hold(name?)
    }

    /// A name that must also fit into a path and a label: a node, a tag.
    pub(super) fn word(&self) -> Option<&'a str> {
        let allowed =
            format!("1 to {MAX_NAME_CHARS} letters, digits, dots, colons, dashes and underscores");
        let word = self.parse(allowed, |text| {
            let fits = (1..=MAX_NAME_CHARS).contains(&text.len());
            let plain = |c: char| c.is_ascii_alphanumeric() || ".:-_".contains(c);
            (fits && text.chars().all(plain)).then_some(text)
        });
        self.that_urls_can_hold(word?)
    }

    /// Every client takes these two out of a path, even where they are percent-encoded.
    fn that_urls_can_hold(&self, name: &'a str) -> Option<&'a str> {
        let is_of_paths = matches!(name, "." | "..");
        if is_of_paths {
            self.refuse("a name that a URL can hold: anything but . and ..");
        }
        (!is_of_paths).then_some(name)
    }

    /// A list of words, each of them once. Files in use may have some twice, which does no harm.
    pub(super) fn words(&self) -> Vec<String> {
        let mut seen = HashMap::new();
        self.list(|item| {
            let word = item.word()?;
            if let Some(place) = seen.insert(word, item.place()) {
                let message = format!("{word:?} stands at {place} already; once is enough");
                if self.reading.is_remote {
                    item.problem(message);
                } else {
                    item.warn(message);
                }
                return None;
            }
            Some(word.to_owned())
        })
    }
}
