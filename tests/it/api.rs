//! The operators' API over the wire: who may, what is refused, and that what it changes is in force.

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::edit;
use crate::harness::{Client, Config, Plan, Pool, Reply, Tenant, eventually, portico, request};

pub(crate) const KEY: &str = "a-key-that-signs-tokens-0123456789abcdef";

const SECRET: &str = "the-secret-of-beta-0123456789abcdefghijklmnop";

/// A front end of the tenant that is added.
fn front_end(pool: &Pool) -> Client {
    pool.tenant("acme").base("/bbb/beta/bigbluebutton/api").secret(SECRET)
}

pub(crate) fn config() -> Config {
    Config::new().nodes(2).set("api.jwt_secret", KEY).tenant(Tenant::new("acme"))
}

/// What somebody with a token does.
pub(crate) struct Operator<'p> {
    pub(crate) pool: &'p Pool,
    pub(crate) token: String,
}

pub(crate) async fn token(pool: &Pool, arguments: &[&str]) -> String {
    let path = pool.config_path().to_str().expect("UTF-8");
    let made = portico(&[&["token", "create", "-c", path], arguments].concat()).await;
    assert_eq!(made.code, 0, "{}", made.stderr);
    made.stdout.trim().to_owned()
}

impl<'p> Operator<'p> {
    pub(crate) async fn of(pool: &'p Pool, scope: &str) -> Self {
        Self { pool, token: token(pool, &["--scope", scope]).await }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.call_with(method, path, body, &[]).await
    }

    pub(crate) async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut all = vec![("authorization".to_owned(), format!("Bearer {}", self.token))];
        let own = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        all.extend(own);
        let body = body.map(|body| {
            all.push(("content-type".to_owned(), "application/json".to_owned()));
            body.to_string()
        });
        let path = format!("/api/portico/v1{path}");
        let address = self.pool.admin_address();
        let body = body.unwrap_or_default();
        request(address, method, "admin", &path, &all, body).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.call(Method::GET, path, None).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        json_of(&reply)
    }
}

pub(crate) fn json_of(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("no JSON: {}", reply.body))
}

/// The fields that a problem names.
pub(crate) fn fields(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.header("content-type"), "application/problem+json", "{}", reply.body);
    let errors = json_of(reply)["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["field"].as_str().unwrap_or_default().to_owned()).collect()
}

fn beta() -> Value {
    json!({
        "slug": "beta", "cluster_group": "default",
        "secrets": [{"sub_id": 0, "secret": SECRET}],
    })
}

