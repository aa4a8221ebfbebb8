//! How well the meetings of a trace were placed: the figures of `tests/traces/score.py`, from its rows and a log of
//! placements. `tests/traces/README.md` says what each of them means.

mod day;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde::Serialize;

pub use day::Day;

use super::Room;
use day::Turn;

/// Attendees that a node of weight 1 is built for.
const UNIT: f64 = 200.0;
/// Attendance is looked at on this grid.
const STEP_MS: i64 = 10_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// Longer is no trace, but a slip in its times.
const MAX_DAYS: i64 = 31;
/// From a join after a failure until the node counts it.
const REJOIN_COUNTED_MS: i64 = 5_000;
/// How far a create after a failure may be from the time that the rule gives.
const RECREATE_SLACK_MS: i64 = 1_000;

/// How long after the failure of its node a meeting is created again.
pub fn recreate_after_ms(room: &Room) -> i64 {
    10_000 + i64::from(crc(&[&room.tenant, &room.meeting_id]) % 110_000)
}

/// How long after that somebody who was in it joins again.
pub fn rejoin_after_ms(room: &Room, user: &str) -> i64 {
    500 + i64::from(crc(&[&room.tenant, &room.meeting_id, user]) % 60_000)
}

/// And how long after that their node counts them.
pub const fn rejoin_counted_after_ms() -> i64 {
    REJOIN_COUNTED_MS
}

/// Of these words with slashes between.
fn crc(words: &[&str]) -> u32 {
    crc32fast::hash(words.join("/").as_bytes())
}

/// A meeting was put on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// When, as the trace counts time.
    pub at_ms: i64,
    /// Which one.
    pub room: Room,
    /// Where.
    pub node: String,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// A row of somebody in no meeting.
    #[error("{what} at {at_ms} ms is of no meeting: {room}")]
    NoMeeting {
        /// Which row.
        what: &'static str,
        /// When.
        at_ms: i64,
        /// Whose.
        room: Room,
    },
    /// A time that no figure is made of.
    #[error("{0} ms is not within the {MAX_DAYS} days from time 0 on")]
    Time(i64),
    /// A node that no row has brought up.
    #[error("node {0} is in no node_up")]
    UnknownNode(String),
    /// A create without its placement.
    #[error("no placement at {at_ms} ms for {room}")]
    NotPlaced {
        /// When.
        at_ms: i64,
        /// Which one.
        room: Room,
    },
    /// Its node has failed, and it was not created again when it should have been.
    #[error("no re-create at {at_ms} ms for {room}")]
    NotPlacedAgain {
        /// When.
        at_ms: i64,
        /// Which one.
        room: Room,
    },
    /// A placement of a meeting that runs elsewhere.
    #[error("the placement of {room} at {at_ms} ms moves a running meeting")]
    Moved {
        /// When.
        at_ms: i64,
        /// Which one.
        room: Room,
    },
    /// There is nothing to judge.
    #[error("nobody was in any meeting")]
    Nobody,
}

/// See `tests/traces/README.md`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// So many nodes.
    pub nodes: usize,
    /// So many meetings.
    pub meetings: usize,
    /// Attendees over capacity, at the fullest moment.
    #[serde(serialize_with = "rounded")]
    pub mean_peak_utilisation: f64,
    /// How full the fullest node was.
    #[serde(serialize_with = "rounded")]
    pub peak: f64,
    /// How full it had to be.
    #[serde(serialize_with = "rounded")]
    pub peak_bound: f64,
    /// One over the other.
    #[serde(serialize_with = "rounded")]
    pub peak_ratio: f64,
    /// Fullest node over ideal, in the worst hundredth of the busy time.
    #[serde(serialize_with = "rounded")]
    pub imb_p99: f64,
    /// The same on average.
    #[serde(serialize_with = "rounded")]
    pub imb_mean: f64,
    /// The same at its worst.
    #[serde(serialize_with = "rounded")]
    pub imb_max: f64,
    /// Avoidable attendee-minutes on nodes above their capacity, of a thousand.
    #[serde(serialize_with = "rounded")]
    pub avoid_pm: f64,
    /// Standard deviation of how full nodes are, over the mean.
    #[serde(serialize_with = "rounded")]
    pub cv: f64,
}

