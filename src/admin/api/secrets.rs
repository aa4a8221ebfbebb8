//! API secrets of tenants. Their values are taken and never given, but for those that we make: these are shown once.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::documents::{self, RulesDocument, SecretDocument, SecretLimitsDocument, Secrets};
use super::edits;
use super::generated::generate_secret;
use super::listing::{self, Listing, Page};
use super::objects;
use super::problem::{Changing, Problem, Refused};
use super::request::{Path, Unread};
use super::{Desk, Query};
use crate::fleet::now_ms;
use crate::model::{Change, Kind, Object, ObjectName, Origin, SubId, Tenant, TenantSecret};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(list_secrets, add_secret))
        .routes(routes!(get_secret, change_secret, remove_secret))
        .routes(routes!(roll_over))
        .routes(routes!(finish_rollover))
}

/// One API secret of a tenant.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct SecretView {
    /// 0 is the main secret.
    #[schema(maximum = 999)]
    sub_id: u16,
    /// Whether a second value counts, too.
    rolling: bool,
    /// Limits of this secret alone.
    limits: SecretLimitsDocument,
    /// Rules of this secret, after the tenant's.
    params: RulesDocument,
    /// The value, in the answer to the request that has had it made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The second value, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret2: Option<String>,
}

impl From<&TenantSecret> for SecretView {
    fn from(secret: &TenantSecret) -> Self {
        Self {
            sub_id: secret.sub_id.get(),
            rolling: secret.secret2.is_some(),
            limits: documents::of_secret_limits(secret.limits),
            params: documents::of_rules(&secret.rules),
            secret: None,
            secret2: None,
        }
    }
}

/// A second value, beside the one there is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RolloverDocument {
    /// The second value. Without one it is made, and shown once.
    #[schema(write_only, min_length = 1)]
    secret2: Option<String>,
}

/// The secrets of a tenant, without their values.
#[utoipa::path(get, path = "/tenants/{slug}/secrets", tag = "secrets", security(("token" = [])),
    params(("slug" = String, Path), Page),
    responses((status = 200, description = "A page of secrets", body = Listing<SecretView>), Refused))]
async fn list_secrets(
    State(desk): State<Desk>,
    caller: Caller,
    Path(slug): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Listing<SecretView>>, Problem> {
    caller.may_read_of(&slug)?;
    let object = edits::find(&desk.keeper.in_force().inventory, &name_of(slug))?;
    let tenant = tenant_of(&object)?;
    // By their numbers.
    let secrets: BTreeMap<_, _> = tenant
        .secrets
        .iter()
        .map(|secret| (format!("{:03}", secret.sub_id.get()), secret.into()))
        .collect();
    listing::page(secrets, &page).map(Json)
}

/// Adds a secret. Without a value it is given one, which is shown in the answer and never again.
#[utoipa::path(post, path = "/tenants/{slug}/secrets", tag = "secrets", security(("token" = [])),
    params(("slug" = String, Path), ("If-Match" = Option<String>, Header)), request_body = SecretDocument,
    responses((status = 201, description = "Added", body = SecretView,
            headers(("ETag" = String), ("Location" = String), ("Cache-Control" = String))),
        Changing))]
async fn add_secret(
    State(desk): State<Desk>,
    caller: Caller,
    Path(slug): Path<String>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let mut document: SecretDocument = objects::typed(&body.json().await?)?;
    let made = fill(&mut document)?;
    let (sub_id, document) = (document.sub_id, json!(document));
    let which = Which { slug, sub_id };
    let add = |secrets: &mut Vec<Value>| {
        if secrets.iter().any(|one| one["sub_id"] == sub_id) {
            let detail = format!("there is a {} already", which.name());
            return Err(Problem::conflict(detail));
        }
        secrets.push(document.clone());
        Ok(secrets.len() - 1)
    };
    let answer = which.edit(&desk, &caller, &headers, "create", add).await?;
    Ok(objects::at(answer.show(StatusCode::CREATED, made, None), &which.path()))
}

/// One secret, without its values.
#[utoipa::path(get, path = "/tenants/{slug}/secrets/{sub_id}", tag = "secrets", security(("token" = [])),
    params(("slug" = String, Path), ("sub_id" = u16, Path, maximum = 999)),
    responses((status = 200, description = "The secret", body = SecretView, headers(("ETag" = String))), Refused))]
async fn get_secret(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, sub_id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    caller.may_read_of(&slug)?;
    let which = Which::read(slug, &sub_id)?;
    let in_force = desk.keeper.in_force();
    let name = name_of(&*which.slug);
    let object = edits::find(&in_force.inventory, &name)?;
    let view = which.view_in(&object)?;
    let tag = objects::tag_of(&desk, &object, in_force.inventory.origin(&name));
    Ok(objects::tagged(StatusCode::OK, tag, view))
}

