//! The one writer: everything that changes goes over one connection, in the order in which it was begun.
//!
//! What waits shares a transaction and is sent in one go, so a burst of creates costs one round trip and
//! one flush of the server's log. While the connection is lost every write fails at once, for its caller
//! decides what to do without; meanwhile the writer connects again, and no write of the lost connection
//! can take effect after those of the new one.

use std::collections::HashMap;
use std::mem::discriminant;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, poll_fn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::apply::{Query, queries};
use super::arbiter;
use super::debts::Debts;
use super::error::Trouble;
use super::outbox::locks;
use super::schema;
use super::session::{Connector, Session};
use super::target::Target;
use crate::chain::Chain;
use crate::store::op::{Change, Op};
use crate::store::{Error, Health};

/// Most changes in one transaction, so that the first of a long queue does not wait for the last.
const BATCH: usize = 256;
/// For a whole transaction. The server gives up by itself earlier, so this is a connection to nobody.
const WITHIN: Duration = Duration::from_secs(8);
/// How long to connect may take in all.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Others wait while we make up for what is owed: so long at most, and so long for a row that is locked.
const PAY_WITHIN: Duration = Duration::from_millis(500);
const PAY_LOCK: &str = "SELECT set_config('lock_timeout', '200ms', true)";
/// Between two attempts to connect: at first, and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(3);

/// How often a transaction is begun.
const ATTEMPTS: u32 = 3;

type Reply = oneshot::Sender<Result<(), Error>>;

pub(super) enum Job {
    Write(Op, Reply),
    /// Answered when everything before it is written, or has failed.
    Fence(Reply),
}

pub(super) struct Writer {
    pub(super) target: Target,
    pub(super) connector: Connector,
    pub(super) jobs: mpsc::Receiver<Job>,
    /// Meetings to be forgotten that could not be. Whenever it comes, such a change spares what came after it.
    pub(super) owed: Debts,
    pub(super) health: Health,
}

/// A connection with the statements that it knows.
struct Line {
    session: Session,
    statements: HashMap<&'static str, Statement>,
}

