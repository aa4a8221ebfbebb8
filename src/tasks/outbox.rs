//! Delivers what nodes have called in to the front ends that asked for it, at least once, and never twice
//! unless we die between sending and writing that down.
//!
//! The queue is the store's: it survives whatever happens to us. Attempts are repeated for a day, at first
//! after a second, then after twice as long each time. No front end gets more than a few at once, and no
//! tenant either, so that those that hang do not hold up the others. While an upgrade lets two processes run, neither delivers.
//!
//! Any number of instances work on one queue: each takes what is due for a [`LEASE`] and holds on to it while it
//! is under way, so nobody else sends it meanwhile. What one held that died is due again after that time; what
//! one holds that stops is given back. Two of them get together as many places as one.

mod clients;
mod expiry;
mod listed;
mod sender;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::bus::Duties;
use crate::chain::Chain;
use crate::fleet::{Fleet, now_ms};
use crate::model::{Delivery, Settled};
use crate::node::Client;
use crate::store::{Holder, Places, Store, Taking};

use expiry::Expiry;
pub use sender::Sender;
use sender::Verdict;

/// Attempts to one front end at the same time.
const PER_ORIGIN: u32 = 2;
/// Attempts for one tenant at the same time, however many front ends it has.
const PER_TENANT: u32 = 4;
/// Attempts at the same time; each may hold some MiB of analytics.
const AT_ONCE: u32 = 32;
const PLACES: Places = Places { of_origin: PER_ORIGIN, of_tenant: PER_TENANT, all: AT_ONCE };
/// From the first attempt to the second; doubled from there on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// Until a node is asked again for a recording that it does not list yet. Most are listed within seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// Then it is dead.
const TRIED_FOR: Duration = Duration::from_hours(24);
/// The store is asked again after this time, if it cannot be read or written.
const STORE_AGAIN: Duration = Duration::from_secs(5);
/// Sooner than anybody looks for what is due, who would send it again once our lease is over.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);
/// The store wakes nobody: another instance, or a changed clock, may have made something due. A look finds that
/// nothing is by the first entry of an index.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longer than an attempt may take: the node is asked for 5 s and the front end for 10. At every look those under
/// way get another one, however long the store then takes to learn what became of them.
const LEASE: Duration = Duration::from_secs(20);
/// What is in its last moments at a stop.
const STOP_WITHIN: Duration = Duration::from_secs(12);
const LOOK_FOR_OLDEST_EVERY: Duration = Duration::from_secs(15);
const EXPIRE_EVERY: Duration = Duration::from_hours(1);

/// What is counted of deliveries.
#[derive(Clone)]
pub struct OutboxMetrics {
    attempts: IntCounterVec,
    pending: IntGauge,
    dead: IntGauge,
    in_flight: IntGauge,
    oldest: IntGauge,
}

impl OutboxMetrics {
    /// Makes the metrics known to `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let attempts = IntCounterVec::new(
            Opts::new(
                "portico_callback_deliveries_total",
                "Attempts to deliver a callback to its front end, by kind and outcome.",
            ),
            &["kind", "outcome"],
        )?;
        registry.register(Box::new(attempts.clone()))?;
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            attempts,
            pending: gauge("portico_callbacks_pending", "Callbacks that are to be delivered.")?,
            dead: gauge(
                "portico_callbacks_dead",
                "Callbacks that were given up in the last 30 days.",
            )?,
            in_flight: gauge(
                "portico_callbacks_in_flight",
                "Callbacks that are being delivered at this moment.",
            )?,
            oldest: gauge(
                "portico_callbacks_oldest_timestamp_seconds",
                "When the oldest callback came that is still to be delivered, in seconds since 1970; 0: there is none.",
            )?,
        })
    }

    /// Reads 0 when nothing would be cut off.
    pub fn in_flight(&self) -> IntGauge {
        self.in_flight.clone()
    }
}

