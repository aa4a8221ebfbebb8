//! Plays the rows of a trace at their times: as a front end, as the people in its meetings, and as the nodes.
//!
//! One task knows everything and decides; calls are made by others, so many at once and no more, which tell it how they
//! went. Of one room there is one create or end at a time, and what comes for it meanwhile waits.

mod answers;
mod clock;
mod judged;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

use clock::Clock;

use super::front::{Front, Hints, Trouble};
use super::progress::Progress;
use super::script::Script;
use super::tally::Tally;
use crate::sim::{self, Fault};
use crate::trace::score::{Error, Figures, Placement, recreate_after_ms, rejoin_counted_after_ms};
use crate::trace::{Room, Row, What};

/// Calls under way; more wait, and are told as being behind.
const MAX_UNDER_WAY: usize = 256;
/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    AtTheEnd,
    ByTime,
    BySignal,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) ended: Ended,
    pub(super) placements: Vec<Placement>,
    pub(super) figures: Result<Figures, Error>,
    pub(super) tally: Tally,
}

/// See the module.
pub(super) struct Player<'s> {
    script: &'s Script,
    nodes: &'s [(String, sim::Node)],
    front: Arc<Front>,
    clock: Clock,
    /// Rows that were taken.
    taken: usize,
    /// What comes besides them, by its time.
    later: BTreeMap<(i64, u64), Later>,
    /// Of whatever has to be told apart.
    last_number: u64,
    meetings: HashMap<Room, Meeting>,
    placements: Vec<Placement>,
    /// Until when meetings count that could not be played to their end, by room and create.
    cut_short: HashMap<(Room, i64), Option<i64>>,
    tally: Tally,
    under_way: JoinSet<Done>,
}

/// What follows from rows.
#[derive(Debug)]
enum Later {
    /// What had to wait.
    Row(What),
    /// Somebody's browser comes to the node.
    Arrival { who: Who, location: String },
    /// A meeting is created again after its node has failed.
    Recreate { room: Room, number: u64 },
    /// And somebody joins it again.
    Rejoin { room: Room, number: u64, user: String },
}

/// Somebody who is on the way into a meeting.
#[derive(Debug)]
struct Who {
    room: Room,
    number: u64,
    user: String,
    /// Which of their attempts this is.
    attempt: u64,
}

#[derive(Debug)]
struct Meeting {
    number: u64,
    created_ms: i64,
    hints: Hints,
    phase: Phase,
    users: HashMap<String, User>,
    /// What came while something of it was under way.
    waiting: VecDeque<Row>,
    /// When it was to be created, the last time.
    due_ms: i64,
    /// When its node failed.
    lost_ms: Option<i64>,
    tries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Creating,
    Running(usize),
    /// Its node has failed, and it is not created again yet.
    Lost,
    Ending,
    /// It could not be created.
    Failed,
}

#[derive(Debug)]
enum User {
    /// Until the meeting is there again.
    Waits,
    OnTheWay(u64),
    Here {
        token: String,
    },
}

/// A call that has ended.
#[derive(Debug)]
enum Done {
    Created { room: Room, number: u64, took: Duration, answer: Result<String, Trouble> },
    Asked { who: Who, counted_ms: Option<i64>, took: Duration, answer: Result<String, Trouble> },
    Arrived { who: Who, took: Duration, answer: Result<String, Trouble> },
    Ended { room: Room, number: u64, took: Duration, answer: Result<(), Trouble> },
}

impl<'s> Player<'s> {
    pub(super) fn new(
        script: &'s Script,
        nodes: &'s [(String, sim::Node)],
        front: Front,
        speed: f64,
        rate: f64,
    ) -> Self {
        let (began, begin_ms) = (Instant::now(), script.begin_ms);
        let gap = Duration::from_secs_f64(1.0 / rate);
        Self {
            script,
            nodes,
            front: Arc::new(front),
            clock: Clock { speed, began, begin_ms, gap, free: began },
            taken: 0,
            later: BTreeMap::new(),
            last_number: 0,
            meetings: HashMap::new(),
            placements: Vec::new(),
            cut_short: HashMap::new(),
            tally: Tally::default(),
            under_way: JoinSet::new(),
        }
    }

