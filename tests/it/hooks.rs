//! Webhooks: a front end's hook is told of its own meetings, whichever node they run on.

use std::time::Duration;

use futures::future::join_all;
use http::Method;
use portico::sim::Fault;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::callbacks::{is_all_delivered, target};
use crate::edit;
use crate::harness::{
    Client, Cluster, Config, Front, Heard, Plan, Pool, Tenant, assert_failed, eventually,
};

async fn pool(nodes: usize) -> Pool {
    let acme = Tenant::new("acme").sub(5);
    reachable(Config::new().nodes(nodes).tenant(acme).tenant(Tenant::new("other"))).await
}

/// A pool that nodes can reach.
pub(crate) async fn reachable(config: Config) -> Pool {
    let mut pool = Pool::start(config.set("callbacks.allow_targets", "[127.0.0.0/8]")).await;
    let own = format!("server:\n  public_url: http://{}\n", pool.address());
    pool.rewrite_config(&pool.config_yaml().replacen("server:\n", &own, 1));
    pool.restart().await;
    pool
}

/// Instances that nodes can reach, all by the address of the first.
pub(crate) async fn reachable_cluster(plan: Plan) -> Cluster {
    let mut cluster = plan.start().await;
    let own = format!("server:\n  public_url: http://{}\n", cluster.instance(0).address());
    for index in 0..cluster.instances().len() {
        let pool = cluster.instance_mut(index);
        pool.rewrite_config(&pool.config_yaml().replacen("server:\n", &own, 1));
        pool.restart().await;
    }
    cluster
}

pub(crate) async fn hook(client: &Client, front: &Front, more: &str) -> String {
    let query = format!("callbackURL={}{more}", front.encoded("/hook"));
    client.get("hooks/create", &query).await.success().text("hookID")
}

async fn nodes_have_ours(pool: &Pool, count: usize) {
    eventually("the nodes' hooks", async || {
        pool.nodes().iter().all(|node| node.hooks().len() == count)
    })
    .await;
}

/// Event and meeting of what a hook was told, after its signature was found right.
pub(crate) fn told(front: &Front, secret: &str) -> Vec<(String, String)> {
    let read = |heard: Heard| {
        let (target, sum) = heard.target.split_once("?checksum=").expect("a checksum");
        let signed = format!("{}{}{secret}", front.url(target), heard.body);
        assert_eq!(sum, hex::encode(Sha1::digest(signed)));
        let form: Vec<_> = form_urlencoded::parse(heard.body.as_bytes()).collect();
        let event: Value = serde_json::from_str(&form[1].1).expect("JSON");
        let data = &event[0]["data"];
        let meeting = &data["attributes"]["meeting"]["external-meeting-id"];
        (data["id"].as_str().expect("an id").into(), meeting.as_str().expect("an id").into())
    };
    let mut told: Vec<_> = front.heard("/hook").into_iter().map(read).collect();
    told.sort();
    told
}

#[tokio::test]
async fn two_tenants_hooks_hear_exactly_their_own_meetings_of_three_nodes() {
    let pool = pool(3).await;
    let fronts = [Front::start(&[]).await, Front::start(&[500]).await];
    let clients = [pool.tenant("acme"), pool.tenant("other")];
    for (client, front) in clients.iter().zip(&fronts) {
        hook(client, front, "").await;
    }
    nodes_have_ours(&pool, 1).await;
    for number in 0..3 {
        for client in &clients {
            client.create(&format!("room{number}")).await;
            client.get("end", &format!("meetingID=room{number}")).await.success();
        }
    }
    assert!(pool.nodes().iter().all(|node| node.calls("create") > 0), "all nodes have some");
    let mut expected: Vec<(String, String)> = Vec::new();
    for event in ["meeting-created", "meeting-ended"] {
        expected.extend((0..3).map(|number| (event.to_owned(), format!("room{number}"))));
    }
    for (client, front) in clients.iter().zip(&fronts) {
        eventually("everything is told", async || {
            let heard = front.heard("/hook");
            heard.iter().filter(|heard| heard.status == 200).count() == 6
        })
        .await;
        let mut heard = told(front, &client.secret);
        // What was answered with an error came again.
        heard.dedup();
        assert_eq!(heard, expected);
    }
}

