//! What operators follow over the API, and do about it: callbacks that were not told, and events.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::{KEY, Operator, token};
use crate::command_line_api::Shell;
use crate::harness::{Cluster, Config, Front, PATIENCE, Plan, Pool, Postgres, Tenant, eventually};

fn config() -> Config {
    Config::new()
        .nodes(2)
        .set("api.jwt_secret", KEY)
        .tenant(Tenant::new("acme"))
        .tenant(Tenant::new("other"))
}

/// Lets a meeting begin and end whose front end is to be told there.
async fn meeting_told(pool: &Pool, tenant: &str, id: &str, target: &str) {
    let target: String = form_urlencoded::byte_serialize(target.as_bytes()).collect();
    let tenant = pool.tenant(tenant);
    let query = format!("name=Algebra&meetingID={id}&moderatorPW=mp&meetingEndedURL={target}");
    tenant.get("create", &query).await.success();
    tenant.get("end", &format!("meetingID={id}&password=mp")).await.success();
}

async fn callbacks(operator: &Operator<'_>, query: &str) -> Vec<Value> {
    let list = operator.get(&format!("/callbacks{query}")).await;
    list["items"].as_array().expect("a list").clone()
}

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9/a-secret-path?token=a-secret-token";

/// From here on nobody may be told anything on this machine, and what waits for that is given up.
pub(crate) async fn forbid_targets(pool: &mut Pool) {
    let yaml = pool.config_yaml();
    assert!(yaml.contains("[127.0.0.0/8]"), "{yaml}");
    pool.rewrite_config(&yaml.replace("[127.0.0.0/8]", "[]"));
    pool.restart().await;
}

