//! Who is at the other end: address and host, believing proxies only where the operator trusts them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use pingora_proxy::Session;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address; behind trusted proxies, the nearest one that is none of them.
    pub(super) address: IpAddr,
    /// The host it asked for: lower-case, without port and final dot.
    pub(super) host: String,
}

/// Finds the client. `peer` is the other end of the connection, `authority` the host of the request line.
pub(super) fn identify(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    authority: Option<&str>,
    trusted: &[IpNet],
) -> Client {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    // A Unix socket has no address; whoever can open it is on this machine.
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.to_canonical());
    let own_host =
        authority.or_else(|| headers.get(header::HOST)?.to_str().ok()).unwrap_or_default();
    if !is_trusted(&peer) {
        return Client { address: peer, host: bare_host(own_host) };
    }
    let forwarded = Forwarded::read(headers);
    let address = forwarded
        .chain
        .iter()
        .rev()
        .find(|address| !is_trusted(address))
        .or(forwarded.chain.first())
        .copied()
        .unwrap_or(peer);
    Client { address, host: bare_host(forwarded.host.as_deref().unwrap_or(own_host)) }
}

/// Scheme and authority by which the client of a session reaches us, if they are good for a URL.
pub(super) fn origin(session: &Session, trusted: &[IpNet]) -> Option<String> {
    let peer = session.client_addr().and_then(|address| address.as_inet()).map(SocketAddr::ip);
    let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    let req = session.req_header();
    let authority = req.uri.authority().map(http::uri::Authority::as_str);
    origin_of(peer, &req.headers, authority, is_tls, trusted)
}

fn origin_of(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    authority: Option<&str>,
    is_tls: bool,
    trusted: &[IpNet],
) -> Option<String> {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.to_canonical());
    let is_proxy = trusted.iter().any(|net| net.contains(&peer));
    let forwarded = if is_proxy { Forwarded::read(headers) } else { Forwarded::default() };
    let own_scheme = if is_tls { "https" } else { "http" };
    let scheme = forwarded.scheme.as_deref().unwrap_or(own_scheme);
    let own_host = || authority.or_else(|| headers.get(header::HOST)?.to_str().ok());
    let host = forwarded.host.as_deref().or_else(own_host)?;
    if is_canonical(host) && matches!(scheme, "http" | "https") {
        return Some([scheme, "://", host].concat());
    }
    let url = url::Url::parse(&format!("{scheme}://{host}")).ok()?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    (is_bare && matches!(url.scheme(), "http" | "https"))
        .then(|| url.origin().ascii_serialization())
}

/// Whether a host and port are as a URL has them, beyond doubt. Most are, and need not be parsed.
fn is_canonical(authority: &str) -> bool {
    let (host, port) = authority.split_once(':').unwrap_or((authority, "8080"));
    let is_port = port.parse::<u16>().is_ok()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && !port.starts_with('0')
        && !matches!(port, "80" | "443");
    let is_label = |label: &str| {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // Two hyphens may mean that the rest is not what it seems.
        !label.is_empty() && label.bytes().all(is_plain) && !label.contains("--")
    };
    // A number at the end makes it an address, in one of many spellings.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_name =
        last.starts_with(|c: char| c.is_ascii_lowercase()) && host.split('.').all(is_label);
    is_port && (is_name || host.parse::<Ipv4Addr>().is_ok())
}

/// What proxies say: the addresses from the client inwards, and the host the client asked for.
#[derive(Default)]
struct Forwarded {
    chain: Vec<IpAddr>,
    host: Option<String>,
    scheme: Option<String>,
}

