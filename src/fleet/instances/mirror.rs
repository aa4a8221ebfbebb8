//! Doing after the others what they have done, in the order of the log.
//!
//! All of it happens under one short lock, which is the one that choices are made under: a choice sees the
//! picture as of one event. Our own events come back, too, and only say how far the log has come, for what
//! they tell has happened here already; what an older event may have undone is done again. An event about what we
//! do not know changes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info};
use tokio::time::Instant;

use super::Instances;
use super::event::{Changed, Created, Event, Placing, Polled, Row, State, Token};
use super::polls::{self, TOLD_ONCE};
use crate::bus::{self, Position};
use crate::fleet::claims::Held as HeldClaim;
use crate::fleet::departed::Fate;
use crate::fleet::entry::{Entry, Phase};
use crate::fleet::limits::Place;
use crate::fleet::placement::Reservation;
use crate::fleet::{Change, Fleet, Node, Snapshot};
use crate::model::{AdminState, InstanceId, Meeting, MeetingKey, NodeName};

/// Placements of others that are kept in mind. Far beyond what can be in flight.
const MAX_HELD: usize = 20_000;
/// A create that takes longer has failed, whatever became of its instance.
const HELD_FOR: Duration = Duration::from_mins(2);
/// What an instance that leaves has begun is over by then.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Whoever is still there repeats its placements when we are in touch again.
pub(super) const REPEATED_WITHIN: Duration = Duration::from_secs(10);
/// Polls in a row whose digest is another than ours until we ask. One may cross with a create.
const DIFFERS_UNTIL_ASKED: u32 = 2;
/// And no longer than that until we ask again.
const ASKED_AGAIN: Duration = Duration::from_mins(1);
/// Complete lists in a row that must not have a meeting until it is dropped.
const MISSES_UNTIL_DROPPED: u8 = 2;

/// What we know of the others, and they of us.
#[derive(Default)]
pub(super) struct Mirror {
    /// All events up to here are applied.
    pub(super) applied: Position,
    /// Placements of others whose creates are in flight.
    held: HashMap<(InstanceId, Token), Held>,
    living: HashSet<InstanceId>,
    /// Grows whenever somebody does not know what we have told.
    pub(super) epoch: u64,
    /// The nodes that we poll, and in which epoch all of it was told.
    pub(super) polled: HashMap<NodeName, u64>,
    /// Polls in a row whose digest was another than ours.
    differs: HashMap<NodeName, Differs>,
}

/// How long a node's digest has been another than ours.
#[derive(Default)]
struct Differs {
    /// Polls in a row.
    polls: u32,
    asked_at: Option<Instant>,
}

impl Differs {
    /// Counts a poll; returns whether to ask now. What no answer mends is asked for ever less often.
    fn count(&mut self, now: Instant) -> bool {
        self.polls = self.polls.saturating_add(1);
        let is_due = self.polls >= DIFFERS_UNTIL_ASKED
            && (self.polls.is_power_of_two()
                || self.asked_at.is_some_and(|at| now.duration_since(at) >= ASKED_AGAIN));
        if is_due {
            self.asked_at = Some(now);
        }
        is_due
    }
}

/// A placement of another instance.
struct Held {
    placing: Placing,
    reservation: Option<Reservation>,
    place: Option<Place>,
    /// Nobody else takes the meeting for a stranger.
    claim: Option<HeldClaim>,
    until: Instant,
}

impl Mirror {
    /// In touch from here on.
    pub(super) fn begin(&mut self, at: Position) {
        self.applied = at;
        self.epoch += 1;
        self.differs.clear();
        let until = Instant::now() + REPEATED_WITHIN;
        for held in self.held.values_mut() {
            held.until = held.until.min(until);
        }
    }

    /// A poll was quicker than the create that it was placed for: the meeting weighs by itself from now on.
    pub(super) fn weigh_no_more(&mut self, meeting: &Meeting) {
        for held in self.held.values_mut() {
            if held.placing.key == meeting.key && held.placing.node == meeting.node {
                held.reservation = None;
                held.place = None;
                held.claim = None;
            }
        }
    }
}

