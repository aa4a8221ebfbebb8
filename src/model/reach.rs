//! Where URLs that tenants choose may lead: anywhere in the public internet, and nowhere else unless the
//! operator allows it. Else a tenant could reach into the operator's own network through us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// Longer URLs are refused: ours carries the front end's, and nodes have bounds.
pub const MAX_TARGET_BYTES: usize = 2048;

/// The addresses that may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Networks that may be called although they are not public.
    pub allowed: Vec<IpNet>,
}

/// Why a URL is never called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Not an absolute `http` or `https` URL with a host, or too long.
    #[error("it is not an http or https URL")]
    NotHttp,
    /// It leads to an address that is not public.
    #[error("it leads to an address that is not public and not in callbacks.allow_targets")]
    Address,
}

impl Forbidden {
    /// A word from a closed set, for metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NotHttp => "not_http",
            Self::Address => "address",
        }
    }
}

impl Reach {
    /// Whether this very address may be called.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|net| net.contains(&address))
    }

    /// Reads a URL, unless it is certain without asking anybody that it may not be called. A name may
    /// still turn out to stand for a forbidden address.
    ///
    /// # Errors
    /// Why it may not.
    pub fn read(&self, text: &str) -> Result<Url, Forbidden> {
        if text.len() > MAX_TARGET_BYTES {
            return Err(Forbidden::NotHttp);
        }
        let url = Url::parse(text.trim()).map_err(|_not_a_url| Forbidden::NotHttp)?;
        self.judge(&url)?;
        Ok(url)
    }

    /// As [`Reach::read`] for a URL that is read already.
    ///
    /// # Errors
    /// Why it may not be called.
    pub fn judge(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::NotHttp);
        }
        let permitted = match url.host() {
            None => return Err(Forbidden::NotHttp),
            // All spellings of an IPv4 address (octal, one number) have become one here.
            Some(Host::Ipv4(address)) => self.permits(address.into()),
            Some(Host::Ipv6(address)) => self.permits(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                let is_local = name == "localhost" || name.ends_with(".localhost");
                !is_local
                    || self.permits(Ipv4Addr::LOCALHOST.into())
                    || self.permits(Ipv6Addr::LOCALHOST.into())
            }
        };
        if permitted { Ok(()) } else { Err(Forbidden::Address) }
    }
}

/// Whether an address belongs to the public internet (IANA's special-purpose registries say which do not).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback, link-local with the metadata services of clouds, shared by
        // carriers, reserved, documentation, benchmarks, multicast and beyond.
        [0 | 10 | 127 | 224..=255, ..]
        | [100, 64..=127, ..]
        | [169, 254, ..]
        | [172, 16..=31, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [192, 168, ..]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        // Azure's own services stand at a public address that only its machines reach.
        | [168, 63, 129, 16] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // NAT64 and 6to4 lead to the IPv4 address in them.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        // IETF protocols, Teredo among them; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Of all the rest only global unicast: no loopback, mapped IPv4, unique local, link-local,
        // site-local, multicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reach(allowed: &[&str]) -> Reach {
        Reach { allowed: allowed.iter().map(|net| net.parse().unwrap()).collect() }
    }

    #[test]
    fn public_targets_pass() {
        for url in [
            "https://moodle.example.org/cb?x=1",
            "http://8.8.8.8/",
            "https://[2606:4700::1111]:8443/x",
            "http://172.32.0.1/",
            "http://100.128.0.1/",
        ] {
            assert!(reach(&[]).read(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_not_public_is_refused_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://017700000001/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://x.localhost/",
            "http://%6c%6f%63alhost/",
            "http://0.0.0.0/",
            "http://10.1.2.3/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b:1::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[fe80::1]/",
            "http://[fec0::1]/",
            "http://[fd00:ec2::254]/",
            "http://[ff02::1]/",
            "http://[2001:db8::1]/",
            "http://[2001:0:1::1]/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
        ] {
            assert_eq!(reach(&[]).read(url), Err(Forbidden::Address), "{url}");
        }
        for url in ["ftp://example.org/", "file:///etc/passwd", "/x", "", "gopher://8.8.8.8/"] {
            assert_eq!(reach(&[]).read(url), Err(Forbidden::NotHttp), "{url}");
        }
        let long = format!("http://example.org/{}", "x".repeat(MAX_TARGET_BYTES));
        assert_eq!(reach(&[]).read(&long), Err(Forbidden::NotHttp));
    }

    #[test]
    fn the_operator_can_allow_more() {
        let reach = reach(&["127.0.0.0/8", "fd00::/8"]);
        for url in [
            "http://127.0.0.1:8080/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost/",
            "http://[fd00::1]/",
        ] {
            assert!(reach.read(url).is_ok(), "{url}");
        }
        assert_eq!(reach.read("http://10.0.0.1/"), Err(Forbidden::Address));
    }

    /// Addresses of the networks that must never be reached.
    fn inner() -> impl Strategy<Value = Ipv4Addr> {
        let nets =
            ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"];
        (prop::sample::select(nets.to_vec()), any::<u32>()).prop_map(|(net, host)| {
            let net: ipnet::Ipv4Net = net.parse().unwrap();
            Ipv4Addr::from_bits(net.network().to_bits() | (host & net.hostmask().to_bits()))
        })
    }

    proptest! {
        #[test]
        fn no_inner_address_passes_in_any_notation(address in inner(), id in any::<u64>(), form in 0..11) {
            let [a, b, c, d] = address.octets();
            let bits = address.to_bits();
            let (high, low) = (bits >> 16, bits & 0xffff);
            let host = match form {
                0 => address.to_string(),
                1 => bits.to_string(),
                2 => format!("{bits:#x}"),
                3 => format!("0{bits:o}"),
                4 => format!("{a:#x}.0{b:o}.{c}.{d}"),
                5 => format!("{a}.{}", bits & 0x00ff_ffff),
                6 => format!("[::ffff:{address}]"),
                7 => format!("[::{high:x}:{low:x}]"),
                8 => format!("[64:ff9b::{high:x}:{low:x}]"),
                9 => format!("[2002:{high:x}:{low:x}::{:x}]", id & 0xffff),
                _ => format!("{a}.{b}.{c}.{d}."),
            };
            prop_assert_eq!(
                reach(&[]).read(&format!("http://{host}/")),
                Err(Forbidden::Address),
                "{}", host
            );
        }

        #[test]
        fn no_inner_ipv6_passes(prefix in prop::sample::select(vec![0xfe80_u16, 0xfebf, 0xfc00, 0xfdff, 0xff02, 0xfec0]), rest in any::<[u16; 7]>()) {
            let [b, c, d, e, f, g, h] = rest;
            let address = Ipv6Addr::new(prefix, b, c, d, e, f, g, h);
            prop_assert!(!reach(&[]).permits(address.into()));
        }
    }
}
