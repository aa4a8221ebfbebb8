//! What keeps the public side from being misused: the rates of requests of a tenant and of an address, and the headers of pages that people see.
//!
//! Which paths exist is for `route.rs` and `b3lb.rs` to say: everything else is 404, and nothing of the
//! operators' side is among them.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_proxy::Session;
use sha2::{Digest, Sha256};

use super::authenticate::Caller;
use super::limits;
use super::pages;
use super::rates::{Rates, Whose};
use super::reply::{Dialect, Reply};
use crate::fleet::{Limit, Reached};
use crate::model::Slug;

/// The requests of each tenant in this second.
pub(super) struct TenantRates(Arc<Rates>);

impl TenantRates {
    pub(super) fn new(rates: &Arc<Rates>) -> Self {
        Self(rates.clone())
    }

    /// The answer to a request beyond its tenant's rate. Only those count that were signed by the tenant: a
    /// stranger cannot use it up.
    pub(super) fn refuse(&self, caller: &Caller<'_>, dialect: Dialect) -> Option<Reply> {
        let tenant = &caller.tenant.tenant;
        let allowed = tenant.limits.requests_per_second;
        if allowed == 0 || !self.is_over(&tenant.slug, allowed) {
            return None;
        }
        caller.tenant.tally.hit(caller.scope.sub, Limit::Requests);
        let reached = Reached { limit: Limit::Requests, allowed };
        let mut reply = Reply::failure(&limits::failure(reached), dialect);
        reply.status = StatusCode::TOO_MANY_REQUESTS;
        reply.retry_after = Some(1);
        Some(reply)
    }

    fn is_over(&self, tenant: &Slug, allowed: u32) -> bool {
        self.0.observe(Whose::Tenant(tenant.clone()))
            > isize::try_from(allowed).unwrap_or(isize::MAX)
    }
}

/// So many times as much may come from an address if it looks like the calls of nodes.
const NODES_FACTOR: isize = 10;

/// The requests of each client address in this second.
pub(super) struct AddressRates {
    rates: Arc<Rates>,
    allowed: isize,
}

impl AddressRates {
    /// `None` where there is no limit.
    pub(super) fn new(rates: &Arc<Rates>, requests_per_second: u32) -> Option<Self> {
        let allowed = isize::try_from(requests_per_second).unwrap_or(isize::MAX);
        (allowed > 0).then(|| Self { rates: rates.clone(), allowed })
    }

    /// Counts a request, and tells whether it is one too many. Those that may come from a node count apart:
    /// a node does not call again, and behind the same address may be many clients, or many nodes.
    pub(super) fn is_over(&self, client: IpAddr, is_nodes: impl FnOnce() -> bool) -> bool {
        let client = network(client);
        let (whose, factor) = if is_nodes() {
            (Whose::Node(client), NODES_FACTOR)
        } else {
            (Whose::Client(client), 1)
        };
        self.rates.observe(whose) > self.allowed.saturating_mul(factor)
    }
}

/// Whose rate an address counts to. Of IPv6 everybody has a whole network, and so any number of addresses.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// A year, as browsers' preload lists ask for at least. Not for subdomains: they may be somebody else's.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A page may have its own style sheet and nothing else: no script, no image, no frame around it.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = BASE64_STANDARD.encode(Sha256::digest(pages::STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 and words")
});

/// Adds what protects a page, if the answer is one.
pub(super) fn guard_page(session: &Session, content_type: &str, headers: &mut HeaderMap) {
    if !content_type.starts_with("text/html") {
        return;
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // The address of a join has a name and a checksum in it.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if came_by_tls(session) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
}

/// Whether the browser has asked by HTTPS, of us or of a proxy. Anybody may say so of a request of their own:
/// browsers heed the answer's header on HTTPS only.
fn came_by_tls(session: &Session) -> bool {
    let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    let proto = session.req_header().headers.get(X_FORWARDED_PROTO);
    is_tls || proto.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_count_together() {
        let network = |text: &str| network(text.parse().expect("an address")).to_string();
        for (address, counted) in [
            ("203.0.113.9", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(network(address), counted);
        }
    }
}
