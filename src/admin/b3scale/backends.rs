//! Backends: nodes, and what operators want of them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use log::info;
use serde_json::{Value, json};
use url::Url;

use super::super::api::documents::{self, Secrets};
use super::super::api::problem::Problem;
use super::super::api::tags::each_once;
use super::super::api::{edits, nodes, objects, time};
use super::body::Fields;
use super::{Annex, Answer, NEVER, Right, Visitor, filter, id_of, not_found, ok, wrong};
use crate::fleet;
use crate::model::{AdminState, Health, Inventory, Kind, Node, Object, ObjectName};

/// Before the name of a node's agent among its tags: b3scale's agents go by the `sub` of their tokens.
const AGENT: &str = "agent:";
/// What b3scale says of an agent that was never heard.
const NEVER_HEARD: &str = "2000-01-01T00:00:00Z";

/// A node as b3scale knows it.
#[derive(Debug, Clone, PartialEq)]
struct Backend {
    host: String,
    secret: String,
    tags: Vec<String>,
    load_factor: f64,
    state: AdminState,
}

impl Backend {
    fn of(node: &Node, state: AdminState) -> Self {
        let tags = node.tags.iter().filter(|tag| !tag.starts_with(AGENT)).cloned();
        Self {
            host: host_of(node),
            secret: node.secret.expose().to_owned(),
            tags: tags.collect(),
            load_factor: 1.0 / node.weight,
            state,
        }
    }

    fn merge(&mut self, body: &Fields<'_>) -> Result<(), Problem> {
        if let Some(bbb) = body.object("bbb")?.value() {
            if let Some(host) = bbb.text("host")?.value() {
                self.host = with_slash(host);
            }
            if let Some(secret) = bbb.text("secret")?.value() {
                secret.trim().clone_into(&mut self.secret);
            }
        }
        if let Some(settings) = body.object("settings")?.value() {
            match settings.texts("tags")? {
                super::body::Given::Absent => {}
                super::body::Given::Null => self.tags.clear(),
                super::body::Given::Is(tags) => self.tags = tags,
            }
        }
        if let Some(factor) = body.number("load_factor")?.value() {
            self.load_factor = factor;
        }
        if let Some(state) = body.text("admin_state")?.value() {
            self.state = match state {
                "ready" => AdminState::Ready,
                "stopped" | "init" => AdminState::Cordoned,
                "decommissioned" => AdminState::Draining,
                // As it is in what was never saved.
                "" => self.state,
                _ => {
                    let detail = "is none of ready, stopped, decommissioned";
                    return Err(wrong("admin_state", detail));
                }
            };
        }
        let required = "this field is required".to_owned();
        let mut missing = Vec::new();
        if !self.host.starts_with("http") {
            let detail = "should start with http(s)://".to_owned();
            missing.push(("bbb.host".to_owned(), detail));
        }
        if self.secret.is_empty() {
            missing.push(("bbb.secret".to_owned(), required));
        }
        if !(self.load_factor > 0.0 && self.load_factor.is_finite()) {
            missing.push(("load_factor".to_owned(), "is not above 0".to_owned()));
        }
        if missing.is_empty() { Ok(()) } else { Err(Problem::fields(missing)) }
    }

    /// The node that this makes of the one before.
    fn apply(&self, before: &Node) -> Result<Object, Problem> {
        let now = Self::of(before, self.state);
        let object = Object::Node(before.clone());
        if *self == now {
            return Ok(object);
        }
        let mut document = documents::write(&object, Secrets::Shown);
        if self.host != now.host {
            document["url"] = json!(self.host);
        }
        document["secret"] = json!(self.secret);
        // What is set twice to the same number is the same weight.
        if self.load_factor.to_bits() != now.load_factor.to_bits() {
            document["weight"] = json!(1.0 / self.load_factor);
        }
        if self.tags != now.tags {
            let agents = before.tags.iter().filter(|tag| tag.starts_with(AGENT));
            let tags: Vec<_> = agents.chain(&self.tags).cloned().collect();
            document["tags"] = json!(each_once(&tags));
        }
        read(&document, Some(&object))
    }
}

fn read(document: &Value, before: Option<&Object>) -> Result<Object, Problem> {
    objects::read(Kind::Node, document, before).map_err(|problem| problem.renamed(field_of))
}

