//! What clusters, groups, nodes and tenants have in common: they are listed, shown, added, changed and removed.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::caller::Caller;
use super::documents::{self, Secrets};
use super::edits;
use super::listing::{self, Listing, Page};
use super::problem::Problem;
use super::{Desk, ROOT};
use crate::config;
use crate::inventory::InForce;
use crate::model::{Asset, AssetKey, AssetKind, Branding, Kind, Look, Object, ObjectName, Origin};

/// What stands for itself in no part of a path.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

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
            if let Some((_, file)) = tenant.branding.get(kind).and_then(Look::file) {
                digest.update(file);
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
                let (name, digest) = tenant.branding.get(kind)?.file()?;
                let file = json!({"name": name, "sha256": digest});
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
        listing::page(names.map(|name| (name.name.clone(), name)).collect(), asked)?;
    let objects = items.iter().filter_map(|name| in_force.inventory.get(name));
    let items = objects.map(|object| Value::Object(view(desk, &in_force, &object))).collect();
    Ok(Json(Listing { items, next }))
}

pub(super) fn get(desk: &Desk, name: &ObjectName) -> Result<Response, Problem> {
    let in_force = desk.keeper.in_force();
    let object = edits::find(&in_force.inventory, name)?;
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

pub(super) async fn create<D: DeserializeOwned>(
    desk: &Desk,
    caller: &Caller,
    kind: Kind,
    document: Value,
) -> Result<Response, Problem> {
    typed::<D>(&document)?;
    let object = read(kind, &document, None)?;
    let in_force = edits::add(desk, &caller.who, &object).await?;
    let mut response = shown(desk, &in_force, &object, StatusCode::CREATED);
    if let Ok(location) = HeaderValue::try_from(path_of(&object.name())) {
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
    let edit = |before: &Object| {
        check_tag(headers, &tag_of(desk, before, Origin::Api))?;
        let mut document = documents::write(before, Secrets::Shown);
        json_patch::merge(&mut document, patch);
        keep_secrets(&mut document, before);
        typed::<D>(&document)?;
        read(name.kind, &document, Some(before))
    };
    let (after, in_force) = edits::change(desk, &caller.who, name, edit, None).await?;
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
