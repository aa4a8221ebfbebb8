//! One question to many nodes: what each of them lists, item by item.
//!
//! Nodes are asked side by side, under one deadline. Nothing is held but what the question keeps, and that
//! is bounded for each node, for each tenant and for all of them together, until the client has read the
//! answer that was made of it. A node that fails is logged, counted and left out. Where there is no room for
//! what nodes say, the question fails: a front end takes what is missing in a list for deleted.

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
use url::Url;

use super::Edge;
use super::ask::{self, Trouble};
use super::refusal::{self, Refusal};
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
/// What is read of one node, and what is kept of it: ten thousand recordings with previews.
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
        let less = self.bytes.get_mut().saturating_sub(bytes);
        self.give_back(less);
    }

    /// Gives back some of what was taken.
    fn give_back(&self, less: usize) {
        self.bytes.fetch_sub(less, Ordering::Relaxed);
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
    /// # Errors
    /// When there is no room for what they list. No node is to blame for that.
    ///
    /// # Cancel safety
    /// Dropping the future ends all calls.
    pub(super) async fn fan_out(
        &self,
        nodes: &[Arc<Node>],
        question: &Question<'_>,
        keep: &(dyn Fn(usize, Element) -> Option<Item> + Sync),
    ) -> Result<Heard, Refusal> {
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
                Err(Unread::Trouble(trouble)) => self.leave_out(node, question.call, &trouble),
                Err(Unread::NoRoom) => {
                    let (call, tenant) = (question.call.as_str(), question.tenant);
                    warn!("tenant {tenant}: {call} is refused: no memory left for what nodes list");
                    return Err(Refusal::portico(refusal::list_too_long()));
                }
            }
        }
        drop(answers);
        lists.sort_by_key(|(index, ..)| *index);
        let lists: Vec<_> = lists.into_iter().map(|(_, node, items)| (node, items)).collect();
        Ok(Heard { unheard: nodes.len() - lists.len(), lists, share })
    }

    /// What one node lists. Where that fails, the share is as before.
    async fn list(
        &self,
        node: &Node,
        question: &Question<'_>,
        deadline: Instant,
        share: &Share,
        keep: &(dyn Fn(usize, Element) -> Option<Item> + Sync),
    ) -> Result<Vec<Item>, Unread> {
        let mut reading = Reading::new(question.names, share);
        let (url, path) = (&node.spec.url, question.call.as_str());
        let within = deadline.saturating_duration_since(Instant::now());
        let query = ask::sign(&[], node, question.call, question.params);
        let mut push = |chunk: &[u8]| reading.push(chunk, keep);
        let status = if ask::fits_a_request_line(&query) {
            self.client
                .stream(url, path, &query, within, MAX_NODE_BYTES, &mut push)
                .await
                .map_err(Trouble::from)?
        } else {
            let (query, form) = ask::as_form(node, question.call, question.params);
            let max = MAX_FORM_ANSWER_BYTES;
            let answer = self.client.call(url, path, &query, Some(form), within, max);
            let answer = answer.await.map_err(Trouble::from)?;
            if answer.status == 200 {
                // Whatever is wrong with it is in `reading`.
                let _end_or_trouble = push(&answer.body);
            }
            answer.status
        };
        if status != 200 {
            return Err(Trouble::Status(status).into());
        }
        reading.end(url)
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
            let why = format!("{}: {}", call.as_str(), Chain(trouble));
            self.fleet.doubt(node, why, now_ms());
        }
    }
}

/// Why there is no list of a node.
#[derive(Debug)]
enum Unread {
    /// The node gave no usable answer.
    Trouble(Trouble),
    /// There is no room for what it lists.
    NoRoom,
}

impl From<Trouble> for Unread {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What one node's items have taken of a share. Given back when they are dropped.
struct Taken<'s> {
    share: &'s Share,
    bytes: usize,
}

impl Taken<'_> {
    /// Leaves it to the share.
    fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.share.give_back(self.bytes);
    }
}

/// An answer as it comes in.
struct Reading<'s> {
    parser: ListParser,
    items: Vec<Item>,
    /// How many of the items have no parent.
    sure: usize,
    taken: Taken<'s>,
    halt: Option<Halt>,
}

/// Why the rest of an answer is not read.
#[derive(Clone, Copy)]
enum Halt {
    NotXml,
    /// The node alone lists more than one may.
    TooMuch,
    /// All nodes and questions together do.
    NoRoom,
}

impl<'s> Reading<'s> {
    fn new(names: ListNames, share: &'s Share) -> Self {
        let parser = ListParser::new(names, MAX_ITEM_BYTES);
        let taken = Taken { share, bytes: 0 };
        Self { parser, items: Vec::new(), sure: 0, taken, halt: None }
    }

