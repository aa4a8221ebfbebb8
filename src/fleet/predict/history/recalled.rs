//! What the store knows, on its way into memory.
//!
//! What was learned and not told yet is in no row of the store, so it is learned again on top of what comes from there.

use std::collections::HashSet;

use super::{History, Known, Rows};
use crate::model::HistoryRow;

/// Rows that are to take the place of all that is known; nothing is seen of them before they are all there.
#[derive(Debug)]
pub struct Recalled<'h> {
    history: &'h History,
    rows: Rows,
}

impl History {
    /// Begins to take up everything anew.
    pub fn recall(&self) -> Recalled<'_> {
        Recalled { history: self, rows: Rows::default() }
    }

    /// Takes up rows that are kept, in place of what is known of the same. Those that cannot have been learned are left
    /// out.
    pub fn take_up(&self, rows: &[HistoryRow], now_s: u64) {
        let unsaved = self.unsaved.lock();
        let mut known = self.known.lock();
        let mut taken = HashSet::new();
        for row in rows {
            if let Some((hash, row)) = self.known_of(row) {
                known.insert(hash, row);
                taken.insert(hash);
            }
        }
        for peak in unsaved.iter() {
            self.teach(&mut known, peak, now_s, |hash| taken.contains(&hash));
        }
        self.bound(&mut known, now_s);
    }

    fn known_of(&self, row: &HistoryRow) -> Option<(u64, Known)> {
        let learned_at_s = u32::try_from(row.learned_at_s).unwrap_or(u32::MAX);
        let known = Known { moments: row.moments, learned_at_s };
        row.moments.is_sound().then(|| (self.hash_of(&row.key), known))
    }
}

impl Recalled<'_> {
    /// Takes rows with it; those that cannot have been learned are left out.
    pub fn take_up(&mut self, rows: &[HistoryRow]) {
        self.rows.extend(rows.iter().filter_map(|row| self.history.known_of(row)));
        self.history.bound(&mut self.rows, u64::MAX);
    }

    /// From now on this is known, and what was learned meanwhile.
    pub fn put_in_force(mut self, now_s: u64) {
        let unsaved = self.history.unsaved.lock();
        for peak in unsaved.iter() {
            self.history.teach(&mut self.rows, peak, now_s, |_| true);
        }
        self.history.bound(&mut self.rows, now_s);
        // What was known before goes when nobody waits for it any more.
        std::mem::swap(&mut *self.history.known.lock(), &mut self.rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HistoryKey, Hour, MeetingKey, Moments, Peak, Scope};

    fn key(room: &str) -> MeetingKey {
        MeetingKey { scope: Scope::parse("acme").unwrap(), id: room.to_owned() }
    }

    fn peak(room: &str, attendees: u32) -> Peak {
        Peak { key: key(room), hour: Hour::new(9).unwrap(), attendees }
    }

    fn row(key: HistoryKey, seen: u32, mean: f32) -> HistoryRow {
        HistoryRow { key, moments: Moments { seen, mean, variance: 0.0 }, learned_at_s: 1 }
    }

    /// How many meetings of a room are known, and of all.
    fn seen(history: &History, room: &str) -> (u32, u32) {
        let known = history.known(&key(room), Hour::new(9).unwrap()).map(|(_, known)| known);
        let seen = |at: usize| known[at].map_or(0, |moments| moments.seen);
        (seen(2), seen(0))
    }

    #[test]
    fn what_was_learned_and_not_told_stays_on_top_of_what_comes_from_the_store() {
        let history = History::default();
        history.learn_and_keep(peak("told", 10), 1);
        drop(history.take_unsaved());
        history.learn_and_keep(peak("untold", 10), 1);
        let mut recalled = history.recall();
        recalled.take_up(&[
            row(HistoryKey::Everywhere, 7, 3.0),
            row(HistoryKey::Room(key("new")), 0, 1.0),
        ]);
        assert_eq!((seen(&history, "told"), seen(&history, "new")), ((1, 2), (0, 2)));
        history.learn_and_keep(peak("meanwhile", 10), 1);
        recalled.put_in_force(2);
        for (room, known) in [("told", 0), ("new", 0), ("untold", 1), ("meanwhile", 1)] {
            assert_eq!(seen(&history, room), (known, 9), "{room}");
        }

        // Row by row it is the same, and what is not in them stays.
        history.take_up(&[row(HistoryKey::Room(key("untold")), 5, 1.0)], 2);
        assert_eq!((seen(&history, "untold"), seen(&history, "meanwhile")), ((6, 9), (1, 9)));
        assert_eq!(history.take_unsaved().len(), 2);
    }
}