/// See the module.
pub struct Outbox {
    /// Whose secrets sign.
    pub fleet: Arc<Fleet>,
    /// The queue.
    pub store: Arc<dyn Store>,
    /// The way to nodes.
    pub client: Client,
    /// The way to front ends.
    pub sender: Sender,
    /// Notified when something was added to the queue.
    pub wake: Arc<Notify>,
    /// What is counted.
    pub metrics: OutboxMetrics,
    /// One instance is enough to forget what is over.
    pub duties: Duties,
}

impl Outbox {
    /// Runs until `stop` turns true, and lets what is under way come to its end.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let holder = Holder::random();
        let mut attempts = JoinSet::new();
        // Old ones may be many, and what is under way must be held on to meanwhile.
        let expiry = Expiry::new(self.store.clone(), self.duties.clone());
        let mut expiring = JoinSet::new();
        let mut under_way: HashMap<Id, i64> = HashMap::new();
        let mut expire_at = Instant::now();
        let mut look_at = Instant::now();
        loop {
            let wait = if self.fleet.is_overlapping() {
                FIRST_PAUSE
            } else {
                if expire_at <= Instant::now() {
                    expire_at = Instant::now() + EXPIRE_EVERY;
                    let expiry = expiry.clone();
                    if expiring.is_empty() {
                        expiring.spawn(async move { expiry.run(now_ms()).await });
                    }
                }
                if look_at <= Instant::now() {
                    look_at = Instant::now() + LOOK_FOR_OLDEST_EVERY;
                    self.look_for_oldest().await;
                }
                self.begin_what_is_due(holder, &mut attempts, &mut under_way, &stop).await
            };
            tokio::select! {
                // An error is a sender that is gone, which also means to stop.
                () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
                Some(ended) = attempts.join_next_with_id() => {
                    // A panic is printed by its hook; its delivery is due as before, but not at once.
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(panicked) => {
                            sleep(FIRST_PAUSE).await;
                            panicked.id()
                        }
                    };
                    under_way.remove(&id);
                }
                Some(_ended) = expiring.join_next() => {}
                () = self.wake.notified() => {}
                () = sleep(wait) => {}
            }
        }
        let _stopping = self.fleet.under_way.token();
        let rest = async { while attempts.join_next().await.is_some() {} };
        if timeout(STOP_WITHIN, rest).await.is_err() {
            info!("callbacks under way were cut off; they are sent again");
            attempts.shutdown().await;
        }
        let held: Vec<_> = under_way.into_values().collect();
        if held.is_empty() {
            return;
        }
        if let Err(trouble) = self.store.give_back(&held, holder).await {
            warn!("callbacks under way cannot be given back, and wait: {}", Chain(&trouble));
        }
    }

    /// For operators, who see by it that something waits for too long.
    async fn look_for_oldest(&self) {
        match self.store.oldest_delivery().await {
            Ok(oldest_ms) => {
                let seconds = oldest_ms.unwrap_or_default() / 1000;
                self.metrics.oldest.set(i64::try_from(seconds).unwrap_or(i64::MAX));
            }
            Err(trouble) => debug!("the oldest callback is not known: {}", Chain(&trouble)),
        }
    }

    /// Begins what is due and has a place; gives how long to wait for more.
    async fn begin_what_is_due(
        self: &Arc<Self>,
        holder: Holder,
        attempts: &mut JoinSet<()>,
        under_way: &mut HashMap<Id, i64>,
        stop: &watch::Receiver<bool>,
    ) -> Duration {
        let now = now_ms();
        // Those under way are still due, and so keep their place.
        let held: Vec<_> = under_way.values().copied().collect();
        let taking = Taking { holder, lease: LEASE, under_way: &held };
        let outbox = match self.store.take_deliveries(now, PLACES, taking).await {
            Ok(outbox) => outbox,
            Err(trouble) => {
                warn!("callbacks to be delivered cannot be read: {}", Chain(&trouble));
                return STORE_AGAIN;
            }
        };
        self.metrics.pending.set(i64::try_from(outbox.pending).unwrap_or(i64::MAX));
        self.metrics.dead.set(i64::try_from(outbox.dead).unwrap_or(i64::MAX));
        for delivery in outbox.taken {
            let (id, this, stop) = (delivery.id, self.clone(), stop.clone());
            let attempt = attempts.spawn(async move { this.attempt(delivery, holder, stop).await });
            under_way.insert(attempt.id(), id);
        }
        let next = outbox.next_due_ms.map(|due| Duration::from_millis(due.saturating_sub(now)));
        next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
    }

    /// One attempt, and what became of it in the store: before that is written it is not over, or it would
    /// be repeated.
    async fn attempt(&self, delivery: Delivery, holder: Holder, stop: watch::Receiver<bool>) {
        self.metrics.in_flight.inc();
        let _counted = Counted(&self.metrics.in_flight);
        let verdict = match self.secrets_of(&delivery) {
            Some(secrets) => match self.store.payload_of(delivery.id).await {
                Ok(payload) => match self.tell(&delivery, payload, &secrets, stop).await {
                    Some(verdict) => verdict,
                    None => return,
                },
                Err(trouble) => {
                    warn!("a callback cannot be read: {}", Chain(&trouble));
                    // It stays due.
                    return sleep(STORE_AGAIN).await;
                }
            },
            None => Verdict::Failed { kind: "no_tenant", error: "its tenant is gone".to_owned() },
        };
        let kind = delivery.kind.as_str();
        self.metrics.attempts.with_label_values(&[kind, verdict.kind()]).inc();
        let now = now_ms();
        let settled = settled(&delivery, verdict, now, rand::random_range(0.8..1.2));
        let scope = &delivery.key.scope;
        match &settled {
            Settled::Delivered => {}
            Settled::Again { error, .. } | Settled::Waits { error, .. } => {
                info!("tenant {scope}: a {kind} callback is tried again later: {error}");
            }
            Settled::Dead { error } => {
                warn!("tenant {scope}: a {kind} callback was given up: {error}");
            }
        }
        let mut is_said = false;
        while let Err(trouble) =
            self.store.settle_delivery(delivery.id, holder, now, &settled).await
        {
            if !std::mem::replace(&mut is_said, true) {
                warn!("what became of a callback cannot be written yet: {}", Chain(&trouble));
            }
            sleep(SETTLE_AGAIN).await;
        }
        // Whoever is told looks for it in the store.
        if let Settled::Dead { error } = &settled {
            self.fleet.journal().callback_dead(scope, delivery.kind, error);
        }
    }

    /// Tells the front end, if it is time to. `None` if we stop before: then there may be no time left to see
    /// what becomes of it, and it stays due.
    async fn tell(
        &self,
        delivery: &Delivery,
        payload: Vec<u8>,
        secrets: &[String],
        mut stop: watch::Receiver<bool>,
    ) -> Option<Verdict> {
        let node = self.fleet.peek().node(delivery.node.as_str()).cloned();
        let (node, now) = (node.as_deref(), now_ms());
        let waits = tokio::select! {
            biased;
            waits = listed::must_wait(&self.client, node, delivery, &payload, now) => waits,
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return None,
        };
        match waits {
            Some(verdict) => Some(verdict),
            None => Some(self.sender.send(delivery, payload, secrets, now_ms()).await),
        }
    }

    /// The values of the secret as they are now; the front end knows one of them.
    fn secrets_of(&self, delivery: &Delivery) -> Option<Vec<String>> {
        let scope = &delivery.key.scope;
        let snapshot = self.fleet.peek();
        let secret = snapshot.tenant(scope.tenant.as_str())?.tenant.secret(scope.sub)?;
        Some(secret.values().map(|value| value.expose().to_owned()).collect())
    }
}

