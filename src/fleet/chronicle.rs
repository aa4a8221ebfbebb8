//! What is to be written down of meetings, until the store has it.
//!
//! Creates, polls and ends note here what has happened and go on; a task takes what is due. A meeting waits here only
//! while there is something new of it, and the older it is the longer, so that one whose people come and go all the time
//! does not keep the store busy. Where the store is away there is an end to what waits: what is too much is dropped,
//! and counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::clock::Clock;
use super::directory::ByInternal;
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
#[derive(Default)]
pub struct Chronicle {
    is_open: AtomicBool,
    buffer: Mutex<Buffer>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Buffer {
    waiting: HashMap<ByInternal, News>,
    /// When something of these is due, by the steady clock. Of what was taken since nothing is.
    due: BinaryHeap<Reverse<(u64, ByInternal)>>,
    counts: usize,
}

/// What is new of a meeting; small, as after a start there may be some of all.
#[derive(Default)]
struct News {
    max_participants: u32,
    size_hint: u32,
    ended_at_ms: Option<u64>,
    /// What the store did not take.
    counts: Vec<Counted>,
    /// How many are in it and when that was counted, where it is not among the counts yet.
    latest: Option<Counted>,
}

/// A meeting of which something is new.
pub struct Line {
    entry: Arc<Entry>,
    news: News,
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
    pub(super) fn created(&self, clock: &Clock, entry: &Arc<Entry>, hints: Hints) {
        self.note(clock, entry, 0, |news| {
            news.max_participants = hints.max_participants.unwrap_or_default();
            news.size_hint = hints.size.unwrap_or_default();
        });
    }

    /// A poll of ours has counted others in it than the one before.
    pub(super) fn counted(&self, clock: &Clock, entry: &Arc<Entry>) {
        let age_ms = clock.now_ms().saturating_sub(entry.created_at_ms());
        let after_s = u32::try_from(age_ms / 1000).unwrap_or(u32::MAX);
        self.note(clock, entry, spacing_ms(age_ms), |news| {
            news.latest = Some(Counted { after_s, attendees: entry.attendees() });
        });
    }

    /// It is over. Of one that its node has taken with it nobody knows when.
    pub(super) fn ended(&self, clock: &Clock, entry: &Arc<Entry>) {
        let is_seen = entry.phase() != Phase::Lost;
        self.note(clock, entry, 0, |news| news.ended_at_ms = is_seen.then(|| clock.now_ms()));
    }

