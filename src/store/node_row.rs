//! A node's description as JSON.
//!
//! The row has its own shape instead of a derive on [`Node`]: a secret must not become serialisable
//! in general only because this one place has to keep it. A field that is added later needs a
//! default, so that rows of older versions stay readable.

use serde::{Deserialize, Serialize};
use url::Url;

use super::seal::Seal;
use crate::model::{Node, NodeName, Secret};

#[derive(Serialize, Deserialize)]
struct Row {
    cluster: String,
    url: Url,
    /// In clear, or empty where it is sealed.
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_secret: Option<String>,
    weight: f64,
    capacity: u32,
    tags: Vec<String>,
    load_url: Option<Url>,
}

/// Why a row is no node. Only where: what stands there may be the node's secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("no JSON of a node, from column {0}")]
    Json(usize),
    #[error("the node's secret was sealed with another key than `store.key`")]
    Sealed,
}

/// Everything but the name, which is a column of its own.
pub(super) fn to_json(node: &Node, seal: &Seal) -> String {
    let sealed_secret = seal.close(node.name.as_str(), node.secret.expose());
    let clear = if sealed_secret.is_some() { "" } else { node.secret.expose() };
    let row = Row {
        cluster: node.cluster.clone(),
        url: node.url.clone(),
        secret: clear.to_owned(),
        sealed_secret,
        weight: node.weight,
        capacity: node.capacity,
        tags: node.tags.clone(),
        load_url: node.load_url.clone(),
    };
    serde_json::to_string(&row).expect("a struct of texts and numbers is JSON")
}

pub(super) fn from_json(name: NodeName, json: &str, seal: &Seal) -> Result<Node, Unusable> {
    let row = serde_json::from_str(json).map_err(|error| Unusable::Json(error.column()))?;
    let Row { cluster, url, secret, sealed_secret, weight, capacity, tags, load_url } = row;
    let secret = match sealed_secret {
        Some(sealed) => seal.open(name.as_str(), &sealed).ok_or(Unusable::Sealed)?,
        None => secret,
    };
    Ok(Node { name, cluster, url, secret: Secret::new(secret), weight, capacity, tags, load_url })
}