    /// Plays until the end, until it has taken too long, or until somebody stops it.
    pub(super) async fn play(
        mut self,
        max_time: Duration,
        stop: impl Future<Output = ()>,
    ) -> Played {
        let over = self.clock.began + max_time;
        let mut progress = Progress::new(self.script.rows.len());
        let mut ticks = interval(progress.every());
        tokio::pin!(stop);
        // Nodes that come later are not there yet.
        for (name, node) in self.nodes {
            let is_up = self.script.rows.iter().find_map(|row| match &row.what {
                What::NodeUp { node, .. } if node == name => Some(row.at_ms <= self.clock.begin_ms),
                _ => None,
            });
            node.set_fault((is_up != Some(true)).then_some(Fault::Refuse));
        }
        let ended = loop {
            let next = self.next();
            if next.is_none() && self.under_way.is_empty() {
                break Ended::AtTheEnd;
            }
            let has_room = self.under_way.len() < MAX_UNDER_WAY;
            let ready = next.map_or(over, |(ready, _)| ready);
            tokio::select! {
                biased;
                () = &mut stop => break Ended::BySignal,
                () = sleep_until(over) => break Ended::ByTime,
                Some(Ok(done)) = self.under_way.join_next(), if !self.under_way.is_empty() => self.done(done),
                () = sleep_until(ready), if next.is_some() && has_room => self.turn(),
                _ = ticks.tick() => {
                    let (at_ms, latest) = (self.clock.now_ms(), self.tally.latest);
                    let left = self.left().min(over.saturating_duration_since(Instant::now()));
                    progress.tell(self.taken, at_ms, latest, self.tally.errors, left);
                }
            }
        };
        progress.finish();
        self.finish(ended)
    }

    /// When the next thing can be done, and whether it is one of those that come besides the rows.
    fn next(&self) -> Option<(Instant, bool)> {
        let row = self.script.rows.get(self.taken);
        let later = self.later.first_key_value();
        let is_later = match (row, later) {
            (Some(row), Some(((at_ms, _), _))) => *at_ms <= row.at_ms,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => return None,
        };
        let (at_ms, is_call) = match (row, later) {
            (_, Some(((at_ms, _), later))) if is_later => (
                *at_ms,
                match later {
                    Later::Row(what) => is_call(what),
                    Later::Recreate { .. } | Later::Rejoin { .. } => true,
                    Later::Arrival { .. } => false,
                },
            ),
            (Some(row), _) => (row.at_ms, is_call(&row.what)),
            _ => return None,
        };
        let moment = self.clock.moment(at_ms);
        Some((if is_call { moment.max(self.clock.free) } else { moment }, is_later))
    }

    /// Does the next thing.
    fn turn(&mut self) {
        let script = self.script;
        match self.next() {
            Some((_, true)) => {
                let Some(((at_ms, _), later)) = self.later.pop_first() else { return };
                match later {
                    Later::Row(what) => self.row(at_ms, &what),
                    Later::Arrival { who, location } => self.arrive(who, location),
                    Later::Recreate { room, number } => self.recreate(&room, number),
                    Later::Rejoin { room, number, user } => self.rejoin(at_ms, &room, number, user),
                }
            }
            Some((_, false)) => {
                let row = &script.rows[self.taken];
                self.taken += 1;
                self.row(row.at_ms, &row.what);
            }
            None => {}
        }
    }

