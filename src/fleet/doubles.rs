//! One meeting on two nodes: which of the two goes on.
//!
//! A poll finds a [`Double`]: what its node runs under a key that the directory has on another node. What the
//! list and the directory say of the people in either is seconds old, so both nodes are asked afresh, and
//! [`judge`] decides on their answers alone. It never ends the only one that is known to run: where one of the
//! nodes does not answer, both are left as they are.

use std::sync::Arc;

use super::entry::Entry;
use super::instances::with_known_names;
use super::{Fleet, Node, Phase};
use crate::model::{Meeting, MeetingKey};

/// A meeting that a poll has shown under a key that runs on another node.
#[derive(Clone)]
pub struct Double {
    pub(super) here: Here,
    pub(super) rival: Arc<Entry>,
}

/// What the polled node runs.
#[derive(Clone)]
pub(super) enum Here {
    /// Not in the directory.
    Stranger(Box<Meeting>),
    /// In the directory, and no longer under its key: its node was given up, or another one has won.
    Displaced(Arc<Entry>),
    /// The same internal id as the other: both were created in the same millisecond.
    Twin(Box<Meeting>),
}

/// What a node says of a meeting when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It runs, with so many people in it.
    With(u32),
    /// It does not run, or no longer.
    Gone,
    /// The node gives no usable answer.
    Silent,
}

/// What is to become of a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing now: the next poll finds it again, if it is still there.
    Wait,
    /// The directory's goes on, the one here is ended.
    EndHere,
    /// The one here takes the key over, and the other one is ended if it runs.
    MoveHere,
    /// There are people in both: none is ended, and the directory's stays what front ends get.
    LeaveBoth,
}

/// Decides on fresh figures of the double and of the directory's meeting. `is_given_up`: the double's node
/// was down for longer than the grace, and its people were sent elsewhere. Where no fewer have stayed than went,
/// they were not all told, or did not listen.
pub fn judge(here: Seen, rival: Seen, is_given_up: bool) -> Verdict {
    match (here, rival) {
        (Seen::Gone | Seen::Silent, _) | (_, Seen::Silent) => Verdict::Wait,
        (Seen::With(_), Seen::Gone) | (Seen::With(1..), Seen::With(0)) => Verdict::MoveHere,
        (Seen::With(people @ 1..), Seen::With(others)) if !is_given_up || people >= others => {
            Verdict::LeaveBoth
        }
        (Seen::With(_), Seen::With(_)) => Verdict::EndHere,
    }
}

impl Double {
    /// Whose meeting it is.
    pub fn key(&self) -> &MeetingKey {
        self.rival.key()
    }

    /// Its internal id on the polled node.
    pub fn internal_id(&self) -> &str {
        match &self.here {
            Here::Stranger(meeting) | Here::Twin(meeting) => &meeting.internal_id,
            Here::Displaced(entry) => entry.internal_id(),
        }
    }

    /// The directory's meeting.
    pub fn rival(&self) -> &Arc<Entry> {
        &self.rival
    }

    /// Whether its node, which is this one, was down for too long, and a new meeting was created elsewhere.
    /// What we gave up while we heard nobody may be what all others went on using.
    pub fn is_given_up(&self, node: &Node) -> bool {
        matches!(&self.here, Here::Displaced(entry) if entry.phase() == Phase::Lost)
            && !node.live.is_lost_unheard()
    }

    /// Whether both have one internal id, so that what is kept of callbacks is of both.
    pub fn is_twin(&self) -> bool {
        matches!(self.here, Here::Twin(_))
    }
}

impl Fleet {
    /// Whether a double is still what the poll has found: the directory may have changed since.
    pub fn is_double(&self, double: &Double) -> bool {
        let key = double.key();
        let current = self.directory.get(&key.scope, &key.id);
        current.is_some_and(|current| {
            Arc::ptr_eq(&current, &double.rival) && current.phase() == Phase::Running
        }) && match &double.here {
            Here::Stranger(meeting) => self.directory.get_internal(&meeting.internal_id).is_none(),
            Here::Displaced(entry) => entry.phase() != Phase::Ended,
            Here::Twin(_) => true,
        }
    }

