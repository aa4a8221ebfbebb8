//! What a running meeting weighs on its node: who is there, and who is still expected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::thousandths;
use crate::fleet::live::Live;

/// Until then a meeting may still reach its size; from there on that is ever less likely.
const HOLD_MS: u64 = 10 * 60 * 1000;
const FADE_MS: u64 = 15 * 60 * 1000;
/// Whoever has joined is counted by a poll some seconds later.
const SOON_COUNTED: Duration = Duration::from_secs(10);

/// What a meeting of this size and age weighs, in which so many are: these, and those who are still expected.
pub fn occupied(live: f64, size: f64, age_ms: u64) -> f64 {
    let gone = age_ms.saturating_sub(HOLD_MS).min(FADE_MS);
    #[expect(clippy::cast_precision_loss, reason = "minutes")]
    let left = 1.0 - gone as f64 / FADE_MS as f64;
    live + (size - live).max(0.0) * left
}

const BITS: u32 = 21;
const FIELD: u64 = (1 << BITS) - 1;

/// Joins that polls may not have counted yet: since the last poll, and in the two intervals before.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Joins(AtomicU64);

impl Joins {
    /// Counts one; returns how many there are with it.
    pub(in crate::fleet) fn count(&self) -> u32 {
        let before = self.0.update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            if word & FIELD == FIELD { word } else { word + 1 }
        });
        sum(before).saturating_add(1)
    }

    /// How many there are.
    pub(in crate::fleet) fn sum(&self) -> u32 {
        sum(self.0.load(Ordering::Relaxed))
    }

    /// A poll was made, so long after the last one: those of ten seconds before it may still be uncounted.
    pub(in crate::fleet) fn polled(&self, after: Duration) {
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let latest = within(word & FIELD, SOON_COUNTED, after);
            let earlier = SOON_COUNTED.saturating_sub(after);
            let before = within(word >> BITS & FIELD, earlier, after);
            latest << BITS | before << (2 * BITS)
        });
    }
}

/// Of so many joins in the course of an interval those that fall into this part of it, its end. Nobody knows when they
/// were: evenly, which over many meetings is right.
fn within(joins: u64, part: Duration, interval: Duration) -> u64 {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (part, interval) = (ms(part), ms(interval));
    if part >= interval { joins } else { (joins * part + interval / 2) / interval }
}

fn sum(word: u64) -> u32 {
    let field = |number: u32| word >> (number * BITS) & FIELD;
    u32::try_from(field(0) + field(1) + field(2)).unwrap_or(u32::MAX)
}

/// What one meeting weighs on one node. The node's sum is always that of its burdens; a dropped one is taken off.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Burden(Mutex<Laid>);

#[derive(Debug, Default)]
struct Laid {
    on: Option<Arc<Live>>,
    thousandths: u32,
    /// Never again: the meeting is over.
    is_off: bool,
}

impl Burden {
    /// One of this size from now on.
    pub(in crate::fleet) fn of(live: &Arc<Live>, size: f64) -> Self {
        let burden = Self::default();
        burden.lay(live, size);
        burden
    }

    /// Weighs so much on this node from now on, unless it was taken off for good.
    pub(in crate::fleet) fn lay(&self, live: &Arc<Live>, attendees: f64) {
        let mut laid = self.0.lock();
        if laid.is_off {
            return;
        }
        laid.lift();
        laid.thousandths = thousandths(attendees);
        live.burden(laid.thousandths);
        laid.on = Some(live.clone());
    }

    /// Weighs one attendee more, if it weighs at all.
    pub(in crate::fleet) fn add_one(&self) {
        let mut laid = self.0.lock();
        if let Some(live) = &laid.on {
            // What is added is what is later taken off, however many there are.
            let with_one = laid.thousandths.saturating_add(thousandths(1.0));
            live.burden(with_one - laid.thousandths);
            laid.thousandths = with_one;
        }
    }

