//! Where we are reached ourselves: a node that is there would have us call ourselves for ever.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use url::{Host, Url};

use super::Server;
use crate::model::{Inventory, Scope, Tenant};

/// Where we are reached ourselves.
#[derive(Debug, Clone)]
pub struct Own {
    listeners: Vec<SocketAddr>,
    public_url: Option<Url>,
    base_domain: Option<String>,
}

impl Own {
    /// By the settings of the server.
    pub fn of(server: &Server) -> Self {
        let public = server.listen.iter().map(|listen| listen.address);
        Self {
            listeners: public.chain([server.admin]).collect(),
            public_url: server.public_url.clone(),
            base_domain: server.base_domain.clone(),
        }
    }

    /// The name and the port to be looked up before [`Own::is_at`] can say all: where only a name stands, and we
    /// listen on its port.
    pub fn to_look_up<'u>(&self, url: &'u Url) -> Option<(&'u str, u16)> {
        let port = url.port_or_known_default()?;
        let Some(Host::Domain(name)) = url.host() else { return None };
        self.listeners.iter().any(|listener| listener.port() == port).then_some((name, port))
    }

    /// Which word of ours this URL leads to, if it leads to ourselves. `found` are the addresses of its host, where
    /// that is a name.
    pub fn is_at(&self, url: &Url, found: &[IpAddr], inventory: &Inventory) -> Option<String> {
        if let Some(named) = self.is_named(url, inventory) {
            return Some(named);
        }
        let port = url.port_or_known_default()?;
        let literal: [IpAddr; 1];
        let addresses = match url.host()? {
            Host::Ipv4(address) => {
                literal = [address.into()];
                &literal
            }
            Host::Ipv6(address) => {
                literal = [address.into()];
                &literal
            }
            Host::Domain(_) => found,
        };
        addresses.iter().find_map(|address| self.listens_at(address.to_canonical(), port))
    }

    fn is_named(&self, url: &Url, inventory: &Inventory) -> Option<String> {
        let host_of = |url: &Url| Some(url.host_str()?.trim_end_matches('.').to_ascii_lowercase());
        let host = host_of(url)?;
        if let Some(public) = &self.public_url
            && host_of(public).as_deref() == Some(&*host)
            && public.port_or_known_default() == url.port_or_known_default()
        {
            return Some(format!("server.public_url ({})", public.origin().ascii_serialization()));
        }
        if let Some(base) = &self.base_domain {
            let label = host.strip_suffix(base.as_str()).and_then(|rest| rest.strip_suffix('.'));
            let scope = label.and_then(Scope::parse);
            let is_tenants =
                |tenant: &Tenant| scope.as_ref().is_some_and(|scope| scope.tenant == tenant.slug);
            if host == *base || inventory.tenants.iter().any(is_tenants) {
                return Some(format!("a host of server.base_domain ({host})"));
            }
        }
        let mut tenants = inventory.tenants.iter();
        let tenant = tenants.find(|tenant| tenant.domains.contains(&host))?;
        Some(format!("a domain of tenant {} ({host})", tenant.slug))
    }

    fn listens_at(&self, address: IpAddr, port: u16) -> Option<String> {
        let leads_here = |listener: &&SocketAddr| {
            let is_there = listener.ip() == address
                || listener.ip().is_unspecified() && is_of_this_machine(address);
            listener.port() == port && is_there
        };
        let listener = self.listeners.iter().find(leads_here)?;
        Some(format!("our listener {listener}"))
    }
}

/// Only an address of this machine can be bound; nothing is sent.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn own() -> Own {
        Own {
            listeners: vec!["0.0.0.0:8080".parse().unwrap(), "127.0.0.1:8081".parse().unwrap()],
            public_url: Some(Url::parse("https://door.example").unwrap()),
            base_domain: Some("bbb.example".to_owned()),
        }
    }

    #[test]
    fn whatever_leads_to_ourselves_is_known() {
        let tenants = vec![Tenant::sample("acme", &[0])];
        let inventory = Inventory { tenants, ..Inventory::default() };
        for (url, is_ours) in [
            ("https://door.example/bigbluebutton/api", true),
            ("https://door.example:444/bigbluebutton/api", false),
            ("https://bbb.example/bigbluebutton/api", true),
            ("https://node7.bbb.example/bigbluebutton/api", false),
            ("https://acme.bbb.example./bigbluebutton/api", true),
            ("https://acme-5.bbb.example/bigbluebutton/api", true),
            ("https://door.example./bigbluebutton/api", true),
            ("http://127.0.0.1:8080/bigbluebutton/api", true),
            ("http://127.0.0.9:8080/bigbluebutton/api", true),
            ("http://localhost:8081/bigbluebutton/api", true),
            ("http://127.0.0.1:8090/bigbluebutton/api", false),
            // Of documentation: no machine has it.
            ("http://192.0.2.1:8080/bigbluebutton/api", false),
        ] {
            let url = Url::parse(url).unwrap();
            let looked_up = own().to_look_up(&url).map(|_name| [Ipv4Addr::LOCALHOST.into()]);
            let found = own().is_at(&url, looked_up.as_slice().as_flattened(), &inventory);
            assert_eq!(found.is_some(), is_ours, "{url}: {found:?}");
        }
    }
}
