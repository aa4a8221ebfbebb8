//! What must hold of every choice of a node, whatever comes.

use proptest::prelude::*;

use super::fixture::{inventory, key, node, poll, tenant};
use crate::fleet::predict::{Burden, Expected};
use crate::fleet::{Fleet, Phase, Wanted};
use crate::model::{AdminState, Inventory, Policy, Spread};

/// A pool of nodes with these weights, all of them up.
fn pool(weights: &[f64]) -> Fleet {
    let nodes = weights.iter().enumerate().map(|(number, weight)| named(number, *weight));
    pool_of(inventory(nodes.collect(), Policy::Predictive))
}

fn pool_of(inventory: Inventory) -> Fleet {
    let fleet = Fleet::new(inventory, |_| AdminState::Ready);
    for node in fleet.snapshot().nodes() {
        poll(&fleet, node.name().as_str(), Vec::new());
    }
    fleet
}

fn named(number: usize, weight: f64) -> crate::model::Node {
    node(&format!("n{number}"), weight, &[])
}

/// Places a meeting that is expected to have so many attendees, for sure; returns its node.
fn place(fleet: &Fleet, tenant: &str, id: &str, size: u32) -> String {
    let snapshot = fleet.snapshot();
    let key = key(tenant, id);
    let tenant = snapshot.tenant(tenant).unwrap();
    let crowd = fleet.crowd(tenant);
    let expected = Expected::of_size(size);
    let wanted = Wanted { expected, crowd: crowd.as_ref(), ..Wanted::new(&key) };
    let reservation = tenant.place(&wanted).unwrap();
    let name = reservation.node().name().clone();
    let place = tenant.admit(key.scope.sub).unwrap();
    let meeting = super::fixture::meeting(
        &key,
        &name,
        &format!("{id}@{tenant}", tenant = tenant.tenant.slug),
        1,
    );
    fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
    name.to_string()
}

fn loads(fleet: &Fleet) -> Vec<f64> {
    fleet.snapshot().nodes().map(|node| node.live.occupied()).collect()
}

fn fullest(fleet: &Fleet) -> f64 {
    loads(fleet).into_iter().fold(0.0, f64::max)
}

#[test]
fn a_tenant_that_spreads_its_meetings_has_one_on_each_node_first() {
    let mut inventory =
        inventory((0..4).map(|number| named(number, 1.0)).collect(), Policy::Predictive);
    let mut wary = tenant("wary", &[]);
    wary.placement.spread = Spread::Meetings;
    inventory.tenants.push(wary);
    let fleet = pool_of(inventory);
    // Three nodes carry much already.
    for number in 0..3 {
        place(&fleet, "acme", &format!("large-{number}"), 150);
    }
    let mut used: Vec<_> =
        (0..4).map(|number| place(&fleet, "wary", &number.to_string(), 10)).collect();
    used.sort();
    assert_eq!(used, ["n0", "n1", "n2", "n3"]);
    let fifth = place(&fleet, "wary", "5", 10);
    let there = fleet.snapshot().node(&fifth).unwrap().live.occupied();
    assert!((there - 20.0).abs() < 1e-6, "the emptiest of all: {there}");
}

#[test]
fn tenants_that_must_not_meet_do_not_share_a_node_while_there_is_another() {
    let mut inventory =
        inventory((0..2).map(|number| named(number, 1.0)).collect(), Policy::Predictive);
    for slug in ["left", "right"] {
        let mut wary = tenant(slug, &[]);
        wary.placement.spread = Spread::Tenants;
        inventory.tenants.push(wary);
    }
    let fleet = pool_of(inventory);
    let left = place(&fleet, "left", "1", 10);
    let right = place(&fleet, "right", "1", 10);
    assert_ne!(left, right);
    for number in 2..6 {
        assert_eq!(
            place(&fleet, "left", &number.to_string(), 50),
            left,
            "its own do not bother it"
        );
    }
    // The others share what there is.
    assert_eq!(place(&fleet, "acme", "m", 50), right);
}

