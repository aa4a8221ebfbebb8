//! One node's live state: counters that requests and polls move, and its health.
//!
//! It outlives snapshots: a node that keeps its name keeps its `Live`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::clock::Moment;
use super::health::{Change, Thresholds, Tracker};
use super::instances::event::{Counts, State};
use super::poll_figures::PollCounters;
use crate::model::{AdminState, Health};

/// Live counters and health of one node.
#[derive(Debug, Default)]
pub struct Live {
    admin: AtomicU8,
    health: AtomicU8,
    tracker: Mutex<Tracker>,
    /// Main meetings and their attendees at the last good poll; breakout rooms do not count.
    meetings: AtomicU32,
    attendees: AtomicU32,
    /// CPU utilisation in 1/10000, from the node's load script.
    cpu: AtomicU32,
    /// Counts how often we have begun to poll the node.
    watches: AtomicU32,
    /// Its meetings were lost while we did not hear the others, who may have gone on using them.
    lost_unheard: AtomicBool,
    /// When another instance has told of a poll of its own, or was left to poll the node.
    relied_on: Mutex<Option<Instant>>,
    /// Joins that were signed since the last poll began.
    joins: AtomicU32,
    /// Joins that were signed here since others were told of them.
    untold_joins: AtomicU32,
    /// People whom its agent has seen come and go since the last poll.
    arrivals: AtomicU32,
    departures: AtomicU32,
    /// How long the last good poll took, in µs, and when it was, in ms since 1970; 0 is never.
    latency_us: AtomicU64,
    polled_at_ms: AtomicU64,
    /// High half: counts the changes, low half: placements that no poll has seen. One word, so that a
    /// choice is made on exactly the counters that it then changes.
    reserved: AtomicU64,
    /// What its meetings weigh with all who are still expected in them, and places that are given, in thousandths
    /// of attendees.
    occupied: AtomicI64,
    /// Attendees of meetings that are not ours, by the last poll.
    others: AtomicU32,
    /// When its meetings were last weighed, by the fleet's steady clock.
    weighed_at_ms: AtomicU64,
    /// How our own polls went.
    pub polls: PollCounters,
}

/// What a policy looks at, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Counters {
    pub(super) meetings: u32,
    pub(super) attendees: u32,
    pub(super) cpu: u32,
    /// In attendees: who is there, and who is still expected.
    pub(super) occupied: f64,
    version: u64,
}

impl Counters {
    /// As they would be with one more meeting that somebody is in, and that will weigh so many attendees.
    pub(super) fn with_one_more(self, attendees: f64) -> Self {
        Self {
            meetings: self.meetings.saturating_add(1),
            attendees: self.attendees.saturating_add(1),
            occupied: self.occupied + attendees,
            ..self
        }
    }
}

const LOW: u64 = 0xffff_ffff;
const ONE_CHANGE: u64 = 1 << 32;

impl Live {
    pub(super) fn new(admin: AdminState) -> Self {
        let live = Self::default();
        live.set_admin(admin);
        live
    }

    /// What an operator wants of the node.
    pub fn admin(&self) -> AdminState {
        AdminState::ALL[usize::from(self.admin.load(Ordering::Acquire))]
    }

    /// Changes what an operator wants of the node.
    pub fn set_admin(&self, state: AdminState) {
        self.admin.store(state as u8, Ordering::Release);
    }

    /// What polling says of the node.
    pub fn health(&self) -> Health {
        Health::ALL[usize::from(self.health.load(Ordering::Acquire))]
    }

    /// Since when it says so (ms since 1970, 0 is never), and why, unless all is well.
    pub fn health_since(&self) -> (u64, Option<String>) {
        let tracker = self.tracker.lock();
        (tracker.since.day_ms, tracker.reason.clone())
    }

    /// Since when the node is down, by the fleet's steady clock; nothing where it is not.
    pub fn down_since(&self) -> Option<u64> {
        let tracker = self.tracker.lock();
        (tracker.health == Health::Down).then_some(tracker.since.steady_ms)
    }

    /// We begin to poll this node, at the start or because another instance no longer does: what we have
    /// counted of its misses before may be long out of date.
    pub fn begin_watch(&self) {
        self.watches.fetch_add(1, Ordering::Relaxed);
    }

    /// From here on the node is left to another instance, which is to tell what it finds.
    pub fn rely_on_others(&self) {
        *self.relied_on.lock() = Some(Instant::now());
    }

