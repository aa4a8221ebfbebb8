//! Nodes, and what operators want of them.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, Who};
use super::documents::NodeDocument;
use super::edits;
use super::listing::{Listing, Page};
use super::objects;
use super::problem::{Changing, Problem, Refused};
use super::request::{Path, Unread};
use super::views::{HealthWord, NodeView, OriginWord, StateWord};
use super::{Desk, Query, removal, retired};
use crate::config;
use crate::model::{AdminState, Kind, Node, NodeName, Object, ObjectName, Origin};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(list_nodes, add_node))
        .routes(routes!(get_node, change_node, removal::remove_node))
        .routes(routes!(set_state))
}

/// Which nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only those of this cluster.
    cluster: Option<String>,
    /// Only those with this tag.
    tag: Option<String>,
    /// Only those of which an operator wants this. Those that are retired are listed only where they are asked for.
    state: Option<StateWord>,
    /// Only those that are so.
    health: Option<HealthWord>,
    /// Only those of the file, or of the API.
    origin: Option<OriginWord>,
}

impl Wanted {
    fn has(&self, desk: &Desk, node: &Node, origin: Origin) -> bool {
        let snapshot = desk.fleet.peek();
        let live = snapshot.node(node.name.as_str()).map(|known| &known.live);
        self.cluster.as_ref().is_none_or(|wanted| *wanted == node.cluster)
            && self.tag.as_ref().is_none_or(|wanted| node.tags.contains(wanted))
            && self.origin.is_none_or(|wanted| wanted == OriginWord::from(origin))
            && self.state.is_none_or(|wanted| {
                live.is_some_and(|live| wanted == StateWord::from(live.admin()))
            })
            && self.health.is_none_or(|wanted| {
                live.is_some_and(|live| wanted == HealthWord::from(live.health()))
            })
    }
}

/// All nodes.
#[utoipa::path(get, path = "/nodes", tag = "nodes", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of nodes", body = Listing<NodeView>), Refused))]
async fn list_nodes(
    State(desk): State<Desk>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    let page = Page::new(wanted.limit, wanted.cursor.clone());
    let is_wanted = |object: &Object, origin: Origin| match object {
        Object::Node(node) => wanted.has(&desk, node, origin),
        _ => false,
    };
    let found = if wanted.state == Some(StateWord::Retired) {
        retired::list(&desk, &page, |node| wanted.has(&desk, node, Origin::Api))?
    } else {
        objects::list(&desk, Kind::Node, &page, is_wanted)?
    };
    if found.items.is_empty() && wanted.cursor.is_none() {
        desk.must_be_there(Kind::Cluster, "cluster", wanted.cluster.as_deref())?;
    }
    Ok(found.into_response())
}

/// How a node is added or changed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Probing {
    /// Whether it is asked first, where it is new or its URL, secret or cluster changes, and refused where something is
    /// wrong with it. Default false.
    #[serde(default)]
    probe: bool,
}

/// Adds a node.
#[utoipa::path(post, path = "/nodes", tag = "nodes", security(("token" = [])), params(Probing),
    request_body = NodeDocument,
    responses((status = 201, description = "Added", body = NodeView, headers(("ETag" = String), ("Location" = String))),
        Changing))]
async fn add_node(
    State(desk): State<Desk>,
    caller: Caller,
    Query(probing): Query<Probing>,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let document: NodeDocument = objects::typed(&body.json().await?)?;
    let state = document.state.as_deref().map_or(Ok(AdminState::Ready), state_of)?;
    let document = json!(document);
    let object = config::read_object(Kind::Node, &document)?;
    if let Object::Node(node) = &object {
        desk.must_not_be_us(&node.url).await?;
        if probing.probe {
            // What is wrong with it in any case is told at once, and not after the node has been waited for.
            edits::check_new(&desk, &object)?;
            desk.must_answer(node).await?;
        }
    }
    objects::create_as(&desk, &caller, Kind::Node, &document, state, |_view| {}).await
}

/// One node.
#[utoipa::path(get, path = "/nodes/{name}", tag = "nodes", security(("token" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "The node", body = NodeView, headers(("ETag" = String))), Refused))]
async fn get_node(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    objects::get(&desk, &ObjectName::new(Kind::Node, name))
}

/// Changes a node by a JSON merge patch (RFC 7396); what the patch does not name stays.
#[utoipa::path(patch, path = "/nodes/{name}", tag = "nodes", security(("token" = [])),
    params(("name" = String, Path), Probing, ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "Changed", body = NodeView, headers(("ETag" = String))), Changing))]
async fn change_node(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    Query(probing): Query<Probing>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let patch = body.json().await?;
    // One that is none is told as such below.
    let url = patch.get("url").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
    if let Some(url) = url {
        desk.must_not_be_us(&url).await?;
    }
    let name = ObjectName::new(Kind::Node, name);
    check_state(&desk, &name, &headers, &patch)?;
    if probing.probe {
        must_answer_changed(&desk, &name, &headers, &patch).await?;
    }
    objects::patch::<NodeDocument>(&desk, &caller, &name, &headers, &patch).await
}

