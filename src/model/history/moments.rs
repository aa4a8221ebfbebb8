//! Mean and variance of peaks, the latest of which count most.

use crate::model::MOST_ATTENDEES;

/// What is known of how large meetings of one kind become.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// Meetings that it was learned from.
    pub seen: u32,
    /// Their mean peak, in attendees.
    pub mean: f32,
    /// How much they differ: the variance, in attendees squared.
    pub variance: f32,
}

impl Moments {
    /// Learns from a meeting that had so many attendees at its fullest. The first ones count alike; later each
    /// counts for `share` of the whole, which forgets the old ones.
    #[expect(clippy::cast_possible_truncation, reason = "single precision is enough to keep")]
    pub fn learn(&mut self, peak: f64, share: f64) {
        let share = share.max(1.0 / (f64::from(self.seen) + 1.0));
        let (mean, variance) = (f64::from(self.mean), f64::from(self.variance));
        let off = peak - mean;
        self.mean = (mean + share * off) as f32;
        self.variance = ((1.0 - share) * (variance + share * off * off)) as f32;
        self.seen = self.seen.saturating_add(1);
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f64 {
        f64::from(self.variance).max(0.0).sqrt()
    }

    /// Whether it can have been learned from meetings.
    pub fn is_sound(&self) -> bool {
        let most = f64::from(MOST_ATTENDEES);
        self.seen > 0
            && (0.0..=most).contains(&self.mean.into())
            && (0.0..=most * most).contains(&self.variance.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_ones_count_alike_and_then_the_latest_count_most() {
        let mut moments = Moments::default();
        moments.learn(10.0, 0.3);
        moments.learn(20.0, 0.3);
        assert_eq!(moments, Moments { seen: 2, mean: 15.0, variance: 25.0 });
        moments.learn(30.0, 0.3);
        assert!((f64::from(moments.mean) - 20.0).abs() < 1e-3);
        (0..20).for_each(|_| moments.learn(100.0, 0.3));
        assert!(moments.mean > 99.0 && moments.deviation() < 10.0, "{moments:?}");
        assert!(moments.is_sound());
    }

    #[test]
    fn what_no_meeting_can_have_taught_is_not_sound() {
        let sound = Moments { seen: 1, mean: 1.0, variance: 0.0 };
        for broken in [
            Moments { seen: 0, ..sound },
            Moments { mean: f32::NAN, ..sound },
            Moments { mean: -1.0, ..sound },
            Moments { mean: 1e9, ..sound },
            Moments { variance: f32::INFINITY, ..sound },
            Moments { variance: -0.1, ..sound },
        ] {
            assert!(!broken.is_sound(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_it_stays_sound(peaks in prop::collection::vec(1u32..=MOST_ATTENDEES, 1..200)) {
            let mut moments = Moments::default();
            for peak in &peaks {
                moments.learn(f64::from(*peak), 0.3);
                prop_assert!(moments.is_sound(), "{:?}", moments);
            }
        }
    }
}
