//! The inventory over the API: views go round, secrets are shown once, lists are filtered, and what does not go
//! together is refused with its field.

use http::Method;
use serde_json::{Value, json};

use crate::api::{KEY, Operator, fields, json_of, token};
use crate::harness::{Config, Pool, Raw, Reply, Tenant, eventually, request};

fn config() -> Config {
    Config::new().nodes(2).set("api.jwt_secret", KEY).tenant(Tenant::new("acme"))
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|item| item[key].as_str().expect("a name").to_owned()).collect()
}

#[track_caller]
fn assert_status(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.body);
}

#[tokio::test]
async fn a_view_that_is_edited_and_sent_back_is_taken() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    for (collection, name, document) in [
        ("clusters", "west", json!({"name": "west"})),
        ("cluster-groups", "wide", json!({"name": "wide", "clusters": ["main", "west"]})),
        (
            "nodes",
            "n1",
            json!({"name": "n1", "cluster": "west", "url": "http://192.0.2.1/bigbluebutton", "secret": "s"}),
        ),
        (
            "tenants",
            "beta",
            json!({"slug": "beta", "cluster_group": "wide", "params": {"create": [
                {"name": "record", "mode": "block"}]}}),
        ),
    ] {
        let path = format!("/{collection}/{name}");
        let added = admin.call(Method::POST, &format!("/{collection}"), Some(document)).await;
        assert_status(&added, 201);
        let mut view = admin.get(&path).await;
        let patched = admin.call(Method::PATCH, &path, Some(view.clone())).await;
        assert_status(&patched, 200);
        assert_eq!(patched.header("etag"), added.header("etag"), "{name} is as it was");
        // What is read-only is never applied.
        view["origin"] = "file".into();
        view["status"] = json!({"meetings": 7});
        view["files"] = Value::Null;
        let known = ["status", "files"];
        let own: Vec<_> = known.iter().filter(|key| admin_has(collection, key)).collect();
        for key in known.iter().filter(|key| !own.contains(key)) {
            view.as_object_mut().expect("an object").remove(*key);
        }
        let patched = admin.call(Method::PATCH, &path, Some(view.clone())).await;
        assert_status(&patched, 200);
        assert_eq!(patched.header("etag"), added.header("etag"), "{name} is as it was");
        let read = admin.get(&path).await;
        assert_eq!(read["origin"], "api");
        // As a template of another one.
        let key = if collection == "tenants" { "slug" } else { "name" };
        view[key] = "copy".into();
        if collection == "nodes" {
            view["url"] = "http://192.0.2.2/bigbluebutton".into();
            view["secret"] = "t".into();
        }
        let copied = admin.call(Method::POST, &format!("/{collection}"), Some(view)).await;
        assert_status(&copied, 201);
    }
    let rules = admin.get("/tenants/beta/rules").await;
    assert_eq!(rules, json!({"create": [{"name": "record", "mode": "block"}], "join": []}));
    let put = admin.call(Method::PUT, "/tenants/copy/rules", Some(rules.clone())).await;
    assert_status(&put, 200);
    let tag = [("if-match", put.header("etag"))];
    let again = admin.call_with(Method::PUT, "/tenants/copy/rules", Some(json!({})), &tag).await;
    assert_eq!(json_of(&again), json!({"create": [], "join": []}));
    let stale = admin.call_with(Method::PUT, "/tenants/copy/rules", Some(rules), &tag).await;
    assert_status(&stale, 412);
}

fn admin_has(collection: &str, key: &str) -> bool {
    match collection {
        "nodes" => key != "files",
        "tenants" => true,
        _ => false,
    }
}

