//! Clusters and cluster groups.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::documents::{ClusterDocument, GroupDocument};
use super::listing::{Listing, Page};
use super::objects;
use super::problem::{Changing, Problem, Refused};
use super::{Body, Desk, Query};
use crate::model::{Kind, ObjectName};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(list_clusters, add_cluster))
        .routes(routes!(get_cluster, change_cluster, remove_cluster))
        .routes(routes!(list_groups, add_cluster_group))
        .routes(routes!(get_cluster_group, change_cluster_group, remove_cluster_group))
}

/// All clusters.
#[utoipa::path(get, path = "/clusters", tag = "clusters", security(("token" = [])), params(Page),
    responses((status = 200, description = "A page of clusters", body = Listing<ClusterDocument>), Refused))]
async fn list_clusters(
    State(desk): State<Desk>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    objects::list(&desk, Kind::Cluster, &page).map(IntoResponse::into_response)
}

/// Adds a cluster.
#[utoipa::path(post, path = "/clusters", tag = "clusters", security(("token" = [])), request_body = ClusterDocument,
    responses((status = 201, description = "Added", body = ClusterDocument, headers(("ETag" = String), ("Location" = String))),
        Changing))]
async fn add_cluster(
    State(desk): State<Desk>,
    caller: Caller,
    Body(document): Body<Value>,
) -> Result<Response, Problem> {
    caller.may_write()?;
    objects::create::<ClusterDocument>(&desk, &caller, Kind::Cluster, document).await
}

/// One cluster.
#[utoipa::path(get, path = "/clusters/{name}", tag = "clusters", security(("token" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "The cluster", body = ClusterDocument, headers(("ETag" = String))), Refused))]
async fn get_cluster(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    objects::get(&desk, &ObjectName::new(Kind::Cluster, name))
}

/// Changes a cluster by a JSON merge patch (RFC 7396); what the patch does not name stays.
#[utoipa::path(patch, path = "/clusters/{name}", tag = "clusters", security(("token" = [])),
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "Changed", body = ClusterDocument, headers(("ETag" = String))), Changing))]
async fn change_cluster(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(patch): Body<Value>,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let name = ObjectName::new(Kind::Cluster, name);
    objects::patch::<ClusterDocument>(&desk, &caller, &name, &headers, &patch).await
}

/// Removes a cluster.
#[utoipa::path(delete, path = "/clusters/{name}", tag = "clusters", security(("token" = [])),
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "Removed"), Changing))]
async fn remove_cluster(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_write()?;
    objects::delete(&desk, &caller, &ObjectName::new(Kind::Cluster, name), &headers).await
}

/// All cluster groups.
#[utoipa::path(get, path = "/cluster-groups", tag = "cluster-groups", security(("token" = [])), params(Page),
    responses((status = 200, description = "A page of cluster groups", body = Listing<GroupDocument>), Refused))]
async fn list_groups(
    State(desk): State<Desk>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    objects::list(&desk, Kind::ClusterGroup, &page).map(IntoResponse::into_response)
}

/// Adds a cluster group.
#[utoipa::path(post, path = "/cluster-groups", tag = "cluster-groups", security(("token" = [])), request_body = GroupDocument,
    responses((status = 201, description = "Added", body = GroupDocument, headers(("ETag" = String), ("Location" = String))),
        Changing))]
async fn add_cluster_group(
    State(desk): State<Desk>,
    caller: Caller,
    Body(document): Body<Value>,
) -> Result<Response, Problem> {
    caller.may_write()?;
    objects::create::<GroupDocument>(&desk, &caller, Kind::ClusterGroup, document).await
}

/// One cluster group.
#[utoipa::path(get, path = "/cluster-groups/{name}", tag = "cluster-groups", security(("token" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "The cluster group", body = GroupDocument, headers(("ETag" = String))), Refused))]
async fn get_cluster_group(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    objects::get(&desk, &ObjectName::new(Kind::ClusterGroup, name))
}

/// Changes a cluster group by a JSON merge patch (RFC 7396); what the patch does not name stays.
#[utoipa::path(patch, path = "/cluster-groups/{name}", tag = "cluster-groups", security(("token" = [])),
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "Changed", body = GroupDocument, headers(("ETag" = String))), Changing))]
async fn change_cluster_group(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(patch): Body<Value>,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let name = ObjectName::new(Kind::ClusterGroup, name);
    objects::patch::<GroupDocument>(&desk, &caller, &name, &headers, &patch).await
}

/// Removes a cluster group.
#[utoipa::path(delete, path = "/cluster-groups/{name}", tag = "cluster-groups", security(("token" = [])),
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "Removed"), Changing))]
async fn remove_cluster_group(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may_write()?;
    objects::delete(&desk, &caller, &ObjectName::new(Kind::ClusterGroup, name), &headers).await
}