#[tokio::test]
async fn a_node_that_is_added_later_tells_too_and_hooks_survive_a_kill() {
    let mut pool = pool(1).await;
    let (acme, front) = (pool.tenant("acme"), Front::start(&[]).await);
    let id = hook(&acme, &front, "&eventID=meeting-created").await;
    nodes_have_ours(&pool, 1).await;
    pool.kill9();
    pool.restart().await;
    let listed = acme.get("hooks/list", "").await.success();
    assert!(listed.body.contains(&format!("<hookID>{id}</hookID><callbackURL><![CDATA[")));

    let late = portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node");
    // Not yet known to be up when the inventory changes.
    late.set_call_fault("getMeetings", Some(Fault::Delay(Duration::from_secs(2))));
    let yaml = edit::with_node(&pool.config_yaml(), "late", &late.url(), late.secret());
    pool.rewrite_config(&yaml);
    pool.signal("HUP");
    eventually("the new node's hook", async || late.hooks().len() == 1).await;
    late.set_call_fault("getMeetings", None);
    // One that has forgotten it gets it again when somebody looks.
    late.forget_hooks();
    let second = Front::start(&[]).await;
    hook(&acme, &second, "&meetingID=elsewhere").await;
    eventually("it is there again", async || late.hooks().len() == 1).await;
    for number in 0..4 {
        acme.create(&format!("room{number}")).await;
    }
    assert!(!late.meetings().is_empty());
    eventually("all are told", async || front.heard("/hook").len() == 4).await;
    assert!(told(&front, &acme.secret).iter().all(|(event, _)| event == "meeting-created"));
    assert_eq!(second.heard("/hook").len(), 0);
}

#[tokio::test]
async fn while_a_node_is_waited_for_the_others_are_left_alone() {
    let pool = pool(1).await;
    let (acme, front) = (pool.tenant("acme"), Front::start(&[]).await);
    hook(&acme, &front, "").await;
    nodes_have_ours(&pool, 1).await;
    let late = portico::sim::Node::start(portico::sim::Settings::default()).await.expect("a node");
    late.set_call_fault("getMeetings", Some(Fault::Delay(Duration::from_secs(4))));
    let yaml = edit::with_node(&pool.config_yaml(), "late", &late.url(), late.secret());
    pool.rewrite_config(&yaml);
    let before = pool.node(0).calls("hooks/list");
    pool.signal("HUP");
    eventually("the new node's hook", async || late.hooks().len() == 1).await;
    // For the change of the inventory, and for nothing after it.
    let asked = pool.node(0).calls("hooks/list") - before;
    assert!(asked <= 1, "{asked}");
}

