//! The fleet as the drivers see it: placements, polls and the directory together.

mod clocks;
mod drift;
pub(super) mod fixture;
mod placing;
mod reconciling;
mod restoring;

use std::sync::Arc;

use proptest::prelude::*;

use self::fixture::{
    THRESHOLDS, create, doubles, fleet, internal_id, inventory, key, listed, meeting, node, poll,
    reserved, scope, tenant, with_text,
};
use super::{Fleet, Phase, Reconciled, Wanted, identity};
use crate::model::{AdminState, B3lbFactors, Health, Meeting, Node, NodeName, Policy};

#[test]
fn equal_nodes_share_a_burst_evenly() {
    let fleet = fleet(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    for name in fleet.snapshot().nodes().map(|node| node.name().clone()) {
        poll(&fleet, name.as_str(), Vec::new());
    }
    for number in 0..200 {
        create(&fleet, &key("acme", &format!("room-{number}")), 1);
    }
    for node in fleet.snapshot().nodes() {
        assert_eq!(node.live.meetings(), 20, "{}", node.name());
    }
}

#[test]
fn a_node_of_twice_the_weight_takes_twice_the_meetings() {
    let nodes = vec![node("small", 1.0, &[]), node("large", 2.0, &[])];
    // A meeting of which nothing is known is looked at as one of 100, for which the large node has more room.
    let predictive = (Policy::Predictive, (8, 22));
    let b3lb = (Policy::B3lb(B3lbFactors::default()), (10, 20));
    for (policy, placed) in [predictive, b3lb, (Policy::B3scale, (10, 20))] {
        let fleet = Fleet::new(inventory(nodes.clone(), policy), |_| AdminState::Ready);
        poll(&fleet, "small", Vec::new());
        poll(&fleet, "large", Vec::new());
        for number in 0..30 {
            create(&fleet, &key("acme", &format!("room-{number}")), 1);
        }
        assert_eq!((reserved(&fleet, "small"), reserved(&fleet, "large")), placed);
    }
}

#[test]
fn only_eligible_nodes_are_chosen_and_the_reasons_are_counted() {
    let nodes =
        vec![node("plain", 1.0, &[]), node("sip", 1.0, &["sip"]), node("sip2", 1.0, &["sip"])];
    let mut inventory = inventory(nodes, Policy::default());
    inventory.tenants.push(tenant("phone", &["sip"]));
    let fleet = Fleet::new(inventory, |_| AdminState::Ready);
    let snapshot = fleet.snapshot();
    let phone = snapshot.tenant("phone").unwrap();
    let key = key("phone", "m");
    let why = phone.place(&Wanted::new(&key)).err().unwrap();
    assert_eq!((why.nodes, why.not_up, why.closed, why.failed), (2, 2, 0, 0));
    for name in ["plain", "sip", "sip2"] {
        poll(&fleet, name, Vec::new());
    }
    snapshot.node("sip2").unwrap().live.set_admin(AdminState::Cordoned);
    assert_eq!(phone.place(&Wanted::new(&key)).unwrap().node().name().as_str(), "sip");
    let why =
        phone.place(&Wanted { tried: &[NodeName::new("sip")], ..Wanted::new(&key) }).err().unwrap();
    assert_eq!((why.nodes, why.not_up, why.closed, why.failed), (2, 0, 1, 1));
}

#[test]
fn a_reservation_stands_until_a_poll_that_began_later() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    let snapshot = fleet.snapshot();
    let earlier = fleet.begin_poll(snapshot.node("a").unwrap());
    create(&fleet, &key("acme", "m"), 7);
    earlier.finish(THRESHOLDS, 1);
    assert_eq!(reserved(&fleet, "a"), 1);
    poll(&fleet, "a", vec![listed("m@acme", 7, 3)]);
    assert_eq!(reserved(&fleet, "a"), 0);
    let live = &fleet.snapshot().node("a").unwrap().live.clone();
    assert_eq!((live.meetings(), live.attendees()), (1, 3));
}

#[test]
fn a_dropped_reservation_is_given_back() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    let snapshot = fleet.snapshot();
    drop(snapshot.tenant("acme").unwrap().place(&Wanted::new(&key("acme", "m"))).unwrap());
    assert_eq!(reserved(&fleet, "a"), 0);
}