    /// Whether another instance has told of a poll of the node within this time, or may still do so: that is
    /// counted from the first time that it is asked.
    pub fn is_watched_by_others(&self, within: Duration) -> bool {
        self.relied_on.lock().get_or_insert_with(Instant::now).elapsed() <= within
    }

    /// So many of its meetings were just given up. `is_unheard`: there may be others, and none of them is heard.
    pub(super) fn lost(&self, meetings: usize, is_unheard: bool) {
        if meetings > 0 || !is_unheard {
            self.lost_unheard.store(is_unheard, Ordering::Relaxed);
        }
    }

    /// Whether its meetings were last given up without the others.
    pub(super) fn is_lost_unheard(&self) -> bool {
        self.lost_unheard.load(Ordering::Relaxed)
    }

    pub(super) fn watch(&self) -> u32 {
        self.watches.load(Ordering::Relaxed)
    }

    /// Reports a failed poll.
    pub fn poll_failed(&self, reason: String, limits: Thresholds, now: Moment) -> Option<Change> {
        self.track(|tracker| tracker.bad(reason, limits, now))
    }

    /// Reports that a request could not reach the node: it gets no new meetings until polls say more.
    pub fn doubt(&self, reason: String, now: Moment) -> Option<Change> {
        self.track(|tracker| tracker.doubt(reason, now))
    }

    pub(super) fn poll_succeeded(&self, limits: Thresholds, now: Moment) -> Option<Change> {
        self.track(|tracker| tracker.good(limits, now))
    }

    fn track(&self, step: impl FnOnce(&mut Tracker) -> Option<Change>) -> Option<Change> {
        let mut tracker = self.tracker.lock();
        let change = step(&mut tracker);
        self.health.store(tracker.health as u8, Ordering::Release);
        change
    }

    /// Main meetings, those included that no poll has seen yet.
    pub fn meetings(&self) -> u32 {
        self.counters().meetings
    }

    /// Attendees at the last poll, joins signed since, and whom an agent has seen come and go since. Whoever
    /// arrives has mostly been counted by the join that was signed for them.
    pub fn attendees(&self) -> u32 {
        let of = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let came = of(&self.joins).max(of(&self.arrivals));
        of(&self.attendees).saturating_add(came).saturating_sub(of(&self.departures))
    }

    /// The node's agent has seen somebody come. The next poll knows better.
    pub fn count_arrival(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// The node's agent has seen somebody go. The next poll knows better.
    pub fn count_departure(&self) {
        self.departures.fetch_add(1, Ordering::Relaxed);
    }

    /// A list of meetings came within this time, at this moment in ms since 1970.
    pub fn answered(&self, within: Duration, now_ms: u64) {
        let latency_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.store(latency_us, Ordering::Relaxed);
        self.polled_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// How long the last good poll took, at whichever instance; 0 before the first.
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_us.load(Ordering::Relaxed))
    }

    /// When the last good poll was, at whichever instance, in ms since 1970.
    pub fn polled_at_ms(&self) -> Option<u64> {
        Some(self.polled_at_ms.load(Ordering::Relaxed)).filter(|at_ms| *at_ms > 0)
    }

    /// CPU utilisation in 1/10000; 0 without a load script.
    pub fn cpu(&self) -> u32 {
        self.cpu.load(Ordering::Relaxed)
    }

    /// Placements that no poll has seen yet.
    pub fn reserved(&self) -> u32 {
        low_half(self.reserved.load(Ordering::Acquire))
    }

    /// Stores what the node's load script says, in 1/10000.
    pub fn set_cpu(&self, cpu: u32) {
        self.cpu.store(cpu.min(10_000), Ordering::Relaxed);
    }

    /// Counts a join that was signed.
    pub fn count_join(&self) {
        self.joins.fetch_add(1, Ordering::Relaxed);
        self.untold_joins.fetch_add(1, Ordering::Relaxed);
    }

    /// Joins that were signed here since the last time that this was asked, to be told to others.
    pub fn take_untold_joins(&self) -> u32 {
        self.untold_joins.swap(0, Ordering::Relaxed)
    }

    /// Counts joins that other instances have signed.
    pub fn count_joins(&self, joins: u32) {
        self.joins.fetch_add(joins, Ordering::Relaxed);
    }

    /// Joins counted so far, to be taken when a poll begins and given to [`Live::polled`] when it ends.
    pub(super) fn joins(&self) -> u32 {
        self.joins.load(Ordering::Relaxed)
    }

    /// Takes over what a poll has counted.
    pub(super) fn polled(&self, meetings: u32, attendees: u32, joins_at_start: u32) {
        self.meetings.store(meetings, Ordering::Relaxed);
        self.attendees.store(attendees, Ordering::Relaxed);
        self.forget_joins(joins_at_start);
        self.forget_agent();
        self.reserved.fetch_add(ONE_CHANGE, Ordering::AcqRel);
    }

