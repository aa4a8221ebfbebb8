//! What follows from the answers to calls.

use std::time::Duration;

use super::{Done, Later, Phase, Player, User, Who};
use crate::cli::client::load::front::Trouble;
use crate::trace::Room;
use crate::trace::score::{Placement, rejoin_after_ms};

/// Portico needs some polls to see that a node has failed; until then nobody can create its meetings again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Two minutes: longer than Portico keeps meetings for a node that is down.
const MAX_TRIES: u32 = 480;

impl Player<'_> {
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Created { room, number, took, answer } => {
                self.tally.creates.add(took);
                self.created(&room, number, answer);
            }
            Done::Asked { who, counted_ms, took, answer } => {
                self.tally.joins.add(took);
                match (answer, counted_ms) {
                    (Ok(location), Some(counted_ms)) => {
                        self.push(counted_ms, Later::Arrival { who, location });
                    }
                    (Ok(_), None) => {}
                    (Err(why), _) => self.kept_out("join", &why, &who),
                }
            }
            Done::Arrived { who, took, answer } => {
                self.tally.arrivals.add(took);
                match answer {
                    Err(why) => self.kept_out("node join", &why, &who),
                    Ok(token) => self.arrived(&who, token),
                }
            }
            Done::Ended { room, number, took, answer } => {
                self.tally.ends.add(took);
                if let Err(why) = answer {
                    self.tally.failed("end", &why);
                }
                if self.meetings.get(&room).is_some_and(|meeting| meeting.number == number)
                    && let Some(meeting) = self.meetings.remove(&room)
                {
                    self.put_back(meeting.waiting);
                }
            }
        }
    }

    fn created(&mut self, room: &Room, number: u64, answer: Result<String, Trouble>) {
        let Some(meeting) = self.meetings.get_mut(room) else { return };
        if meeting.number != number {
            return;
        }
        let runs = |id: &String| self.nodes.iter().position(|(_, node)| node.runs(id));
        let found = answer.and_then(|id| runs(&id).ok_or_else(|| "on no node".to_owned()));
        let mut later = Vec::new();
        match found {
            Ok(node) => {
                meeting.phase = Phase::Running(node);
                let (at_ms, name) = (meeting.due_ms, self.nodes[node].0.clone());
                self.placements.push(Placement { at_ms, room: room.clone(), node: name });
                for (user, _) in
                    meeting.users.iter().filter(|(_, user)| matches!(user, User::Waits))
                {
                    let (room, user) = (room.clone(), user.clone());
                    let at_ms = at_ms + rejoin_after_ms(&room, &user);
                    later.push((at_ms, Later::Rejoin { room, number, user }));
                }
            }
            Err(why) => {
                meeting.tries += 1;
                let is_lost = meeting.lost_ms.is_some();
                if is_lost && meeting.tries < MAX_TRIES {
                    meeting.phase = Phase::Lost;
                    self.tally.retries += 1;
                    let after = RETRY_AFTER.as_secs_f64() * self.clock.speed * 1000.0;
                    #[expect(clippy::cast_possible_truncation, reason = "some hours at most")]
                    let at_ms = self.clock.now_ms().saturating_add(after as i64);
                    later.push((at_ms, Later::Recreate { room: room.clone(), number }));
                } else {
                    meeting.phase = Phase::Failed;
                    self.cut_short.insert((room.clone(), meeting.created_ms), meeting.lost_ms);
                    self.tally.meetings_left_out += 1;
                    self.tally.failed("create", &why);
                }
            }
        }
        let waiting = std::mem::take(&mut meeting.waiting);
        for (at_ms, later) in later {
            self.push(at_ms, later);
        }
        self.put_back(waiting);
    }

    /// Somebody did not get in; unless nobody expects them any more.
    fn kept_out(&mut self, call: &str, why: &str, who: &Who) {
        let is_on_the_way = self.is_on_the_way(who);
        if !is_on_the_way && call != "join" {
            return;
        }
        self.tally.failed(call, why);
        if is_on_the_way && let Some(meeting) = self.meetings.get_mut(&who.room) {
            self.tally.people_left_out += 1;
            meeting.users.remove(&who.user);
        }
    }

    fn arrived(&mut self, who: &Who, token: String) {
        let is_expected = self.is_on_the_way(who);
        let Some(meeting) = self.meetings.get_mut(&who.room) else { return };
        if is_expected {
            meeting.users.insert(who.user.clone(), User::Here { token });
        } else if let Phase::Running(node) = meeting.phase {
            // They had left already.
            self.nodes[node].1.sign_out(&token);
        }
    }
}
