//! No node may be where we are reached ourselves.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use url::Url;

use super::Desk;
use super::problem::Problem;
use crate::config::Own;
use crate::model::Inventory;

/// A name that takes longer is not ours.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Which word of ours this URL leads to, if it leads to ourselves.
pub async fn leads_to(own: &Own, url: &Url, inventory: &Inventory) -> Option<String> {
    let found: Vec<IpAddr> = match own.to_look_up(url) {
        None => Vec::new(),
        Some(place) => match timeout(LOOKUP_TIMEOUT, lookup_host(place)).await {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        },
    };
    own.is_at(url, &found, inventory)
}

impl Desk {
    /// Refuses a URL that leads to ourselves: such a node would have us call ourselves for ever.
    pub(in crate::admin) async fn must_not_be_us(&self, url: &Url) -> Result<(), Problem> {
        let in_force = self.keeper.in_force();
        let found = leads_to(&self.tools.own, url, &in_force.inventory).await;
        let Some(own) = found else { return Ok(()) };
        let detail = format!("leads back to Portico itself, to {own}: give the URL of the node");
        Err(Problem::fields([("url".to_owned(), detail)]))
    }
}
