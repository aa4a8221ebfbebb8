//! Upgrades and restarts under load: no request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portico::sim::Node;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::harness::{
    Balancer, Client, Config, Plan, Pool, Reply, Steady, Tenant, Wrk, eventually,
};

/// Front ends at once.
const FRONT_ENDS: usize = 6;
/// From one request of a front end to its next, where the answer is there by then.
const PACE: Duration = Duration::from_millis(5);

/// Ended meetings stay on a node for two minutes; the simulated ones are short.
fn config() -> Config {
    let config = Config::new().nodes(3).tenant(Tenant::new("acme")).set("server.drain", "1s");
    (0..3)
        .fold(config, |config, node| config.sim(node, |node| node.minute = Duration::from_secs(2)))
}

/// Front ends that go on until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    front_ends: Vec<JoinHandle<Asked>>,
}

/// What became of the requests of one front end.
#[derive(Debug, Default)]
struct Asked {
    answered: usize,
    failed: Vec<String>,
}

impl Load {
    fn start(front_end: impl Fn() -> Steady) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let front_ends = (0..FRONT_ENDS)
            .map(|number| tokio::spawn(keep_asking(front_end(), number, stop.clone())))
            .collect();
        Self { stop, front_ends }
    }

    /// Stops it; how many requests there were.
    async fn expect_no_failure(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Asked::default();
        for front_end in self.front_ends {
            let asked = front_end.await.expect("it does not panic");
            all.answered += asked.answered;
            all.failed.extend(asked.failed);
        }
        let (answered, failed) = (all.answered, all.failed.len());
        assert!(all.failed.is_empty(), "{failed} beside {answered}:\n{}", all.failed.join("\n"));
        answered
    }
}

/// The life of a meeting, again and again.
async fn keep_asking(mut front_end: Steady, number: usize, stop: Arc<AtomicBool>) -> Asked {
    let mut asked = Asked::default();
    let mut round = 0;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::SeqCst) {
        let id = format!("room{number}-{round}");
        let calls = [
            ("create", format!("name=A+meeting&meetingID={id}")),
            ("join", format!("fullName=Ada&meetingID={id}")),
            ("getMeetingInfo", format!("meetingID={id}")),
            ("isMeetingRunning", format!("meetingID={id}")),
            ("getMeetings", String::new()),
            ("end", format!("meetingID={id}")),
        ];
        for (call, query) in calls {
            pace.tick().await;
            match front_end.get(call, &query).await {
                Ok(reply) if is_fine(call, &reply) => asked.answered += 1,
                Ok(reply) => {
                    asked.failed.push(format!("{call} {id}: {} {}", reply.status, reply.body));
                }
                Err(error) => asked.failed.push(format!("{call} {id}: {error:?}")),
            }
        }
        round += 1;
    }
    asked
}

fn is_fine(call: &str, reply: &Reply) -> bool {
    if call == "join" { reply.status == 302 } else { reply.status == 200 && reply.is_success() }
}

fn running(nodes: &[Node]) -> usize {
    let meetings = nodes.iter().flat_map(Node::meetings);
    meetings.filter(|meeting| !meeting.ended).count()
}

#[tokio::test]
async fn an_upgrade_under_load_fails_no_request() {
    let mut pool = Pool::start(config()).await;
    let load = Load::start(|| Steady::new(pool.tenant("acme")));
    let created = pool.node_calls("create");
    eventually("it is under load", async || pool.node_calls("create") > created + FRONT_ENDS).await;
    pool.signal("USR2");
    assert!(pool.ended().await.success(), "{}", pool.log());
    let created = pool.node_calls("create");
    let goes_on = async || pool.node_calls("create") > created + FRONT_ENDS;
    eventually("the new process serves", goes_on).await;
    assert!(load.expect_no_failure().await > 100);
    eventually("every meeting has ended", async || running(pool.nodes()) == 0).await;
}

#[tokio::test]
async fn two_instances_behind_a_balancer_are_restarted_under_load_and_no_request_fails() {
    let mut cluster = Plan::new(config(), 2).start().await;
    let balancer = Balancer::bind().await.start(cluster.instances()).await;
    let acme = cluster.instance(0).tenant("acme");
    let load = Load::start(|| Steady::new(acme.clone()).at(balancer.address()));
    for index in 0..2 {
        let created = cluster.node_calls("create");
        let goes_on = async || cluster.node_calls("create") > created + FRONT_ENDS;
        eventually("it is under load", goes_on).await;
        let instance = cluster.instance_mut(index);
        instance.signal("TERM");
        assert!(instance.ended().await.success(), "{}", instance.log());
        instance.restart().await;
        balancer.becomes(index, true).await;
    }
    let created = cluster.node_calls("create");
    let goes_on = async || cluster.node_calls("create") > created + FRONT_ENDS;
    eventually("both serve", goes_on).await;
    assert!(load.expect_no_failure().await > 100);
    eventually("every meeting has ended", async || running(cluster.nodes()) == 0).await;
}

/// What front ends ask about meetings that run.
async fn questions(acme: &Client) -> Vec<String> {
    let mut targets = Vec::new();
    for number in 0..10 {
        let id = format!("room{number}");
        acme.create(&id).await;
        targets.push(acme.target("join", &format!("fullName=Ada&meetingID={id}")));
        targets.push(acme.target("getMeetingInfo", &format!("meetingID={id}")));
        targets.push(acme.target("isMeetingRunning", &format!("meetingID={id}")));
    }
    targets.push(acme.target("getMeetings", ""));
    targets
}

#[tokio::test]
async fn an_upgrade_under_wrk_fails_no_request() {
    let mut pool = Pool::start(Config::new().nodes(3).tenant(Tenant::new("acme"))).await;
    let targets = questions(&pool.tenant("acme")).await;
    let load = Wrk::start(pool.address(), &targets, pool.dir());
    let begun = pool.node_calls("getMeetingInfo");
    let is_under_load = async || pool.node_calls("getMeetingInfo") > begun + 100;
    eventually("it is under load", is_under_load).await;
    pool.signal("USR2");
    assert!(pool.ended().await.success(), "{}", pool.log());
    let handed_over = pool.node_calls("getMeetingInfo");
    let goes_on = async || pool.node_calls("getMeetingInfo") > handed_over + 100;
    eventually("the new process serves", goes_on).await;
    assert!(load.expect_no_failure().await > 200);
}

#[tokio::test]
async fn restarts_behind_a_balancer_under_wrk_fail_no_request() {
    let config = Config::new().nodes(3).tenant(Tenant::new("acme")).set("server.drain", "1s");
    let mut cluster = Plan::new(config, 2).start().await;
    let balancer = Balancer::bind().await.start(cluster.instances()).await;
    let targets = questions(&cluster.instance(0).tenant("acme")).await;
    let load = Wrk::start(balancer.address(), &targets, cluster.instance(0).dir());
    for index in 0..2 {
        let begun = cluster.node_calls("getMeetingInfo");
        let is_under_load = async || cluster.node_calls("getMeetingInfo") > begun + 100;
        eventually("it is under load", is_under_load).await;
        let instance = cluster.instance_mut(index);
        instance.signal("TERM");
        assert!(instance.ended().await.success(), "{}", instance.log());
        instance.restart().await;
        balancer.becomes(index, true).await;
    }
    let begun = cluster.node_calls("getMeetingInfo");
    let goes_on = async || cluster.node_calls("getMeetingInfo") > begun + 100;
    eventually("both serve", goes_on).await;
    assert!(load.expect_no_failure().await > 200);
}
