//! What clusters, groups, nodes and tenants have in common: they are listed, shown, added, changed and removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use log::{error, info};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::caller::Caller;
use super::documents::{self, Secrets};
use super::problem::Problem;
use super::{Desk, ROOT};
use crate::chain::Chain;
use crate::config;
use crate::fleet::now_ms;
use crate::inventory::InForce;
use crate::model::{
    Asset, AssetKey, AssetKind, Branding, Change, Inventory, Kind, Look, Object, ObjectName, Origin,
};

/// Objects on a page, unless a client asks for another number.
const USUAL_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What stands for itself in no part of a path.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// How many at most. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing<T> {
    /// The objects, by their names.
    items: Vec<T>,
    /// Asks for the next page; without it this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<T> Listing<T> {
    /// A page that may have another one behind the object of this name.
    pub(super) fn new(items: Vec<T>, last: Option<String>) -> Self {
        Self { items, next: last.map(|name| URL_SAFE_NO_PAD.encode(name)) }
    }
}

impl Page {
    /// These words of a query.
    pub(super) fn new(limit: Option<usize>, cursor: Option<String>) -> Self {
        Self { limit, cursor }
    }

    /// How many at most, and behind which name.
    pub(super) fn read(&self) -> Result<(usize, Option<String>), Problem> {
        let wrong =
            |field: &str, detail: &str| Problem::fields([(field.to_owned(), detail.to_owned())]);
        let limit = self.limit.unwrap_or(USUAL_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(wrong("limit", "is not a number of 1 to 1000"));
        }
        let Some(cursor) = &self.cursor else { return Ok((limit, None)) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let name = name.ok_or_else(|| wrong("cursor", "is not what `next` of a page has said"))?;
        Ok((limit, Some(name)))
    }
}

/// A page of what is sorted by these names.
pub(super) fn page<T>(items: BTreeMap<String, T>, page: &Page) -> Result<Listing<T>, Problem> {
    let (limit, after) = page.read()?;
    let mut rest = items.into_iter().filter(|(name, _)| Some(name) > after.as_ref());
    let (mut items, mut last) = (Vec::new(), None);
    for (name, item) in rest.by_ref().take(limit) {
        items.push(item);
        last = Some(name);
    }
    let has_more = rest.next().is_some();
    Ok(Listing::new(items, last.filter(|_| has_more)))
}

fn find(inventory: &Inventory, name: &ObjectName) -> Result<Object, Problem> {
    inventory.get(name).ok_or_else(|| Problem::not_found(name))
}

/// Where an object is found.
fn path_of(name: &ObjectName) -> String {
    let collection = match name.kind {
        Kind::Cluster => "clusters",
        Kind::ClusterGroup => "cluster-groups",
        Kind::Node => "nodes",
        Kind::Tenant => "tenants",
    };
    let name = utf8_percent_encode(&name.name, NOT_IN_PATH).to_string();
    format!("{ROOT}/{collection}/{name}")
}

/// Tells one state of an object from the next, secrets and files among it.
fn tag_of(desk: &Desk, object: &Object, origin: Origin) -> String {
    let mut digest = Sha256::new();
    digest.update(origin.as_str());
    digest.update(desk.gate.mark(&documents::write(object, Secrets::Shown).to_string()));
    if let Object::Tenant(tenant) = object {
        for kind in AssetKind::ALL {
            if let Some(Look::File(asset)) = tenant.branding.get(kind) {
                digest.update(asset.digest());
            }
        }
    }
    format!("\"{}\"", hex::encode(digest.finalize().get(..12).unwrap_or_default()))
}

/// Refuses a change of what another one has changed since it was read.
fn check_tag(headers: &HeaderMap, tag: &str) -> Result<(), Problem> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let wanted = wanted.to_str().unwrap_or_default();
    let is_it = |one: &str| one.trim() == tag || one.trim() == "*";
    if wanted.split(',').any(is_it) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "it was changed since you have read it: read it again",
    ))
}

