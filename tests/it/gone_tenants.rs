//! Tenants and nodes that are removed while meetings run: who sees these, and who can end them.

use std::time::Duration;

use http::Method;
use portico::sim::{Fault, Node, Settings};
use serde_json::json;

use crate::api::{KEY, Operator, json_of};
use crate::edit;
use crate::harness::{Client, Config, Pool, Tenant, eventually};

const SECRET: &str = "the-secret-of-beta-the-secret-of-beta-0123456789";

fn config() -> Config {
    Config::new().nodes(1).set("api.jwt_secret", KEY).tenant(Tenant::new("acme"))
}

fn beta(pool: &Pool) -> Client {
    pool.tenant("acme").base("/bbb/beta/bigbluebutton/api").secret(SECRET)
}

#[tokio::test]
async fn meetings_of_a_tenant_that_left_the_file_are_ended_by_operators() {
    let mut pool = Pool::start(config()).await;
    let without = pool.config_yaml();
    pool.reload(&edit::with_tenant(&without, "beta", SECRET)).await;
    beta(&pool).create("room").await;
    pool.tenant("acme").create("other").await;
    pool.reload(&without).await;
    let said =
        "tenant beta is gone, and 1 meeting of it run on: `portico meeting list --tenant beta`";
    pool.says(said).await;
    let token = Operator::of(&pool, "admin").await.token;
    let times = pool.log().matches(said).count();
    pool.restart().await;
    eventually("it is said again", async || pool.log().matches(said).count() > times).await;
    assert!(!beta(&pool).get("getMeetings", "").await.is_success());

    let admin = Operator { pool: &pool, token };
    let listed = admin.get("/meetings?tenant=beta").await["items"].clone();
    assert_eq!(
        (&listed[0]["meeting_id"], &listed[0]["state"]),
        (&"room".into(), &"running".into())
    );
    let path = format!("/meetings/{}", listed[0]["internal_id"].as_str().expect("an id"));
    assert_eq!(admin.call(Method::DELETE, &path, None).await.status, 204);
    eventually("it is over", async || {
        let left = admin.get("/meetings").await["items"].clone();
        left.as_array().is_some_and(|left| left.len() == 1) && left[0]["tenant"] == "acme"
    })
    .await;
    let trail = admin.get("/changes").await["items"].clone();
    let removed = json!({
        "by": trail[1]["after"]["by"], "added": [], "changed": [], "removed": ["tenant beta"], "taken_over": [],
    });
    assert_eq!((&trail[1]["who"], &trail[1]["action"]), (&"file".into(), &"apply".into()));
    assert_eq!(trail[1]["after"], removed);
    assert_eq!(trail[2]["after"]["added"], json!(["tenant beta"]));
}

#[tokio::test]
async fn a_tenant_with_running_meetings_is_removed_by_force_only() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let document = json!({
        "slug": "beta", "cluster_group": "default", "secrets": [{"sub_id": 0, "secret": SECRET}],
    });
    assert_eq!(admin.call(Method::POST, "/tenants", Some(document.clone())).await.status, 201);
    for id in ["room1", "room2"] {
        beta(&pool).create(id).await;
    }
    pool.tenant("acme").create("other").await;
    let refused = admin.call(Method::DELETE, "/tenants/beta", None).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let detail = json_of(&refused)["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.starts_with("tenant beta has running meetings: 2, with 0 people"), "{detail}");
    assert_eq!(beta(&pool).listed().await.len(), 2);

    let of_file = admin.call(Method::DELETE, "/tenants/acme?force=true", None).await;
    assert_eq!(of_file.status, 409, "{}", of_file.body);
    assert_eq!(pool.tenant("acme").listed().await, ["other"]);
    let forced = admin.call(Method::DELETE, "/tenants/beta?force=true", None).await;
    assert_eq!(forced.status, 200, "{}", forced.body);
    let told = json_of(&forced);
    assert_eq!((told["ended"].as_array().map(Vec::len), &told["left"]), (Some(2), &json!([])));
    eventually("they are over", async || pool.nodes()[0].meetings().len() == 1).await;
    let trail = admin.get("/changes").await["items"].clone();
    assert_eq!((&trail[0]["action"], &trail[1]["action"]), (&"force".into(), &"delete".into()));

    // What the API makes, a file may take over: the trail says so.
    assert_eq!(admin.call(Method::POST, "/tenants", Some(document)).await.status, 201);
    pool.reload(&edit::with_tenant(&pool.config_yaml(), "beta", SECRET)).await;
    let trail = admin.get("/changes").await["items"].clone();
    assert_eq!(trail[0]["after"]["taken_over"], json!(["tenant beta"]));
    assert_eq!(
        (&trail[0]["who"], &trail[0]["object"]),
        (&"file".into(), &"configuration file".into())
    );
}