impl Instances {
    /// Who is alive. What those who no longer are have begun to create is given up soon: one that was
    /// stopped brings to an end what it has begun.
    pub fn set_living(&self, living: impl IntoIterator<Item = InstanceId>) {
        let mut mirror = self.mirror.lock();
        let now: HashSet<InstanceId> = living.into_iter().collect();
        let before = std::mem::replace(&mut mirror.living, now);
        let Mirror { living, held, .. } = &mut *mirror;
        let is_gone = |author: &InstanceId| before.contains(author) && !living.contains(author);
        let until = Instant::now() + ENDS_WITHIN;
        for (_, held) in held.iter_mut().filter(|((author, _), _)| is_gone(author)) {
            held.until = held.until.min(until);
        }
    }

    /// Gives up what has been in flight for too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.mirror.lock().held.retain(|_, held| held.until > now);
    }
}

impl Fleet {
    /// Does after the others what these events tell. Those that were applied before are passed over.
    pub(super) fn apply_events(&self, me: &InstanceId, events: Vec<bus::Event>) {
        // Read before the lock is taken: some are large.
        let read = |event: bus::Event| {
            let is_own = event.author == *me;
            let told = (!is_own || Event::may_be_overtaken(&event.payload))
                .then(|| Event::read(&event.payload))
                .flatten();
            (event.at, event.author, is_own, told)
        };
        let events: Vec<_> = events.into_iter().map(read).collect();
        let snapshot = self.snapshot();
        let figures = &self.instances.figures;
        let mut mirror = self.instances.mirror.lock();
        for (at, author, is_own, event) in events {
            if at <= mirror.applied {
                continue;
            }
            mirror.applied = at;
            match event {
                event if is_own => {
                    // What stands in the log before it may have undone it here since.
                    match event {
                        // Of a node that we poll we know more by now.
                        Some(Event::Doubt { node, .. }) if mirror.polled.contains_key(&node) => {}
                        Some(event) => self.apply_event(&mut mirror, &snapshot, author, event),
                        None => {}
                    }
                    Instances::count(&figures.own, 1);
                }
                Some(event) => {
                    self.apply_event(&mut mirror, &snapshot, author, event);
                    Instances::count(&figures.applied, 1);
                }
                None => Instances::count(&figures.ignored, 1),
            }
        }
    }

    fn apply_event(
        &self,
        mirror: &mut Mirror,
        snapshot: &Snapshot,
        author: InstanceId,
        event: Event,
    ) {
        let node = |name: &NodeName| snapshot.node(name.as_str());
        let entry = |internal_id: &str| self.directory.get_internal(internal_id);
        match event {
            Event::Hello => {
                info!("instance {author} is in touch");
                mirror.epoch += 1;
                self.instances.telling.repeat_placings();
                for node in mirror.polled.keys().filter_map(node) {
                    self.tell_state(node);
                }
            }
            Event::Ask { nodes } => {
                for node in nodes {
                    mirror.polled.entry(node).and_modify(|epoch| *epoch = 0);
                }
            }
            Event::Placing(placing) => self.hold(mirror, snapshot, author, placing),
            Event::GivenUp { token } => drop(mirror.held.remove(&(author, token))),
            Event::Created(created) => self.apply_created(mirror, snapshot, author, *created),
            Event::Ended { internal_id } => {
                match entry(&internal_id) {
                    Some(entry) if entry.phase() == Phase::Running => entry.mark_ended(),
                    // A lost one would come into sight again.
                    Some(_) => {}
                    // Its create is heard later.
                    None if self.directory.departed.fate(&internal_id).is_some() => {}
                    None => self.directory.departed.note(&internal_id, Fate::Ended),
                }
            }
            Event::Revived { internal_id } => {
                if let Some(entry) = entry(&internal_id) {
                    self.give_back_key(&entry);
                }
            }
            Event::Moved(moved) => self.apply_moved(mirror, snapshot, *moved),
            Event::Removed { internal_id } => self.take_out(&internal_id),
            Event::Doubt { node: name, reason } => {
                if let Some(node) = node(&name)
                    && let Some(change) = node.live.doubt(reason.clone(), self.clock().moment())
                {
                    self.journal().health(&name, &change, Some(&reason));
                }
            }
            Event::Polled(polled) => {
                if let Some(node) = node(&polled.node) {
                    self.apply_polled(mirror, snapshot, node, *polled);
                }
            }
            Event::Joins { nodes } => {
                for (name, joins) in nodes {
                    if let Some(node) = node(&name) {
                        node.live.count_joins(joins);
                    }
                }
            }
            // Nobody may be counting.
            Event::Rates { counts } => drop(self.instances.rates.send(counts)),
            Event::HookPut { hook } => {
                if let Some(hook) = hook.into_hook() {
                    self.hooks.take_up(hook);
                }
            }
            Event::HookRemoved { id } => self.hooks.forget(id),
            Event::NodeState { node: name, state } => {
                if let Some(node) = node(&name)
                    && node.live.admin() != AdminState::Retired
                {
                    self.journal().state(&name, node.live.admin(), state);
                    node.live.set_admin(state);
                }
            }
            Event::Unknown => {}
        }
    }