impl Writer {
    /// Works until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self, mut session: Session) {
        loop {
            self.health.set(true);
            let mut line = Line { session, statements: HashMap::new() };
            let Some(lost) = self.serve(&mut line).await else { return };
            self.health.set(false);
            let place = &self.target.place;
            log::error!(
                "PostgreSQL at {place} is lost: {}; new meetings are refused until it is back",
                Chain(&lost)
            );
            let Some(next) = self.connect(line.session, lost).await else { return };
            session = next;
            log::info!("PostgreSQL at {} is back", self.target.place);
        }
    }

    /// Works until the connection is lost; `None` when there is nothing left to do, ever.
    async fn serve(&mut self, line: &mut Line) -> Option<Trouble> {
        if let Some(lost) = self.pay(line).await {
            return Some(lost);
        }
        let mut batch = Vec::new();
        let mut held = None;
        loop {
            let (due, is_owing) =
                self.owed.due().map_or((Instant::now(), false), |due| (due, true));
            let job = if let Some(job) = held.take() {
                job
            } else {
                tokio::select! {
                    biased;
                    // Also while nobody writes: so the next one does not have to find out.
                    _ = &mut line.session.driver => {
                        let source = super::error::Cause::new("the connection was closed");
                        return Some(Trouble::Away { place: self.target.place.clone(), source });
                    }
                    job = self.jobs.recv() => job?,
                    () = sleep_until(due), if is_owing => {
                        if let Some(lost) = self.pay(line).await {
                            return Some(lost);
                        }
                        continue;
                    }
                }
            };
            let mut next = Some(job);
            let mut fences = Vec::new();
            while let Some(job) = next.take() {
                match job {
                    Job::Write(op, reply) if stands_alone(&op) => {
                        if batch.is_empty() {
                            batch.push((op, reply));
                        } else {
                            held = Some(Job::Write(op, reply));
                        }
                        break;
                    }
                    Job::Write(op, reply) => batch.push((op, reply)),
                    Job::Fence(reply) => {
                        fences.push(reply);
                        break;
                    }
                }
                if batch.len() < BATCH {
                    next = self.jobs.try_recv().ok();
                }
            }
            let lost = match self.write(line, &mut batch).await {
                // Where one thing can be written, so may be what could not before.
                Ok(true) if self.owed.is_due() => self.pay(line).await,
                Ok(_) => None,
                Err(lost) => Some(lost),
            };
            for fence in fences {
                answer(fence, lost.clone().map_or(Ok(()), |lost| Err(lost.into())));
            }
            if let Some(lost) = lost {
                if let Some(job) = held {
                    self.refuse(job, &lost);
                }
                return Some(lost);
            }
        }
    }

    /// Writes all in one transaction. If that fails each is tried alone, so that only the one that cannot
    /// be written fails; except where each would wait its full time for the same answer. Tells whether
    /// anything was written.
    ///
    /// # Errors
    /// Why the connection is of no use any more.
    async fn write(
        &mut self,
        line: &mut Line,
        batch: &mut Vec<(Op, Reply)>,
    ) -> Result<bool, Trouble> {
        if batch.is_empty() {
            return Ok(false);
        }
        let together = self.commit(line, batch.iter().map(|(op, _)| op)).await;
        let mut lost = None;
        let mut is_written = false;
        match together {
            Ok(()) => {
                is_written = true;
                self.owed.strike(batch.iter().map(|(op, _)| op));
                batch.drain(..).for_each(|(_, reply)| answer(reply, Ok(())));
            }
            Err(Failed { trouble, is_lost })
                if is_lost || trouble.is_passing() || batch.len() == 1 =>
            {
                for (op, reply) in batch.drain(..) {
                    self.fail(op, reply, trouble.clone());
                }
                lost = is_lost.then_some(trouble);
            }
            Err(_) => {
                for (op, reply) in batch.drain(..) {
                    if let Some(lost) = &lost {
                        self.fail(op, reply, Trouble::clone(lost));
                        continue;
                    }
                    match self.commit(line, [&op]).await {
                        Ok(()) => {
                            is_written = true;
                            self.owed.strike([&op].into_iter());
                            answer(reply, Ok(()));
                        }
                        Err(Failed { trouble, is_lost }) => {
                            lost = is_lost.then(|| trouble.clone());
                            self.fail(op, reply, trouble);
                        }
                    }
                }
            }
        }
        lost.map_or(Ok(is_written), Err)
    }

    /// Tells that a change was not made, and remembers it if nobody else does.
    fn fail(&mut self, op: Op, reply: Reply, trouble: Trouble) {
        self.owed.add(op);
        answer(reply, Err(trouble.into()));
    }

    fn refuse(&mut self, job: Job, why: &Trouble) {
        match job {
            Job::Write(op, reply) => self.fail(op, reply, why.clone()),
            Job::Fence(reply) => answer(reply, Err(why.clone().into())),
        }
    }

    /// Makes up for what is owed, as far as that works and for a moment at most.
    async fn pay(&mut self, line: &mut Line) -> Option<Trouble> {
        let begun = Instant::now();
        let old = self.owed.forget_old(begun);
        if old > 0 {
            log::warn!(
                "of meetings that are over stay in the store, as they could not be removed: {old}"
            );
        }
        let (mut left, mut has_failed) = (self.owed.len(), false);
        while left > 0 && begun.elapsed() < PAY_WITHIN {
            let part = self.owed.take(left.min(BATCH));
            left -= part.len();
            let patience = Query::new(PAY_LOCK, Vec::new());
            let queries = part.ops().flat_map(queries);
            let all: Vec<_> = std::iter::once(patience).chain(queries).collect();
            match self.commit_all(line, &all).await {
                Ok(()) => {}
                Err(Failed { trouble, is_lost: true }) => {
                    self.owed.put_back(part);
                    return Some(trouble);
                }
                Err(Failed { trouble, .. }) => {
                    log::debug!("{} ends are still owed: {}", part.len(), Chain(&trouble));
                    has_failed = true;
                    self.owed.give_back(part);
                }
            }
        }
        self.owed.rest(begun.elapsed(), has_failed);
        None
    }

    async fn commit(
        &self,
        line: &mut Line,
        ops: impl IntoIterator<Item = &Op>,
    ) -> Result<(), Failed> {
        let ops: Vec<_> = ops.into_iter().collect();
        let mut all: Vec<_> = arbiter::locks(ops.iter().copied()).into_iter().collect();
        all.extend(locks(ops.iter().copied()));
        all.extend(ops.into_iter().flat_map(queries));
        self.commit_all(line, &all).await
    }

    async fn commit_all(&self, line: &mut Line, all: &[Query]) -> Result<(), Failed> {
        match timeout(WITHIN, line.commit(all)).await {
            Ok(Ok(())) => {
                self.health.set(true);
                Ok(())
            }
            Ok(Err(error)) => {
                let trouble = Trouble::new(&self.target, &error);
                if matches!(trouble, Trouble::Full { .. }) {
                    self.health.set(false);
                }
                // A standby that was the primary would go on refusing.
                let is_lost = line.session.client.is_closed()
                    || error.code().is_none() && error.is_closed()
                    || matches!(trouble, Trouble::Away { .. } | Trouble::ReadOnly { .. });
                Err(Failed { trouble, is_lost })
            }
            Err(_elapsed) => {
                let trouble = Trouble::Slow { place: self.target.place.clone() };
                Err(Failed { trouble, is_lost: true })
            }
        }
    }

    /// Connects again, however long that takes; meanwhile everything fails. `None` when nobody is left.
    async fn connect(&mut self, lost: Session, mut why: Trouble) -> Option<Session> {
        let (target, connector) = (self.target.clone(), self.connector.clone());
        let backend = lost.backend.clone();
        lost.driver.abort();
        drop(lost.client);
        let mut wait = Duration::ZERO;
        // The operator was told why it was lost; what is in the way now may be something else.
        let mut said = vec![discriminant(&why)];
        loop {
            let pause = wait.mul_f64(rand::random_range(0.8..1.2));
            let attempt = async {
                sleep(pause).await;
                let opening = async {
                    let session = Session::open(&connector, &target, Some(&backend)).await?;
                    // Also what a server has may have changed.
                    schema::check_again(&target, &session.client).await?;
                    Ok(session)
                };
                timeout(CONNECT_WITHIN, opening)
                    .await
                    .unwrap_or_else(|_| Err(Trouble::Slow { place: target.place.clone() }))
            };
            tokio::pin!(attempt);
            let attempted = loop {
                tokio::select! {
                    attempted = &mut attempt => break attempted,
                    job = self.jobs.recv() => self.refuse(job?, &why),
                }
            };
            match attempted {
                Ok(session) => return Some(session),
                Err(trouble) => {
                    let kind = discriminant(&trouble);
                    if said.contains(&kind) {
                        log::debug!("still no PostgreSQL: {}", Chain(&trouble));
                    } else {
                        log::warn!("still no PostgreSQL: {}", Chain(&trouble));
                        said.push(kind);
                    }
                    why = trouble;
                }
            }
            wait = (wait * 2).clamp(AGAIN_AFTER, AGAIN_AFTER_AT_MOST);
        }
    }
}

