//! The rows of a trace, made of what was written down.
//!
//! How many were in a meeting is known at some moments, not who came when: people are made up who come and go evenly
//! between two counts. A room whose node failed and that was created again soon after is one meeting, as it is in
//! a trace: where it would be hit, whoever plays the trace creates it again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::Sha256;

use crate::cli::check::counted;
use crate::model::{MOST_ATTENDEES, MeetingKey, MeetingLine, NodeLine, NodeName, spacing_ms};
use crate::trace::{Room, Row, What};

/// Attendees that a node of weight 1 is built for, as traces say.
const CAPACITY: f64 = 200.0;
/// Weights that a trace may have.
const WEIGHTS: (f64, f64) = (0.001, 1000.0);
/// A meeting that is created again so soon after its node failed is the same one.
const AGAIN_WITHIN_MS: u64 = 10 * 60 * 1000;
/// And those who were in it are back by then.
const BACK_WITHIN_MS: u64 = 2 * 60 * 1000;
/// A poll is so far behind at most.
const POLLED_MS: u64 = 5_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// Which days.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// The first of them, and the last.
    pub(super) from: Date,
    pub(super) last: Date,
    /// Time 0 is its beginning.
    pub(super) monday: Date,
    /// In ms since 1970; the end is not part of it.
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
}

/// What tenants and rooms are called in a trace: equal ones alike, and nobody can tell which they are.
pub(super) struct Names([u8; 32]);

impl Names {
    /// Others than in any other trace.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    fn hash(&self, kind: &str, parts: &[&str]) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0)
            .expect("an HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let hash: String = hex::encode(mac.finalize().into_bytes()).chars().take(16).collect();
        format!("{kind}{hash}")
    }

    fn room(&self, key: &MeetingKey) -> Room {
        let (tenant, sub) = (key.scope.tenant.as_str(), key.scope.sub.get().to_string());
        Room {
            tenant: self.hash("t", &[tenant]),
            meeting_id: self.hash("m", &[tenant, &sub, &key.id]),
        }
    }
}

/// The rows of these days.
pub(super) struct Day {
    span: Span,
    zone: TimeZone,
    names: Names,
    lines: BTreeMap<NodeName, Vec<NodeLine>>,
    found: HashMap<MeetingKey, Vec<Found>>,
    placed_on: BTreeSet<NodeName>,
    /// In order, once it is [finished](Self::finish).
    pub(super) rows: Vec<Row>,
    /// How many meetings, former ones, and nodes.
    pub(super) meetings: usize,
    pub(super) past: usize,
    pub(super) nodes: usize,
    /// What the trace cannot say.
    pub(super) warnings: Vec<String>,
}

/// A meeting of these days, in ms since 1970.
struct Found {
    begin_ms: u64,
    end_ms: u64,
    /// Its node has taken it away.
    is_cut: bool,
    max_participants: u32,
    hint: u32,
    counts: Vec<(u64, u32)>,
}

impl Day {
    pub(super) fn new(span: Span, nodes: Vec<NodeLine>, names: Names, zone: TimeZone) -> Self {
        let mut lines: BTreeMap<NodeName, Vec<NodeLine>> = BTreeMap::new();
        for line in nodes {
            lines.entry(line.node.clone()).or_default().push(line);
        }
        let (found, placed_on) = (HashMap::new(), BTreeSet::new());
        let (rows, warnings) = (Vec::new(), Vec::new());
        let (meetings, past, nodes) = (0, 0, 0);
        Self { span, zone, names, lines, found, placed_on, rows, meetings, past, nodes, warnings }
    }

    /// Takes a meeting that was created before the end of these days.
    pub(super) fn meeting(&mut self, line: MeetingLine) {
        let created_ms = line.created_at_ms;
        let (end_ms, is_cut) = self.end_of(&line);
        let end_ms = end_ms.max(created_ms + 1);
        if end_ms <= self.span.from_ms {
            if line.peak > 0 {
                let what = What::Past {
                    room: self.names.room(&line.key),
                    peak: line.peak.min(MOST_ATTENDEES),
                    duration_s: (end_ms - created_ms) / 1000,
                };
                self.rows.push(Row { at_ms: self.local(created_ms), what });
                self.past += 1;
            }
            return;
        }
        let at = |after_s: u32| created_ms.saturating_add(u64::from(after_s) * 1000);
        let found = Found {
            begin_ms: created_ms,
            end_ms: end_ms.min(self.span.to_ms),
            is_cut,
            // More is read in no trace.
            max_participants: line.max_participants.min(MOST_ATTENDEES),
            hint: line.size_hint.min(MOST_ATTENDEES),
            counts: line
                .counts
                .iter()
                .map(|count| (at(count.after_s), count.attendees.min(MOST_ATTENDEES)))
                .collect(),
        };
        self.placed_on.insert(line.node);
        self.found.entry(line.key).or_default().push(found);
    }