impl Forwarded {
    /// From `X-Forwarded-*` where there is any, else from `Forwarded` (RFC 7239). Most proxies set the
    /// former and pass a client's own `Forwarded` on untouched, so it must not win.
    fn read(headers: &HeaderMap) -> Self {
        // Mostly there is none: then one look at each header is enough.
        let is_forwarding = |name: &HeaderName| {
            name == header::FORWARDED || name.as_str().starts_with("x-forwarded-")
        };
        if !headers.keys().any(is_forwarding) {
            return Self::default();
        }
        let mut found = Self {
            chain: Vec::new(),
            host: list(headers, X_FORWARDED_HOST).next().map(str::to_owned),
            scheme: list(headers, X_FORWARDED_PROTO).next().map(str::to_ascii_lowercase),
        };
        for element in list(headers, X_FORWARDED_FOR) {
            found.add_hop(address(element));
        }
        if headers.contains_key(X_FORWARDED_FOR) || found.host.is_some() {
            return found;
        }
        for element in list(headers, header::FORWARDED) {
            let mut hop = None;
            for (name, value) in element.split(';').filter_map(|pair| pair.split_once('=')) {
                let value = value.trim().trim_matches('"');
                if name.trim().eq_ignore_ascii_case("for") {
                    hop = address(value);
                } else if name.trim().eq_ignore_ascii_case("host") && found.host.is_none() {
                    found.host = Some(value.to_owned());
                } else if name.trim().eq_ignore_ascii_case("proto") && found.scheme.is_none() {
                    found.scheme = Some(value.to_ascii_lowercase());
                }
            }
            found.add_hop(hop);
        }
        found
    }

    /// Adds whom a proxy has been asked by. Where that cannot be read, what stands before it may be the
    /// client's own invention.
    fn add_hop(&mut self, hop: Option<IpAddr>) {
        match hop {
            Some(address) => self.chain.push(address),
            None => self.chain.clear(),
        }
    }
}

/// The elements of a comma list that may be spread over several headers. Of one that is no text nothing can be
/// read, but it is there.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// An address with or without port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let parsed = text
        .parse()
        .or_else(|_| text.parse::<std::net::SocketAddr>().map(|address| address.ip()))
        .or_else(|_| text.trim_matches(['[', ']']).parse());
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