    fn note(
        &self,
        clock: &Clock,
        entry: &Arc<Entry>,
        due_in_ms: u64,
        change: impl FnOnce(&mut News),
    ) {
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
        let known = buffer.waiting.remove(entry.internal_id());
        if known.is_none() && buffer.waiting.len() >= MAX_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_due_sooner = known.is_none() || due_in_ms == 0;
        let mut news = known.unwrap_or_default();
        change(&mut news);
        buffer.waiting.insert(ByInternal(entry.clone()), news);
        if is_due_sooner {
            buffer.due.push(Reverse((due_ms, ByInternal(entry.clone()))));
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
            let Some(Reverse((_, entry))) = buffer.due.pop() else { break };
            if let Some((ByInternal(entry), mut news)) = buffer.waiting.remove_entry(&entry) {
                buffer.counts -= news.counts.len();
                news.counts.extend(news.latest.take());
                taken.push(Line { entry, news });
            }
        }
        if buffer.waiting.is_empty() {
            // What a start has brought is not kept room for.
            *buffer = Buffer::default();
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
        for Line { entry, mut news } in lines {
            let mut entry = ByInternal(entry);
            if let Some((latest, newer)) = buffer.waiting.remove_entry(&entry) {
                entry = latest;
                buffer.counts -= newer.counts.len();
                news.add(newer);
            } else if buffer.waiting.len() >= MAX_WAITING {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if buffer.counts + news.counts.len() > MAX_COUNTS {
                news.counts.clear();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            buffer.counts += news.counts.len();
            buffer.due.push(Reverse((0, entry.clone())));
            buffer.waiting.insert(entry, news);
        }
    }
}

impl Line {
    /// As it is written down.
    pub fn to_meeting(&self) -> MeetingLine {
        let Self { entry, news } = self;
        MeetingLine {
            key: entry.key().clone(),
            internal_id: entry.internal_id().to_owned(),
            node: entry.node().clone(),
            created_at_ms: entry.created_at_ms(),
            max_participants: news.max_participants,
            size_hint: news.size_hint,
            peak: entry.peak(),
            ended_at_ms: news.ended_at_ms,
            is_running: true,
            counts: news.counts.clone(),
        }
    }
}

impl News {
    /// Takes up what was noted since.
    fn add(&mut self, newer: Self) {
        let Self { max_participants, size_hint, ended_at_ms, counts, latest } = newer;
        self.max_participants = self.max_participants.max(max_participants);
        self.size_hint = self.size_hint.max(size_hint);
        self.ended_at_ms = ended_at_ms.or(self.ended_at_ms);
        self.counts.extend(counts);
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

    fn told(fleet: &Fleet) -> Vec<MeetingLine> {
        due(fleet).iter().map(Line::to_meeting).collect()
    }

    #[test]
    fn what_happens_is_told_when_it_is_due_and_once() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        fleet.note_created(&entry, Hints { max_participants: Some(30), size: Some(25) });
        let lines = told(&fleet);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.max_participants, line.size_hint), (30, 25));
        assert!(due(&fleet).is_empty());
        for (at_s, attendees) in [(10, 1), (12, 3), (14, 3)] {
            fleet.clock().set(NOON_MS + at_s * 1000);
            count(&fleet, attendees);
            assert!(due(&fleet).is_empty(), "not at once");
        }
        fleet.clock().set(NOON_MS + 15_000);
        assert_eq!(told(&fleet)[0].counts, [Counted { after_s: 12, attendees: 3 }]);
        // Nobody comes or goes.
        fleet.clock().set(NOON_MS + 60_000);
        count(&fleet, 3);
        fleet.clock().set(NOON_MS + 600_000);
        assert!(due(&fleet).is_empty());
        fleet.learn_end(&entry);
        let line = &told(&fleet)[0];
        assert_eq!((line.ended_at_ms, line.peak), (Some(NOON_MS + 600_000), 3));
    }

    #[test]
    fn of_what_a_start_finds_only_news_is_told() {
        let fleet = pool();
        let mut row = meeting(&key("acme", "m1"), &NodeName::new("a"), "m1@acme", NOON_MS);
        row.extent.peak = 3;
        fleet.directory.adopt(row, true);
        enter(&fleet, 2);
        // Those who were in the first are gone; in the others nobody ever was.
        let empty = |number: u64| listed(&format!("m{number}@acme"), NOON_MS, 0);
        poll(&fleet, "a", vec![empty(1), empty(2), empty(3)]);
        assert!(fleet.directory.get(&key("acme", "m3").scope, "m3").is_some());
        fleet.clock().set(NOON_MS + 10_000);
        let lines = told(&fleet);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.key.id.as_str(), line.peak), ("m1", 3));
        assert_eq!(line.counts, [Counted { after_s: 0, attendees: 0 }]);
    }

    #[test]
    fn when_a_meeting_was_over_that_went_with_its_node_is_not_known() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        fleet.lose_meetings_on(&NodeName::new("a"));
        fleet.learn_end(&entry);
        assert_eq!(told(&fleet)[0].ended_at_ms, None);
    }

    #[test]
    fn what_the_store_does_not_take_is_told_again_with_what_is_new() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        fleet.note_created(&entry, Hints { max_participants: Some(30), size: None });
        let lines = due(&fleet);
        fleet.clock().set(NOON_MS + 10_000);
        count(&fleet, 4);
        fleet.chronicle.give_back(lines);
        let lines = due(&fleet);
        assert_eq!(lines.len(), 1);
        let line = lines[0].to_meeting();
        assert_eq!(line.max_participants, 30);
        assert_eq!(line.counts, [Counted { after_s: 10, attendees: 4 }]);
        fleet.chronicle.give_back(lines);
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.take(None, 10).len()), (1, 1));
        assert_eq!(fleet.chronicle.take(None, 10).len(), 0);
    }

    #[test]
    fn without_the_store_it_does_not_grow_for_ever() {
        let fleet = pool();
        let lines: Vec<_> = (0..20)
            .map(|number| {
                let counts = vec![Counted { after_s: 1, attendees: 1 }; MAX_COUNTS / 10];
                let news = News { counts, ..News::default() };
                Line { entry: enter(&fleet, number), news }
            })
            .collect();
        fleet.chronicle.give_back(lines);
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.dropped()), (20, 10));
        let counts: usize =
            fleet.chronicle.take(None, 100).iter().map(|line| line.news.counts.len()).sum();
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
