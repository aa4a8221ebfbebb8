//! Whose a key is, where several meetings have had it.
//!
//! The one who decides that a key is another meeting's from now on tells all others, and whoever hears it does
//! the same whatever it takes for the younger one. The last such event of the log holds, also for who told it.

use std::sync::Arc;

use super::event::{Event, Moved, Row, Xml};
use super::mirror::{Mirror, with_known_names};
use crate::fleet::entry::{Entry, Phase};
use crate::fleet::{Fleet, Snapshot};

impl Event {
    /// Whether one of our own events tells how something is from now on, so that an older one that we hear after
    /// we have done it takes it back; to be asked before it is read.
    pub(super) fn may_be_overtaken(payload: &[u8]) -> bool {
        const KINDS: [&[u8]; 4] = [
            br#"{"kind":"moved""#,
            br#"{"kind":"revived""#,
            br#"{"kind":"doubt""#,
            br#"{"kind":"node_state""#,
        ];
        KINDS.iter().any(|kind| payload.starts_with(kind))
    }
}

impl Fleet {
    /// Tells who has a key from now on, and who is to be ended therefore.
    pub(in crate::fleet) fn tell_moved(&self, winner: &Entry, loser: Option<String>) {
        if !self.instances.is_linked() {
            return;
        }
        let (meeting, xml): (Row, Xml) = winner.to_meeting().into();
        let moved = Moved { meeting, xml, saved: winner.is_saved(), loser };
        self.instances.tell(&Event::Moved(Box::new(moved)));
    }

    pub(super) fn apply_moved(&self, mirror: &mut Mirror, snapshot: &Snapshot, moved: Moved) {
        let Moved { meeting, xml, saved, loser } = moved;
        let Some(meeting) = with_known_names(snapshot, meeting.into_meeting(&xml)) else { return };
        if let Some(loser) = loser.and_then(|id| self.directory.get_internal(&id))
            && loser.phase() == Phase::Running
            && *loser.internal_id() != *meeting.internal_id
        {
            loser.set_phase(Phase::Lost);
        }
        let entry = match self.directory.get_internal(&meeting.internal_id) {
            Some(known) if known.phase() == Phase::Ended => return,
            Some(known) if *known.node() == meeting.node => {
                if known.phase() == Phase::Running && self.directory.has_key(&known) {
                    return;
                }
                self.directory.give_key(&known);
                known
            }
            // Both were created in the same millisecond.
            Some(known) => self.directory.adopt_twin(meeting, known.node().clone()),
            None if self.directory.departed.fate(&meeting.internal_id).is_some() => return,
            None => {
                mirror.weigh_no_more(&meeting);
                self.weighed(snapshot, self.directory.adopt(meeting, saved))
            }
        };
        if saved {
            entry.mark_saved();
        }
    }

    /// Nobody else has the key of a meeting that runs: it is found by it again.
    pub(super) fn give_back_key(&self, entry: &Arc<Entry>) {
        if entry.phase() == Phase::Ended || self.directory.has_key(entry) {
            return;
        }
        _ = self.directory.revive(entry);
    }
}
