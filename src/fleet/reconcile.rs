//! Brings what a node reports together with what we know.
//!
//! A [`Poll`] takes meetings as they stream in, and acts at its end only, so that a poll that breaks off
//! changes nothing but the details of meetings it has truly seen. It ends nothing: what runs under a key
//! that runs on another node, too, it names as a [`Double`], of which both nodes are to be asked first.
//!
//! Where other instances create meetings, what is strange to us may be theirs. So the store is asked about
//! [`strange`](Poll::strange) keys between the list and its end, and its row decides whose is whose.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Fleet;
use super::doubles::{Double, Here};
use super::entry::{Entry, Phase};
use super::health::{Change, Thresholds};
use super::identity;
use super::instances::event::Counts;
use super::instances::{Outcome, TOLD_ONCE};
use super::journal::Fate;
use super::limits::People;
use super::snapshot::{Node, Snapshot};
use crate::bbb::MeetingInfo;
use crate::model::{Extent, MOST_ATTENDEES, Meeting, MeetingKey, NodeName, SubId};

/// Polls in a row that must not show a meeting until it counts as over. One could be a race of the node
/// with itself: its list is not a snapshot.
const MISSES_UNTIL_OVER: u8 = 2;
/// Meetings that one poll may add. A node taken over with more gets the rest with its next polls, and one
/// that makes meetings up cannot fill the memory.
const MAX_ADOPTED: usize = 2000;

/// A poll of one node that is under way.
pub struct Poll<'a> {
    fleet: &'a Fleet,
    snapshot: Arc<Snapshot>,
    node: Arc<Node>,
    joins_at_start: u32,
    /// What was on the node before the poll began: what it may be expected to show.
    expected: Vec<Arc<Entry>>,
    seen: HashSet<Box<str>>,
    /// What it has shown of ours, also of what was entered since it began.
    shown: Vec<Arc<Entry>>,
    /// Meetings that another node runs, too.
    twins: Vec<Double>,
    /// What we do not know.
    strangers: Vec<Stranger>,
    told: Told,
    meetings: u32,
    attendees: u32,
}

/// A running meeting that is not in the directory.
struct Stranger {
    meeting: Meeting,
    people: People,
}

/// What the store says of the meetings that a poll does not know.
#[derive(Debug, Default)]
pub enum Told {
    /// It was not asked: nobody else creates meetings.
    #[default]
    Nothing,
    /// It cannot be asked. Nothing is ended then, and nothing adopted that could be another one's.
    Away,
    /// What it has under these keys, and which of them are being created by anybody.
    Said {
        /// By their key.
        rows: HashMap<MeetingKey, Meeting>,
        /// Left alone until the next poll.
        claimed: HashSet<MeetingKey>,
    },
}

impl Told {
    fn is_claimed(&self, key: &MeetingKey) -> bool {
        matches!(self, Self::Said { claimed, .. } if claimed.contains(key))
    }

    fn row(&self, key: &MeetingKey) -> Option<&Meeting> {
        let Self::Said { rows, .. } = self else { return None };
        rows.get(key)
    }
}

