//! What operators manage through the API, when instances, stores and copies do as they like.

use http::Method;
use serde_json::json;

use crate::api::{KEY, Operator, config};
use crate::harness::{Plan, Pool, eventually, request};

const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";

/// Puts a file where the API wants it.
async fn upload(admin: &Operator<'_>, path: &str) -> u16 {
    let headers = [
        ("authorization".to_owned(), format!("Bearer {}", admin.token)),
        ("content-type".to_owned(), "image/svg+xml".to_owned()),
    ];
    let path = format!("/api/portico/v1{path}");
    let address = admin.pool.admin_address();
    let reply = request(address, Method::PUT, "admin", &path, &headers, LOGO).await;
    reply.expect("an answer").status.as_u16()
}

#[tokio::test]
async fn what_is_wanted_of_a_node_holds_everywhere_also_without_redis() {
    let config = config().set("store.key", "the-key-of-all-instances-0123456789");
    let cluster = Plan::new(config, 2).without_redis().start().await;
    let [one, two] = [cluster.instance(0), cluster.instance(1)];
    let [admin, other] = [Operator::of(one, "admin").await, Operator::of(two, "admin").await];
    let state = json!({"state": "draining"});
    let put = admin.call(Method::PUT, "/nodes/node0/state", Some(state)).await;
    assert_eq!(put.status, 200, "{}", put.body);
    eventually("the other one knows", async || {
        other.get("/nodes/node0").await["state"] == "draining"
    })
    .await;
    for number in 0..4 {
        two.tenant("acme").create(&format!("room{number}")).await;
    }
    assert!(cluster.nodes()[0].meetings().is_empty());
}

#[tokio::test]
async fn a_file_of_which_there_is_no_copy_is_missed_until_it_is_there_again() {
    let mut pool = Pool::start(config()).await;
    let logo = |pool: &Pool| {
        let database = pool.dir().join("data").join("portico.db");
        rusqlite::Connection::open(database).expect("the database")
    };
    let beta = json!({"slug": "beta", "cluster_group": "default",
        "secrets": [{"sub_id": 0, "secret": "the-secret-of-beta-0123456789abcdefghijklmnop"}]});
    let admin = Operator::of(&pool, "admin").await;
    assert_eq!(admin.call(Method::POST, "/tenants", Some(beta)).await.status, 201);
    assert_eq!(upload(&admin, "/tenants/beta/branding/logo").await, 200);
    let files = admin.get("/tenants/beta").await["files"].clone();
    assert!(files["logo"]["sha256"].is_string(), "{files}");

    let token = admin.token.clone();
    pool.signal("TERM");
    pool.ended().await;
    assert_eq!(logo(&pool).execute("DELETE FROM assets", []).expect("rows"), 1);
    pool.restart().await;
    pool.says("tenant beta: there is no copy of").await;
    let admin = Operator { pool: &pool, token };
    // All else can be changed, and it is not forgotten.
    let more = json!({"limits": {"meetings": 2}});
    assert_eq!(admin.call(Method::PATCH, "/tenants/beta", Some(more)).await.status, 200);
    let missed = admin.get("/tenants/beta").await["files"]["logo"].clone();
    assert_eq!((&missed["lost"], &missed["sha256"]), (&json!(true), &files["logo"]["sha256"]));
    assert_eq!(upload(&admin, "/tenants/beta/branding/logo").await, 200);
    assert_eq!(admin.get("/tenants/beta").await["files"], files);
    let created = pool.tenant("acme").base("/bbb/beta/bigbluebutton/api");
    let created = created.secret("the-secret-of-beta-0123456789abcdefghijklmnop");
    created.create("room").await;
    let told = pool
        .nodes()
        .iter()
        .flat_map(portico::sim::Node::requests)
        .any(|request| request.query.contains("logo="));
    assert!(told, "nodes are told of the logo again");
    let trail = admin.get("/changes").await.to_string();
    assert!(trail.contains("limits") && !trail.contains(KEY), "{trail}");
}

