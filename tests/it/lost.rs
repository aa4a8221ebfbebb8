//! What front ends are told of meetings that their node has lost.

use portico::sim::{Fault, Node};

use crate::callbacks::is_all_delivered;
use crate::harness::{Cluster, Front, Plan, Pool, eventually};
use crate::hooks::{hook, reachable_cluster, told};
use crate::reconcile::polled;

#[tokio::test]
async fn the_end_of_a_recorded_meeting_that_waits_for_its_nodes_word_survives_a_kill() {
    let config = crate::callbacks::config().set("polling.interval", "100ms");
    let config = config.set("polling.node_down_grace", "10s").set("polling.down_after", 100);
    let (mut pool, front) = (Pool::start(config).await, Front::start(&[]).await);
    let acme = pool.tenant("acme");
    let end = front.encoded("/end");
    let query = format!("name=A+room&meetingID=room&record=true&meta_endCallbackUrl={end}");
    acme.get("create", &query).await.success();
    pool.node(0).restart();
    eventually("it is closed", async || acme.listed().await.is_empty()).await;
    let rows = async || {
        let path = pool.dir().join("data").join("portico.db");
        let db = rusqlite::Connection::open(path).expect("the database");
        let count = "SELECT count(*) FROM meetings";
        db.query_row(count, [], |row| row.get::<_, u32>(0)).unwrap_or(1)
    };
    eventually("it is forgotten", async || rows().await == 0).await;
    assert!(front.heard("/end").is_empty(), "its node may know better");
    pool.kill9();
    pool.restart().await;
    eventually("its end is told", async || !front.heard("/end").is_empty()).await;
    let heard = front.heard("/end");
    assert_eq!(heard[0].target, "/end?recordingmarks=false&meetingID=room");
    assert_eq!(heard.len(), 1);
}

/// Instances over two nodes, which have our webhooks.
async fn two(plan: Plan) -> Cluster {
    let cluster = reachable_cluster(plan).await;
    // So that nodes are given one.
    hook(&cluster.instance(0).tenant("other"), &Front::start(&[]).await, "&meetingID=none").await;
    let has_ours = |node: &Node| node.hooks().len() == 1;
    eventually("the nodes' hooks", async || cluster.nodes().iter().all(has_ours)).await;
    cluster
}

fn plan() -> Plan {
    let config = crate::callbacks::config().nodes(2).set("polling.interval", "100ms");
    Plan::new(config.set("polling.node_down_grace", "500ms"), 2)
}

/// Waits until both list so many meetings. Without Redis a look at the hooks is also how they learn of them.
async fn all_list(cluster: &Cluster, count: usize) {
    for pool in cluster.instances() {
        let acme = pool.tenant("acme");
        eventually("it lists what there is", async || acme.listed().await.len() == count).await;
        acme.get("hooks/list", "").await.success();
    }
}

async fn nothing_waits(cluster: &Cluster) {
    for pool in cluster.instances() {
        eventually("nothing is left", async || is_all_delivered(pool).await).await;
    }
}

async fn webhooks_hear_once_that_a_node_is_gone(plan: Plan) {
    let cluster = two(plan).await;
    let [one, other] = [0, 1].map(|index| cluster.instance(index).tenant("acme"));
    let (front, strangers) = (Front::start(&[]).await, Front::start(&[]).await);
    hook(&one, &front, "&eventID=meeting-ended").await;
    hook(&cluster.instance(1).tenant("other"), &strangers, "").await;
    other.create("room").await;
    all_list(&cluster, 1).await;
    let node = cluster.instance(0).node_of("room@acme");
    node.set_fault(Some(Fault::Refuse));
    eventually("its end is told", async || !front.heard("/hook").is_empty()).await;
    all_list(&cluster, 0).await;
    let ended = [("meeting-ended".to_owned(), "room".to_owned())];
    assert_eq!(told(&front, &one.secret), ended);
    // It comes back with its node, and ends there.
    node.set_fault(None);
    all_list(&cluster, 1).await;
    eventually("its node can be asked again", async || {
        other.get("end", "meetingID=room").await.is_success()
    })
    .await;
    all_list(&cluster, 0).await;
    polled(node, 5).await;
    nothing_waits(&cluster).await;
    assert_eq!(told(&front, &one.secret), ended);
    assert!(strangers.heard("/hook").is_empty());
}

#[tokio::test]
async fn webhooks_hear_once_that_a_node_is_gone_of_two_who_see_it() {
    webhooks_hear_once_that_a_node_is_gone(plan().without_redis()).await;
}

#[tokio::test]
async fn webhooks_hear_once_that_a_node_is_gone_of_the_one_who_polls_it() {
    webhooks_hear_once_that_a_node_is_gone(plan()).await;
}

#[tokio::test]
async fn webhooks_hear_once_of_what_a_node_has_lost_and_those_of_the_meeting_go() {
    let cluster = two(plan().without_redis()).await;
    let [one, other] = [0, 1].map(|index| cluster.instance(index).tenant("acme"));
    let (front, own) = (Front::start(&[]).await, Front::start(&[]).await);
    hook(&one, &front, "&eventID=meeting-ended").await;
    hook(&one, &own, "&eventID=meeting-ended&meetingID=room").await;
    other.create("room").await;
    let node = cluster.instance(0).node_of("room@acme");
    assert_eq!(node.open_breakout_rooms("room@acme", 1).len(), 1);
    all_list(&cluster, 2).await;
    node.restart();
    all_list(&cluster, 0).await;
    polled(node, 5).await;
    for client in [&one, &other] {
        eventually("its own hook is gone", async || {
            let listed = client.get("hooks/list", "").await.success();
            listed.body.matches("<hookID>").count() == 1
        })
        .await;
    }
    eventually("both ends are told", async || front.heard("/hook").len() >= 2).await;
    nothing_waits(&cluster).await;
    let ended = ("meeting-ended".to_owned(), "room".to_owned());
    let all = told(&front, &one.secret);
    assert_eq!(all.len(), 2, "of the room and of its breakout room: {all:?}");
    assert!(all.contains(&ended), "{all:?}");
    assert_eq!(told(&own, &one.secret), [ended]);
}
