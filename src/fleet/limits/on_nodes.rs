//! On which nodes a tenant's main meetings are, from the moment that a node is chosen: what `spread` goes by.

use std::collections::HashMap;
use std::sync::Arc;

use super::Tally;
use crate::model::NodeName;

/// How many there are on each node.
#[derive(Debug, Default)]
pub(super) struct OnNodes(HashMap<NodeName, u32>);

impl OnNodes {
    pub(super) fn count(&self, node: &NodeName) -> u32 {
        self.0.get(node).copied().unwrap_or_default()
    }

    pub(super) fn come(&mut self, node: &NodeName) {
        *self.0.entry(node.clone()).or_default() += 1;
    }

    pub(super) fn go(&mut self, node: &NodeName) {
        let Some(count) = self.0.get_mut(node) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(node);
        }
    }
}

/// A meeting that is being created on a node: it is one more there until this is dropped.
#[derive(Debug)]
pub(in crate::fleet) struct Coming {
    tally: Arc<Tally>,
    node: NodeName,
}

impl Coming {
    pub(in crate::fleet) fn new(tally: &Arc<Tally>, node: &NodeName) -> Self {
        tally.0.lock().on_nodes.come(node);
        Self { tally: tally.clone(), node: node.clone() }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.tally.0.lock().on_nodes.go(&self.node);
    }
}
