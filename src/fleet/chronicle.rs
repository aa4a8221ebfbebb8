//! What is to be written down of meetings, until the store has it.
//!
//! Creates, polls and ends note here what has happened and go on; a task takes what is due. A meeting waits here only
//! while there is something new of it, and the older it is the longer, so that one whose people come and go all the time
//! does not keep the store busy. Where the store is away there is an end to what waits: what is too much is dropped,
//! and counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::clock::Clock;
use super::entry::{Entry, Phase};
use super::outlook::Hints;
use crate::model::{Counted, MeetingLine, spacing_ms};

/// Meetings that wait.
const MAX_WAITING: usize = 100_000;
/// Counts in them.
const MAX_COUNTS: usize = 1_000_000;
/// Bytes of an internal id: real ones have 54, and no store has keys of any length.
const MAX_ID: usize = 300;

/// See the module. It is silent until it is opened.
#[derive(Debug, Default)]
pub struct Chronicle {
    is_open: AtomicBool,
    buffer: Mutex<Buffer>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Buffer {
    /// By internal id.
    waiting: HashMap<Box<str>, Line>,
    /// When something of these is due, by the steady clock. Of what was taken since nothing is.
    due: BinaryHeap<Reverse<(u64, Box<str>)>>,
    counts: usize,
}

/// What is new of a meeting.
#[derive(Debug)]
pub struct Line {
    /// To be written down.
    pub told: MeetingLine,
    /// How many are in it and when that was counted, where it is not among the counts yet.
    latest: Option<Counted>,
}

impl Chronicle {
    /// From here on it takes note.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// How much was given up, in meetings.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many meetings wait for the store.
    pub fn waiting(&self) -> usize {
        self.buffer.lock().waiting.len()
    }

    /// A front end has created a meeting here.
    pub(super) fn created(&self, clock: &Clock, entry: &Entry, hints: Hints) {
        self.note(clock, entry, 0, |line| {
            line.told.max_participants = hints.max_participants.unwrap_or_default();
            line.told.size_hint = hints.size.unwrap_or_default();
        });
    }

    /// A poll of ours has counted others in it than the one before.
    pub(super) fn counted(&self, clock: &Clock, entry: &Entry) {
        let age_ms = clock.now_ms().saturating_sub(entry.created_at_ms());
        let after_s = u32::try_from(age_ms / 1000).unwrap_or(u32::MAX);
        self.note(clock, entry, spacing_ms(age_ms), |line| {
            line.latest = Some(Counted { after_s, attendees: entry.attendees() });
            line.told.peak = line.told.peak.max(entry.peak());
        });
    }

    /// It is over. Of one that its node has taken with it nobody knows when.
    pub(super) fn ended(&self, clock: &Clock, entry: &Entry) {
        let is_seen = entry.phase() != Phase::Lost;
        self.note(clock, entry, 0, |line| {
            line.told.ended_at_ms = is_seen.then(|| clock.now_ms());
            line.told.peak = line.told.peak.max(entry.peak());
        });
    }