/// A tenant of the API.
async fn add_beta(admin: &Operator<'_>) {
    let document = json!({
        "slug": "beta", "cluster_group": "default", "secrets": [{"sub_id": 0, "secret": SECRET}],
    });
    assert_eq!(admin.call(Method::POST, "/tenants", Some(document)).await.status, 201);
}

#[tokio::test]
async fn what_is_being_created_when_its_tenant_goes_is_ended_too() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    for count in [0, 1] {
        add_beta(&admin).await;
        for number in 0..count {
            beta(&pool).create(&format!("before{number}")).await;
        }
        let node = pool.node(0);
        let asked = node.calls("create");
        node.set_call_fault("create", Some(Fault::Delay(Duration::from_secs(2))));
        let client = beta(&pool);
        let late =
            tokio::spawn(async move { client.get("create", "meetingID=late&name=Late").await });
        eventually("its node is asked", async || node.calls("create") > asked).await;
        let forced = admin.call(Method::DELETE, "/tenants/beta?force=true", None).await;
        assert_eq!(forced.status, 200, "{}", forced.body);
        let told = json_of(&forced);
        assert_eq!(told["ended"].as_array().map(Vec::len), Some(count + 1), "{told}");
        assert_eq!(told["left"], json!([]));
        assert!(late.await.expect("no panic").is_success(), "it was begun before");
        node.set_call_fault("create", None);
        eventually("all is over", async || node.meetings().is_empty()).await;
        let gone = async || admin.get("/meetings").await["items"] == json!([]);
        eventually("it is forgotten", gone).await;
    }
}

#[tokio::test]
async fn a_forced_removal_goes_on_without_whoever_asked_for_it() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    add_beta(&admin).await;
    beta(&pool).create("room").await;
    let node = pool.node(0);
    node.set_call_fault("end", Some(Fault::Delay(Duration::from_secs(2))));
    {
        let forced = admin.call(Method::DELETE, "/tenants/beta?force=true", None);
        let is_asked = eventually("its node is asked", async || node.calls("end") > 0);
        tokio::select! {
            biased;
            () = is_asked => {}
            answer = forced => panic!("too early: {}", answer.body),
        }
    }
    let trail = async || admin.get("/changes").await["items"][0].clone();
    let forced = async || trail().await["action"] == "force";
    eventually("it is in the trail", forced).await;
    assert_eq!(trail().await["before"]["ended"].as_array().map(Vec::len), Some(1));
    eventually("it is over", async || node.meetings().is_empty()).await;
}

