//! What operators manage, all of it at one moment.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use super::{Cluster, ClusterGroup, MeetingIds, Node, Scope, Slug, Tenant};

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
    /// Which of them came through the API. The others stand in the file.
    pub managed: BTreeSet<ObjectName>,
}

/// A kind of object in the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A set of nodes.
    Cluster,
    /// A set of clusters.
    ClusterGroup,
    /// A BigBlueButton server.
    Node,
    /// A customer.
    Tenant,
}

impl Kind {
    /// The word in logs, the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::ClusterGroup => "cluster group",
            Self::Node => "node",
            Self::Tenant => "tenant",
        }
    }
}

/// What an object goes by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// What it is.
    pub kind: Kind,
    /// Its name, or slug.
    pub name: String,
}

impl ObjectName {
    /// An object of this kind and name.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// One object of the inventory.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A set of nodes.
    Cluster(Cluster),
    /// A set of clusters.
    ClusterGroup(ClusterGroup),
    /// A BigBlueButton server.
    Node(Node),
    /// A customer.
    Tenant(Box<Tenant>),
}

impl Object {
    /// What it goes by.
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Cluster(cluster) => ObjectName::new(Kind::Cluster, &cluster.name),
            Self::ClusterGroup(group) => ObjectName::new(Kind::ClusterGroup, &group.name),
            Self::Node(node) => ObjectName::new(Kind::Node, node.name.as_str()),
            Self::Tenant(tenant) => ObjectName::new(Kind::Tenant, tenant.slug.as_str()),
        }
    }
}

/// Who manages an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the file, and the API only reads it.
    File,
    /// It came through the API.
    Api,
}

impl Origin {
    /// The word in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

/// Why two objects cannot be in one inventory, or one not without another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The one that stands in the way of nothing by itself, but came later.
    pub object: ObjectName,
    /// Its field.
    pub field: &'static str,
    /// What is wrong, and with which other object.
    pub message: String,
    /// The same from the other object's side, which may be the one that is being changed.
    mirror: Option<Box<Mirror>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    object: ObjectName,
    field: &'static str,
    message: String,
}

impl Clash {
    /// Whether it is about an object that is not there.
    pub fn is_of_missing(&self) -> bool {
        self.mirror.is_none()
    }

    /// The field of this object that is in the way, and why; nothing where the clash is one of others.
    pub fn of(&self, object: &ObjectName) -> Option<(&'static str, &str)> {
        if self.object == *object {
            return Some((self.field, &self.message));
        }
        let mirror = self.mirror.as_deref().filter(|mirror| mirror.object == *object)?;
        Some((mirror.field, &mirror.message))
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.message)
    }
}

impl Inventory {
    /// Who manages an object.
    pub fn origin(&self, object: &ObjectName) -> Origin {
        if self.managed.contains(object) { Origin::Api } else { Origin::File }
    }

    /// The names of all objects, clusters first, in their order.
    pub fn names(&self) -> impl Iterator<Item = ObjectName> {
        let clusters =
            self.clusters.iter().map(|cluster| ObjectName::new(Kind::Cluster, &cluster.name));
        let groups =
            self.groups.iter().map(|group| ObjectName::new(Kind::ClusterGroup, &group.name));
        let nodes = self.nodes.iter().map(|node| ObjectName::new(Kind::Node, node.name.as_str()));
        let tenants =
            self.tenants.iter().map(|tenant| ObjectName::new(Kind::Tenant, tenant.slug.as_str()));
        clusters.chain(groups).chain(nodes).chain(tenants)
    }

    /// One of the objects.
    pub fn get(&self, object: &ObjectName) -> Option<Object> {
        let name = object.name.as_str();
        match object.kind {
            Kind::Cluster => {
                let found = self.clusters.iter().find(|cluster| cluster.name == name);
                found.cloned().map(Object::Cluster)
            }
            Kind::ClusterGroup => {
                let found = self.groups.iter().find(|group| group.name == name);
                found.cloned().map(Object::ClusterGroup)
            }
            Kind::Node => {
                let found = self.nodes.iter().find(|node| node.name.as_str() == name);
                found.cloned().map(Object::Node)
            }
            Kind::Tenant => {
                let found = self.tenants.iter().find(|tenant| tenant.slug.as_str() == name);
                found.cloned().map(|tenant| Object::Tenant(Box::new(tenant)))
            }
        }
    }

    /// All objects of a kind, in their order.
    pub fn all_of(&self, kind: Kind) -> Vec<Object> {
        match kind {
            Kind::Cluster => self.clusters.iter().cloned().map(Object::Cluster).collect(),
            Kind::ClusterGroup => self.groups.iter().cloned().map(Object::ClusterGroup).collect(),
            Kind::Node => self.nodes.iter().cloned().map(Object::Node).collect(),
            Kind::Tenant => {
                self.tenants.iter().cloned().map(Box::new).map(Object::Tenant).collect()
            }
        }
    }