    /// Keeps the place of a create at another instance. One that is tried again on another node moves.
    fn hold(&self, mirror: &mut Mirror, snapshot: &Snapshot, author: InstanceId, placing: Placing) {
        let until = Instant::now() + HELD_FOR;
        let before = mirror.held.remove(&(author.clone(), placing.token));
        if let Some(held) = before.filter(|held| held.placing == placing) {
            mirror.held.insert((author, placing.token), Held { until, ..held });
            return;
        }
        if mirror.held.len() >= MAX_HELD {
            debug!("too many creates are in flight: one of instance {author} is not counted");
            return;
        }
        let node = snapshot.node(placing.node.as_str()).filter(|_| placing.reserves);
        let scope = &placing.key.scope;
        let tenant = snapshot.tenant(scope.tenant.as_str());
        let tally = tenant.map(|tenant| &tenant.tally);
        let held = Held {
            reservation: node
                .cloned()
                .map(|node| Reservation::of_others(node, placing.size, tally)),
            place: tenant.map(|tenant| Place::of_others(tenant.tally.clone(), scope.sub)),
            claim: Some(self.claims.hold(&placing.key)),
            placing,
            until,
        };
        mirror.held.insert((author, held.placing.token), held);
    }

    fn apply_created(
        &self,
        mirror: &mut Mirror,
        snapshot: &Snapshot,
        author: InstanceId,
        created: Created,
    ) {
        let Created { token, meeting, xml, saved, tried } = created;
        let held = token.and_then(|token| mirror.held.remove(&(author, token)));
        if let Some(known) = self.directory.get_internal(&meeting.internal_id) {
            // From a poll, or from the store, which were quicker.
            if saved {
                known.mark_saved();
            }
            return;
        }
        let Some(meeting) = with_known_names(snapshot, meeting.into_meeting(&xml)) else { return };
        let fate = self.directory.departed.fate(&meeting.internal_id);
        if fate == Some(Fate::Gone) {
            return;
        }
        let is_outdated = self.has_newer(&meeting.key, meeting.created_at_ms);
        let entry = match held {
            // Told late: others have gone on without it.
            _ if is_outdated => self.weighed(snapshot, self.directory.adopt_beside(meeting, saved)),
            Some(Held { reservation, place: Some(place), .. }) => {
                let entry = self.directory.enter(meeting, reservation, place, tried);
                if saved {
                    entry.mark_saved();
                }
                entry
            }
            _ => self.weighed(snapshot, self.directory.adopt(meeting, saved)),
        };
        entry.set_told(TOLD_ONCE);
        if fate == Some(Fate::Ended) {
            entry.mark_ended();
        }
    }

    fn apply_polled(
        &self,
        mirror: &mut Mirror,
        snapshot: &Snapshot,
        node: &Arc<Node>,
        polled: Polled,
    ) {
        for changed in polled.changed {
            self.apply_changed(mirror, snapshot, node, changed);
        }
        let Some(state) = polled.state else { return };
        // Its polls are another's business now.
        mirror.polled.remove(node.name());
        let before = node.live.health();
        node.live.follow(&state, self.clock().moment());
        let now = node.live.health();
        if before != now {
            let change = Change { from: before, to: now };
            self.journal().health(node.name(), &change, state.reason.as_deref());
            let (name, reason) = (node.name(), state.reason.as_deref().unwrap_or("all is well"));
            info!("node {name} is {now} (was {before}), says who polls it: {reason}");
        }
        let here =
            |id: &str| self.directory.get_internal(id).filter(|entry| entry.node() == node.name());
        for entry in state.settled.iter().filter_map(|id| here(id)) {
            entry.settle();
        }
        for internal_id in state.over.iter().filter(|id| here(id).is_some()) {
            self.take_out(internal_id);
        }
        if state.counts.is_some() {
            self.weigh(node);
        }
        if state.lost {
            self.lose_meetings_on(node.name());
        }
        self.compare(mirror, node, &state);
    }

