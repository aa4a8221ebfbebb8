//! The choice of a node for a new meeting: choosing and reserving are one step.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use log::{Level, debug, log_enabled};

use super::limits::{Coming, Tally};
use super::live::Counters;
use super::policy;
use super::predict::{Burden, Expected};
use super::snapshot::{Node, TenantEntry};
use crate::model::{AdminState, Health, MeetingKey, NodeName, Policy, Spread};

/// A place on a node that weighs from now on. Dropped, it is given back; the directory keeps it until a
/// poll has counted the meeting.
#[must_use = "a dropped reservation is given back"]
pub struct Reservation {
    seat: Seat,
    size: f32,
    /// Weighs on the node until the meeting does.
    burden: Burden,
    /// Counts there among its tenant's until the meeting does.
    #[expect(dead_code, reason = "it is there to be dropped")]
    coming: Option<Coming>,
    /// Whether no other node would be less full, by attendees.
    is_on_least_full: bool,
}

/// What of a reservation stands until a poll has counted the meeting: it is one more on its node.
pub(super) struct Seat(Arc<Node>);

impl Reservation {
    /// The chosen node.
    pub fn node(&self) -> &Arc<Node> {
        &self.seat.0
    }

    /// The attendees that are expected.
    pub fn size(&self) -> f32 {
        self.size
    }

    /// What the node carries with it and what it is built for, in attendees, where that is less and no other node has
    /// more room: one that was not chosen by its room may be full while others are empty.
    pub fn too_much(&self) -> Option<(f64, f64)> {
        let node = self.node();
        let (carries, built_for) =
            (node.live.occupied(), f64::from(node.spec.capacity) * node.spec.weight);
        (self.is_on_least_full && carries > built_for).then_some((carries, built_for))
    }

    /// What it weighs on the node, in thousandths of attendees.
    #[cfg(test)]
    pub(super) fn weighs(&self) -> u32 {
        self.burden.weighs()
    }

    /// Of a placement that another instance has decided, of a meeting of this size.
    pub(super) fn of_others(node: Arc<Node>, size: f32, tally: Option<&Arc<Tally>>) -> Self {
        let coming = tally.map(|tally| Coming::new(tally, node.name()));
        node.live.reserve();
        let burden = Burden::of(&node.live, size.into());
        Self { seat: Seat(node), size, burden, coming, is_on_least_full: false }
    }

    /// From here on the meeting itself weighs: its seat, its size, and its weight.
    pub(super) fn hand_over(self) -> (Seat, f32, Burden) {
        (self.seat, self.size, self.burden)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.live.release();
    }
}

/// Why no node can take a meeting, in numbers of the tenant's nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoNode {
    /// Nodes in the tenant's cluster group with all required tags.
    pub nodes: usize,
    /// Of these, such that an operator keeps from new meetings.
    pub closed: usize,
    /// Of these, such that are not `up`.
    pub not_up: usize,
    /// Of these, such that were tried for this meeting and failed.
    pub failed: usize,
}

impl NoNode {
    /// All words that there are for it.
    pub const WORDS: [&str; 5] = ["none", "closed", "not_up", "closed_or_not_up", "failed"];

    /// A word for it, for metrics.
    pub fn word(&self) -> &'static str {
        match *self {
            Self { nodes: 0, .. } => "none",
            Self { nodes, closed, .. } if closed == nodes => "closed",
            Self { nodes, not_up, .. } if not_up == nodes => "not_up",
            Self { failed: 0, .. } => "closed_or_not_up",
            Self { .. } => "failed",
        }
    }
}

/// For the operator, who reads it in the front end.
impl fmt::Display for NoNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str(
                "no node is assigned to this tenant: check its cluster group and required tags",
            );
        }
        write!(
            f,
            "none of {} nodes can take a new meeting: {} not up, {} closed by an operator, {} failed just now",
            self.nodes, self.not_up, self.closed, self.failed
        )
    }
}

/// A meeting that needs a place.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Which one.
    pub key: &'a MeetingKey,
    /// How large it is expected to become.
    pub expected: Expected,
    /// Nodes that have failed it already.
    pub tried: &'a [NodeName],
}

impl<'a> Wanted<'a> {
    /// One of which nothing is known, and that was not tried.
    pub fn new(key: &'a MeetingKey) -> Self {
        Self { key, expected: Expected::default(), tried: &[] }
    }
}

/// A node as a choice sees it.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a Arc<Node>,
    /// How full it would be with the meeting, by the tenant's [measure](TenantEntry::measure); the lowest wins. Or why
    /// it cannot take it.
    pub score: Result<f64, Unfit>,
    /// Meetings there that this one keeps off: fewer of them are better than a lower score.
    pub crowd: u32,
    seen: Counters,
}

/// Why a node cannot take a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It has failed this meeting just now.
    Failed,
    /// An operator keeps it from new meetings.
    Closed,
    /// Polls do not reach it.
    NotUp,
}

