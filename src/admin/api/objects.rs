//! What clusters, groups, nodes and tenants have in common: they are listed, shown, added, changed and removed.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::caller::Caller;
use super::documents::{self, Secrets};
use super::edits;
use super::listing::{self, Listing, Page};
use super::problem::Problem;
use super::views::View;
use super::{Desk, ROOT, misread, retired};
use crate::config;
use crate::inventory::InForce;
use crate::model::{
    AdminState, Asset, AssetKey, AssetKind, Branding, Kind, Look, Object, ObjectName, Origin,
};

/// What stands for itself in no part of a path.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Where an object is found.
pub(super) fn path_of(name: &ObjectName) -> String {
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
pub(super) fn tag_of(desk: &Desk, object: &Object, origin: Origin) -> String {
    let mut digest = Sha256::new();
    digest.update(origin.as_str());
    digest.update(desk.gate.mark(&documents::write(object, Secrets::Shown).to_string()));
    if let Object::Node(node) = object
        && let Some(known) = desk.fleet.peek().node(node.name.as_str())
    {
        digest.update(known.live.admin().as_str());
    }
    if let Object::Tenant(tenant) = object {
        for kind in AssetKind::ALL {
            if let Some((_, file)) = tenant.branding.get(kind).and_then(Look::file) {
                digest.update(file);
            }
        }
    }
    format!("\"{}\"", hex::encode(digest.finalize().get(..12).unwrap_or_default()))
}

/// Refuses a change of what another one has changed since it was read.
pub(super) fn check_tag(headers: &HeaderMap, tag: &str) -> Result<(), Problem> {
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

pub(super) fn list(
    desk: &Desk,
    kind: Kind,
    asked: &Page,
    is_wanted: impl Fn(&Object, Origin) -> bool,
) -> Result<Json<Listing<View>>, Problem> {
    let in_force = desk.keeper.in_force();
    let inventory = &in_force.inventory;
    let wanted = inventory.all_of(kind).into_iter().filter_map(|object| {
        let name = object.name();
        is_wanted(&object, inventory.origin(&name)).then_some((name.name, object))
    });
    let Listing { items, next } = listing::page(wanted.collect(), asked)?;
    let items: Vec<_> = items.iter().map(|object| View::of(desk, &in_force, object)).collect();
    Ok(Json(Listing { items, next }))
}

pub(super) fn get(desk: &Desk, name: &ObjectName) -> Result<Response, Problem> {
    let in_force = desk.keeper.in_force();
    match edits::find(&in_force.inventory, name) {
        Ok(object) => Ok(shown(desk, &in_force, &object, StatusCode::OK)),
        Err(problem) => retired::get(desk, name).ok_or(problem),
    }
}

fn shown(desk: &Desk, in_force: &InForce, object: &Object, status: StatusCode) -> Response {
    let tag = tag_of(desk, object, in_force.inventory.origin(&object.name()));
    tagged(status, tag, View::of(desk, in_force, object))
}

/// An answer with its tag.
pub(super) fn tagged(status: StatusCode, tag: String, body: impl Serialize) -> Response {
    (status, [(header::ETAG, tag)], Json(body)).into_response()
}

/// A document with the keys and types that it should have.
pub(super) fn typed<D: DeserializeOwned + Serialize>(document: &Value) -> Result<D, Problem> {
    let read = serde_path_to_error::deserialize(document);
    let read: D = read.map_err(|error| Problem::fields([misread::told(&error, |_field| None)]))?;
    match list_for_object("", document, &json!(read)) {
        None => Ok(read),
        Some(path) => {
            let detail = "a list is not an object of keys and values, such as {\"key\": \"value\"}";
            Err(Problem::fields([(path, detail.to_owned())]))
        }
    }
}

/// Where a list was read as an object: serde takes the fields of one in their order, too.
fn list_for_object(path: &str, given: &Value, read: &Value) -> Option<String> {
    match (given, read) {
        (Value::Array(_), Value::Object(_)) => Some(path.to_owned()),
        (Value::Array(given), Value::Array(read)) => {
            let mut both = given.iter().zip(read).enumerate();
            both.find_map(|(at, (given, read))| {
                list_for_object(&format!("{path}[{at}]"), given, read)
            })
        }
        (Value::Object(given), Value::Object(read)) => given.iter().find_map(|(key, given)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            list_for_object(&path, given, read.get(key)?)
        }),
        _ => None,
    }
}

/// The same without what a view has beside it.
pub(super) fn plain<D: DeserializeOwned + Serialize>(document: &Value) -> Result<Value, Problem> {
    typed::<D>(document).map(|document| json!(document))
}

/// Reads an object, with the looks of the one before that are files.
pub(in crate::admin) fn read(
    kind: Kind,
    document: &Value,
    before: Option<&Object>,
) -> Result<Object, Problem> {
    let mut object = config::read_object(kind, document)?;
    if let (Object::Tenant(tenant), Some(Object::Tenant(before))) = (&mut object, before) {
        for kind in AssetKind::ALL {
            if let (None, Some(file @ (Look::File(_) | Look::Lost(_)))) =
                (tenant.branding.get(kind), before.branding.get(kind))
            {
                tenant.branding.set(kind, file.clone());
            }
        }
    }
    Ok(object)
}

/// Adds an object of a document that [`plain`] has made; `finish` may show more of it than others will ever see.
pub(super) async fn create(
    desk: &Desk,
    caller: &Caller,
    kind: Kind,
    document: &Value,
    finish: impl FnOnce(&mut View),
) -> Result<Response, Problem> {
    create_as(desk, caller, kind, document, AdminState::Ready, finish).await
}

/// The same for a node of which more may be wanted than that it takes meetings.
pub(super) async fn create_as(
    desk: &Desk,
    caller: &Caller,
    kind: Kind,
    document: &Value,
    state: AdminState,
    finish: impl FnOnce(&mut View),
) -> Result<Response, Problem> {
    let object = read(kind, document, None)?;
    let in_force = edits::add_as(desk, &caller.who, &object, state).await?;
    let mut view = View::of(desk, &in_force, &object);
    finish(&mut view);
    let tag = tag_of(desk, &object, in_force.inventory.origin(&object.name()));
    Ok(at(tagged(StatusCode::CREATED, tag, view), &path_of(&object.name())))
}

/// An answer that says where the new object is.
pub(super) fn at(mut response: Response, path: &str) -> Response {
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// An answer with a secret, which is for one pair of eyes.
pub(super) fn unkept(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Changes an object by a JSON merge patch (RFC 7396). Secrets that it does not name stay.
pub(super) async fn patch<D: DeserializeOwned + Serialize>(
    desk: &Desk,
    caller: &Caller,
    name: &ObjectName,
    headers: &HeaderMap,
    patch: &Value,
) -> Result<Response, Problem> {
    check_patch(patch)?;
    let edit = |before: &Object| patched::<D>(desk, headers, before, patch);
    let (after, in_force) = edits::change(desk, &caller.who, name, edit, None).await?;
    Ok(shown(desk, &in_force, &after, StatusCode::OK))
}

/// What a patch would make of an object.
pub(super) fn patched<D: DeserializeOwned + Serialize>(
    desk: &Desk,
    headers: &HeaderMap,
    before: &Object,
    patch: &Value,
) -> Result<Object, Problem> {
    check_tag(headers, &tag_of(desk, before, Origin::Api))?;
    let mut document = documents::write(before, Secrets::Shown);
    json_patch::merge(&mut document, patch);
    keep_secrets(&mut document, before);
    read(before.name().kind, &plain::<D>(&document)?, Some(before))
}

/// A patch that is no object would be all that is left.
pub(super) fn check_patch(patch: &Value) -> Result<(), Problem> {
    if patch.is_object() {
        return Ok(());
    }
    let detail = "a patch is an object of the fields to change, such as {\"key\": \"value\"}";
    Err(Problem::fields([(String::new(), detail.to_owned())]))
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
    let check = |before: &Object| check_tag(headers, &tag_of(desk, before, Origin::Api));
    edits::remove(desk, &caller.who, name, check).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
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
    let edit = |before: &Object| {
        check_tag(headers, &tag_of(desk, before, Origin::Api))?;
        let Object::Tenant(mut tenant) = before.clone() else {
            return Err(Problem::not_found(name));
        };
        edit(&mut tenant.branding);
        Ok(Object::Tenant(tenant))
    };
    let (after, in_force) = edits::change(desk, &caller.who, name, edit, file).await?;
    Ok(shown(desk, &in_force, &after, StatusCode::OK))
}
