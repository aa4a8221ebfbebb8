//! Keeps us in touch: looks for Redis, gives signs of life, and notices when it is gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{debug, error, info, warn};
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::tail::{Reached, Tail};
use super::target::Target;
use super::teller::Teller;
use super::trouble::Trouble;
use super::{END, INSTANCES, LOG, Settings, ask, server, value};
use crate::bus::{Living, News, Position};
use crate::chain::Chain;
use crate::model::InstanceId;
use crate::skew;

/// Signs of life without an answer, one directly after the other, after which Redis is gone. A single one
/// may have come while it copied itself.
const MAX_SILENT: u32 = 3;
/// From one look for Redis to the next; doubled each time, and a half more or less.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Clocks drift slowly.
const CLOCK_EVERY: Duration = Duration::from_mins(10);

/// See the module.
pub(super) struct Keeper {
    target: Target,
    settings: Settings,
    teller: Arc<Teller>,
    living: watch::Sender<Living>,
    is_leaving: watch::Receiver<bool>,
    has_left: watch::Sender<bool>,
    clock_compared: Option<Instant>,
    /// What the operator was warned of.
    warned: HashSet<String>,
    /// What the operator was told last about why we are out of touch.
    trouble: Option<Trouble>,
    was_in_touch: bool,
}

/// Redis' answer to a sign of life.
pub(super) struct Beat {
    now_ms: u64,
    end: Position,
    living: Vec<InstanceId>,
}

/// In touch.
pub(super) struct Session {
    commands: MultiplexedConnection,
    reading: MultiplexedConnection,
    pub(super) beat: Beat,
}

impl Keeper {
    pub(super) fn new(
        target: Target,
        settings: Settings,
        teller: Arc<Teller>,
        living: watch::Sender<Living>,
        is_leaving: watch::Receiver<bool>,
        has_left: watch::Sender<bool>,
    ) -> Self {
        Self {
            target,
            settings,
            teller,
            living,
            is_leaving,
            has_left,
            clock_compared: None,
            warned: HashSet::new(),
            trouble: None,
            was_in_touch: false,
        }
    }

    /// Runs until the membership is dropped, or nobody hears the news.
    pub(super) async fn run(mut self, news: mpsc::Sender<News>) {
        let mut dropped = self.is_leaving.clone();
        tokio::select! {
            // It never is false again.
            _ = dropped.wait_for(|_| false) => {}
            () = self.keep(Tail::new(news, self.settings.metrics.clone())) => {}
        }
    }