    fn row(&mut self, at_ms: i64, what: &What) {
        match what {
            What::Past { .. } | What::Count { .. } => {}
            What::NodeUp { node, .. } => {
                if let Some((_, node)) = self.nodes.iter().find(|(name, _)| name == node) {
                    node.set_fault(None);
                }
            }
            What::NodeDown { node } => self.node_down(at_ms, node),
            What::Create { room, max_participants, hint } => {
                if let Some(meeting) = self.meetings.get_mut(room) {
                    meeting.waiting.push_back(Row { at_ms, what: what.clone() });
                    return;
                }
                let hints = Hints { max_participants: *max_participants, size: *hint };
                let number = self.number();
                self.meetings.insert(
                    room.clone(),
                    Meeting {
                        number,
                        created_ms: at_ms,
                        hints,
                        phase: Phase::Creating,
                        users: HashMap::new(),
                        waiting: VecDeque::new(),
                        due_ms: at_ms,
                        lost_ms: None,
                        tries: 0,
                    },
                );
                self.late(at_ms);
                self.create(room, number, hints);
            }
            What::Join { room, .. } | What::Leave { room, .. } | What::End { room } => {
                let Some(meeting) = self.meetings.get_mut(room) else { return };
                match meeting.phase {
                    Phase::Creating | Phase::Ending => {
                        meeting.waiting.push_back(Row { at_ms, what: what.clone() });
                    }
                    _ => self.in_meeting(at_ms, room, what),
                }
            }
        }
    }

    /// Nothing else of this meeting is under way.
    fn in_meeting(&mut self, at_ms: i64, room: &Room, what: &What) {
        let attempt = self.number();
        let Some(meeting) = self.meetings.get_mut(room) else { return };
        match what {
            What::Join { user, counted_after_ms, .. } => {
                let counted_after_ms = counted_after_ms.filter(|after_ms| *after_ms >= 0);
                match meeting.phase {
                    Phase::Running(_) => {
                        if counted_after_ms.is_some() {
                            meeting.users.insert(user.clone(), User::OnTheWay(attempt));
                        }
                        let (room, user) = (room.clone(), user.clone());
                        let who = Who { room, number: meeting.number, user, attempt };
                        self.ask(at_ms, who, counted_after_ms);
                    }
                    Phase::Lost if counted_after_ms.is_some() => {
                        meeting.users.insert(user.clone(), User::Waits);
                    }
                    Phase::Failed => self.tally.people_left_out += 1,
                    _ => {}
                }
            }
            What::Leave { user, .. } => {
                if let Some(User::Here { token }) = meeting.users.remove(user)
                    && let Phase::Running(node) = meeting.phase
                {
                    self.nodes[node].1.sign_out(&token);
                }
            }
            What::End { .. } => match meeting.phase {
                Phase::Running(_) => {
                    meeting.phase = Phase::Ending;
                    meeting.users.clear();
                    let (room, number) = (room.clone(), meeting.number);
                    self.late(at_ms);
                    let front = Arc::clone(&self.front);
                    self.under_way.spawn(async move {
                        let (took, answer) = timed(front.end(&room)).await;
                        Done::Ended { room, number, took, answer }
                    });
                }
                Phase::Lost | Phase::Failed => {
                    // It should have been there again.
                    let lost_ms = meeting.lost_ms.filter(|_| meeting.due_ms < at_ms);
                    if meeting.phase == Phase::Lost && lost_ms.is_some() {
                        self.tally.meetings_left_out += 1;
                        self.cut_short.insert((room.clone(), meeting.created_ms), lost_ms);
                    }
                    self.meetings.remove(room);
                }
                Phase::Creating | Phase::Ending => {}
            },
            _ => {}
        }
    }

    /// A node refuses connections, and its meetings are gone.
    fn node_down(&mut self, at_ms: i64, name: &str) {
        let Some(index) = self.nodes.iter().position(|(known, _)| known == name) else { return };
        let node = &self.nodes[index].1;
        node.set_fault(Some(Fault::Refuse));
        node.restart();
        let mut again = Vec::new();
        for (room, meeting) in &mut self.meetings {
            if meeting.phase != Phase::Running(index) {
                continue;
            }
            meeting.phase = Phase::Lost;
            meeting.lost_ms = Some(at_ms);
            meeting.due_ms = at_ms + recreate_after_ms(room);
            meeting.tries = 0;
            meeting.users.values_mut().for_each(|user| *user = User::Waits);
            again.push((
                meeting.due_ms,
                Later::Recreate { room: room.clone(), number: meeting.number },
            ));
        }
        for (at_ms, later) in again {
            self.push(at_ms, later);
        }
    }