#[test]
fn a_meeting_is_found_by_either_id_and_by_its_own_tenant_only() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme-5", "m"), 7);
    let internal = internal_id("m@acme-5", 7);
    let find = |caller: &str, id: &str| {
        let snapshot = fleet.snapshot();
        let scope = scope(caller);
        let tenant = snapshot.tenant(scope.tenant.as_str()).unwrap();
        fleet.find(&tenant.tenant, &scope, id).is_some()
    };
    for (caller, id, is_found) in [
        ("acme-5", "m", true),
        ("acme-5", internal.as_str(), true),
        // The main secret sees its whole tenant.
        ("acme", "m", true),
        ("acme", internal.as_str(), true),
        ("other", "m", false),
        ("other", internal.as_str(), false),
        ("other", "m@acme-5", false),
    ] {
        assert_eq!(find(caller, id), is_found, "{caller} asks for {id}");
    }
}

#[test]
fn a_meeting_is_over_after_two_polls_without_it() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    assert_eq!(poll(&fleet, "a", Vec::new()).over.len(), 0);
    // Once more in between starts the count again.
    poll(&fleet, "a", vec![listed("m@acme", 7, 0)]);
    assert_eq!(poll(&fleet, "a", Vec::new()).over.len(), 0);
    assert_eq!(poll(&fleet, "a", Vec::new()).over.len(), 1);
    assert!(fleet.directory.is_empty());
}

#[test]
fn an_unknown_meeting_of_a_known_scope_is_adopted() {
    let fleet = fleet(&["a"]);
    let strangers = vec![
        listed("m@acme", 7, 2),
        listed("m@nobody", 7, 2),
        listed("m@acme-77", 7, 2),
        listed("no scope at all", 7, 2),
    ];
    let reconciled = poll(&fleet, "a", strangers);
    assert_eq!(reconciled.adopted.len(), 1);
    let entry = fleet.directory.get(&scope("acme"), "m").unwrap();
    assert_eq!((entry.node().as_str(), entry.attendees()), ("a", 2));
    assert!(String::from_utf8_lossy(&entry.xml()).contains("<meetingID>m</meetingID>"));
}

#[test]
fn a_node_cannot_take_over_what_another_one_runs() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    // The same internal id, and an internal id that is not of its meeting.
    let liar = with_text(listed("x@other", 9, 0), "internalMeetingID", "0000-9");
    let stolen = internal_id("m@acme", 7);
    let thief = with_text(listed("x@other", 9, 50), "internalMeetingID", &stolen);
    let reconciled = poll(&fleet, "b", vec![thief, liar]);
    assert!(reconciled.adopted.is_empty() && reconciled.doubles.is_empty());
    let entry = fleet.directory.get(&scope("acme"), "m").unwrap();
    assert_eq!((entry.node().as_str(), entry.attendees()), ("a", 0));
}

#[test]
fn a_twin_of_the_same_millisecond_is_ended_where_it_does_not_belong() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "a", Vec::new());
    let (key, b) = (key("acme", "m"), NodeName::new("b"));
    let snapshot = fleet.snapshot();
    let tenant = snapshot.tenant("acme").unwrap();
    let reservation = tenant.place(&Wanted::new(&key)).unwrap();
    let place = tenant.admit(key.scope.sub).unwrap();
    let placed = meeting(&key, &NodeName::new("a"), "m@acme", 7);
    fleet.directory.enter(placed, Some(reservation), place, vec![b]);
    let reconciled = poll(&fleet, "b", vec![listed("m@acme", 7, 0)]);
    assert_eq!(doubles(&reconciled), [internal_id("m@acme", 7)]);
    assert_eq!(fleet.directory.get(&scope("acme"), "m").unwrap().node().as_str(), "a");
}

