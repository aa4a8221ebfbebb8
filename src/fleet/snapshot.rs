//! The inventory as requests need it: looked up by name, by host, by tenant. Immutable; a change makes a
//! new one that shares the nodes' live state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::limits::Tally;
use super::live::Live;
use super::policy;
use super::uses::Uses;
use crate::model::{
    AdminState, Cluster, Health, Inventory, MeetingIds, NodeName, Policy, Slug, Spread, Tenant,
};

/// Every request looks into several of them; what stands in them is the operator's.
type Map<K, V> = HashMap<K, V, RandomState>;

/// A node of the pool: what the operator says of it, its cluster, and its live state.
#[derive(Debug)]
pub struct Node {
    /// As the operator describes it.
    pub spec: crate::model::Node,
    /// The cluster it belongs to.
    pub cluster: Arc<Cluster>,
    /// Its counters and health, shared over all snapshots.
    pub live: Arc<Live>,
}

impl Node {
    /// Its unique name.
    pub fn name(&self) -> &NodeName {
        &self.spec.name
    }

    /// How many attendees it is meant to carry.
    pub fn room(&self) -> f64 {
        f64::from(self.spec.capacity) * self.spec.weight
    }

    /// Whether it takes new meetings: an operator wants it to, and it is up.
    pub fn is_eligible(&self) -> bool {
        self.live.admin() == AdminState::Ready && self.live.health() == Health::Up
    }

    /// Its load now, by its cluster's policy, reservations included.
    pub fn load(&self) -> f64 {
        policy::load(self.cluster.policy, &self.live.counters(), &self.spec)
    }
}

/// A tenant, and the nodes that may carry its meetings.
#[derive(Debug)]
pub struct TenantEntry {
    /// As the operator describes it.
    pub tenant: Tenant,
    /// Nodes of its cluster group with all its required tags.
    pub nodes: Vec<Arc<Node>>,
    /// By what these are compared when one is chosen: their clusters' policy. Where they have different ones, whose
    /// loads are of different units, it is `predictive`, which knows of every node how full it becomes.
    pub measure: Policy,
    /// What it has running, shared over all snapshots.
    pub tally: Arc<Tally>,
    /// What all tenants have running whose meetings are not to share a node with each other's, this one's too if it is one.
    pub(super) wary: Arc<[Arc<Tally>]>,
    /// How often its secrets were used, in their order.
    pub uses: Box<[Uses]>,
    /// Gone from the inventory, kept until its last meeting ends.
    pub is_retired: bool,
}

impl TenantEntry {
    /// Attendees that the largest of its nodes is built for; nothing where it has none.
    pub fn largest_node(&self) -> Option<u32> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast takes what is too large for the largest"
        )]
        let room = |node: &Arc<Node>| node.room() as u32;
        self.nodes.iter().map(room).max()
    }

    /// The same once it is gone from the inventory: it has no nodes, so it begins no meetings.
    #[must_use]
    pub fn retired(&self) -> Self {
        Self {
            tenant: self.tenant.clone(),
            nodes: Vec::new(),
            measure: self.measure,
            tally: self.tally.clone(),
            wary: self.wary.clone(),
            uses: self.uses.clone(),
            is_retired: true,
        }
    }
}

/// The inventory at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Map<NodeName, Arc<Node>>,
    /// The nodes' names in the order of the inventory, retired ones last.
    order: Vec<NodeName>,
    tenants: Map<Slug, Arc<TenantEntry>>,
    domains: Map<String, Slug>,
    default: Option<Slug>,
}