fn check_managed(inventory: &Inventory, name: &ObjectName) -> Result<(), Problem> {
    match inventory.origin(name) {
        Origin::Api => Ok(()),
        Origin::File => Err(Problem::conflict(format!(
            "{name} stands in the configuration file: change it there and send SIGHUP"
        ))),
    }
}

/// The people of a running meeting would be sent to another server, which does not have it.
fn check_address(desk: &Desk, object: &Object) -> Result<(), Problem> {
    let Object::Node(node) = object else { return Ok(()) };
    let snapshot = desk.fleet.peek();
    let moves = snapshot.node(node.name.as_str()).is_some_and(|known| known.spec.url != node.url);
    if moves && desk.fleet.directory.runs_on(&node.name) {
        return Err(Problem::conflict(format!(
            "meetings run on node {} at another URL: wait until it is empty, or give the new server another name",
            node.name
        )));
    }
    Ok(())
}

/// Whether there is such an object, and the API may change it.
pub(super) fn is_managed(desk: &Desk, name: &ObjectName) -> bool {
    let in_force = desk.keeper.in_force();
    find(&in_force.inventory, name).is_ok() && check_managed(&in_force.inventory, name).is_ok()
}

/// An object as everybody may see it.
pub(super) fn view(desk: &Desk, in_force: &InForce, object: &Object) -> Map<String, Value> {
    let Value::Object(mut view) = documents::write(object, Secrets::Hidden) else {
        return Map::new();
    };
    let origin = in_force.inventory.origin(&object.name());
    view.insert("origin".to_owned(), origin.as_str().into());
    match object {
        Object::Node(node) => {
            if let Some(known) = desk.fleet.peek().node(node.name.as_str()) {
                let (since_ms, reason) = known.live.health_since();
                view.insert("state".to_owned(), known.live.admin().as_str().into());
                view.insert(
                    "status".to_owned(),
                    json!({
                        "health": known.live.health().as_str(),
                        "since": super::time(since_ms),
                        "reason": reason,
                        "meetings": known.live.meetings(),
                        "attendees": known.live.attendees(),
                        "reserved": known.live.reserved(),
                        "cpu": known.live.cpu(),
                        "load": known.load(),
                    }),
                );
            }
        }
        Object::Tenant(tenant) => {
            let files = AssetKind::ALL.into_iter().filter_map(|kind| {
                let Some(Look::File(asset)) = tenant.branding.get(kind) else { return None };
                let file = json!({"name": asset.name(), "sha256": asset.digest()});
                Some((kind.as_str().to_owned(), file))
            });
            view.insert("files".to_owned(), Value::Object(files.collect()));
            if let Some(known) = desk.fleet.peek().tenant(tenant.slug.as_str()) {
                let figures = known.tally.whole();
                view.insert(
                    "status".to_owned(),
                    json!({"meetings": figures.meetings, "attendees": figures.people.attendees}),
                );
            }
        }
        Object::Cluster(_) | Object::ClusterGroup(_) => {}
    }
    view
}

pub(super) fn list(desk: &Desk, kind: Kind, asked: &Page) -> Result<Json<Listing<Value>>, Problem> {
    let in_force = desk.keeper.in_force();
    let names = in_force.inventory.names().filter(|name| name.kind == kind);
    let Listing { items, next } =
        page(names.map(|name| (name.name.clone(), name)).collect(), asked)?;
    let objects = items.iter().filter_map(|name| in_force.inventory.get(name));
    let items = objects.map(|object| Value::Object(view(desk, &in_force, &object))).collect();
    Ok(Json(Listing { items, next }))
}

pub(super) fn get(desk: &Desk, name: &ObjectName) -> Result<Response, Problem> {
    let in_force = desk.keeper.in_force();
    let object = find(&in_force.inventory, name)?;
    Ok(shown(desk, &in_force, &object, StatusCode::OK))
}

fn shown(desk: &Desk, in_force: &InForce, object: &Object, status: StatusCode) -> Response {
    let origin = in_force.inventory.origin(&object.name());
    let tag = [(header::ETAG, tag_of(desk, object, origin))];
    (status, tag, Json(view(desk, in_force, object))).into_response()
}

