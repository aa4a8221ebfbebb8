//! What operators manage, all of it at one moment.

use super::{Cluster, ClusterGroup, Node, Tenant};

/// Clusters, groups, nodes and tenants. Names are unique and every name that is referred to exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Sets of nodes.
    pub clusters: Vec<Cluster>,
    /// Sets of clusters.
    pub groups: Vec<ClusterGroup>,
    /// All nodes, in the order of the file.
    pub nodes: Vec<Node>,
    /// All tenants.
    pub tenants: Vec<Tenant>,
}