    async fn keep(&mut self, mut tail: Tail) {
        let mut pause = FIRST_PAUSE;
        while tail.is_heard() {
            let trouble = match self.begin().await {
                Ok(session) => {
                    pause = FIRST_PAUSE;
                    self.run_session(session, &mut tail).await
                }
                Err(trouble) => Some(trouble),
            };
            let Some(trouble) = trouble else { return };
            self.say(trouble);
            sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    pub(super) async fn begin(&mut self) -> Result<Session, Trouble> {
        let target = &self.target;
        let (mut commands, reading) = tokio::try_join!(target.connect(), target.connect())?;
        let warnings = server::look(target, &mut commands).await?;
        for warning in warnings.iter().filter(|warning| !self.warned.contains(*warning)) {
            warn!("{warning}");
        }
        self.warned = warnings.into_iter().collect();
        for script in [&self.teller.scripts.append, &self.teller.scripts.beat] {
            ask(&self.target, script.load_async(&mut commands)).await?;
        }
        self.clock_compared = None;
        let is_leaving = *self.is_leaving.borrow();
        let beat = self.beat(&mut commands, is_leaving).await?;
        Ok(Session { commands, reading, beat })
    }

    /// Returns why it has ended, or nothing when nobody hears the news any more.
    async fn run_session(&mut self, session: Session, tail: &mut Tail) -> Option<Trouble> {
        let Session { mut commands, mut reading, beat } = session;
        let end = beat.end;
        let (metrics, reached) = (self.settings.metrics.clone(), tail.reached());
        self.hear(beat);
        self.teller.commands.store(Some(Arc::new(commands.clone())));
        metrics.up.set(1);
        metrics.joins.inc();
        self.welcome();
        let teller = self.teller.clone();
        let target = self.target.clone();
        let trouble = tokio::select! {
            trouble = self.stay_alive(commands.clone(), &reached) => Some(trouble),
            trouble = tail.follow(&target, &teller, &mut reading, end) => trouble,
        };
        self.be_alone();
        tail.away();
        if trouble.is_none() {
            // Whoever is not told what others do must not be relied on. Unheard, we are dead to them soon.
            drop(self.beat(&mut commands, true).await);
        }
        trouble
    }

    /// Out of touch: whatever has to be done, we do it.
    fn be_alone(&self) {
        let metrics = &self.settings.metrics;
        self.teller.commands.store(None);
        metrics.up.set(0);
        metrics.lag.set(0);
        metrics.instances.set(1);
        self.living.send_replace(Living::alone(self.settings.instance.clone()));
    }

    /// Gives signs of life until there is trouble.
    async fn stay_alive(
        &mut self,
        mut commands: MultiplexedConnection,
        reached: &Reached,
    ) -> Trouble {
        let (period, mut silent) = (self.settings.period(), 0);
        let teller = self.teller.clone();
        let mut is_leaving = self.is_leaving.clone();
        loop {
            if silent == 0 {
                tokio::select! {
                    () = sleep(period) => {}
                    () = teller.doubt.notified() => {}
                    Ok(()) = is_leaving.changed() => {}
                }
            }
            // Before it is asked: the reading goes on meanwhile.
            let reached = *reached.lock();
            let leaves = *self.is_leaving.borrow();
            match self.beat(&mut commands, leaves).await {
                Ok(beat) => {
                    silent = 0;
                    if let Some(reached) = reached {
                        if beat.end < reached {
                            teller.is_lost.store(true, Ordering::Relaxed);
                        }
                        let lag = beat.end.seq.saturating_sub(reached.seq);
                        self.settings.metrics.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
                    }
                    self.hear(beat);
                }
                Err(Trouble::Slow { .. }) if silent + 1 < MAX_SILENT => silent += 1,
                Err(trouble) => return trouble,
            }
        }
    }

    /// One sign of life, or the last.
    async fn beat(
        &self,
        commands: &mut MultiplexedConnection,
        is_leaving: bool,
    ) -> Result<Beat, Trouble> {
        self.settings.metrics.command("beat");
        let lease_ms = if is_leaving { 0 } else { self.settings.lease().as_millis() };
        let mut beating = self.teller.scripts.beat.prepare_invoke();
        beating.key(INSTANCES).key(LOG).key(END);
        beating.arg(self.settings.instance.as_str()).arg(lease_ms.to_string());
        let asked = ask(&self.target, beating.invoke_async(commands)).await;
        let answer: Value = asked.inspect_err(|_| self.settings.metrics.failure("beat"))?;
        if is_leaving {
            self.has_left.send_replace(true);
        }
        Ok(Beat::read(answer).unwrap_or_else(|| Beat {
            now_ms: (self.settings.clock)(),
            end: Position::default(),
            living: vec![self.settings.instance.clone()],
        }))
    }

    fn hear(&mut self, beat: Beat) {
        if let Some(warning) = self.compare_clocks(&beat) {
            warn!("{warning}");
        }
        let living = Living::among(self.settings.instance.clone(), beat.living);
        let count = i64::try_from(living.all().len()).unwrap_or(i64::MAX);
        self.settings.metrics.instances.set(count);
        self.living.send_if_modified(|before| {
            let is_other = *before != living;
            if is_other {
                *before = living;
            }
            is_other
        });
    }

    /// Now and then; a warning if they differ.
    pub(super) fn compare_clocks(&mut self, beat: &Beat) -> Option<String> {
        if self.clock_compared.is_some_and(|at| at.elapsed() < CLOCK_EVERY) {
            return None;
        }
        self.clock_compared = Some(Instant::now());
        let own_ms = (self.settings.clock)();
        let redis = format!("Redis at {}", self.target.place);
        skew::warning(own_ms, own_ms, beat.now_ms, &redis)
    }

    fn welcome(&mut self) {
        let others = self.living.borrow().all().len().saturating_sub(1);
        let others = match others {
            1 => "1 other instance".to_owned(),
            count => format!("{count} other instances"),
        };
        let (place, instance) = (&self.target.place, &self.settings.instance);
        let is_back = if self.was_in_touch { " is back" } else { "" };
        info!("Redis at {place}{is_back}: {instance} is in touch with {others}");
        self.was_in_touch = true;
        self.trouble = None;
    }

    /// Once, not with every look.
    fn say(&mut self, trouble: Trouble) {
        let said = Chain(&trouble).to_string();
        if self.trouble.as_ref().is_some_and(|said| said.is_like(&trouble)) {
            debug!("{said}");
            return;
        }
        let meanwhile = "each instance polls for itself until it is back";
        if trouble.is_passing() {
            warn!("{said}; {meanwhile}");
        } else {
            error!("{said}; {meanwhile}");
        }
        self.trouble = Some(trouble);
    }
}

/// However it ends: who does not know who is alive must not leave anything to others.
impl Drop for Keeper {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The panic hook has printed where.
            error!("this instance has lost touch with the others for good: restart it");
        }
        self.be_alone();
    }
}

impl Beat {
    fn read(value: Value) -> Option<Self> {
        let mut parts = value::array(value)?.into_iter();
        let now_ms = value::text(parts.next()?)?.parse().ok()?;
        let end = value::position(parts.next()?)?;
        let living = value::array(parts.next()?)?;
        let named = |name| Some(InstanceId::named(&value::text(name)?));
        Some(Self { now_ms, end, living: living.into_iter().filter_map(named).collect() })
    }
}