/// Changes a secret by a JSON merge patch (RFC 7396); what the patch does not name stays. An empty `secret2` ends a
/// rollover: the first value stays.
#[utoipa::path(patch, path = "/tenants/{slug}/secrets/{sub_id}", tag = "secrets", security(("token" = [])),
    params(("slug" = String, Path), ("sub_id" = u16, Path, maximum = 999), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "Changed", body = SecretView, headers(("ETag" = String))), Changing))]
async fn change_secret(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, sub_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let patch = body.json().await?;
    objects::check_patch(&patch)?;
    let which = Which::read(slug, &sub_id)?;
    let change = |secrets: &mut Vec<Value>| {
        let (place, found) = which.find(secrets)?;
        json_patch::merge(found, &patch);
        let document: SecretDocument = objects::typed(found)?;
        if document.sub_id != which.sub_id {
            let detail = "cannot be changed: add another one and remove this one".to_owned();
            return Err(Problem::fields([("sub_id".to_owned(), detail)]));
        }
        *found = json!(document);
        Ok(place)
    };
    let answer = which.edit(&desk, &caller, &headers, "update", change).await?;
    Ok(answer.show(StatusCode::OK, None, None))
}

/// Removes a secret; its meetings run on. The main one stays as long as its tenant.
#[utoipa::path(delete, path = "/tenants/{slug}/secrets/{sub_id}", tag = "secrets", security(("token" = [])),
    params(("slug" = String, Path), ("sub_id" = u16, Path, maximum = 999), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "Removed"), Changing))]
async fn remove_secret(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, sub_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    caller.may_write()?;
    let which = Which::read(slug, &sub_id)?;
    let remove = |secrets: &mut Vec<Value>| {
        let (place, _found) = which.find(secrets)?;
        if which.sub_id == SubId::MAIN.get() {
            let detail =
                "the main secret cannot be removed: change its value, or remove the tenant";
            return Err(Problem::conflict(detail));
        }
        secrets.remove(place);
        Ok(place)
    };
    which.edit(&desk, &caller, &headers, "delete", remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins a rollover: a second value counts beside the first. Without one in the body it is made, and shown in the
/// answer and never again.
#[utoipa::path(post, path = "/tenants/{slug}/secrets/{sub_id}/rollover", tag = "secrets", security(("token" = [])),
    params(("slug" = String, Path), ("sub_id" = u16, Path, maximum = 999), ("If-Match" = Option<String>, Header)),
    request_body = Option<RolloverDocument>,
    responses((status = 201, description = "Both values count", body = SecretView,
            headers(("ETag" = String), ("Location" = String), ("Cache-Control" = String))),
        Changing))]
async fn roll_over(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, sub_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let given: Option<RolloverDocument> = objects::typed(&body.json_if_any().await?)?;
    let (second, made) = match given.and_then(|given| given.secret2) {
        Some(given) => (given, None),
        None => generate_secret().map(|made| (made.clone(), Some(made)))?,
    };
    if second.is_empty() {
        let detail = "must not be empty: leave it out, and one is made".to_owned();
        return Err(Problem::fields([("secret2".to_owned(), detail)]));
    }
    let which = Which::read(slug, &sub_id)?;
    let add = |secrets: &mut Vec<Value>| {
        let (place, found) = which.find(secrets)?;
        if found["secret2"].is_string() {
            return Err(Problem::conflict(format!(
                "a rollover of {} is going on, perhaps another operator's: finish it, or end it with a PATCH of an \
                 empty secret2",
                which.name()
            )));
        }
        found["secret2"] = second.clone().into();
        Ok(place)
    };
    let answer = which.edit(&desk, &caller, &headers, "rollover", add).await?;
    Ok(objects::at(answer.show(StatusCode::CREATED, None, made), &which.path()))
}

/// Finishes a rollover: the second value takes the place of the first, which counts no more.
#[utoipa::path(post, path = "/tenants/{slug}/secrets/{sub_id}/rollover/finish", tag = "secrets",
    security(("token" = [])),
    params(("slug" = String, Path), ("sub_id" = u16, Path, maximum = 999), ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "The second value alone counts", body = SecretView,
        headers(("ETag" = String))), Changing))]
