//! A node's description as JSON.
//!
//! The row has its own shape instead of a derive on [`Node`]: a secret must not become serialisable
//! in general only because this one place has to keep it. A field that is added later needs a
//! default, so that rows of older versions stay readable.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::model::{Node, NodeName, Secret};

#[derive(Serialize, Deserialize)]
struct Row {
    cluster: String,
    url: Url,
    secret: String,
    weight: f64,
    capacity: u32,
    tags: Vec<String>,
    load_url: Option<Url>,
}

/// Everything but the name, which is a column of its own.
pub(super) fn to_json(node: &Node) -> String {
    let row = Row {
        cluster: node.cluster.clone(),
        url: node.url.clone(),
        secret: node.secret.expose().to_owned(),
        weight: node.weight,
        capacity: node.capacity,
        tags: node.tags.clone(),
        load_url: node.load_url.clone(),
    };
    serde_json::to_string(&row).expect("a struct of texts and numbers is JSON")
}

pub(super) fn from_json(name: NodeName, json: &str) -> serde_json::Result<Node> {
    let Row { cluster, url, secret, weight, capacity, tags, load_url } =
        serde_json::from_str(json)?;
    Ok(Node { name, cluster, url, secret: Secret::new(secret), weight, capacity, tags, load_url })
}