    fn push(
        &mut self,
        chunk: &[u8],
        keep: &(dyn Fn(usize, Element) -> Option<Item> + Sync),
    ) -> ControlFlow<()> {
        let Self { parser, items, sure, taken, halt } = self;
        let pushed = parser.push(chunk, &mut |element| {
            let Some(item) = keep(*sure, element).filter(|_| halt.is_none()) else { return };
            let parent_bytes = item.parent.as_ref().map_or(0, |parent| parent.len());
            let bytes = ITEM_BYTES + item.id.len() + parent_bytes + item.xml.len();
            let has_room = taken.share.take(bytes);
            taken.bytes += bytes;
            *halt = match has_room {
                // A node that has no bounds must not be the end of all that the others say.
                _ if taken.bytes > MAX_NODE_BYTES => Some(Halt::TooMuch),
                false => Some(Halt::NoRoom),
                true => None,
            };
            *sure += usize::from(item.parent.is_none());
            items.push(item);
        });
        if pushed.is_err() {
            *halt = Some(Halt::NotXml);
        }
        if halt.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn end(self, url: &Url) -> Result<Vec<Item>, Unread> {
        match self.halt {
            Some(Halt::NotXml) => return Err(Trouble::NotXml.into()),
            Some(Halt::TooMuch) => {
                let target = url.to_string();
                let too_large = node::Error::TooLarge { target, max_bytes: MAX_NODE_BYTES };
                return Err(Trouble::from(too_large).into());
            }
            Some(Halt::NoRoom) => return Err(Unread::NoRoom),
            None => {}
        }
        match self.parser.finish() {
            Ok(()) => {
                self.taken.keep();
                Ok(self.items)
            }
            Err(ListError::Failed(failure)) if failure.key == "checksumError" => {
                Err(Trouble::ChecksumRefused.into())
            }
            Err(ListError::Failed(_)) => Err(Trouble::Failed.into()),
            Err(ListError::Xml(_)) => Err(Trouble::NotXml.into()),
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

    /// Reads an answer whose recordings are of so many bytes each.
    fn read(share: &Share, bytes: usize, answer: &str) -> Result<Vec<Item>, Unread> {
        let mut reading = Reading::new(ListNames::RECORDINGS, share);
        let keep = |_before, recording: Element| {
            let id = recording.child_text("recordID")?.into();
            Some(Item { id, parent: None, xml: vec![0; bytes].into() })
        };
        let _end_or_trouble = reading.push(answer.as_bytes(), &keep);
        reading.end(&"http://bbb01/".parse().expect("a URL"))
    }

    const LIST: &str = "<response><returncode>SUCCESS</returncode><recordings>\
        <recording><recordID>a</recordID></recording>\
        <recording><recordID>b</recordID></recording></recordings></response>";

    #[test]
    fn what_is_left_out_takes_no_room() {
        let kept = Kept::register(&Registry::new()).expect("a new name");
        let share = Share::of(&kept, &"acme".parse().expect("a slug"));
        let broken_off = LIST.strip_suffix("</recordings></response>").expect("its end");
        let failed = LIST.replace("SUCCESS", "FAILED");
        for answer in [broken_off, &LIST.replace("</recordings>", "</x>"), &failed] {
            let unread = read(&share, 1000, answer);
            assert!(matches!(unread, Err(Unread::Trouble(_))), "{unread:?}");
            assert_eq!((kept.together.load(Ordering::Relaxed), kept.gauge.get()), (0, 0));
        }
        assert_eq!(read(&share, 1000, LIST).expect("a list").len(), 2);
        assert_eq!(share.bytes.load(Ordering::Relaxed), 2 * (1000 + 1 + ITEM_BYTES));
    }

    #[test]
    fn no_node_is_blamed_for_what_others_take() {
        let kept = Kept::register(&Registry::new()).expect("a new name");
        let slug = "acme".parse().expect("a slug");
        let (other, share) = (Share::of(&kept, &slug), Share::of(&kept, &slug));
        assert!(other.take(MAX_KEPT_OF_TENANT - 1500));
        let unread = read(&share, 1000, LIST);
        assert!(matches!(unread, Err(Unread::NoRoom)), "{unread:?}");
        // But for what it lists alone.
        drop(other);
        let unread = read(&share, MAX_NODE_BYTES / 2, LIST);
        let is_too_large = |trouble: &Trouble| trouble.kind() == "too_large";
        assert!(matches!(&unread, Err(Unread::Trouble(trouble)) if is_too_large(trouble)));
        assert_eq!(share.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(read(&share, 1000, LIST).expect("a list").len(), 2);
    }
}