#[tokio::test]
async fn hooks_are_answered_as_by_bbb_webhooks_and_belong_to_their_scope() {
    let pool = pool(1).await;
    let (acme, five, other) = (pool.tenant("acme"), pool.tenant("acme-5"), pool.tenant("other"));
    let front = Front::start(&[]).await;
    let id = hook(&five, &front, "&meetingID=room&getRaw=true").await;
    let again = five.get("hooks/create", &format!("callbackURL={}", front.encoded("/hook"))).await;
    let known = format!(
        "<response><returncode>SUCCESS</returncode><hookID>{id}</hookID>\
         <messageKey>duplicateWarning</messageKey>\
         <message>There is already a hook for this callback URL.</message></response>"
    );
    assert_eq!(again.body, known);
    let own = format!(
        "<response><returncode>SUCCESS</returncode><hooks><hook><hookID>{id}</hookID>\
         <callbackURL><![CDATA[{}]]></callbackURL><meetingID><![CDATA[room]]></meetingID>\
         <permanentHook>false</permanentHook><rawData>true</rawData></hook></hooks></response>",
        front.url("/hook")
    );
    let none = "<response><returncode>SUCCESS</returncode><hooks></hooks></response>";
    assert_eq!(acme.get("hooks/list", "").await.body, own);
    assert_eq!(five.get("hooks/list", "meetingID=else").await.body, none);
    assert_eq!(other.get("hooks/list", "").await.body, none);
    let gone = |query: &str| format!("hookID={query}");
    for (client, query, key, message) in [
        (&other, gone(&id), "destroyMissingHook", "The hook informed was not found."),
        (&five, gone("x"), "destroyMissingHook", "The hook informed was not found."),
        (
            &five,
            String::new(),
            "missingParamHookID",
            "You must specify a hookID in the parameters.",
        ),
    ] {
        assert_failed(&client.get("hooks/destroy", &query).await, key, message);
    }
    for (query, key) in [
        ("", "missingParamCallbackURL"),
        ("callbackURL=ftp%3A%2F%2Fx", "createHookError"),
        ("callbackURL=http%3A%2F%2F169.254.169.254%2F", "createHookError"),
    ] {
        assert_eq!(five.get("hooks/create", query).await.key(), key, "{query}");
    }
    let removed = "<response><returncode>SUCCESS</returncode><removed>true</removed></response>";
    nodes_have_ours(&pool, 1).await;
    assert_eq!(acme.get("hooks/destroy", &gone(&id)).await.body, removed);
    nodes_have_ours(&pool, 0).await;
    // Nobody tells us anything who does not know the node's own address of us.
    for path in ["/b3lb/h/node0/00", "/b3lb/h/", "/b3lb/h/nobody/00"] {
        let reply = acme.send(http::Method::POST, path, &[], "event=[]").await;
        assert_eq!(reply.status, 404, "{path}");
    }
}

#[tokio::test]
async fn of_equal_wishes_at_once_one_becomes_a_hook_and_all_get_its_number() {
    let pool = pool(1).await;
    let (acme, front) = (pool.tenant("acme"), Front::start(&[]).await);
    let query = format!("callbackURL={}", front.encoded("/hook"));
    let replies = join_all((0..20).map(|_| acme.get("hooks/create", &query))).await;
    let ids: Vec<_> = replies.into_iter().map(|reply| reply.success()).collect();
    assert!(ids.iter().all(|reply| reply.text("hookID") == ids[0].text("hookID")), "{ids:?}");
    let made = ids.iter().filter(|reply| reply.key().is_empty()).count();
    assert_eq!(made, 1, "the others are told that it is there");
    let listed = acme.get("hooks/list", "").await.success();
    assert_eq!(listed.body.matches("<hookID>").count(), 1);
}

#[tokio::test]
async fn during_a_rollover_a_refusal_counts_only_when_both_values_were_refused() {
    let new = "the new value, which front ends are given one by one";
    let tenant = Tenant::new("acme").secret_key(0, "secret2", format!("\"{new}\""));
    let pool = reachable(Config::new().tenant(tenant)).await;
    let (acme, front) = (pool.tenant("acme"), Front::start(&[401, 200, 401, 401]).await);
    hook(&acme, &front, "").await;
    nodes_have_ours(&pool, 1).await;
    acme.create("room").await;
    eventually("the second value counts", async || front.heard("/hook").len() == 2).await;
    acme.get("end", "meetingID=room").await.success();
    eventually("neither counts", async || front.heard("/hook").len() == 4).await;
    eventually("it came across", async || is_all_delivered(&pool).await).await;
    for (heard, secret) in front.heard("/hook").iter().zip([&*acme.secret, new].iter().cycle()) {
        let (target, sum) = heard.target.split_once("?checksum=").expect("a checksum");
        let signed = format!("{}{}{secret}", front.url(target), heard.body);
        assert_eq!(sum, hex::encode(Sha1::digest(signed)));
    }
    assert_eq!(front.heard("/hook").len(), 4);
    assert!(pool.metrics().await.get("portico_callbacks_dead") < 0.5);
}