    /// Adds an object of the API, or puts it in the place of the one of its name.
    pub fn put(&mut self, object: Object) {
        self.managed.insert(object.name());
        match object {
            Object::Cluster(one) => {
                let place = self.clusters.iter().position(|other| other.name == one.name);
                put_at(&mut self.clusters, place, one);
            }
            Object::ClusterGroup(one) => {
                let place = self.groups.iter().position(|other| other.name == one.name);
                put_at(&mut self.groups, place, one);
            }
            Object::Node(one) => {
                let place = self.nodes.iter().position(|other| other.name == one.name);
                put_at(&mut self.nodes, place, one);
            }
            Object::Tenant(one) => {
                let place = self.tenants.iter().position(|other| other.slug == one.slug);
                put_at(&mut self.tenants, place, *one);
            }
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, object: &ObjectName) {
        self.retain(|other| other != object);
    }

    /// Leaves only objects of which this is true.
    pub fn retain(&mut self, keep: impl Fn(&ObjectName) -> bool) {
        let is_kept = |kind, name: &str| keep(&ObjectName::new(kind, name));
        self.clusters.retain(|cluster| is_kept(Kind::Cluster, &cluster.name));
        self.groups.retain(|group| is_kept(Kind::ClusterGroup, &group.name));
        self.nodes.retain(|node| is_kept(Kind::Node, node.name.as_str()));
        self.tenants.retain(|tenant| is_kept(Kind::Tenant, tenant.slug.as_str()));
        self.managed.retain(|object| keep(object));
    }

    /// What of it stands in the file.
    #[must_use]
    pub fn of_file(&self) -> Self {
        let mut rest = self.clone();
        rest.retain(|object| !self.managed.contains(object));
        rest
    }

    /// This, as the file says it, with what came through the API to `other`. What is in the file by now
    /// is the file's.
    #[must_use]
    pub fn with_managed_of(mut self, other: &Self) -> Self {
        let here: BTreeSet<_> = self.names().collect();
        let mut managed = other.clone();
        managed.retain(|object| other.managed.contains(object) && !here.contains(object));
        self.clusters.extend(managed.clusters);
        self.groups.extend(managed.groups);
        self.nodes.extend(managed.nodes);
        self.tenants.extend(managed.tenants);
        self.managed = managed.managed;
        self
    }

    /// What cannot be together. `base_domain` is where tenants are found by their slugs.
    pub fn clashes(&self, base_domain: Option<&str>) -> Vec<Clash> {
        let mut found = Clashes::default();
        for cluster in &self.clusters {
            found.claim(Kind::Cluster, &cluster.name, "name", &cluster.name);
        }
        for group in &self.groups {
            found.claim(Kind::ClusterGroup, &group.name, "name", &group.name);
            for cluster in &group.clusters {
                found.require(Kind::ClusterGroup, &group.name, "clusters", Kind::Cluster, cluster);
            }
        }
        for node in &self.nodes {
            let name = node.name.as_str();
            found.claim(Kind::Node, name, "name", name);
            found.claim(Kind::Node, name, "url", node.url.as_str());
            found.require(Kind::Node, name, "cluster", Kind::Cluster, &node.cluster);
        }
        for tenant in &self.tenants {
            let slug = tenant.slug.as_str();
            found.claim(Kind::Tenant, slug, "slug", slug);
            let group = &tenant.cluster_group;
            found.require(Kind::Tenant, slug, "cluster_group", Kind::ClusterGroup, group);
            for domain in &tenant.domains {
                found.claim(Kind::Tenant, slug, "domains", domain);
            }
            if tenant.is_default {
                found.claim(Kind::Tenant, slug, "default", "true");
            }
            if tenant.meeting_ids == MeetingIds::Plain {
                found.claim(Kind::Tenant, slug, "meeting_ids", "plain");
            }
        }
        if let Some(base_domain) = base_domain {
            self.find_stolen(base_domain, &mut found);
        }
        found.all
    }

    /// A domain of one tenant that is another's name under the base domain would take its requests.
    fn find_stolen(&self, base_domain: &str, found: &mut Clashes) {
        let slugs: HashSet<&Slug> = self.tenants.iter().map(|tenant| &tenant.slug).collect();
        for tenant in &self.tenants {
            for domain in &tenant.domains {
                let label =
                    domain.strip_suffix(base_domain).and_then(|rest| rest.strip_suffix('.'));
                let Some(scope) = label.and_then(Scope::parse) else { continue };
                let is_other = scope.tenant != tenant.slug && slugs.contains(&scope.tenant);
                if is_other {
                    let mirror = Mirror {
                        object: ObjectName::new(Kind::Tenant, scope.tenant.as_str()),
                        field: "slug",
                        message: format!(
                            "its host under server.base_domain, {domain:?}, is a domain of the tenant {}; choose \
                             another slug",
                            tenant.slug
                        ),
                    };
                    found.all.push(Clash {
                        object: ObjectName::new(Kind::Tenant, tenant.slug.as_str()),
                        field: "domains",
                        message: format!(
                            "{domain:?} already leads to the tenant {} by its slug and \
                             server.base_domain; choose another domain",
                            scope.tenant
                        ),
                        mirror: Some(Box::new(mirror)),
                    });
                }
            }
        }
    }
}

fn put_at<T>(all: &mut Vec<T>, place: Option<usize>, one: T) {
    match place.and_then(|place| all.get_mut(place)) {
        Some(present) => *present = one,
        None => all.push(one),
    }
}

/// What was taken so far, and by whom.
#[derive(Default)]
struct Clashes {
    taken: HashMap<(Kind, &'static str, String), String>,
    all: Vec<Clash>,
}

impl Clashes {
    fn claim(&mut self, kind: Kind, name: &str, field: &'static str, value: &str) {
        let place = (kind, field, value.to_owned());
        if let Some(holder) = self.taken.get(&place) {
            let told = |holder: &str| {
                let kind = kind.as_str();
                format!("{value:?} is that of {kind} {holder} already; only one can have it")
            };
            let mirror =
                Mirror { object: ObjectName::new(kind, holder), field, message: told(name) };
            let (object, message) = (ObjectName::new(kind, name), told(holder));
            self.all.push(Clash { object, field, message, mirror: Some(Box::new(mirror)) });
        } else {
            self.taken.insert(place, name.to_owned());
        }
    }