/// What has to be done after a poll.
#[derive(Default)]
pub struct Reconciled {
    /// Meetings found on the node that we did not know, already in the directory, not yet in the store.
    pub adopted: Vec<Arc<Entry>>,
    /// Meetings that are over: already out of the directory, still in the store.
    pub over: Vec<Arc<Entry>>,
    /// Meetings of this node whose key runs on another one, too.
    pub doubles: Vec<Double>,
    /// Meetings that the store has and the node no longer does: it runs others under their keys.
    pub outdated: Vec<Meeting>,
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
            shown: Vec::new(),
            twins: Vec::new(),
            strangers: Vec::new(),
            told: Told::Nothing,
            meetings: 0,
            attendees: 0,
        }
    }

    /// Has all meetings of a node weigh what they weigh by now: to be called when a poll has counted them.
    pub(super) fn weigh(&self, node: &Node) {
        let entries = self.directory.on_node(node.name());
        let is_counted = |entry: &&Arc<Entry>| {
            entry.phase() == Phase::Running && entry.parent_internal_id().is_none()
        };
        let ours: u64 =
            entries.iter().filter(is_counted).map(|entry| u64::from(entry.attendees())).sum();
        let steady_ms = self.directory.clock.steady_ms();
        let after = node.live.weighed(u32::try_from(ours).unwrap_or(u32::MAX), steady_ms);
        for entry in &entries {
            entry.weigh(&node.live, steady_ms, after);
        }
    }

    /// Has a meeting that was placed elsewhere, or when we last ran, weigh at once what is still expected of it: what
    /// is placed before a poll has counted it is not to come on top.
    pub(super) fn weigh_unpolled(&self, node: &Node, entry: &Entry) {
        entry.weigh(&node.live, self.directory.clock.steady_ms(), Duration::ZERO);
    }

    /// Whether a node has been down for so long, however the time of day was set meanwhile.
    pub fn is_down_for(&self, node: &Node, span: Duration) -> bool {
        node.live.down_since().is_some_and(|since| self.clock().is_past(since, span))
    }

    /// Hides the meetings of a node that has been down for longer than the grace: the next create of
    /// such a meeting is placed elsewhere. Returns how many there were.
    pub fn lose_meetings_on(&self, node: &NodeName) -> usize {
        let entries = self.directory.on_node(node);
        let running = entries.iter().filter(|entry| entry.phase() == Phase::Running);
        let lose = |entry: &Arc<Entry>| {
            entry.set_phase(Phase::Lost);
            self.journal().meeting(Fate::Lost, entry);
            if entry.told() != 0 {
                // When it is back others are told, for they have lost it, too.
                entry.set_told(TOLD_ONCE);
            }
        };
        let count = running.map(lose).count();
        if let Some(node) = self.peek().node(node.as_str()) {
            node.live.lost(count, self.instances.is_linked() && !self.instances.in_touch());
        }
        count
    }
}

