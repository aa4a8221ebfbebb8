//! What a test wants the pool to be.

#![expect(clippy::needless_pass_by_value, reason = "values are mostly literals")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use portico::sim;
use tempfile::TempDir;

/// Keys and values of a YAML mapping, as they are to be written.
pub(crate) type Keys = BTreeMap<String, String>;

/// A pool to be started. The default has one node, one cluster `main` and no tenant; it is polled every 200 ms
/// and stops without much grace.
///
/// Values are YAML: a text that could be something else needs its quotes.
#[derive(Debug)]
pub(crate) struct Config {
    dir: TempDir,
    pub(super) nodes: Vec<NodePlan>,
    clusters: BTreeMap<String, Keys>,
    groups: BTreeMap<String, Vec<String>>,
    pub(super) tenants: Vec<Tenant>,
    sections: BTreeMap<String, Keys>,
    /// More keys of each public listener; the first is plain HTTP.
    pub(super) listeners: Vec<String>,
    pub(super) env: Vec<(String, String)>,
}

/// A node to be started.
#[derive(Debug, Clone)]
pub(super) struct NodePlan {
    pub(super) settings: sim::Settings,
    cluster: String,
    keys: Keys,
}

/// A tenant, in cluster group `default` unless its keys say otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) slug: String,
    pub(crate) secrets: BTreeMap<u16, String>,
    keys: Keys,
    secret_keys: BTreeMap<u16, Keys>,
}

impl Config {
    /// One node, no tenant.
    pub(crate) fn new() -> Self {
        let config = Self {
            nodes: Vec::new(),
            clusters: BTreeMap::from([("main".to_owned(), Keys::new())]),
            groups: BTreeMap::new(),
            tenants: Vec::new(),
            sections: BTreeMap::new(),
            listeners: vec![String::new()],
            env: Vec::new(),
            dir: new_dir(),
        };
        config
            .set("server.threads", 2)
            .set("server.grace", "1s")
            .set("polling.interval", "200ms")
            .set("polling.timeout", "5s")
            .nodes(1)
    }

    /// The same in a directory of its own, for one more instance.
    pub(super) fn another(&self) -> Self {
        Self {
            dir: new_dir(),
            nodes: self.nodes.clone(),
            clusters: self.clusters.clone(),
            groups: self.groups.clone(),
            tenants: self.tenants.clone(),
            sections: self.sections.clone(),
            listeners: self.listeners.clone(),
            env: self.env.clone(),
        }
    }

    /// So many nodes, `node0` and on, in cluster `main`.
    pub(crate) fn nodes(mut self, count: usize) -> Self {
        self.nodes.truncate(count);
        for index in self.nodes.len()..count {
            let settings = sim::Settings {
                name: format!("node{index}"),
                secret: format!("secret of node{index}, known to Portico only"),
                ..sim::Settings::default()
            };
            let plan = NodePlan { settings, cluster: "main".to_owned(), keys: Keys::new() };
            self.nodes.push(plan);
        }
        self
    }

    /// A key of a node in the file, such as `weight`.
    pub(crate) fn node(mut self, index: usize, key: &str, value: impl ToString) -> Self {
        self.nodes[index].keys.insert(key.to_owned(), value.to_string());
        self
    }

    /// Puts a node into another cluster, which comes into being.
    pub(crate) fn node_in(mut self, index: usize, cluster: &str) -> Self {
        self.clusters.entry(cluster.to_owned()).or_default();
        cluster.clone_into(&mut self.nodes[index].cluster);
        self
    }

    /// How a simulated node is set up.
    pub(crate) fn sim(mut self, index: usize, change: impl FnOnce(&mut sim::Settings)) -> Self {
        change(&mut self.nodes[index].settings);
        self
    }

    /// A key of a cluster, such as `policy`.
    pub(crate) fn cluster(mut self, name: &str, key: &str, value: impl ToString) -> Self {
        self.clusters.entry(name.to_owned()).or_default().insert(key.to_owned(), value.to_string());
        self
    }

    /// A cluster group. Without one called `default`, that is made of all clusters.
    pub(crate) fn group(mut self, name: &str, clusters: &[&str]) -> Self {
        let clusters = clusters.iter().map(|&cluster| cluster.to_owned()).collect();
        self.groups.insert(name.to_owned(), clusters);
        self
    }

    /// Adds a tenant.
    pub(crate) fn tenant(mut self, tenant: Tenant) -> Self {
        self.tenants.push(tenant);
        self
    }