#[test]
fn one_server_by_two_names_keeps_its_meetings() {
    let fleet = fleet(&["a", "alias"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    assert!(poll(&fleet, "alias", vec![listed("m@acme", 7, 0)]).doubles.is_empty());
}

#[test]
fn a_node_that_is_renamed_keeps_its_meetings() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    let renamed = Node { name: NodeName::new("z"), ..node("a", 1.0, &[]) };
    fleet.apply(inventory(vec![renamed], Policy::default()));
    // Both names are the same server, and both polls find a meeting that nobody knows yet.
    let snapshot = fleet.snapshot();
    let mut old = fleet.begin_poll(snapshot.node("a").unwrap());
    let mut new = fleet.begin_poll(snapshot.node("z").unwrap());
    for poll in [&mut old, &mut new] {
        poll.meeting(listed("m@acme", 7, 0));
        poll.meeting(listed("unknown@acme", 8, 0));
    }
    for poll in [old, new] {
        assert!(poll.finish(THRESHOLDS, 1).1.doubles.is_empty());
    }
    assert_eq!(fleet.directory.get(&scope("acme"), "m").unwrap().node().as_str(), "a");
    assert_eq!(fleet.directory.get(&scope("acme"), "unknown").unwrap().node().as_str(), "a");
}

#[test]
fn among_idle_nodes_the_weight_decides() {
    let nodes = vec![node("small", 1.0, &[]), node("large", 4.0, &[])];
    for policy in [Policy::Predictive, Policy::B3scale] {
        for number in 0..10 {
            let fleet = Fleet::new(inventory(nodes.clone(), policy), |_| AdminState::Ready);
            poll(&fleet, "small", Vec::new());
            poll(&fleet, "large", Vec::new());
            let placed = create(&fleet, &key("acme", &format!("room-{number}")), 1);
            assert_eq!(placed.as_str(), "large");
        }
    }
}

#[tokio::test]
async fn a_create_in_flight_is_never_reaped_nor_adopted() {
    let fleet = fleet(&["a"]);
    let claim = fleet.claims.claim(&key("acme", "m")).await;
    assert!(poll(&fleet, "a", vec![listed("m@acme", 7, 0)]).adopted.is_empty());
    drop(claim);
    assert_eq!(poll(&fleet, "a", vec![listed("m@acme", 7, 0)]).adopted.len(), 1);
}

#[test]
fn what_was_created_again_elsewhere_is_ended_when_its_node_returns() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    for _ in 0..3 {
        let live = fleet.snapshot().node("a").unwrap().live.clone();
        live.poll_failed("refused".into(), THRESHOLDS, fleet.clock().moment());
    }
    assert_eq!(fleet.snapshot().node("a").unwrap().live.health(), Health::Down);
    assert!(fleet.directory.get(&scope("acme"), "m").is_some(), "kept during the grace");
    assert_eq!(fleet.lose_meetings_on(&NodeName::new("a")), 1);
    assert!(fleet.directory.get(&scope("acme"), "m").is_none());
    poll(&fleet, "b", Vec::new());
    assert_eq!(create(&fleet, &key("acme", "m"), 9).as_str(), "b");
    let reconciled = poll(&fleet, "a", vec![listed("m@acme", 7, 30)]);
    assert_eq!(doubles(&reconciled), [internal_id("m@acme", 7)]);
    assert_eq!(fleet.directory.get(&scope("acme"), "m").unwrap().node().as_str(), "b");
}

#[test]
fn a_meeting_that_ended_while_its_node_was_away_does_not_come_back() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    fleet.lose_meetings_on(&NodeName::new("a"));
    for _ in 0..2 {
        let ended = with_text(listed("m@acme", 7, 0), "endTime", "9");
        assert!(poll(&fleet, "a", vec![ended]).doubles.is_empty());
        assert!(fleet.directory.get(&scope("acme"), "m").is_none());
    }
    assert!(fleet.directory.is_empty());
}

#[test]
fn a_node_that_returns_in_time_gets_its_meetings_back() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    fleet.lose_meetings_on(&NodeName::new("a"));
    let reconciled = poll(&fleet, "a", vec![listed("m@acme", 7, 30)]);
    assert!(reconciled.doubles.is_empty());
    assert_eq!(fleet.directory.get(&scope("acme"), "m").unwrap().phase(), Phase::Running);
}

