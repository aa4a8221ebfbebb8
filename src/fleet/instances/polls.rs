//! What a poll has to tell: what is not as it was last told, and what a node is and carries.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use super::Instances;
use super::event::{Changed, Counts, Event, MAX_TOLD_BYTES, Polled, Row, State, Xml};
use crate::fleet::entry::{Entry, Phase};
use crate::fleet::limits::People;
use crate::fleet::{Fleet, Node};
use crate::model::{Health, NodeName};

/// What is told of a meeting was its create alone.
pub(in crate::fleet) const TOLD_ONCE: u64 = 1;
/// A larger element is not told: others go on showing the one that they have.
const MAX_XML_BYTES: usize = 4 * 1024 * 1024;
/// What an event has beside its elements, for each meeting.
const ROW_BYTES: usize = 1024;

/// What has changed with a poll beside the meetings themselves.
#[derive(Default)]
pub(in crate::fleet) struct Outcome {
    /// What was counted; nothing where the poll failed.
    pub(in crate::fleet) counts: Option<Counts>,
    /// Meetings whose reservation has served.
    pub(in crate::fleet) settled: Vec<String>,
    /// Meetings that are over.
    pub(in crate::fleet) over: Vec<String>,
    /// The node's meetings are lost.
    pub(in crate::fleet) lost: bool,
}

impl Instances {
    /// These nodes' next good polls tell everything: what the last ones told did not arrive. Only theirs:
    /// a bus that is too slow already would otherwise be given all nodes' meetings once more.
    pub(super) fn tell_anew<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeName>) {
        let mut mirror = self.mirror.lock();
        for node in nodes {
            mirror.polled.entry(node.clone()).and_modify(|epoch| *epoch = 0);
        }
    }

    /// What others know of a meeting that is as this one, in one number.
    pub(super) fn told_by(&self, entry: &Entry) -> u64 {
        let People { listeners, voices, videos, moderators, .. } = entry.people();
        let people = (entry.attendees(), listeners, voices, videos, moderators);
        let mut hasher = self.hasher.build_hasher();
        entry.xml().hash(&mut hasher);
        (people, entry.phase() == Phase::Ended).hash(&mut hasher);
        hasher.finish().max(TOLD_ONCE + 1)
    }
}

impl Fleet {
    /// Tells the others what a poll of ours has found, and done.
    pub(in crate::fleet) fn tell_poll(&self, node: &Node, outcome: Outcome) {
        if !self.instances.in_touch() {
            return;
        }
        let is_good = outcome.counts.is_some();
        let is_full = {
            let mut mirror = self.instances.mirror.lock();
            let epoch = mirror.epoch;
            let told = mirror.polled.entry(node.name().clone()).or_default();
            let is_full = *told != epoch && is_good;
            if is_good {
                *told = epoch;
            }
            is_full
        };
        let entries = if is_good { self.directory.on_node(node.name()) } else { Vec::new() };
        let mut state = State {
            settled: outcome.settled,
            over: outcome.over,
            lost: outcome.lost,
            digest: digest(&entries),
            ..node.live.state(outcome.counts, self.clock().steady_ms())
        };
        if is_full {
            let ids = entries.iter().map(|entry| entry.internal_id().to_owned());
            state.all = Some(ids.collect());
        }
        let changed = entries.iter().filter_map(|entry| self.changed(entry, is_full));
        let payloads = in_parts(node, changed, state);
        if !self.instances.telling.push_bulk(node.name(), payloads) {
            self.instances.tell_anew([node.name()]);
        }
    }

    /// Tells of a poll that failed. `lost` is whether the node's meetings are lost with it.
    pub fn tell_failed_poll(&self, node: &Node, lost: bool) {
        self.tell_poll(node, Outcome { lost, ..Outcome::default() });
    }

    /// Tells at once what a node of ours is and carries, to somebody who cannot know.
    pub(super) fn tell_state(&self, node: &Node) {
        if node.live.health() == Health::Unknown {
            return;
        }
        let counts = node.live.last_counts();
        let state = State {
            digest: digest(&self.directory.on_node(node.name())),
            ..node.live.state(Some(counts), self.clock().steady_ms())
        };
        self.instances.telling.push_bulk(node.name(), in_parts(node, std::iter::empty(), state));
    }

    /// What is to be told of a meeting.
    fn changed(&self, entry: &Arc<Entry>, is_full: bool) -> Option<Changed> {
        let (told, now) = (entry.told(), self.instances.told_by(entry));
        if told == now && !is_full {
            return None;
        }
        entry.set_told(now);
        let row = (is_full || told == 0).then(|| {
            let (row, _xml): (Row, Xml) = entry.to_meeting().into();
            row
        });
        let xml = entry.xml();
        Some(Changed {
            internal_id: entry.internal_id().to_owned(),
            people: People { attendees: entry.attendees(), ..entry.people() },
            xml: if xml.len() > MAX_XML_BYTES { Xml::default() } else { Xml::of(&xml) },
            ended: entry.phase() == Phase::Ended,
            row,
            saved: entry.is_saved(),
        })
    }
}

/// The events of one poll, none much larger than it may be.
fn in_parts(node: &Node, changed: impl Iterator<Item = Changed>, state: State) -> Vec<Bytes> {
    let event = |changed, state| {
        let polled = Polled { node: node.name().clone(), changed, state };
        Event::Polled(Box::new(polled)).to_bytes()
    };
    let (mut payloads, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for one in changed {
        let more = one.xml.len() + ROW_BYTES;
        if bytes + more > MAX_TOLD_BYTES && !part.is_empty() {
            payloads.push(event(std::mem::take(&mut part), None));
            bytes = 0;
        }
        bytes += more;
        part.push(one);
    }
    payloads.push(event(part, Some(state)));
    payloads
}

/// Which meetings these are, in one number that is the same everywhere: FNV-1a of each id, added up.
pub(super) fn digest(entries: &[Arc<Entry>]) -> u64 {
    let one = |id: &str| {
        id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    entries.iter().map(|entry| one(entry.internal_id())).fold(0, u64::wrapping_add)
}
