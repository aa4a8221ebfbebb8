//! Equal questions at the same time are one question to the node; its answer is good for a second.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::bbb::Call;
use crate::model::NodeName;

/// How long an answer is good. Front ends poll, in crowds at the full hour; none needs it fresher.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// Answers that are kept at once, in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A node's answer in the words of the front end.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) is_success: bool,
    pub(super) body: Bytes,
}

/// What a node is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) node: NodeName,
    pub(super) call: Call,
    /// Signed, so that it says everything.
    pub(super) query: Arc<str>,
}

/// Empty while the question is under way; `None` where the node gave no usable answer.
type Slot = OnceCell<Option<Answered>>;

/// Questions under way, and answers of the last second.
#[derive(Default)]
pub(super) struct Coalesced(Mutex<Known>);

#[derive(Default)]
struct Known {
    slots: HashMap<Question, Arc<Slot>>,
    /// The answers among them in the order in which they get old, with their sizes.
    answers: VecDeque<(Instant, usize, Question, Arc<Slot>)>,
    bytes: usize,
}

impl Coalesced {
    /// The answer to a question, from whoever asked it first. `None` when the node gave none; the next
    /// question asks it again.
    pub(super) async fn get(
        &self,
        question: Question,
        ask: impl Future<Output = Option<Answered>>,
    ) -> Option<Answered> {
        let slot = self.0.lock().slot(&question);
        let asking = Asking { coalesced: self, question: &question, slot };
        let mut is_first = false;
        let answered = asking.slot.get_or_init(async || {
            is_first = true;
            ask.await
        });
        let answered = answered.await.clone();
        if let (true, Some(answered)) = (is_first, &answered) {
            let bytes = question.query.len() + answered.body.len();
            self.0.lock().keep(question.clone(), asking.slot.clone(), bytes);
        }
        drop(asking);
        answered
    }
}

/// Takes a question out that has no answer when nobody asks it any more: its last asker may have been
/// cut off.
struct Asking<'a> {
    coalesced: &'a Coalesced,
    question: &'a Question,
    slot: Arc<Slot>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.slot.get().is_some_and(Option::is_some) {
            return;
        }
        let mut known = self.coalesced.0.lock();
        // It goes while the lock is held, so that of two who leave one sees that it is the last.
        let slot = std::mem::take(&mut self.slot);
        // Whoever else waits for it goes on asking; a failure is good for those alone who have waited.
        if slot.initialized() || Arc::strong_count(&slot) == 2 {
            known.forget(self.question, &slot);
        }
        drop(slot);
    }
}

impl Known {
    fn slot(&mut self, question: &Question) -> Arc<Slot> {
        self.drop_old();
        if let Some(slot) = self.slots.get(question) {
            return slot.clone();
        }
        self.slots.entry(question.clone()).or_default().clone()
    }

    fn keep(&mut self, question: Question, slot: Arc<Slot>, bytes: usize) {
        self.bytes += bytes;
        self.answers.push_back((Instant::now() + GOOD_FOR, bytes, question, slot));
        self.drop_old();
    }

    fn drop_old(&mut self) {
        let now = Instant::now();
        while let Some((good_until, ..)) = self.answers.front() {
            if *good_until > now && self.bytes <= MAX_BYTES {
                return;
            }
            if let Some((_, bytes, question, slot)) = self.answers.pop_front() {
                self.bytes -= bytes;
                self.forget(&question, &slot);
            }
        }
    }

    /// Takes out exactly this one, not one that has replaced it.
    fn forget(&mut self, question: &Question, slot: &Arc<Slot>) {
        if self.slots.get(question).is_some_and(|own| Arc::ptr_eq(own, slot)) {
            self.slots.remove(question);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::advance;

    use super::*;

    fn question() -> Question {
        let query = "meetingID=a&checksum=0".into();
        Question { node: NodeName::new("bbb01"), call: Call::GetMeetingInfo, query }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a node's answer comes")]
    fn answer(body: &'static str) -> Option<Answered> {
        Some(Answered { is_success: true, body: Bytes::from_static(body.as_bytes()) })
    }

    async fn get(coalesced: &Coalesced, own: Option<Answered>) -> Option<Bytes> {
        coalesced.get(question(), ready(own)).await.map(|answered| answered.body)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_a_second_and_is_not_kept_for_longer() {
        let coalesced = Coalesced::default();
        assert_eq!(get(&coalesced, answer("1")).await.unwrap(), "1");
        advance(GOOD_FOR / 2).await;
        assert_eq!(get(&coalesced, answer("2")).await.unwrap(), "1");
        advance(GOOD_FOR / 2).await;
        assert_eq!(get(&coalesced, answer("3")).await.unwrap(), "3");
        advance(GOOD_FOR).await;
        coalesced.0.lock().drop_old();
        let known = coalesced.0.lock();
        assert!(known.slots.is_empty() && known.answers.is_empty() && known.bytes == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_who_wait_and_to_nobody_else() {
        let coalesced = Coalesced::default();
        let slow_failure = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            None
        };
        let first = coalesced.get(question(), slow_failure);
        let others = [(); 2].map(|()| coalesced.get(question(), async { answer("not asked") }));
        let [a, b] = others;
        let (first, a, b) = tokio::join!(first, a, b);
        assert!(first.is_none() && a.is_none() && b.is_none());
        assert!(coalesced.0.lock().slots.is_empty());
        assert_eq!(get(&coalesced, answer("2")).await.unwrap(), "2");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_goes_on_when_the_first_is_cut_off() {
        let coalesced = Coalesced::default();
        let mut first = Box::pin(coalesced.get(question(), pending()));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(coalesced.get(question(), ready(answer("second"))));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.unwrap().body, "second");
        // Nothing stays of a question that everybody has left.
        advance(GOOD_FOR).await;
        let mut third = Box::pin(coalesced.get(question(), pending()));
        assert!(futures::poll!(&mut third).is_pending());
        drop(third);
        assert!(coalesced.0.lock().slots.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded() {
        let coalesced = Coalesced::default();
        let body = Bytes::from(vec![b'x'; MAX_BYTES / 4]);
        for number in 0..20 {
            let question = Question { query: number.to_string().into(), ..question() };
            let own = Answered { is_success: true, body: body.clone() };
            coalesced.get(question, ready(Some(own))).await.unwrap();
            assert!(coalesced.0.lock().bytes <= MAX_BYTES);
        }
        assert_eq!(coalesced.0.lock().slots.len(), 3);
    }
}
