//! One question to many nodes: what each of them lists, item by item.
//!
//! Nodes are asked side by side, under one deadline. Nothing is held but what the question keeps, and that
//! is bounded for each node, for each question and for all of them together. A node that fails is logged,
//! counted and left out.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use log::warn;
use tokio::time::Instant;

use super::Edge;
use super::ask::{self, Trouble};
use crate::bbb::{Call, Element, ListError, ListNames, ListParser, Params};
use crate::chain::Chain;
use crate::fleet::{Node, now_ms};
use crate::model::Health;
use crate::node;

/// Nodes that are asked at once.
const AT_ONCE: usize = 16;
/// All nodes have answered within this time, or they are left out.
const WITHIN: Duration = Duration::from_secs(10);
/// What a node answers to a question that is too long for a request line: it is held as a whole.
const MAX_FORM_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// What is read of one node: ten thousand recordings with previews.
const MAX_NODE_BYTES: usize = 64 * 1024 * 1024;
/// One recording; a long presentation has hundreds of thumbnails.
const MAX_ITEM_BYTES: usize = 256 * 1024;
/// What one question may keep, and all that are under way together.
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;
const MAX_KEPT_TOGETHER: usize = 256 * 1024 * 1024;
/// What an item costs beside its bytes.
const ITEM_BYTES: usize = 64;

/// What all questions under way keep, in bytes.
#[derive(Debug, Default)]
pub(super) struct Kept(AtomicUsize);

/// The share of one question; given back when it is answered.
struct Share<'k> {
    kept: &'k Kept,
    bytes: AtomicUsize,
}

impl<'k> Share<'k> {
    fn of(kept: &'k Kept) -> Self {
        Self { kept, bytes: AtomicUsize::new(0) }
    }

    /// Whether there is room for so many more.
    fn take(&self, bytes: usize) -> bool {
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let together = self.kept.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        own <= MAX_KEPT_BYTES && together <= MAX_KEPT_TOGETHER
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.kept.0.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// What the nodes are asked.
pub(super) struct Question<'q> {
    pub(super) call: Call,
    pub(super) names: ListNames,
    pub(super) params: &'q Params<'q>,
}

/// An item that a question keeps.
#[derive(Debug)]
pub(super) struct Item {
    /// By which it is known.
    pub(super) id: Box<str>,
    /// The item that decides whether this one is the caller's.
    pub(super) parent: Option<Box<str>>,
    /// As it will be answered; empty where nobody needs it.
    pub(super) xml: Box<[u8]>,
}

/// What the nodes have said.
pub(super) struct Heard<'k> {
    /// The items of each node that answered, nodes in the order in which they were given.
    pub(super) lists: Vec<(Arc<Node>, Vec<Item>)>,
    /// Nodes that did not answer.
    pub(super) unheard: usize,
    _share: Share<'k>,
}

