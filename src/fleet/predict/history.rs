//! What became of earlier meetings, by room and hour of the week.
//!
//! Every meeting teaches four levels: all meetings, its tenant's, its room's, and its room's at this hour of the week.
//! Names are kept by the store; here they are hashed, so that a room takes a few dozen bytes. What was not used
//! for longest goes first when there is too much.

mod recalled;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::{Mutex as TokioMutex, MutexGuard as TokioGuard};

pub use recalled::Recalled;

use crate::model::{
    HistoryKey, Hour, MOST_ATTENDEES, MeetingKey, Moments, Peak, SHARE_OF_MANY, SHARE_OF_ROOM,
    Slug, SubId,
};

/// What is learned while the store is away is kept for it up to here.
const MAX_UNSAVED: usize = 10_000;
/// Rows that are kept where nothing else is said: some 200,000 rooms.
const MAX_ROWS: usize = 500_000;

/// What something is known of, from the coarsest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// All meetings.
    Everywhere,
    /// Those of one tenant.
    Tenant,
    /// Those of one room.
    Room,
    /// Those of one room at one hour of the week.
    RoomAtHour(Hour),
}

/// What is known of one thing, and when that was last learned.
#[derive(Debug, Clone, Copy)]
struct Known {
    moments: Moments,
    /// In seconds since 1970, until 2106.
    learned_at_s: u32,
}

/// By the hashes of what they are about.
type Rows = HashMap<u64, Known, foldhash::fast::RandomState>;

/// See the module.
#[derive(Debug)]
pub struct History {
    known: Mutex<Rows>,
    /// Nobody can make two rooms out to be one.
    hasher: RandomState,
    max_rows: usize,
    /// Whoever needs `known`, too, takes this first: what is learned is in both or in none.
    unsaved: Mutex<Vec<Peak>>,
    /// Rows in the store that cannot be right.
    skipped: AtomicU64,
    /// Which generation of the store's rows was taken up.
    in_force: TokioMutex<Option<u64>>,
}

impl Default for History {
    fn default() -> Self {
        Self::of_at_most(MAX_ROWS)
    }
}

impl History {
    /// An empty one of at most so many rows.
    pub fn of_at_most(max_rows: usize) -> Self {
        Self {
            known: Mutex::default(),
            hasher: RandomState::new(),
            max_rows: max_rows.max(2),
            unsaved: Mutex::default(),
            skipped: AtomicU64::new(0),
            in_force: TokioMutex::default(),
        }
    }

    /// Learns from a meeting that is over, here only. One in which nobody ever was teaches nothing.
    pub fn learn(&self, peak: &Peak, now_s: u64) {
        let mut known = self.known.lock();
        self.teach(&mut known, peak, now_s, |_| true);
        // Perhaps it was long ago.
        self.bound(&mut known, u64::MAX);
    }

    /// Has those rows learn that are meant.
    fn teach(&self, known: &mut Rows, peak: &Peak, now_s: u64, is_meant: impl Fn(u64) -> bool) {
        let attendees = peak.attendees.min(MOST_ATTENDEES);
        if attendees == 0 {
            return;
        }
        let learned_at_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        let hashes = self.hashes_of(&peak.key, peak.hour);
        let shares = [SHARE_OF_MANY, SHARE_OF_MANY, SHARE_OF_ROOM, SHARE_OF_ROOM];
        for (hash, share) in hashes.into_iter().zip(shares).filter(|(hash, _)| is_meant(*hash)) {
            let row =
                known.entry(hash).or_insert(Known { moments: Moments::default(), learned_at_s });
            row.moments.learn(f64::from(attendees), share);
            // What is learned of the past makes nothing older.
            row.learned_at_s = row.learned_at_s.max(learned_at_s);
        }
    }

    /// The same, and has it kept by whoever takes what is [unsaved](Self::take_unsaved).
    pub fn learn_and_keep(&self, peak: Peak, now_s: u64) {
        if peak.attendees == 0 {
            return;
        }
        let mut unsaved = self.unsaved.lock();
        {
            let mut known = self.known.lock();
            self.teach(&mut known, &peak, now_s, |_| true);
            self.bound(&mut known, now_s);
        }
        if unsaved.len() < MAX_UNSAVED {
            unsaved.push(peak);
        }
    }

    /// What was learned since this was last asked.
    pub fn take_unsaved(&self) -> Vec<Peak> {
        std::mem::take(&mut *self.unsaved.lock())
    }

    /// The first of it.
    pub fn take_some_unsaved(&self, most: usize) -> Vec<Peak> {
        let mut unsaved = self.unsaved.lock();
        let most = most.min(unsaved.len());
        unsaved.drain(..most).collect()
    }

    /// Gives back what could not be kept.
    pub fn give_back_unsaved(&self, peaks: Vec<Peak>) {
        let mut unsaved = self.unsaved.lock();
        let newer = std::mem::replace(&mut *unsaved, peaks);
        unsaved.extend(newer);
        unsaved.truncate(MAX_UNSAVED);
    }

    /// Forgets what was last learned before, in seconds since 1970.
    pub fn forget(&self, before_s: u64) {
        let before_s = u32::try_from(before_s).unwrap_or(u32::MAX);
        self.known.lock().retain(|_, known| known.learned_at_s >= before_s);
    }

