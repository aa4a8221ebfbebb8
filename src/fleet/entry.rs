//! A meeting in the directory: what does not change of it, and what polls and front ends change.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::identity;
use super::instances::Ticket;
use super::limits::{Part, People};
use super::live::Live;
use super::origin::Origin;
use super::placement::{Reservation, Seat};
use super::predict::{self, Burden, Joins};
use crate::model::{Extent, MOST_ATTENDEES, Meeting, MeetingKey, NodeName};

/// Where a meeting is in its life.
///
/// `Running` → `Ended` when a front end ended it; `Running` → `Lost` when its node was down for too long,
/// and back when the node returns with it. From any of them it leaves the directory when its node no
/// longer reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Created, and not known to have ended.
    Running,
    /// Forcibly ended; its node still shows it for a while. A new create of its id is a new meeting.
    Ended,
    /// On a node that has been down for longer than the grace; unknown to front ends.
    Lost,
}

/// What a new meeting holds for a while; small, as there may be a hundred thousand of them.
#[derive(Default)]
struct Pending {
    /// The place on its node that was reserved for it, until a poll has counted it.
    seat: Option<Seat>,
    /// What other instances know its create by, until they are told of the meeting.
    ticket: Option<Box<Ticket>>,
}

/// What few meetings have.
struct Rare {
    /// What it was created as on the node, where that is not `{id}@{scope}`.
    other_name: Option<Box<str>>,
    /// For a breakout room, the internal id of its parent.
    parent_internal_id: Option<Box<str>>,
    /// Nodes on which its create failed.
    tried: Vec<NodeName>,
}

impl Rare {
    const NONE: Self = Self { other_name: None, parent_internal_id: None, tried: Vec::new() };
}

/// What a poll has shown of how many are in a meeting.
pub(super) struct Seen {
    /// Not as many as the poll before.
    pub(super) is_other: bool,
    /// More than ever.
    pub(super) is_more: bool,
}

/// A meeting in the directory.
pub struct Entry {
    key: MeetingKey,
    node: NodeName,
    internal_id: Box<str>,
    /// Where it has something of it.
    rare: Option<Box<Rare>>,
    created_at_ms: u64,
    /// The same by the fleet's steady clock.
    began_ms: u64,
    /// Attendees that it is expected to have at its fullest, and that it has had.
    expected: f32,
    peak: AtomicU32,
    /// Joins signed here that polls may not have counted.
    joins: Joins,
    /// What it weighs on its node.
    burden: Burden,
    /// The `<meeting>` element for `getMeetings`, in the front end's words.
    xml: Mutex<Bytes>,
    attendees: AtomicU32,
    phase: AtomicU8,
    /// What it holds until a poll has counted it.
    pending: Mutex<Pending>,
    /// What it counts for among its tenant's meetings, if it [counts](Self::counts).
    part: Option<Part>,
    origin: OnceLock<Box<Origin>>,
    /// The store has it as it is.
    is_saved: AtomicBool,
    /// A poll has counted it, or could have.
    is_settled: AtomicBool,
    /// The last poll that could has shown it, here or at another instance.
    is_shown: AtomicBool,
    /// What it was when other instances were last told, or told us, in one number; 0 if they never were.
    told: AtomicU64,
    /// Polls in a row that did not show it, in the lowest byte, and during which watch over its node.
    missed: AtomicU32,
}

impl Entry {
    /// `began_ms`: when it was created, by the fleet's steady clock.
    pub(super) fn new(
        meeting: Meeting,
        reservation: Option<Reservation>,
        is_saved: bool,
        began_ms: u64,
    ) -> Self {
        let (seat, expected, burden) = match reservation.map(Reservation::hand_over) {
            Some((seat, expected, burden)) => (Some(seat), expected, burden),
            None => {
                (None, predict::attendees(meeting.extent.expected_thousandths), Burden::default())
            }
        };
        let mut key = meeting.key;
        // There may be a hundred thousand of them.
        key.id.shrink_to_fit();
        let is_usual = meeting.node_meeting_id == identity::scoped(&key.scope, &key.id);
        let rare = (!is_usual || meeting.parent_internal_id.is_some()).then(|| Rare {
            other_name: (!is_usual).then(|| meeting.node_meeting_id.into()),
            parent_internal_id: meeting.parent_internal_id.map(Into::into),
            ..Rare::NONE
        });
        Self {
            key,
            node: meeting.node,
            internal_id: meeting.internal_id.into(),
            rare: rare.map(Box::new),
            created_at_ms: meeting.created_at_ms,
            began_ms,
            expected,
            peak: AtomicU32::new(meeting.extent.peak.min(MOST_ATTENDEES)),
            joins: Joins::default(),
            burden,
            xml: Mutex::new(meeting.xml.into()),
            attendees: AtomicU32::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
            pending: Mutex::new(Pending { seat, ticket: None }),
            part: None,
            origin: OnceLock::new(),
            is_saved: AtomicBool::new(is_saved),
            is_settled: AtomicBool::new(false),
            is_shown: AtomicBool::new(false),
            told: AtomicU64::new(0),
            missed: AtomicU32::new(0),
        }
    }

