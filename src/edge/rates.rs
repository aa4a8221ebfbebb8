//! The rates of requests, of tenants and of addresses, over all instances.
//!
//! Each instance counts what comes to it, tells the others now and then what it has counted, and counts
//! what they tell as its own: so all of them see the same rate, late by the time between two such words. What
//! is told is bounded, however many addresses there are. Where there are no others nothing is noted down.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pingora_limits::rate::Rate;

use crate::model::Slug;

/// All rates are by the second.
const SECOND: Duration = Duration::from_secs(1);
/// Told at once. Beyond, addresses go untold until the next time; a flood of them is bounded at each instance.
const MAX_TOLD: usize = 4096;

/// Whose requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// A tenant's, whoever has sent them.
    Tenant(Slug),
    /// Those of an address, or of a network.
    Client(IpAddr),
    /// Those of an address that look like a node's.
    Node(IpAddr),
}

/// As instances tell each other.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(slug) => write!(f, "tenant {}", slug.as_str()),
            Self::Client(ip) => write!(f, "client {ip}"),
            Self::Node(ip) => write!(f, "node {ip}"),
        }
    }
}

/// What a later version may count is nobody's here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

impl FromStr for Whose {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let (kind, name) = text.split_once(' ').ok_or(Unknown)?;
        match kind {
            "tenant" => name.parse().map(Self::Tenant).or(Err(Unknown)),
            "client" => name.parse().map(Self::Client).or(Err(Unknown)),
            "node" => name.parse().map(Self::Node).or(Err(Unknown)),
            _ => Err(Unknown),
        }
    }
}

/// See the module.
pub struct Rates {
    tenants: Rate,
    addresses: Rate,
    is_shared: AtomicBool,
    untold: Mutex<HashMap<Whose, u64>>,
}

impl Rates {
    pub(crate) fn new() -> Self {
        Self {
            tenants: Rate::new(SECOND),
            addresses: Rate::new(SECOND),
            is_shared: AtomicBool::new(false),
            untold: Mutex::default(),
        }
    }

    /// Counts a request; how many there were in this second.
    pub(super) fn observe(&self, whose: Whose) -> isize {
        let count = self.count(&whose, 1);
        if self.is_shared.load(Ordering::Relaxed) {
            let mut untold = self.untold.lock();
            if untold.len() < MAX_TOLD || untold.contains_key(&whose) {
                *untold.entry(whose).or_default() += 1;
            }
        }
        count
    }

    /// Counts a request of a tenant, as the edge does.
    #[cfg(test)]
    pub(crate) fn count_tenant(&self, tenant: &Slug) -> isize {
        self.observe(Whose::Tenant(tenant.clone()))
    }

    fn count(&self, whose: &Whose, requests: isize) -> isize {
        let rate = if matches!(whose, Whose::Tenant(_)) { &self.tenants } else { &self.addresses };
        rate.observe(whose, requests)
    }

    /// What others are to know: what was counted here since the last time. From the first time on it is noted
    /// down for the next.
    pub fn take(&self) -> Vec<(String, u64)> {
        self.is_shared.store(true, Ordering::Relaxed);
        let untold = std::mem::take(&mut *self.untold.lock());
        untold.into_iter().map(|(whose, count)| (whose.to_string(), count)).collect()
    }

    /// Counts what another instance has counted.
    pub fn hear(&self, counts: &[(String, u64)]) {
        for (whose, count) in counts.iter().take(MAX_TOLD) {
            if let Ok(whose) = whose.parse() {
                // Of more than that nobody asks.
                let requests = isize::try_from(*count).unwrap_or(isize::MAX).min(1 << 32);
                self.count(&whose, requests);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> Whose {
        Whose::Tenant("acme".parse().expect("a slug"))
    }

    #[test]
    fn what_one_counts_the_other_counts_too() {
        let (one, other) = (Rates::new(), Rates::new());
        one.observe(acme());
        assert_eq!(one.take(), [], "nobody was there to be told");
        for _ in 0..3 {
            one.observe(acme());
        }
        let told = one.take();
        assert_eq!(told, [("tenant acme".to_owned(), 3)]);
        other.hear(&told);
        other.hear(&told);
        assert_eq!(other.observe(acme()), 7);
        assert_eq!(one.take(), [], "what was heard is not told again");
    }

    #[test]
    fn names_are_read_as_they_are_told() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for whose in [acme(), Whose::Client(ip("2001:db8::")), Whose::Node(ip("203.0.113.9"))] {
            assert_eq!(whose.to_string().parse(), Ok(whose));
        }
        for unknown in ["", "acme", "tenant ", "tenant -", "client x", "planet earth"] {
            assert_eq!(unknown.parse::<Whose>(), Err(Unknown), "{unknown}");
        }
        // Whatever others tell, nothing comes of it.
        let rates = Rates::new();
        rates.hear(&[("client x".to_owned(), 1), ("tenant acme".to_owned(), u64::MAX)]);
        assert!(rates.observe(acme()) > 1);
    }

    #[test]
    fn what_is_to_be_told_is_bounded() {
        let rates = Rates::new();
        rates.take();
        for number in 0..20_000_u32 {
            rates.observe(Whose::Client(IpAddr::V4(number.into())));
        }
        assert_eq!(rates.take().len(), MAX_TOLD);
    }
}