    /// When it was over, as far as that is known; and whether its node has taken it away.
    fn end_of(&self, line: &MeetingLine) -> (u64, bool) {
        if let Some(ended_at_ms) = line.ended_at_ms {
            return (ended_at_ms, false);
        }
        let last_s = line.counts.last().map_or(0, |count| count.after_s);
        let known_ms = line.created_at_ms.saturating_add(u64::from(last_s) * 1000);
        let of_node = self.lines.get(&line.node).map(Vec::as_slice).unwrap_or_default();
        let is_up = of_node.last().is_none_or(|last| last.room.is_some());
        let is_down = |node: &&NodeLine| node.room.is_none() && node.at_ms >= known_ms;
        match of_node.iter().find(is_down) {
            _ if line.is_running && is_up => (u64::MAX, false),
            Some(down) => (down.at_ms, true),
            None if line.is_running => (u64::MAX, false),
            None => (known_ms, false),
        }
    }

    /// All meetings were taken. Says whether there is anything to play.
    pub(super) fn finish(&mut self) -> bool {
        self.rows.sort_by_key(|row| row.at_ms);
        let past = self.rows.len();
        let (mut rows, mut first_ms) = (Vec::new(), u64::MAX);
        let mut rooms: Vec<_> = std::mem::take(&mut self.found).into_iter().collect();
        rooms.sort_by(|one, other| one.0.cmp(&other.0));
        for (key, found) in rooms {
            let room = self.names.room(&key);
            for one in in_turn(found, &self.span) {
                first_ms = first_ms.min(one.begin_ms);
                self.meetings += 1;
                play(&room, &one, &mut |at_ms, what| rows.push((at_ms, what)));
            }
        }
        if self.meetings == 0 {
            return false;
        }
        rows.extend(self.play_nodes(first_ms));
        // At one moment: what goes, nodes, what comes.
        rows.sort_by_key(|(at_ms, what)| (*at_ms, rank(what)));
        for (at_ms, what) in rows {
            let at_ms = self.since_monday(at_ms);
            self.rows.push(Row { at_ms, what });
        }
        debug_assert!(self.rows[past..].is_sorted_by_key(|row| row.at_ms));
        true
    }

    /// Nodes as they come and go; those that are there first are there from the beginning.
    fn play_nodes(&mut self, first_ms: u64) -> Vec<(u64, What)> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut unknown = 0;
        for name in &self.placed_on {
            if !lines.contains_key(name) {
                unknown += 1;
                let line = NodeLine { node: name.clone(), at_ms: 0, room: Some(CAPACITY) };
                lines.insert(name.clone(), vec![line]);
            }
        }
        if unknown > 0 {
            self.warnings
                .push(format!("{} of unknown size: weight 1 is taken", counted(unknown, "node")));
        }
        let (mut rows, mut changed) = (Vec::new(), 0);
        for lines in lines.into_values() {
            let (mut first_weight, mut is_up, mut played, mut is_changed) =
                (None, false, Vec::new(), false);
            let before = lines.iter().rposition(|line| line.at_ms <= self.span.from_ms);
            for line in lines.iter().skip(before.unwrap_or_default()) {
                let at_ms = line.at_ms.max(self.span.from_ms);
                if line.at_ms >= self.span.to_ms {
                    break;
                }
                let weight = line.room.map(|room| (room / CAPACITY).clamp(WEIGHTS.0, WEIGHTS.1));
                let node = format!("n{}", self.nodes + 1);
                match weight {
                    Some(weight) => {
                        let first = *first_weight.get_or_insert(weight);
                        is_changed |= (first - weight).abs() > 1e-9;
                        if !is_up {
                            let weight = (!played.iter().any(is_node_up)).then_some(first);
                            played.push((at_ms, What::NodeUp { node, weight }));
                        }
                    }
                    None if is_up => played.push((at_ms, What::NodeDown { node })),
                    None => {}
                }
                is_up = weight.is_some();
            }
            changed += usize::from(is_changed);
            self.nodes += usize::from(!played.is_empty());
            rows.extend(played);
        }
        if changed > 0 {
            self.warnings.push(format!(
                "{} with another weight or capacity in the middle: the trace has the first",
                counted(changed, "node")
            ));
        }
        // What is known of nodes began later than what is known of meetings.
        let begins = rows.iter().map(|(at_ms, _)| *at_ms).min().unwrap_or_default();
        if begins > first_ms {
            for (at_ms, _) in rows.iter_mut().filter(|(at_ms, _)| *at_ms == begins) {
                *at_ms = self.span.from_ms;
            }
        }
        rows
    }

    fn since_monday(&self, at_ms: u64) -> i64 {
        let days = i64::from(self.span.from.weekday().to_monday_zero_offset());
        let since =
            i64::try_from(at_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(self.span.from_ms);
        since.saturating_add(days * DAY_MS)
    }

    /// The same by the clock on the wall, also on the other side of a change of clocks: rooms meet by it.
    fn local(&self, at_ms: u64) -> i64 {
        let moment = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or(i64::MAX));
        let on_wall = |moment: Timestamp| {
            moment.to_zoned(self.zone.clone()).datetime().to_zoned(TimeZone::UTC).ok()
        };
        let monday = self.span.monday.to_zoned(TimeZone::UTC);
        match (moment.ok().and_then(on_wall), monday) {
            (Some(wall), Ok(monday)) => {
                let since = wall.timestamp().as_millisecond() - monday.timestamp().as_millisecond();
                since.min(self.since_monday(self.span.from_ms) - 1)
            }
            _ => self.since_monday(at_ms),
        }
    }
}

