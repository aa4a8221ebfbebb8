//! `callbacks`: where tenants may have us call.

use ipnet::IpNet;

use super::reader::Item;

/// What callback URLs may point at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Callbacks {
    /// Private and loopback networks that callback URLs may resolve to; public ones always may. Default:
    /// none, or a tenant could reach into the operator's own network.
    pub allow_targets: Vec<IpNet>,
}

pub(super) fn read(item: &Item<'_>) -> Option<Callbacks> {
    item.fields(|fields| {
        Some(Callbacks { allow_targets: fields.optional("allow_targets").networks() })
    })
}
