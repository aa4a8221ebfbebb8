//! Brings what a node reports together with what we know.
//!
//! A [`Poll`] takes meetings as they stream in, and acts at its end only, so that a poll that breaks off
//! changes nothing but what it has truly seen. It never ends a meeting that could be somebody's: only
//! one whose key has been created again on another node since, which is the only way in which one
//! meeting could run twice.

use std::collections::HashSet;
use std::sync::Arc;

use super::directory::{Entry, Phase};
use super::health::{Change, Thresholds};
use super::identity;
use super::snapshot::{Node, Snapshot};
use super::{Fleet, Live};
use crate::bbb::MeetingInfo;
use crate::model::{Meeting, MeetingKey, NodeName};

/// Polls in a row that must not show a meeting until it counts as over. One could be a race of the node
/// with itself: its list is not a snapshot.
const MISSES_UNTIL_OVER: u8 = 2;

/// A poll of one node that is under way.
pub struct Poll<'a> {
    fleet: &'a Fleet,
    snapshot: Arc<Snapshot>,
    node: Arc<Node>,
    joins_at_start: u32,
    /// What was on the node before the poll began: what it may be expected to show.
    expected: Vec<Arc<Entry>>,
    seen: HashSet<Box<str>>,
    meetings: u32,
    attendees: u32,
    outcome: Reconciled,
}

/// What has to be done after a poll.
#[derive(Default)]
pub struct Reconciled {
    /// Meetings found on the node that we did not know, already in the directory, not yet in the store.
    pub adopted: Vec<Arc<Entry>>,
    /// Meetings that are over: already out of the directory, still in the store.
    pub over: Vec<Arc<Entry>>,
    /// Internal ids of meetings that run elsewhere by now and are to be ended on this node.
    pub doubles: Vec<String>,
    /// How the node's health has changed.
    pub change: Option<Change>,
}

/// What a complete poll has counted: main meetings, and attendees in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// Main meetings that have not ended.
    pub meetings: u32,
    /// Their attendees.
    pub attendees: u32,
}

impl Fleet {
    /// Begins a poll of `node`; to be called before the node is asked.
    pub fn begin_poll(&self, node: &Arc<Node>) -> Poll<'_> {
        Poll {
            fleet: self,
            snapshot: self.snapshot(),
            node: node.clone(),
            joins_at_start: node.live.joins(),
            expected: self.directory.on_node(node.name()),
            seen: HashSet::new(),
            meetings: 0,
            attendees: 0,
            outcome: Reconciled::default(),
        }
    }

    /// Hides the meetings of a node that has been down for longer than the grace: the next create of
    /// such a meeting is placed elsewhere. Returns how many there were.
    pub fn lose_meetings_on(&self, node: &NodeName) -> usize {
        let entries = self.directory.on_node(node);
        let running = entries.iter().filter(|entry| entry.phase() == Phase::Running);
        running.map(|entry| entry.set_phase(Phase::Lost)).count()
    }
}

impl Poll<'_> {
    /// Takes one meeting of the node's list.
    pub fn meeting(&mut self, mut info: MeetingInfo) {
        let internal_id = info.internal_id().into_owned();
        let is_over = info.has_been_forcibly_ended() || info.end_time_ms() > 0;
        if !is_over && !info.is_breakout() {
            self.meetings = self.meetings.saturating_add(1);
            self.attendees = self.attendees.saturating_add(info.participant_count());
        }
        let known = self.fleet.directory.get_internal(&internal_id);
        let known = known.filter(|entry| entry.node() == self.node.name());
        let entry = match known {
            Some(entry) if is_over => {
                if entry.phase() == Phase::Running {
                    entry.mark_ended();
                }
                entry
            }
            Some(entry) if entry.phase() != Phase::Lost => entry,
            Some(entry) => match self.fleet.directory.get(&entry.key().scope, &entry.key().id) {
                Some(other) if other.phase() == Phase::Running => {
                    self.outcome.doubles.push(internal_id);
                    return;
                }
                _ => {
                    entry.set_phase(Phase::Running);
                    entry
                }
            },
            None if is_over => return,
            None => match self.adopt(&mut info, &internal_id) {
                Some(entry) => entry,
                None => return,
            },
        };
        let attendees = info.participant_count();
        let mut xml = Vec::new();
        identity::reword(info.element_mut(), entry.key());
        info.element().write(&mut xml);
        xml.shrink_to_fit();
        entry.see(xml.into(), attendees);
        self.seen.insert(internal_id.into());
    }

    /// Enters an unknown meeting of a known scope, unless it is being created right now or runs elsewhere.
    fn adopt(&mut self, info: &mut MeetingInfo, internal_id: &str) -> Option<Arc<Entry>> {
        if self.fleet.directory.get_internal(internal_id).is_some() {
            // A node cannot take over what another one runs by naming its internal id.
            return None;
        }
        let node_meeting_id = info.meeting_id().into_owned();
        let parent = info.parent_internal_id().map(std::borrow::Cow::into_owned);
        let key = match &parent {
            Some(parent) if info.is_breakout() => {
                let parent = self.fleet.directory.get_internal(parent)?;
                if parent.node() != self.node.name() {
                    return None;
                }
                MeetingKey { scope: parent.key().scope.clone(), id: node_meeting_id.clone() }
            }
            _ => {
                if !identity::is_internal_id_of(internal_id, &node_meeting_id) {
                    return None;
                }
                let (scope, id) = identity::owner(&node_meeting_id)?;
                let tenant = self.snapshot.tenant(scope.tenant.as_str())?;
                tenant.tenant.secret(scope.sub)?;
                MeetingKey { id: id.to_owned(), scope }
            }
        };
        if self.fleet.claims.is_claimed(&key) {
            return None;
        }
        match self.fleet.directory.get(&key.scope, &key.id) {
            Some(other) if other.phase() == Phase::Running && other.node() != self.node.name() => {
                self.outcome.doubles.push(internal_id.to_owned());
                return None;
            }
            _ => {}
        }
        let meeting = Meeting {
            key,
            node: self.node.name().clone(),
            node_meeting_id,
            internal_id: internal_id.to_owned(),
            created_at_ms: info.create_time_ms(),
            parent_internal_id: parent,
            xml: Box::default(),
        };
        let entry = self.fleet.directory.adopt(meeting, false);
        self.outcome.adopted.push(entry.clone());
        Some(entry)
    }

    /// The list was complete: takes its counts over and closes what it did not show.
    pub fn finish(mut self, thresholds: Thresholds, now_ms: u64) -> (Polled, Reconciled) {
        let live: &Live = &self.node.live;
        live.polled(self.meetings, self.attendees, self.joins_at_start);
        for entry in &self.expected {
            let is_seen = self.seen.contains(entry.internal_id());
            if !is_seen {
                let misses = entry.miss();
                if misses >= MISSES_UNTIL_OVER || entry.phase() == Phase::Ended {
                    self.fleet.directory.remove(entry);
                    self.outcome.over.push(entry.clone());
                }
            }
            // Counted now, or gone: in either case its reservation has served.
            if entry.settle() {
                live.release();
            }
        }
        self.outcome.change = live.poll_succeeded(thresholds, now_ms);
        (Polled { meetings: self.meetings, attendees: self.attendees }, self.outcome)
    }
}
