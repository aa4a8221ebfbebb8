//! What the operators' API says of what is going on now, and does about it.

use http::Method;
use serde_json::{Value, json};

use crate::api::{KEY, Operator, fields, json_of, token};
use crate::harness::{Config, Front, Plan, Pool, Tenant, eventually};

fn config() -> Config {
    Config::new()
        .nodes(2)
        .set("api.jwt_secret", KEY)
        .set("callbacks.allow_targets", "[127.0.0.0/8]")
        .tenant(Tenant::new("acme"))
        .tenant(Tenant::new("other"))
}

/// One field of everything in a list.
fn each(list: &Value, field: &str) -> Vec<String> {
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn meetings_are_listed_page_by_page_and_a_tenant_sees_its_own() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let own = token(&pool, &["--scope", "tenant", "--tenant", "acme"]).await;
    let own = Operator { pool: &pool, token: own };
    // A token that was not made by us may name no tenant.
    let claims = json!({"scope": "portico:tenant", "jti": "of-nobody"});
    let nobodys = Operator { pool: &pool, token: portico::bbb::jwt::hs384(&claims, KEY) };
    for number in 0..7 {
        pool.tenant("acme").create(&format!("a-{number}")).await;
    }
    pool.tenant("other").get("create", "name=Algebra&meetingID=o-0").await.success();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/meetings?limit=3{cursor}")).await;
        seen.extend(each(&page, "meeting_id"));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    seen.sort();
    assert_eq!(seen, ["a-0", "a-1", "a-2", "a-3", "a-4", "a-5", "a-6", "o-0"]);
    let others = admin.get("/meetings?tenant=other").await;
    let other = &others["items"][0];
    assert_eq!((&other["name"], &other["tenant"]), (&"Algebra".into(), &"other".into()));
    assert_eq!((&other["state"], &other["sub_id"]), (&"running".into(), &0.into()));
    let on_nodes = ["node0", "node1"].map(async |node| {
        each(&admin.get(&format!("/meetings?node={node}")).await, "meeting_id").len()
    });
    let [one, two] = on_nodes;
    assert_eq!(one.await + two.await, 8);

    assert_eq!(each(&own.get("/meetings").await, "tenant"), ["acme"; 7]);
    let id = other["internal_id"].as_str().expect("an id");
    assert_eq!(admin.get(&format!("/meetings/{id}")).await["meeting_id"], "o-0");
    for (caller, method, path, status) in [
        (&own, Method::GET, format!("/meetings/{id}"), 404),
        (&own, Method::GET, "/meetings?tenant=other".to_owned(), 403),
        (&nobodys, Method::GET, "/meetings".to_owned(), 403),
        (&own, Method::DELETE, format!("/meetings/{id}"), 403),
        (&admin, Method::GET, "/meetings/nothing".to_owned(), 404),
        (&admin, Method::DELETE, "/meetings/nothing".to_owned(), 404),
        (&admin, Method::GET, "/meetings?limit=0".to_owned(), 422),
        (&admin, Method::GET, "/meetings?cursor=%21".to_owned(), 422),
        (&admin, Method::GET, "/meetings?running=perhaps".to_owned(), 422),
        (&admin, Method::GET, "/meetings?nod=node0".to_owned(), 422),
    ] {
        let reply = caller.call(method, &path, None).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_meeting_that_an_operator_ends_is_over_for_its_front_end() {
    let (pool, front) = (Pool::start(config()).await, Front::start(&[]).await);
    let admin = Operator::of(&pool, "admin").await;
    let acme = pool.tenant("acme");
    let query = format!("name=Algebra&meetingID=room&meetingEndedURL={}", front.encoded("/over"));
    acme.get("create", &query).await.success();
    let listed = admin.get("/meetings?running=true").await;
    let id = listed["items"][0]["internal_id"].as_str().expect("an id").to_owned();
    let ended = admin.call(Method::DELETE, &format!("/meetings/{id}"), None).await;
    assert_eq!(ended.status, 204, "{}", ended.body);
    assert_eq!(pool.node_calls("end"), 1);
    eventually("its front end is told", async || front.heard("/over").len() == 1).await;
    assert!(each(&admin.get("/meetings?running=true").await, "meeting_id").is_empty());
    // Its id is free at once.
    acme.create("room").await;
    let trail = admin.get("/changes").await;
    assert_eq!(
        (&trail["items"][0]["action"], &trail["items"][0]["before"]["meeting_id"]),
        (&"end".into(), &"room".into())
    );

    let listed = admin.get("/meetings?running=true").await;
    let running = &listed["items"][0];
    let node = running["node"].as_str().expect("a node");
    let index = usize::from(node == "node1");
    pool.node(index).set_call_fault("end", Some(portico::sim::Fault::Status(500)));
    let path = format!("/meetings/{}", running["internal_id"].as_str().expect("an id"));
    let failed = admin.call(Method::DELETE, &path, None).await;
    assert_eq!(failed.status, 502, "{}", failed.body);
    assert!(
        failed.body.contains(&format!("node {node}: it answered with status 500")),
        "{}",
        failed.body
    );
    assert_eq!(admin.get(&path).await["state"], "running");
}

/// A node of the simulation that is in no file.
pub(crate) async fn another_node() -> portico::sim::Node {
    portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node")
}

pub(crate) fn node_document(name: &str, url: &str, secret: &str) -> Value {
    json!({"name": name, "cluster": "main", "url": url, "secret": secret})
}

#[tokio::test]
async fn why_a_node_takes_no_meetings_is_told_in_words() {
    let pool = Pool::start(config().node_in(1, "spare").group("default", &["main"])).await;
    let admin = Operator::of(&pool, "admin").await;
    let reasons = async |name: &str| {
        let told = admin.get(&format!("/nodes/{name}/explanation")).await;
        let all = told["items"].as_array().expect("a list").clone();
        assert!(all.iter().all(|one| one["remedy"].as_str().is_some_and(|text| !text.is_empty())));
        all.iter().map(|one| one["reason"].as_str().expect("words").to_owned()).collect::<Vec<_>>()
    };
    assert!(reasons("node0").await.is_empty());
    assert_eq!(reasons("node1").await, ["its cluster \"spare\" is in no cluster group"]);
    let group = json!({"name": "extra", "clusters": ["spare"]});
    assert_eq!(admin.call(Method::POST, "/cluster-groups", Some(group)).await.status, 201);
    assert_eq!(
        reasons("node1").await,
        ["no tenant uses a cluster group that its cluster is in: extra"]
    );
    let tenant = json!({
        "slug": "beta", "cluster_group": "extra", "required_tags": ["sip"],
        "secrets": [{"sub_id": 0, "secret": "the-secret-of-beta-0123456789abcdefghijklmnop"}],
    });
    let added = admin.call(Method::POST, "/tenants", Some(tenant)).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert_eq!(
        reasons("node1").await,
        ["it lacks tags that every tenant that could use it requires: beta (sip)"]
    );
    let cordon = Some(json!({"state": "cordoned"}));
    assert_eq!(admin.call(Method::PUT, "/nodes/node0/state", cordon).await.status, 200);
    pool.node(0).set_fault(Some(portico::sim::Fault::Status(502)));
    eventually("it is down", async || {
        let told = reasons("node0").await;
        told.len() == 2
            && told[0] == "an operator has cordoned it: it runs what it has"
            && told[1].starts_with("it is down since 20")
            && told[1].contains("it answered with status 502; this instance (")
    })
    .await;
    let unknown = admin.call(Method::GET, "/nodes/nobody/explanation", None).await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
}

#[tokio::test]
async fn a_probe_says_what_is_wrong_and_keeps_a_node_out() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let well = json_of(&admin.call(Method::POST, "/nodes/node0/probe", None).await);
    assert_eq!(
        (&well["ok"], &well["meetings"], &well["clock_skew_seconds"]),
        (&true.into(), &0.into(), &0.into())
    );
    let node = another_node().await;
    let gone = another_node().await;
    let closed = gone.url();
    gone.stop().await;
    let html = another_node().await;
    html.set_fault(Some(portico::sim::Fault::Html));
    let https = node.url().replace("http://", "https://");
    // Longer than a name may be: no resolver asks anybody.
    let unresolved = format!("http://{}.invalid/bigbluebutton", "x".repeat(64));
    for (url, secret, said) in [
        (node.url().as_str(), "wrong", "it refuses our checksum (sha256): the secret is wrong"),
        (closed.as_str(), "x", "refused"),
        (unresolved.as_str(), "x", "cannot resolve the name of"),
        (https.as_str(), "x", "the TLS handshake failed"),
        (html.url().as_str(), "x", "there is something else than BigBlueButton at"),
    ] {
        let document = node_document("added", url, secret);
        let refused = admin.call(Method::POST, "/nodes?probe=true", Some(document)).await;
        assert_eq!(
            (refused.status.as_u16(), fields(&refused)),
            (422, vec!["url".to_owned()]),
            "{url}"
        );
        assert!(refused.body.contains(said), "{url}: {}", refused.body);
        assert!(!refused.body.contains("checksum="), "{}", refused.body);
    }
    assert_eq!(admin.call(Method::GET, "/nodes/added", None).await.status, 404);
    let document = node_document("added", &node.url(), node.secret());
    let added = admin.call(Method::POST, "/nodes?probe=true", Some(document)).await;
    assert_eq!(added.status, 201, "{}", added.body);
    let document = node_document("blind", &closed, "x");
    assert_eq!(admin.call(Method::POST, "/nodes", Some(document)).await.status, 201);
    let wrong = json_of(&admin.call(Method::POST, "/nodes/blind/probe", None).await);
    assert_eq!(wrong["ok"], false);
    let reason = wrong["problems"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("refused"), "{reason}");
    let operator = Operator::of(&pool, "operator").await;
    assert_eq!(operator.call(Method::POST, "/nodes/node0/probe", None).await.status, 403);
}

#[tokio::test]
async fn a_node_that_is_portico_itself_is_refused() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    for address in [pool.address(), pool.admin_address()] {
        let url = format!("http://localhost:{}/bigbluebutton/api", address.port());
        let refused =
            admin.call(Method::POST, "/nodes", Some(node_document("loop", &url, "x"))).await;
        assert_eq!((refused.status.as_u16(), fields(&refused)), (422, vec!["url".to_owned()]));
        assert!(refused.body.contains("leads back to Portico itself"), "{}", refused.body);
    }
    let node = another_node().await;
    let document = node_document("added", &node.url(), node.secret());
    assert_eq!(admin.call(Method::POST, "/nodes", Some(document)).await.status, 201);
    let url = format!("http://{}/bigbluebutton/api", pool.address());
    let moved = admin.call(Method::PATCH, "/nodes/added", Some(json!({"url": url}))).await;
    assert_eq!((moved.status.as_u16(), fields(&moved)), (422, vec!["url".to_owned()]));
}