/// A document with the keys and types that it should have.
pub(super) fn typed<D: DeserializeOwned>(document: &Value) -> Result<D, Problem> {
    serde_path_to_error::deserialize(document.clone()).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        Problem::fields([(path, error.inner().to_string())])
    })
}

/// Reads an object, with the looks of the one before that are files.
fn read(kind: Kind, document: &Value, before: Option<&Object>) -> Result<Object, Problem> {
    let mut object = config::read_object(kind, document)?;
    if let (Object::Tenant(tenant), Some(Object::Tenant(before))) = (&mut object, before) {
        for kind in AssetKind::ALL {
            if let (None, Some(file @ Look::File(_))) =
                (tenant.branding.get(kind), before.branding.get(kind))
            {
                tenant.branding.set(kind, file.clone());
            }
        }
    }
    Ok(object)
}

pub(super) async fn create<D: DeserializeOwned>(
    desk: &Desk,
    caller: &Caller,
    kind: Kind,
    document: Value,
) -> Result<Response, Problem> {
    typed::<D>(&document)?;
    let object = read(kind, &document, None)?;
    let name = object.name();
    let edit = |inventory: &mut Inventory| {
        if find(inventory, &name).is_ok() {
            return Err(Problem::conflict(format!("there is a {name} already")));
        }
        check_address(desk, &object)?;
        inventory.put(object.clone());
        Ok(())
    };
    let changed = desk.keeper.change(&caller.signature(), edit).await;
    let ((), in_force) = changed.map_err(|why| Problem::unchanged(why, &name))?;
    record(desk, caller, "create", &name, None, Some(&object)).await;
    let mut response = shown(desk, &in_force, &object, StatusCode::CREATED);
    if let Ok(location) = HeaderValue::try_from(path_of(&name)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Changes an object by a JSON merge patch (RFC 7396). Secrets that it does not name stay.
pub(super) async fn patch<D: DeserializeOwned>(
    desk: &Desk,
    caller: &Caller,
    name: &ObjectName,
    headers: &HeaderMap,
    patch: &Value,
) -> Result<Response, Problem> {
    if !patch.is_object() {
        return Err(Problem::fields([(String::new(), "is no JSON object".to_owned())]));
    }
    let edit = |inventory: &mut Inventory| {
        let before = find(inventory, name)?;
        check_managed(inventory, name)?;
        check_tag(headers, &tag_of(desk, &before, Origin::Api))?;
        let mut document = documents::write(&before, Secrets::Shown);
        json_patch::merge(&mut document, patch);
        keep_secrets(&mut document, &before);
        typed::<D>(&document)?;
        let object = read(name.kind, &document, Some(&before))?;
        if object.name() != *name {
            let field = if name.kind == Kind::Tenant { "slug" } else { "name" };
            let detail = "cannot be changed: add another one and remove this one".to_owned();
            return Err(Problem::fields([(field.to_owned(), detail)]));
        }
        check_address(desk, &object)?;
        inventory.put(object.clone());
        Ok((before, object))
    };
    let changed = desk.keeper.change(&caller.signature(), edit).await;
    let ((before, after), in_force) = changed.map_err(|why| Problem::unchanged(why, name))?;
    record(desk, caller, "update", name, Some(&before), Some(&after)).await;
    Ok(shown(desk, &in_force, &after, StatusCode::OK))
}

/// A list takes the place of the list before, but nobody who sends it back can know the secrets in it.
fn keep_secrets(document: &mut Value, before: &Object) {
    let Object::Tenant(before) = before else { return };
    let secrets = document.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten().filter_map(Value::as_object_mut) {
        let sub_id = secret.get("sub_id").and_then(Value::as_u64);
        let known =
            before.secrets.iter().find(|known| Some(u64::from(known.sub_id.get())) == sub_id);
        let Some(known) = known else { continue };
        if !secret.contains_key("secret") {
            secret.insert("secret".to_owned(), known.secret.expose().into());
        }
        if let (Some(second), false) = (&known.secret2, secret.contains_key("secret2")) {
            secret.insert("secret2".to_owned(), second.expose().into());
        }
    }
}

pub(super) async fn delete(
    desk: &Desk,
    caller: &Caller,
    name: &ObjectName,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let edit = |inventory: &mut Inventory| {
        let before = find(inventory, name)?;
        check_managed(inventory, name)?;
        check_tag(headers, &tag_of(desk, &before, Origin::Api))?;
        let users = users_of(inventory, name);
        if !users.is_empty() {
            return Err(Problem::conflict(format!(
                "{name} is used by {}: change these first",
                users.join(", ")
            )));
        }
        inventory.remove(name);
        Ok(before)
    };
    let changed = desk.keeper.change(&caller.signature(), edit).await;
    let (before, _) = changed.map_err(|why| Problem::unchanged(why, name))?;
    record(desk, caller, "delete", name, Some(&before), None).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who would be without something if this went.
fn users_of(inventory: &Inventory, name: &ObjectName) -> Vec<String> {
    let users: Vec<ObjectName> = match name.kind {
        Kind::Cluster => {
            let groups =
                inventory.groups.iter().filter(|group| group.clusters.contains(&name.name));
            let groups = groups.map(|group| ObjectName::new(Kind::ClusterGroup, &group.name));
            let nodes = inventory.nodes.iter().filter(|node| node.cluster == name.name);
            let nodes = nodes.map(|node| ObjectName::new(Kind::Node, node.name.as_str()));
            groups.chain(nodes).collect()
        }
        Kind::ClusterGroup => {
            let users = inventory.tenants.iter().filter(|tenant| tenant.cluster_group == name.name);
            users.map(|tenant| ObjectName::new(Kind::Tenant, tenant.slug.as_str())).collect()
        }
        Kind::Node | Kind::Tenant => Vec::new(),
    };
    users.iter().map(ToString::to_string).collect()
}

/// Changes the look of a tenant, with a file that it is to have.
pub(super) async fn edit_tenant(
    desk: &Desk,
    caller: &Caller,
    name: &ObjectName,
    headers: &HeaderMap,
    edit: impl Fn(&mut Branding),
    file: Option<&(AssetKey, Arc<Asset>)>,
) -> Result<Response, Problem> {
    let change = |inventory: &mut Inventory| {
        let before = find(inventory, name)?;
        check_managed(inventory, name)?;
        check_tag(headers, &tag_of(desk, &before, Origin::Api))?;
        let Object::Tenant(mut tenant) = before.clone() else {
            return Err(Problem::not_found(name));
        };
        edit(&mut tenant.branding);
        let after = Object::Tenant(tenant);
        inventory.put(after.clone());
        Ok((before, after))
    };
    let changed = desk.keeper.change_with(&caller.signature(), change, file).await;
    let ((before, after), in_force) = changed.map_err(|why| Problem::unchanged(why, name))?;
    record(desk, caller, "update", name, Some(&before), Some(&after)).await;
    Ok(shown(desk, &in_force, &after, StatusCode::OK))
}

/// Writes down who has changed what in the inventory.
async fn record(
    desk: &Desk,
    caller: &Caller,
    action: &str,
    name: &ObjectName,
    before: Option<&Object>,
    after: Option<&Object>,
) {
    let public = |object: &Object| documents::write(object, Secrets::Hidden).to_string();
    let (before, after) = (before.map(public), after.map(public));
    write_down(desk, caller, action, name, before, after).await;
}

/// Writes down who has changed what.
pub(super) async fn write_down(
    desk: &Desk,
    caller: &Caller,
    action: &str,
    name: &ObjectName,
    before: Option<String>,
    after: Option<String>,
) {
    let change = Change {
        at_ms: now_ms(),
        who: caller.name.clone(),
        action: action.to_owned(),
        object: name.to_string(),
        before,
        after,
    };
    keep(desk, caller, change).await;
}

/// Keeps a change in the trail. It is made already, so a store that fails now does not undo it.
pub(super) async fn keep(desk: &Desk, caller: &Caller, change: Change) {
    let Change { action, object, .. } = &change;
    info!("API: {action} of {object} by token {}", caller.token);
    if let Err(trouble) = desk.store.add_change(&change).await {
        error!("API: a change is not in the trail: {}", Chain(&trouble));
    }
}