/// What b3scale calls a field of a node.
fn field_of(field: &str) -> String {
    let known = [
        ("url", "bbb.host"),
        ("name", "bbb.host"),
        ("secret", "bbb.secret"),
        ("tags", "settings.tags"),
        ("weight", "load_factor"),
    ];
    let known = known.into_iter().find(|(ours, _)| field.starts_with(ours));
    known.map_or(field, |(_, theirs)| theirs).to_owned()
}

fn with_slash(host: &str) -> String {
    format!("{}/", host.trim().trim_end_matches('/'))
}

fn host_of(node: &Node) -> String {
    with_slash(node.url.as_str())
}

/// The cluster of nodes that come this way: b3scale has none.
fn cluster_of(inventory: &Inventory) -> Result<String, Problem> {
    let clusters = &inventory.clusters;
    let main = clusters.iter().find(|cluster| cluster.name == "main");
    let only = clusters.first().filter(|_| clusters.len() == 1);
    main.or(only).map(|cluster| cluster.name.clone()).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "a backend needs a cluster: name one of them `main`, or add the node through Portico's own API",
        )
    })
}

/// A node is called by its host, and by its port where that is said.
fn name_for(host: &str) -> Result<String, Problem> {
    let url = Url::parse(host).ok();
    let name = url.as_ref().and_then(|url| {
        let host = url.host_str()?.trim_matches(['[', ']']);
        Some(url.port().map_or(host.to_owned(), |port| format!("{host}-{port}")))
    });
    name.ok_or_else(|| wrong("bbb.host", "is not an http or https URL"))
}

pub(super) fn agent_of(node: &Node) -> Option<&str> {
    node.tags.iter().find_map(|tag| tag.strip_prefix(AGENT))
}

pub(super) fn object_of(node: &fleet::Node) -> ObjectName {
    ObjectName::new(Kind::Node, node.name().as_str())
}

fn word_of(state: AdminState) -> &'static str {
    match state {
        AdminState::Ready => "ready",
        AdminState::Cordoned => "stopped",
        AdminState::Draining | AdminState::Retired => "decommissioned",
    }
}

impl Annex {
    /// A node as b3scale shows it.
    pub(super) fn backend(&self, node: &fleet::Node) -> Value {
        let state = node.live.admin();
        let Backend { host, secret, tags, load_factor, .. } = Backend::of(&node.spec, state);
        let node_state = match (state, node.live.health()) {
            (AdminState::Retired, _) => "decommissioned",
            (_, Health::Unknown) => "init",
            (_, Health::Up) => "ready",
            (_, Health::Suspect | Health::Down) => "error",
        };
        let (_since, last_error) = node.live.health_since();
        let heard = self.memory.heard.lock().get(node.name()).copied();
        json!({
            "id": id_of(&object_of(node)),
            "node_state": node_state,
            "admin_state": word_of(state),
            "agent_heartbeat": heard.map_or_else(|| NEVER_HEARD.into(), time),
            "agent_ref": agent_of(&node.spec),
            "last_error": last_error,
            "latency": u64::try_from(node.live.latency().as_nanos()).unwrap_or(u64::MAX),
            "meetings_count": node.live.meetings(),
            "attendees_count": node.live.attendees(),
            "load_factor": load_factor,
            "bbb": {"host": host, "secret": secret},
            "settings": {"tags": Some(tags).filter(|tags| !tags.is_empty())},
            "created_at": NEVER,
            "updated_at": NEVER,
            "synced_at": node.live.polled_at_ms().map_or_else(|| NEVER.into(), time),
        })
    }

    /// The node of the agent that calls.
    pub(super) fn node_of_agent(&self, visitor: &Visitor) -> Option<Arc<fleet::Node>> {
        let snapshot = self.desk.fleet.snapshot();
        let agent = visitor.subject.as_str();
        if agent.is_empty() {
            return None;
        }
        let tagged = snapshot.nodes().find(|node| agent_of(&node.spec) == Some(agent));
        let named = || snapshot.node(agent).filter(|node| agent_of(&node.spec).is_none());
        tagged.or_else(named).cloned()
    }

    /// The node of an id; for an agent, its own or none.
    fn node(&self, visitor: &Visitor, id: &str) -> Result<Arc<fleet::Node>, Problem> {
        visitor.may(&[Right::Admin, Right::Node])?;
        let is_it = |node: &Arc<fleet::Node>| id_of(&object_of(node)) == id;
        if visitor.is(Right::Node) {
            return self.node_of_agent(visitor).filter(is_it).ok_or_else(not_found);
        }
        self.find_node(is_it).ok_or_else(not_found)
    }

