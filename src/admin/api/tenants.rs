//! Tenants, with all that they have.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::documents::{SecretDocument, TenantDocument};
use super::listing::{Listing, Page};
use super::problem::{Changing, Problem, Refused};
use super::removal;
use super::request::{Path, Unread};
use super::views::{OriginWord, TenantView, View};
use super::{Desk, Query};
use super::{objects, secrets};
use crate::model::{Kind, Object, ObjectName, Origin, SubId, Tenant};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_tenants, add_tenant)).routes(routes!(
        get_tenant,
        change_tenant,
        removal::remove_tenant
    ))
}

/// Which tenants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only those whose meetings this cluster group carries.
    cluster_group: Option<String>,
    /// Only the one whose own host name this is.
    domain: Option<String>,
    /// Only those of the file, or of the API.
    origin: Option<OriginWord>,
}

impl Wanted {
    fn has(&self, tenant: &Tenant, origin: Origin) -> bool {
        let domain = self.domain.as_ref().map(|domain| domain.to_ascii_lowercase());
        self.cluster_group.as_ref().is_none_or(|wanted| *wanted == tenant.cluster_group)
            && domain.is_none_or(|wanted| tenant.domains.contains(&wanted))
            && self.origin.is_none_or(|wanted| wanted == OriginWord::from(origin))
    }
}

/// All tenants.
#[utoipa::path(get, path = "/tenants", tag = "tenants", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of tenants", body = Listing<TenantView>), Refused))]
async fn list_tenants(
    State(desk): State<Desk>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    let page = Page::new(wanted.limit, wanted.cursor.clone());
    let is_wanted = |object: &Object, origin: Origin| match object {
        Object::Tenant(tenant) => wanted.has(tenant, origin),
        _ => false,
    };
    let found = objects::list(&desk, Kind::Tenant, &page, is_wanted)?;
    if found.items.is_empty() && wanted.cursor.is_none() {
        desk.must_be_there(Kind::ClusterGroup, "cluster_group", wanted.cluster_group.as_deref())?;
    }
    Ok(found.into_response())
}

/// Adds a tenant. Secrets without values are given some, and so is a tenant without secrets; they are shown in the
/// answer and never again.
#[utoipa::path(post, path = "/tenants", tag = "tenants", security(("token" = [])), request_body = TenantDocument,
    responses((status = 201, description = "Added", body = TenantView,
            headers(("ETag" = String), ("Location" = String), ("Cache-Control" = String))),
        Changing))]
async fn add_tenant(
    State(desk): State<Desk>,
    caller: Caller,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let mut document: TenantDocument = objects::typed(&body.json().await?)?;
    let main = || vec![SecretDocument::new(SubId::MAIN.get())];
    let secrets = document.secrets.get_or_insert_with(main);
    let made: Vec<_> = secrets.iter_mut().map(secrets::fill).collect::<Result<_, _>>()?;
    let are_made = made.iter().any(Option::is_some);
    let show = |view: &mut View| {
        let View::Tenant(view) = view else { return };
        for (secret, made) in view.secrets.iter_mut().zip(made) {
            secret.secret = made;
        }
    };
    let added = objects::create(&desk, &caller, Kind::Tenant, &json!(document), show).await?;
    Ok(if are_made { objects::unkept(added) } else { added })
}

/// One tenant.
#[utoipa::path(get, path = "/tenants/{slug}", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path)),
    responses((status = 200, description = "The tenant", body = TenantView, headers(("ETag" = String))), Refused))]
async fn get_tenant(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.may_read_of(&name)?;
    objects::get(&desk, &ObjectName::new(Kind::Tenant, name))
}

/// Changes a tenant by a JSON merge patch (RFC 7396); what the patch does not name stays.
#[utoipa::path(patch, path = "/tenants/{slug}", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "Changed", body = TenantView, headers(("ETag" = String))), Changing))]
async fn change_tenant(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let name = ObjectName::new(Kind::Tenant, name);
    let patch = body.json().await?;
    objects::patch::<TenantDocument>(&desk, &caller, &name, &headers, &patch).await
}