/// To four places, as the scorer prints them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn rounded<S: serde::Serializer>(figure: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Unlike a multiplication, this rounds the number that it is.
    let rounded = format!("{figure:.4}").parse().unwrap_or(*figure);
    serializer.serialize_f64(rounded)
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.tenant, self.meeting_id)
    }
}

impl Day {
    /// The figures for these placements, of which those of one room are in the order of time.
    ///
    /// # Errors
    /// Placements that do not belong to this day, or are not there.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts that many attendees")]
    pub fn score(&self, placements: &[Placement]) -> Result<Figures, Error> {
        let last_ms = self.meetings.iter().map(|meeting| meeting.created_ms).max().unwrap_or(0);
        let grid = Grid { steps: index((last_ms / DAY_MS + 1) * DAY_MS / STEP_MS + 2) };
        let capacity: Vec<f64> = self.nodes.iter().map(|(_, weight)| UNIT * weight).collect();
        let largest = capacity.iter().copied().fold(0.0, f64::max);
        let mut changes = self.changes(placements, &grid)?.into_iter().peekable();
        let bounds = self.bounds(&grid, largest);
        let free = self.capacities(&grid, &capacity);

        let mean = bounds
            .iter()
            .zip(&free)
            .map(|(bound, free)| if *free > 0.0 { bound.total as f64 / free } else { 0.0 });
        let mean: Vec<f64> = mean.collect();
        let highest = mean.iter().copied().fold(0.0, f64::max);
        if highest <= 0.0 {
            return Err(Error::Nobody);
        }
        let mut on = vec![0_i64; capacity.len()];
        let (mut ratios, mut spreads) = (Vec::new(), Vec::new());
        let (mut peak, mut peak_bound, mut over, mut all) = (0.0_f64, 0.0_f64, 0.0, 0.0);
        for (step, bound) in bounds.iter().enumerate() {
            while let Some((_, node, change)) = changes.next_if(|(at, ..)| *at <= step) {
                on[node] += change;
            }
            let full: Vec<f64> =
                on.iter().zip(&capacity).map(|(on, capacity)| *on as f64 / capacity).collect();
            for (on, capacity) in on.iter().zip(&capacity) {
                let on = *on as f64;
                all += on;
                if on > capacity + 1e-9 {
                    over += on;
                }
            }
            let fullest = full.iter().copied().fold(0.0, f64::max);
            let ideal = mean[step].max(bound.biggest as f64 / largest);
            (peak, peak_bound) = (peak.max(fullest), peak_bound.max(ideal));
            if mean[step] >= 0.5 * highest {
                ratios.push(fullest / ideal);
                let average = full.iter().sum::<f64>() / full.len() as f64;
                let squares = full.iter().map(|full| (full - average).powi(2)).sum::<f64>();
                spreads.push((squares / full.len() as f64).sqrt() / mean[step]);
            }
        }
        let unavoidable = bounds.iter().map(|bound| bound.giants as f64).sum::<f64>();
        ratios.sort_by(f64::total_cmp);
        let average = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        Ok(Figures {
            nodes: capacity.len(),
            meetings: self.meetings.len(),
            mean_peak_utilisation: highest,
            peak,
            peak_bound,
            peak_ratio: peak / peak_bound,
            imb_p99: quantile(&ratios, 0.99),
            imb_mean: average(&ratios),
            imb_max: ratios.last().copied().unwrap_or_default(),
            avoid_pm: if all > 0.0 { 1000.0 * (over - unavoidable).max(0.0) / all } else { 0.0 },
            cv: average(&spreads),
        })
    }

