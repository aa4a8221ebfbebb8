//! What must hold of every choice of a node, whatever comes.

use proptest::prelude::*;

use super::fixture::{THRESHOLDS, inventory, key, node, poll, tenant};
use crate::fleet::predict::{Expected, Source};
use crate::fleet::{Fleet, Hints, Phase, Wanted};
use crate::model::{
    AdminState, B3lbFactors, Cluster, Hour, Inventory, Node, NodeName, Peak, Policy, Spread,
};

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

fn named(number: usize, weight: f64) -> Node {
    node(&format!("n{number}"), weight, &[])
}

/// Places a meeting that is expected to have so many attendees, for sure; returns its node.
fn place(fleet: &Fleet, tenant: &str, id: &str, size: u32) -> String {
    place_as(fleet, tenant, id, Expected::of_size(size))
}

/// One of this size, looked at as so much larger.
fn unsure(size: u32, more: u32) -> Expected {
    let size = f64::from(size);
    Expected { size, cautious: size + f64::from(more), source: Source::Prior }
}

fn place_as(fleet: &Fleet, tenant: &str, id: &str, expected: Expected) -> String {
    let snapshot = fleet.snapshot();
    let key = key(tenant, id);
    let tenant = snapshot.tenant(tenant).unwrap();
    let wanted = Wanted { expected, ..Wanted::new(&key) };
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
fn who_keeps_off_others_keeps_off_what_they_are_creating_and_breakout_rooms_do_not_count() {
    let nodes = (0..3).map(|number| named(number, 1.0)).collect();
    let mut inventory = inventory(nodes, Policy::Predictive);
    for slug in ["one", "two", "three"] {
        let mut wary = tenant(slug, &[]);
        wary.placement.spread = Spread::Tenants;
        inventory.tenants.push(wary);
    }
    let fleet = pool_of(inventory);
    let snapshot = fleet.snapshot();
    let coming = ["one", "two", "three"].map(|slug| {
        let key = key(slug, "m");
        let wanted = Wanted { expected: Expected::of_size(10), ..Wanted::new(&key) };
        snapshot.tenant(slug).unwrap().place(&wanted).unwrap()
    });
    let mut nodes = coming.each_ref().map(|one| one.node().name().as_str());
    nodes.sort_unstable();
    assert_eq!(nodes, ["n0", "n1", "n2"]);
    drop(coming);
    let node = place(&fleet, "one", "main", 10);
    let of = |name: &NodeName| snapshot.tenant("one").unwrap().tally.on_node(name);
    let main = fleet.directory.on_node(&NodeName::new(node.as_str())).pop().unwrap();
    let mut breakout = main.to_meeting();
    breakout.internal_id = "breakout-1".to_owned();
    breakout.parent_internal_id = Some(main.internal_id().to_owned());
    fleet.directory.adopt(breakout, true);
    assert_eq!(of(main.node()), 1);
    main.mark_ended();
    assert_eq!(of(main.node()), 0);
    fleet.directory.remove(&main);
    assert_eq!(of(main.node()), 0);
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

/// Two nodes, and two tenants whose meetings are to be kept off others.
fn of_two_wary_tenants() -> Inventory {
    let nodes = (0..2).map(|number| named(number, 1.0)).collect();
    let mut inventory = inventory(nodes, Policy::Predictive);
    for slug in ["left", "right"] {
        let mut wary = tenant(slug, &[]);
        wary.placement.spread = Spread::Tenants;
        inventory.tenants.push(wary);
    }
    inventory
}

#[test]
fn tenants_that_must_not_meet_do_not_share_a_node_while_there_is_another() {
    let fleet = pool_of(of_two_wary_tenants());
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

#[test]
fn meetings_of_a_tenant_that_is_gone_are_kept_off_until_their_end() {
    let mut inventory = of_two_wary_tenants();
    let fleet = pool_of(inventory.clone());
    let left = place(&fleet, "left", "1", 1);
    inventory.tenants.retain(|tenant| tenant.slug.as_str() != "left");
    // The second time it was gone before.
    for number in ["1", "2"] {
        fleet.apply(inventory.clone());
        assert_ne!(place(&fleet, "right", number, 100), left);
    }
    let over = fleet.directory.on_node(&NodeName::new(left.as_str())).pop().unwrap();
    fleet.directory.remove(&over);
    assert_eq!(place(&fleet, "right", "3", 100), left);
}

/// Two nodes of clusters with these policies.
fn mixed(policies: [Policy; 2]) -> Inventory {
    let mut inventory = inventory(vec![named(0, 1.0), named(1, 1.0)], policies[0]);
    inventory.clusters.push(Cluster {
        name: "second".to_owned(),
        policy: policies[1],
        ..Cluster::default()
    });
    inventory.groups[0].clusters.push("second".to_owned());
    inventory.nodes[1].cluster = "second".to_owned();
    inventory
}

/// By another measure, or to keep off others, a meeting may go to a full node while others are empty.
#[test]
fn that_the_pool_is_full_is_only_said_where_the_node_with_the_most_room_was_chosen() {
    for (policy, spread, is_told) in [
        (Policy::Predictive, Spread::None, true),
        (Policy::Predictive, Spread::Meetings, false),
        (Policy::B3scale, Spread::None, false),
        (Policy::B3lb(B3lbFactors::default()), Spread::None, false),
    ] {
        let mut inventory = inventory(vec![named(0, 1.0)], policy);
        let mut wary = tenant("wary", &[]);
        wary.placement.spread = spread;
        inventory.tenants.push(wary);
        let fleet = pool_of(inventory);
        let snapshot = fleet.snapshot();
        let key = key("wary", "m");
        let wanted = Wanted { expected: Expected::of_size(300), ..Wanted::new(&key) };
        let reservation = snapshot.tenant("wary").unwrap().place(&wanted).unwrap();
        assert_eq!(reservation.too_much().is_some(), is_told, "{policy:?}, {spread:?}");
    }
}

/// By B3LB's formula a node of one meeting is at 30 and more: next to a node whose loads are of attendees that are
/// expected it would stay empty.
#[test]
fn nodes_of_different_policies_are_compared_by_how_full_they_become() {
    let b3lb = Policy::B3lb(B3lbFactors::default());
    for policies in
        [[Policy::Predictive, b3lb], [b3lb, Policy::Predictive], [b3lb, Policy::B3scale]]
    {
        let fleet = pool_of(mixed(policies));
        assert_eq!(fleet.snapshot().tenant("acme").unwrap().measure, Policy::Predictive);
        for number in 0..40 {
            place(&fleet, "acme", &number.to_string(), 5);
        }
        assert_eq!(loads(&fleet), [100.0, 100.0], "{policies:?}");
    }
    let alike = pool_of(mixed([b3lb, b3lb]));
    assert_eq!(alike.snapshot().tenant("acme").unwrap().measure, b3lb);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Open and up; the others are closed, doubted, down, or have failed this meeting.
    #[test]
    fn only_eligible_nodes_are_chosen(
        states in prop::collection::vec(0u8..6, 1..8),
        sizes in prop::collection::vec(1u32..300, 1..30),
    ) {
        let fleet = pool(&vec![1.0; states.len()]);
        let snapshot = fleet.snapshot();
        let can = |state: u8| state < 2;
        let mut tried: Vec<NodeName> = Vec::new();
        for (node, state) in snapshot.nodes().zip(&states) {
            match state {
                2 => node.live.set_admin(AdminState::Cordoned),
                3 => drop(node.live.doubt("gone".to_owned(), fleet.clock().moment())),
                4 => for _ in 0..3 {
                    node.live.poll_failed("gone".to_owned(), THRESHOLDS, fleet.clock().moment());
                },
                5 => tried.push(node.name().clone()),
                _ => {}
            }
        }
        for (number, size) in sizes.iter().enumerate() {
            let key = key("acme", &number.to_string());
            let wanted = Wanted { expected: Expected::of_size(*size), tried: &tried, ..Wanted::new(&key) };
            match snapshot.tenant("acme").unwrap().place(&wanted) {
                Ok(reservation) => {
                    let chosen = snapshot.nodes().position(|node| node.name() == reservation.node().name());
                    prop_assert!(can(states[chosen.unwrap()]));
                }
                Err(_) => prop_assert!(!states.iter().any(|state| can(*state))),
            }
        }
    }

    /// Graham's bound for lists, over nodes of any capacity. A meeting of size s that is looked at as c goes where
    /// (load + c) / C is least, so on its node that is at most the same of every other; with all of them added up, at
    /// most (load of all + n c) / capacity of all. What the node carries then is at most that, and so is the fullest
    /// node with the last meeting that came to it.
    #[test]
    fn the_fullest_node_is_within_what_the_bound_allows(
        weights in prop::collection::vec(0.1f64..10.0, 1..8),
        meetings in prop::collection::vec((1u32..500, 0u32..1000), 1..60),
    ) {
        let fleet = pool(&weights);
        let snapshot = fleet.snapshot();
        let room: f64 = snapshot.nodes().map(|node| node.room()).sum();
        let nodes = f64::from(u32::try_from(weights.len()).unwrap());
        let (mut before, mut bound) = (0.0, 0.0);
        for (number, (size, more)) in meetings.iter().enumerate() {
            place_as(&fleet, "acme", &number.to_string(), unsure(*size, *more));
            bound = f64::max(bound, (before + nodes * f64::from(size + more)) / room);
            before += f64::from(*size);
            let fullest = snapshot.nodes().map(|node| node.live.occupied() / node.room()).fold(0.0, f64::max);
            prop_assert!(fullest <= bound + 1e-9, "{fullest} {bound}");
        }
        prop_assert!((loads(&fleet).iter().sum::<f64>() - before).abs() < 1e-6);
    }

    /// The same for equal nodes and sizes that are sure: no placement can have its fullest node below the mean or
    /// the largest meeting, and ours is within 2 - 1/n of that.
    #[test]
    fn among_equal_nodes_it_is_never_twice_as_full_as_it_has_to_be(
        nodes in 1usize..8, sizes in prop::collection::vec(1u32..500, 1..60),
    ) {
        let fleet = pool(&vec![1.0; nodes]);
        for (number, size) in sizes.iter().enumerate() {
            place(&fleet, "acme", &number.to_string(), *size);
        }
        let nodes = f64::from(u32::try_from(nodes).unwrap());
        let mean = f64::from(sizes.iter().sum::<u32>()) / nodes;
        let ideal = mean.max(f64::from(*sizes.iter().max().unwrap()));
        prop_assert!(fullest(&fleet) <= (2.0 - 1.0 / nodes) * ideal + 1e-9, "{:?}", loads(&fleet));
    }

    /// Whatever runs by then. With loads in order, each of the larger pool is at most that of the smaller one in its
    /// place: so it is when the empty one comes, and so it stays, for either gives the next meeting to its
    /// least loaded node. For unequal nodes it does not hold: what fits the new one best may leave an old one to a giant.
    #[test]
    fn another_empty_node_never_makes_the_fullest_fuller(
        nodes in 1usize..8,
        meetings in prop::collection::vec((1u32..500, 0u32..1000), 1..60),
        comes_after in 0usize..30,
    ) {
        let (few, more) = (pool(&vec![1.0; nodes]), pool(&vec![1.0; nodes]));
        for (number, (size, larger)) in meetings.iter().enumerate() {
            if number == comes_after {
                let nodes = (0..=nodes).map(|number| named(number, 1.0)).collect();
                more.apply(inventory(nodes, Policy::Predictive));
                poll(&more, &format!("n{}", loads(&few).len()), Vec::new());
            }
            for fleet in [&few, &more] {
                place_as(fleet, "acme", &number.to_string(), unsure(*size, *larger));
            }
            prop_assert!(fullest(&more) <= fullest(&few), "{:?} {:?}", loads(&more), loads(&few));
        }
    }

    /// Whatever front ends say, nodes are, and rooms have been.
    #[test]
    fn scores_are_finite_for_any_input(
        weights in prop::collection::vec(prop_oneof![Just(1e-6), Just(1e6), 1e-6f64..1e6], 1..5),
        capacity in 1u32..,
        policy in prop_oneof![
            Just(Policy::Predictive), Just(Policy::B3scale), Just(Policy::B3lb(B3lbFactors::default())),
        ],
        asked in prop::collection::vec(
            (prop::option::of(any::<u32>()), prop::option::of(any::<u32>()), any::<u32>()), 1..20,
        ),
    ) {
        let nodes = weights.iter().enumerate().map(|(number, weight)| Node { capacity, ..named(number, *weight) });
        let fleet = pool_of(inventory(nodes.collect(), policy));
        let snapshot = fleet.snapshot();
        let tenant = snapshot.tenant("acme").unwrap();
        for (number, (max_participants, size, peak)) in asked.into_iter().enumerate() {
            let key = key("acme", &(number % 7).to_string());
            let hour = Hour::new(3).unwrap();
            fleet.history.learn(&Peak { key: key.clone(), hour, attendees: peak }, 1);
            let expected = fleet.expect(tenant, &key, Hints { max_participants, size });
            let wanted = Wanted { expected, ..Wanted::new(&key) };
            for candidate in tenant.candidates(&wanted) {
                let score = candidate.score.unwrap();
                prop_assert!(score.is_finite() && score >= 0.0, "{score}");
            }
            place_as(&fleet, "acme", &format!("m{number}"), expected);
        }
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
