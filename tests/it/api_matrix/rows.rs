//! The table: every route, who may call it, a call with nothing wrong in it, and documents that are wrong.

use http::Method;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Admins and operators.
    See,
    /// These, and a token of the tenant that the path names.
    SeeOwn,
    /// These, and every token of a tenant, which sees its own only.
    SeeOwnIn,
    /// Admins, though nothing changes.
    AdminSees,
    /// Admins.
    Change,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'b> {
    None,
    /// A document.
    Json(&'b str),
    /// Anything, under this Content-Type.
    Raw(&'static str, &'b str),
}

impl<'b> Body<'b> {
    pub(super) fn kind(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Json(_) => Some("application/json"),
            Self::Raw(kind, _) => Some(kind),
        }
    }

    pub(super) fn text(self) -> &'b str {
        match self {
            Self::None => "",
            Self::Json(text) | Self::Raw(_, text) => text,
        }
    }
}

/// A route.
#[derive(Debug)]
pub(super) struct Row {
    /// As openapi.json has it.
    pub(super) route: &'static str,
    pub(super) may: May,
    /// A path that is there when the rows before were called.
    pub(super) path: &'static str,
    pub(super) body: Body<'static>,
    /// What those who may are answered.
    pub(super) ok: u16,
    /// Documents with a mistake, and the fields that the answer names.
    pub(super) wrong: &'static [(&'static str, &'static [&'static str])],
    pub(super) is_body_optional: bool,
}

impl Row {
    pub(super) fn route(&self) -> (Method, &'static str) {
        let (method, path) = self.route.split_once(' ').expect("method and path");
        (method.parse().expect("a method"), path)
    }
}

/// A route without a body.
const fn plain(route: &'static str, may: May, path: &'static str, ok: u16) -> Row {
    Row { route, may, path, body: Body::None, ok, wrong: &[], is_body_optional: false }
}

/// A route with a document.
const fn with(
    route: &'static str,
    path: &'static str,
    body: &'static str,
    ok: u16,
    wrong: &'static [(&'static str, &'static [&'static str])],
) -> Row {
    let body = Body::Json(body);
    Row { route, may: May::Change, path, body, ok, wrong, is_body_optional: false }
}

use May::{AdminSees, Change, See, SeeOwn, SeeOwnIn};

