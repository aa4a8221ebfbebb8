//! The end of tasks that tell the store what requests and polls leave behind. While we stop these still come to their
//! ends, so the tasks go on, and whoever ends the process waits until they have told the rest.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What there is between two activations is all that a process loses which is ended meanwhile.
pub(super) const EVERY_AT_THE_END: Duration = Duration::from_secs(1);

/// One for all such tasks of a process.
#[derive(Clone)]
pub struct Ending {
    grace: Duration,
    quiet: CancellationToken,
    telling: TaskTracker,
}

impl Ending {
    /// `grace` after a stop they tell the last, unless that [comes](Self::come) before.
    pub fn new(grace: Duration) -> Self {
        Self { grace, quiet: CancellationToken::new(), telling: TaskTracker::new() }
    }

    /// Nothing that could leave anything behind is under way any more: waits until all is told, or could not be.
    pub async fn come(&self) {
        self.quiet.cancel();
        self.telling.close();
        self.telling.wait().await;
    }

    /// Held by a task from its beginning to its end.
    pub(super) fn begin(&self) -> TaskTrackerToken {
        self.telling.token()
    }

    /// When to tell, after the stop that was just now: again and again, the last time at the end.
    pub(super) fn turns(&self) -> Turns<'_> {
        Turns { ending: self, end: Instant::now() + self.grace, pause: Some(Duration::ZERO) }
    }
}

/// See [`Ending::turns`].
pub(super) struct Turns<'a> {
    ending: &'a Ending,
    end: Instant,
    /// Before the next, if there is one.
    pause: Option<Duration>,
}

impl Turns<'_> {
    /// Waits for the next turn. There is none any more after the last.
    pub(super) async fn next(&mut self) -> Option<()> {
        let begin = (Instant::now() + self.pause?).min(self.end);
        tokio::select! {
            () = self.ending.quiet.cancelled() => {}
            () = sleep_until(begin) => {}
        }
        let is_last = self.ending.quiet.is_cancelled() || Instant::now() >= self.end;
        self.pause = (!is_last).then_some(EVERY_AT_THE_END);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_after_the_last_was_told() {
        let (grace, takes) = (Duration::from_mins(1), Duration::from_millis(1500));
        let (ending, told) = (Ending::new(grace), Arc::new(AtomicU32::new(0)));
        let task = tokio::spawn({
            let (ending, told) = (ending.clone(), told.clone());
            async move {
                let _telling = ending.begin();
                let mut turns = ending.turns();
                while turns.next().await.is_some() {
                    sleep(takes).await;
                    told.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        // In the middle of the second, which may have missed what came a moment ago.
        sleep(takes + EVERY_AT_THE_END + takes / 2).await;
        assert_eq!(told.load(Ordering::SeqCst), 1);
        ending.come().await;
        assert_eq!(told.load(Ordering::SeqCst), 3);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_it_the_last_is_told_when_the_grace_is_over() {
        let (grace, mut told, begun) = (EVERY_AT_THE_END * 5 / 2, Vec::new(), Instant::now());
        let ending = Ending::new(grace);
        let mut turns = ending.turns();
        while turns.next().await.is_some() {
            told.push(begun.elapsed());
        }
        assert_eq!(told, [Duration::ZERO, EVERY_AT_THE_END, EVERY_AT_THE_END * 2, grace]);
    }

    #[tokio::test]
    async fn it_waits_for_nobody_who_has_not_begun() {
        Ending::new(Duration::from_mins(1)).come().await;
    }
}
