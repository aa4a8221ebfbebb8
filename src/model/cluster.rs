//! Clusters: sets of nodes that share one load policy, and groups of clusters for tenants.

use std::fmt;

use crate::bbb::Algorithm;

/// A named set of nodes that share one load policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Unique name.
    pub name: String,
    /// Which hash signs requests to its nodes.
    pub checksum: Algorithm,
    /// How its nodes' load is computed.
    pub policy: Policy,
}

/// Nameless, with the defaults of the configuration.
impl Default for Cluster {
    fn default() -> Self {
        Self { name: String::new(), checksum: Algorithm::Sha256, policy: Policy::default() }
    }
}

/// How the load of a node is computed; the lowest load takes the next meeting.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Policy {
    /// The default, by expected attendance.
    #[default]
    Predictive,
    /// B3LB's formula.
    B3lb(B3lbFactors),
    /// b3scale's `load_factor × max(15·meetings, attendees)`, the load factor being 1 / weight.
    B3scale,
}

impl Policy {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Predictive => "predictive",
            Self::B3lb(_) => "b3lb",
            Self::B3scale => "b3scale",
        }
    }
}

/// The factors of B3LB's load formula.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct B3lbFactors {
    /// Load of one attendee. Default 1.
    pub attendee_factor: f64,
    /// Load of one meeting. Default 30.
    pub meeting_factor: f64,
    /// Terms of the CPU polynomial, 0..=100; 0 and 1 leave the CPU out. Default 6.
    pub cpu_iterations: u32,
    /// What the CPU polynomial approaches at full load. Default 5000.
    pub cpu_max: f64,
}

impl Default for B3lbFactors {
    fn default() -> Self {
        Self { attendee_factor: 1.0, meeting_factor: 30.0, cpu_iterations: 6, cpu_max: 5000.0 }
    }
}

/// A named set of clusters; a tenant is given one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterGroup {
    /// Unique name.
    pub name: String,
    /// Names of its clusters.
    pub clusters: Vec<String>,
}

impl ClusterGroup {
    /// What is to be said of it where its clusters, which are among these, have different policies.
    pub fn mixed(&self, clusters: &[Cluster]) -> Option<Mixed> {
        let of = |name: &String| clusters.iter().find(|cluster| cluster.name == *name);
        let members: Vec<&Cluster> = self.clusters.iter().filter_map(of).collect();
        if members.windows(2).all(|two| two[0].policy == two[1].policy) {
            return None;
        }
        let clusters =
            members.iter().map(|cluster| (cluster.name.clone(), cluster.policy.as_str()));
        Some(Mixed { group: self.name.clone(), clusters: clusters.collect() })
    }
}

/// A cluster group whose clusters have different load policies: loads by these are of different units. As a text it
/// is a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed {
    group: String,
    /// With the words for their policies.
    clusters: Vec<(String, &'static str)>,
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> =
            self.clusters.iter().map(|(name, policy)| format!("{name} ({policy})")).collect();
        write!(
            f,
            "cluster group {:?} has clusters of different load policies: {}; their loads cannot be compared, so \
             meetings of its tenants are placed as by `predictive`: give its clusters the same policy, or each a group \
             of its own",
            self.group,
            named.join(", ")
        )
    }
}