impl Poll<'_> {
    /// Takes one meeting of the node's list.
    pub fn meeting(&mut self, info: MeetingInfo<'_>) {
        let internal_id = info.internal_id().into_owned();
        let is_over = info.has_been_forcibly_ended() || info.end_time_ms() > 0;
        let people = people_in(&info);
        let attendees = people.attendees;
        if !is_over && !info.is_breakout() {
            self.meetings = self.meetings.saturating_add(1);
            self.attendees = self.attendees.saturating_add(attendees);
        }
        match self.fleet.directory.get_internal(&internal_id) {
            // Over while the node was away: as good as not shown.
            Some(entry) if is_over && entry.phase() == Phase::Lost => {}
            Some(entry) if entry.node() == self.node.name() => {
                if is_over {
                    entry.mark_ended();
                }
                let xml = identity::reworded(info, entry.key(), entry.created_as());
                let seen = entry.see(xml.into_boxed_slice().into(), people);
                self.fleet.note_seen(&entry, &seen);
                self.seen.insert(internal_id.into());
                self.shown.push(entry);
            }
            // A node cannot take over what another one runs by naming its internal id. It can run the
            // same meeting, created there in the same millisecond, where that create seemed to fail.
            // Anywhere else it is the same server by another name.
            Some(entry) if !is_over && entry.was_tried_on(self.node.name()) => {
                if *entry.node_meeting_id() == *info.meeting_id() {
                    let node = self.node.name().clone();
                    let twin = Box::new(Meeting { node, ..entry.to_meeting() });
                    self.twins.push(Double { here: Here::Twin(twin), rival: entry });
                }
            }
            Some(_) => {}
            None if is_over || self.strangers.len() >= MAX_ADOPTED => {}
            None => {
                let Some(meeting) = self.claimed_by_its_name(info) else { return };
                if self.fleet.claims.is_claimed(&meeting.key) {
                    // It is being created. Its reservation weighs until the directory has it.
                    self.meetings = self.meetings.saturating_sub(1);
                    self.attendees = self.attendees.saturating_sub(attendees);
                } else {
                    self.strangers.push(Stranger { meeting, people });
                }
            }
        }
    }

    /// An unknown meeting as its names on the node tell whose it is.
    fn claimed_by_its_name(&self, info: MeetingInfo<'_>) -> Option<Meeting> {
        let (internal_id, on_node) =
            (info.internal_id().into_owned(), info.meeting_id().into_owned());
        let parent = info.parent_internal_id().map(std::borrow::Cow::into_owned);
        let key = match &parent {
            Some(parent) if info.is_breakout() => {
                let parent = self.fleet.directory.get_internal(parent)?;
                if parent.node() != self.node.name() {
                    return None;
                }
                MeetingKey { scope: parent.key().scope.clone(), id: on_node.clone() }
            }
            _ if !identity::is_internal_id_of(&internal_id, &on_node) => return None,
            _ => match identity::owner(&on_node) {
                // Its own id is not known to anybody but the one that created it.
                Some((_, id)) if identity::is_digest(id) => return None,
                Some((scope, id)) => {
                    let tenant = &self.snapshot.tenant(scope.tenant.as_str())?.tenant;
                    tenant.secret(scope.sub)?;
                    // The tenant's own scope shares its text with all others.
                    MeetingKey { id: id.to_owned(), scope: tenant.scope(scope.sub) }
                }
                None => {
                    let tenant = self.snapshot.plain_tenant()?;
                    MeetingKey { scope: tenant.tenant.scope(SubId::MAIN), id: on_node.clone() }
                }
            },
        };
        let created_at_ms = info.create_time_ms();
        Some(Meeting {
            xml: identity::reworded(info, &key, None).into(),
            key,
            node: self.node.name().clone(),
            node_meeting_id: on_node,
            internal_id,
            created_at_ms,
            parent_internal_id: parent,
            extent: Extent::default(),
        })
    }

    /// The keys of which only a store that others write to can say whose they are.
    pub fn strange(&self) -> Vec<MeetingKey> {
        self.strangers.iter().map(|stranger| stranger.meeting.key.clone()).collect()
    }

    /// Takes what the store says of [`strange`](Self::strange) keys.
    pub fn hear(&mut self, told: Told) {
        self.told = told;
    }

    /// The list was complete: takes its counts over, adopts strangers, closes what it did not show.
    pub fn finish(self, thresholds: Thresholds, now_ms: u64) -> (Polled, Reconciled) {
        let Self { fleet, node, joins_at_start, expected, seen, shown, twins, strangers, .. } =
            self;
        let (meetings, attendees) = (self.meetings, self.attendees);
        let mut outcome = Reconciled { doubles: twins, ..Reconciled::default() };
        node.live.polled(meetings, attendees, joins_at_start);
        // Counted now: their reservations have served.
        let mut settled: Vec<String> = Vec::new();
        let mut settle = |entry: &Entry| {
            if entry.settle() {
                settled.push(entry.internal_id().to_owned());
            }
        };
        for entry in &shown {
            settle(entry);
        }
        for Stranger { mut meeting, people } in strangers {
            match whose(fleet, &self.snapshot, &self.told, &seen, &meeting) {
                Whose::Unclear => {}
                Whose::Double(rival) => {
                    let here = Here::Stranger(Box::new(meeting));
                    outcome.doubles.push(Double { here, rival });
                }
                Whose::New { is_saved, outdated, extent } => {
                    meeting.extent = extent;
                    let holder = fleet.directory.get(&meeting.key.scope, &meeting.key.id);
                    let entry = fleet.directory.adopt(meeting, is_saved);
                    let seen = entry.see(entry.xml(), people);
                    fleet.note_seen(&entry, &seen);
                    if holder.is_some_and(|holder| holder.phase() == Phase::Running) {
                        fleet.tell_moved(&entry, None);
                    }
                    outcome.adopted.push(entry);
                    outcome.outdated.extend(outdated);
                }
            }
        }
        let watch = node.live.watch();
        for entry in expected {
            if seen.contains(entry.internal_id()) {
                if let Some(rival) = rival_of(fleet, &entry) {
                    outcome.doubles.push(Double { here: Here::Displaced(entry.clone()), rival });
                }
            } else if entry.phase() == Phase::Ended
                // Whoever creates it right now may have found it where it was.
                || (entry.miss(watch) >= MISSES_UNTIL_OVER && !fleet.claims.is_claimed(entry.key()))
            {
                fleet.directory.remove(&entry);
                outcome.over.push(entry);
                continue;
            }
            // As good as gone, if not counted.
            settle(&entry);
        }
        if matches!(self.told, Told::Away) {
            outcome.doubles.clear();
        }
        fleet.weigh(&node);
        outcome.change = node.live.poll_succeeded(thresholds, fleet.clock().moment_of(now_ms));
        let over = outcome.over.iter().map(|entry| entry.internal_id().to_owned()).collect();
        let counts = Some(Counts { meetings, attendees, joins: joins_at_start });
        fleet.tell_poll(&node, Outcome { counts, settled, over, lost: false });
        (Polled { meetings, attendees }, outcome)
    }
}