#[test]
fn a_node_deleted_from_the_file_stays_while_meetings_run_on_it() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    fleet.apply(inventory(vec![node("c", 1.0, &[])], Policy::default()));
    let names = || fleet.snapshot().nodes().map(|node| node.name().to_string()).collect::<Vec<_>>();
    assert_eq!(names(), ["c", "a"]);
    assert_eq!(fleet.snapshot().node("a").unwrap().live.admin(), AdminState::Retired);
    let tenant = fleet.snapshot().tenant("acme").unwrap().clone();
    assert!(
        tenant.place(&Wanted::new(&key("acme", "n"))).is_err(),
        "c is not up, a takes nothing new"
    );
    assert_eq!(fleet.drop_idle_retired(), []);
    poll(&fleet, "a", Vec::new());
    poll(&fleet, "a", Vec::new());
    assert_eq!(fleet.drop_idle_retired(), [NodeName::new("a")]);
    assert_eq!(names(), ["c"]);
}

#[test]
fn what_is_lost_holds_a_retired_node_but_not_its_address() {
    let fleet = fleet(&["a", "b"]);
    poll(&fleet, "a", Vec::new());
    create(&fleet, &key("acme", "m"), 7);
    fleet.apply(inventory(vec![node("b", 1.0, &[])], Policy::default()));
    poll(&fleet, "a", vec![listed("m@acme", 7, 1)]);
    let node = fleet.snapshot().node("a").unwrap().clone();
    for _ in 0..THRESHOLDS.down_after {
        node.live.poll_failed("refused".into(), THRESHOLDS, fleet.clock().moment());
    }
    assert!(fleet.reaches_on(node.name()));
    fleet.lose_meetings_on(node.name());
    // Its name may be given to another server; else it may come back with its meetings.
    assert!(!fleet.reaches_on(node.name()) && fleet.runs_on(node.name()));
    assert_eq!(fleet.drop_idle_retired(), []);
    assert!(fleet.snapshot().node("a").is_some());
}

#[test]
fn meetings_come_back_after_a_restart_even_if_their_node_was_deleted() {
    let fleet = fleet(&["a"]);
    let gone = NodeName::new("gone");
    let meetings = vec![
        meeting(&key("acme", "m"), &NodeName::new("a"), "m@acme", 7),
        meeting(&key("acme", "n"), &gone, "n@acme", 7),
        meeting(&key("acme", "o"), &NodeName::new("nobody"), "o@acme", 7),
        meeting(&key("stranger", "p"), &NodeName::new("a"), "p@stranger", 7),
    ];
    let specs = vec![node("gone", 1.0, &[]), node("idle", 1.0, &[])];
    let dropped = fleet.restore(meetings, specs);
    assert_eq!(dropped.iter().map(|m| m.key.id.as_str()).collect::<Vec<_>>(), ["o"]);
    // Its front end is nobody any more, but an operator sees it and can end it.
    assert_eq!(fleet.directory.get(&scope("stranger"), "p").unwrap().node().as_str(), "a");
    assert_eq!(fleet.gone_tenants(), [(scope("stranger").tenant, 1)]);
    assert!(fleet.directory.get(&scope("acme"), "n").is_some());
    assert_eq!(fleet.snapshot().node("gone").unwrap().live.admin(), AdminState::Retired);
    assert!(fleet.snapshot().node("idle").is_none());
}

/// What can happen to a fleet of three nodes and eight meetings.
#[derive(Debug, Clone)]
enum Event {
    Create(usize),
    Fail(usize),
    End(usize),
    Poll(usize, Vec<bool>),
    Lose(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0usize..8).prop_map(Event::Create),
        (0usize..8).prop_map(Event::Fail),
        (0usize..8).prop_map(Event::End),
        (0usize..3, prop::collection::vec(any::<bool>(), 8))
            .prop_map(|(node, shown)| Event::Poll(node, shown)),
        (0usize..3).prop_map(Event::Lose),
    ];
    prop::collection::vec(event, 0..60)
}