/// Refuses a change of what is wanted of a node, which a view that is sent back has in it.
fn check_state(
    desk: &Desk,
    name: &ObjectName,
    headers: &HeaderMap,
    patch: &Value,
) -> Result<(), Problem> {
    if desk.retired(&NodeName::new(name.name.as_str())).is_some() {
        return Err(retired::refused(name));
    }
    let Some(wanted) = patch.get("state").and_then(Value::as_str) else { return Ok(()) };
    let Ok(before) = edits::find(&desk.keeper.in_force().inventory, name) else { return Ok(()) };
    if !edits::is_managed(desk, name) {
        return Ok(());
    }
    objects::check_tag(headers, &objects::tag_of(desk, &before, Origin::Api))?;
    let snapshot = desk.fleet.peek();
    let state =
        snapshot.node(&name.name).map_or("not known yet", |node| node.live.admin().as_str());
    if wanted == state {
        return Ok(());
    }
    let place = objects::path_of(name);
    let detail = format!("is {state}, and set by PUT {place}/state alone");
    Err(Problem::fields([("state".to_owned(), detail)]))
}

/// Refuses a change after which a node would not answer as it should; what does not change is not looked at.
async fn must_answer_changed(
    desk: &Desk,
    name: &ObjectName,
    headers: &HeaderMap,
    patch: &Value,
) -> Result<(), Problem> {
    objects::check_patch(patch)?;
    let edit = |before: &Object| objects::patched::<NodeDocument>(desk, headers, before, patch);
    let (before, after) = edits::check_changed(desk, name, edit)?;
    let (Object::Node(before), Object::Node(after)) = (&before, &after) else { return Ok(()) };
    let is_same = before.url == after.url
        && before.secret.expose() == after.secret.expose()
        && before.cluster == after.cluster;
    if is_same { Ok(()) } else { desk.must_answer(after).await }
}

/// What an operator wants of a node.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StateDocument {
    /// ready, cordoned or draining.
    #[schema(example = "cordoned", pattern = "^(ready|cordoned|draining)$")]
    state: String,
}

/// Sets what is wanted of a node, also of one of the file: ready (takes meetings), cordoned (runs what it
/// has) or draining (cordoned, and reports when it is empty).
#[utoipa::path(put, path = "/nodes/{name}/state", tag = "nodes", security(("token" = [])),
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)), request_body = StateDocument,
    responses((status = 200, description = "The node", body = NodeView, headers(("ETag" = String))), Changing))]
async fn set_state(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let wanted: StateDocument = objects::typed(&body.json().await?)?;
    let object = ObjectName::new(Kind::Node, name);
    let known = desk.fleet.peek().node(&object.name).is_some();
    if !known {
        return Err(Problem::not_found(&object));
    }
    let wanted = state_of(&wanted.state)?;
    put_state_if(&desk, &caller.who, &object, wanted, &headers).await?;
    objects::get(&desk, &object)
}

/// What is wanted of a node is no part of its document.
#[expect(clippy::ref_option, reason = "as serde calls it")]
pub(super) fn is_kept_elsewhere(_state: &Option<String>) -> bool {
    true
}

/// What operators may want of a node.
fn state_of(word: &str) -> Result<AdminState, Problem> {
    match word.parse() {
        Ok(AdminState::Retired) | Err(()) => {
            let detail = format!("{word:?} is not one of ready, cordoned, draining");
            Err(Problem::fields([("state".to_owned(), detail)]))
        }
        Ok(state) => Ok(state),
    }
}

/// Sets what is wanted of a node that is not retired.
pub(in crate::admin) async fn put_state(
    desk: &Desk,
    who: &Who,
    object: &ObjectName,
    wanted: AdminState,
) -> Result<(), Problem> {
    put_state_if(desk, who, object, wanted, &HeaderMap::new()).await
}

/// The same, unless somebody has changed the node since it was read.
async fn put_state_if(
    desk: &Desk,
    who: &Who,
    object: &ObjectName,
    wanted: AdminState,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let name = NodeName::new(object.name.as_str());
    let check = || {
        let inventory = &desk.keeper.in_force().inventory;
        let Some(node) = inventory.get(object) else { return Ok(()) };
        objects::check_tag(headers, &objects::tag_of(desk, &node, inventory.origin(object)))
    };
    let Some(before) = desk.keeper.set_node_state(&name, wanted, check).await? else {
        return Err(match desk.fleet.peek().node(name.as_str()) {
            None => Problem::not_found(object),
            Some(_) => retired::refused(object),
        });
    };
    let change = |state: AdminState| Some(json!({"state": state.as_str()}).to_string());
    edits::write_down(desk, who, "state", object, change(before), change(wanted)).await;
    Ok(())
}
