//! What front ends are told of meetings that their node has lost.

use crate::harness::{Front, Pool, eventually};

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