    /// Who comes to which node and goes, by steps.
    fn changes(
        &self,
        placements: &[Placement],
        grid: &Grid,
    ) -> Result<Vec<(usize, usize, i64)>, Error> {
        let nodes: HashMap<&str, usize> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.as_str(), index))
            .collect();
        let mut log: HashMap<&Room, Vec<(i64, usize)>> = HashMap::new();
        for Placement { at_ms, room, node } in placements {
            let known = nodes.get(node.as_str());
            let node = known.ok_or_else(|| Error::UnknownNode(node.clone()))?;
            log.entry(room).or_default().push((*at_ms, *node));
        }
        let mut downs: Vec<(i64, &str, usize)> = self
            .turns
            .iter()
            .filter(|(.., turn)| *turn == Turn::Down)
            .map(|(at_ms, node, _)| (*at_ms, self.nodes[*node].0.as_str(), *node))
            .collect();
        downs.sort_unstable();
        let mut changes = Vec::new();
        for meeting in &self.meetings {
            let placed = log.get(&meeting.room).map(Vec::as_slice).unwrap_or_default();
            let spans = meeting.spans(placed, &downs)?;
            for stay in &meeting.stays {
                stay.on(&meeting.room, &spans, |node, from_ms, until_ms| {
                    if from_ms < until_ms {
                        changes.push((grid.at(from_ms), node, 1));
                        changes.push((grid.at(until_ms), node, -1));
                    }
                });
            }
        }
        changes.sort_unstable();
        Ok(changes)
    }

    /// What no placement can do better than.
    fn bounds(&self, grid: &Grid, largest: f64) -> Vec<Bound> {
        let mut bounds = vec![Bound::default(); grid.steps];
        for meeting in &self.meetings {
            let (from, until) = (ceil(meeting.created_ms), ceil(meeting.ended_ms) + 1);
            let mut changes = vec![0_i64; until - from + 1];
            for stay in meeting.stays.iter().filter(|stay| stay.counted_ms < stay.left_ms) {
                changes[ceil(stay.counted_ms) - from] += 1;
                changes[ceil(stay.left_ms) - from] -= 1;
            }
            let mut people = 0;
            for (bound, change) in bounds.iter_mut().skip(from).zip(changes) {
                people += change;
                bound.total += people;
                bound.biggest = bound.biggest.max(people);
                #[expect(clippy::cast_precision_loss, reason = "nobody counts that many attendees")]
                if people as f64 > largest {
                    bound.giants += people;
                }
            }
        }
        bounds
    }

    /// The capacity of the nodes that are up.
    fn capacities(&self, grid: &Grid, capacity: &[f64]) -> Vec<f64> {
        let mut free = vec![capacity.iter().sum::<f64>(); grid.steps];
        let mut down_since: HashMap<usize, i64> = HashMap::new();
        let mut take = |node: usize, from: usize, until: usize| {
            let until = until.min(grid.steps);
            for free in free.get_mut(from..until).into_iter().flatten() {
                *free -= capacity[node];
            }
        };
        for (at_ms, node, turn) in &self.turns {
            match turn {
                Turn::Down => {
                    down_since.entry(*node).or_insert(*at_ms);
                }
                Turn::Up => {
                    if let Some(since_ms) = down_since.remove(node) {
                        take(*node, index(since_ms / STEP_MS), index(at_ms / STEP_MS));
                    }
                }
            }
        }
        for (node, since_ms) in down_since {
            take(node, index(since_ms / STEP_MS), grid.steps);
        }
        free
    }
}

/// Of one step.
#[derive(Debug, Clone, Copy, Default)]
struct Bound {
    total: i64,
    /// The largest meeting.
    biggest: i64,
    /// Those in meetings that no node can hold.
    giants: i64,
}

#[derive(Debug)]
struct Grid {
    steps: usize,
}

impl Grid {
    fn at(&self, at_ms: i64) -> usize {
        ceil(at_ms).min(self.steps - 1)
    }
}

/// The first step that is not before.
fn ceil(at_ms: i64) -> usize {
    index((at_ms + STEP_MS - 1).div_euclid(STEP_MS))
}

fn index(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Between the two that are nearest; `sorted` has something in it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of steps"
)]
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = part * last as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}