    /// Gives the key to the meeting on the polled node; the other one stays known, as one that is to be ended
    /// wherever it shows up. Nothing where the directory has changed since the poll.
    pub fn move_to_double(&self, double: &Double) -> Option<Arc<Entry>> {
        if !self.is_double(double) {
            return None;
        }
        let rival = &double.rival;
        let winner = match &double.here {
            Here::Displaced(entry) => {
                self.directory.give_key(entry);
                rival.set_phase(Phase::Lost);
                entry.clone()
            }
            Here::Stranger(meeting) => {
                let entry = self.directory.adopt(meeting.as_ref().clone(), false);
                rival.set_phase(Phase::Lost);
                entry
            }
            Here::Twin(meeting) => {
                self.directory.adopt_twin(meeting.as_ref().clone(), rival.node().clone())
            }
        };
        let loser = (!double.is_twin()).then(|| rival.internal_id().to_owned());
        self.tell_moved(&winner, loser);
        Some(winner)
    }

    /// Has the directory say what the store says of a key; what it said before is the double from then on, here
    /// and at the other instances. `None` where it cannot: the row's meeting has ended, or its node is not known.
    pub fn follow(&self, row: Meeting) -> Option<Arc<Entry>> {
        let known = self.directory.get_internal(&row.internal_id);
        if known.as_ref().is_some_and(|known| known.phase() == Phase::Ended) {
            return None;
        }
        let row = with_known_names(&self.snapshot(), row)?;
        let before = self.directory.get(&row.key.scope, &row.key.id);
        let is_known = known.is_some();
        let entry = match known.filter(|known| *known.node() == row.node) {
            Some(known) if known.phase() == Phase::Running && self.directory.has_key(&known) => {
                return Some(known);
            }
            Some(known) => {
                self.directory.give_key(&known);
                known.mark_saved();
                known
            }
            None => self.directory.adopt(row, true),
        };
        if before.is_some_and(|before| before.phase() == Phase::Running) {
            self.tell_moved(&entry, None);
        } else if is_known {
            // The others may not find it by its key either. It takes it from none that runs.
            self.tell_revived(&entry);
        }
        Some(entry)
    }

    /// The same where what the store says may be old: a meeting that was given up stays so.
    pub fn learn(&self, row: Meeting) -> Option<Arc<Entry>> {
        let known = self.directory.get_internal(&row.internal_id);
        if known.is_some_and(|known| known.phase() != Phase::Running) {
            return None;
        }
        self.follow(row)
    }

    /// The same for what was looked for as nothing was known of it: whatever has come under the key since stays.
    pub fn learn_missing(&self, row: Meeting) {
        let holder = self.directory.get(&row.key.scope, &row.key.id);
        if holder.is_none_or(|holder| holder.phase() != Phase::Running) {
            // None where it is over, or cannot be known yet.
            _ = self.learn(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_with_people_goes_on_and_nothing_ends_without_two_answers() {
        use Seen::{Gone, Silent, With};
        use Verdict::{EndHere, LeaveBoth, MoveHere, Wait};
        for (here, rival, is_given_up, verdict) in [
            (With(0), With(0), false, EndHere),
            (With(0), With(7), false, EndHere),
            (With(7), With(0), false, MoveHere),
            (With(7), With(0), true, MoveHere),
            (With(7), With(1), false, LeaveBoth),
            (With(7), With(1), true, LeaveBoth),
            (With(300), With(2), true, LeaveBoth),
            (With(3), With(3), true, LeaveBoth),
            (With(2), With(300), true, EndHere),
            (With(0), With(0), true, EndHere),
            (With(0), Gone, false, MoveHere),
            (With(0), Gone, true, MoveHere),
            (With(0), Silent, true, Wait),
            (With(7), Silent, false, Wait),
            (Silent, With(7), false, Wait),
            (Gone, With(7), false, Wait),
            (Gone, Gone, false, Wait),
        ] {
            assert_eq!(judge(here, rival, is_given_up), verdict, "{here:?} {rival:?}");
        }
    }
}