    /// The generation of the store's rows that was taken up, if any was. Whoever tells the store, reads from it or
    /// changes what is there holds this: one at a time.
    pub async fn in_force(&self) -> TokioGuard<'_, Option<u64>> {
        self.in_force.lock().await
    }

    /// Notes how many rows of the store were passed over, as they cannot be right.
    pub fn set_skipped(&self, rows: usize) {
        self.skipped.store(rows as u64, Relaxed);
    }

    /// How many rows of the store were passed over when it was last read.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.known.lock().len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of a meeting, from the coarsest level on.
    pub(super) fn known(&self, key: &MeetingKey, hour: Hour) -> [(Level, Option<Moments>); 4] {
        let hashes = self.hashes_of(key, hour);
        let known = self.known.lock();
        let mut all = [Level::Everywhere, Level::Tenant, Level::Room, Level::RoomAtHour(hour)]
            .map(|level| (level, None));
        for ((_, moments), hash) in all.iter_mut().zip(hashes) {
            *moments = known.get(&hash).map(|known| known.moments);
        }
        all
    }

    fn hashes_of(&self, key: &MeetingKey, hour: Hour) -> [u64; 4] {
        let (tenant, sub, id) = (&key.scope.tenant, key.scope.sub, key.id.as_str());
        [
            self.hash(None, None, None),
            self.hash(Some(tenant), None, None),
            self.hash(Some(tenant), Some((sub, id)), None),
            self.hash(Some(tenant), Some((sub, id)), Some(hour)),
        ]
    }

    fn hash_of(&self, key: &HistoryKey) -> u64 {
        self.hash(key.tenant(), key.room(), key.hour())
    }

    fn hash(&self, tenant: Option<&Slug>, room: Option<(SubId, &str)>, hour: Option<Hour>) -> u64 {
        self.hasher.hash_one((tenant, room, hour))
    }

    /// Makes room: a tenth of the rows at once, those that were learned first, so that it is seldom. What seems to be
    /// learned later than now was learned by a clock that was ahead: it is not to stay for ever, in place of
    /// all that is learned from here on.
    fn bound(&self, known: &mut Rows, now_s: u64) {
        if known.len() <= self.max_rows {
            return;
        }
        let now_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        for known in known.values_mut() {
            known.learned_at_s = known.learned_at_s.min(now_s);
        }
        let goes = known.len() - self.max_rows + self.max_rows / 10;
        let mut ages: Vec<u32> = known.values().map(|known| known.learned_at_s).collect();
        let (_, youngest, _) = ages.select_nth_unstable(goes.min(known.len() - 1));
        let youngest = *youngest;
        let older = known.values().filter(|known| known.learned_at_s < youngest).count();
        let mut left = goes.saturating_sub(older);
        known.retain(|_, known| match known.learned_at_s.cmp(&youngest) {
            Ordering::Less => false,
            Ordering::Equal if left > 0 => {
                left -= 1;
                false
            }
            Ordering::Equal | Ordering::Greater => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;

    fn peak(room: &str, attendees: u32) -> Peak {
        let key = MeetingKey { scope: Scope::parse("acme").unwrap(), id: room.to_owned() };
        Peak { key, hour: Hour::new(9).unwrap(), attendees }
    }

    #[test]
    fn a_meeting_teaches_four_levels_and_an_empty_one_none() {
        let history = History::default();
        history.learn(&peak("empty", 0), 1);
        assert!(history.is_empty());
        history.learn(&peak("m", 10), 1);
        assert_eq!(history.len(), 4);
        history.learn(&peak("n", 10), 1);
        assert_eq!(history.len(), 6);
        let known = history.known(&peak("m", 0).key, Hour::new(9).unwrap());
        assert_eq!(known.map(|(_, moments)| moments.unwrap().seen), [2, 2, 1, 1]);
    }

    #[test]
    fn what_was_learned_first_goes_first() {
        let history = History::of_at_most(100);
        for number in 0..200u64 {
            history.learn(&peak(&number.to_string(), 10), number);
        }
        assert!((80..=100).contains(&history.len()), "{}", history.len());
        let seen = |room: &str| {
            history
                .known(&peak(room, 0).key, Hour::new(9).unwrap())
                .map(|(_, known)| known.is_some())
        };
        assert_eq!(seen("199"), [true; 4]);
        assert_eq!(seen("0"), [true, true, false, false]);
        // All of one second: some go nevertheless.
        let busy = History::of_at_most(100);
        (0..1000).for_each(|number| busy.learn(&peak(&number.to_string(), 10), 1));
        assert!(busy.len() <= 100);
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_freeze_what_is_known() {
        let (later, now) = (4_000_000_000, 1_800_000_000);
        let history = History::of_at_most(100);
        (0..40)
            .for_each(|number| history.learn_and_keep(peak(&format!("old-{number}"), 10), later));
        // Set right, the time of day goes on from here.
        for number in 0..400 {
            history.learn_and_keep(peak(&format!("new-{number}"), 10), now + number);
        }
        let known = |room: String| {
            let known = history.known(&peak(&room, 0).key, Hour::new(9).unwrap());
            known[2].1.is_some()
        };
        assert!((300..400).filter(|number| known(format!("new-{number}"))).count() > 20);
        assert_eq!((0..40).filter(|number| known(format!("old-{number}"))).count(), 0);
    }

    #[test]
    fn what_is_to_be_kept_waits_for_the_store_within_bounds() {
        let history = History::default();
        history.learn_and_keep(peak("empty", 0), 1);
        history.learn_and_keep(peak("m", 5), 1);
        let unsaved = history.take_unsaved();
        assert_eq!(unsaved, [peak("m", 5)]);
        history.learn_and_keep(peak("n", 5), 2);
        history.give_back_unsaved(unsaved);
        assert_eq!(history.take_unsaved(), [peak("m", 5), peak("n", 5)]);
        (0..MAX_UNSAVED + 10).for_each(|_| history.learn_and_keep(peak("m", 5), 3));
        assert_eq!(history.take_unsaved().len(), MAX_UNSAVED);
    }
}
