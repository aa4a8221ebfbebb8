//! The address under which nodes can reach us.
//!
//! `server.public_url` where it is set. Else what the request says, if that can be trusted: its host is the
//! base domain or below it, or a tenant's own domain. A checksum does not cover the host, so any other could
//! have been put in by whoever replays a request, to learn our tokens. Only where no hosts of ours are known,
//! the word of a trusted proxy is enough, that of the nearest one.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, header};
use ipnet::IpNet;
use pingora_proxy::Session;
use url::Url;

use crate::edge::Edge;
use crate::fleet::{Snapshot, callback_urls};

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
        let are_known = base_domain.is_some() || snapshot.has_domains();
        base(public_url, &said, &self.settings.trusted_proxies, are_known, is_ours)
    }
}

/// `is_ours` tells whether a host, lower-case and without port, is one of ours; `are_known` whether there can be
/// any such host.
fn base(
    public_url: Option<&Url>,
    said: &Said<'_>,
    trusted: &[IpNet],
    are_known: bool,
    is_ours: impl Fn(&str) -> bool,
) -> Option<String> {
    if let Some(url) = public_url {
        return Some(callback_urls::below(url, ""));
    }
    let peer = said.peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.to_canonical());
    let is_trusted = trusted.iter().any(|net| net.contains(&peer));
    let own_host =
        || said.authority.or_else(|| said.headers.get(header::HOST)?.to_str().ok()).map(str::trim);
    let own_scheme = if said.is_tls { "https" } else { "http" };
    let (scheme, mut hosts) = if is_trusted {
        let scheme = forwarded_scheme(said.headers).unwrap_or(own_scheme);
        (scheme, forwarded_hosts(said.headers))
    } else {
        (own_scheme, Vec::new())
    };
    if hosts.is_empty() {
        hosts.extend(own_host());
    }
    let read = |host: &str| {
        let url = Url::parse(&format!("{scheme}://{host}/")).ok().filter(is_plain)?;
        let is_ours = is_ours(url.host_str()?.trim_end_matches('.'));
        Some((callback_urls::below(&url, ""), is_ours))
    };
    let mut from_the_nearest = hosts.into_iter().rev().map(read);
    if is_trusted && !are_known {
        // There is nothing but the word of the nearest proxy: before it may stand what a client has made up.
        return from_the_nearest.next()?.map(|(url, _)| url);
    }
    from_the_nearest.flatten().find_map(|(url, is_ours)| is_ours.then_some(url))
}

fn is_plain(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// The hosts that proxies were asked for, the nearest proxy last: by their own header or by the standard one.
fn forwarded_hosts(headers: &HeaderMap) -> Vec<&str> {
    let own: Vec<_> = elements(headers, "x-forwarded-host").map(str::trim).collect();
    if !own.is_empty() {
        return own;
    }
    let hosts: Vec<_> = elements(headers, "forwarded").map(|one| pair(one, "host")).collect();
    // A proxy that does not say passes on the host that it was asked for.
    let is_said_last = hosts.last().is_some_and(Option::is_some);
    if is_said_last { hosts.into_iter().flatten().collect() } else { Vec::new() }
}

/// The scheme that the first proxy was asked by.
fn forwarded_scheme(headers: &HeaderMap) -> Option<&str> {
    let own = elements(headers, "x-forwarded-proto").next().map(str::trim);
    own.or_else(|| pair(elements(headers, "forwarded").next()?, "proto"))
}

/// The elements of a comma list that may be spread over several headers.
fn elements<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.to_str().unwrap_or("?").split(','))
}