    /// A meeting as it is by now.
    fn apply_changed(
        &self,
        mirror: &mut Mirror,
        snapshot: &Snapshot,
        node: &Arc<Node>,
        changed: Changed,
    ) {
        let Changed { internal_id, people, xml, ended, row, saved } = changed;
        let entry = match self.directory.get_internal(&internal_id) {
            Some(entry) if entry.node() == node.name() => entry,
            Some(_) => return,
            None => {
                let fits = |row: &Row| row.internal_id == internal_id && row.node == *node.name();
                let Some(row) = row.filter(fits) else { return };
                let is_outdated = self.has_newer(&row.key, row.created_at_ms);
                let meeting = with_known_names(snapshot, row.into_meeting(&xml));
                let Some(meeting) = meeting else { return };
                mirror.weigh_no_more(&meeting);
                if is_outdated {
                    self.directory.adopt_beside(meeting, saved)
                } else {
                    self.directory.adopt(meeting, saved)
                }
            }
        };
        entry.see(xml.get().unwrap_or_else(|| entry.xml()), people);
        match entry.phase() {
            Phase::Running if ended => entry.mark_ended(),
            _ if !ended => self.give_back_key(&entry),
            _ => {}
        }
        entry.set_told(self.instances.told_by(&entry));
    }

    /// Whether a younger meeting than that runs under its key.
    fn has_newer(&self, key: &MeetingKey, created_at_ms: u64) -> bool {
        self.directory.get(&key.scope, &key.id).is_some_and(|other| {
            other.phase() == Phase::Running && other.created_at_ms() > created_at_ms
        })
    }

    fn take_out(&self, internal_id: &str) {
        match self.directory.get_internal(internal_id) {
            Some(entry) => self.directory.remove(&entry),
            None => self.directory.departed.note(internal_id, Fate::Gone),
        }
    }

    /// Looks whether we have the meetings that a node has, says who polls it. Where we do not, again and
    /// again, a complete list is asked for, and followed.
    fn compare(&self, mirror: &mut Mirror, node: &Node, state: &State) {
        if state.counts.is_none() {
            return;
        }
        if let Some(all) = &state.all {
            let all: HashSet<&str> = all.iter().map(String::as_str).collect();
            for entry in self.directory.on_node(node.name()) {
                if all.contains(entry.internal_id()) {
                    entry.settle();
                } else if entry.miss(node.live.watch()) >= MISSES_UNTIL_DROPPED {
                    self.take_out(entry.internal_id());
                }
            }
        }
        if polls::digest(&self.directory.on_node(node.name())) == state.digest {
            mirror.differs.remove(node.name());
            return;
        }
        let differs = mirror.differs.entry(node.name().clone()).or_default();
        if differs.count(Instant::now()) {
            Instances::count(&self.instances.figures.asked, 1);
            self.instances.telling.push(&Event::Ask { nodes: vec![node.name().clone()] });
        }
    }

    /// Everything in the directory.
    pub(super) fn all_entries(&self) -> Vec<Arc<Entry>> {
        let nodes = self.directory.nodes();
        nodes.iter().flat_map(|node| self.directory.on_node(node)).collect()
    }
}

/// The meeting with names that share their texts with those of the inventory. `None` where its node is not in it;
/// that of a tenant that is gone is still to be seen by operators.
pub(in crate::fleet) fn with_known_names(
    snapshot: &Snapshot,
    mut meeting: Meeting,
) -> Option<Meeting> {
    let node = snapshot.node(meeting.node.as_str())?;
    meeting.node = node.name().clone();
    if let Some(tenant) = snapshot.tenant(meeting.key.scope.tenant.as_str()) {
        meeting.key.scope = tenant.tenant.scope(meeting.key.scope.sub);
    }
    Some(meeting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_answer_mends_is_asked_for_ever_less_often() {
        let asked = |pause: Duration, polls: u32| -> Vec<u32> {
            let (mut differs, begin) = (Differs::default(), Instant::now());
            (1..=polls).filter(|poll| differs.count(begin + pause * *poll)).collect()
        };
        assert_eq!(asked(Duration::from_secs(1), 63), [2, 4, 8, 16, 32]);
        assert_eq!(asked(Duration::from_secs(30), 9), [2, 4, 6, 8]);
    }
}