    fn recreate(&mut self, room: &Room, number: u64) {
        let Some(meeting) = self.meetings.get_mut(room) else { return };
        if meeting.number == number && meeting.phase == Phase::Lost {
            meeting.phase = Phase::Creating;
            let (hints, due_ms, is_first) = (meeting.hints, meeting.due_ms, meeting.tries == 0);
            if is_first {
                self.late(due_ms);
            } else {
                // That it has to be tried again is not for us being late.
                self.clock.spend();
            }
            self.create(room, number, hints);
        }
    }

    fn rejoin(&mut self, at_ms: i64, room: &Room, number: u64, user: String) {
        let attempt = self.number();
        let Some(meeting) = self.meetings.get_mut(room) else { return };
        // Of one that is lost again, everybody waits for the next time.
        if meeting.number != number || !matches!(meeting.phase, Phase::Running(_)) {
            return;
        }
        if let Some(known @ User::Waits) = meeting.users.get_mut(&user) {
            *known = User::OnTheWay(attempt);
            let who = Who { room: room.clone(), number, user, attempt };
            self.ask(at_ms, who, Some(rejoin_counted_after_ms()));
        }
    }

    fn create(&mut self, room: &Room, number: u64, hints: Hints) {
        let (front, room) = (Arc::clone(&self.front), room.clone());
        self.under_way.spawn(async move {
            let (took, answer) = timed(front.create(&room, hints)).await;
            Done::Created { room, number, took, answer }
        });
    }

    fn ask(&mut self, at_ms: i64, who: Who, counted_after_ms: Option<i64>) {
        self.late(at_ms);
        let front = Arc::clone(&self.front);
        let counted_ms = counted_after_ms.map(|after_ms| at_ms.saturating_add(after_ms));
        self.under_way.spawn(async move {
            let (took, answer) = timed(front.join(&who.room, &who.user)).await;
            Done::Asked { who, counted_ms, took, answer }
        });
    }

    fn arrive(&mut self, who: Who, location: String) {
        if !self.is_on_the_way(&who) {
            return;
        }
        let front = Arc::clone(&self.front);
        self.under_way.spawn(async move {
            let (took, answer) = timed(front.follow(location)).await;
            Done::Arrived { who, took, answer }
        });
    }

    fn is_on_the_way(&self, who: &Who) -> bool {
        let meeting = self.meetings.get(&who.room).filter(|meeting| meeting.number == who.number);
        let user = meeting.and_then(|meeting| meeting.users.get(&who.user));
        matches!(user, Some(User::OnTheWay(attempt)) if *attempt == who.attempt)
    }

    fn late(&mut self, due_ms: i64) {
        self.clock.spend();
        self.tally.late(Instant::now().saturating_duration_since(self.clock.moment(due_ms)));
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn push(&mut self, at_ms: i64, later: Later) {
        let number = self.number();
        self.later.insert((at_ms, number), later);
    }

    /// What had to wait goes on, in its order.
    fn put_back(&mut self, waiting: VecDeque<Row>) {
        for Row { at_ms, what } in waiting {
            self.push(at_ms, Later::Row(what));
        }
    }

    /// How long the rest takes, if we remain as far behind as we are.
    fn left(&self) -> Duration {
        let last_ms = self.script.rows.last().map_or(self.clock.begin_ms, |row| row.at_ms);
        let end = self.clock.moment(last_ms) + self.tally.latest;
        end.saturating_duration_since(Instant::now())
    }

    fn reached_ms(&self) -> i64 {
        let row = self.taken.checked_sub(1).and_then(|last| self.script.rows.get(last));
        row.map_or(self.clock.begin_ms, |row| row.at_ms)
    }
}

fn is_call(what: &What) -> bool {
    matches!(what, What::Create { .. } | What::Join { .. } | What::End { .. })
}

async fn timed<T>(call: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let answer = call.await;
    (began.elapsed(), answer)
}