pub(super) const ROWS: &[Row] = &[
    plain("GET /clusters", See, "/clusters", 200),
    with(
        "POST /clusters",
        "/clusters",
        r#"{"name": "west", "policy": {"b3lb": {"meeting_factor": 15}}}"#,
        201,
        &[
            ("{}", &["name"]),
            (r#"{"name": 7}"#, &["name"]),
            (r#"{"name": "."}"#, &["name"]),
            (r#"{"name": ".."}"#, &["name"]),
            (r#"{"name": ""}"#, &["name"]),
            (r#"{"name": "a", "checksum": "md5"}"#, &["checksum"]),
            (r#"{"name": "a", "policy": "best"}"#, &["policy"]),
        ],
    ),
    plain("GET /clusters/{name}", See, "/clusters/main", 200),
    with(
        "PATCH /clusters/{name}",
        "/clusters/west",
        r#"{"checksum": "sha1"}"#,
        200,
        &[(r#"{"checksum": 1}"#, &["checksum"]), (r#"{"name": "east"}"#, &["name"])],
    ),
    plain("GET /cluster-groups", See, "/cluster-groups", 200),
    with(
        "POST /cluster-groups",
        "/cluster-groups",
        r#"{"name": "all", "clusters": ["main", "west"]}"#,
        201,
        &[
            (r#"{"name": "a", "clusters": "main"}"#, &["clusters"]),
            (r#"{"name": "a", "clusters": ["main", "main"]}"#, &["clusters[1]"]),
            (r#"{"name": "a", "clusters": ["none"]}"#, &["clusters"]),
            (r#"{"name": "..", "clusters": []}"#, &["name"]),
        ],
    ),
    plain("GET /cluster-groups/{name}", See, "/cluster-groups/default", 200),
    with(
        "PATCH /cluster-groups/{name}",
        "/cluster-groups/all",
        r#"{"clusters": ["main"]}"#,
        200,
        &[(r#"{"clusters": ["none"]}"#, &["clusters"]), (r#"{"clusters": 1}"#, &["clusters"])],
    ),
    plain("GET /nodes", See, "/nodes?cluster=main&state=ready&origin=file", 200),
    with(
        "POST /nodes",
        "/nodes",
        r#"{"name": "n1", "cluster": "west", "url": "http://192.0.2.1/bigbluebutton/api", "secret": "s", "tags": ["sip"]}"#,
        201,
        &[
            (
                r#"{"name": "n2", "cluster": "west", "url": "http://192.0.2.2/bigbluebutton"}"#,
                &["secret"],
            ),
            (r#"{"name": "n2", "cluster": "west"}"#, &["url"]),
            (
                r#"{"name": "n2", "cluster": "none", "url": "http://192.0.2.2/bigbluebutton", "secret": "s"}"#,
                &["cluster"],
            ),
            (
                r#"{"name": "n2", "cluster": "west", "url": "ftp://192.0.2.2/bigbluebutton", "secret": "s"}"#,
                &["url"],
            ),
            (
                r#"{"name": "n2", "cluster": "west", "url": "http://192.0.2.2/bigbluebutton", "secret": "s", "tags": ["a,b"]}"#,
                &["tags[0]"],
            ),
            (
                r#"{"name": "n2", "cluster": "west", "url": "http://192.0.2.2/bigbluebutton", "secret": "s", "weight": "1"}"#,
                &["weight"],
            ),
            (
                r#"{"name": "..", "cluster": "west", "url": "http://192.0.2.2/bigbluebutton", "secret": "s"}"#,
                &["name"],
            ),
        ],
    ),
    plain("GET /nodes/{name}", See, "/nodes/node0", 200),
    with(
        "PATCH /nodes/{name}",
        "/nodes/n1",
        r#"{"weight": 0.5}"#,
        200,
        &[
            (r#"{"weight": 0}"#, &["weight"]),
            (r#"{"tags": ["a,b"]}"#, &["tags[0]"]),
            (r#"{"tags": "sip"}"#, &["tags"]),
            (r#"{"capacity": -1}"#, &["capacity"]),
            (r#"{"name": "n9"}"#, &["name"]),
        ],
    ),
    with(
        "PUT /nodes/{name}/state",
        "/nodes/node0/state",
        r#"{"state": "ready"}"#,
        200,
        &[
            ("{}", &["state"]),
            (r#"{"state": "retired"}"#, &["state"]),
            (r#"{"state": 1}"#, &["state"]),
        ],
    ),
    with(
        "POST /history",
        "/history",
        r#"{"items": [{"tenant": "acme", "sub_id": 0, "room": "m", "hour": 9, "meetings": 1, "mean": 7, "variance": 0.5, "learned_at": "2026-11-01T00:00:00Z"}]}"#,
        200,
        &[
            ("{}", &["items"]),
            (r#"{"items": {}}"#, &["items"]),
            (r#"{"items": [7]}"#, &["items[0]"]),
            (r#"{"items": [{"meetings": 1, "mean": 7, "variance": 0}]}"#, &["items[0].learned_at"]),
            (
                r#"{"items": [{"meetings": 1.5, "mean": 7, "variance": 0, "learned_at": "2026-11-01T00:00:00Z"}]}"#,
                &["items[0].meetings"],
            ),
            (
                r#"{"items": [{"hour": 1, "meetings": 1, "mean": 7, "variance": 0, "learned_at": "2026-11-01T00:00:00Z"}]}"#,
                &["items[0].hour"],
            ),
            (
                r#"{"items": [{"room": "m", "meetings": 1, "mean": 7, "variance": 0, "learned_at": "2026-11-01T00:00:00Z"}]}"#,
                &["items[0].tenant"],
            ),
            (
                r#"{"items": [{"meetings": 1, "mean": -7, "variance": 0, "learned_at": "2026-11-01T00:00:00Z"}, {"meetings": 0, "mean": 7, "variance": 0, "learned_at": "2026-11-01T00:00:00Z"}]}"#,
                &["items[0].mean", "items[1].meetings"],
            ),
        ],
    ),
    with(
        "POST /history/meetings",
        "/history/meetings",
        r#"{"items": [{"tenant": "acme", "sub_id": 5, "meeting_id": "m", "created_at": "2026-11-01T09:00:00Z", "attendees": 7}]}"#,
        200,
        &[
            ("{}", &["items"]),
            (
                r#"{"items": [{"tenant": "acme", "meeting_id": "m", "created_at": "2026-11-01T09:00:00Z"}]}"#,
                &["items[0].attendees"],
            ),
            (
                r#"{"items": [{"tenant": "acme", "meeting_id": "m", "created_at": "then", "attendees": 7}]}"#,
                &["items[0].created_at"],
            ),
            (
                r#"{"items": [{"tenant": "Acme", "meeting_id": "m", "created_at": "2026-11-01T09:00:00Z", "attendees": -7}]}"#,
                &["items[0].attendees"],
            ),
        ],
    ),
    plain("GET /history", See, "/history?tenant=acme&room=m", 200),
    plain("DELETE /history", Change, "/history?tenant=acme&room=m&sub_id=0", 200),
    plain("GET /tenants/{slug}/placement", See, "/tenants/acme/placement?meeting_id=m", 200),
    plain("GET /nodes/{name}/explanation", See, "/nodes/n1/explanation", 200),
    plain("POST /nodes/{name}/probe", Change, "/nodes/node0/probe", 200),
    plain("DELETE /nodes/{name}", Change, "/nodes/n1", 204),
    plain("GET /capacity", See, "/capacity", 200),
    plain("GET /instances", See, "/instances", 200),
    plain("GET /meetings", SeeOwnIn, "/meetings", 200),
    plain("GET /meetings/{internal_id}", SeeOwnIn, "/meetings/{meeting}", 200),
    plain("DELETE /meetings/{internal_id}", Change, "/meetings/{another}", 204),
    plain("GET /tenants", See, "/tenants?cluster_group=default", 200),
    with(
        "POST /tenants",
        "/tenants",
        r#"{"slug": "beta", "cluster_group": "all", "domains": ["beta.example"], "limits": {"meetings": 3}}"#,
        201,
        &[
            (r#"{"slug": "gamma"}"#, &["cluster_group"]),
            (r#"{"slug": "gamma-1", "cluster_group": "default"}"#, &["slug"]),
            (r#"{"slug": "gamma", "cluster_group": "none"}"#, &["cluster_group"]),
            (r#"{"slug": "gamma", "cluster_group": "default", "secrets": []}"#, &["secrets"]),
            (
                r#"{"slug": "gamma", "cluster_group": "default", "secrets": [{"sub_id": 0}, {"sub_id": 0}]}"#,
                &["secrets[1].sub_id"],
            ),
            (
                r#"{"slug": "gamma", "cluster_group": "default", "secrets": [{"sub_id": "0"}]}"#,
                &["secrets[0].sub_id"],
            ),
            (
                r#"{"slug": "gamma", "cluster_group": "default", "secrets": [{"sub_id": 0, "secret": ""}]}"#,
                &["secrets[0].secret"],
            ),
            (
                r#"{"slug": "gamma", "cluster_group": "default", "domains": ["a.b", "a.b"]}"#,
                &["domains[1]"],
            ),
            (
                r#"{"slug": "gamma", "cluster_group": "default", "required_tags": ["a,b"]}"#,
                &["required_tags[0]"],
            ),
            (
                r#"{"slug": "gamma", "cluster_group": "default", "limits": {"meetings": -1}}"#,
                &["limits.meetings"],
            ),
        ],
    ),
    plain("GET /tenants/{slug}", SeeOwn, "/tenants/acme", 200),
    with(
        "PATCH /tenants/{slug}",
        "/tenants/beta",
        r#"{"name": "Beta", "params": {"create": [{"name": "record", "mode": "override", "value": "false"}]}}"#,
        200,
        &[
            (r#"{"limits": {"meetings": "many"}}"#, &["limits.meetings"]),
            (r#"{"domains": ["https://x"]}"#, &["domains[0]"]),
            (r#"{"slug": "gamma"}"#, &["slug"]),
            (r#"{"secrets": null}"#, &["secrets"]),
        ],
    ),
    plain("GET /tenants/{slug}/rules", SeeOwn, "/tenants/acme/rules", 200),
    with(
        "PUT /tenants/{slug}/rules",
        "/tenants/beta/rules",
        r#"{"join": [{"name": "role", "mode": "block"}]}"#,
        200,
        &[
            (r#"{"create": [{"name": "a", "mode": "set"}]}"#, &["create[0].value"]),
            (r#"{"create": [{"name": "a", "mode": "odd", "value": "b"}]}"#, &["create[0].mode"]),
            (r#"{"join": {}}"#, &["join"]),
        ],
    ),
    plain("GET /tenants/{slug}/secrets", SeeOwn, "/tenants/acme/secrets", 200),
    with(
        "POST /tenants/{slug}/secrets",
        "/tenants/beta/secrets",
        r#"{"sub_id": 7}"#,
        201,
        &[
            ("{}", &["sub_id"]),
            (r#"{"sub_id": 1000}"#, &["sub_id"]),
            (r#"{"sub_id": -1}"#, &["sub_id"]),
            (r#"{"sub_id": 8, "secret": ""}"#, &["secret"]),
            (r#"{"sub_id": 8, "limits": {"rate": 1}}"#, &["limits.rate"]),
        ],
    ),
    plain("GET /tenants/{slug}/secrets/{sub_id}", SeeOwn, "/tenants/acme/secrets/5", 200),
    with(
        "PATCH /tenants/{slug}/secrets/{sub_id}",
        "/tenants/beta/secrets/7",
        r#"{"limits": {"meetings": 2}}"#,
        200,
        &[
            (r#"{"secret": null}"#, &["secret"]),
            (r#"{"secret": 1}"#, &["secret"]),
            (r#"{"sub_id": 8}"#, &["sub_id"]),
        ],
    ),
    Row {
        is_body_optional: true,
        ..with(
            "POST /tenants/{slug}/secrets/{sub_id}/rollover",
            "/tenants/beta/secrets/7/rollover",
            "{}",
            201,
            &[(r#"{"secret2": ""}"#, &["secret2"]), (r#"{"secret2": 1}"#, &["secret2"])],
        )
    },
    plain(
        "POST /tenants/{slug}/secrets/{sub_id}/rollover/finish",
        Change,
        "/tenants/beta/secrets/7/rollover/finish",
        200,
    ),
    plain("DELETE /tenants/{slug}/secrets/{sub_id}", Change, "/tenants/beta/secrets/7", 204),
    plain("GET /tenants/{slug}/branding", SeeOwn, "/tenants/acme/branding", 200),
    Row {
        body: Body::Raw("text/css", "body { color: #123 }"),
        ..plain("PUT /tenants/{slug}/branding/{part}", Change, "/tenants/beta/branding/css", 200)
    },
    plain("GET /tenants/{slug}/branding/{part}", See, "/tenants/painted/branding/logo", 200),
    plain("DELETE /tenants/{slug}/branding/{part}", Change, "/tenants/beta/branding/css", 200),
    plain("DELETE /tenants/{slug}", Change, "/tenants/beta", 204),
    plain("DELETE /cluster-groups/{name}", Change, "/cluster-groups/all", 204),
    plain("DELETE /clusters/{name}", Change, "/clusters/west", 204),
    plain("GET /statistics", SeeOwnIn, "/statistics?by=hour", 200),
    plain("GET /events", SeeOwnIn, "/events?kind=meeting", 200),
    // Those there are have tests of their own, as they take a front end that does not answer.
    plain("GET /callbacks", SeeOwnIn, "/callbacks?state=dead", 200),
    plain("GET /callbacks/{id}", SeeOwnIn, "/callbacks/7", 404),
    plain("POST /callbacks/{id}/retry", Change, "/callbacks/7/retry", 404),
    plain("DELETE /callbacks/{id}", Change, "/callbacks/7", 404),
    plain("GET /tokens", AdminSees, "/tokens", 200),
    plain("DELETE /tokens/{id}", Change, "/tokens/of-nobody", 204),
    plain("GET /changes", See, "/changes?limit=2", 200),
];