#[tokio::test]
async fn a_node_with_meetings_goes_only_by_force_which_says_what_it_has_ended() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let node = another_node().await;
    let document = node_document("added", &node.url(), node.secret());
    assert_eq!(admin.call(Method::POST, "/nodes?probe=true", Some(document)).await.status, 201);
    for name in ["node0", "node1"] {
        let cordon = Some(json!({"state": "cordoned"}));
        admin.call(Method::PUT, &format!("/nodes/{name}/state"), cordon).await;
    }
    eventually("it takes meetings", async || {
        admin.get("/nodes/added/explanation").await["items"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    for id in ["algebra", "biology"] {
        pool.tenant("acme").create(id).await;
    }
    let refused = admin.call(Method::DELETE, "/nodes/added", None).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.contains("runs meetings: 2, with 0 people in them"), "{}", refused.body);
    let of_file = admin.call(Method::DELETE, "/nodes/node0?force=true", None).await;
    assert_eq!(of_file.status, 409, "{}", of_file.body);
    let removed = admin.call(Method::DELETE, "/nodes/added?force=true", None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    let removed = json_of(&removed);
    assert_eq!(removed["ended"].as_array().map(Vec::len), Some(2), "{removed}");
    assert_eq!(removed["left"], json!([]));
    assert_eq!(node.calls("end"), 2);
    assert!(each(&admin.get("/meetings?running=true").await, "meeting_id").is_empty());
    let trail = admin.get("/changes").await;
    assert_eq!(
        (&trail["items"][0]["action"], &trail["items"][1]["action"]),
        (&"force".into(), &"delete".into())
    );
}

#[tokio::test]
async fn the_room_there_is_follows_nodes_and_people() {
    let config =
        config().nodes(3).node(0, "capacity", 100).node(1, "capacity", 50).node(2, "weight", 0.5);
    let pool = Pool::start(config.node(2, "capacity", 10)).await;
    let admin = Operator::of(&pool, "admin").await;
    let told = admin.get("/capacity").await;
    assert_eq!(
        (&told["configured"]["attendees"], &told["guessed"]["free"]),
        (&155.0.into(), &155.0.into())
    );
    assert_eq!(told["measured"]["empty"], json!(["node0", "node1", "node2"]));
    for name in ["node1", "node2"] {
        let cordon = Some(json!({"state": "cordoned"}));
        admin.call(Method::PUT, &format!("/nodes/{name}/state"), cordon).await;
    }
    pool.tenant("acme").create("room").await;
    pool.node(0).add_attendees("room@acme", 60);
    for name in ["node1", "node2"] {
        let ready = Some(json!({"state": "ready"}));
        admin.call(Method::PUT, &format!("/nodes/{name}/state"), ready).await;
    }
    eventually("everybody is counted", async || {
        admin.get("/capacity").await["measured"]["attendees"] == 60
    })
    .await;
    let told = admin.get("/capacity").await;
    assert_eq!(told["guessed"]["free"], 95.0);
    // Without the first one there is room for 55.
    assert_eq!(told["guessed"]["drainable"], json!(["node1", "node2"]));
    assert_eq!((&told["measured"]["nodes"], &told["measured"]["meetings"]), (&3.into(), &1.into()));
    assert_eq!(told["measured"]["empty"], json!(["node1", "node2"]));

    let instances = admin.get("/instances").await;
    let [own] = instances["items"].as_array().expect("a list").as_slice() else {
        panic!("{instances}")
    };
    assert_eq!(
        (&own["is_self"], &own["nodes"]),
        (&true.into(), &json!(["node0", "node1", "node2"]))
    );
}

#[tokio::test]
async fn instances_are_listed_with_the_nodes_that_each_polls() {
    let cluster = Plan::new(config().set("store.key", "the-key-of-all-instances-0123456789"), 2)
        .start()
        .await;
    let admin = Operator::of(cluster.instance(0), "admin").await;
    eventually("both are there, and each node is polled by one", async || {
        let instances = admin.get("/instances").await;
        let all = instances["items"].as_array().expect("a list");
        let mut nodes: Vec<_> =
            all.iter().flat_map(|one| one["nodes"].as_array().expect("nodes").clone()).collect();
        nodes.sort_by_key(Value::to_string);
        let own = all.iter().filter(|one| one["is_self"] == true).count();
        all.len() == 2 && own == 1 && nodes == ["node0", "node1"]
    })
    .await;
}
