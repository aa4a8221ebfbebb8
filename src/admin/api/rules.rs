//! A tenant's rules on the parameters of calls, by themselves.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Desk;
use super::caller::Caller;
use super::documents::{self, RulesDocument, Secrets};
use super::edits;
use super::objects;
use super::problem::{Changing, Problem, Refused};
use super::request::{Path, Unread};
use crate::model::{Kind, Object, ObjectName, Origin};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(get_rules, put_rules))
}

/// The rules of a tenant, for all its secrets.
#[utoipa::path(get, path = "/tenants/{slug}/rules", tag = "rules", security(("token" = [])),
    params(("slug" = String, Path)),
    responses((status = 200, description = "The rules", body = RulesDocument, headers(("ETag" = String))), Refused))]
async fn get_rules(
    State(desk): State<Desk>,
    caller: Caller,
    Path(slug): Path<String>,
) -> Result<Response, Problem> {
    caller.may_read_of(&slug)?;
    let name = ObjectName::new(Kind::Tenant, slug);
    let in_force = desk.keeper.in_force();
    let object = edits::find(&in_force.inventory, &name)?;
    shown(&desk, &object, in_force.inventory.origin(&name))
}

/// Puts rules in the place of all that there were.
#[utoipa::path(put, path = "/tenants/{slug}/rules", tag = "rules", security(("token" = [])),
    params(("slug" = String, Path), ("If-Match" = Option<String>, Header)), request_body = RulesDocument,
    responses((status = 200, description = "The rules", body = RulesDocument, headers(("ETag" = String))), Changing))]
async fn put_rules(
    State(desk): State<Desk>,
    caller: Caller,
    Path(slug): Path<String>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let rules: RulesDocument = objects::typed(&body.json().await?)?;
    let name = ObjectName::new(Kind::Tenant, slug);
    let edit = |before: &Object| {
        objects::check_tag(&headers, &objects::tag_of(&desk, before, Origin::Api))?;
        let mut document = documents::write(before, Secrets::Shown);
        document["params"] = json!(rules);
        let own = |field: &str| field.strip_prefix("params.").unwrap_or(field).to_owned();
        objects::read(Kind::Tenant, &document, Some(before)).map_err(|why| why.renamed(own))
    };
    let (after, in_force) = edits::change(&desk, &caller.who, &name, edit, None).await?;
    shown(&desk, &after, in_force.inventory.origin(&name))
}

fn shown(desk: &Desk, object: &Object, origin: Origin) -> Result<Response, Problem> {
    let Object::Tenant(tenant) = object else { return Err(Problem::not_found(&object.name())) };
    let tag = objects::tag_of(desk, object, origin);
    Ok(objects::tagged(StatusCode::OK, tag, documents::of_rules(&tenant.rules)))
}