    /// Those that a poll has counted. Another instance's poll may have counted them before.
    fn forget_joins(&self, joins: u32) {
        self.joins
            .update(Ordering::Relaxed, Ordering::Relaxed, |known| known.saturating_sub(joins));
    }

    /// What an agent has told counts until a poll, which knows.
    fn forget_agent(&self) {
        self.arrivals.store(0, Ordering::Relaxed);
        self.departures.store(0, Ordering::Relaxed);
    }

    /// What others are to know of it after a poll, but for its meetings.
    pub(super) fn state(&self, counts: Option<Counts>, steady_ms: u64) -> State {
        let tracker = self.tracker.lock();
        let (failures, successes) = tracker.in_a_row();
        State {
            counts,
            cpu: self.cpu(),
            latency_us: self.latency_us.load(Ordering::Relaxed),
            health: tracker.health,
            reason: tracker.reason.clone(),
            age_ms: (tracker.since.day_ms != 0)
                .then(|| steady_ms.saturating_sub(tracker.since.steady_ms)),
            failures,
            successes,
            ..State::default()
        }
    }

    /// What was counted by the last good poll, and the joins since.
    pub(super) fn last_counts(&self) -> Counts {
        Counts {
            meetings: self.meetings.load(Ordering::Relaxed),
            attendees: self.attendees.load(Ordering::Relaxed),
            joins: 0,
        }
    }

    /// Takes over what a poll of another instance has found.
    pub(super) fn follow(&self, state: &State, now: Moment) {
        self.rely_on_others();
        self.set_cpu(state.cpu);
        {
            let mut tracker = self.tracker.lock();
            tracker.follow(state, now);
            self.health.store(tracker.health as u8, Ordering::Release);
        }
        if let Some(Counts { meetings, attendees, joins }) = state.counts {
            self.meetings.store(meetings, Ordering::Relaxed);
            self.attendees.store(attendees, Ordering::Relaxed);
            self.forget_joins(joins);
            self.forget_agent();
            self.answered(Duration::from_micros(state.latency_us), now.day_ms);
            self.reserved.fetch_add(ONE_CHANGE, Ordering::AcqRel);
        }
    }

    /// The counters with reservations in them. A placement counts as a meeting with one attendee.
    pub(super) fn counters(&self) -> Counters {
        let version = self.reserved.load(Ordering::Acquire);
        let reserved = low_half(version);
        Counters {
            meetings: self.meetings.load(Ordering::Relaxed).saturating_add(reserved),
            attendees: self.attendees().saturating_add(reserved),
            cpu: self.cpu(),
            occupied: self.occupied(),
            version,
        }
    }

    /// What its meetings weigh, in attendees: those who are there by the last poll, and those who are still expected.
    pub fn occupied(&self) -> f64 {
        let ours = self.occupied.load(Ordering::Relaxed).max(0);
        let others = self.others.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 people")]
        let ours = ours as f64 / 1000.0;
        ours + f64::from(others)
    }

    /// What all its burdens weigh, in thousandths of attendees.
    #[cfg(test)]
    pub(super) fn burdens(&self) -> i64 {
        self.occupied.load(Ordering::Relaxed)
    }

    /// A meeting, or a place for one, weighs so many thousandths of an attendee from now on.
    pub(super) fn burden(&self, thousandths: u32) {
        self.occupied.fetch_add(thousandths.into(), Ordering::Relaxed);
    }

    /// It no longer does.
    pub(super) fn unburden(&self, thousandths: u32) {
        self.occupied.fetch_sub(thousandths.into(), Ordering::Relaxed);
    }

    /// All its meetings are weighed now, among which `ours` attendees were counted; returns how long ago that was
    /// last done.
    pub(super) fn weighed(&self, ours: u32, steady_ms: u64) -> Duration {
        let others = self.attendees.load(Ordering::Relaxed).saturating_sub(ours);
        self.others.store(others, Ordering::Relaxed);
        let before = self.weighed_at_ms.swap(steady_ms, Ordering::Relaxed);
        Duration::from_millis(steady_ms.saturating_sub(before))
    }

