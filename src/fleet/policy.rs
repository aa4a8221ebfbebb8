//! How the load of a node is computed from its counters. Pure; the lowest load takes the next meeting.

use super::live::Counters;
use crate::model::{B3lbFactors, Node, Policy};

/// Attendees that a node of weight 1 is built for where nothing else is said. Only relations matter: with it, the
/// loads of all policies are about as large.
const USUAL_CAPACITY: f64 = 200.0;

/// The load of a node: finite and never negative, so that any two can be compared.
pub(super) fn load(policy: Policy, counters: &Counters, node: &Node) -> f64 {
    // Factors may be as large as they like, and the largest number is below infinity.
    unbounded(policy, counters, node).clamp(0.0, f64::MAX)
}

fn unbounded(policy: Policy, counters: &Counters, node: &Node) -> f64 {
    match policy {
        Policy::Predictive => {
            counters.occupied * USUAL_CAPACITY / (f64::from(node.capacity) * node.weight)
        }
        Policy::B3lb(factors) => b3lb(&factors, counters) / node.weight,
        Policy::B3scale => b3scale(counters) / node.weight,
    }
}

/// B3LB's formula: attendees·a + meetings·m + (M/K)·Σ cⁱ, cut to an integer.
///
/// The sum goes to K − 1, as B3LB computes it (its documentation says K), so that a cluster moved over
/// keeps its behaviour.
fn b3lb(factors: &B3lbFactors, counters: &Counters) -> f64 {
    let cpu = f64::from(counters.cpu) / 10_000.0;
    let terms: f64 = (1..factors.cpu_iterations)
        .scan(1.0, |power, _| {
            *power *= cpu;
            Some(*power)
        })
        .sum();
    let processor = match factors.cpu_iterations {
        0 => 0.0,
        iterations => factors.cpu_max / f64::from(iterations) * terms,
    };
    let sum = f64::from(counters.attendees) * factors.attendee_factor
        + f64::from(counters.meetings) * factors.meeting_factor
        + processor;
    sum.trunc()
}

/// b3scale's formula, without its load factor: that is 1 / weight.
fn b3scale(counters: &Counters) -> f64 {
    f64::from(counters.meetings.saturating_mul(15).max(counters.attendees))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::live::Live;

    fn node(weight: f64) -> Node {
        crate::fleet::tests::fixture::node("a", weight, &[])
    }

    fn counters(attendees: u32, meetings: u32, cpu: u32) -> Counters {
        let live = Live::default();
        live.polled(meetings, attendees, 0);
        live.set_cpu(cpu);
        live.counters()
    }

    /// Worked examples of B3LB's load, as its nodes' lists show them.
    #[test]
    #[expect(clippy::float_cmp, reason = "the formula cuts to an integer")]
    fn b3lb_gives_the_loads_of_b3lb() {
        let default = B3lbFactors::default();
        let small = B3lbFactors {
            attendee_factor: 0.5,
            meeting_factor: 10.0,
            cpu_iterations: 4,
            cpu_max: 4000.0,
        };
        for (factors, attendees, meetings, cpu, load) in [
            (default, 100, 10, 5000, 1207.0),
            (default, 150, 10, 8000, 2691.0),
            (default, 0, 0, 10_000, 4166.0),
            (default, 1, 1, 0, 31.0),
            (small, 10, 1, 2500, 343.0),
            (B3lbFactors { cpu_iterations: 1, ..default }, 0, 0, 10_000, 0.0),
            (B3lbFactors { cpu_iterations: 0, ..default }, 0, 0, 10_000, 0.0),
        ] {
            assert_eq!(b3lb(&factors, &counters(attendees, meetings, cpu)), load);
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "products of small integers")]
    fn b3scale_takes_the_larger_of_meetings_and_attendees() {
        assert_eq!(b3scale(&counters(10, 2, 0)), 30.0);
        assert_eq!(b3scale(&counters(40, 2, 0)), 40.0);
        assert_eq!(load(Policy::B3scale, &counters(40, 2, 0), &node(4.0)), 10.0);
    }

    proptest! {
        #[test]
        fn a_load_is_finite_whatever_stands_there(
            attendees: u32, meetings: u32, cpu: u32, cautious in 0.0f64..1e6,
            factors in prop::array::uniform3(0.0f64..=f64::MAX), cpu_iterations in 0u32..=100,
            weight in prop_oneof![f64::MIN_POSITIVE..1e-300, 1e-6..1e6, 1e300..f64::MAX],
            capacity in 1u32..,
        ) {
            let [attendee_factor, meeting_factor, cpu_max] = factors;
            let any = B3lbFactors { attendee_factor, meeting_factor, cpu_iterations, cpu_max };
            let node = Node { capacity, ..node(weight) };
            let seen = counters(attendees, meetings, cpu).with_one_more(cautious);
            for policy in [Policy::Predictive, Policy::B3lb(any), Policy::B3scale] {
                let load = load(policy, &seen, &node);
                prop_assert!(load.is_finite() && load >= 0.0, "{policy:?}: {load}");
            }
        }

        #[test]
        fn a_load_is_finite_and_grows_with_its_counters(
            attendees in 0u32..2_000_000, meetings in 0u32..200_000, cpu in 0u32..=10_000,
            weight in 0.01f64..100.0,
        ) {
            let node = node(weight);
            for policy in [Policy::Predictive, Policy::B3lb(B3lbFactors::default()), Policy::B3scale] {
                let seen = counters(attendees, meetings, cpu);
                let before = load(policy, &seen, &node);
                let after = load(policy, &seen.with_one_more(20.0), &node);
                prop_assert!(before.is_finite() && before >= 0.0 && after > before);
            }
        }
    }
}
