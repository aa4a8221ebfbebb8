//! Several instances over one log in memory.

mod corrections;
mod late;
mod outages;
mod pool;

use std::sync::Arc;

use proptest::prelude::*;
use tokio::task::JoinSet;

use self::pool::Pool;
use crate::fleet::tests::fixture::{self, THRESHOLDS, key, reserved, scope};
use crate::fleet::{Phase, Unplaced, Wanted, identity, now_ms};
use crate::model::{AdminState, Health, Limits, MeetingIds};

fn alike(pool: &Pool) {
    let first = pool.view(0);
    for other in 1..pool.fleets.len() {
        assert_eq!(pool.view(other), first, "instance {other} differs from the first");
    }
}

/// Creates so many meetings from all instances at once; returns how many came to be.
async fn burst(pool: &Arc<Pool>, meetings: usize) -> usize {
    let mut creates = JoinSet::new();
    for number in 0..meetings {
        let pool = pool.clone();
        let instance = rand::random_range(0..pool.fleets.len());
        creates.spawn(async move {
            pool.create(instance, &key("acme", &format!("room-{number}")), 7).await
        });
    }
    let mut placed = 0;
    for created in creates.join_all().await {
        match created {
            Ok(_) => placed += 1,
            Err(Unplaced::Reached(_)) => {}
            Err(why) => panic!("{why:?}"),
        }
    }
    pool.quiet().await;
    placed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_burst_over_four_instances_spreads_as_over_one() {
    let pool = Arc::new(Pool::start(4, 10).await);
    assert_eq!(burst(&pool, 200).await, 200);
    for fleet in &pool.fleets {
        for node in fleet.snapshot().nodes() {
            assert_eq!((node.live.meetings(), node.live.reserved()), (20, 20), "{}", node.name());
        }
    }
    alike(&pool);
    let figures: Vec<_> = pool.fleets.iter().map(|fleet| fleet.instances.figures()).collect();
    assert_eq!(figures.iter().map(|figures| figures.placed_in_log).sum::<u64>(), 200);
    assert!(figures.iter().all(|figures| figures.ignored == 0 && figures.placed_alone == 0));
    // The polls of one instance for each node settle all reservations everywhere.
    for node in 0..10 {
        pool.poll(node % 4, node);
    }
    pool.quiet().await;
    alike(&pool);
    for fleet in &pool.fleets {
        assert!(fleet.snapshot().nodes().all(|node| node.live.reserved() == 0));
        assert_eq!(fleet.directory.len(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tenants_limit_holds_over_all_instances() {
    let limits = Limits { meetings: 30, ..Limits::default() };
    let pool = Pool::with(4, 3, |inventory| inventory.tenants[0].limits = limits).await;
    let pool = Arc::new(pool);
    assert_eq!(burst(&pool, 120).await, 30);
    alike(&pool);
    for fleet in &pool.fleets {
        let tally = fleet.directory.tally(&scope("acme").tenant);
        assert_eq!(tally.whole().meetings, 30);
    }
    let created: u64 = pool
        .fleets
        .iter()
        .map(|fleet| fleet.directory.tally(&scope("acme").tenant).whole().meetings_total)
        .sum();
    assert_eq!(created, 30, "each is counted once, where it was created");
}

#[tokio::test]
async fn what_one_instance_does_and_finds_all_know() {
    let pool = Pool::start(3, 2).await;
    let node = pool.create(0, &key("acme", "m"), 7).await.unwrap();
    pool.quiet().await;
    let number = pool.nodes.iter().position(|name| *name == node).unwrap();
    let get = |instance: usize| pool.fleets[instance].directory.get(&scope("acme"), "m").unwrap();
    assert!((0..3).all(|instance| get(instance).is_saved()));
    pool.people_come(number, 3);
    pool.poll(1, number);
    pool.quiet().await;
    alike(&pool);
    assert_eq!(get(2).attendees(), 3);
    assert!(String::from_utf8_lossy(&get(2).xml()).contains("Ada"));
    // Nothing has changed: nothing is told of the meeting.
    let told = pool.fleets[1].instances.told_by(&get(1));
    assert_eq!(get(1).told(), told);

    pool.end(2, &get(2));
    pool.quiet().await;
    assert!((0..3).all(|instance| get(instance).phase() == Phase::Ended));
    let internal_id = get(0).internal_id().to_owned();
    pool.vanish(&internal_id);
    pool.poll(1, number);
    pool.quiet().await;
    alike(&pool);
    assert!(pool.fleets.iter().all(|fleet| fleet.directory.is_empty()));
}

#[tokio::test]
async fn health_doubts_and_operators_wishes_are_shared() {
    let pool = Pool::start(3, 2).await;
    let snapshot = pool.fleets[0].snapshot();
    let node = snapshot.node("n0").unwrap();
    pool.fleets[2].doubt(&pool.fleets[2].snapshot().node("n0").unwrap().clone(), "x".into(), 5);
    pool.quiet().await;
    assert_eq!(node.live.health(), Health::Suspect);
    pool.poll(1, 0);
    pool.poll(1, 0);
    pool.quiet().await;
    assert_eq!(node.live.health(), Health::Up);
    for _ in 0..3 {
        let polling = pool.fleets[1].snapshot().node("n0").unwrap().clone();
        let since = pool.fleets[1].clock().moment().before(3_600_000);
        polling.live.poll_failed("refused".into(), THRESHOLDS, since);
        pool.fleets[1].tell_failed_poll(&polling, false);
    }
    pool.quiet().await;
    assert_eq!(node.live.health(), Health::Down);
    let (since_ms, reason) = node.live.health_since();
    let age_ms = now_ms() - since_ms;
    assert!((3_600_000..3_660_000).contains(&age_ms), "as long ago as there: {age_ms}");
    assert_eq!(reason.as_deref(), Some("refused"));
    assert!(pool.fleets[1].set_node_state(node.name(), AdminState::Cordoned));
    pool.quiet().await;
    assert_eq!(node.live.admin(), AdminState::Cordoned);
    alike(&pool);
}

#[tokio::test]
async fn a_create_that_fails_or_whose_instance_dies_gives_its_place_back() {
    let pool = Pool::start(2, 1).await;
    let fleet = &pool.fleets[0];
    let snapshot = fleet.snapshot();
    let tenant = snapshot.tenant("acme").unwrap();
    let key = key("acme", "m");
    for is_buried in [false, true] {
        let mut place = tenant.admit(key.scope.sub).unwrap();
        let reservation = fleet.place(tenant, &Wanted::new(&key), &mut place).await.unwrap();
        pool.quiet().await;
        let other = &pool.fleets[1];
        let meetings = || other.directory.tally(&key.scope.tenant).whole().meetings;
        assert_eq!((reserved(other, "n0"), meetings()), (1, 1));
        assert!(other.claims.is_claimed(&key));
        if is_buried {
            pool.bury(0);
            assert_eq!(reserved(other, "n0"), 1, "it may be about to tell");
            pool.forget_unrepeated();
        } else {
            drop((reservation, place));
            pool.quiet().await;
        }
        assert_eq!((reserved(other, "n0"), meetings()), (0, 0));
        assert!(!other.claims.is_claimed(&key));
    }
}

#[tokio::test]
async fn a_poll_between_a_create_and_its_telling_makes_room_for_nobody() {
    let pool = Pool::start(2, 1).await;
    let [fleet, other] = [&pool.fleets[0], &pool.fleets[1]];
    let snapshot = fleet.snapshot();
    let tenant = snapshot.tenant("acme").unwrap();
    let key = key("acme", "m");
    let mut place = tenant.admit(key.scope.sub).unwrap();
    let reservation = fleet.place(tenant, &Wanted::new(&key), &mut place).await.unwrap();
    let id = identity::node_meeting_id(&key.scope, MeetingIds::Scoped, &key.id);
    let meeting = fixture::meeting(&key, reservation.node().name(), &id, 7);
    let entry = fleet.directory.enter(meeting, Some(reservation), place, Vec::new());
    assert!(entry.settle(), "as a poll does that has counted it");
    pool.quiet().await;
    let meetings = || other.directory.tally(&key.scope.tenant).whole().meetings;
    assert_eq!(meetings(), 1, "nobody was told of it yet, so its placement counts");
    fleet.tell_created(&entry).await;
    pool.quiet().await;
    assert_eq!(meetings(), 1);
    assert!(!other.claims.is_claimed(&key));
}

#[tokio::test]
async fn a_create_that_moves_to_another_node_weighs_once() {
    let pool = Pool::start(2, 2).await;
    let fleet = &pool.fleets[0];
    let snapshot = fleet.snapshot();
    let tenant = snapshot.tenant("acme").unwrap();
    let key = key("acme", "m");
    let mut place = tenant.admit(key.scope.sub).unwrap();
    let first = fleet.place(tenant, &Wanted::new(&key), &mut place).await.unwrap();
    let tried = [first.node().name().clone()];
    drop(first);
    let second = fleet
        .place(tenant, &Wanted { tried: &tried, ..Wanted::new(&key) }, &mut place)
        .await
        .unwrap();
    pool.quiet().await;
    for fleet in &pool.fleets {
        assert_eq!(reserved(fleet, tried[0].as_str()), 0);
        assert_eq!(reserved(fleet, second.node().name().as_str()), 1);
        assert_eq!(fleet.directory.tally(&key.scope.tenant).whole().meetings, 1);
    }
}

#[tokio::test]
async fn who_was_away_goes_on_alone_and_is_brought_up_to_date() {
    let pool = Pool::start(3, 2).await;
    pool.create(0, &key("acme", "old"), 7).await.unwrap();
    pool.quiet().await;
    pool.set_away(0, true);
    while pool.fleets[0].instances.in_touch() {
        tokio::task::yield_now().await;
    }
    pool.create(0, &key("acme", "alone"), 8).await.unwrap();
    pool.create(1, &key("acme", "without"), 9).await.unwrap();
    let old = pool.fleets[1].directory.get(&scope("acme"), "old").unwrap();
    pool.vanish(old.internal_id());
    for _ in 0..2 {
        for entry in (0..2).flat_map(|node| pool.poll(1, node).over) {
            pool.store.remove_meeting(entry.key(), entry.internal_id()).await.unwrap();
        }
    }
    pool.set_away(0, false);
    pool.quiet().await;
    for _ in 0..2 {
        (0..2).for_each(|node| drop(pool.poll(1, node)));
    }
    pool.quiet().await;
    alike(&pool);
    assert_eq!(pool.fleets[0].directory.len(), 2);
}

#[tokio::test]
async fn a_new_instance_knows_all_at_once() {
    let mut pool = Pool::start(2, 2).await;
    for number in 0..6 {
        pool.create(number % 2, &key("acme", &format!("room-{number}")), 7).await.unwrap();
    }
    (0..2).for_each(|node| drop(pool.poll(node, node)));
    pool.quiet().await;
    let newcomer = pool.add(|_| ());
    pool.quiet().await;
    let snapshot = pool.fleets[newcomer].snapshot();
    assert!(snapshot.nodes().all(|node| node.live.health() == Health::Up));
    assert_eq!(pool.fleets[newcomer].directory.len(), 6);
    // With the next polls also who is in the meetings.
    (0..2).for_each(|node| drop(pool.poll(node, node)));
    pool.quiet().await;
    alike(&pool);
}

#[tokio::test]
async fn what_was_missed_is_asked_for() {
    let pool = Pool::start(2, 1).await;
    pool.create(0, &key("acme", "m"), 7).await.unwrap();
    pool.create(0, &key("acme", "n"), 7).await.unwrap();
    pool.quiet().await;
    let other = &pool.fleets[1];
    other.directory.remove(&other.directory.get(&scope("acme"), "m").unwrap());
    pool.vanish(other.directory.get(&scope("acme"), "n").unwrap().internal_id());
    for _ in 0..6 {
        pool.poll(0, 0);
        pool.quiet().await;
    }
    alike(&pool);
    assert!(other.directory.get(&scope("acme"), "m").is_some());
    assert!(other.instances.figures().asked > 0);
}

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Create { instance: usize, room: usize },
    Fail { instance: usize, room: usize },
    End { instance: usize, room: usize },
    Vanish { room: usize },
    People { node: usize, attendees: u32 },
    Poll { instance: usize, node: usize },
    FailedPoll { instance: usize, node: usize },
    Doubt { instance: usize, node: usize },
    Away { instance: usize, is_away: bool },
    Settle,
}

const INSTANCES: usize = 3;
const NODES: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (instance, node, room) = (0..INSTANCES, 0..NODES, 0..6_usize);
    let step = prop_oneof![
        4 => (instance.clone(), room.clone()).prop_map(|(instance, room)| Step::Create { instance, room }),
        1 => (instance.clone(), room.clone()).prop_map(|(instance, room)| Step::Fail { instance, room }),
        2 => (instance.clone(), room.clone()).prop_map(|(instance, room)| Step::End { instance, room }),
        2 => room.prop_map(|room| Step::Vanish { room }),
        2 => (node.clone(), 0..5_u32).prop_map(|(node, attendees)| Step::People { node, attendees }),
        4 => (instance.clone(), node.clone()).prop_map(|(instance, node)| Step::Poll { instance, node }),
        1 => (instance.clone(), node.clone()).prop_map(|(instance, node)| Step::FailedPoll { instance, node }),
        1 => (instance.clone(), node).prop_map(|(instance, node)| Step::Doubt { instance, node }),
        1 => (instance, any::<bool>()).prop_map(|(instance, is_away)| Step::Away { instance, is_away }),
        3 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 0..40)
}

async fn take(pool: &Pool, time: u64, step: Step) {
    let room = |room: usize| key("acme", &format!("room-{room}"));
    let node = |instance: usize, node: usize| {
        pool.fleets[instance].snapshot().node(pool.nodes[node].as_str()).unwrap().clone()
    };
    match step {
        Step::Create { instance, room: number } => {
            // The store lets one through; here it is asked whether any instance knows the meeting.
            let runs = pool.fleets.iter().any(|fleet| {
                let entry = fleet.directory.get(&scope("acme"), &room(number).id);
                entry.is_some_and(|entry| entry.phase() == Phase::Running)
            });
            if !runs {
                drop(pool.create(instance, &room(number), time).await);
            }
        }
        Step::Fail { instance, room: number } => {
            let fleet = &pool.fleets[instance];
            let snapshot = fleet.snapshot();
            let tenant = snapshot.tenant("acme").unwrap();
            let mut place = tenant.admit(scope("acme").sub).unwrap();
            drop(fleet.place(tenant, &Wanted::new(&room(number)), &mut place).await);
        }
        Step::End { instance, room: number } => {
            let fleet = &pool.fleets[instance];
            if let Some(entry) = fleet.directory.get(&scope("acme"), &room(number).id) {
                pool.end(instance, &entry);
            }
        }
        Step::Vanish { room: number } => {
            let entry = pool.fleets[0].directory.get(&scope("acme"), &room(number).id);
            if let Some(entry) = entry {
                pool.vanish(entry.internal_id());
            }
        }
        Step::People { node, attendees } => pool.people_come(node, attendees),
        Step::Poll { instance, node } => drop(pool.poll(instance, node)),
        Step::FailedPoll { instance, node: number } => {
            let node = node(instance, number);
            node.live.poll_failed(
                "refused".into(),
                THRESHOLDS,
                pool.fleets[instance].clock().moment(),
            );
            pool.fleets[instance].tell_failed_poll(&node, false);
        }
        Step::Doubt { instance, node: number } => {
            pool.fleets[instance].doubt(&node(instance, number), "late".into(), time);
        }
        Step::Away { instance, is_away } => pool.set_away(instance, is_away),
        Step::Settle => pool.quiet().await,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens, and in whatever order it is heard: when all are in touch and each node was polled by
    /// its one instance a few times, all have the same picture.
    #[test]
    fn all_come_to_the_same_picture(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pool = Pool::start(INSTANCES, NODES).await;
            for (time, step) in (10_u64..).zip(steps) {
                take(&pool, time, step).await;
            }
            (0..INSTANCES).for_each(|instance| pool.set_away(instance, false));
            pool.quiet().await;
            pool.forget_unrepeated();
            for _ in 0..7 {
                (0..NODES).for_each(|node| drop(pool.poll(node % INSTANCES, node)));
                pool.quiet().await;
            }
            alike(&pool);
            for fleet in &pool.fleets {
                assert!(fleet.snapshot().nodes().all(|node| node.live.reserved() == 0));
            }
        });
    }
}
