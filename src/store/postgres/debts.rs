//! Meetings to be forgotten that could not be: nobody asks a second time.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::op::Op;

/// What is owed at most: a busy pool ends as many meetings in a day.
const AT_MOST: usize = 100_000;
/// Another instance may have taken such a meeting up again, and a row that stays behind is cleared away when the
/// node is next asked; one that is missing is a meeting that could be created a second time.
const MAX_AGE: Duration = Duration::from_hours(1);
/// Between two attempts after one that failed: at first, and at most.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_mins(1);

/// What is owed, the first to be tried in front.
pub(super) struct Debts {
    queue: VecDeque<Debt>,
    pause: Duration,
    due: Instant,
}

struct Debt {
    op: Op,
    since: Instant,
    /// Something in its company could not be written.
    is_alone: bool,
}

/// Some of what is owed, to be tried together.
pub(super) struct Part(Vec<Debt>);

impl Part {
    pub(super) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.0.iter().map(|debt| &debt.op)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Debts {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), pause: Duration::ZERO, due: Instant::now() }
    }

    /// Remembers a change that was not made, if nobody else does.
    pub(super) fn add(&mut self, op: Op) {
        if !matches!(op, Op::RemoveMeeting { .. }) || self.queue.len() >= AT_MOST {
            return;
        }
        let since = Instant::now();
        if self.queue.is_empty() {
            self.pause = AGAIN_AFTER;
            self.due = since + AGAIN_AFTER;
        }
        self.queue.push_back(Debt { op, since, is_alone: false });
    }

    /// What was saved since is not to be forgotten.
    pub(super) fn strike<'a>(&mut self, written: impl Iterator<Item = &'a Op>) {
        if self.queue.is_empty() {
            return;
        }
        let saved: HashSet<_> = written
            .filter_map(|op| match op {
                Op::PutMeeting(meeting) => Some((&meeting.key, &*meeting.internal_id)),
                _ => None,
            })
            .collect();
        self.queue.retain(|debt| match &debt.op {
            Op::RemoveMeeting { key, internal_id, .. } => !saved.contains(&(key, &**internal_id)),
            _ => true,
        });
    }

    /// When to try again; `None`: nothing is owed.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.queue.is_empty()).then_some(self.due)
    }

    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Gives up what is too old; how many these are.
    pub(super) fn forget_old(&mut self, now: Instant) -> usize {
        let before = self.queue.len();
        self.queue.retain(|debt| now.duration_since(debt.since) < MAX_AGE);
        before - self.queue.len()
    }

    /// The next to be tried together; to be given back if that fails.
    pub(super) fn take(&mut self, at_most: usize) -> Part {
        let together = self.queue.iter().take(at_most).take_while(|debt| !debt.is_alone).count();
        Part(self.queue.drain(..together.max(1).min(self.queue.len())).collect())
    }

    /// They could not be written: each is to be tried alone, after the others.
    pub(super) fn give_back(&mut self, part: Part) {
        self.queue.extend(part.0.into_iter().map(|debt| Debt { is_alone: true, ..debt }));
    }

    /// They could not be written, for no fault of theirs.
    pub(super) fn put_back(&mut self, part: Part) {
        self.queue.extend(part.0);
    }

    /// The end of an attempt that took so long. After a failure the next one is ever later.
    pub(super) fn rest(&mut self, took: Duration, has_failed: bool) {
        self.pause = if has_failed {
            (self.pause * 2).clamp(AGAIN_AFTER, AGAIN_AFTER_AT_MOST)
        } else {
            took
        };
        self.due = Instant::now() + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    fn over(id: &str, internal_id: &str) -> Op {
        let key = contract::meeting("acme", id, internal_id).key;
        Op::remove_meeting(&key, internal_id).0
    }

    fn ids(part: &Part) -> Vec<&str> {
        part.ops()
            .map(|op| match op {
                Op::RemoveMeeting { internal_id, .. } => &**internal_id,
                _ => unreachable!("only ends are owed"),
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_together_is_tried_alone_and_ever_later() {
        let mut debts = Debts::new();
        assert_eq!((debts.due(), debts.is_due()), (None, false));
        debts.add(Op::Probe);
        assert_eq!(debts.len(), 0);
        for id in ["1", "2", "3"] {
            debts.add(over("m", id));
        }
        assert!(!debts.is_due());
        tokio::time::advance(AGAIN_AFTER).await;
        assert!(debts.is_due());
        let part = debts.take(2);
        assert_eq!(ids(&part), ["1", "2"]);
        debts.give_back(part);
        debts.rest(Duration::ZERO, true);
        assert_eq!(debts.due(), Some(Instant::now() + 2 * AGAIN_AFTER));
        assert_eq!([3, 3, 3].map(|at_most| debts.take(at_most).len()), [1, 1, 1]);
        assert_eq!(debts.take(3).len(), 0);

        debts.add(over("m", "4"));
        for _ in 0..20 {
            debts.rest(Duration::ZERO, true);
        }
        assert_eq!(debts.due(), Some(Instant::now() + AGAIN_AFTER_AT_MOST));
        debts.rest(Duration::ZERO, false);
        assert!(debts.is_due());
        tokio::time::advance(MAX_AGE).await;
        assert_eq!((debts.forget_old(Instant::now()), debts.len()), (1, 0));
    }

    #[tokio::test]
    async fn what_was_saved_since_is_not_forgotten() {
        let mut debts = Debts::new();
        for (id, internal_id) in [("m", "1"), ("m", "2"), ("n", "1")] {
            debts.add(over(id, internal_id));
        }
        let put = Op::PutMeeting(contract::meeting("acme", "m", "1").into());
        debts.strike([&put, &Op::Probe].into_iter());
        assert_eq!(ids(&debts.take(9)), ["2", "1"]);
    }
}