#[tokio::test]
async fn what_is_lost_on_a_node_is_given_up_by_force() {
    let config = config().set("polling.interval", "100ms").set("polling.down_after", 1);
    let mut pool = Pool::start(config.set("polling.node_down_grace", "500ms")).await;
    let admin = Operator::of(&pool, "admin").await;
    let node = Node::start(Settings::default()).await.expect("a node");
    let document = json!({
        "name": "added", "cluster": "main", "url": node.url(), "secret": node.secret(),
    });
    assert_eq!(admin.call(Method::POST, "/nodes", Some(document)).await.status, 201);
    let health = async || admin.get("/nodes/added").await["status"]["health"].clone();
    eventually("it is up", async || health().await == "up").await;
    let cordoned = Some(json!({"state": "cordoned"}));
    assert_eq!(admin.call(Method::PUT, "/nodes/node0/state", cordoned).await.status, 200);
    pool.tenant("acme").create("room").await;
    assert_eq!(node.meetings().len(), 1);
    node.set_fault(Some(Fault::Refuse));
    let there = async || admin.get("/meetings?node=added").await["items"].clone();
    eventually("it is lost", async || there().await[0]["state"] == "lost").await;
    let used = admin.call(Method::DELETE, "/nodes/added", None).await;
    assert_eq!(used.status, 409, "{}", used.body);
    let forced = admin.call(Method::DELETE, "/nodes/added?force=true", None).await;
    assert_eq!(forced.status, 200, "{}", forced.body);
    assert_eq!(there().await, json!([]));
    let token = admin.token;
    pool.restart().await;
    let admin = Operator { pool: &pool, token };
    assert_eq!(admin.get("/meetings").await["items"], json!([]));
}

#[tokio::test]
async fn what_a_tenant_has_left_may_be_looked_for_by_anything() {
    let mut pool = Pool::start(config().set("callbacks.allow_targets", "[127.0.0.0/8]")).await;
    let without = pool.config_yaml();
    pool.reload(&edit::with_tenant(&without, "beta", SECRET)).await;
    beta(&pool).create("room").await;
    let told =
        "name=Over&meetingID=over&moderatorPW=mp&meetingEndedURL=http%3A%2F%2F127.0.0.1%3A9%2F";
    beta(&pool).get("create", told).await.success();
    beta(&pool).get("end", "meetingID=over&password=mp").await.success();
    pool.reload(&without).await;
    let admin = Operator::of(&pool, "admin").await;
    let is_listed = async |admin: &Operator<'_>, path: &str, is_some: bool| {
        eventually(path, async || {
            let items = admin.get(path).await["items"].clone();
            items.as_array().is_some_and(|items| items.is_empty() != is_some)
        })
        .await;
    };
    is_listed(&admin, "/events?tenant=beta", true).await;
    is_listed(&admin, "/events?tenant=beta&kind=node.", false).await;
    is_listed(&admin, "/events?tenant=beta&node=node0&kind=node.", false).await;
    is_listed(&admin, "/callbacks?tenant=beta", true).await;
    is_listed(&admin, "/callbacks?tenant=beta&state=dead", false).await;
    is_listed(&admin, "/meetings?tenant=beta&running=true", true).await;
    let token = admin.token.clone();
    // Whoever stops tells what it has counted.
    pool.signal("TERM");
    assert!(pool.ended().await.success());
    pool.restart().await;
    let admin = Operator { pool: &pool, token };
    is_listed(&admin, "/statistics?tenant=beta", true).await;
    is_listed(&admin, "/statistics?tenant=beta&from=9999-01-01", false).await;
    is_listed(&admin, "/statistics?tenant=beta&by=hour&to=2020-01-01", false).await;
    let csv = "/statistics?tenant=beta&from=9999-01-01";
    let csv = admin.call_with(Method::GET, csv, None, &[("accept", "text/csv")]).await;
    assert_eq!((csv.status.as_u16(), csv.body.lines().count()), (200, 1), "{}", csv.body);
    is_listed(&admin, "/callbacks?tenant=beta&state=dead", false).await;
    let room = admin.get("/meetings?tenant=beta&running=true").await["items"][0].clone();
    assert_eq!(room["meeting_id"], "room");
    is_listed(&admin, "/meetings?tenant=beta&node=node0&running=false", false).await;
    for path in
        ["/statistics?tenant=bet", "/callbacks?tenant=bet", "/meetings?tenant=bet&node=node0"]
    {
        assert_eq!(admin.call(Method::GET, path, None).await.status, 422, "{path}");
    }
    assert_eq!(admin.call(Method::GET, "/meetings?tenant=beta&node=node7", None).await.status, 422);
}