#[tokio::test]
async fn events_of_a_hook_come_in_order_though_one_is_repeated() {
    let pool = pool(1).await;
    let (acme, front) = (pool.tenant("acme"), Front::start(&[500]).await);
    hook(&acme, &front, "").await;
    nodes_have_ours(&pool, 1).await;
    acme.create("room").await;
    eventually("the first has failed", async || front.heard("/hook").len() == 1).await;
    acme.get("end", "meetingID=room").await.success();
    eventually("both are told", async || front.heard("/hook").len() == 3).await;
    let heard: Vec<_> = front.heard("/hook").iter().map(event_of).collect();
    assert_eq!(heard, ["meeting-created", "meeting-created", "meeting-ended"]);
}

fn event_of(heard: &Heard) -> String {
    let form: Vec<_> = form_urlencoded::parse(heard.body.as_bytes()).collect();
    let event: Value = serde_json::from_str(&form[1].1).expect("JSON");
    event[0]["data"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn the_end_of_a_meeting_takes_only_hooks_that_have_none_left_to_hear_of() {
    let pool = pool(1).await;
    let (acme, five) = (pool.tenant("acme"), pool.tenant("acme-5"));
    let front = Front::start(&[]).await;
    hook(&acme, &front, "&meetingID=room").await;
    hook(&five, &front, "&meetingID=room").await;
    nodes_have_ours(&pool, 1).await;
    acme.create("room").await;
    five.create("room").await;
    let count = async |client: &Client| {
        let listed = client.get("hooks/list", "").await.success();
        listed.body.matches("<hookID>").count()
    };
    five.get("end", "meetingID=room").await.success();
    eventually("the hook of the one that is over goes", async || count(&five).await == 0).await;
    assert_eq!(count(&acme).await, 1, "the main secret's own room runs");
    acme.get("end", "meetingID=room").await.success();
    eventually("the other goes with the other", async || count(&acme).await == 0).await;

    // A hook of the main secret on a room of another goes with that.
    hook(&acme, &front, "&meetingID=theirs").await;
    nodes_have_ours(&pool, 1).await;
    five.create("theirs").await;
    five.get("end", "meetingID=theirs").await.success();
    eventually("none is left", async || count(&acme).await == 0).await;
}

/// What a node's bbb-webhooks posts by hand.
async fn tell(pool: &Pool, event: &str, external: &str, internal: &str, recording: Value) -> u16 {
    let data = json!({"data": {
        "type": "event", "id": event, "event": {"ts": 1},
        "attributes": {
            "meeting": {"internal-meeting-id": internal, "external-meeting-id": external},
            "recording": recording,
        },
    }});
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("domain", "bbb")
        .append_pair("event", &format!("[{data}]"))
        .append_pair("timestamp", "7")
        .finish();
    let ours = target(&pool.node(0).hooks()[0]);
    pool.tenant("acme").send(Method::POST, &ours, &[], form).await.status.as_u16()
}

#[tokio::test]
async fn what_comes_late_of_an_earlier_session_is_told_while_the_room_runs_again() {
    let mut pool = pool(1).await;
    let (acme, front, own) =
        (pool.tenant("acme"), Front::start(&[]).await, Front::start(&[]).await);
    let first = acme.create("room").await.text("internalMeetingID");
    acme.get("end", "meetingID=room").await.success();
    let second = acme.create("room").await.text("internalMeetingID");
    hook(&acme, &front, "").await;
    hook(&acme, &own, "&meetingID=room").await;
    nodes_have_ours(&pool, 1).await;
    // So that nothing of the first is in memory.
    pool.kill9();
    pool.restart().await;
    assert_eq!(acme.listed().await, ["room"]);
    let stranger = format!("{}-1", first.split_once('-').expect("two parts").0);
    for (event, internal) in [
        ("user-left", &first),
        ("meeting-ended", &stranger),
        ("meeting-ended", &first),
        ("rap-publish-ended", &first),
        ("user-joined", &second),
    ] {
        let ours =
            "http://lb/b3lb/c/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a?u=http%3A%2F%2Ff%2F";
        let recording = json!({"metadata": {"meetingId": "room@acme", "endcallbackurl": ours}});
        assert_eq!(tell(&pool, event, "room@acme", internal, recording).await, 200);
    }
    for front in [&front, &own] {
        eventually("three are told", async || front.heard("/hook").len() == 3).await;
        let heard: Vec<_> = front.heard("/hook").iter().map(event_of).collect();
        assert_eq!(heard, ["meeting-ended", "rap-publish-ended", "user-joined"]);
        for heard in front.heard("/hook") {
            let said = form_urlencoded::parse(heard.body.as_bytes()).nth(1).expect("an event").1;
            assert!(
                said.contains("\"meetingId\":\"room\"") && said.contains("http://f/"),
                "{said}"
            );
            assert!(!said.contains("@acme") && !said.contains("/b3lb/c/"), "{said}");
        }
    }
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    assert_eq!(front.heard("/hook").len(), 3);
}

/// A digest stands in for it on the node, and only the directory knows of what.
#[tokio::test]
async fn a_meeting_with_a_long_id_is_told_of_before_and_after_it_is_in_the_directory() {
    let mut pool = pool(1).await;
    let (acme, front) = (pool.tenant("acme"), Front::start(&[]).await);
    let long = "r".repeat(255);
    let on_node = format!("sha256-{}@acme", hex::encode(Sha256::digest(&long)));
    hook(&acme, &front, "&eventID=meeting-created,rap-publish-ended").await;
    nodes_have_ours(&pool, 1).await;
    let slow = Fault::Delay(Duration::from_secs(5));
    pool.node(0).set_call_fault("create", Some(slow));
    let query = format!("name=A+room&meetingID={long}");
    let during = async {
        eventually("it is being created", async || pool.node(0).calls("create") == 1).await;
        assert_eq!(tell(&pool, "meeting-created", &on_node, "1-1", Value::Null).await, 200);
    };
    let (created, ()) = tokio::join!(acme.get("create", &query), during);
    created.success();
    let internal = pool.node(0).meetings()[0].internal_id.clone();
    eventually("its beginning is told", async || front.heard("/hook").len() == 2).await;
    acme.get("end", &format!("meetingID={long}")).await.success();
    pool.kill9();
    pool.restart().await;
    eventually("it is over", async || acme.listed().await.is_empty()).await;
    let another = format!("sha256-{}@acme", "0".repeat(64));
    for (external, internal) in [(&on_node, "1-2"), (&another, &*internal)] {
        assert_eq!(tell(&pool, "rap-publish-ended", external, internal, Value::Null).await, 200);
    }
    assert_eq!(tell(&pool, "rap-publish-ended", &on_node, &internal, Value::Null).await, 200);
    // Some time after the end a node has forgotten its name.
    for (nobodys, body) in [("1-2", json!(2)), (&*internal, json!(3))] {
        assert_eq!(tell(&pool, "rap-publish-ended", "", nobodys, body).await, 200);
    }
    eventually("its recording is told", async || front.heard("/hook").len() == 4).await;
    eventually("nothing is left", async || is_all_delivered(&pool).await).await;
    let told = told(&front, &acme.secret);
    let [created, published] = ["meeting-created", "rap-publish-ended"].map(str::to_owned);
    let expected = [created.clone(), created, published.clone(), published];
    assert_eq!(told, expected.map(|event| (event, long.clone())));
}
