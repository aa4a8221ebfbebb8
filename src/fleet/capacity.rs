//! How much room the pool has, and which nodes it could do without.

use std::collections::{HashMap, HashSet};

use super::forecast::Forecast;
use super::snapshot::{Node, Snapshot};

/// The room on nodes that take meetings: ready, up and used by a tenant that is enabled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capacity {
    /// How many they are.
    pub nodes: usize,
    /// Main meetings on them.
    pub meetings: u32,
    /// People in these.
    pub attendees: u32,
    /// People for whom they are meant.
    pub room: f64,
    /// Nodes, also such that take no meetings, on which nothing runs.
    pub empty: Vec<String>,
    /// Nodes of which each alone could be drained: for every tenant that uses it, its other nodes have room for
    /// all who are there now.
    pub drainable: Vec<String>,
    /// Nodes that could all go, the emptiest first, with what is foreseen; nothing where nothing is.
    pub removable: Option<Vec<String>>,
}

/// Nodes that some tenants have, and what is on them.
struct Share<'s> {
    nodes: Vec<&'s Node>,
    room: f64,
    people: f64,
}

impl Capacity {
    /// Of the nodes in a snapshot. `runs_on` tells whether anything does.
    pub fn of(
        snapshot: &Snapshot,
        foreseen: Option<&Forecast>,
        runs_on: impl Fn(&Node) -> bool,
    ) -> Self {
        let shares = shares(snapshot);
        let mut used: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, share) in shares.iter().enumerate() {
            for node in &share.nodes {
                used.entry(node.name().as_str()).or_default().push(number);
            }
        }
        let mut capacity = Self { nodes: used.len(), ..Self::default() };
        let mut candidates = Vec::new();
        for node in snapshot.nodes() {
            let name = node.name().as_str();
            if node.live.meetings() == 0 && !runs_on(node) {
                capacity.empty.push(name.to_owned());
            }
            let Some(users) = used.get(name) else { continue };
            capacity.room += node.room();
            capacity.meetings = capacity.meetings.saturating_add(node.live.meetings());
            capacity.attendees = capacity.attendees.saturating_add(node.live.attendees());
            let could_go = users.iter().all(|user| {
                let share = &shares[*user];
                share.nodes.len() > 1 && share.room - node.room() >= share.people
            });
            if could_go {
                capacity.drainable.push(name.to_owned());
                candidates.push((&**node, users));
            }
        }
        capacity.removable = foreseen.map(|foreseen| {
            let now = f64::from(capacity.attendees);
            // Of nobody there can be any number of times as many: then it is that many everywhere.
            let (growth, more) = match foreseen.attendees + foreseen.margin {
                then if now > 0.0 => ((then / now).max(1.0), 0.0),
                then => (1.0, then),
            };
            removable(candidates, shares, |people| people * growth + more)
        });
        capacity
    }

    /// How many more people there is room for; below 0: there are too many already.
    pub fn free(&self) -> f64 {
        self.room - f64::from(self.attendees)
    }
}

/// Tenants with the same nodes count once.
fn shares(snapshot: &Snapshot) -> Vec<Share<'_>> {
    let mut seen = HashSet::new();
    let mut shares = Vec::new();
    for entry in snapshot.tenants() {
        let tenant = &entry.tenant;
        let is_counted = tenant.is_enabled && !entry.is_retired;
        if !is_counted || !seen.insert((&tenant.cluster_group, &tenant.required_tags)) {
            continue;
        }
        let nodes: Vec<&Node> =
            entry.nodes.iter().map(|node| &**node).filter(|node| node.is_eligible()).collect();
        let room = nodes.iter().map(|node| node.room()).sum();
        let people = nodes.iter().map(|node| f64::from(node.live.attendees())).sum();
        shares.push(Share { nodes, room, people });
    }
    shares
}

/// Takes one after the other, the emptiest first, while what is left has room for all.
fn removable(
    mut candidates: Vec<(&Node, &Vec<usize>)>,
    mut shares: Vec<Share<'_>>,
    then: impl Fn(f64) -> f64,
) -> Vec<String> {
    candidates.sort_by_key(|(node, _)| (node.live.attendees(), node.live.meetings()));
    let mut all = Vec::new();
    for (node, users) in candidates {
        let could_go = users.iter().all(|user| {
            let share = &shares[*user];
            share.nodes.len() > 1 && share.room - node.room() >= then(share.people)
        });
        if !could_go {
            continue;
        }
        for user in users {
            let share = &mut shares[*user];
            share.nodes.pop();
            share.room -= node.room();
        }
        all.push(node.name().to_string());
    }
    all
}
