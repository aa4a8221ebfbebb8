//! One question to many nodes: what each of them lists, item by item.
//!
//! Nodes are asked side by side, under one deadline. Nothing is held but what the question keeps, and that
//! is bounded for each node, for each tenant and for all of them together, until the client has read the
//! answer that was made of it. A node that fails is logged, counted and left out.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use log::warn;
use parking_lot::Mutex;
use prometheus::{IntGauge, Registry};
use tokio::time::Instant;

use super::Edge;
use super::ask::{self, Trouble};
use crate::bbb::{Call, Element, ListError, ListNames, ListParser, Params};
use crate::chain::Chain;
use crate::fleet::{Node, now_ms};
use crate::model::{Health, Slug};
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
/// What all questions together may keep.
const MAX_KEPT_TOGETHER: usize = 256 * 1024 * 1024;
/// What those of one tenant may keep: with clients that do not read, it has no more to take from the others.
const MAX_KEPT_OF_TENANT: usize = MAX_KEPT_TOGETHER / 4;
/// What an item costs beside its bytes.
const ITEM_BYTES: usize = 64;

/// What all questions keep whose answers are not out, in bytes.
#[derive(Debug)]
pub(super) struct Kept {
    together: AtomicUsize,
    of_tenants: Mutex<HashMap<Slug, Arc<AtomicUsize>>>,
    gauge: IntGauge,
}

impl Kept {
    /// Makes its size known to `registry`.
    ///
    /// # Errors
    /// When the name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Arc<Self>> {
        let gauge = IntGauge::new(
            "portico_gathered_bytes",
            "Memory for answers that are gathered from many nodes, until they are sent.",
        )?;
        registry.register(Box::new(gauge.clone()))?;
        let (together, of_tenants) = (AtomicUsize::default(), Mutex::default());
        Ok(Arc::new(Self { together, of_tenants, gauge }))
    }
}

/// The share of one question; given back when its answer is out.
#[derive(Debug)]
pub(super) struct Share {
    kept: Arc<Kept>,
    of_tenant: Arc<AtomicUsize>,
    bytes: AtomicUsize,
}

impl Share {
    fn of(kept: &Arc<Kept>, tenant: &Slug) -> Self {
        let of_tenant = kept.of_tenants.lock().entry(tenant.clone()).or_default().clone();
        Self { kept: kept.clone(), of_tenant, bytes: AtomicUsize::new(0) }
    }

    /// Whether there is room for so many more.
    fn take(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.kept.gauge.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        let of_tenant = self.of_tenant.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let together = self.kept.together.fetch_add(bytes, Ordering::Relaxed) + bytes;
        of_tenant <= MAX_KEPT_OF_TENANT && together <= MAX_KEPT_TOGETHER
    }

    /// Gives all back but this.
    fn shrink_to(&mut self, bytes: usize) {
        let own = *self.bytes.get_mut();
        let less = own.saturating_sub(bytes);
        *self.bytes.get_mut() = own - less;
        self.of_tenant.fetch_sub(less, Ordering::Relaxed);
        self.kept.together.fetch_sub(less, Ordering::Relaxed);
        self.kept.gauge.sub(i64::try_from(less).unwrap_or(i64::MAX));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What the nodes are asked.
pub(super) struct Question<'q> {
    /// Who asks.
    pub(super) tenant: &'q Slug,
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
pub(super) struct Heard {
    /// The items of each node that answered, nodes in the order in which they were given.
    pub(super) lists: Vec<(Arc<Node>, Vec<Item>)>,
    /// Nodes that did not answer.
    pub(super) unheard: usize,
    share: Share,
}

impl Heard {
    /// The memory of an answer that was made of it, to be held until that is out.
    pub(super) fn into_share(mut self, body_bytes: usize) -> Arc<Share> {
        self.share.shrink_to(body_bytes);
        Arc::new(self.share)
    }
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
    ) -> Heard {
        let deadline = Instant::now() + WITHIN;
        let share = Share::of(&self.kept, question.tenant);
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
        Heard { unheard: nodes.len() - lists.len(), lists, share }
    }

    /// What one node lists.
    async fn list(
        &self,
        node: &Node,
        question: &Question<'_>,
        deadline: Instant,
        share: &Share,
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
        share: &Share,
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
                return Err(node::Error::TooLarge { target, max_bytes: MAX_KEPT_OF_TENANT }.into());
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
    fn a_tenant_keeps_no_more_than_its_share_and_gives_it_back() {
        let kept = Kept::register(&Registry::new()).expect("a new name");
        let slugs = ["a", "b", "c", "d", "e"].map(|slug| slug.parse::<Slug>().expect("a slug"));
        let share = |at: usize| Share::of(&kept, &slugs[at]);
        let (first, second) = (share(0), share(0));
        assert!(first.take(MAX_KEPT_OF_TENANT / 2) && second.take(MAX_KEPT_OF_TENANT / 2));
        assert!(!second.take(1), "however many questions it asks");
        drop(second);
        let mut again = share(0);
        assert!(again.take(MAX_KEPT_OF_TENANT / 2));
        again.shrink_to(MAX_KEPT_OF_TENANT / 4);
        assert!(again.take(MAX_KEPT_OF_TENANT / 4), "what it does not need is free");
        let others: Vec<_> = (1..4).map(share).collect();
        assert!(others.iter().all(|share| share.take(MAX_KEPT_OF_TENANT)), "they have their own");
        let late = share(4);
        assert!(!late.take(1), "all of them together have a bound, too");
        drop((first, again, others, late));
        assert_eq!((kept.together.load(Ordering::Relaxed), kept.gauge.get()), (0, 0));
        let of_tenants = kept.of_tenants.lock();
        assert!(of_tenants.values().all(|bytes| bytes.load(Ordering::Relaxed) == 0));
    }
}