async fn what_was_given_up_is_seen_tried_again_and_removed(config: Config) {
    let mut pool = Pool::start(config.set("callbacks.allow_targets", "[127.0.0.0/8]")).await;
    meeting_told(&pool, "acme", "a1", NOWHERE).await;
    meeting_told(&pool, "other", "b1", NOWHERE).await;
    let admin = Operator::of(&pool, "admin").await;
    eventually("both wait", async || callbacks(&admin, "?state=pending").await.len() == 2).await;
    forbid_targets(&mut pool).await;
    let admin = Operator::of(&pool, "admin").await;
    let own = token(&pool, &["--scope", "tenant", "--tenant", "acme"]).await;
    let own = Operator { pool: &pool, token: own };
    eventually("both are given up", async || callbacks(&admin, "?state=dead").await.len() == 2)
        .await;
    let all = callbacks(&admin, "").await;
    let first = all.iter().find(|one| one["tenant"] == "acme").expect("acme's");
    assert_eq!((&first["meeting_id"], &first["kind"]), (&"a1".into(), &"meeting_ended".into()));
    assert_eq!(first["to"], "http://127.0.0.1:9");
    let attempts = first["attempts"].as_u64().expect("a number");
    assert_eq!((&first["next_attempt"], &first["is_under_way"]), (&Value::Null, &false.into()));
    assert!(first["last_error"].as_str().is_some_and(|why| !why.is_empty()), "{first}");
    assert!(!json!(all).to_string().contains("a-secret"), "{all:?}");

    // A tenant sees its own, and changes nothing.
    let id = first["id"].as_i64().expect("a number");
    let foreign = all.iter().find(|one| one["tenant"] == "other").expect("other's")["id"].clone();
    assert_eq!(&callbacks(&own, "").await[..], std::slice::from_ref(first));
    for (caller, method, path, status) in [
        (&own, Method::GET, format!("/callbacks/{foreign}"), 404),
        (&own, Method::GET, "/callbacks?tenant=other".to_owned(), 403),
        (&own, Method::POST, format!("/callbacks/{id}/retry"), 403),
        (&own, Method::DELETE, format!("/callbacks/{id}"), 403),
        (&admin, Method::GET, "/callbacks/999999".to_owned(), 404),
        (&admin, Method::GET, "/callbacks/none".to_owned(), 404),
        (&admin, Method::POST, "/callbacks/999999/retry".to_owned(), 404),
        (&admin, Method::DELETE, "/callbacks/999999".to_owned(), 404),
        (&admin, Method::GET, "/callbacks?state=lost".to_owned(), 422),
        (&admin, Method::GET, "/callbacks?cursor=eA".to_owned(), 422),
        (&admin, Method::GET, "/callbacks?limit=0".to_owned(), 422),
        (&admin, Method::GET, "/callbacks?stat=dead".to_owned(), 422),
    ] {
        let reply = caller.call(method, &path, None).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
    let page = admin.get("/callbacks?limit=1").await;
    let next = page["next"].as_str().expect("there is another page");
    let second = callbacks(&admin, &format!("?limit=1&cursor={next}")).await;
    assert_eq!([page["items"][0].clone(), second[0].clone()], all[..]);

    let path = format!("/callbacks/{id}");
    let tried = admin.call(Method::POST, &format!("{path}/retry"), None).await;
    assert_eq!(tried.status, 200, "{}", tried.body);
    eventually("it is given up again", async || {
        let one = admin.get(&path).await;
        one["state"] == "dead" && one["attempts"] == attempts + 1
    })
    .await;
    let remove = || async { admin.call(Method::DELETE, &path, None).await.status };
    let removed = tokio::join!(remove(), remove(), remove());
    let removed = [removed.0, removed.1, removed.2].map(|status| status.as_u16());
    // None is told that it is under way, which it is not.
    let are_right = removed.iter().all(|status| [204, 404].contains(status));
    assert!(removed.contains(&204) && are_right, "{removed:?}");
    assert_eq!(remove().await, 404);
    assert!(callbacks(&own, "").await.is_empty());
    let trail = admin.get("/changes").await["items"].clone();
    let trail = trail.as_array().expect("a list").iter();
    let mut actions: Vec<_> = trail.clone().map(|change| change["action"].clone()).collect();
    actions.dedup();
    assert_eq!(actions[..2], ["delete", "retry"]);
    let trail = Value::from(trail.cloned().collect::<Vec<_>>());
    assert_eq!(trail[0]["object"], format!("callback {id}"));
    assert!(!trail.to_string().contains("a-secret") && !pool.log().contains("a-secret"));
    eventually("both times are told", async || {
        let told = admin.get("/events?kind=callback.dead&tenant=acme").await;
        kinds(&told) == ["callback.dead"; 2]
    })
    .await;
}

#[tokio::test]
async fn a_callback_that_was_given_up_is_seen_tried_again_and_removed() {
    what_was_given_up_is_seen_tried_again_and_removed(config()).await;
}

#[tokio::test]
async fn a_callback_in_postgres_is_seen_tried_again_and_removed() {
    let server = Postgres::shared();
    let url = server.url(&server.create_database());
    let config = config().set("store.kind", "postgres").set("store.url", url);
    what_was_given_up_is_seen_tried_again_and_removed(config).await;
}

#[tokio::test]
async fn that_a_callback_is_dead_is_told_once_the_store_knows() {
    let server = Postgres::shared();
    let database = server.create_database();
    let url = server.url(&database);
    let config = config().set("store.kind", "postgres").set("store.url", url);
    let mut pool = Pool::start(config.set("callbacks.allow_targets", "[127.0.0.0/8]")).await;
    meeting_told(&pool, "acme", "a1", NOWHERE).await;
    let admin = Operator::of(&pool, "admin").await;
    eventually("it waits", async || callbacks(&admin, "?state=pending").await.len() == 1).await;
    server.sql(
        &database,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''full''; END';
         CREATE TRIGGER refuse BEFORE UPDATE ON deliveries FOR EACH ROW WHEN (NEW.state = 'dead')
             EXECUTE FUNCTION refuse()",
    );
    forbid_targets(&mut pool).await;
    eventually("the store does not take it", async || {
        pool.log().contains("what became of a callback cannot be written yet")
    })
    .await;
    let admin = Operator::of(&pool, "admin").await;
    let told = async || kinds(&admin.get("/events?kind=callback.dead").await).len();
    assert_eq!(told().await, 0);
    server.sql(&database, "DROP TRIGGER refuse ON deliveries");
    eventually("it is told", async || told().await == 1).await;
    assert_eq!(callbacks(&admin, "?state=dead").await.len(), 1);
}

#[tokio::test]
async fn a_callback_that_waits_is_told_when_it_is_tried() {
    let pool = Pool::start(config().set("callbacks.allow_targets", "[127.0.0.0/8]")).await;
    let front = Front::start(&[503; 4]).await;
    let admin = Operator::of(&pool, "admin").await;
    meeting_told(&pool, "acme", "a1", &front.url("/over")).await;
    let waits = async || callbacks(&admin, "?state=pending&tenant=acme").await.pop();
    eventually("its pauses grow", async || {
        waits().await.is_some_and(|one| one["attempts"].as_u64() >= Some(4))
    })
    .await;
    let one = waits().await.expect("it waits");
    assert!(one["next_attempt"].is_string() && one["given_up"].is_null(), "{one}");
    let tried = admin.call(Method::POST, &format!("/callbacks/{}/retry", one["id"]), None).await;
    assert_eq!(tried.status, 200, "{}", tried.body);
    eventually("it is told", async || front.heard("/over").len() == 5).await;
    eventually("nothing waits", async || waits().await.is_none()).await;
}

/// Somebody who follows the events.
struct Follower {
    stream: TcpStream,
    heard: String,
}

impl Follower {
    async fn start(operator: &Operator<'_>, query: &str, last: Option<u64>) -> Self {
        let address = operator.pool.admin_address();
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /api/portico/v1/events{query} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
             accept: text/event-stream\r\n{last}\r\n",
            operator.token
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut follower = Self { stream, heard: String::new() };
        follower.hears(": following").await;
        assert!(follower.heard.contains("text/event-stream"), "{}", follower.heard);
        follower
    }

    /// Reads until this was heard.
    async fn hears(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        while !self.heard.contains(text) {
            let read = self.stream.read(&mut bytes);
            let read = tokio::time::timeout(PATIENCE, read).await;
            let count = read.unwrap_or_else(|_| panic!("not heard: {text}: {}", self.heard));
            let count = count.expect("bytes");
            assert!(count > 0, "it ended before {text}: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}

fn kinds(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|one| one["kind"].as_str().expect("a word").to_owned()).collect()
}

#[tokio::test]
async fn what_happens_is_listed_and_streamed_and_a_tenant_sees_its_own() {
    let pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let own = token(&pool, &["--scope", "tenant", "--tenant", "acme"]).await;
    let own = Operator { pool: &pool, token: own };
    eventually("both nodes are up", async || {
        kinds(&admin.get("/events?kind=node.health").await).len() == 2
    })
    .await;
    let before = admin.get("/events").await;
    let (mut all, mut of_acme) =
        (Follower::start(&admin, "", None).await, Follower::start(&own, "", None).await);
    pool.tenant("other").create("theirs").await;
    pool.tenant("acme").create("ours").await;
    of_acme.hears("event: meeting.begun").await;
    all.hears("\"meeting_id\":\"ours\"").await;
    assert!(!of_acme.heard.contains("theirs"), "{}", of_acme.heard);
    let cordon = admin.call(Method::PUT, "/nodes/node1/state", Some(json!({"state": "cordoned"})));
    assert_eq!(cordon.await.status, 200);
    let cluster = json!({"name": "west"});
    assert_eq!(admin.call(Method::POST, "/clusters", Some(cluster)).await.status, 201);
    all.hears("added cluster west").await;
    pool.tenant("acme").get("end", "meetingID=ours").await;
    of_acme.hears("event: meeting.ended").await;
    pool.node(1).set_call_fault("getMeetings", Some(portico::sim::Fault::Status(500)));
    all.hears("node node1 is down (was suspect)").await;

    // The same as a list, from where the first ended.
    let path = format!("/events?cursor={}", before["next"].as_str().expect("it goes on"));
    let after = admin.get(&path).await;
    let told = kinds(&after);
    let expected =
        ["meeting.begun", "node.state", "inventory.changed", "meeting.ended", "node.health"];
    assert!(expected.iter().all(|kind| told.iter().any(|told| told == kind)), "{told:?}");
    assert_eq!(after["lagged"], false);
    assert!(after["items"][0]["id"].as_u64() > before["items"][0]["id"].as_u64());
    // However small the pages are.
    let (mut paged, mut next) = (Vec::new(), before["next"].as_str().expect("a cursor").to_owned());
    while paged.len() < told.len() {
        let page = admin.get(&format!("/events?limit=1&cursor={next}")).await;
        paged.extend(kinds(&page));
        page["next"].as_str().expect("a cursor").clone_into(&mut next);
    }
    assert_eq!(paged[..told.len()], told[..]);
    let of_node = admin.get("/events?node=node1&kind=node.state").await;
    assert_eq!(
        (&of_node["items"][0]["before"], &of_node["items"][0]["after"]),
        (&"ready".into(), &"cordoned".into())
    );
    assert_eq!(kinds(&own.get("/events").await), ["meeting.begun", "meeting.ended"]);
    for (caller, path, status) in [
        (&own, "/events?tenant=other", 403),
        (&admin, "/events?cursor=%21", 422),
        (&admin, "/events?a=b", 422),
    ] {
        let reply = caller.call(Method::GET, path, None).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }

    // Who comes back hears what it has missed, or that nobody knows it any more.
    let last = before["items"][0]["id"].as_u64().expect("a number");
    let mut back = Follower::start(&admin, "?kind=meeting.ended", Some(last)).await;
    back.hears("event: meeting.ended").await;
    let mut stranger = Follower::start(&admin, "", Some(7)).await;
    stranger.hears("event: lagged\ndata: {\"lost\":null}").await;
}

#[tokio::test]
async fn who_follows_does_not_hold_up_a_stop_and_a_revoked_token_follows_nothing() {
    let mut pool = Pool::start(config()).await;
    let admin = Operator::of(&pool, "admin").await;
    let mut follower = Follower::start(&admin, "", None).await;
    let claims = json!({"scope": "portico:operator", "jti": "to-be-revoked"});
    let other = portico::bbb::jwt::hs384(&claims, KEY);
    let other = Operator { pool: &pool, token: other };
    let mut revoked = Follower::start(&other, "", None).await;
    assert_eq!(admin.call(Method::DELETE, "/tokens/to-be-revoked", None).await.status, 204);
    assert_eq!(other.call(Method::GET, "/events", None).await.status, 401);
    // The one that follows ends with its next heartbeat.
    revoked.hears("\r\n0\r\n\r\n").await;
    follower.hears(": still here").await;
    pool.signal("TERM");
    let stopping = tokio::time::Instant::now();
    pool.ended().await;
    assert!(stopping.elapsed().as_secs() < 15, "{:?}", stopping.elapsed());
    let mut rest = Vec::new();
    drop(follower.stream.read_to_end(&mut rest).await);
}

#[tokio::test]
async fn an_instance_that_cannot_know_the_others_says_so() {
    let server = Postgres::shared();
    let url = server.url(&server.create_database());
    for (config, all_known) in
        [(config(), true), (config().set("store.kind", "postgres").set("store.url", url), false)]
    {
        let pool = Pool::start(config).await;
        let instances = Operator::of(&pool, "admin").await.get("/instances").await;
        assert_eq!(instances["items"][0]["all_known"], all_known, "{instances}");
        let (_, _, stderr) = Shell(&pool).run("instance list").await;
        assert_eq!(stderr.contains("there may be others"), !all_known, "{stderr}");
    }
}

#[tokio::test]
async fn an_instance_tells_of_the_others() {
    let mut cluster = Plan::new(config(), 2).start().await;
    let seen = async |cluster: &Cluster, kind: &str| {
        let admin = Operator::of(cluster.instance(0), "admin").await;
        kinds(&admin.get(&format!("/events?kind={kind}")).await).len()
    };
    eventually("both are seen", async || seen(&cluster, "instance.seen").await == 2).await;
    cluster.instance_mut(1).kill9();
    eventually("one is gone", async || seen(&cluster, "instance.gone").await == 1).await;
    eventually("it is logged once", async || {
        let log = cluster.instance(0).log();
        let is_meant = |line: &&str| line.contains("instance ") && line.contains(" is gone");
        log.lines().filter(is_meant).count() == 1
    })
    .await;
}
