//! Clusters and cluster groups.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::documents::{ClusterDocument, GroupDocument};
use super::listing::{Listing, Page};
use super::objects;
use super::problem::{Changing, Problem, Refused};
use super::request::{Path, Unread};
use super::views::{ClusterView, GroupView, OriginWord};
use super::{Desk, Query};
use crate::model::{Kind, ObjectName, Origin};

pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(list_clusters, add_cluster))
        .routes(routes!(get_cluster, change_cluster, remove_cluster))
        .routes(routes!(list_groups, add_cluster_group))
        .routes(routes!(get_cluster_group, change_cluster_group, remove_cluster_group))
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only those of the file, or of the API.
    origin: Option<OriginWord>,
}

impl Wanted {
    fn list(self, desk: &Desk, kind: Kind) -> Result<Response, Problem> {
        let is_wanted =
            |origin: Origin| self.origin.is_none_or(|wanted| wanted == OriginWord::from(origin));
        let page = Page::new(self.limit, self.cursor);
        let listed = objects::list(desk, kind, &page, |_object, origin| is_wanted(origin))?;
        Ok(listed.into_response())
    }
}

/// All clusters.
#[utoipa::path(get, path = "/clusters", tag = "clusters", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of clusters", body = Listing<ClusterView>), Refused))]
async fn list_clusters(
    State(desk): State<Desk>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    wanted.list(&desk, Kind::Cluster)
}

/// Adds a cluster.
#[utoipa::path(post, path = "/clusters", tag = "clusters", security(("token" = [])), request_body = ClusterDocument,
    responses((status = 201, description = "Added", body = ClusterView, headers(("ETag" = String), ("Location" = String))),
        Changing))]
async fn add_cluster(
    State(desk): State<Desk>,
    caller: Caller,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let document = objects::plain::<ClusterDocument>(&body.json().await?)?;
    objects::create(&desk, &caller, Kind::Cluster, &document, |_view| {}).await
}

/// One cluster.
#[utoipa::path(get, path = "/clusters/{name}", tag = "clusters", security(("token" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "The cluster", body = ClusterView, headers(("ETag" = String))), Refused))]
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
    responses((status = 200, description = "Changed", body = ClusterView, headers(("ETag" = String))), Changing))]
async fn change_cluster(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let name = ObjectName::new(Kind::Cluster, name);
    let patch = body.json().await?;
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
#[utoipa::path(get, path = "/cluster-groups", tag = "cluster-groups", security(("token" = [])), params(Wanted),
    responses((status = 200, description = "A page of cluster groups", body = Listing<GroupView>), Refused))]
async fn list_groups(
    State(desk): State<Desk>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    caller.may_read()?;
    wanted.list(&desk, Kind::ClusterGroup)
}

/// Adds a cluster group.
#[utoipa::path(post, path = "/cluster-groups", tag = "cluster-groups", security(("token" = [])), request_body = GroupDocument,
    responses((status = 201, description = "Added", body = GroupView, headers(("ETag" = String), ("Location" = String))),
        Changing))]
async fn add_cluster_group(
    State(desk): State<Desk>,
    caller: Caller,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let document = objects::plain::<GroupDocument>(&body.json().await?)?;
    objects::create(&desk, &caller, Kind::ClusterGroup, &document, |_view| {}).await
}

/// One cluster group.
#[utoipa::path(get, path = "/cluster-groups/{name}", tag = "cluster-groups", security(("token" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "The cluster group", body = GroupView, headers(("ETag" = String))), Refused))]
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
    responses((status = 200, description = "Changed", body = GroupView, headers(("ETag" = String))), Changing))]
async fn change_cluster_group(
    State(desk): State<Desk>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Unread,
) -> Result<Response, Problem> {
    caller.may_write()?;
    let name = ObjectName::new(Kind::ClusterGroup, name);
    let patch = body.json().await?;
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