/// Nothing is lost or counted twice, however many meetings come, grow, are polled and go.
#[test]
fn a_million_events_leave_no_trace_of_what_is_over() {
    let fleet = pool(&[1.0, 1.0]);
    let snapshot = fleet.snapshot();
    let nodes: Vec<_> = snapshot.nodes().map(|node| node.live.clone()).collect();
    let mut burdens: Vec<Burden> = (0..64).map(|_| Burden::default()).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..1_000_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let burden = &mut burdens[(random >> 8) as usize % 64];
        let live = &nodes[(random >> 16) as usize % 2];
        let size = f64::from(u32::try_from((random >> 24) % 100_000).unwrap()) / 7.0;
        match random % 8 {
            0..=2 => burden.lay(live, size),
            3 | 4 => burden.add_one(),
            5 => burden.lift(),
            6 => *burden = Burden::of(live, size),
            _ => {
                burden.take_off();
                *burden = Burden::default();
            }
        }
    }
    drop(burdens);
    assert_eq!(loads(&fleet), [0.0, 0.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn only_eligible_nodes_are_chosen(
        states in prop::collection::vec(0u8..4, 1..8),
        sizes in prop::collection::vec(1u32..300, 1..30),
    ) {
        let fleet = pool(&vec![1.0; states.len()]);
        let snapshot = fleet.snapshot();
        let can = |state: u8| state < 2;
        for (node, state) in snapshot.nodes().zip(&states) {
            match state {
                2 => node.live.set_admin(AdminState::Cordoned),
                3 => drop(node.live.doubt("gone".to_owned(), 1)),
                _ => {}
            }
        }
        for (number, size) in sizes.iter().enumerate() {
            let key = key("acme", &number.to_string());
            let wanted = Wanted { expected: Expected::of_size(*size), ..Wanted::new(&key) };
            match snapshot.tenant("acme").unwrap().place(&wanted) {
                Ok(reservation) => {
                    let chosen = snapshot.nodes().position(|node| node.name() == reservation.node().name());
                    prop_assert!(can(states[chosen.unwrap()]));
                }
                Err(_) => prop_assert!(!states.iter().any(|state| can(*state))),
            }
        }
    }

    /// What any placement must bear is the mean, or the largest meeting; ours bears no more than both together.
    #[test]
    fn the_fullest_node_is_within_what_the_bound_allows(
        nodes in 1usize..8, sizes in prop::collection::vec(1u32..500, 1..60),
    ) {
        let fleet = pool(&vec![1.0; nodes]);
        for (number, size) in sizes.iter().enumerate() {
            place(&fleet, "acme", &number.to_string(), *size);
        }
        let sum: u32 = sizes.iter().sum();
        let mean = f64::from(sum) / f64::from(u32::try_from(nodes).unwrap());
        let largest = f64::from(*sizes.iter().max().unwrap());
        prop_assert!(fullest(&fleet) <= mean + largest, "{:?}", loads(&fleet));
        prop_assert!((loads(&fleet).iter().sum::<f64>() - f64::from(sum)).abs() < 1e-6);
    }

    #[test]
    fn another_empty_node_never_makes_the_fullest_fuller(
        nodes in 1usize..8, sizes in prop::collection::vec(1u32..500, 1..60),
    ) {
        let (few, more) = (pool(&vec![1.0; nodes]), pool(&vec![1.0; nodes + 1]));
        for (number, size) in sizes.iter().enumerate() {
            place(&few, "acme", &number.to_string(), *size);
            place(&more, "acme", &number.to_string(), *size);
        }
        prop_assert!(fullest(&more) <= fullest(&few), "{:?} {:?}", loads(&more), loads(&few));
    }

    #[test]
    fn what_is_over_weighs_nothing(sizes in prop::collection::vec(0u32..=200_000, 1..40)) {
        let fleet = pool(&[0.01, 100.0]);
        let places: Vec<_> =
            sizes.iter().enumerate().map(|(number, size)| place(&fleet, "acme", &number.to_string(), *size)).collect();
        for node in fleet.snapshot().nodes() {
            prop_assert!(node.load().is_finite() && node.load() >= 0.0);
        }
        prop_assert_eq!(places.len(), sizes.len());
        for node in fleet.snapshot().nodes() {
            for (number, entry) in fleet.directory.on_node(node.name()).iter().enumerate() {
                if number % 2 == 0 { entry.mark_ended() } else { fleet.directory.remove(entry) }
                prop_assert!(entry.phase() != Phase::Running || number % 2 == 1);
            }
        }
        prop_assert_eq!(loads(&fleet), vec![0.0, 0.0]);
    }
}