impl Edge {
    /// Asks all of these nodes but those that are down. `keep` looks at each item that a node lists, and
    /// gets the number of those kept of this node before that are the caller's for sure.
    ///
    /// # Cancel safety
    /// Dropping the future ends all calls.
    pub(super) async fn fan_out(
        &self,
        nodes: &[Arc<Node>],
        question: &Question<'_>,
        keep: &(dyn Fn(usize, Element) -> Option<Item> + Sync),
    ) -> Heard<'_> {
        let deadline = Instant::now() + WITHIN;
        let share = Share::of(&self.kept);
        let mut asked: Vec<_> = nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.live.health() != Health::Down)
            .collect();
        // Where there are more nodes than are asked at once, doubtful ones must not keep the others waiting.
        asked.sort_by_key(|(_, node)| node.live.health() != Health::Up);
        // Of one type, collected: the compiler does not see through a stream of closures that borrow.
        let mut asking: Vec<BoxFuture<'_, _>> = Vec::with_capacity(asked.len());
        for (index, node) in asked {
            let listing = self.list(node, question, deadline, &share, keep);
            asking.push(Box::pin(async move { (index, node, listing.await) }));
        }
        let mut answers = stream::iter(asking).buffer_unordered(AT_ONCE);
        let mut lists = Vec::new();
        while let Some((index, node, listed)) = answers.next().await {
            match listed {
                Ok(items) => lists.push((index, node.clone(), items)),
                Err(trouble) => self.leave_out(node, question.call, &trouble),
            }
        }
        drop(answers);
        lists.sort_by_key(|(index, ..)| *index);
        let lists: Vec<_> = lists.into_iter().map(|(_, node, items)| (node, items)).collect();
        Heard { unheard: nodes.len() - lists.len(), lists, _share: share }
    }

    /// What one node lists.
    async fn list(
        &self,
        node: &Node,
        question: &Question<'_>,
        deadline: Instant,
        share: &Share<'_>,
        keep: &(dyn Fn(usize, Element) -> Option<Item> + Sync),
    ) -> Result<Vec<Item>, Trouble> {
        let mut reading = Reading {
            parser: ListParser::new(question.names, MAX_ITEM_BYTES),
            items: Vec::new(),
            sure: 0,
            trouble: None,
        };
        let (url, path) = (&node.spec.url, question.call.as_str());
        let within = deadline.saturating_duration_since(Instant::now());
        let query = ask::sign(&[], node, question.call, question.params);
        let mut push = |chunk: &[u8]| reading.push(chunk, share, keep);
        let status = if ask::fits_a_request_line(&query) {
            self.client.stream(url, path, &query, within, MAX_NODE_BYTES, &mut push).await?
        } else {
            let (query, form) = ask::as_form(node, question.call, question.params);
            let max = MAX_FORM_ANSWER_BYTES;
            let answer = self.client.call(url, path, &query, Some(form), within, max).await?;
            if answer.status == 200 {
                // Whatever is wrong with it is in `reading`.
                let _end_or_trouble = push(&answer.body);
            }
            answer.status
        };
        if status != 200 {
            return Err(Trouble::Status(status));
        }
        reading.end(node)
    }

    /// Counts and logs a node that is left out. A long list that takes its time says nothing about whether a
    /// node can take new meetings; one that cannot be reached does.
    fn leave_out(&self, node: &Node, call: Call, trouble: &Trouble) {
        if !trouble.is_nodes_fault() {
            return;
        }
        self.metrics.node_failures.with_label_values(&[call.as_str(), trouble.kind()]).inc();
        warn!("node {}: left out of {}: {}", node.name(), call.as_str(), Chain(trouble));
        if trouble.before_request() {
            node.live.doubt(format!("{}: {}", call.as_str(), Chain(trouble)), now_ms());
        }
    }
}

/// An answer as it comes in.
struct Reading {
    parser: ListParser,
    items: Vec<Item>,
    /// How many of the items have no parent.
    sure: usize,
    trouble: Option<Halt>,
}

/// Why the rest of an answer is not read.
enum Halt {
    NotXml,
    TooMuch,
}

impl Reading {
    fn push(
        &mut self,
        chunk: &[u8],
        share: &Share<'_>,
        keep: &(dyn Fn(usize, Element) -> Option<Item> + Sync),
    ) -> ControlFlow<()> {
        let Self { parser, items, sure, .. } = self;
        let mut has_room = true;
        let pushed = parser.push(chunk, &mut |element| {
            let Some(item) = keep(*sure, element).filter(|_| has_room) else { return };
            let parent_bytes = item.parent.as_ref().map_or(0, |parent| parent.len());
            has_room = share.take(ITEM_BYTES + item.id.len() + parent_bytes + item.xml.len());
            *sure += usize::from(item.parent.is_none());
            items.push(item);
        });
        self.trouble = match (pushed, has_room) {
            (Err(_), _) => Some(Halt::NotXml),
            (Ok(()), false) => Some(Halt::TooMuch),
            (Ok(()), true) => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(())
    }

    fn end(self, node: &Node) -> Result<Vec<Item>, Trouble> {
        match self.trouble {
            Some(Halt::NotXml) => return Err(Trouble::NotXml),
            Some(Halt::TooMuch) => {
                let target = node.spec.url.to_string();
                return Err(node::Error::TooLarge { target, max_bytes: MAX_KEPT_BYTES }.into());
            }
            None => {}
        }
        match self.parser.finish() {
            Ok(()) => Ok(self.items),
            Err(ListError::Failed(failure)) if failure.key == "checksumError" => {
                Err(Trouble::ChecksumRefused)
            }
            Err(ListError::Failed(_)) => Err(Trouble::Failed),
            Err(ListError::Xml(_)) => Err(Trouble::NotXml),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_keeps_no_more_than_its_share_and_gives_it_back() {
        let kept = Kept::default();
        let share = Share::of(&kept);
        assert!(share.take(MAX_KEPT_BYTES) && !share.take(1));
        drop(share);
        let shares: Vec<_> = (0..4).map(|_| Share::of(&kept)).collect();
        assert!(shares.iter().all(|share| share.take(MAX_KEPT_BYTES)));
        let late = Share::of(&kept);
        assert!(!late.take(1), "all of them together have a bound, too");
        drop((shares, late));
        assert_eq!(kept.0.load(Ordering::Relaxed), 0);
    }
}
