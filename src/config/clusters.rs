//! `clusters` with their nodes, and `cluster_groups`.

use std::ops::RangeInclusive;

use url::Url;

use super::reader::{Fields, Item, Names};
use crate::bbb::Algorithm;
use crate::model::{B3lbFactors, Cluster, ClusterGroup, Node, NodeName, Policy};

/// What every BigBlueButton since 2.4 understands; sha1 may be switched off on newer ones.
const DEFAULT_CHECKSUM: Algorithm = Algorithm::Sha256;
/// All nodes alike.
const DEFAULT_WEIGHT: f64 = 1.0;
/// Nodes that differ more are no pool; and what is divided by a weight stays a number.
const WEIGHTS: RangeInclusive<f64> = 1e-6..=1e6;
/// BigBlueButton's own advice for a server of the recommended size.
const DEFAULT_CAPACITY: u32 = 200;
/// More attendees on one server is a typing mistake.
const MAX_CAPACITY: u32 = 1_000_000;
/// B3LB's own bound; more terms change nothing.
const MAX_CPU_ITERATIONS: u32 = 100;
/// Where BigBlueButton's API is below its host.
const API_PATHS: &str = "a path that ends in /bigbluebutton/api or /bigbluebutton";

/// What `clusters` holds.
pub(super) struct Section {
    pub(super) clusters: Vec<Cluster>,
    pub(super) nodes: Vec<Node>,
    /// By which groups refer to the clusters.
    pub(super) names: Names,
}

pub(super) fn read(item: &Item<'_>) -> Section {
    let mut names = Names::new("cluster");
    let mut node_names = Names::new("node");
    let mut node_urls = Names::new("url");
    let mut nodes = Vec::new();
    let clusters = item.list(|item| {
        item.fields(|fields| {
            let cluster = cluster(fields, &mut names);
            let name = cluster.as_ref().map_or("", |cluster| &cluster.name);
            nodes.extend(fields.optional("nodes").list(|item| {
                item.fields(|fields| node(fields, name, &mut node_names, &mut node_urls))
            }));
            cluster
        })
    });
    Section { clusters, nodes, names }
}

/// A cluster without its nodes.
pub(super) fn cluster(fields: &Fields<'_, '_>, names: &mut Names) -> Option<Cluster> {
    let name_item = fields.required("name", "a name of its own");
    let name = name_item.name();
    if let Some(name) = name {
        names.claim(&name_item, name);
    }
    let checksum = fields.optional("checksum").algorithm().unwrap_or(DEFAULT_CHECKSUM);
    let policy = policy(&fields.optional("policy")).unwrap_or_default();
    Some(Cluster { name: name?.to_owned(), checksum, policy })
}

/// The groups, and the names by which tenants refer to them.
pub(super) fn groups(item: &Item<'_>, known: &Section) -> (Vec<ClusterGroup>, Names) {
    let mut names = Names::new("cluster group");
    let groups = item.list(|item| {
        let group = item.fields(|fields| group(fields, &known.names, &mut names))?;
        if let Some(mixed) = group.mixed(&known.clusters) {
            item.warn(mixed);
        }
        Some(group)
    });
    (groups, names)
}

pub(super) fn group(
    fields: &Fields<'_, '_>,
    clusters: &Names,
    names: &mut Names,
) -> Option<ClusterGroup> {
    let name_item = fields.required("name", "a name of its own");
    let name = name_item.name();
    if let Some(name) = name {
        names.claim(&name_item, name);
    }
    let mut members = Names::new("cluster");
    let clusters = fields.optional("clusters").list(|item| {
        let name = item.text("the name of a cluster")?;
        clusters.require(item, name);
        members.claim(item, name);
        Some(name.to_owned())
    });
    Some(ClusterGroup { name: name?.to_owned(), clusters })
}

pub(super) fn node(
    fields: &Fields<'_, '_>,
    cluster: &str,
    names: &mut Names,
    urls: &mut Names,
) -> Option<Node> {
    let name_item = fields.required("name", "a name of its own");
    let name = name_item.word();
    if let Some(name) = name {
        names.claim(&name_item, name);
    }
    let url_item = fields.required("url", "the URL that `bbb-conf --secret` prints on the node");
    let url = api_url(&url_item);
    url_item.remember_line();
    if let Some(url) = &url {
        urls.claim(&url_item, url.as_str());
    }
    let secret = fields.required_secret("secret");
    let weight = fields.optional("weight").number_within(WEIGHTS).unwrap_or(DEFAULT_WEIGHT);
    let capacity = fields.optional("capacity").whole(1..=MAX_CAPACITY);
    let tags = fields.optional("tags").words();
    let load_url = fields.optional("load_url").http_url();
    Some(Node {
        name: NodeName::new(name?),
        cluster: cluster.to_owned(),
        url: url?,
        secret: secret?,
        weight,
        capacity: capacity.unwrap_or(DEFAULT_CAPACITY),
        tags,
        load_url,
    })
}

/// The base of a node's API as people paste it: with or without `/api`, with or without a slash.
fn api_url(item: &Item<'_>) -> Option<Url> {
    let mut url = item.http_url()?;
    let path = url.path().trim_end_matches('/');
    let path = if path.ends_with("/api") {
        path.to_owned()
    } else if path.ends_with("/bigbluebutton") {
        format!("{path}/api")
    } else {
        item.refuse(format_args!("a URL with {API_PATHS}, as `bbb-conf --secret` prints it"));
        return None;
    };
    url.set_path(&path);
    Some(url)
}

/// `predictive`, `b3lb`, `b3scale`, or `{b3lb: {…}}` with factors.
fn policy(item: &Item<'_>) -> Option<Policy> {
    let words = [
        ("predictive", Policy::Predictive),
        ("b3lb", Policy::B3lb(B3lbFactors::default())),
        ("b3scale", Policy::B3scale),
    ];
    if !item.is_mapping() {
        return item.one_of(&words);
    }
    item.fields(|fields| factors(&fields.required("b3lb", "the factors of B3LB's formula")))
        .map(Policy::B3lb)
}

fn factors(item: &Item<'_>) -> Option<B3lbFactors> {
    let default = B3lbFactors::default();
    item.fields(|fields| {
        let attendee_factor = fields.optional("attendee_factor").number();
        let meeting_factor = fields.optional("meeting_factor").number();
        let cpu_iterations = fields.optional("cpu_iterations").whole(0..=MAX_CPU_ITERATIONS);
        let cpu_max = fields.optional("cpu_max").number();
        Some(B3lbFactors {
            attendee_factor: attendee_factor.unwrap_or(default.attendee_factor),
            meeting_factor: meeting_factor.unwrap_or(default.meeting_factor),
            cpu_iterations: cpu_iterations.unwrap_or(default.cpu_iterations),
            cpu_max: cpu_max.unwrap_or(default.cpu_max),
        })
    })
}

impl Item<'_> {
    /// A hash that signs requests.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.one_of(&Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm)))
    }
}