#[tokio::test]
async fn a_key_is_replaced_and_nothing_of_the_api_is_lost() {
    let [old, new] = ["the-key-before-0123456789abcdefghij", "the-key-after-0123456789abcdefghijk"];
    let mut pool = Pool::start(config().set("store.key", old)).await;
    let admin = Operator::of(&pool, "admin").await;
    let secret = "the-secret-of-beta-0123456789abcdefghijklmnop";
    let beta = json!({"slug": "beta", "cluster_group": "default",
        "secrets": [{"sub_id": 0, "secret": secret}]});
    assert_eq!(admin.call(Method::POST, "/tenants", Some(beta)).await.status, 201);
    let yaml = pool.config_yaml();
    for key in [format!("{new}\n  former_key: {old}"), new.to_owned()] {
        pool.signal("TERM");
        pool.ended().await;
        pool.rewrite_config(&yaml.replace(old, &key));
        pool.restart().await;
        let beta = pool.tenant("acme").base("/bbb/beta/bigbluebutton/api").secret(secret);
        assert!(beta.listed().await.is_empty());
    }
    pool.signal("TERM");
    pool.ended().await;
    pool.rewrite_config(&yaml);
    pool.start_process();
    assert_eq!(pool.ended().await.code(), Some(1));
    pool.says("store.former_key").await;
}

#[tokio::test]
async fn a_group_of_different_policies_is_warned_of_once_whoever_makes_it_so() {
    let mut pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let said = |pool: &Pool, clusters: &str| {
        let has = "has clusters of different load policies:";
        pool.log().matches(&format!("cluster group \"both\" {has} {clusters};")).count()
    };
    let (first, other) = ("main (predictive), old (b3lb)", "main (predictive), old (b3scale)");
    let posted = [
        ("/clusters", json!({"name": "old", "policy": "b3lb"})),
        ("/cluster-groups", json!({"name": "both", "clusters": ["main", "old"]})),
        ("/clusters", json!({"name": "apart", "policy": "b3scale"})),
    ];
    for (path, document) in posted {
        assert_eq!(admin.call(Method::POST, path, Some(document)).await.status, 201);
    }
    eventually("it is warned of", async || said(&pool, first) == 1).await;
    for policy in ["predictive", "b3scale"] {
        let patch = json!({"policy": policy});
        assert_eq!(admin.call(Method::PATCH, "/clusters/old", Some(patch)).await.status, 200);
    }
    eventually("that is another one", async || said(&pool, other) == 1).await;
    // Read again, it is the same as before; and what a file says is told with its line, as ever.
    let yaml = pool.config_yaml();
    pool.reload(&yaml).await;
    assert_eq!((said(&pool, first), said(&pool, other)), (1, 1), "{}", pool.log());
    let main = "  - name: main\n";
    let third = yaml.replace(main, &format!("{main}    policy: b3lb\n"));
    pool.reload(&third).await;
    pool.says("main (b3lb), old (b3scale)").await;
    let (clusters, groups) = ("clusters:\n", "cluster_groups:\n");
    let of_file = yaml
        .replace(clusters, &format!("{clusters}  - {{ name: new, policy: b3lb }}\n"))
        .replace(groups, &format!("{groups}  - {{ name: both, clusters: [main, new] }}\n"));
    pool.reload(&of_file).await;
    pool.says("main (predictive), new (b3lb)").await;
    // A start says it again.
    pool.reload(&yaml).await;
    let both = json!({"name": "both", "clusters": ["main", "old"]});
    assert_eq!(admin.call(Method::POST, "/cluster-groups", Some(both)).await.status, 201);
    eventually("it is so again", async || said(&pool, other) == 2).await;
    pool.restart().await;
    eventually("a start says it", async || said(&pool, other) == 3).await;
}
