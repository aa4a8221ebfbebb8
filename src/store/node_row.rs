//! A node's description as JSON.
//!
//! The row has its own shape instead of a derive on [`Node`]: a secret must not become serialisable
//! in general only because this one place has to keep it. A field that is added later needs a
//! default, so that rows of older versions stay readable.

use serde::{Deserialize, Serialize};
use url::Url;

use super::seal::Seal;
use super::{Saved, SavedNode};
use crate::model::{AdminState, Node, NodeName, Secret};

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
    #[error("the node's secret is sealed, and `store.key` is missing")]
    Keyless,
}

/// A row that was read, with what is wrong with its description: what an operator wants of a node is known
/// nevertheless.
pub(super) type Read = (SavedNode, Option<Unusable>);

pub(super) fn read(name: NodeName, state: AdminState, json: Option<&str>, seal: &Seal) -> Read {
    match json.map(|json| from_json(name.clone(), json, seal)).transpose() {
        Ok(spec) => (SavedNode { name, state, spec }, None),
        Err(unusable) => (SavedNode { name, state, spec: None }, Some(unusable)),
    }
}

impl Saved {
    /// Takes up nodes; `skip` is told what is wrong with those of which not all is known.
    pub(super) fn take_nodes(&mut self, nodes: Vec<Read>, mut skip: impl FnMut(Unusable)) {
        for (node, unusable) in nodes {
            if let Some(unusable) = unusable {
                if matches!(unusable, Unusable::Sealed | Unusable::Keyless) {
                    self.sealed.push(node.name.clone());
                }
                skip(unusable);
            }
            self.nodes.push(node);
        }
    }

    /// The nodes with meetings that only another `store.key` would tell of, and how many meetings these are: a
    /// start without them would let each be created a second time.
    pub fn lost_with_key(&self, is_in_file: impl Fn(&NodeName) -> bool) -> (Vec<&NodeName>, usize) {
        let count =
            |name: &NodeName| self.meetings.iter().filter(|meeting| meeting.node == *name).count();
        let lost = self.sealed.iter().filter(|name| !is_in_file(name));
        let lost = lost.map(|name| (name, count(name))).filter(|(_, meetings)| *meetings > 0);
        lost.fold((Vec::new(), 0), |(mut names, all), (name, meetings)| {
            names.push(name);
            (names, all + meetings)
        })
    }
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
    to_text(&row)
}

/// A row of `name` whose secret stands in clear, with it sealed; nothing if there is no such secret.
pub(super) fn sealed(name: &str, json: &str, seal: &Seal) -> Option<String> {
    let mut row: Row = serde_json::from_str(json).ok()?;
    if row.sealed_secret.is_some() {
        return None;
    }
    row.sealed_secret = Some(seal.close(name, &row.secret)?);
    row.secret.clear();
    Some(to_text(&row))
}

fn to_text(row: &Row) -> String {
    serde_json::to_string(row).expect("a struct of texts and numbers is JSON")
}

pub(super) fn from_json(name: NodeName, json: &str, seal: &Seal) -> Result<Node, Unusable> {
    let row = serde_json::from_str(json).map_err(|error| Unusable::Json(error.column()))?;
    let Row { cluster, url, secret, sealed_secret, weight, capacity, tags, load_url } = row;
    let secret = match sealed_secret {
        Some(sealed) => {
            let why = if seal.has_key() { Unusable::Sealed } else { Unusable::Keyless };
            seal.open(name.as_str(), &sealed).ok_or(why)?
        }
        None => secret,
    };
    Ok(Node { name, cluster, url, secret: Secret::new(secret), weight, capacity, tags, load_url })
}