/// A value of an element of the standard header.
fn pair<'h>(element: &'h str, name: &str) -> Option<&'h str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(own, _)| own.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it is known that we are bbb.example.org.
    fn found(peer: &str, headers: &[(&'static str, &str)], is_tls: bool) -> Option<String> {
        look(peer, headers, is_tls, true)
    }

    /// Where it is not known who we are.
    fn unknown(peer: &str, headers: &[(&'static str, &str)], is_tls: bool) -> Option<String> {
        look(peer, headers, is_tls, false)
    }

    fn look(
        peer: &str,
        headers: &[(&'static str, &str)],
        is_tls: bool,
        are_known: bool,
    ) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let said = Said { peer: peer.parse().ok(), headers: &map, authority: None, is_tls };
        let trusted = ["10.0.0.0/8".parse().expect("a net")];
        base(None, &said, &trusted, are_known, |host| are_known && host == "bbb.example.org")
    }

    #[test]
    fn the_operators_word_comes_first() {
        let said = Said { peer: None, headers: &HeaderMap::new(), authority: None, is_tls: false };
        let url = Url::parse("https://bbb.example.org/").expect("a URL");
        let base = base(Some(&url), &said, &[], false, |_| false);
        assert_eq!(base.as_deref(), Some("https://bbb.example.org"));
    }

    #[test]
    fn a_host_counts_when_it_is_ours_or_comes_from_a_trusted_proxy() {
        let host = |host| [("host", host)];
        let is = |found: Option<String>, url: &str| assert_eq!(found.as_deref(), Some(url));
        is(found("192.0.2.1", &host("BBB.example.org:8443"), true), "https://bbb.example.org:8443");
        is(unknown("10.0.0.1", &host("other:80"), false), "http://other");
        assert_eq!(found("192.0.2.1", &host("evil.example"), true), None);
        for odd in
            ["bbb.example.org/x", "a@bbb.example.org", "bbb.example.org?x", "bbb.example.org#x", ""]
        {
            assert_eq!(unknown("10.0.0.1", &host(odd), true), None, "{odd}");
        }
    }

    #[test]
    fn proxies_say_what_they_were_asked_for() {
        let by_own = [
            ("host", "inner"),
            ("x-forwarded-host", "front.example"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(unknown("10.0.0.1", &by_own, false).as_deref(), Some("https://front.example"));
        assert_eq!(unknown("192.0.2.1", &by_own, false), None);
        let by_standard =
            [("host", "inner"), ("forwarded", "for=9.9.9.9;host=\"f.example\";proto=https")];
        assert_eq!(unknown("10.0.0.1", &by_standard, false).as_deref(), Some("https://f.example"));
    }

    #[test]
    fn what_a_client_says_before_the_proxies_is_not_believed() {
        let url = |host: &str| Some(format!("http://{host}"));
        for (header, value, host) in [
            ("x-forwarded-host", "evil.example, front.example", "front.example"),
            ("forwarded", "host=evil.example, host=front.example", "front.example"),
            // The nearest proxy passes on the host that it was asked for.
            ("forwarded", "host=evil.example, for=192.0.2.1", "inner"),
        ] {
            assert_eq!(
                unknown("10.0.0.1", &[("host", "inner"), (header, value)], false),
                url(host)
            );
        }
        let twice = [("x-forwarded-host", "evil.example"), ("x-forwarded-host", "front.example")];
        assert_eq!(unknown("10.0.0.1", &twice, false), url("front.example"));
        let broken = [("host", "inner"), ("x-forwarded-host", "evil.example, a/b")];
        assert_eq!(unknown("10.0.0.1", &broken, false), None);
    }

    #[test]
    fn where_hosts_are_known_a_proxy_has_to_name_one_of_them() {
        let by = |value: &str| {
            found("10.0.0.1", &[("host", "bbb.example.org"), ("x-forwarded-host", value)], false)
        };
        let ours = Some("http://bbb.example.org".to_owned());
        assert_eq!(by("evil.example"), None);
        assert_eq!(by("bbb.example.org, evil.example"), ours);
        // A proxy behind the first one adds what that has called it.
        assert_eq!(by("bbb.example.org, inner:8080"), ours);
        assert_eq!(found("10.0.0.1", &[("host", "evil.example")], false), None);
    }
}