proptest! {
    /// Whatever happens, no reservation leaks and the indexes of the directory agree.
    #[test]
    fn reservations_and_indexes_never_drift(events in events()) {
        let names = ["a", "b", "c"];
        let fleet = Arc::new(fleet(&names));
        for name in names {
            poll(&fleet, name, Vec::new());
        }
        let room = |number: usize| key("acme", &format!("room-{number}"));
        for (time, event) in (10u64..).zip(events) {
            match event {
                Event::Create(number) => {
                    let running = fleet.directory.get(&scope("acme"), &room(number).id);
                    if running.is_none_or(|entry| entry.phase() == Phase::Ended) {
                        create(&fleet, &room(number), time);
                    }
                }
                Event::Fail(number) => {
                    let snapshot = fleet.snapshot();
                    drop(snapshot.tenant("acme").unwrap().place(&Wanted::new(&room(number))));
                }
                Event::End(number) => {
                    if let Some(entry) = fleet.directory.get(&scope("acme"), &room(number).id) {
                        entry.mark_ended();
                    }
                }
                Event::Poll(node, shown) => {
                    let entries = fleet.directory.on_node(&NodeName::new(names[node]));
                    let listed = entries
                        .iter()
                        .zip(shown.into_iter().cycle())
                        .filter(|(_, is_shown)| *is_shown)
                        .map(|(entry, _)| listed(&entry.node_meeting_id(), entry.created_at_ms(), 1));
                    poll(&fleet, names[node], listed.collect());
                }
                Event::Lose(node) => {
                    fleet.lose_meetings_on(&NodeName::new(names[node]));
                }
            }
            let on_nodes: usize =
                names.iter().map(|name| fleet.directory.on_node(&NodeName::new(*name)).len()).sum();
            prop_assert_eq!(on_nodes, fleet.directory.len());
            let on_all = names.iter().flat_map(|name| fleet.directory.on_node(&NodeName::new(*name)));
            let running: Vec<_> = on_all.filter(|entry| entry.phase() == Phase::Running).collect();
            let people: u32 = running.iter().map(|entry| entry.attendees()).sum();
            let counted = fleet.directory.tally(&scope("acme").tenant).whole();
            prop_assert_eq!(counted.meetings as usize, running.len());
            prop_assert_eq!(counted.people.attendees, people);
        }
        // After two polls that show everything, nothing is reserved any more.
        for name in names {
            for _ in 0..2 {
                let entries = fleet.directory.on_node(&NodeName::new(name));
                let all = entries
                    .iter()
                    .map(|entry| listed(&entry.node_meeting_id(), entry.created_at_ms(), 1));
                poll(&fleet, name, all.collect());
            }
            prop_assert_eq!(reserved(&fleet, name), 0);
        }
    }
}

#[test]
fn a_breakout_room_counts_where_a_front_end_has_created_it() {
    let fleet = fleet(&["a"]);
    poll(&fleet, "a", Vec::new());
    let parent = key("acme", "m");
    create(&fleet, &parent, 7);
    let room = |internal: &str, people| {
        let made_up = listed(&internal_id("m@acme", 8), 8, people);
        let room = with_text(made_up, "internalMeetingID", internal);
        let room = with_text(room, "isBreakout", "true");
        with_text(room, "parentMeetingID", &internal_id("m@acme", 7))
    };
    let shown = |people| vec![listed("m@acme", 7, 3), room("by-the-node", people)];
    let tally = fleet.directory.tally(&parent.scope.tenant);
    let counted = || (tally.whole().meetings, tally.whole().people.attendees);
    assert_eq!(poll(&fleet, "a", shown(3)).adopted.len(), 1);
    assert_eq!(counted(), (1, 3), "its people are in the main meeting's list");

    let by_front_end = Meeting {
        node_meeting_id: identity::breakout_alias(&parent.scope, "group"),
        internal_id: "by-the-front-end".to_owned(),
        parent_internal_id: Some(internal_id("m@acme", 7)),
        ..meeting(&key("acme", "made-up"), &NodeName::new("a"), "x", 8)
    };
    let entry = fleet.directory.adopt(by_front_end, true);
    assert_eq!(entry.created_as(), Some("group"));
    let mut all = shown(3);
    all.push(room("by-the-front-end", 2));
    poll(&fleet, "a", all);
    assert_eq!(counted(), (2, 5));
    fleet.directory.remove(&entry);
    assert_eq!(counted(), (1, 3));
}
