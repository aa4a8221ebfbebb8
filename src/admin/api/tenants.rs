//! Tenants, with their secrets, rules and looks.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::caller::Caller;
use super::documents::TenantDocument;
use super::listing::{Listing, Page};
use super::objects;
use super::problem::{Changing, Problem, Refused};
use super::{Body, Desk, Query};
use crate::config;
use crate::model::{Asset, AssetKey, AssetKind, Branding, Kind, Look, ObjectName};

/// As a node takes it.
const MAX_FILE_BYTES: usize = 31 * 1024 * 1024;

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(list_tenants, add_tenant))
        .routes(routes!(get_tenant, change_tenant, remove_tenant))
        .routes(routes!(put_file, remove_file).layer(DefaultBodyLimit::max(MAX_FILE_BYTES)))
}

/// All tenants.
#[utoipa::path(get, path = "/tenants", tag = "tenants", security(("token" = [])), params(Page),
    responses((status = 200, description = "A page of tenants", body = Listing<TenantDocument>), Refused))]
async fn list_tenants(
    State(desk): State<Desk>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    objects::list(&desk, Kind::Tenant, &page).map(IntoResponse::into_response)
}

/// Adds a tenant.
#[utoipa::path(post, path = "/tenants", tag = "tenants", security(("token" = [])), request_body = TenantDocument,
    responses((status = 201, description = "Added", body = TenantDocument, headers(("ETag" = String), ("Location" = String))),
        Changing))]
async fn add_tenant(
    State(desk): State<Desk>,
    caller: Caller,
    Body(document): Body<Value>,
) -> Result<Response, Problem> {
    caller.may_write()?;
    objects::create::<TenantDocument>(&desk, &caller, Kind::Tenant, document).await
}

/// One tenant.
#[utoipa::path(get, path = "/tenants/{slug}", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path)),
    responses((status = 200, description = "The tenant", body = TenantDocument, headers(("ETag" = String))), Refused))]
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
    responses((status = 200, description = "Changed", body = TenantDocument, headers(("ETag" = String))), Changing))]
async fn change_tenant(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(patch): Body<Value>,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let name = ObjectName::new(Kind::Tenant, name);
    objects::patch::<TenantDocument>(&desk, &caller, &name, &headers, &patch).await
}

/// Removes a tenant.
#[utoipa::path(delete, path = "/tenants/{slug}", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "Removed"), Changing))]
async fn remove_tenant(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_write()?;
    objects::delete(&desk, &caller, &ObjectName::new(Kind::Tenant, name), &headers).await
}

/// Uploads a file of the tenant's look, in place of what was there. The Content-Type says what it is.
#[utoipa::path(put, path = "/tenants/{slug}/branding/{part}", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path), ("part" = String, Path, description = "logo, slide or css")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The tenant", body = TenantDocument), Changing))]
async fn put_file(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, part)): Path<(String, String)>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let kind = part_of(&part)?;
    let extension = extension_of(&headers)?;
    let name = PathBuf::from(format!("{part}.{extension}"));
    config::check_upload(kind, &name, &bytes).map_err(|wrong| {
        Problem::fields([(String::new(), format!("{} {wrong}", name.display()))])
    })?;
    let asset = Arc::new(Asset::new(name, bytes));
    let tenant = ObjectName::new(Kind::Tenant, slug);
    let slug = tenant.name.parse().map_err(|_no_slug| Problem::not_found(&tenant))?;
    let set = |branding: &mut Branding| branding.set(kind, Look::File(asset.clone()));
    let file = (AssetKey { tenant: slug, kind }, asset.clone());
    objects::edit_tenant(&desk, &caller, &tenant, &headers, set, Some(&file)).await
}

/// Removes a part of the tenant's look, be it a file or a URL.
#[utoipa::path(delete, path = "/tenants/{slug}/branding/{part}", tag = "tenants", security(("token" = [])),
    params(("slug" = String, Path), ("part" = String, Path, description = "logo, slide or css")),
    responses((status = 200, description = "The tenant", body = TenantDocument), Changing))]
async fn remove_file(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, part)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let kind = part_of(&part)?;
    let tenant = ObjectName::new(Kind::Tenant, slug);
    let remove = |branding: &mut Branding| branding.remove(kind);
    objects::edit_tenant(&desk, &caller, &tenant, &headers, remove, None).await
}

fn part_of(part: &str) -> Result<AssetKind, Problem> {
    let known = AssetKind::ALL.into_iter().find(|kind| kind.as_str() == part);
    known.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "the parts of a look are logo, slide and css")
    })
}

fn extension_of(headers: &HeaderMap) -> Result<&'static str, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    Ok(match kind {
        "image/svg+xml" => "svg",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "application/pdf" => "pdf",
        "text/css" => "css",
        _ => {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the Content-Type is to be text/css, application/pdf, or that of an SVG, PNG, JPEG, GIF or WebP",
            ));
        }
    })
}