    /// A key of a section, `"polling.interval"`, or of the top level.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        let (section, key) = key.split_once('.').unwrap_or(("", key));
        let section = self.sections.entry(section.to_owned()).or_default();
        section.insert(key.to_owned(), value.to_string());
        self
    }

    /// One more public listener on a free port, with these further keys, such as `proxy_protocol: true`.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        self.listeners.push(keys.to_owned());
        self
    }

    /// A variable of the process's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where configuration and data are; gone when the pool is.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file beside the configuration.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("a file");
        let only_ours = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, only_ours).expect("it is ours");
        path
    }

    /// The configuration file, for nodes at these addresses and listeners on these.
    pub(super) fn to_yaml(
        &self,
        urls: &[String],
        listen: &[SocketAddr],
        admin: SocketAddr,
    ) -> String {
        let mut sections = self.sections.clone();
        let top = sections.remove("").unwrap_or_default();
        let server = sections.entry("server".to_owned()).or_default();
        server.insert("admin".to_owned(), admin.to_string());
        let listen = self.listeners.iter().zip(listen).map(|(keys, address)| {
            if keys.is_empty() {
                format!("{{ address: \"{address}\" }}")
            } else {
                format!("{{ address: \"{address}\", {keys} }}")
            }
        });
        server.insert("listen".to_owned(), format!("[{}]", listen.collect::<Vec<_>>().join(", ")));

        let mut yaml = String::new();
        if !top.contains_key("data_dir") {
            writeln!(yaml, "data_dir: {}", self.dir.path().join("data").display()).expect("text");
        }
        for (key, value) in top {
            writeln!(yaml, "{key}: {value}").expect("text");
        }
        for (section, keys) in sections {
            writeln!(yaml, "{section}:").expect("text");
            yaml.push_str(&lines(&keys, 2));
        }
        yaml.push_str("clusters:\n");
        for (name, keys) in &self.clusters {
            writeln!(yaml, "  - name: {name}\n{}    nodes:", lines(keys, 4)).expect("text");
            for (plan, url) in self.nodes.iter().zip(urls).filter(|(plan, _)| plan.cluster == *name)
            {
                let sim::Settings { name, secret, .. } = &plan.settings;
                let own = format!("      - name: {name}\n        secret: \"{secret}\"\n");
                yaml.push_str(&own);
                if !plan.keys.contains_key("url") {
                    writeln!(yaml, "        url: {url}").expect("text");
                }
                yaml.push_str(&lines(&plan.keys, 8));
            }
        }
        let mut groups = self.groups.clone();
        groups
            .entry("default".to_owned())
            .or_insert_with(|| self.clusters.keys().cloned().collect());
        yaml.push_str("cluster_groups:\n");
        for (name, clusters) in groups {
            writeln!(yaml, "  - {{ name: {name}, clusters: [{}] }}", clusters.join(", "))
                .expect("text");
        }
        if !self.tenants.is_empty() {
            yaml.push_str("tenants:\n");
        }
        for tenant in &self.tenants {
            yaml.push_str(&tenant.to_yaml());
        }
        yaml
    }
}

impl Tenant {
    /// A tenant with a main secret.
    pub(crate) fn new(slug: &str) -> Self {
        let keys = Keys::from([("cluster_group".to_owned(), "default".to_owned())]);
        let tenant = Self {
            slug: slug.to_owned(),
            secrets: BTreeMap::new(),
            keys,
            secret_keys: BTreeMap::new(),
        };
        tenant.sub(0)
    }

    /// A secret of a part of the tenant.
    pub(crate) fn sub(mut self, sub: u16) -> Self {
        let secret = format!("the secret of {} number {sub}, of no other one", self.slug);
        self.secrets.insert(sub, secret);
        self
    }

    /// A key beside one of the secrets, such as `limits`.
    pub(crate) fn secret_key(mut self, sub: u16, key: &str, value: impl ToString) -> Self {
        self.secret_keys.entry(sub).or_default().insert(key.to_owned(), value.to_string());
        self
    }

    /// A key of the tenant, such as `domains`.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    fn to_yaml(&self) -> String {
        let mut yaml = format!("  - slug: {}\n{}    secrets:\n", self.slug, lines(&self.keys, 4));
        for (sub, secret) in &self.secrets {
            writeln!(yaml, "      - sub_id: {sub}\n        secret: \"{secret}\"").expect("text");
            yaml.push_str(
                &self.secret_keys.get(sub).map(|keys| lines(keys, 8)).unwrap_or_default(),
            );
        }
        yaml
    }
}

/// A directory for configuration and data.
fn new_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("portico-it-").tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("data")).expect("a directory");
    dir
}

fn lines(keys: &Keys, indent: usize) -> String {
    keys.iter().fold(String::new(), |mut text, (key, value)| {
        writeln!(text, "{:indent$}{key}: {value}", "").expect("text");
        text
    })
}
