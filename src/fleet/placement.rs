//! The choice of a node for a new meeting: choosing and reserving are one step.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::policy;
use super::snapshot::{Node, TenantEntry};
use crate::model::{AdminState, Health, MeetingKey, NodeName};

/// A place on a node that weighs from now on. Dropped, it is given back; the directory keeps it until a
/// poll has counted the meeting.
#[must_use = "a dropped reservation is given back"]
pub struct Reservation {
    node: Arc<Node>,
}

impl Reservation {
    /// The chosen node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Of a placement that another instance has decided.
    pub(super) fn of_others(node: Arc<Node>) -> Self {
        node.live.reserve();
        Self { node }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.node.live.release();
    }
}

/// Why no node can take a meeting, in numbers of the tenant's nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoNode {
    /// Nodes in the tenant's cluster group with all required tags.
    pub nodes: usize,
    /// Of these, such that an operator keeps from new meetings.
    pub closed: usize,
    /// Of these, such that are not `up`.
    pub not_up: usize,
    /// Of these, such that were tried for this meeting and failed.
    pub failed: usize,
}

impl NoNode {
    /// All words that there are for it.
    pub const WORDS: [&str; 5] = ["none", "closed", "not_up", "closed_or_not_up", "failed"];

    /// A word for it, for metrics.
    pub fn word(&self) -> &'static str {
        match *self {
            Self { nodes: 0, .. } => "none",
            Self { nodes, closed, .. } if closed == nodes => "closed",
            Self { nodes, not_up, .. } if not_up == nodes => "not_up",
            Self { failed: 0, .. } => "closed_or_not_up",
            Self { .. } => "failed",
        }
    }
}

/// For the operator, who reads it in the front end.
impl fmt::Display for NoNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str(
                "no node is assigned to this tenant: check its cluster group and required tags",
            );
        }
        write!(
            f,
            "none of {} nodes can take a new meeting: {} not up, {} closed by an operator, {} failed just now",
            self.nodes, self.not_up, self.closed, self.failed
        )
    }
}

impl TenantEntry {
    /// Chooses the least loaded eligible node for `key` and reserves a place there, in one step.
    ///
    /// `tried` are nodes that have failed this meeting already. Ties go by a hash of meeting and node, so
    /// equal input gives equal choices and equal nodes share the meetings.
    ///
    /// # Errors
    /// When no node is eligible, with the reasons counted.
    pub fn place(&self, key: &MeetingKey, tried: &[NodeName]) -> Result<Reservation, NoNode> {
        loop {
            let mut why = NoNode { nodes: self.nodes.len(), ..NoNode::default() };
            let eligible = self.nodes.iter().filter(|node| is_eligible(node, tried, &mut why));
            let best = eligible
                .map(|node| {
                    let seen = node.live.counters();
                    // With the meeting on it: among idle nodes the weight decides then.
                    let next = seen.with_one_more();
                    (policy::load(node.cluster.policy, &next, node.spec.weight), seen, node)
                })
                .min_by(|(a, _, left), (b, _, right)| {
                    a.partial_cmp(b)
                        .unwrap_or(Ordering::Equal)
                        .then_with(|| lot(key, left).cmp(&lot(key, right)))
                });
            let Some((_, seen, node)) = best else { return Err(why) };
            if node.live.try_reserve(&seen) {
                return Ok(Reservation { node: node.clone() });
            }
        }
    }
}

impl TenantEntry {
    /// The nodes that could take a meeting now, the least loaded first.
    pub fn eligible_by_load(&self) -> Vec<NodeName> {
        let mut why = NoNode::default();
        let eligible = self.nodes.iter().filter(|node| is_eligible(node, &[], &mut why));
        let mut by_load: Vec<_> = eligible.map(|node| (node.load(), node.name().clone())).collect();
        by_load.sort_by(|(a, left), (b, right)| a.total_cmp(b).then_with(|| left.cmp(right)));
        by_load.into_iter().map(|(_, name)| name).collect()
    }
}

fn is_eligible(node: &Node, tried: &[NodeName], why: &mut NoNode) -> bool {
    if tried.contains(node.name()) {
        why.failed += 1;
    } else if node.live.admin() != AdminState::Ready {
        why.closed += 1;
    } else if node.live.health() != Health::Up {
        why.not_up += 1;
    } else {
        return true;
    }
    false
}

fn lot(key: &MeetingKey, node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, node.name()).hash(&mut hasher);
    hasher.finish()
}