async fn finish_rollover(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, sub_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let which = Which::read(slug, &sub_id)?;
    let finish = |secrets: &mut Vec<Value>| {
        let (place, found) = which.find(secrets)?;
        let Value::String(second) = found["secret2"].take() else {
            return Err(Problem::conflict("no rollover is going on: begin one"));
        };
        found["secret"] = second.into();
        Ok(place)
    };
    let answer = which.edit(&desk, &caller, &headers, "update", finish).await?;
    Ok(answer.show(StatusCode::OK, None, None))
}

/// Gives a secret a value that has none; returns what was made.
pub(super) fn fill(document: &mut SecretDocument) -> Result<Option<String>, Problem> {
    if document.secret.is_some() {
        return Ok(None);
    }
    let made = generate_secret()?;
    document.secret = Some(made.clone());
    Ok(Some(made))
}

fn name_of(slug: impl Into<String>) -> ObjectName {
    ObjectName::new(Kind::Tenant, slug)
}

fn tenant_of(object: &Object) -> Result<&Tenant, Problem> {
    match object {
        Object::Tenant(tenant) => Ok(tenant),
        other => Err(Problem::not_found(&other.name())),
    }
}

/// Which secret.
struct Which {
    slug: String,
    sub_id: u16,
}

/// A secret after a change.
struct Answer {
    view: Option<SecretView>,
    tag: String,
}

impl Answer {
    /// The answer, with what was made.
    fn show(self, status: StatusCode, secret: Option<String>, secret2: Option<String>) -> Response {
        let Some(view) = self.view else { return StatusCode::NO_CONTENT.into_response() };
        let was_made = secret.is_some() || secret2.is_some();
        let answer = objects::tagged(status, self.tag, SecretView { secret, secret2, ..view });
        if was_made { objects::unkept(answer) } else { answer }
    }
}

impl Which {
    fn read(slug: String, sub_id: &str) -> Result<Self, Problem> {
        let number = sub_id.parse().ok().filter(|number: &u16| number.to_string() == sub_id);
        let number = number.and_then(SubId::new).ok_or_else(|| {
            let detail = format!("there is no secret {sub_id:?}: they are 0 to 999");
            Problem::new(StatusCode::NOT_FOUND, detail)
        })?;
        Ok(Self { slug, sub_id: number.get() })
    }

    fn name(&self) -> String {
        format!("secret {} of tenant {}", self.sub_id, self.slug)
    }

    fn path(&self) -> String {
        format!("{}/secrets/{}", objects::path_of(&name_of(&*self.slug)), self.sub_id)
    }

    fn unknown(&self) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no {}", self.name()))
    }

    fn find<'s>(&self, secrets: &'s mut [Value]) -> Result<(usize, &'s mut Value), Problem> {
        let mut all = secrets.iter_mut().enumerate();
        all.find(|(_, one)| one["sub_id"] == self.sub_id).ok_or_else(|| self.unknown())
    }

    fn view_in(&self, object: &Object) -> Result<SecretView, Problem> {
        let mut secrets = tenant_of(object)?.secrets.iter();
        let found = secrets.find(|secret| secret.sub_id.get() == self.sub_id);
        found.map(Into::into).ok_or_else(|| self.unknown())
    }

    /// Changes the list of secrets; `change` says which of them is then to blame for mistakes.
    async fn edit(
        &self,
        desk: &Desk,
        caller: &Caller,
        headers: &HeaderMap,
        action: &str,
        change: impl Fn(&mut Vec<Value>) -> Result<usize, Problem>,
    ) -> Result<Answer, Problem> {
        let tenant = name_of(&*self.slug);
        let edit = |before: &Object| {
            objects::check_tag(headers, &objects::tag_of(desk, before, Origin::Api))?;
            let mut document = documents::write(before, Secrets::Shown);
            let secrets = document["secrets"].as_array_mut();
            let place = change(secrets.ok_or_else(|| Problem::not_found(&tenant))?)?;
            let prefix = format!("secrets[{place}].");
            let own = |field: &str| field.strip_prefix(&prefix).unwrap_or(field).to_owned();
            objects::read(Kind::Tenant, &document, Some(before)).map_err(|why| why.renamed(own))
        };
        let view = |object: &Object| Some(json!(self.view_in(object).ok()?).to_string());
        let told = |before: &Object, after: &Object| Change {
            at_ms: now_ms(),
            who: caller.who.name.clone(),
            action: action.to_owned(),
            object: self.name(),
            before: view(before),
            after: view(after),
        };
        let (after, in_force) =
            edits::change_told(desk, &caller.who, &tenant, edit, told, None).await?;
        let tag = objects::tag_of(desk, &after, in_force.inventory.origin(&tenant));
        Ok(Answer { view: self.view_in(&after).ok(), tag })
    }
}
