//! What instances tell each other ten times a second, when there is something: how many requests each has
//! counted for whom, and how many people it has sent to which node.
//!
//! It is of no worth a second later, so what is counted while we are out of touch is never told.

use std::sync::Arc;
use std::time::Duration;

use pingora::services::background::GenBackgroundService;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::background::{Work, background};
use crate::edge::Rates;
use crate::fleet::Fleet;
use crate::fleet::instances::Event;

/// So long a limit on rates may be passed by what comes to other instances.
const EVERY: Duration = Duration::from_millis(100);

/// Tells and hears until we are to stop.
pub(super) fn gossip(fleet: &Arc<Fleet>, rates: Arc<Rates>) -> GenBackgroundService<Work> {
    let fleet = fleet.clone();
    background("gossip", move |stop| {
        let (fleet, rates) = (fleet.clone(), rates.clone());
        async move { run(&fleet, &rates, stop).await }
    })
}

async fn run(fleet: &Fleet, rates: &Rates, mut stop: watch::Receiver<bool>) {
    let mut heard = fleet.instances.rates();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => tell(fleet, rates),
            counts = heard.recv() => match counts {
                Ok(counts) => rates.hear(&counts),
                // Rates are not exact.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

fn tell(fleet: &Fleet, rates: &Rates) {
    let counts = rates.take();
    let joins = |node: &Arc<crate::fleet::Node>| {
        let joins = node.live.take_untold_joins();
        (joins > 0).then(|| (node.name().clone(), joins))
    };
    let nodes: Vec<_> = fleet.snapshot().nodes().filter_map(joins).collect();
    if !fleet.instances.in_touch() {
        return;
    }
    if !counts.is_empty() {
        fleet.instances.tell(&Event::Rates { counts });
    }
    if !nodes.is_empty() {
        fleet.instances.tell(&Event::Joins { nodes });
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::bus::test_redis::Redis;
    use crate::bus::{self, Bus, Membership};
    use crate::config;
    use crate::fleet::now_ms;
    use crate::model::{AdminState, InstanceId, Secret};
    use crate::store::Embedded;
    use crate::wait::eventually;

    const CONFIGURATION: &str = "
clusters:
  - name: main
    nodes:
      - { name: node0, url: \"http://127.0.0.1:1/bigbluebutton/api\", secret: a-secret-of-a-node }
tenants: []
";

    struct Instance {
        fleet: Arc<Fleet>,
        rates: Arc<Rates>,
        _membership: Membership,
        _stop: watch::Sender<bool>,
        _dir: tempfile::TempDir,
    }

    /// As they are assembled, but for the edge that counts.
    fn start(redis: &Redis, name: &str) -> Instance {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("portico.yaml");
        std::fs::write(&file, CONFIGURATION).unwrap();
        let settings = config::load(&file, &|_| None).unwrap();
        let fleet = Arc::new(Fleet::new(settings.inventory, |_| AdminState::Ready));
        let store = Arc::new(Embedded::open(dir.path()).unwrap());
        let bus_settings = bus::Settings {
            instance: InstanceId::new(name),
            interval: Duration::from_secs(1),
            clock: now_ms,
            metrics: bus::Metrics::register(&Registry::new()).unwrap(),
        };
        let instance = bus_settings.instance.clone();
        let opened = bus::open(&Secret::new(redis.url()), bus_settings).unwrap();
        let Bus { log, news, membership, .. } = opened;
        fleet.instances.link(instance, log);
        let following = fleet.clone();
        tokio::spawn(async move { following.keep_in_step(news, store).await });
        let rates = Arc::new(Rates::new());
        let (stop, stopped) = watch::channel(false);
        let (telling, told) = (fleet.clone(), rates.clone());
        tokio::spawn(async move { run(&telling, &told, stopped).await });
        Instance { fleet, rates, _membership: membership, _stop: stop, _dir: dir }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_comes_to_one_counts_at_the_other() {
        let redis = tokio::task::spawn_blocking(Redis::start_new).await.unwrap();
        let (one, other) = (start(&redis, "a"), start(&redis, "b"));
        eventually("both are in touch", async || {
            one.fleet.instances.in_touch() && other.fleet.instances.in_touch()
        })
        .await;
        // Each counts half of it, and both see more than one of them has counted.
        let acme = "acme".parse().unwrap();
        eventually("the rate is seen everywhere", async || {
            let counts = [&one, &other].map(|instance| instance.rates.count_tenant(&acme));
            counts.iter().all(|count| *count > 1) && counts.iter().sum::<isize>() > 20
        })
        .await;
        let attendees = |instance: &Instance| {
            instance.fleet.snapshot().node("node0").map(|node| node.live.attendees())
        };
        for _ in 0..5 {
            one.fleet.snapshot().node("node0").unwrap().live.count_join();
        }
        eventually("the joins are known", async || attendees(&other) == Some(5)).await;
        assert_eq!(attendees(&one), Some(5), "what was heard is not told again");
    }
}
