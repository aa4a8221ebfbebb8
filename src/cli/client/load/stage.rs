//! What a load needs in Portico: nodes, a cluster and a group of its own, and tenants; all of it is taken away again.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::{StreamExt, stream};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::front::Front;
use super::say;
use super::script::Script;
use crate::cli::client::failure::Failure;
use crate::cli::client::objects::{CLUSTERS, GROUPS, NODES, Noun, TENANTS};
use crate::cli::client::secrets::generate;
use crate::cli::client::{Api, api, output};
use crate::fleet::now_ms;
use crate::sim;
use crate::trace::score::Placement;
use crate::trace::{Row, What};

/// By then Portico has polled new nodes, and other instances know new tenants.
const READY_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Tenants that are added or removed at the same time.
const AT_ONCE: usize = 8;
/// A store that is away comes back.
const REMOVALS: usize = 4;
/// Three polls, and some time.
const UNLISTED_WITHIN: Duration = Duration::from_secs(20);
/// How long nodes show a meeting that is over is a part of this. Nothing else of ours is in their minutes.
const MINUTE: Duration = Duration::from_secs(6);
/// Other instances wait to learn meanwhile.
const SEEDED_AT_ONCE: usize = 250;
const REMOVED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Stage {
    api: Api,
    /// What all names begin with.
    name: String,
    /// What is, or may be, in Portico: in the order in which it came.
    made: Vec<(&'static Noun, String)>,
    /// What the trace calls tenants, and we.
    slugs: HashMap<String, String>,
    /// Tenants, as we call them, of whose meetings Portico knows something, or may.
    learned: BTreeSet<String>,
    nodes: Vec<(String, sim::Node)>,
}

impl Stage {
    pub(super) fn new(api: Api) -> Self {
        let name = format!("load-{}", hex::encode(rand::random::<[u8; 4]>()));
        let (slugs, learned) = (HashMap::new(), BTreeSet::new());
        Self { api, name, made: Vec::new(), slugs, learned, nodes: Vec::new() }
    }

    /// The nodes, by what the trace calls them.
    pub(super) fn nodes(&self) -> &[(String, sim::Node)] {
        &self.nodes
    }

    /// Brings all of it into Portico, and waits until it is of use. May be dropped halfway. Gives how many former meetings
    /// Portico has learned from, if it takes any.
    pub(super) async fn build(
        &mut self,
        script: &Script,
        policy: &str,
        bind: IpAddr,
        front: &mut Front,
    ) -> Result<Option<u64>, Failure> {
        let name = self.name.clone();
        for (node, _) in &script.nodes {
            let settings = sim::Settings {
                name: node.clone(),
                address: SocketAddr::new(bind, 0),
                secret: generate()?,
                minute: MINUTE,
                ..sim::Settings::default()
            };
            let started = sim::Node::start(settings).await;
            let started = started.map_err(|error| {
                Failure::wrong(format_args!("--bind {bind}: node {node} cannot listen: {error}"))
            })?;
            self.nodes.push((node.clone(), started));
        }
        say(format_args!(
            "adding {} nodes and {} tenants to Portico; their names begin with {name}",
            script.nodes.len(),
            script.tenants.len()
        ));
        self.add(&CLUSTERS, &name, "", json!({"name": name, "policy": policy})).await?;
        self.add(&GROUPS, &name, "", json!({"name": name, "clusters": [name]})).await?;
        for (index, (_, weight)) in script.nodes.iter().enumerate() {
            let (name, node) = (format!("{name}-{index}"), &self.nodes[index].1);
            let document = json!({
                "name": name, "cluster": self.name, "url": node.url(), "secret": node.secret(), "weight": weight,
            });
            self.add(&NODES, &name, "?probe=true", document).await?;
        }
        for (index, tenant) in script.tenants.iter().enumerate() {
            let (slug, secret) = (format!("{name}-t{index}"), generate()?);
            let secrets = json!([{"sub_id": 0, "secret": secret}]);
            let document = json!({"slug": slug, "cluster_group": name, "secrets": secrets});
            self.add(&TENANTS, &slug, "", document).await?;
            front.add(tenant, &slug, secret);
            self.slugs.insert(tenant.clone(), slug);
        }
        self.becomes_ready(script, front).await?;
        self.teach(script).await
    }

    /// Lets Portico learn from the former meetings of the trace, as if the trace began now.
    async fn teach(&mut self, script: &Script) -> Result<Option<u64>, Failure> {
        let now_ms = i64::try_from(now_ms()).unwrap_or_default();
        let item = |row: &Row| {
            let What::Past { room, peak, .. } = &row.what else { return None };
            let created_ms = now_ms.saturating_sub(script.begin_ms.saturating_sub(row.at_ms));
            let created_at = Timestamp::from_millisecond(created_ms).ok()?.to_string();
            let tenant = self.slugs.get(&room.tenant)?;
            Some(json!({
                "tenant": tenant, "meeting_id": room.meeting_id, "created_at": created_at, "attendees": peak,
            }))
        };
        let items: Vec<Value> = script.past.iter().filter_map(item).collect();
        let taught = items.iter().filter_map(|item| item["tenant"].as_str());
        self.learned.extend(taught.map(str::to_owned));
        let mut learned = 0;
        for part in items.chunks(SEEDED_AT_ONCE) {
            match self.api.post("/history/meetings", &json!({"items": part})).await {
                Ok(told) => learned += told.body["learned"].as_u64().unwrap_or_default(),
                Err(failure) if failure.status == Some(StatusCode::NOT_FOUND) => {
                    self.learned.clear();
                    return Ok(None);
                }
                Err(failure) => return Err(failure.of("the history of the rooms is refused")),
            }
        }
        Ok(Some(learned))
    }

    /// Portico learns from these meetings when they are over.
    pub(super) fn note_placed(&mut self, placements: &[Placement]) {
        let slugs = placements.iter().filter_map(|placed| self.slugs.get(&placed.room.tenant));
        self.learned.extend(slugs.cloned());
    }

    async fn add(
        &mut self,
        noun: &'static Noun,
        name: &str,
        query: &str,
        document: Value,
    ) -> Result<(), Failure> {
        // Before it is: whoever breaks off does not know whether it came about.
        self.made.push((noun, name.to_owned()));
        let added = self.api.post(&format!("{}{query}", noun.collection), &document).await;
        added.map(drop).map_err(|failure| {
            if failure.status.is_some_and(|status| status.is_client_error()) {
                self.made.pop();
            }
            failure.of(format_args!("{} {name} cannot be added", noun.kind.as_str()))
        })
    }

    async fn becomes_ready(&self, script: &Script, front: &Front) -> Result<(), Failure> {
        let until = Instant::now() + READY_WITHIN;
        let ours = api::query([("cluster", Some(self.name.as_str()))]);
        loop {
            let nodes = self.api.all_of(NODES.collection, &ours).await?;
            let down = nodes.iter().find(|node| node["status"]["health"] != "up");
            let why = match down {
                Some(node) => format!(
                    "node {} does not become up: its health is {}",
                    output::text(node.get("name")),
                    output::text(node.pointer("/status/health")),
                ),
                None => match front.is_served(&script.tenants[0]).await {
                    Ok(()) => return Ok(()),
                    Err(why) => format!(
                        "the tenant that was just added gets no answer at --server: {why}. Is it the public side of \
                         the Portico whose API is asked?"
                    ),
                },
            };
            if Instant::now() >= until {
                return Err(Failure::failed(why));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Takes all of it away.
    pub(super) async fn clear(&mut self) -> Result<(), Failure> {
        // Portico ends on them what runs.
        self.nodes.iter().for_each(|(_, node)| node.set_fault(None));
        for noun in [&TENANTS, &NODES, &GROUPS, &CLUSTERS] {
            let ours = self.made.iter().filter(|(known, _)| known.kind == noun.kind);
            let names: Vec<String> = ours.map(|(_, name)| name.clone()).collect();
            let api = &self.api;
            let force = if is_forced(noun) { "?force=true" } else { "" };
            let removing = names.into_iter().map(|name| async move {
                let path = format!("{}{force}", api::path(noun.collection, &name));
                let is_gone = is_removed(api, &path, &[StatusCode::NOT_FOUND]).await;
                (name, is_gone)
            });
            let removed: Vec<_> = stream::iter(removing).buffer_unordered(AT_ONCE).collect().await;
            if noun.kind == TENANTS.kind {
                // Portico takes a meeting that is over out of its lists when polls no longer find it.
                drop(timeout(UNLISTED_WITHIN, self.becomes_empty()).await);
            }
            self.made.retain(|(known, name)| {
                let is_gone = |(gone, is_gone): &(String, bool)| *is_gone && gone == name;
                known.kind != noun.kind || !removed.iter().any(is_gone)
            });
        }
        // Behind the last that is learned of them.
        self.forget().await;
        if self.made.is_empty() && self.learned.is_empty() { Ok(()) } else { Err(self.left()) }
    }

    /// Waits until no meeting of ours is listed, or nobody tells.
    async fn becomes_empty(&self) {
        for (_, name) in self.made.iter().filter(|(noun, _)| noun.kind == NODES.kind) {
            let query = api::query([("node", Some(name.as_str()))]);
            while self.api.all_of("/meetings", &query).await.is_ok_and(|all| !all.is_empty()) {
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// What was learned of tenants that are gone; of others there may be more. Each time Portico reads again all that it
    /// knows: one after the other, and only where there can be anything.
    async fn forget(&mut self) {
        let is_there = |slug: &str| {
            self.made.iter().any(|(noun, name)| noun.kind == TENANTS.kind && name == slug)
        };
        let gone: Vec<_> = self.learned.iter().filter(|slug| !is_there(slug)).cloned().collect();
        for slug in gone {
            let query = api::query([("tenant", Some(slug.as_str()))]);
            let path = format!("/history?{}", query.trim_start_matches('&'));
            // Nothing was learned where nobody came: then the filter names what is not there.
            let absent = [StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY];
            if is_removed(&self.api, &path, &absent).await {
                self.learned.remove(&slug);
            }
        }
    }

    /// What is still in Portico, and how it is taken away.
    pub(super) fn left(&self) -> Failure {
        let mut lines =
            vec!["this is left in Portico; take it away when it can be reached:".to_owned()];
        lines.extend(self.made.iter().rev().map(|(noun, name)| {
            let force = if is_forced(noun) { " --force" } else { "" };
            let word = noun.collection.trim_start_matches('/').trim_end_matches('s');
            format!("  portico {word} delete {name}{force} --yes")
        }));
        let forgetting = |slug| format!("  portico history reset --tenant {slug} --yes");
        lines.extend(self.learned.iter().map(forgetting));
        Failure::failed(lines.join("\n"))
    }

    /// Stops the nodes.
    pub(super) async fn stop(self) {
        for (_, node) in self.nodes {
            node.stop().await;
        }
    }
}

/// Whether meetings can be on it, which are ended with it.
fn is_forced(noun: &Noun) -> bool {
    [NODES.kind, TENANTS.kind].contains(&noun.kind)
}

/// Whether it is gone, by us or by somebody else.
async fn is_removed(api: &Api, path: &str, absent: &[StatusCode]) -> bool {
    for attempt in 0..REMOVALS {
        if attempt > 0 {
            sleep(REMOVED_AGAIN_AFTER).await;
        }
        match api.delete_for(path).await {
            // A node stays, retired, while anything is left on it.
            Ok(told) if told["left"].as_array().is_none_or(Vec::is_empty) => return true,
            Err(failure) if failure.status.is_some_and(|status| absent.contains(&status)) => {
                return true;
            }
            Ok(_) | Err(_) => {}
        }
    }
    false
}