    fn note(&self, clock: &Clock, entry: &Entry, due_in_ms: u64, change: impl FnOnce(&mut Line)) {
        // The people of a breakout room are in its main meeting.
        if !self.is_open.load(Ordering::Relaxed) || entry.parent_internal_id().is_some() {
            return;
        }
        // What no BigBlueButton has given it is not written down.
        if entry.internal_id().len() > MAX_ID {
            return;
        }
        let due_ms = clock.steady_ms().saturating_add(due_in_ms);
        let mut buffer = self.buffer.lock();
        let known = buffer.waiting.get_mut(entry.internal_id());
        let is_due_sooner = known.is_none() || due_in_ms == 0;
        if let Some(line) = known {
            change(line);
        } else if buffer.waiting.len() < MAX_WAITING {
            let mut line = Line::of(entry);
            change(&mut line);
            buffer.waiting.insert(entry.internal_id().into(), line);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if is_due_sooner {
            buffer.due.push(Reverse((due_ms, entry.internal_id().into())));
        }
    }

    /// Some of what is due by then, by the steady clock, or of all that waits.
    pub fn take(&self, until_ms: Option<u64>, most: usize) -> Vec<Line> {
        let (mut buffer, mut taken) = (self.buffer.lock(), Vec::new());
        while taken.len() < most {
            let Some(Reverse((due_ms, _))) = buffer.due.peek() else { break };
            if until_ms.is_some_and(|until_ms| *due_ms > until_ms) {
                break;
            }
            let Some(Reverse((_, id))) = buffer.due.pop() else { break };
            if let Some(mut line) = buffer.waiting.remove(&id) {
                buffer.counts -= line.told.counts.len();
                line.told.counts.extend(line.latest.take());
                taken.push(line);
            }
        }
        taken
    }

    /// Gives up what the store will never take.
    pub fn give_up(&self, lines: &[Line]) {
        self.dropped.fetch_add(lines.len() as u64, Ordering::Relaxed);
    }

    /// Gives back what the store did not take; it is due at once.
    pub fn give_back(&self, lines: Vec<Line>) {
        let mut buffer = self.buffer.lock();
        for mut line in lines {
            let id: Box<str> = line.told.internal_id.as_str().into();
            if let Some(newer) = buffer.waiting.remove(&id) {
                buffer.counts -= newer.told.counts.len();
                line.add(newer);
            } else if buffer.waiting.len() >= MAX_WAITING {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if buffer.counts + line.told.counts.len() > MAX_COUNTS {
                line.told.counts.clear();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            buffer.counts += line.told.counts.len();
            buffer.due.push(Reverse((0, id.clone())));
            buffer.waiting.insert(id, line);
        }
    }
}

impl Line {
    fn of(entry: &Entry) -> Self {
        let told = MeetingLine {
            key: entry.key().clone(),
            internal_id: entry.internal_id().to_owned(),
            node: entry.node().clone(),
            created_at_ms: entry.created_at_ms(),
            max_participants: 0,
            size_hint: 0,
            peak: entry.peak(),
            ended_at_ms: None,
            is_running: true,
            counts: Vec::new(),
        };
        Self { told, latest: None }
    }

    /// Takes up what was noted since.
    fn add(&mut self, newer: Self) {
        let Self { told, latest } = newer;
        self.told.max_participants = self.told.max_participants.max(told.max_participants);
        self.told.size_hint = self.told.size_hint.max(told.size_hint);
        self.told.peak = self.told.peak.max(told.peak);
        self.told.ended_at_ms = told.ended_at_ms.or(self.told.ended_at_ms);
        self.told.counts.extend(told.counts);
        self.latest = latest.or(self.latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;
    use crate::fleet::tests::fixture::{fleet, key, listed, meeting, poll};
    use crate::model::NodeName;

    const NOON_MS: u64 = 1_795_000_000_000;

    fn pool() -> Fleet {
        let fleet = fleet(&["a"]).simulated();
        fleet.clock().set(NOON_MS);
        fleet.chronicle.open();
        fleet
    }

    fn enter(fleet: &Fleet, number: u64) -> std::sync::Arc<Entry> {
        let id = format!("m{number}");
        let name = NodeName::new("a");
        let meeting = meeting(&key("acme", &id), &name, &format!("{id}@acme"), NOON_MS);
        fleet.directory.adopt(meeting, true)
    }

    fn count(fleet: &Fleet, attendees: u32) {
        poll(fleet, "a", vec![listed("m1@acme", NOON_MS, attendees)]);
    }

    fn due(fleet: &Fleet) -> Vec<Line> {
        fleet.chronicle.take(Some(fleet.clock().steady_ms()), 1000)
    }

    #[test]
    fn what_happens_is_told_when_it_is_due_and_once() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        fleet.note_created(&entry, Hints { max_participants: Some(30), size: Some(25) });
        let told = due(&fleet);
        assert_eq!(
            (told.len(), told[0].told.max_participants, told[0].told.size_hint),
            (1, 30, 25)
        );
        assert!(due(&fleet).is_empty());
        for (at_s, attendees) in [(10, 1), (12, 3), (14, 3)] {
            fleet.clock().set(NOON_MS + at_s * 1000);
            count(&fleet, attendees);
            assert!(due(&fleet).is_empty(), "not at once");
        }
        fleet.clock().set(NOON_MS + 15_000);
        let told = due(&fleet);
        assert_eq!(told[0].told.counts, [Counted { after_s: 12, attendees: 3 }]);
        // Nobody comes or goes.
        fleet.clock().set(NOON_MS + 60_000);
        count(&fleet, 3);
        fleet.clock().set(NOON_MS + 600_000);
        assert!(due(&fleet).is_empty());
        fleet.learn_end(&entry);
        let told = due(&fleet);
        assert_eq!((told[0].told.ended_at_ms, told[0].told.peak), (Some(NOON_MS + 600_000), 3));
    }

    #[test]
    fn when_a_meeting_was_over_that_went_with_its_node_is_not_known() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        fleet.lose_meetings_on(&NodeName::new("a"));
        fleet.learn_end(&entry);
        assert_eq!(due(&fleet)[0].told.ended_at_ms, None);
    }

    #[test]
    fn what_the_store_does_not_take_is_told_again_with_what_is_new() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        fleet.note_created(&entry, Hints { max_participants: Some(30), size: None });
        let told = due(&fleet);
        fleet.clock().set(NOON_MS + 10_000);
        count(&fleet, 4);
        fleet.chronicle.give_back(told);
        let told = due(&fleet);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].told.max_participants, 30);
        assert_eq!(told[0].told.counts, [Counted { after_s: 10, attendees: 4 }]);
        fleet.chronicle.give_back(told);
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.take(None, 10).len()), (1, 1));
        assert_eq!(fleet.chronicle.take(None, 10).len(), 0);
    }

    #[test]
    fn without_the_store_it_does_not_grow_for_ever() {
        let fleet = pool();
        let lines: Vec<_> = (0..20)
            .map(|number| {
                let mut line = Line::of(&enter(&fleet, number));
                line.told.counts = vec![Counted { after_s: 1, attendees: 1 }; MAX_COUNTS / 10];
                line
            })
            .collect();
        fleet.chronicle.give_back(lines);
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.dropped()), (20, 10));
        let counts: usize =
            fleet.chronicle.take(None, 100).iter().map(|line| line.told.counts.len()).sum();
        assert_eq!(counts, MAX_COUNTS);
    }

    #[test]
    fn what_no_key_can_hold_is_not_written_down() {
        let fleet = pool();
        let id = "m".repeat(MAX_ID + 1);
        let mut meeting = meeting(&key("acme", "m"), &NodeName::new("a"), "m@acme", NOON_MS);
        meeting.internal_id = id;
        let entry = fleet.directory.adopt(meeting, true);
        fleet.note_created(&entry, Hints::default());
        fleet.learn_end(&entry);
        assert_eq!(fleet.chronicle.waiting(), 0);
    }

    #[test]
    fn it_is_silent_until_it_is_opened() {
        let fleet = fleet(&["a"]).simulated();
        let entry = enter(&fleet, 1);
        fleet.note_created(&entry, Hints::default());
        assert_eq!(fleet.chronicle.waiting(), 0);
    }
}