    /// What it weighs, in thousandths of attendees.
    #[cfg(test)]
    pub(in crate::fleet) fn weighs(&self) -> u32 {
        self.0.lock().thousandths
    }

    /// Weighs nothing until it is laid again.
    pub(in crate::fleet) fn lift(&self) {
        self.0.lock().lift();
    }

    /// Weighs nothing, for good.
    pub(in crate::fleet) fn take_off(&self) {
        let mut laid = self.0.lock();
        laid.lift();
        laid.is_off = true;
    }
}

impl Laid {
    fn lift(&mut self) {
        if let Some(live) = self.on.take() {
            live.unburden(std::mem::take(&mut self.thousandths));
        }
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        self.lift();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: u64 = 60_000;

    #[test]
    #[expect(clippy::float_cmp, reason = "sums of whole numbers")]
    fn what_is_expected_fades_and_who_is_there_stays() {
        for (live, size, minutes, weighs) in [
            (0.0, 20.0, 0, 20.0),
            (5.0, 20.0, 10, 20.0),
            (10.0, 40.0, 25, 10.0),
            (10.0, 40.0, 600, 10.0),
            (50.0, 40.0, 1, 50.0),
            (10.0, 25.0, 15, 20.0),
        ] {
            assert_eq!(
                occupied(live, size, minutes * MINUTE_MS),
                weighs,
                "{live} {size} {minutes}"
            );
        }
    }

    #[test]
    fn a_join_counts_until_polls_must_have_seen_it() {
        let joins = Joins::default();
        let (quick, slow) = (Duration::from_secs(5), Duration::from_secs(30));
        assert_eq!((joins.count(), joins.count()), (1, 2));
        joins.polled(quick);
        assert_eq!(joins.count(), 3);
        joins.polled(quick);
        assert_eq!(joins.sum(), 3);
        joins.polled(quick);
        assert_eq!(
            joins.sum(),
            1,
            "the first two were signed more than ten seconds before this poll"
        );
        joins.polled(quick);
        assert_eq!(joins.sum(), 0);
        (0..30).for_each(|_| _ = joins.count());
        joins.polled(slow);
        assert_eq!(joins.sum(), 10, "the poll has counted those of its first twenty seconds");
        joins.polled(slow);
        assert_eq!(joins.sum(), 0);
        (0..30).for_each(|_| _ = joins.count());
        joins.polled(Duration::from_secs(8));
        assert_eq!(joins.sum(), 30);
        joins.polled(Duration::from_secs(8));
        assert_eq!(joins.sum(), 8, "two of eight seconds");
        joins.polled(Duration::MAX);
        assert_eq!(joins.sum(), 0);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "sums of thousandths")]
    fn a_burden_weighs_once_and_what_is_over_never_again() {
        let (a, b) = (Arc::new(Live::default()), Arc::new(Live::default()));
        let burden = Burden::of(&a, 20.5);
        assert_eq!(a.occupied(), 20.5);
        burden.add_one();
        burden.lay(&b, 3.0);
        assert_eq!((a.occupied(), b.occupied()), (0.0, 3.0));
        burden.lift();
        burden.lay(&a, 4.0);
        burden.take_off();
        burden.lay(&a, 5.0);
        burden.add_one();
        assert_eq!((a.occupied(), b.occupied()), (0.0, 0.0));
        drop(Burden::of(&a, 7.0));
        assert_eq!(a.occupied(), 0.0);
    }

    proptest! {
        #[test]
        fn a_weight_is_finite_never_negative_and_never_less_than_who_is_there(
            live in 0u32..=200_000, size in 0u32..=200_000, age_ms: u64,
        ) {
            let weighs = occupied(f64::from(live), f64::from(size), age_ms);
            prop_assert!(weighs.is_finite() && weighs >= f64::from(live));
            prop_assert!(weighs <= f64::from(live.max(size)));
        }
    }
}