impl Snapshot {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// All nodes, in the order of the inventory.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.order.iter().map(|name| &self.nodes[name])
    }

    /// The tenant of this slug.
    pub fn tenant(&self, slug: &str) -> Option<&Arc<TenantEntry>> {
        self.tenants.get(slug)
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = &Arc<TenantEntry>> {
        self.tenants.values()
    }

    /// The tenant that has this host (lower-case, no port) as its own domain.
    pub fn tenant_of_domain(&self, host: &str) -> Option<&Arc<TenantEntry>> {
        self.domains.get(host).and_then(|slug| self.tenants.get(slug))
    }

    /// Whether any tenant has a domain of its own.
    pub fn has_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// The tenant to whom requests to any other host belong.
    pub fn default_tenant(&self) -> Option<&Arc<TenantEntry>> {
        self.default.as_ref().and_then(|slug| self.tenants.get(slug))
    }

    /// The one tenant that may have plain meeting ids.
    pub fn plain_tenant(&self) -> Option<&Arc<TenantEntry>> {
        self.tenants.values().find(|entry| entry.tenant.meeting_ids == MeetingIds::Plain)
    }

    /// Makes the snapshot of an inventory, keeping live state from `old`. What is gone from the
    /// inventory stays, retired, while meetings run on it.
    pub(super) fn build(
        inventory: Inventory,
        old: Option<&Self>,
        state_of: &dyn Fn(&NodeName) -> AdminState,
        tally_of: &dyn Fn(&Slug) -> Arc<Tally>,
        runs_on: impl Fn(&NodeName) -> bool,
        runs_for: impl Fn(&Slug) -> bool,
    ) -> Self {
        let Inventory { clusters, groups, nodes, tenants, managed: _ } = inventory;
        let clusters: HashMap<String, Arc<Cluster>> =
            clusters.into_iter().map(|cluster| (cluster.name.clone(), Arc::new(cluster))).collect();
        let mut next = Self::default();
        for spec in nodes {
            let Some(cluster) = clusters.get(&spec.cluster).cloned() else { continue };
            let same = old.and_then(|old| old.node(spec.name.as_str()));
            let live = match same {
                // At another address it is another server: nothing is known of it yet.
                Some(node) if node.spec.url == spec.url => {
                    node.live.set_admin(state_of(&spec.name));
                    node.live.clone()
                }
                _ => Arc::new(Live::new(state_of(&spec.name))),
            };
            next.insert(Arc::new(Node { spec, cluster, live }));
        }
        let known: HashSet<&Slug> = tenants.iter().map(|tenant| &tenant.slug).collect();
        // Who is gone from the inventory has meetings that others are not to meet, too.
        let gone = old.iter().flat_map(|old| old.tenants.values()).map(|entry| &entry.tenant);
        let gone = gone.filter(|tenant| !known.contains(&tenant.slug) && runs_for(&tenant.slug));
        let wary = tenants.iter().chain(gone);
        let wary = wary.filter(|tenant| tenant.placement.spread == Spread::Tenants);
        let wary: Arc<[_]> = wary.map(|tenant| tally_of(&tenant.slug)).collect();
        for tenant in tenants {
            let group = groups.iter().find(|group| group.name == tenant.cluster_group);
            let clusters: HashSet<&str> =
                group.iter().flat_map(|group| &group.clusters).map(String::as_str).collect();
            let nodes: Vec<_> = next
                .nodes()
                .filter(|node| clusters.contains(node.spec.cluster.as_str()))
                .filter(|node| tenant.required_tags.iter().all(|tag| node.spec.tags.contains(tag)))
                .cloned()
                .collect();
            let slug = tenant.slug.clone();
            for domain in &tenant.domains {
                next.domains.insert(domain.clone(), slug.clone());
            }
            if tenant.is_default {
                next.default = Some(slug.clone());
            }
            let tally = tally_of(&slug);
            let uses = Uses::of(
                &tenant,
                old.and_then(|old| old.tenant(slug.as_str())).map(|entry| &**entry),
            );
            let measure = measure_of(&nodes);
            let wary = wary.clone();
            let entry =
                TenantEntry { tenant, nodes, measure, tally, wary, uses, is_retired: false };
            next.tenants.insert(slug, Arc::new(entry));
        }
        if let Some(old) = old {
            next.retire_missing(old, runs_on, runs_for);
        }
        next
    }

    fn insert(&mut self, node: Arc<Node>) {
        self.order.push(node.name().clone());
        self.nodes.insert(node.name().clone(), node);
    }

    fn retire_missing(
        &mut self,
        old: &Self,
        runs_on: impl Fn(&NodeName) -> bool,
        runs_for: impl Fn(&Slug) -> bool,
    ) {
        for node in old.nodes() {
            if !self.nodes.contains_key(node.name()) && is_used(node, &runs_on) {
                node.live.set_admin(AdminState::Retired);
                self.insert(node.clone());
            }
        }
        for (slug, entry) in &old.tenants {
            if !self.tenants.contains_key(slug) && runs_for(slug) {
                let retired = entry.retired();
                for domain in &retired.tenant.domains {
                    self.domains.entry(domain.clone()).or_insert_with(|| slug.clone());
                }
                if retired.tenant.is_default {
                    self.default.get_or_insert_with(|| slug.clone());
                }
                self.tenants.insert(slug.clone(), Arc::new(retired));
            }
        }
    }

    /// This snapshot and nodes that are gone from the inventory but had meetings when we last ran. Where
    /// their cluster is gone too, its defaults do.
    pub(super) fn with_retired(&self, gone: Vec<crate::model::Node>) -> Self {
        let mut next = self.copy();
        for spec in gone {
            if next.nodes.contains_key(&spec.name) {
                continue;
            }
            let known = next.nodes().find(|node| node.spec.cluster == spec.cluster);
            let cluster = known.map_or_else(
                || Arc::new(Cluster { name: spec.cluster.clone(), ..Cluster::default() }),
                |node| node.cluster.clone(),
            );
            let live = Arc::new(Live::new(AdminState::Retired));
            next.insert(Arc::new(Node { spec, cluster, live }));
        }
        next
    }

    /// This snapshot without the retired nodes and tenants on which nothing runs, if there are any, and
    /// the names of the nodes that went.
    pub(super) fn without_idle_retired(
        &self,
        runs_on: impl Fn(&NodeName) -> bool,
        runs_for: impl Fn(&Slug) -> bool,
    ) -> (Option<Self>, Vec<NodeName>) {
        let gone: Vec<NodeName> = self
            .nodes()
            .filter(|node| node.live.admin() == AdminState::Retired && !is_used(node, &runs_on))
            .map(|node| node.name().clone())
            .collect();
        let left: Vec<Slug> = self
            .tenants
            .iter()
            .filter(|(slug, entry)| entry.is_retired && !runs_for(slug))
            .map(|(slug, _)| slug.clone())
            .collect();
        if gone.is_empty() && left.is_empty() {
            return (None, gone);
        }
        let mut next = self.copy();
        next.order.retain(|name| !gone.contains(name));
        next.nodes.retain(|name, _| !gone.contains(name));
        next.tenants.retain(|slug, _| !left.contains(slug));
        next.domains.retain(|_, slug| !left.contains(slug));
        next.default = next.default.filter(|slug| !left.contains(slug));
        (Some(next), gone)
    }

    fn copy(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            order: self.order.clone(),
            tenants: self.tenants.clone(),
            domains: self.domains.clone(),
            default: self.default.clone(),
        }
    }
}

fn measure_of(nodes: &[Arc<Node>]) -> Policy {
    let mut policies = nodes.iter().map(|node| node.cluster.policy);
    let first = policies.next().unwrap_or_default();
    if policies.all(|other| other == first) { first } else { Policy::Predictive }
}

/// Whether a meeting runs on a node, or is being created there.
fn is_used(node: &Node, runs_on: impl Fn(&NodeName) -> bool) -> bool {
    node.live.reserved() > 0 || runs_on(node.name())
}