impl TenantEntry {
    /// Chooses the least loaded eligible node for a meeting and reserves a place there, in one step.
    ///
    /// Ties go by a hash of meeting and node, so equal input gives equal choices and equal nodes share the
    /// meetings.
    ///
    /// # Errors
    /// When no node is eligible, with the reasons counted.
    pub fn place(&self, wanted: &Wanted<'_>) -> Result<Reservation, NoNode> {
        let size = wanted.expected.size;
        loop {
            let mut why = NoNode { nodes: self.nodes.len(), ..NoNode::default() };
            let mut best: Option<Candidate<'_>> = None;
            for candidate in self.candidates(wanted) {
                match candidate.score {
                    Err(unfit) => why.count(unfit),
                    Ok(_) if best.as_ref().is_some_and(|best| !candidate.beats(best, wanted)) => {}
                    Ok(_) => best = Some(candidate),
                }
            }
            let Some(Candidate { node, seen, .. }) = best else { return Err(why) };
            // Before the meeting weighs there.
            let looked = log_enabled!(Level::Debug).then(|| Looked(self, wanted).to_string());
            // It weighs before the choice stands: whoever sees that it stands sees the weight.
            let coming = Coming::new(&self.tally, node.name());
            let burden = Burden::of(&node.live, size);
            if node.live.try_reserve(&seen) {
                if let Some(looked) = looked {
                    let MeetingKey { scope, id } = wanted.key;
                    debug!(
                        "meeting {id:?} of tenant {scope} goes to node {}: {looked}",
                        node.name()
                    );
                }
                let is_spread = self.tenant.placement.spread != Spread::None;
                let is_on_least_full = self.measure == Policy::Predictive && !is_spread;
                let (seat, size) = (Seat(node.clone()), single(size));
                let coming = Some(coming);
                return Ok(Reservation { seat, size, burden, coming, is_on_least_full });
            }
        }
    }

    /// Meetings on a node that this tenant's keep off, those included that are being created there.
    fn crowd_on(&self, node: &NodeName) -> u32 {
        match self.tenant.placement.spread {
            Spread::None => 0,
            Spread::Meetings => self.tally.on_node(node),
            Spread::Tenants => {
                let others = self.wary.iter().filter(|tally| !Arc::ptr_eq(tally, &self.tally));
                others.map(|tally| tally.on_node(node)).fold(0, u32::saturating_add)
            }
        }
    }

    /// All nodes of the tenant as a choice sees them now, in the order of the inventory.
    pub fn candidates<'a>(&'a self, wanted: &Wanted<'a>) -> impl Iterator<Item = Candidate<'a>> {
        let (tried, cautious) = (wanted.tried, wanted.expected.cautious);
        self.nodes.iter().map(move |node| {
            let seen = node.live.counters();
            // With the meeting on it: among idle nodes the weight decides then.
            let next = seen.with_one_more(cautious);
            let score = match unfit(node, tried) {
                Some(unfit) => Err(unfit),
                None => Ok(policy::load(self.measure, &next, &node.spec)),
            };
            let crowd = self.crowd_on(node.name());
            Candidate { node, score, crowd, seen }
        })
    }
}

impl Candidate<'_> {
    /// Why the node cannot take the meeting, in words.
    pub fn why_not(&self) -> Option<String> {
        let live = &self.node.live;
        match self.score {
            Ok(_) => None,
            Err(Unfit::Failed) => Some("it has failed this meeting".to_owned()),
            Err(Unfit::Closed) => Some(format!("an operator has it {}", live.admin())),
            Err(Unfit::NotUp) => Some(format!("its health is {}", live.health())),
        }
    }

    /// Which of two takes the meeting: the lesser one.
    pub fn compare(&self, other: &Self, wanted: &Wanted<'_>) -> Ordering {
        let by_crowd = || self.crowd.cmp(&other.crowd);
        let by_lot = || lot(wanted.key, self.node).cmp(&lot(wanted.key, other.node));
        match (self.score, other.score) {
            (Ok(score), Ok(others)) => {
                by_crowd().then_with(|| score.total_cmp(&others)).then_with(by_lot)
            }
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => self.node.name().cmp(other.node.name()),
        }
    }

    fn beats(&self, other: &Self, wanted: &Wanted<'_>) -> bool {
        self.compare(other, wanted) == Ordering::Less
    }
}

impl NoNode {
    fn count(&mut self, unfit: Unfit) {
        match unfit {
            Unfit::Failed => self.failed += 1,
            Unfit::Closed => self.closed += 1,
            Unfit::NotUp => self.not_up += 1,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "sizes are small")]
fn single(size: f64) -> f32 {
    size as f32
}

/// What a choice looked at, in one line for the log.
pub(super) struct Looked<'a>(pub(super) &'a TenantEntry, pub(super) &'a Wanted<'a>);

impl fmt::Display for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(tenant, wanted) = self;
        let Expected { size, cautious, source } = wanted.expected;
        write!(f, "{size:.1} attendees expected (from {source}), looked at as {cautious:.1};")?;
        for candidate in tenant.candidates(wanted) {
            let Candidate { node, score, crowd, .. } = &candidate;
            match (score, candidate.why_not()) {
                (Ok(score), _) => write!(f, " {}: {score:.2}", node.name())?,
                (Err(_), why) => write!(f, " {}: {}", node.name(), why.unwrap_or_default())?,
            }
            if *crowd > 0 {
                write!(f, " ({crowd} to keep off)")?;
            }
        }
        Ok(())
    }
}

impl TenantEntry {
    /// The nodes that could take a meeting now, the least loaded first.
    pub fn eligible_by_load(&self) -> Vec<NodeName> {
        let eligible = self.nodes.iter().filter(|node| unfit(node, &[]).is_none());
        let load = |node: &Node| policy::load(self.measure, &node.live.counters(), &node.spec);
        let mut by_load: Vec<_> = eligible.map(|node| (load(node), node.name().clone())).collect();
        by_load.sort_by(|(a, left), (b, right)| a.total_cmp(b).then_with(|| left.cmp(right)));
        by_load.into_iter().map(|(_, name)| name).collect()
    }
}

fn unfit(node: &Node, tried: &[NodeName]) -> Option<Unfit> {
    if tried.contains(node.name()) {
        Some(Unfit::Failed)
    } else if node.live.admin() != AdminState::Ready {
        Some(Unfit::Closed)
    } else if node.live.health() != Health::Up {
        Some(Unfit::NotUp)
    } else {
        None
    }
}

fn lot(key: &MeetingKey, node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, node.name()).hash(&mut hasher);
    hasher.finish()
}
