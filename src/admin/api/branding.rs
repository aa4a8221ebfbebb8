//! A tenant's look: what it is made of, and the files of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Desk;
use super::caller::Caller;
use super::edits;
use super::listing::Listing;
use super::objects;
use super::problem::{Changing, Problem, Refused};
use super::request::{Path, Unread};
use super::views::{FileView, TenantView};
use crate::config;
use crate::model::{Asset, AssetKey, AssetKind, Branding, Kind, Look, Object, ObjectName};

/// As a node takes it.
const MAX_FILE_BYTES: usize = 31 * 1024 * 1024;
/// The largest file over a line of 1 Mbit/s.
const FILE_WITHIN: Duration = Duration::from_mins(5);

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(list_looks)).routes(routes!(
        get_file,
        put_file,
        remove_file
    ))
}

/// A part of a tenant's look.
#[derive(Debug, Serialize, ToSchema)]
struct LookView {
    /// logo, slide or css.
    part: String,
    /// Where somebody else serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The file, where we serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileView>,
}

/// The parts of a tenant's look that there are.
#[utoipa::path(get, path = "/tenants/{slug}/branding", tag = "branding", security(("token" = [])),
    params(("slug" = String, Path)),
    responses((status = 200, description = "The parts", body = Listing<LookView>), Refused))]
async fn list_looks(
    State(desk): State<Desk>,
    caller: Caller,
    Path(slug): Path<String>,
) -> Result<Json<Listing<LookView>>, Problem> {
    caller.may_read_of(&slug)?;
    let branding = branding_of(&desk, &ObjectName::new(Kind::Tenant, slug))?;
    let looks = AssetKind::ALL.into_iter().filter_map(|kind| {
        let part = kind.as_str().to_owned();
        Some(match branding.get(kind)? {
            Look::Url(url) => LookView { part, url: Some(url.clone()), file: None },
            look => LookView { part, url: None, file: FileView::of(look) },
        })
    });
    Ok(Json(Listing::new(looks.collect(), None)))
}

/// A file of the tenant's look.
#[utoipa::path(get, path = "/tenants/{slug}/branding/{part}", tag = "branding", security(("token" = [])),
    params(("slug" = String, Path), ("part" = String, Path, description = "logo, slide or css")),
    responses((status = 200, description = "The file, with its own Content-Type", content_type = "*/*",
        headers(("ETag" = String))), Refused))]
async fn get_file(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, part)): Path<(String, String)>,
) -> Result<Response, Problem> {
    caller.may_read_of(&slug)?;
    let kind = part_of(&part)?;
    let name = ObjectName::new(Kind::Tenant, slug);
    let missing = |detail: String| Problem::new(StatusCode::NOT_FOUND, detail);
    match branding_of(&desk, &name)?.get(kind) {
        Some(Look::File(asset)) => {
            // Whoever opens it must not run what is in it.
            let kept_still: [(HeaderName, &str); 3] = [
                (header::CONTENT_TYPE, asset.content_type()),
                (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            let tag = [(header::ETAG, format!("\"{}\"", asset.digest()))];
            Ok((kept_still, tag, asset.bytes().clone()).into_response())
        }
        Some(Look::Lost(_)) => {
            Err(missing(format!("there is no copy of the {part} of {name} any more: put it again")))
        }
        Some(Look::Url(url)) => {
            Err(missing(format!("the {part} of {name} is not here: it is at {url}")))
        }
        None => Err(missing(format!("{name} has no {part}"))),
    }
}

fn branding_of(desk: &Desk, name: &ObjectName) -> Result<Branding, Problem> {
    match edits::find(&desk.keeper.in_force().inventory, name)? {
        Object::Tenant(tenant) => Ok(tenant.branding),
        _ => Err(Problem::not_found(name)),
    }
}

/// Uploads a file of the tenant's look, in place of what was there. The Content-Type says what it is.
#[utoipa::path(put, path = "/tenants/{slug}/branding/{part}", tag = "branding", security(("token" = [])),
    params(("slug" = String, Path), ("part" = String, Path, description = "logo, slide or css"),
        ("If-Match" = Option<String>, Header)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "The tenant", body = TenantView), Changing))]
async fn put_file(
    State(desk): State<Desk>,
    caller: Caller,
    Path((slug, part)): Path<(String, String)>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let kind = part_of(&part)?;
    let extension = extension_of(&headers)?;
    let bytes = body.bytes(MAX_FILE_BYTES, FILE_WITHIN).await?;
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
#[utoipa::path(delete, path = "/tenants/{slug}/branding/{part}", tag = "branding", security(("token" = [])),
    params(("slug" = String, Path), ("part" = String, Path, description = "logo, slide or css"),
        ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "The tenant", body = TenantView), Changing))]
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