/// Whose a stranger is.
enum Whose {
    /// That will show: it is being created, or known by now.
    Unclear,
    /// The meeting of its key, in place of what the store has of it there.
    New { is_saved: bool, outdated: Option<Meeting>, extent: Extent },
    /// One that runs elsewhere, too.
    Double(Arc<Entry>),
}

/// Decides whose a stranger is; what the store has elsewhere under its key is learned on the way.
fn whose(
    fleet: &Fleet,
    snapshot: &Snapshot,
    told: &Told,
    seen: &HashSet<Box<str>>,
    stranger: &Meeting,
) -> Whose {
    let (key, directory) = (&stranger.key, &fleet.directory);
    // A create that has begun meanwhile enters it by itself. Or it was entered meanwhile, perhaps by the poll
    // of the same server under its other name.
    if fleet.claims.is_claimed(key)
        || told.is_claimed(key)
        || directory.get_internal(&stranger.internal_id).is_some()
    {
        return Whose::Unclear;
    }
    let mut outdated = None;
    match told.row(key) {
        None => {}
        Some(row) if row.internal_id == stranger.internal_id => {
            // Whatever else has the key here, the row decides for all instances.
            let is_saved = row.node == stranger.node;
            return Whose::New { is_saved, outdated, extent: row.extent };
        }
        // A node runs one meeting of a name: the younger one.
        Some(row) if row.node == stranger.node => {
            if row.created_at_ms > stranger.created_at_ms || seen.contains(&*row.internal_id) {
                return Whose::Unclear;
            }
            outdated = Some(row.clone());
        }
        Some(row) => {
            let is_known = directory.get_internal(&row.internal_id).is_some();
            if !is_known && snapshot.node(row.node.as_str()).is_none() {
                return Whose::Unclear;
            }
            fleet.learn(row.clone());
        }
    }
    match directory.get(&key.scope, &key.id) {
        Some(other) if other.phase() == Phase::Running && other.node() != &stranger.node => {
            Whose::Double(other)
        }
        _ => Whose::New { is_saved: false, outdated, extent: Extent::default() },
    }
}

/// What a node says beyond all measure must not fill whole nodes, and what is learned.
fn people_in(info: &MeetingInfo<'_>) -> People {
    People {
        attendees: info.participant_count().min(MOST_ATTENDEES),
        listeners: info.listener_count().min(MOST_ATTENDEES),
        voices: info.voice_participant_count().min(MOST_ATTENDEES),
        videos: info.video_count().min(MOST_ATTENDEES),
        moderators: info.moderator_count().min(MOST_ATTENDEES),
    }
}

/// The meeting that runs elsewhere under the key of one that its node shows. Without such a meeting, the key is
/// its own again: its node is back, or what had taken the key is gone.
fn rival_of(fleet: &Fleet, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
    let key = entry.key();
    let holder = || fleet.directory.get(&key.scope, &key.id);
    let is_held = || holder().is_some_and(|holder| Arc::ptr_eq(&holder, entry));
    if entry.phase() == Phase::Ended || is_held() {
        return None;
    }
    if fleet.directory.revive(entry) {
        if entry.told() != 0 {
            // Others are told with this poll, for they do not find it by its key either.
            entry.set_told(TOLD_ONCE);
        }
        return None;
    }
    holder().filter(|other| other.phase() == Phase::Running && other.node() != entry.node())
}
