//! Equal questions at the same time are one question to the node; its answer is good for a second.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;

use super::ask::Trouble;

/// How long an answer is good. Front ends poll, in crowds at the full hour; none needs it fresher.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// Answers that are kept at once, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A node's answer in the words of the front end.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) is_success: bool,
    pub(super) body: Bytes,
}

/// Questions under way, and answers of the last second.
pub(super) struct Coalesced(Cache<String, Answered>);

impl Coalesced {
    pub(super) fn new() -> Self {
        let weigh = |key: &String, answered: &Answered| {
            u32::try_from(key.len() + answered.body.len()).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).time_to_live(GOOD_FOR).build())
    }

    /// The answer to a question, from whoever asked it first. `None` when the node gave none; the next
    /// question asks it again.
    pub(super) async fn get(
        &self,
        question: String,
        ask: impl Future<Output = Result<Answered, Trouble>>,
    ) -> Option<Answered> {
        let answered: Result<_, Arc<Trouble>> = self.0.try_get_with(question, ask).await;
        answered.ok()
    }
}