fn bare_host(host: &str) -> String {
    let host = host.trim();
    let port = memchr::memrchr(b':', host.as_bytes()).and_then(|at| host.split_at_checked(at));
    let bare = match port {
        // The last colon of an IPv6 address has its bracket behind it.
        Some((bare, port)) if port.bytes().skip(1).all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    };
    bare.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identified(peer: &str, headers: &[(&'static str, &str)]) -> (String, String) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let trusted = ["10.0.0.0/8".parse().expect("a net"), "::1/128".parse().expect("a net")];
        let client = identify(peer.parse().ok(), &map, None, &trusted);
        (client.address.to_string(), client.host)
    }

    #[test]
    fn proxies_are_believed_only_where_they_are_trusted() {
        let spoofed =
            [("host", "A.example:8080"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-host", "b")];
        assert_eq!(identified("192.0.2.1", &spoofed), ("192.0.2.1".into(), "a.example".into()));
        assert_eq!(identified("10.1.2.3", &spoofed), ("1.1.1.1".into(), "b".into()));
    }

    #[test]
    fn the_nearest_address_that_is_no_proxy_counts() {
        let chain = [
            ("host", "a"),
            ("x-forwarded-for", "9.9.9.9, 192.0.2.7"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(identified("10.0.0.1", &chain).0, "192.0.2.7");
        let only_proxies = [("host", "a"), ("x-forwarded-for", "10.0.0.9, 10.0.0.2")];
        assert_eq!(identified("10.0.0.1", &only_proxies).0, "10.0.0.9");
    }

    #[test]
    fn what_stands_before_something_unreadable_is_not_believed() {
        let by_own = |chain: &str| {
            // A client's other header does not step in for it.
            let headers = [("host", "a"), ("forwarded", "for=9.9.9.9"), ("x-forwarded-for", chain)];
            identified("10.0.0.1", &headers).0
        };
        assert_eq!(by_own("1.2.3.4, unknown"), "10.0.0.1");
        assert_eq!(by_own("1.2.3.4, unknown, 10.0.0.2"), "10.0.0.2");
        assert_eq!(by_own("1.2.3.4, unknown, 192.0.2.7, 10.0.0.2"), "192.0.2.7");
        assert_eq!(by_own("unknown"), "10.0.0.1");
        let two = [("host", "a"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "x")];
        assert_eq!(identified("10.0.0.1", &two).0, "10.0.0.1");
        for hidden in
            ["for=1.2.3.4, for=unknown", "for=1.2.3.4, for=_x", "for=1.2.3.4, by=10.0.0.1"]
        {
            let headers = [("host", "a"), ("forwarded", hidden)];
            assert_eq!(identified("10.0.0.1", &headers).0, "10.0.0.1", "{hidden}");
        }
        let mut map = HeaderMap::new();
        map.append("x-forwarded-for", "1.2.3.4".parse().expect("a value"));
        let latin1 = http::HeaderValue::from_bytes(b"5.6.7.8, \xe9").expect("a value");
        map.append("x-forwarded-for", latin1);
        let trusted = ["10.0.0.0/8".parse().expect("a net")];
        let client = identify("10.0.0.1".parse().ok(), &map, None, &trusted);
        assert_eq!(client.address.to_string(), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_read_too() {
        let headers = [
            ("host", "a"),
            ("forwarded", "for=\"[2001:db8::1]:4711\";host=b.example:443;proto=https"),
        ];
        assert_eq!(identified("::1", &headers), ("2001:db8::1".into(), "b.example".into()));
        // What a client has made up passes a proxy that only knows the other ones.
        let both = [("host", "a"), ("forwarded", "for=9.9.9.9"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(identified("::1", &both).0, "192.0.2.7");
    }

    #[test]
    fn our_own_urls_are_what_the_client_sees() {
        let seen = |peer: &str, headers: &[(&'static str, &str)], authority, is_tls| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().expect("a header value"));
            }
            let trusted = ["10.0.0.0/8".parse().expect("a net")];
            origin_of(peer.parse().ok(), &map, authority, is_tls, &trusted)
        };
        let proxied =
            [("host", "A.b:8080"), ("x-forwarded-host", "c.d"), ("x-forwarded-proto", "https")];
        let http = |host: &str| Some(format!("http://{host}"));
        assert_eq!(seen("192.0.2.1", &proxied, None, false), http("a.b:8080"));
        assert_eq!(seen("192.0.2.1", &[], Some("a.b:443"), true), Some("https://a.b".into()));
        assert_eq!(seen("10.0.0.1", &proxied, None, false), Some("https://c.d".into()));
        assert_eq!(seen("10.0.0.1", &[("host", "[::1]:80")], None, false), http("[::1]"));
        for bad in ["", "a/b", "u:p@a", "a?b", "a#b", "a b", "a\\b"] {
            assert_eq!(seen("192.0.2.1", &[("host", bad)], None, false), None, "{bad}");
        }
        assert_eq!(seen("192.0.2.1", &[], None, false), None);
    }

    proptest! {
        #[test]
        fn what_is_canonical_is_not_changed_by_a_url(
            host in "[a-z0-9.:-]{0,9}|[a-z]{1,3}(:[0-9]{1,5})?|([0-9]{1,3}[.]){3}[0-9]{1,3}(:[0-9]{2})?",
            scheme in "https?",
        ) {
            if is_canonical(&host) {
                let url = url::Url::parse(&format!("{scheme}://{host}")).unwrap();
                prop_assert_eq!(url.origin().ascii_serialization(), format!("{}://{}", scheme, host));
                prop_assert_eq!(url.path(), "/");
            }
        }
    }

    #[test]
    fn hosts_are_compared_bare() {
        for (host, bare) in [
            ("A.b:80", "a.b"),
            ("a.b.", "a.b"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(bare_host(host), bare);
        }
    }
}