#[tokio::test]
async fn a_secret_is_made_shown_once_and_rolled_over() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let beta = json!({"slug": "beta", "cluster_group": "default"});
    let added = admin.call(Method::POST, "/tenants", Some(beta)).await;
    assert_status(&added, 201);
    assert_eq!(added.header("cache-control"), "no-store");
    let main = json_of(&added)["secrets"][0]["secret"].as_str().expect("it is shown").to_owned();
    assert_eq!(main.len(), 64, "{main}");
    let front = |sub: &str, secret: &str| {
        pool.tenant("acme").base(&format!("/bbb/beta{sub}/bigbluebutton/api")).secret(secret)
    };
    front("", &main).create("room").await;

    let added = admin.call(Method::POST, "/tenants/beta/secrets", Some(json!({"sub_id": 5}))).await;
    assert_status(&added, 201);
    assert_eq!(
        (added.header("cache-control"), added.header("location")),
        ("no-store", "/api/portico/v1/tenants/beta/secrets/5")
    );
    let first = json_of(&added)["secret"].as_str().expect("it is shown").to_owned();
    front("-5", &first).create("lab").await;
    let twice = admin.call(Method::POST, "/tenants/beta/secrets", Some(json!({"sub_id": 5}))).await;
    assert_status(&twice, 409);
    let given = json!({"sub_id": 6, "secret": "given-0123456789-0123456789-0123456789-0123"});
    let given = admin.call(Method::POST, "/tenants/beta/secrets", Some(given)).await;
    assert_status(&given, 201);
    assert_eq!((given.header("cache-control"), given.body.contains("given-")), ("", false));

    let path = "/tenants/beta/secrets/5";
    let rolled = admin.call(Method::POST, &format!("{path}/rollover"), None).await;
    assert_status(&rolled, 201);
    assert_eq!(rolled.header("cache-control"), "no-store");
    let second = json_of(&rolled)["secret2"].as_str().expect("it is shown").to_owned();
    for value in [&first, &second] {
        assert_eq!(front("-5", value).listed().await, ["lab"]);
    }
    assert_eq!(admin.get(path).await["rolling"], true);
    let twice = admin.call(Method::POST, &format!("{path}/rollover"), None).await;
    assert_status(&twice, 409);
    let finished = admin.call(Method::POST, &format!("{path}/rollover/finish"), None).await;
    assert_status(&finished, 200);
    assert_eq!(json_of(&finished)["rolling"], false);
    assert!(!front("-5", &first).get("getMeetings", "").await.is_success());
    assert_eq!(front("-5", &second).listed().await, ["lab"]);
    let none = admin.call(Method::POST, &format!("{path}/rollover/finish"), None).await;
    assert_status(&none, 409);

    let main_one = admin.call(Method::DELETE, "/tenants/beta/secrets/0", None).await;
    assert_status(&main_one, 409);
    assert_status(&admin.call(Method::DELETE, path, None).await, 204);
    assert_status(&admin.call(Method::GET, path, None).await, 404);
    assert!(!front("-5", &second).get("getMeetings", "").await.is_success());
    let of_file = json!({"sub_id": 5});
    let of_file = admin.call(Method::POST, "/tenants/acme/secrets", Some(of_file)).await;
    assert_status(&of_file, 409);

    let listed = admin.get("/tenants/beta/secrets").await;
    let numbers: Vec<_> =
        listed["items"].as_array().expect("a list").iter().map(|one| &one["sub_id"]).collect();
    assert_eq!(numbers, [0, 6]);
    let trail = admin.get("/changes").await;
    assert_eq!(
        (&trail["items"][0]["action"], &trail["items"][0]["object"]),
        (&"delete".into(), &"secret 5 of tenant beta".into())
    );
    let seen =
        [admin.get("/tenants/beta").await, listed, trail].map(|one| one.to_string()).concat();
    for secret in [&main, &first, &second] {
        assert!(!seen.contains(secret.as_str()) && !pool.log().contains(secret.as_str()));
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let config = config().node_in(1, "spare").node(0, "tags", "[sip, big]");
    let pool = Pool::start(config.tenant(Tenant::new("other").set("domains", "[o.example]"))).await;
    let admin = Operator::of(&pool, "admin").await;
    let beta = json!({"slug": "beta", "cluster_group": "spares", "domains": ["b.example"]});
    let spares = json!({"name": "spares", "clusters": ["spare"]});
    assert_status(&admin.call(Method::POST, "/cluster-groups", Some(spares)).await, 201);
    assert_status(&admin.call(Method::POST, "/tenants", Some(beta)).await, 201);
    let cordon = Some(json!({"state": "cordoned"}));
    assert_status(&admin.call(Method::PUT, "/nodes/node1/state", cordon).await, 200);
    eventually("both are up", async || {
        names(&admin.get("/nodes?health=up").await, "name") == ["node0", "node1"]
    })
    .await;
    for (query, found) in [
        ("nodes?cluster=spare", &["node1"][..]),
        ("nodes?state=cordoned", &["node1"]),
        ("nodes?state=ready&health=up&tag=sip&origin=file&cluster=main", &["node0"]),
        ("nodes?tag=big", &["node0"]),
        ("nodes?health=down", &[]),
        ("nodes?origin=api", &[]),
        ("tenants?origin=api", &["beta"]),
        ("tenants?cluster_group=default", &["acme", "other"]),
        ("tenants?domain=O.example", &["other"]),
        ("clusters?origin=file", &["main", "spare"]),
        ("cluster-groups?origin=api", &["spares"]),
    ] {
        let key = if query.starts_with("tenants") { "slug" } else { "name" };
        assert_eq!(names(&admin.get(&format!("/{query}")).await, key), found, "{query}");
    }
    let mut path = "/tenants?limit=1&cluster_group=default".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = admin.get(&path).await;
        seen.extend(names(&page, "slug"));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/tenants?limit=1&cluster_group=default&cursor={next}");
    }
    assert_eq!(seen, ["acme", "other"]);
    let all = admin.get("/changes").await;
    let first = admin.get("/changes?limit=2").await;
    let next = first["next"].as_str().expect("there is more");
    let second = admin.get(&format!("/changes?limit=2&cursor={next}")).await;
    let numbers = |page: &Value| -> Vec<Value> {
        page["items"].as_array().expect("a list").iter().map(|one| one["number"].clone()).collect()
    };
    assert_eq!([numbers(&first), numbers(&second)].concat(), numbers(&all));
    for (path, field) in [
        ("/nodes?state=odd", "state"),
        ("/nodes?health=", "health"),
        ("/nodes?cluter=main", "cluter"),
        ("/tenants?origin=none", "origin"),
        ("/tenants?limit=0", "limit"),
        ("/changes?cursor=eA", "cursor"),
        ("/changes?limit=101", "limit"),
    ] {
        let refused = admin.call(Method::GET, path, None).await;
        assert_eq!(
            (refused.status.as_u16(), fields(&refused)),
            (422, vec![field.to_owned()]),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_with_its_field() {
    let config = config().set("server.base_domain", "bbb.example");
    let taken = Tenant::new("other").set("domains", "[gamma.bbb.example, o.example]");
    let pool = Pool::start(config.tenant(taken)).await;
    let admin = Operator::of(&pool, "admin").await;
    let tenant = |slug: &str, more: Value| {
        let mut document = json!({"slug": slug, "cluster_group": "default"});
        document.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        ("/tenants", document)
    };
    let node = |name: &str, url: &str| {
        ("/nodes", json!({"name": name, "cluster": "main", "url": url, "secret": "s"}))
    };
    let own = format!("http://127.0.0.1:{}/bigbluebutton", pool.address().port());
    for ((path, document), status, field, said) in [
        (tenant("acme", json!({})), 409, None, "there is a tenant acme already"),
        (
            node("node0", "http://192.0.2.1/bigbluebutton"),
            409,
            None,
            "there is a node node0 already",
        ),
        (("/clusters", json!({"name": "main"})), 409, None, "there is a cluster main already"),
        (
            tenant("gamma", json!({})),
            422,
            Some("slug"),
            "is a domain of the tenant other; choose another slug",
        ),
        (
            tenant("beta", json!({"domains": ["acme.bbb.example"]})),
            422,
            Some("domains"),
            "already leads to the tenant acme",
        ),
        (
            tenant("beta", json!({"domains": ["O.example"]})),
            422,
            Some("domains"),
            "is that of tenant other already",
        ),
        (node("n1", &pool.node(0).url()), 422, Some("url"), "is that of node node0 already"),
        (node("n1", &own), 422, Some("url"), "leads back to Portico itself"),
        (
            node("n1", "http://other.bbb.example/bigbluebutton"),
            422,
            Some("url"),
            "leads back to Portico itself",
        ),
    ] {
        let refused = admin.call(Method::POST, path, Some(document.clone())).await;
        assert_eq!(refused.status, status, "{document}: {}", refused.body);
        assert_eq!(fields(&refused), field.map(str::to_owned).into_iter().collect::<Vec<_>>());
        assert!(refused.body.contains(said), "{document}: {}", refused.body);
    }
}

#[tokio::test]
async fn a_look_is_listed_and_read_back() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let beta = json!({"slug": "beta", "cluster_group": "default", "branding": {"logo": "https://l.example/a.png"}});
    assert_status(&admin.call(Method::POST, "/tenants", Some(beta)).await, 201);
    let css = "body { color: #123 }";
    let path = "/api/portico/v1/tenants/beta/branding/css";
    let headers = [
        ("authorization".to_owned(), format!("Bearer {}", admin.token)),
        ("content-type".to_owned(), "text/css".to_owned()),
    ];
    let put = request(pool.admin_address(), Method::PUT, "admin", path, &headers, css).await;
    assert_status(&put.expect("an answer"), 200);
    let listed = admin.get("/tenants/beta/branding").await;
    assert_eq!(names(&listed, "part"), ["logo", "css"]);
    assert_eq!(listed["items"][0]["url"], "https://l.example/a.png");
    let read = admin.call(Method::GET, "/tenants/beta/branding/css", None).await;
    assert_eq!(read.seen(), (200, css));
    assert_eq!(read.header("content-type"), "text/css;charset=utf-8");
    assert_eq!(
        read.header("etag"),
        format!("\"{}\"", listed["items"][1]["file"]["sha256"].as_str().expect("a digest"))
    );
    assert_status(&admin.call(Method::GET, "/tenants/beta/branding/logo", None).await, 404);
    assert_status(&admin.call(Method::GET, "/tenants/beta/branding/slide", None).await, 404);
    let own = token(&pool, &["--scope", "tenant", "--tenant", "acme"]).await;
    let acme = Operator { pool: &pool, token: own };
    assert_status(&acme.call(Method::GET, "/tenants/beta/branding/css", None).await, 403);
}

#[tokio::test]
async fn whoever_may_not_is_told_before_the_body_is_there() {
    let pool = Pool::start(config()).await;
    let operator = Operator::of(&pool, "operator").await;
    let mut raw = Raw::connect(pool.admin_address()).await;
    let head = format!(
        "POST /api/portico/v1/tenants HTTP/1.1\r\nhost: admin\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 500\r\n\r\n{{",
        operator.token
    );
    raw.send(head).await;
    let refused = raw.reply().await.expect("an answer");
    assert_status(&refused, 403);
    assert_eq!(refused.header("content-type"), "application/problem+json");
}