    pub(super) fn find_node(
        &self,
        is_it: impl Fn(&Arc<fleet::Node>) -> bool,
    ) -> Option<Arc<fleet::Node>> {
        self.desk.fleet.snapshot().nodes().find(|node| is_it(node)).cloned()
    }

    pub(super) fn has_host(node: &fleet::Node, host: &str) -> bool {
        host_of(&node.spec) == with_slash(host)
    }

    pub(super) fn list_backends(
        &self,
        visitor: &Visitor,
        query: &HashMap<String, String>,
    ) -> Answer {
        visitor.may(&[Right::Admin])?;
        let host = filter(query, "host");
        let part = filter(query, "host__like");
        let part_in_any_case = filter(query, "host__ilike").map(str::to_lowercase);
        let snapshot = self.desk.fleet.snapshot();
        let mut nodes: Vec<_> = snapshot
            .nodes()
            .filter(|node| {
                let own = host_of(&node.spec);
                host.is_none_or(|host| Self::has_host(node, host))
                    && part.is_none_or(|part| own.contains(part))
                    && part_in_any_case
                        .as_ref()
                        .is_none_or(|part| own.to_lowercase().contains(part))
            })
            .collect();
        nodes.sort_by_key(|node| host_of(&node.spec));
        Ok(ok(nodes.into_iter().map(|node| self.backend(node)).collect()))
    }

    pub(super) fn get_backend(&self, visitor: &Visitor, id: &str) -> Answer {
        Ok(ok(self.backend(&*self.node(visitor, id)?)))
    }

    fn backend_named(&self, object: &ObjectName) -> Answer {
        let node = self.find_node(|node| object_of(node) == *object);
        Ok(ok(self.backend(&*node.ok_or_else(not_found)?)))
    }

    pub(super) async fn add_backend(
        &self,
        visitor: &Visitor,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        visitor.may(&[Right::Admin, Right::Node])?;
        let body = body().await?;
        let fields = Fields::of(&body)?;
        let mut backend = Backend {
            host: String::new(),
            secret: String::new(),
            tags: Vec::new(),
            load_factor: 1.0,
            state: AdminState::Ready,
        };
        // 0 is what a tool sends that sets none.
        let mut body = body.clone();
        if fields.number("load_factor")?.value() == Some(0.0)
            && let Some(body) = body.as_object_mut()
        {
            body.retain(|key, _| !key.eq_ignore_ascii_case("load_factor"));
        }
        backend.merge(&Fields::of(&body)?)?;
        if visitor.is(Right::Node) {
            if let Some(known) = self.find_node(|node| Self::has_host(node, &backend.host)) {
                return self.bind(visitor, &known, &backend).await;
            }
            // Its token must not have us poll whatever there is.
            if let Some(own) = self.node_of_agent(visitor) {
                let detail =
                    format!("{} is this agent's already: delete it first", object_of(&own));
                return Err(wrong("bbb.host", detail));
            }
            // Whether it takes meetings is for an admin to say.
            backend.state = AdminState::Cordoned;
            backend.tags = vec![format!("{AGENT}{}", visitor.subject)];
        }
        let document = json!({
            "name": name_for(&backend.host)?,
            "cluster": cluster_of(&self.desk.keeper.in_force().inventory)?,
            "url": backend.host,
            "secret": backend.secret,
            "weight": 1.0 / backend.load_factor,
            "tags": each_once(&backend.tags),
        });
        let node = read(&document, None)?;
        self.check_url(&node).await?;
        let object = node.name();
        let added = edits::add_as(&self.desk, &visitor.who, &node, backend.state).await;
        added.map_err(|problem| problem.renamed(field_of).into_field("bbb.host"))?;
        self.backend_named(&object)
    }

    /// A node at our own URL would have us call ourselves for ever.
    async fn check_url(&self, node: &Object) -> Result<(), Problem> {
        let Object::Node(node) = node else { return Ok(()) };
        let checked = self.desk.must_not_be_us(&node.url).await;
        checked.map_err(|problem| problem.renamed(field_of))
    }

