//! What the placements are worth.

use std::collections::HashSet;

use super::{Ended, Phase, Played, Player};
use crate::trace::Room;
use crate::trace::score::{Day, Error, Figures};

impl Player<'_> {
    pub(super) fn finish(mut self, ended: Ended) -> Played {
        let reached_ms = if ended == Ended::AtTheEnd { i64::MAX } else { self.reached_ms() };
        for (room, meeting) in &self.meetings {
            let is_there = matches!(meeting.phase, Phase::Running(_) | Phase::Ending);
            // Whether or not it was due again: nothing is known of it from here on.
            if !is_there {
                self.cut_short.insert((room.clone(), meeting.created_ms), meeting.lost_ms);
            }
        }
        self.placements.sort_by_key(|placement| placement.at_ms);
        let figures = self.figures(reached_ms);
        Played { ended, placements: self.placements, figures, tally: self.tally }
    }

    /// The figures of what was played. A room of which the log does not tell enough is left out.
    fn figures(&mut self, reached_ms: i64) -> Result<Figures, Error> {
        let mut left_out: HashSet<Room> = HashSet::new();
        loop {
            let mut day = Day::of(&self.script.rows)?;
            day.cut(|room, created_ms| {
                if created_ms > reached_ms || left_out.contains(room) {
                    return None;
                }
                let cut = self.cut_short.get(&(room.clone(), created_ms));
                cut.map_or(Some(reached_ms), |until| until.map(|until| until.min(reached_ms)))
            });
            match day.score(&self.placements) {
                Err(
                    Error::NotPlaced { room, .. }
                    | Error::NotPlacedAgain { room, .. }
                    | Error::Moved { room, .. },
                ) if left_out.insert(room.clone()) => self.tally.meetings_left_out += 1,
                scored => return scored,
            }
        }
    }
}
