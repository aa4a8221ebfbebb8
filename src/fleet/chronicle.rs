//! What is to be written down of meetings, until the store has it.
//!
//! Creates, polls and ends note here what has happened and go on; a task takes what is due. Creates and ends are due at
//! once. What polls count waits, and the older its meeting is the longer, so that one whose people come and go all the
//! time does not keep the store busy. Where the store is away there is an end to what waits: what is too much is
//! dropped, and counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::clock::Clock;
use super::directory::ByInternal;
use super::entry::{Entry, Phase};
use super::outlook::Hints;
use crate::model::{Counted, MeetingLine, spacing_ms};

/// Lines, and meetings that were counted.
const MAX_WAITING: usize = 100_000;
/// Counts in the lines.
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
    /// What is due at once, by internal ids. It holds no entries: those of meetings that are over would stay with all
    /// that they have.
    lines: BTreeMap<String, MeetingLine>,
    /// How many counts the lines have.
    counts: usize,
    /// What polls have counted last.
    counted: HashMap<ByInternal, News>,
    /// When that is due, by the steady clock.
    due: BTreeSet<(u64, ByInternal)>,
}

/// How many are in a meeting; small, as after a start there may be some of all.
struct News {
    due_ms: u64,
    latest: Counted,
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

    /// How many meetings wait for the store; one that was counted after its line was made does so twice.
    pub fn waiting(&self) -> usize {
        self.buffer.lock().len()
    }

    /// A front end has created a meeting here.
    pub(super) fn created(&self, entry: &Entry, hints: Hints) {
        if self.takes_note_of(entry) {
            let line = MeetingLine {
                max_participants: hints.max_participants.unwrap_or_default(),
                size_hint: hints.size.unwrap_or_default(),
                ..line_of(entry)
            };
            self.note(&mut self.buffer.lock(), line);
        }
    }

    /// A poll of ours has counted others in it than the one before.
    pub(super) fn counted(&self, clock: &Clock, entry: &Arc<Entry>) {
        if !self.takes_note_of(entry) {
            return;
        }
        let age_ms = clock.now_ms().saturating_sub(entry.created_at_ms());
        let after_s = u32::try_from(age_ms / 1000).unwrap_or(u32::MAX);
        let latest = Counted { after_s, attendees: entry.attendees() };
        let mut buffer = self.buffer.lock();
        let due_ms = match buffer.take_counted(entry.internal_id()) {
            Some(News { due_ms, .. }) => due_ms,
            None if buffer.len() < MAX_WAITING => {
                clock.steady_ms().saturating_add(spacing_ms(age_ms))
            }
            None => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        // Another entry than before, where the meeting was entered anew.
        buffer.due.insert((due_ms, ByInternal(entry.clone())));
        buffer.counted.insert(ByInternal(entry.clone()), News { due_ms, latest });
    }

    /// It is over. Of one that its node has taken with it nobody knows when.
    pub(super) fn ended(&self, clock: &Clock, entry: &Entry) {
        if !self.takes_note_of(entry) {
            return;
        }
        let is_seen = entry.phase() != Phase::Lost;
        let ended_at_ms = is_seen.then(|| clock.now_ms());
        let mut buffer = self.buffer.lock();
        let counts = counts_of(buffer.take_counted(entry.internal_id()));
        self.note(&mut buffer, MeetingLine { ended_at_ms, counts, ..line_of(entry) });
    }

    fn takes_note_of(&self, entry: &Entry) -> bool {
        self.is_open.load(Ordering::Relaxed)
            // The people of a breakout room are in its main meeting.
            && entry.parent_internal_id().is_none()
            // What no BigBlueButton has given it is not written down.
            && entry.internal_id().len() <= MAX_ID
    }

    /// Puts it behind what is known of the meeting.
    fn note(&self, buffer: &mut Buffer, line: MeetingLine) {
        let line = match buffer.take_line(&line.internal_id) {
            Some(known) => joined(known, line),
            None => line,
        };
        self.keep(buffer, line);
    }

    fn keep(&self, buffer: &mut Buffer, mut line: MeetingLine) {
        if buffer.len() >= MAX_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if buffer.counts + line.counts.len() > MAX_COUNTS {
            line.counts.clear();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        buffer.counts += line.counts.len();
        buffer.lines.insert(line.internal_id.clone(), line);
    }

    /// Some of what is due by then, by the steady clock, or of all that waits; one line for each meeting.
    pub fn take(&self, until_ms: Option<u64>, most: usize) -> Vec<MeetingLine> {
        let mut buffer = self.buffer.lock();
        for _ in 0..most {
            let Some((due_ms, ByInternal(entry))) = buffer.due.first() else { break };
            if until_ms.is_some_and(|until_ms| *due_ms > until_ms) {
                break;
            }
            let entry = entry.clone();
            let counts = counts_of(buffer.take_counted(entry.internal_id()));
            self.note(&mut buffer, MeetingLine { counts, ..line_of(&entry) });
        }
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, line)) = buffer.lines.pop_first()
        {
            buffer.counts -= line.counts.len();
            taken.push(line);
        }
        if buffer.counted.is_empty() {
            // What a start has brought is not kept room for.
            buffer.counted = HashMap::new();
        }
        taken
    }

    /// Gives up what the store will never take.
    pub fn give_up(&self, lines: &[MeetingLine]) {
        self.dropped.fetch_add(lines.len() as u64, Ordering::Relaxed);
    }