    /// Gives a node that is there already to its agent, which shows by the node's secret that it is there.
    async fn bind(&self, visitor: &Visitor, node: &fleet::Node, told: &Backend) -> Answer {
        let is_its = node.spec.secret.expose() == told.secret && agent_of(&node.spec).is_none();
        if !is_its {
            return Err(wrong("bbb.host", "there is a backend of this host already"));
        }
        let object = object_of(node);
        let tag = format!("{AGENT}{}", visitor.subject);
        let edit = |before: &Object| {
            let mut document = documents::write(before, Secrets::Shown);
            if let Some(tags) = document["tags"].as_array_mut() {
                tags.push(json!(tag));
            }
            read(&document, Some(before))
        };
        edits::change(&self.desk, &visitor.who, &object, edit, None).await?;
        self.backend_named(&object)
    }

    pub(super) async fn change_backend(
        &self,
        visitor: &Visitor,
        id: &str,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        let node = self.node(visitor, id)?;
        let body = body().await?;
        let fields = Fields::of(&body)?;
        if visitor.is(Right::Node) {
            // An agent sends its load factor at every start, over what an operator has set.
            info!("API: what agent {} wants of {} is not done", visitor.subject, object_of(&node));
            return Ok(ok(self.backend(&node)));
        }
        let state = node.live.admin();
        let object = object_of(&node);
        let merged = |before: &Node| {
            let mut backend = Backend::of(before, state);
            backend.merge(&fields)?;
            Ok::<_, Problem>(backend)
        };
        let edit = |before: &Object| {
            let Object::Node(before) = before else { return Err(not_found()) };
            merged(before)?.apply(before)
        };
        let before = Object::Node(node.spec.clone());
        // Tools send the whole back to change a state, of nodes of the file as well.
        let after = edit(&before)?;
        if after != before {
            self.check_url(&after).await?;
            let changed = edits::change(&self.desk, &visitor.who, &object, edit, None).await;
            changed.map_err(|problem| problem.renamed(field_of))?;
        }
        let wanted = merged(&node.spec)?.state;
        // Whoever sends no more than that wants it gone, also if it is draining already.
        let is_managed = edits::is_managed(&self.desk, &object);
        let asks = || fields.text("admin_state").is_ok_and(|state| state.value().is_some());
        let is_bare = fields.object("bbb")?.value().is_none() && asks();
        let goes = wanted == AdminState::Draining
            && (word_of(state) != word_of(wanted) || is_managed && is_bare);
        if word_of(wanted) == word_of(state) && !goes {
            return self.backend_named(&object);
        }
        if state == AdminState::Retired {
            // It is wanted again.
            edits::add(&self.desk, &visitor.who, &before).await?;
        }
        let view = self.backend_named(&object)?;
        if goes && is_managed {
            // As with b3scale it goes by itself, once its last meeting is over.
            edits::remove(&self.desk, &visitor.who, &object, |_| Ok(())).await?;
            let (status, mut view) = view;
            view["admin_state"] = json!(word_of(wanted));
            return Ok((status, view));
        }
        if state != AdminState::Retired || wanted != AdminState::Ready {
            nodes::put_state(&self.desk, &visitor.who, &object, wanted).await?;
        }
        self.backend_named(&object)
    }

    pub(super) async fn remove_backend(
        &self,
        visitor: &Visitor,
        id: &str,
        query: &HashMap<String, String>,
    ) -> Answer {
        visitor.may(&[Right::Admin])?;
        let node = self.node(visitor, id)?;
        let is_forced = filter(query, "force").is_some_and(|force| {
            ["yes", "true", "1"].iter().any(|word| force.eq_ignore_ascii_case(word))
        });
        let mut view = self.backend(&node);
        let object = object_of(&node);
        // One that is retired waits for its last meeting only.
        if node.live.admin() != AdminState::Retired {
            edits::remove(&self.desk, &visitor.who, &object, |_| Ok(())).await?;
        }
        if is_forced && node.live.health() == Health::Down {
            let lost = self.desk.fleet.lose_meetings_on(node.name());
            info!("API: {object} was removed by force; {lost} meetings on it are given up");
        } else if is_forced {
            // Given up while they run they would be created a second time.
            let removed = self.desk.end_all_on(node.name()).await;
            let told = json!({"ended": removed.ended, "left": removed.left}).to_string();
            edits::write_down(&self.desk, &visitor.who, "force", &object, Some(told), None).await;
        }
        view["admin_state"] = json!(if is_forced { "destroyed" } else { "decommissioned" });
        Ok(ok(view))
    }
}