    pub(super) fn with_ticket(self, ticket: Option<Ticket>) -> Self {
        self.pending.lock().ticket = ticket.map(Box::new);
        self
    }

    pub(super) fn with_part(self, part: Option<Part>) -> Self {
        Self { part, ..self }
    }

    pub(super) fn tried_on(mut self, nodes: Vec<NodeName>) -> Self {
        if !nodes.is_empty() {
            self.rare.get_or_insert_with(|| Box::new(Rare::NONE)).tried = nodes;
        }
        self
    }

    fn rare(&self) -> &Rare {
        static NOTHING: Rare = Rare::NONE;
        self.rare.as_deref().unwrap_or(&NOTHING)
    }

    /// Whether its create failed on this node before it came where it is.
    pub(super) fn was_tried_on(&self, node: &NodeName) -> bool {
        self.tried().contains(node)
    }

    /// Whose it is, and what the front end calls it.
    pub fn key(&self) -> &MeetingKey {
        &self.key
    }

    /// The node that runs it, if it is a main meeting.
    pub(super) fn main_on(&self) -> Option<&NodeName> {
        self.parent_internal_id().is_none().then_some(&self.node)
    }

    /// The node that runs it.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// `meetingID` for calls to the node about this meeting. A plain id or a breakout room's could be the
    /// beginning of another meeting's internal id, which a node would take instead.
    pub fn node_meeting_id(&self) -> Cow<'_, str> {
        let is_breakout = self.parent_internal_id().is_some();
        match &self.rare().other_name {
            None if !is_breakout => self.name().into(),
            Some(digest) if !is_breakout && identity::owner(digest).is_some() => (&**digest).into(),
            _ => (&*self.internal_id).into(),
        }
    }

    /// What it was created as on its node.
    fn name(&self) -> String {
        match &self.rare().other_name {
            None => identity::scoped(&self.key.scope, &self.key.id),
            Some(name) => name.to_string(),
        }
    }

    /// What the front end created this breakout room as, if it did.
    pub fn created_as(&self) -> Option<&str> {
        self.parent_internal_id()?;
        let (owner, id) = identity::owner(self.rare().other_name.as_ref()?)?;
        (owner == self.key.scope).then_some(id)
    }

    /// Whether it counts among its tenant's meetings. A breakout room does if a front end has created it; one
    /// that its node has made is a part of its main meeting, and so are its people.
    pub fn counts(&self) -> bool {
        self.parent_internal_id().is_none() || self.created_as().is_some()
    }

    /// BigBlueButton's internal id.
    pub fn internal_id(&self) -> &str {
        &self.internal_id
    }

    /// For a breakout room, the internal id of its parent.
    pub fn parent_internal_id(&self) -> Option<&str> {
        self.rare().parent_internal_id.as_deref()
    }

    /// When it was placed, or first seen, ms since 1970.
    pub fn created_at_ms(&self) -> u64 {
        self.created_at_ms
    }

    /// The same by the fleet's [steady](super::Clock::steady_ms) clock.
    pub fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// The `<meeting>` element for `getMeetings`.
    pub fn xml(&self) -> Bytes {
        self.xml.lock().clone()
    }

    /// Attendees at the last poll.
    pub fn attendees(&self) -> u32 {
        self.attendees.load(Ordering::Relaxed)
    }

    /// Attendees at its fullest, as far as polls have seen.
    pub fn peak(&self) -> u32 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Attendees as far as is known of a meeting whose node says no more of it: by the last poll and the joins since,
    /// and where no poll has shown it here, at its fullest.
    pub(super) fn last_known(&self) -> u32 {
        let here = self.attendees().saturating_add(self.joins.sum());
        if self.is_shown() { here } else { here.max(self.peak()) }
    }

    /// Attendees that it was expected to have at its fullest when it was placed; 0 where nobody knows.
    pub fn expected(&self) -> f32 {
        self.expected
    }

    /// Counts a join that was signed.
    pub fn count_join(&self) {
        let with_it = self.attendees().saturating_add(self.joins.count());
        // Whoever was expected weighs already.
        if f64::from(with_it) > f64::from(self.expected) {
            self.burden.add_one();
        }
    }

    /// Weighs on its node what it weighs now. It was last weighed so long ago.
    pub(super) fn weigh(&self, live: &Arc<Live>, steady_ms: u64, after: Duration) {
        self.joins.polled(after);
        if self.phase() != Phase::Running || self.parent_internal_id().is_some() {
            return self.burden.lift();
        }
        let here = f64::from(self.attendees().saturating_add(self.joins.sum()));
        let age_ms = steady_ms.saturating_sub(self.began_ms);
        self.burden.lay(live, predict::occupied(here, self.expected.into(), age_ms));
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Ended,
            _ => Phase::Lost,
        }
    }

    /// Marks it as ended by a front end.
    pub fn mark_ended(&self) {
        self.set_phase(Phase::Ended);
    }

    /// What it weighs on its node, in thousandths of attendees.
    #[cfg(test)]
    pub(super) fn weighs(&self) -> u32 {
        self.burden.weighs()
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        let store = || self.phase.store(phase as u8, Ordering::Release);
        match &self.part {
            Some(part) => part.set(phase == Phase::Running, self.main_on(), store),
            None => store(),
        }
        // Back, it is weighed with the next poll.
        if phase != Phase::Running {
            self.burden.lift();
        }
    }

    /// Whether the store has it.
    pub fn is_saved(&self) -> bool {
        self.is_saved.load(Ordering::Acquire)
    }

    /// Notes that the store has it.
    pub fn mark_saved(&self) {
        self.is_saved.store(true, Ordering::Release);
    }

    /// Another meeting has had its key, and its row, meanwhile.
    pub(super) fn mark_unsaved(&self) {
        self.is_saved.store(false, Ordering::Release);
    }

    /// Takes over what a poll shows.
    pub(super) fn see(&self, xml: Bytes, people: People) -> Seen {
        *self.xml.lock() = xml;
        let others = self.attendees.swap(people.attendees, Ordering::Relaxed);
        let before = self.peak.fetch_max(people.attendees, Ordering::Relaxed);
        if let Some(part) = &self.part {
            part.see(people);
        }
        self.missed.store(0, Ordering::Relaxed);
        // How many were in it when we began is not known, but where there never was anybody.
        let is_first = !self.is_shown.swap(true, Ordering::Relaxed) && before > 0;
        Seen {
            is_other: others != people.attendees || is_first,
            is_more: before < people.attendees,
        }
    }

    /// Whether the last poll that could has shown it.
    pub(super) fn is_shown(&self) -> bool {
        self.is_shown.load(Ordering::Relaxed)
    }

    /// What other instances know of it.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    pub(super) fn set_told(&self, told: u64) {
        self.told.store(told, Ordering::Relaxed);
    }

    /// What other instances know its create by. Whoever takes it tells them of the meeting.
    pub(super) fn take_ticket(&self) -> Option<Ticket> {
        self.pending.lock().ticket.take().map(|ticket| *ticket)
    }

    /// Nodes on which its create failed.
    pub(super) fn tried(&self) -> &[NodeName] {
        &self.rare().tried
    }

    /// Counts a poll that does not show it; returns how many there were in a row. What was counted during
    /// another [watch](super::Live::begin_watch) does not: somebody else may have seen it since.
    pub(super) fn miss(&self, watch: u32) -> u8 {
        self.is_shown.store(false, Ordering::Relaxed);
        let watch = watch << 8;
        let before = self.missed.load(Ordering::Relaxed);
        let so_far = if before & !0xff == watch { before & 0xff } else { 0 };
        let count = (so_far + 1).min(0xff);
        self.missed.store(watch | count, Ordering::Relaxed);
        u8::try_from(count).unwrap_or(u8::MAX)
    }

    /// Who is in it, by the last poll; nobody where it does not [count](Self::counts).
    pub fn people(&self) -> People {
        self.part.as_ref().map(Part::people).unwrap_or_default()
    }

    /// Where it was made, as its front end says. Looked up once, when somebody asks.
    pub fn origin(&self) -> &Origin {
        self.origin.get_or_init(|| Box::new(Origin::of(&self.xml())))
    }

    /// No longer counts for its tenant: it leaves the directory.
    pub(super) fn leave(&self) {
        self.burden.take_off();
        if let Some(part) = &self.part {
            part.leave(self.main_on());
        }
    }

    /// Counts it among its tenant's meetings that are over. Of all instances the one does that has taken it out
    /// of the store, and nobody a second time.
    pub fn count_end(&self, now_ms: u64) {
        if let Some(part) = &self.part {
            part.lasted(now_ms.saturating_sub(self.created_at_ms));
        }
    }

    /// Gives the reserved place back: a poll has counted the meeting, or it is over. Returns whether that is
    /// news.
    pub(super) fn settle(&self) -> bool {
        // Not its ticket: until others are told of the meeting, it is what counts there.
        drop(self.pending.lock().seat.take());
        !self.is_settled.swap(true, Ordering::Relaxed)
    }

    /// As it is remembered.
    pub fn to_meeting(&self) -> Meeting {
        Meeting {
            key: self.key.clone(),
            node: self.node.clone(),
            node_meeting_id: self.name(),
            internal_id: self.internal_id.to_string(),
            created_at_ms: self.created_at_ms,
            parent_internal_id: self.parent_internal_id().map(str::to_owned),
            extent: Extent {
                expected_thousandths: predict::thousandths(self.expected.into()),
                peak: self.peak(),
            },
            xml: self.xml().to_vec().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stays_within_the_allocators_class() {
        // With the two counts of its Arc; the next class is 384 bytes.
        assert!(size_of::<Entry>() + 16 <= 320, "{}", size_of::<Entry>());
    }
}