    /// Reserves a place, unless the counters have changed since `seen`.
    pub(super) fn try_reserve(&self, seen: &Counters) -> bool {
        let next = seen.version.wrapping_add(ONE_CHANGE + 1);
        self.reserved
            .compare_exchange(seen.version, next, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Reserves a place without a choice: that was made by another instance.
    pub(super) fn reserve(&self) {
        self.reserved.fetch_add(ONE_CHANGE + 1, Ordering::AcqRel);
    }

    /// Gives a reserved place back: the placement failed, or a poll has counted the meeting.
    pub(super) fn release(&self) {
        self.reserved.fetch_sub(1, Ordering::AcqRel);
    }
}

fn low_half(word: u64) -> u32 {
    u32::try_from(word & LOW).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::clock::Clock;

    #[test]
    fn a_reservation_counts_until_it_is_released() {
        let live = Live::new(AdminState::Ready);
        let seen = live.counters();
        assert!(live.try_reserve(&seen));
        assert!(!live.try_reserve(&seen), "the counters have changed");
        assert_eq!((live.counters().meetings, live.counters().attendees), (1, 1));
        live.polled(1, 3, 0);
        live.release();
        assert_eq!((live.meetings(), live.attendees(), live.reserved()), (1, 3, 0));
    }

    #[test]
    fn what_an_agent_tells_counts_until_the_next_poll_and_no_join_twice() {
        let live = Live::new(AdminState::Ready);
        live.polled(1, 10, 0);
        live.count_join();
        live.count_arrival();
        live.count_arrival();
        assert_eq!(live.attendees(), 12);
        (0..20).for_each(|_| live.count_departure());
        assert_eq!(live.attendees(), 0);
        live.polled(1, 9, live.joins());
        assert_eq!(live.attendees(), 9);
        live.count_departure();
        let counts = Some(Counts { meetings: 1, attendees: 7, joins: 0 });
        let told = State { counts, latency_us: 1500, ..State::default() };
        live.follow(&told, Clock::default().moment());
        assert_eq!((live.attendees(), live.latency()), (7, Duration::from_micros(1500)));
        assert!(live.polled_at_ms().is_some());
    }

    #[test]
    fn a_poll_between_choice_and_reservation_makes_the_choice_void() {
        let live = Live::new(AdminState::Ready);
        let seen = live.counters();
        live.polled(40, 400, 0);
        assert!(!live.try_reserve(&seen));
    }

    #[test]
    fn a_health_is_as_old_here_as_it_is_there_and_an_unknown_one_changes_nothing() {
        let (there, here) = (Live::new(AdminState::Ready), Live::new(AdminState::Ready));
        let clock = Clock::default();
        let an_hour_ago = clock.moment().before(3_600_000);
        there.poll_failed("refused".into(), Thresholds { down_after: 1, up_after: 2 }, an_hour_ago);
        here.follow(&there.state(None, clock.steady_ms()), clock.moment());
        let known = here.health_since();
        assert_eq!((here.health(), known.1.as_deref()), (Health::Down, Some("refused")));
        assert!(known.0.abs_diff(an_hour_ago.day_ms) < 60_000);
        assert!(here.down_since().unwrap().abs_diff(an_hour_ago.steady_ms) < 60_000);
        let counts = Some(Counts { meetings: 3, ..Counts::default() });
        let unknown = State { health: Health::Unknown, counts, ..State::default() };
        here.follow(&unknown, clock.moment());
        assert_eq!((here.health(), here.health_since()), (Health::Down, known.clone()));
        assert_eq!(here.meetings(), 3);
        // Of a version that does not tell it.
        here.follow(&State { health: Health::Down, ..State::default() }, clock.moment());
        assert_eq!(here.health_since().0, known.0);
    }

    #[test]
    fn joins_that_were_signed_while_a_poll_ran_still_count() {
        let live = Live::new(AdminState::Ready);
        live.count_join();
        let at_start = live.joins();
        live.count_join();
        live.polled(1, 1, at_start);
        assert_eq!(live.attendees(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn others_watch_a_node_as_long_as_they_tell_of_it() {
        let (live, within) = (Live::new(AdminState::Ready), Duration::from_secs(10));
        assert!(live.is_watched_by_others(within), "it is given time");
        tokio::time::advance(within * 2).await;
        assert!(!live.is_watched_by_others(within));
        // What we find ourselves says nothing of them.
        live.poll_succeeded(Thresholds { down_after: 3, up_after: 2 }, Moment::default());
        assert!(!live.is_watched_by_others(within));
        live.rely_on_others();
        assert!(live.is_watched_by_others(within), "it is left to them anew");
        tokio::time::advance(within * 2).await;
        assert!(!live.is_watched_by_others(within));
        live.follow(&State::default(), Moment::default());
        assert!(live.is_watched_by_others(within));
    }
}
