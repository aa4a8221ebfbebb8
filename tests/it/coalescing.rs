//! Equal questions at the same time are one question to the node.

use std::time::Duration;

use futures::future::join_all;
use portico::sim::Fault;
use tokio::time::Instant;

use crate::harness::{Config, Pool, Tenant, eventually};

/// Long enough for all of a crowd to arrive while the first is still waiting.
const SLOWLY: Option<Fault> = Some(Fault::Delay(Duration::from_millis(500)));

#[tokio::test]
async fn a_crowd_that_asks_the_same_asks_the_node_once() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    for call in ["getMeetingInfo", "isMeetingRunning"] {
        pool.node(0).set_call_fault(call, SLOWLY);
        let crowd = join_all((0..50).map(|_| acme.get(call, "meetingID=room"))).await;
        assert!(crowd.iter().all(|reply| reply.is_success() && reply.body == crowd[0].body));
        let asked = pool.node(0).calls(call);
        assert!((1..=2).contains(&asked), "{call} was asked {asked} times");
    }
}

#[tokio::test]
async fn an_answer_is_good_for_a_second_and_no_longer() {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    let ask = async || acme.get("getMeetingInfo", "meetingID=room").await.success();
    let begun = Instant::now();
    for _ in 0..20 {
        ask().await;
    }
    let asked = pool.node(0).calls("getMeetingInfo");
    // One for each second that this took, the first and the last of which are not whole ones.
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a short time");
    assert!(asked <= seconds + 1, "{asked} questions in {seconds} s");
    assert!(pool.node(0).add_attendees("room@acme", 3));
    eventually("the new answer", async || ask().await.text("participantCount") == "3").await;
    assert!(pool.node(0).calls("getMeetingInfo") > asked);
}

#[tokio::test]
async fn different_questions_are_not_mixed_up() {
    let config = Config::new().tenant(Tenant::new("acme")).tenant(Tenant::new("other"));
    let pool = Pool::start(config).await;
    for slug in ["acme", "other"] {
        for id in ["room-1", "room-2"] {
            let query = format!("meetingID={id}&name={slug}+{id}");
            pool.tenant(slug).get("create", &query).await.success();
        }
    }
    pool.node(0).set_call_fault("getMeetingInfo", SLOWLY);
    let pool = &pool;
    let questions = (0..40).map(|number| {
        let slug = if number % 2 == 0 { "acme" } else { "other" };
        let id = if number % 4 < 2 { "room-1" } else { "room-2" };
        async move {
            let client = pool.tenant(slug);
            let info = client.get("getMeetingInfo", &format!("meetingID={id}")).await.success();
            assert_eq!(info.text("meetingName"), format!("{slug} {id}"));
        }
    });
    join_all(questions).await;
}