    /// Gives back what the store did not take; it is due at once.
    pub fn give_back(&self, lines: Vec<MeetingLine>) {
        let mut buffer = self.buffer.lock();
        for line in lines {
            let line = match buffer.take_line(&line.internal_id) {
                Some(newer) => joined(line, newer),
                None => line,
            };
            self.keep(&mut buffer, line);
        }
    }
}

impl Buffer {
    fn len(&self) -> usize {
        self.lines.len() + self.counted.len()
    }

    fn take_line(&mut self, internal_id: &str) -> Option<MeetingLine> {
        let line = self.lines.remove(internal_id)?;
        self.counts -= line.counts.len();
        Some(line)
    }

    fn take_counted(&mut self, internal_id: &str) -> Option<News> {
        let (entry, news) = self.counted.remove_entry(internal_id)?;
        self.due.remove(&(news.due_ms, entry));
        Some(news)
    }
}

fn counts_of(news: Option<News>) -> Vec<Counted> {
    news.into_iter().map(|news| news.latest).collect()
}

/// What does not change of it, and its peak.
fn line_of(entry: &Entry) -> MeetingLine {
    MeetingLine {
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
    }
}

/// What is known of a meeting, and what was noted since.
fn joined(known: MeetingLine, newer: MeetingLine) -> MeetingLine {
    let mut counts = known.counts;
    counts.extend(newer.counts);
    MeetingLine {
        max_participants: known.max_participants.max(newer.max_participants),
        size_hint: known.size_hint.max(newer.size_hint),
        peak: known.peak.max(newer.peak),
        ended_at_ms: newer.ended_at_ms.or(known.ended_at_ms),
        counts,
        ..newer
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

    fn due(fleet: &Fleet) -> Vec<MeetingLine> {
        fleet.chronicle.take(Some(fleet.clock().steady_ms()), 1000)
    }

    #[test]
    fn what_happens_is_told_when_it_is_due_and_once() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        fleet.note_created(&entry, Hints { max_participants: Some(30), size: Some(25) });
        let lines = due(&fleet);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.max_participants, line.size_hint), (30, 25));
        assert!(due(&fleet).is_empty());
        for (at_s, attendees) in [(10, 1), (12, 3), (14, 3)] {
            fleet.clock().set(NOON_MS + at_s * 1000);
            count(&fleet, attendees);
            assert!(due(&fleet).is_empty(), "not at once");
        }
        fleet.clock().set(NOON_MS + 15_000);
        assert_eq!(due(&fleet)[0].counts, [Counted { after_s: 12, attendees: 3 }]);
        // Nobody comes or goes.
        fleet.clock().set(NOON_MS + 60_000);
        count(&fleet, 3);
        fleet.clock().set(NOON_MS + 600_000);
        assert!(due(&fleet).is_empty());
        fleet.learn_end(&entry);
        let line = &due(&fleet)[0];
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
        let lines = due(&fleet);
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
        assert_eq!(due(&fleet)[0].ended_at_ms, None);
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
        fleet.clock().set(NOON_MS + 60_000);
        let lines = due(&fleet);
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].max_participants, lines[0].peak), (30, 4));
        assert_eq!(lines[0].counts, [Counted { after_s: 10, attendees: 4 }]);
        fleet.chronicle.give_back(lines);
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.take(None, 10).len()), (1, 1));
        assert_eq!(fleet.chronicle.take(None, 10).len(), 0);
    }

    #[test]
    fn what_waits_of_a_meeting_that_is_over_does_not_keep_its_entry() {
        let fleet = pool();
        let entry = enter(&fleet, 1);
        let holders = Arc::strong_count(&entry);
        fleet.note_created(&entry, Hints::default());
        assert_eq!(Arc::strong_count(&entry), holders);
        count(&fleet, 4);
        drop(fleet.grown.take());
        assert!(Arc::strong_count(&entry) > holders);
        fleet.learn_end(&entry);
        assert_eq!((fleet.chronicle.waiting(), Arc::strong_count(&entry)), (1, holders));
        let lines = due(&fleet);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.ended_at_ms, line.peak), (Some(NOON_MS), 4));
        assert_eq!(line.counts, [Counted { after_s: 0, attendees: 4 }]);
    }

    #[test]
    fn a_meeting_that_was_entered_anew_is_told_as_it_is_now() {
        let fleet = pool();
        let before = enter(&fleet, 1);
        count(&fleet, 4);
        let after = enter(&fleet, 1);
        assert!(!Arc::ptr_eq(&before, &after));
        count(&fleet, 7);
        fleet.clock().set(NOON_MS + 10_000);
        let lines = due(&fleet);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((line.peak, line.counts.len()), (7, 1));
    }

    #[test]
    fn without_the_store_it_does_not_grow_for_ever() {
        let fleet = pool();
        let lines: Vec<_> = (0..20)
            .map(|number| {
                let counts = vec![Counted { after_s: 1, attendees: 1 }; MAX_COUNTS / 10];
                MeetingLine { counts, ..line_of(&enter(&fleet, number)) }
            })
            .collect();
        fleet.chronicle.give_back(lines);
        assert_eq!((fleet.chronicle.waiting(), fleet.chronicle.dropped()), (20, 10));
        let counts: usize =
            fleet.chronicle.take(None, 100).iter().map(|line| line.counts.len()).sum();
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