#[tokio::test]
async fn a_tenant_that_is_added_is_served_until_it_is_removed() {
    let mut pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let added = admin.call(Method::POST, "/tenants", Some(beta())).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert_eq!(added.header("location"), "/api/portico/v1/tenants/beta");
    assert!(!added.body.contains("the-secret-of-beta"), "{}", added.body);
    assert_eq!(json_of(&added)["origin"], "api");
    front_end(&pool).create("room").await;
    let twice = admin.call(Method::POST, "/tenants", Some(beta())).await;
    assert_eq!(twice.status, 409, "{}", twice.body);

    // It outlives the process, and files that do not name it.
    let token = admin.token.clone();
    pool.restart().await;
    assert_eq!(front_end(&pool).listed().await, ["room"]);
    let admin = Operator { pool: &pool, token };
    let patched =
        admin.call(Method::PATCH, "/tenants/beta", Some(json!({"limits": {"meetings": 1}}))).await;
    assert_eq!(patched.status, 200, "{}", patched.body);
    let full = front_end(&pool).get("create", "meetingID=b&name=Bee").await;
    assert!(!full.is_success(), "{}", full.body);

    let removed = admin.call(Method::DELETE, "/tenants/beta?force=true", None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    let gone = admin.call(Method::DELETE, "/tenants/beta", None).await;
    assert_eq!(gone.status, 404, "{}", gone.body);

    let trail = admin.get("/changes").await;
    let actions: Vec<_> =
        trail["items"].as_array().expect("a list").iter().map(|one| &one["action"]).collect();
    assert_eq!(actions, ["force", "delete", "update", "create"]);
    assert!(!trail.to_string().contains("the-secret-of-beta"));
    assert!(!pool.log().contains("the-secret-of-beta"));
}

#[tokio::test]
async fn a_mistake_is_told_with_its_field_and_changes_nothing() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let with = |change: Value| {
        let mut document = beta();
        document.as_object_mut().expect("an object").extend(change.as_object().unwrap().clone());
        document
    };
    for (document, named) in [
        (with(json!({"limits": {"meetings": "many"}})), "limits.meetings"),
        (with(json!({"limit": {}})), "limit"),
        (with(json!({"slug": "beta-1"})), "slug"),
        (with(json!({"cluster_group": "west"})), "cluster_group"),
        (with(json!({"secrets": []})), "secrets"),
        (
            with(json!({"secrets": [{"sub_id": 0, "secret": {"file": "/etc/hostname"}}]})),
            "secrets[0].secret",
        ),
        (with(json!({"branding": {"logo": "/etc/hostname"}})), "branding.logo"),
        (
            with(json!({"params": {"create": [{"name": "a", "mode": "set"}]}})),
            "params.create[0].value",
        ),
    ] {
        let refused = admin.call(Method::POST, "/tenants", Some(document.clone())).await;
        assert_eq!(refused.status, 422, "{document}: {}", refused.body);
        assert_eq!(fields(&refused), [named], "{}", refused.body);
    }
    let listed = admin.get("/tenants").await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    let of_file = admin.call(Method::DELETE, "/tenants/acme", None).await;
    assert_eq!(of_file.status, 409);
    assert!(of_file.body.contains("configuration file"), "{}", of_file.body);
    let used = admin.call(Method::DELETE, "/clusters/none", None).await;
    assert_eq!(used.status, 404);
    for (body, status) in [("{", 400), ("[]", 422)] {
        let headers = [
            ("authorization".to_owned(), format!("Bearer {}", admin.token)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let path = "/api/portico/v1/tenants";
        let reply = request(pool.admin_address(), Method::POST, "admin", path, &headers, body);
        let reply = reply.await.expect("an answer");
        assert_eq!(reply.status, status, "{body}: {}", reply.body);
    }
}

#[tokio::test]
async fn of_two_who_change_the_same_the_second_is_told() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let added = admin.call(Method::POST, "/tenants", Some(beta())).await;
    let tag = added.header("etag").to_owned();
    let change = async |name: &str, tag: &str| {
        let body = Some(json!({"name": name}));
        let headers = [("if-match", tag)];
        admin.call_with(Method::PATCH, "/tenants/beta", body, &headers).await
    };
    let first = change("Ann's", &tag).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert_ne!(first.header("etag"), tag);
    let second = change("Bob's", &tag).await;
    assert_eq!(second.status, 412, "{}", second.body);
    assert_eq!(change("Bob's", first.header("etag")).await.status, 200);
    assert_eq!(admin.get("/tenants/beta").await["name"], "Bob's");
}

#[tokio::test]
async fn who_may_is_decided_by_the_scope_and_ends_with_the_token() {
    let pool = Pool::start(config()).await;
    let [admin, operator] =
        [Operator::of(&pool, "admin").await, Operator::of(&pool, "operator").await];
    let own = token(&pool, &["--scope", "tenant", "--tenant", "acme"]).await;
    let own = Operator { pool: &pool, token: own };
    let claims = json!({"scope": "portico:admin", "sub": "ann", "exp": 1});
    let expired = Operator { pool: &pool, token: portico::bbb::jwt::hs384(&claims, KEY) };
    let foreign = Operator { pool: &pool, token: format!("{}x", admin.token) };
    for (caller, path, status) in [
        (&admin, "/nodes", 200),
        (&operator, "/nodes", 200),
        (&own, "/nodes", 403),
        (&own, "/tenants/acme", 200),
        (&own, "/tenants/beta", 403),
        (&operator, "/tokens", 403),
        (&admin, "/tokens", 200),
        (&expired, "/nodes", 401),
        (&foreign, "/nodes", 401),
        (&admin, "/nothing", 404),
    ] {
        let reply = caller.call(Method::GET, path, None).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
    let refused = operator.call(Method::POST, "/tenants", Some(beta())).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let listed = admin.get("/tokens").await;
    let listed = listed["items"].as_array().expect("a list").clone();
    let operators = listed.iter().find(|token| token["scopes"][0] == "portico:operator");
    let id = operators.expect("it was used")["id"].as_str().expect("an id").to_owned();
    let revoked = admin.call(Method::DELETE, &format!("/tokens/{id}"), None).await;
    assert_eq!(revoked.status, 204, "{}", revoked.body);
    assert_eq!(operator.call(Method::GET, "/nodes", None).await.status, 401);
    for _ in 0..10 {
        foreign.call(Method::GET, "/nodes", None).await;
    }
    let limited = foreign.call(Method::GET, "/nodes", None).await;
    assert_eq!(limited.status, 429, "{}", limited.body);
    assert_eq!(admin.call(Method::GET, "/nodes", None).await.status, 200);
    assert!(!pool.log().contains(&admin.token));
}

#[tokio::test]
async fn a_node_is_added_cordoned_and_removed() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let added = portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node");
    let document = json!({
        "name": "added", "cluster": "main", "url": added.url(), "secret": added.secret(),
    });
    let reply = admin.call(Method::POST, "/nodes", Some(document)).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    eventually("it is up", async || admin.get("/nodes/added").await["status"]["health"] == "up")
        .await;
    for name in ["node0", "node1"] {
        let cordoned = admin
            .call(Method::PUT, &format!("/nodes/{name}/state"), Some(json!({"state": "cordoned"})))
            .await;
        assert_eq!(json_of(&cordoned)["state"], "cordoned", "{}", cordoned.body);
    }
    pool.tenant("acme").create("algebra").await;
    assert_eq!(added.meetings().len(), 1);
    let wrong = admin.call(Method::PUT, "/nodes/added/state", Some(json!({"state": "off"}))).await;
    assert_eq!((wrong.status.as_u16(), fields(&wrong)), (422, vec!["state".to_owned()]));
    let used = admin.call(Method::DELETE, "/nodes/added", None).await;
    assert_eq!(used.status, 409, "{}", used.body);
    pool.tenant("acme").get("end", "meetingID=algebra").await.success();
    let meetings = async || admin.get("/nodes/added").await["status"]["meetings"].clone();
    eventually("a poll has seen it", async || meetings().await == 0).await;
    // What somebody else has begun there is not cut off either.
    let there = crate::calls::at(&added);
    there.create("another").await;
    eventually("a poll has seen it", async || meetings().await == 1).await;
    let used = admin.call(Method::DELETE, "/nodes/added", None).await;
    assert_eq!(used.status, 409, "{}", used.body);
    assert!(used.body.contains("of no tenant here"), "{}", used.body);
    there.get("end", "meetingID=another").await.success();
    eventually("a poll has seen it", async || meetings().await == 0).await;
    let removed = admin.call(Method::DELETE, "/nodes/added", None).await;
    assert_eq!(removed.status, 204, "{}", removed.body);
    added.stop().await;
}

#[tokio::test]
async fn what_one_instance_is_told_all_serve_and_two_at_once_lose_nothing() {
    let config = config().set("store.key", "the-key-of-all-instances-0123456789");
    let cluster = Plan::new(config, 2).without_redis().start().await;
    let [one, two] = [cluster.instance(0), cluster.instance(1)];
    let token = token(one, &["--scope", "admin"]).await;
    let both = [one, two].map(|pool| Operator { pool, token: token.clone() });
    let added = (0..10).map(|number| {
        let admin = &both[number % 2];
        let slug = if number == 0 { "beta".to_owned() } else { format!("beta{number}") };
        let document = json!({
            "slug": slug, "cluster_group": "default", "secrets": [{"sub_id": 0, "secret": SECRET}],
        });
        async move { admin.call(Method::POST, "/tenants", Some(document)).await.status.as_u16() }
    });
    assert_eq!(join_all(added).await, [201; 10]);
    for admin in &both {
        eventually("all are there", async || {
            admin.get("/tenants?limit=1000").await["items"].as_array().map(Vec::len) == Some(11)
        })
        .await;
        front_end(admin.pool).create("room").await;
    }
    // What the file says of others takes nothing of it away, and the secrets are sealed.
    one.rewrite_config(&edit::with_tenant(&one.config_yaml(), "gamma", SECRET));
    one.signal("HUP");
    eventually("the file is in force", async || one.log().contains("read again")).await;
    assert_eq!(front_end(two).listed().await, ["room"]);
    let rows = cluster.postgres().sql(cluster.database(), "SELECT * FROM inventory");
    assert!(rows.contains("|api|") && !rows.contains(SECRET), "{rows}");
    let first = both[0].get("/tenants?limit=4").await;
    let next = first["next"].as_str().expect("there is more").to_owned();
    let second = both[1].get(&format!("/tenants?limit=100&cursor={next}")).await;
    let count = |page: &Value| page["items"].as_array().map_or(0, Vec::len);
    assert_eq!((count(&first), count(&second), &second["next"]), (4, 8, &Value::Null));
}