/// Takes an attempt off the count however it ends.
struct Counted<'a>(&'a IntGauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What follows from a verdict. `jitter` spreads attempts that failed together.
fn settled(delivery: &Delivery, verdict: Verdict, now_ms: u64, jitter: f64) -> Settled {
    match verdict {
        Verdict::Delivered | Verdict::Gone => Settled::Delivered,
        Verdict::Forbidden { error } => Settled::Dead { error },
        Verdict::NotListed { error } => {
            // This uses up none of the front end's attempts. What is twice as old is looked at half as often.
            let age = Duration::from_millis(now_ms.saturating_sub(delivery.received_at_ms));
            let pause = age.clamp(FIRST_PAUSE, LONGEST_WAIT);
            Settled::Waits { at_ms: now_ms.saturating_add(millis(pause.mul_f64(jitter))), error }
        }
        Verdict::Failed { error, .. } => {
            let doublings = delivery.attempts.min(20);
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
            let at_ms = now_ms.saturating_add(millis(pause.mul_f64(jitter)));
            if at_ms > delivery.received_at_ms.saturating_add(millis(TRIED_FOR)) {
                Settled::Dead { error }
            } else {
                Settled::Again { at_ms, error }
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CallbackKind, MeetingKey, Scope};

    fn delivery(attempts: u32) -> Delivery {
        Delivery {
            id: 1,
            node: crate::model::NodeName::new("bbb01"),
            kind: CallbackKind::End,
            key: MeetingKey { scope: Scope::parse("acme").unwrap(), id: "m".to_owned() },
            target: "https://front.example/".to_owned(),
            received_at_ms: 0,
            attempts,
        }
    }

    #[test]
    fn pauses_double_until_an_hour_and_end_after_a_day() {
        let (mut now_ms, mut pauses) = (0, Vec::new());
        for attempts in 0.. {
            let failed = Verdict::Failed { kind: "status", error: String::new() };
            match settled(&delivery(attempts), failed, now_ms, 1.0) {
                Settled::Again { at_ms, .. } => {
                    pauses.push((at_ms - now_ms) / 1000);
                    now_ms = at_ms;
                }
                settled => {
                    assert_eq!(settled, Settled::Dead { error: String::new() });
                    break;
                }
            }
        }
        assert_eq!(pauses[..5], [1, 2, 4, 8, 16]);
        assert_eq!(*pauses.last().unwrap(), 3600);
        assert_eq!(now_ms / 3_600_000, 23, "{pauses:?}");
        assert!(pauses.len() < 40, "{pauses:?}");
    }

    #[test]
    fn a_wait_for_a_recording_is_short_and_leaves_the_front_end_its_attempts() {
        let (mut now_ms, mut pauses) = (0, Vec::new());
        for _ in 0..7 {
            let settled = settled(&delivery(0), Verdict::not_listed(&"not yet"), now_ms, 1.0);
            let Settled::Waits { at_ms, .. } = settled else { panic!("{settled:?}") };
            pauses.push((at_ms - now_ms) / 1000);
            now_ms = at_ms;
        }
        assert_eq!(pauses, [1, 1, 2, 4, 8, 15, 15]);
        // The front end's first failure is followed by its first pause.
        let failed = Verdict::failed("status", &"status 503");
        let first = settled(&delivery(0), failed, now_ms, 1.0);
        assert!(
            matches!(first, Settled::Again { at_ms, .. } if at_ms == now_ms + 1000),
            "{first:?}"
        );
    }

    #[test]
    fn a_final_answer_is_not_asked_for_twice() {
        for verdict in [Verdict::Delivered, Verdict::Gone] {
            assert_eq!(settled(&delivery(3), verdict, 9, 1.0), Settled::Delivered);
        }
        let error = "no".to_owned();
        let forbidden = Verdict::Forbidden { error: error.clone() };
        assert_eq!(settled(&delivery(0), forbidden, 9, 1.0), Settled::Dead { error });
    }
}
