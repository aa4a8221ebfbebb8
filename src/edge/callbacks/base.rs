//! The address under which nodes can reach us.
//!
//! `server.public_url` where it is set. Else what the request says, if that can be trusted: its host is the
//! base domain or below it, or a tenant's own domain, or it came by a trusted proxy. A checksum does not
//! cover the host, so any other could have been put in by whoever replays a request, to learn our tokens.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, header};
use ipnet::IpNet;
use pingora_proxy::Session;
use url::Url;

use crate::edge::Edge;
use crate::fleet::Snapshot;

/// What a request says about where it was sent.
struct Said<'a> {
    peer: Option<IpAddr>,
    headers: &'a HeaderMap,
    /// The host of the request line.
    authority: Option<&'a str>,
    is_tls: bool,
}

impl Edge {
    /// Our own address as a request tells it, without a slash at its end, if it is known.
    pub(in crate::edge) fn own_base(
        &self,
        session: &Session,
        snapshot: &Snapshot,
    ) -> Option<String> {
        let req = session.req_header();
        let said = Said {
            peer: session.client_addr().and_then(|address| Some(address.as_inet()?.ip())),
            headers: &req.headers,
            authority: req.uri.authority().map(http::uri::Authority::as_str),
            is_tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        };
        let below = |host: &str, base: &str| {
            host == base || host.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))
        };
        let base_domain = self.settings.base_domain.as_deref();
        let is_ours = |host: &str| {
            base_domain.is_some_and(|base| below(host, base))
                || snapshot.tenant_of_domain(host).is_some()
        };
        let public_url = self.settings.callbacks.public_url.as_ref();
        base(public_url, &said, &self.settings.trusted_proxies, is_ours)
    }
}

/// `is_ours` tells whether a host, lower-case and without port, is one of ours.
fn base(
    public_url: Option<&Url>,
    said: &Said<'_>,
    trusted: &[IpNet],
    is_ours: impl Fn(&str) -> bool,
) -> Option<String> {
    if let Some(url) = public_url {
        return Some(url.as_str().trim_end_matches('/').to_owned());
    }
    let peer = said.peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.to_canonical());
    let is_trusted = trusted.iter().any(|net| net.contains(&peer));
    let own_host =
        || said.authority.or_else(|| said.headers.get(header::HOST)?.to_str().ok()).map(str::trim);
    let own_scheme = if said.is_tls { "https" } else { "http" };
    let (scheme, host) = if is_trusted {
        let scheme = forwarded(said.headers, "x-forwarded-proto", "proto");
        let host = forwarded(said.headers, "x-forwarded-host", "host");
        (scheme.unwrap_or(own_scheme), host.or_else(own_host)?)
    } else {
        (own_scheme, own_host()?)
    };
    let url = Url::parse(&format!("{scheme}://{host}/")).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let bare = url.host_str()?.trim_end_matches('.');
    (is_plain && (is_trusted || is_ours(bare)))
        .then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// The first element that proxies have set, by their own header or by the standard one.
fn forwarded<'a>(headers: &'a HeaderMap, own: &str, name: &str) -> Option<&'a str> {
    let first = |header: &str| headers.get(header)?.to_str().ok()?.split(',').next();
    if let Some(value) = first(own) {
        return Some(value.trim());
    }
    let pairs = first("forwarded")?.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(own, _)| own.trim().eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, headers: &[(&'static str, &str)], is_tls: bool) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let said = Said { peer: peer.parse().ok(), headers: &map, authority: None, is_tls };
        let trusted = ["10.0.0.0/8".parse().expect("a net")];
        base(None, &said, &trusted, |host| host == "bbb.example.org")
    }

    #[test]
    fn the_operators_word_comes_first() {
        let said = Said { peer: None, headers: &HeaderMap::new(), authority: None, is_tls: false };
        let url = Url::parse("https://bbb.example.org/").expect("a URL");
        let base = base(Some(&url), &said, &[], |_| false);
        assert_eq!(base.as_deref(), Some("https://bbb.example.org"));
    }

    #[test]
    fn a_host_counts_when_it_is_ours_or_comes_from_a_trusted_proxy() {
        let host = |host| [("host", host)];
        let is = |found: Option<String>, url: &str| assert_eq!(found.as_deref(), Some(url));
        is(found("192.0.2.1", &host("BBB.example.org:8443"), true), "https://bbb.example.org:8443");
        is(found("10.0.0.1", &host("other:80"), false), "http://other");
        assert_eq!(found("192.0.2.1", &host("evil.example"), true), None);
        for odd in
            ["bbb.example.org/x", "a@bbb.example.org", "bbb.example.org?x", "bbb.example.org#x", ""]
        {
            assert_eq!(found("10.0.0.1", &host(odd), true), None, "{odd}");
        }
    }

    #[test]
    fn proxies_say_what_they_were_asked_for() {
        let by_own = [
            ("host", "inner"),
            ("x-forwarded-host", "front.example, inner"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(found("10.0.0.1", &by_own, false).as_deref(), Some("https://front.example"));
        assert_eq!(found("192.0.2.1", &by_own, false), None);
        let by_standard =
            [("host", "inner"), ("forwarded", "for=9.9.9.9;host=\"f.example\";proto=https")];
        assert_eq!(found("10.0.0.1", &by_standard, false).as_deref(), Some("https://f.example"));
    }
}