fn is_node_up((_, what): &(u64, What)) -> bool {
    matches!(what, What::NodeUp { .. })
}

fn rank(what: &What) -> u8 {
    match what {
        What::End { .. } => 0,
        What::Leave { .. } => 1,
        What::NodeUp { .. } | What::NodeDown { .. } => 2,
        What::Create { .. } => 3,
        _ => 4,
    }
}

/// The meetings of a room, one after the other, within the span.
fn in_turn(mut found: Vec<Found>, span: &Span) -> Vec<Found> {
    found.sort_by_key(|one| one.begin_ms);
    let mut turns: Vec<Found> = Vec::new();
    for mut one in found {
        one.begin_ms = one.begin_ms.max(span.from_ms);
        if let Some(last) = turns.last_mut() {
            if last.is_cut && one.begin_ms.saturating_sub(last.end_ms) <= AGAIN_WITHIN_MS {
                // While they come back.
                let back_ms = one.begin_ms + BACK_WITHIN_MS;
                last.counts.extend(one.counts.into_iter().filter(|(at_ms, _)| *at_ms > back_ms));
                (last.end_ms, last.is_cut) = (one.end_ms.max(last.end_ms), one.is_cut);
                continue;
            }
            // A room has one meeting at a time.
            one.begin_ms = one.begin_ms.max(last.begin_ms + 2);
            last.end_ms = last.end_ms.min(one.begin_ms);
        }
        one.end_ms = one.end_ms.max(one.begin_ms + 1);
        if one.begin_ms + 1 < span.to_ms {
            turns.push(one);
        }
    }
    turns
}

/// One meeting: its create, people who come and go as it was counted, and its end.
fn play(room: &Room, one: &Found, tell: &mut impl FnMut(u64, What)) {
    let some = |number: u32| Some(number).filter(|number| *number > 0);
    let (max_participants, hint) = (some(one.max_participants), some(one.hint));
    tell(one.begin_ms, What::Create { room: room.clone(), max_participants, hint });
    let last_ms = one.end_ms - 1;
    // Who is there, and since when; who came first goes first.
    let mut present: VecDeque<(u32, u64)> = VecDeque::new();
    let (mut came, mut before_ms) = (0, one.begin_ms);
    for (counted_ms, attendees) in &one.counts {
        let at_ms = (*counted_ms).clamp(one.begin_ms, last_ms);
        let age_ms = counted_ms.saturating_sub(one.begin_ms);
        // It was written down so long after it had changed, at most.
        let since_ms =
            at_ms.saturating_sub(spacing_ms(age_ms) + POLLED_MS).max(before_ms).min(at_ms);
        let (now, then) = (u64::from(*attendees), present.len() as u64);
        let many = now.abs_diff(then);
        for number in 1..=many {
            let moment_ms = since_ms + (at_ms - since_ms) * number / many;
            if now > then {
                came += 1;
                present.push_back((came, moment_ms));
                let (room, user) = (room.clone(), came.to_string());
                tell(moment_ms, What::Join { room, user, counted_after_ms: Some(0) });
            } else if let Some((user, joined_ms)) = present.pop_front() {
                let moment_ms = moment_ms.max(joined_ms + 1);
                // Who is left is gone with the end.
                if moment_ms <= last_ms {
                    tell(moment_ms, What::Leave { room: room.clone(), user: user.to_string() });
                }
            }
        }
        before_ms = at_ms;
    }
    tell(one.end_ms, What::End { room: room.clone() });
}

#[cfg(test)]
mod tests;
