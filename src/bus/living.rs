//! Who of the instances is alive, and who of them does what only one has to do.

use sha2::{Digest, Sha256};

use crate::model::InstanceId;

/// The instances that are alive, as one of them sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    own: InstanceId,
    /// Everybody, ourselves among them unless we are leaving; in order.
    all: Vec<InstanceId>,
    is_in_touch: bool,
}

impl Living {
    /// Out of touch: whatever has to be done, we have to do it.
    pub fn alone(own: InstanceId) -> Self {
        Self { all: vec![own.clone()], own, is_in_touch: false }
    }

    /// In touch with these.
    pub fn among(own: InstanceId, mut all: Vec<InstanceId>) -> Self {
        all.sort();
        all.dedup();
        Self { own, all, is_in_touch: true }
    }

    /// Whether we know of the others.
    pub fn is_in_touch(&self) -> bool {
        self.is_in_touch
    }

    /// Everybody that is alive, in order.
    pub fn all(&self) -> &[InstanceId] {
        &self.all
    }

    /// Who has to do something that one has to do, such as to poll the node of this name.
    ///
    /// By rendezvous hashing: everybody who sees the same instances says the same, and when one comes or
    /// goes, only what it did or will do changes hands.
    pub fn owner_of(&self, what: &str) -> &InstanceId {
        let of = |instance: &&InstanceId| (weight(instance, what), (*instance).clone());
        self.all.iter().max_by_key(of).unwrap_or(&self.own)
    }

    /// Whether it is ours to do. Always, when we are out of touch.
    pub fn is_ours(&self, what: &str) -> bool {
        *self.owner_of(what) == self.own
    }
}

/// The same in every process and every version: instances of two versions work side by side in an upgrade.
fn weight(instance: &InstanceId, what: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(instance.as_str());
    hash.update([0]);
    hash.update(what);
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |weight, byte| weight << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instances(count: usize) -> Vec<InstanceId> {
        (0..count).map(|number| InstanceId::named(&format!("edge-{number}"))).collect()
    }

    #[test]
    fn who_is_out_of_touch_does_everything() {
        let own = InstanceId::new("edge");
        let alone = Living::alone(own.clone());
        assert!(!alone.is_in_touch() && alone.is_ours("node0"));
        // One that is leaving and the last one.
        assert!(Living::among(own, Vec::new()).is_ours("node0"));
    }

    #[test]
    fn all_versions_choose_alike() {
        let all = instances(3);
        let living = Living::among(all[0].clone(), all);
        let owners =
            ["node0", "node1", "node2", "housekeeping"].map(|what| living.owner_of(what).as_str());
        assert_eq!(owners, ["edge-2", "edge-0", "edge-0", "edge-0"]);
    }

    #[test]
    fn nodes_are_spread() {
        let all = instances(4);
        let living = Living::among(all[0].clone(), all.clone());
        for instance in &all {
            let nodes = (0..400).filter(|node| living.owner_of(&format!("bbb{node}")) == instance);
            let count = nodes.count();
            assert!((60..=140).contains(&count), "{instance} has {count} of 400");
        }
    }

    proptest! {
        #[test]
        fn only_what_the_leaving_one_did_changes_hands(
            count in 2_usize..8,
            leaving in 0_usize..8,
            nodes in prop::collection::vec("[a-z0-9]{1,12}", 1..50),
        ) {
            let all = instances(count);
            let leaving = all[leaving % count].clone();
            let rest: Vec<_> = all.iter().filter(|id| **id != leaving).cloned().collect();
            // Seen by different instances, named in different orders.
            let before = Living::among(all[0].clone(), all.iter().rev().cloned().collect());
            let after = Living::among(rest[0].clone(), rest);
            for node in &nodes {
                if *before.owner_of(node) == leaving {
                    prop_assert_ne!(after.owner_of(node), &leaving);
                } else {
                    prop_assert_eq!(before.owner_of(node), after.owner_of(node));
                }
            }
        }
    }
}
