//! What the meetings of a trace have done, and on which nodes they were by a log of placements.

use std::collections::HashMap;

use super::{
    DAY_MS, Error, MAX_DAYS, RECREATE_SLACK_MS, REJOIN_COUNTED_MS, recreate_after_ms,
    rejoin_after_ms,
};
use crate::trace::{Room, Row, What};

/// What the meetings of a trace have done, whatever nodes they were on.
#[derive(Debug, Default)]
pub struct Day {
    /// With their weights.
    pub(super) nodes: Vec<(String, f64)>,
    /// When a node went, or came back; its index.
    pub(super) turns: Vec<(i64, usize, Turn)>,
    pub(super) meetings: Vec<Meeting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Down,
    Up,
}

#[derive(Debug)]
pub(super) struct Meeting {
    pub(super) room: Room,
    pub(super) created_ms: i64,
    pub(super) ended_ms: i64,
    pub(super) stays: Vec<Stay>,
}

#[derive(Debug)]
pub(super) struct Stay {
    user: String,
    joined_ms: i64,
    pub(super) counted_ms: i64,
    pub(super) left_ms: i64,
}

impl Day {
    /// What these rows tell. A meeting without an end lasts until the last of them.
    ///
    /// # Errors
    /// Rows of no meeting, and times before 0 or far behind it.
    pub fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Result<Self, Error> {
        let mut day = Self::default();
        let mut open: HashMap<&Room, usize> = HashMap::new();
        let mut here: HashMap<&Room, HashMap<&str, usize>> = HashMap::new();
        let (mut index, mut last_ms) = (HashMap::new(), 0);
        for Row { at_ms, what } in rows {
            let at_ms = *at_ms;
            if matches!(what, What::Past { .. } | What::Count { .. }) {
                continue;
            }
            if !(0..MAX_DAYS * DAY_MS).contains(&at_ms) {
                return Err(Error::Time(at_ms));
            }
            last_ms = at_ms;
            let meeting_of = |what, open: &HashMap<&Room, usize>, room: &Room| {
                let found = open.get(room).copied();
                found.ok_or_else(|| Error::NoMeeting { what, at_ms, room: room.clone() })
            };
            match what {
                What::Past { .. } | What::Count { .. } => {}
                What::NodeUp { node, weight } => {
                    if let Some(known) = index.get(node.as_str()) {
                        day.turns.push((at_ms, *known, Turn::Up));
                    } else {
                        index.insert(node.as_str(), day.nodes.len());
                        day.nodes.push((node.clone(), weight.unwrap_or(1.0)));
                    }
                }
                What::NodeDown { node } => {
                    let known = index.get(node.as_str());
                    let known = known.ok_or_else(|| Error::UnknownNode(node.clone()))?;
                    day.turns.push((at_ms, *known, Turn::Down));
                }
                What::Create { room, .. } => {
                    here.remove(room);
                    open.insert(room, day.meetings.len());
                    let (room, stays) = (room.clone(), Vec::new());
                    let ended_ms = i64::MAX;
                    day.meetings.push(Meeting { room, created_ms: at_ms, ended_ms, stays });
                }
                What::Join { room, user, counted_after_ms } => {
                    let meeting = &mut day.meetings[meeting_of("join", &open, room)?];
                    let Some(after_ms) = counted_after_ms.filter(|after_ms| *after_ms >= 0) else {
                        continue;
                    };
                    here.entry(room).or_default().insert(user, meeting.stays.len());
                    meeting.stays.push(Stay {
                        user: user.clone(),
                        joined_ms: at_ms,
                        counted_ms: at_ms.saturating_add(after_ms),
                        left_ms: i64::MAX,
                    });
                }
                What::Leave { room, user } => {
                    let meeting = &mut day.meetings[meeting_of("leave", &open, room)?];
                    let stay = here.get_mut(room).and_then(|here| here.remove(user.as_str()));
                    if let Some(stay) = stay {
                        meeting.stays[stay].left_ms = at_ms;
                    }
                }
                What::End { room } => {
                    let meeting = &mut day.meetings[meeting_of("end", &open, room)?];
                    open.remove(room);
                    here.remove(room);
                    meeting.ended_ms = at_ms;
                }
            }
        }
        day.cut(|_, _| Some(last_ms));
        Ok(day)
    }

    /// Lets meetings count only until some moment, or not at all: of what was not played there are no placements.
    pub fn cut(&mut self, counts_until: impl Fn(&Room, i64) -> Option<i64>) {
        self.meetings.retain_mut(|meeting| {
            let Some(until) = counts_until(&meeting.room, meeting.created_ms) else { return false };
            meeting.ended_ms = meeting.ended_ms.min(until);
            for stay in &mut meeting.stays {
                stay.left_ms = stay.left_ms.min(meeting.ended_ms);
            }
            meeting.ended_ms > meeting.created_ms
        });
    }
}

/// From when until when on which node.
pub(super) type Span = (i64, i64, usize);

impl Meeting {
    /// Where it was: `placed` are all of its room's.
    pub(super) fn spans(
        &self,
        placed: &[(i64, usize)],
        downs: &[(i64, &str, usize)],
    ) -> Result<Vec<Span>, Error> {
        let (room, ended_ms) = (&self.room, self.ended_ms);
        let mine = placed.iter().filter(|(at_ms, _)| (self.created_ms..ended_ms).contains(at_ms));
        let mut mine = mine.copied();
        let first = mine.next().filter(|(at_ms, _)| *at_ms == self.created_ms);
        let (mut since_ms, node) =
            first.ok_or_else(|| Error::NotPlaced { at_ms: self.created_ms, room: room.clone() })?;
        let mut on = Some(node);
        let mut spans = Vec::new();
        for &(down_ms, _, node) in downs {
            if on != Some(node) || !(since_ms..ended_ms).contains(&down_ms) {
                continue;
            }
            spans.push((since_ms, down_ms, node));
            let at_ms = down_ms + recreate_after_ms(room);
            on = None;
            if at_ms >= ended_ms {
                break;
            }
            let again =
                mine.next().filter(|(again_ms, _)| (again_ms - at_ms).abs() <= RECREATE_SLACK_MS);
            let (again_ms, node) =
                again.ok_or_else(|| Error::NotPlacedAgain { at_ms, room: room.clone() })?;
            (since_ms, on) = (again_ms, Some(node));
        }
        if let Some((at_ms, _)) = mine.next() {
            return Err(Error::Moved { at_ms, room: room.clone() });
        }
        spans.extend(on.map(|node| (since_ms, ended_ms, node)));
        Ok(spans)
    }
}

impl Stay {
    /// On which nodes it was counted, from when until when.
    pub(super) fn on(&self, room: &Room, spans: &[Span], mut counted: impl FnMut(usize, i64, i64)) {
        if self.counted_ms >= self.left_ms {
            return;
        }
        let (mut joined_ms, mut counted_ms) = (self.joined_ms, self.counted_ms);
        for (number, &(from_ms, until_ms, node)) in spans.iter().enumerate() {
            // They were there, or on the way, when the node failed.
            if number > 0 && joined_ms < from_ms {
                joined_ms = from_ms + rejoin_after_ms(room, &self.user);
                counted_ms = joined_ms + REJOIN_COUNTED_MS;
            }
            if joined_ms >= until_ms && number + 1 < spans.len() {
                continue;
            }
            if counted_ms < self.left_ms {
                counted(node, counted_ms.max(from_ms), self.left_ms.min(until_ms));
            }
            if self.left_ms <= until_ms {
                break;
            }
        }
    }
}