    fn require(&mut self, kind: Kind, name: &str, field: &'static str, of: Kind, other: &str) {
        if !self.taken.contains_key(&(of, "name", other.to_owned())) {
            let object = ObjectName::new(kind, name);
            let message = format!("there is no {} {other:?}; add it first", of.as_str());
            self.all.push(Clash { object, field, message, mirror: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_group(name: &str) -> Inventory {
        Inventory {
            groups: vec![ClusterGroup { name: name.to_owned(), clusters: Vec::new() }],
            ..Inventory::default()
        }
    }

    fn managed(mut inventory: Inventory) -> Inventory {
        inventory.managed = inventory.names().collect();
        inventory
    }

    #[test]
    fn what_came_through_the_api_stays_until_the_file_has_it() {
        let file = with_group("all");
        let of_api = managed(Inventory {
            tenants: vec![Tenant::sample("acme", &[0]), Tenant::sample("beta", &[0])],
            ..Inventory::default()
        });
        let both = file.clone().with_managed_of(&of_api);
        assert_eq!(both.managed, of_api.managed);
        assert_eq!(both.of_file(), file);
        assert_eq!(both.clashes(None), []);
        let mut next = file.clone();
        next.tenants
            .push(Tenant { name: "of the file".to_owned(), ..Tenant::sample("beta", &[0]) });
        let next = next.with_managed_of(&both);
        let names: Vec<_> = next.tenants.iter().map(|tenant| &*tenant.name).collect();
        assert_eq!(names, ["of the file", "acme"]);
        assert_eq!(next.origin(&ObjectName::new(Kind::Tenant, "beta")), Origin::File);
        assert_eq!(next.origin(&ObjectName::new(Kind::Tenant, "acme")), Origin::Api);
    }

    #[test]
    fn a_clash_names_both_and_the_field() {
        let mut all = with_group("all");
        all.groups[0].clusters.push("none".to_owned());
        let acme = Tenant { is_default: true, ..Tenant::sample("acme", &[0]) };
        let domains = vec!["acme.bbb.example".to_owned()];
        let beta = Tenant { is_default: true, domains, ..Tenant::sample("beta", &[0]) };
        let gamma = Tenant { cluster_group: "west".to_owned(), ..Tenant::sample("gamma", &[0]) };
        all.tenants = vec![acme, beta, gamma];
        let clashes = all.clashes(Some("bbb.example"));
        let of_acme = ObjectName::new(Kind::Tenant, "acme");
        let of_acme: Vec<_> = clashes.iter().filter_map(|clash| clash.of(&of_acme)).collect();
        assert_eq!(
            of_acme,
            [
                ("default", "\"true\" is that of tenant beta already; only one can have it"),
                (
                    "slug",
                    "its host under server.base_domain, \"acme.bbb.example\", is a domain of the tenant beta; \
                     choose another slug"
                ),
            ]
        );
        let shown: Vec<_> = clashes.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "cluster group all: clusters: there is no cluster \"none\"; add it first",
                "tenant beta: default: \"true\" is that of tenant acme already; only one can have it",
                "tenant gamma: cluster_group: there is no cluster group \"west\"; add it first",
                "tenant beta: domains: \"acme.bbb.example\" already leads to the tenant acme by its slug \
                 and server.base_domain; choose another domain",
            ]
        );
    }
}
