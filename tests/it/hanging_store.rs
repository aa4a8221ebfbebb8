//! A store that answers nobody delays neither joins nor polls, whatever is to be done in it.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Config, Plan, Tenant, eventually};
use crate::reconcile::plant;
use crate::several::Halted;

/// What waits for nobody takes at most on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(2);
/// From one poll of a node to its next: a poll that finds a stranger asks the store for 3 s at most, and what is
/// written there is given up after 8 s.
const GAP: Duration = Duration::from_secs(6);
const ROUNDS: usize = 20;

#[tokio::test]
async fn a_database_that_hangs_delays_no_poll_and_no_join() {
    let config = Config::new().nodes(2).tenant(Tenant::new("acme"));
    let cluster = Plan::new(config, 1).without_redis().own_postgres().start().await;
    let acme = cluster.instance(0).tenant("acme");
    let rooms: Vec<_> = (0..6).map(|number| format!("room{number}")).collect();
    for id in rooms.iter().map(String::as_str).chain(["algebra"]) {
        acme.create(id).await;
    }
    let halted = Halted::new(&cluster);
    // A poll that finds it asks whose it is.
    plant(cluster.instance(0), &cluster.nodes()[0], "botany@acme").await;
    // What is over is to be forgotten there.
    for id in &rooms {
        acme.get("end", &format!("meetingID={id}")).await.success();
    }
    let polls = || cluster.nodes().iter().map(|node| node.calls("getMeetings"));
    let mut polled: Vec<_> = polls().map(|count| (count, Instant::now())).collect();
    let enough: Vec<_> = polls().map(|count| count + ROUNDS).collect();
    let (mut slowest, mut longest) = (Duration::ZERO, Duration::ZERO);
    eventually("all nodes are polled again and again", async || {
        let begun = Instant::now();
        let join = acme.get("join", "fullName=Ada&meetingID=algebra").await;
        assert_eq!(join.status, 302, "{}", join.body);
        slowest = slowest.max(begun.elapsed());
        for (count, (before, at)) in polls().zip(&mut polled) {
            longest = longest.max(at.elapsed());
            if count > *before {
                (*before, *at) = (count, Instant::now());
            }
        }
        polls().zip(&enough).all(|(count, enough)| count >= *enough)
    })
    .await;
    assert!(slowest < AT_ONCE, "{slowest:?}");
    assert!(longest < GAP, "{longest:?}");
    drop(halted);
    eventually("it is adopted", async || acme.listed().await == ["algebra", "botany"]).await;
    let saved = "SELECT string_agg(meeting_id, ' ' ORDER BY meeting_id) FROM meetings";
    let made_up =
        async || cluster.postgres().sql(cluster.database(), saved).trim() == "algebra botany";
    eventually("what is over is forgotten", made_up).await;
}
