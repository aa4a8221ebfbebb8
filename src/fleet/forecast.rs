//! How many attendees there will be, from how many there were.
//!
//! Schools and offices repeat themselves by the week. Of every past week that is known, we take what became of its
//! attendees from this very moment of the week on, and suppose that it goes so today: what was there then at the
//! moment that is asked for, and as many more or fewer as there are now than there were then. Later weeks weigh more.
//! To this comes how it went in the last hour, which is all that there is in the first week, and which counts for less
//! the more weeks are known: half of it, since what grows does not grow for ever.
//!
//! Where nothing is known, nothing is said. Holidays are not known, and single meetings are not foreseen.

use std::collections::BTreeMap;
use std::time::Duration;

const HOUR_S: u64 = 60 * 60;
const WEEK_S: u64 = 7 * 24 * HOUR_S;
/// Longer ago it was another term.
const WEEKS: u64 = 5;
/// An hour of which less is known tells nothing of its average.
const MIN_SAMPLED_MS: u64 = 10 * 60 * 1000;
/// How much of a trend goes on.
const TREND: f64 = 0.5;
/// How far off we take ourselves to be where fewer than two weeks can tell.
const MARGIN: f64 = 0.25;
/// People who make no difference to anybody.
const FEW: f64 = 5.0;

/// Average attendees of past hours, by their beginnings in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Hours(BTreeMap<u64, f64>);

/// How sure a forecast is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sureness {
    /// It only knows how the last hour went.
    Low,
    /// It knows a week or two, or more of them that differ.
    Medium,
    /// It knows three weeks or more, which are much alike.
    High,
}

impl Sureness {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What is foreseen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// How many attendees there will be.
    pub attendees: f64,
    /// How many more or fewer there may well be.
    pub margin: f64,
    /// Past weeks that tell of it.
    pub weeks: usize,
    /// How sure it is.
    pub sureness: Sureness,
}

impl Hours {
    /// From the time of all attendees and how much of each hour is known of, both in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "an hour of 10^9 attendees is exact")]
    pub(super) fn new(hours: impl IntoIterator<Item = (u64, u64, u64)>) -> Self {
        let known = hours.into_iter().filter(|(_, _, sampled_ms)| *sampled_ms >= MIN_SAMPLED_MS);
        let average = |(begins_at_s, attendee_ms, sampled_ms): (u64, u64, u64)| {
            (begins_at_s, attendee_ms as f64 / sampled_ms as f64)
        };
        Self(known.map(average).collect())
    }

    /// How many attendees there will be after `ahead`, where there are `current` of them; nothing where nothing is
    /// known.
    pub(super) fn foresee(&self, now_s: u64, current: f64, ahead: Duration) -> Option<Forecast> {
        let weekly: Vec<(f64, f64)> =
            (1..=WEEKS).filter_map(|week| self.as_before(week, now_s, current, ahead)).collect();
        let trend = self.trend(now_s, current, ahead);
        let weights: f64 = weekly.iter().map(|(weight, _)| weight).sum();
        let history = weekly.iter().map(|(weight, then)| weight * then).sum::<f64>() / weights;
        let expected = match (weekly.len(), trend) {
            (0, None) => return None,
            (0, Some(trend)) => trend,
            (_, None) => history,
            (weeks, Some(trend)) => {
                let share = 1.0 / (count(weeks) + 1.0);
                history * (1.0 - share) + trend * share
            }
        };
        let attendees = expected.max(0.0);
        let margin = if weekly.len() < 2 {
            (attendees * MARGIN).max((attendees - current).abs())
        } else {
            let squares = weekly.iter().map(|(weight, then)| weight * (then - history).powi(2));
            (squares.sum::<f64>() / weights).sqrt()
        };
        let is_narrow = margin <= attendees * MARGIN + FEW;
        let sureness = match weekly.len() {
            0 => Sureness::Low,
            3.. if is_narrow => Sureness::High,
            _ => Sureness::Medium,
        };
        Some(Forecast { attendees, margin, weeks: weekly.len(), sureness })
    }

    /// As it went so many weeks ago from this moment on, and how much that counts.
    fn as_before(
        &self,
        week: u64,
        now_s: u64,
        current: f64,
        ahead: Duration,
    ) -> Option<(f64, f64)> {
        let then_s = now_s.checked_sub(week * WEEK_S)?;
        let then_now = self.at(then_s)?;
        let then_ahead = self.at(then_s + ahead.as_secs())?;
        Some((1.0 / seconds(week), (then_ahead + current - then_now).max(0.0)))
    }

    /// How it went in the last full hour, half as steep.
    fn trend(&self, now_s: u64, current: f64, ahead: Duration) -> Option<f64> {
        let begins_at_s = (now_s - now_s % HOUR_S).checked_sub(HOUR_S)?;
        let before = self.0.get(&begins_at_s)?;
        let since_its_middle = seconds(now_s - begins_at_s) - seconds(HOUR_S) / 2.0;
        let slope = (current - before) / since_its_middle;
        Some((current + slope * ahead.as_secs_f64() * TREND).max(0.0))
    }