/// Forgetting may be slow where there is much of it: nobody else is to fail with it.
fn stands_alone(op: &Op) -> bool {
    matches!(op, Op::Callbacks(Change::Expire(_)))
}

struct Failed {
    trouble: Trouble,
    is_lost: bool,
}

impl Line {
    /// Everything in one transaction. One that met another instance's in a circle was undone, and is made
    /// again: the other one is through by then.
    async fn commit(&mut self, queries: &[Query]) -> Result<(), tokio_postgres::Error> {
        let mut attempts = 1..=ATTEMPTS;
        loop {
            attempts.next();
            match self.attempt(queries).await {
                Err(error)
                    if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
                        && !attempts.is_empty() => {}
                done => return done,
            }
        }
    }

    /// Sends it without waiting in between. Returns the first thing that went wrong; the server undoes all
    /// of it then.
    async fn attempt(&mut self, queries: &[Query]) -> Result<(), tokio_postgres::Error> {
        for query in queries {
            if !self.statements.contains_key(query.sql) {
                let statement = self.session.client.prepare(query.sql).await?;
                self.statements.insert(query.sql, statement);
            }
        }
        let client = &self.session.client;
        let mut steps: Vec<BoxFuture<'_, Result<(), tokio_postgres::Error>>> =
            Vec::with_capacity(queries.len() + 2);
        steps.push(client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").boxed());
        for query in queries {
            let statement = &self.statements[query.sql];
            let params = query.params.iter().map(|param| &**param as &(dyn ToSql + Sync));
            let executed = client.execute_raw(statement, params);
            steps.push(executed.map(|done| done.map(|rows| query.done(rows))).boxed());
        }
        steps.push(client.batch_execute("COMMIT").boxed());
        // A COMMIT of what has failed succeeds, as a ROLLBACK: so each step's answer counts.
        in_order(steps).await
    }
}

/// Begins them in this order, waits for all, and returns the first error. The driver sends what a future
/// has to send when it is first polled.
async fn in_order<E>(steps: Vec<BoxFuture<'_, Result<(), E>>>) -> Result<(), E> {
    let mut steps: Vec<_> = steps.into_iter().map(Some).collect();
    let mut errors: Vec<(usize, E)> = Vec::new();
    poll_fn(|context| {
        let mut waits = false;
        for (index, slot) in steps.iter_mut().enumerate() {
            let Some(step) = slot else { continue };
            match Pin::new(step).poll(context) {
                Poll::Pending => waits = true,
                Poll::Ready(done) => {
                    *slot = None;
                    errors.extend(done.err().map(|error| (index, error)));
                }
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    errors.into_iter().min_by_key(|(index, _)| *index).map_or(Ok(()), |(_, error)| Err(error))
}

fn answer(reply: Reply, result: Result<(), Error>) {
    // A caller that is gone does not want to know; the change is made nevertheless.
    drop(reply.send(result));
}