    /// The attendees of a moment: an average stands for the middle of its hour.
    fn at(&self, at_s: u64) -> Option<f64> {
        let from_middle = at_s.checked_sub(HOUR_S / 2)?;
        let first = from_middle - from_middle % HOUR_S;
        let share = seconds(from_middle % HOUR_S) / seconds(HOUR_S);
        match (self.0.get(&first), self.0.get(&(first + HOUR_S))) {
            (Some(before), Some(after)) => Some(before * (1.0 - share) + after * share),
            (Some(before), None) if share < 0.5 => Some(*before),
            (None, Some(after)) if share >= 0.5 => Some(*after),
            _ => None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds are exact for ages")]
fn seconds(seconds: u64) -> f64 {
    seconds as f64
}

#[expect(clippy::cast_precision_loss, reason = "there are five weeks")]
fn count(weeks: usize) -> f64 {
    weeks as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Monday, 09:30 UTC.
    const NOW_S: u64 = 1_796_031_000 / WEEK_S * WEEK_S + 4 * 24 * HOUR_S + 9 * HOUR_S + HOUR_S / 2;
    const MINUTE: Duration = Duration::from_mins(1);

    /// Hours with these averages, of which the first is the one of `NOW_S`, so many weeks ago.
    fn weeks_ago(weeks: u64, averages: &[u32]) -> Vec<(u64, u64, u64)> {
        let first = NOW_S - HOUR_S / 2 - weeks * WEEK_S;
        let hour_ms = HOUR_S * 1000;
        let hour = |(number, average): (u64, &u32)| {
            (first + number * HOUR_S, u64::from(*average) * hour_ms, hour_ms)
        };
        (0..).zip(averages).map(hour).collect()
    }

    fn last_hour(average: u64) -> (u64, u64, u64) {
        let hour_ms = HOUR_S * 1000;
        (NOW_S - HOUR_S / 2 - HOUR_S, average * hour_ms, hour_ms)
    }

    fn foreseen(hours: Vec<(u64, u64, u64)>, current: f64, minutes: u32) -> Option<Forecast> {
        Hours::new(hours).foresee(NOW_S, current, MINUTE * minutes)
    }

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 0.01
    }

    #[test]
    fn without_anything_to_go_by_nothing_is_said() {
        assert_eq!(foreseen(Vec::new(), 100.0, 15), None);
        // A minute of an hour tells nothing.
        let (begins, attendee_ms, _) = last_hour(50);
        assert_eq!(foreseen(vec![(begins, attendee_ms, 60_000)], 100.0, 15), None);
        // Nor does another hour of a past week.
        let sunday = weeks_ago(1, &[80, 80]).into_iter();
        let sunday = sunday.map(|(begins, sum, of)| (begins - 24 * HOUR_S, sum, of)).collect();
        assert_eq!(foreseen(sunday, 100.0, 15), None);
        assert_eq!(Hours::default().foresee(0, 1.0, MINUTE), None);
    }

    #[test]
    fn in_the_first_week_the_last_hour_goes_on_half_as_steep() {
        // From 50 to 100 within the hour.
        let hour = foreseen(vec![last_hour(50)], 100.0, 60).unwrap();
        assert!(is_near(hour.attendees, 125.0), "{hour:?}");
        assert_eq!((hour.sureness, hour.weeks), (Sureness::Low, 0));
        let falling = foreseen(vec![last_hour(500)], 10.0, 60).unwrap();
        assert!(is_near(falling.attendees, 0.0), "{falling:?}");
    }

    #[test]
    fn a_week_repeats_itself() {
        // It is half past nine, the middle of its hour; an hour later there were 500.
        let mut hours: Vec<_> = (1..=4).flat_map(|week| weeks_ago(week, &[100, 500])).collect();
        let hour = foreseen(hours.clone(), 100.0, 60).unwrap();
        assert!(is_near(hour.attendees, 500.0) && is_near(hour.margin, 0.0), "{hour:?}");
        assert_eq!((hour.sureness, hour.weeks), (Sureness::High, 4));
        let quarter = foreseen(hours.clone(), 100.0, 15).unwrap();
        assert!(is_near(quarter.attendees, 200.0), "{quarter:?}");
        // Today there are 30 more.
        let more = foreseen(hours.clone(), 130.0, 60).unwrap();
        assert!(is_near(more.attendees, 530.0), "{more:?}");
        // The last hour was level: one part in five says that it stays so.
        hours.push(last_hour(100));
        let level = foreseen(hours, 100.0, 60).unwrap();
        assert!(is_near(level.attendees, 500.0 * 0.8 + 100.0 * 0.2), "{level:?}");
    }

    #[test]
    fn weeks_that_differ_make_it_unsure_and_later_ones_weigh_more() {
        let differ =
            [weeks_ago(1, &[100, 400]), weeks_ago(2, &[100, 100]), weeks_ago(3, &[100, 100])];
        let hour = foreseen(differ.concat(), 100.0, 60).unwrap();
        assert!(hour.attendees > 250.0 && hour.attendees < 300.0, "{hour:?}");
        assert!(hour.margin > 100.0);
        assert_eq!(hour.sureness, Sureness::Medium);
        let one = foreseen(weeks_ago(1, &[100, 400]), 100.0, 60).unwrap();
        assert_eq!((one.sureness, one.weeks), (Sureness::Medium, 1));
        assert!(is_near(one.margin, 300.0), "{one:?}");
    }
}
