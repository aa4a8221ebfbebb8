//! What crosses on its way, what does not fit, and who waits while something is broken.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Duration, Instant};

use super::pool::Pool;
use crate::bus::{Appended, Away, Log, News, Position};
use crate::fleet::instances::event::{Created, Event, Polled, State, Xml};
use crate::fleet::tests::fixture::{THRESHOLDS, inventory, key, meeting, node, scope};
use crate::fleet::{Fleet, Node, Phase, Seen, Unplaced, Verdict, Wanted, judge};
use crate::model::{AdminState, Health, InstanceId, Limits, NodeName, Policy};
use crate::store::{Embedded, Store};

fn node_of(pool: &Pool, instance: usize) -> Arc<Node> {
    pool.fleets[instance].snapshot().node("n0").unwrap().clone()
}

#[tokio::test]
async fn what_we_tell_is_not_overtaken_by_what_stands_before_it() {
    let pool = Pool::start(2, 1).await;
    pool.create(0, &key("acme", "m"), 7).await.unwrap();
    pool.quiet().await;
    let entries = [0, 1].map(|i| pool.fleets[i].directory.get(&scope("acme"), "m").unwrap());
    // Of each pair the first stands before the second, whose author has not heard of it yet.
    let polled = |state: State| {
        Event::Polled(Box::new(Polled {
            node: NodeName::new("n0"),
            changed: Vec::new(),
            state: Some(state),
        }))
    };
    pool.put_in_log(1, &polled(State { health: Health::Up, ..State::default() }));
    pool.fleets[0].doubt(&node_of(&pool, 0), "refused".into(), 5);
    pool.put_in_log(
        1,
        &Event::NodeState { node: NodeName::new("n0"), state: AdminState::Cordoned },
    );
    pool.fleets[0].set_node_state(&NodeName::new("n0"), AdminState::Draining);
    pool.quiet().await;
    for instance in 0..2 {
        let live = &node_of(&pool, instance).live;
        assert_eq!(live.health(), Health::Suspect, "{instance}");
        assert_eq!(live.admin(), AdminState::Draining, "{instance}");
    }
    for entry in &entries {
        entry.set_phase(Phase::Lost);
    }
    pool.put_in_log(1, &polled(State { lost: true, ..State::default() }));
    assert!(pool.fleets[0].directory.revive(&entries[0]));
    pool.fleets[0].tell_revived(&entries[0]);
    pool.quiet().await;
    for (instance, entry) in entries.iter().enumerate() {
        assert_eq!(entry.phase(), Phase::Running, "{instance}");
    }
}

#[tokio::test]
async fn who_polls_a_node_is_not_told_by_its_own_doubt_of_before() {
    let pool = Pool::start(2, 1).await;
    pool.fleets[0].doubt(&node_of(&pool, 0), "refused".into(), 5);
    pool.poll(0, 0);
    pool.poll(0, 0);
    pool.quiet().await;
    assert_eq!([0, 1].map(|i| node_of(&pool, i).live.health()), [Health::Up; 2]);
}

#[tokio::test]
async fn what_waits_to_be_told_is_bounded_in_bytes() {
    let pool = Pool::start(1, 1).await;
    pool.set_away(0, true);
    let instances = &pool.fleets[0].instances;
    while instances.in_touch() {
        yield_now().await;
    }
    let long = vec![b'x'; 1024 * 1024];
    for number in 0..70 {
        let id = format!("m{number}");
        let meeting = meeting(&key("acme", &id), &NodeName::new("n0"), &id, 7);
        let (meeting, _) = meeting.into();
        let xml = Xml::of(&long);
        let created = Created { token: None, meeting, xml, saved: true, tried: Vec::new() };
        instances.tell(&Event::Created(Box::new(created)));
    }
    let untold = instances.figures().untold;
    assert!((6..20).contains(&untold), "{untold} of 70 were given up");
}

/// A log that breaks whoever places by it.
struct Breaking;

#[async_trait]
impl Log for Breaking {
    async fn append(&self, _payloads: Vec<Bytes>) -> Result<(), Away> {
        Ok(())
    }

    async fn append_if(&self, _seen: Position, _payloads: Vec<Bytes>) -> Result<Appended, Away> {
        panic!("a test's panic")
    }
}

#[tokio::test]
async fn who_waits_for_a_place_when_nobody_gives_any_places_alone_at_once() {
    let nodes = vec![node("n0", 1.0, &[])];
    let fleet = Fleet::new(inventory(nodes, Policy::default()), |_| AdminState::Ready);
    let fleet = Arc::new(fleet);
    let snapshot = fleet.snapshot();
    fleet.begin_poll(snapshot.node("n0").unwrap()).finish(THRESHOLDS, 1);
    fleet.instances.link(InstanceId::new("test"), Arc::new(Breaking));
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path()).unwrap());
    let (news, heard) = mpsc::channel(8);
    news.try_send(News::Joined(Position::default())).unwrap();
    let following = fleet.clone();
    let running = tokio::spawn(async move { following.keep_in_step(heard, store).await });
    while !fleet.instances.in_touch() {
        yield_now().await;
    }
    let begun = Instant::now();
    let tenant = snapshot.tenant("acme").unwrap();
    for id in ["first", "second"] {
        let key = key("acme", id);
        let mut place = tenant.admit(key.scope.sub).unwrap();
        let placed = fleet.place(tenant, &Wanted::new(&key), &mut place).await;
        assert!(placed.is_ok(), "{id}: {:?}", placed.err());
        assert_eq!(tenant.tally.whole().meetings, 1, "{id}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(running.await.unwrap_err().is_panic());
    assert!(!fleet.instances.in_touch());
}

#[tokio::test]
async fn where_a_limit_counts_the_whole_picture_is_waited_for() {
    let limits = Limits { meetings: 1, ..Limits::default() };
    let pool = Pool::with(1, 1, |inventory| inventory.tenants[0].limits = limits).await;
    let fleet = &pool.fleets[0];
    let snapshot = fleet.snapshot();
    let place = async |slug: &str, id: &str| {
        let tenant = snapshot.tenant(slug).unwrap();
        let key = key(slug, id);
        let mut place = tenant.admit(key.scope.sub).unwrap();
        fleet.place(tenant, &Wanted::new(&key), &mut place).await.map(drop)
    };
    fleet.instances.set_reading(true);
    let limited = place("acme", "second");
    tokio::pin!(limited);
    tokio::select! {
        biased;
        placed = &mut limited => panic!("it does not wait: {placed:?}"),
        placed = place("other", "first") => assert_eq!(placed, Ok(())),
    }
    // What the store tells of a moment later.
    let first = meeting(&key("acme", "first"), &NodeName::new("n0"), "first@acme", 7);
    fleet.directory.adopt(first, true);
    fleet.instances.set_reading(false);
    assert!(matches!(limited.await, Err(Unplaced::Reached(_))));

    // It may be away for long.
    fleet.directory.remove(&fleet.directory.get(&scope("acme"), "first").unwrap());
    fleet.instances.set_reading(true);
    let begun = Instant::now();
    assert_eq!(place("acme", "second").await, Ok(()));
    assert!((2..5).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_one_gave_up_out_of_touch_is_not_ended_while_others_use_it() {
    for is_away in [true, false] {
        let pool = Pool::start(2, 2).await;
        let old = pool.create(0, &key("acme", "m"), 7).await.unwrap();
        pool.quiet().await;
        pool.set_away(0, is_away);
        let fleet = &pool.fleets[0];
        while fleet.instances.in_touch() == is_away {
            yield_now().await;
        }
        assert_eq!(fleet.lose_meetings_on(&old), 1);
        let snapshot = fleet.snapshot();
        let away = &snapshot.node(old.as_str()).unwrap().live;
        away.set_admin(AdminState::Cordoned);
        let new = pool.create(0, &key("acme", "m"), 9).await.unwrap();
        assert_ne!(old, new);
        away.set_admin(AdminState::Ready);
        pool.set_away(0, false);
        pool.quiet().await;
        let number = pool.nodes.iter().position(|name| *name == old).unwrap();
        let doubles = pool.poll(0, number).doubles;
        assert_eq!(doubles.len(), 1);
        let snapshot = fleet.snapshot();
        let is_given_up = doubles[0].is_given_up(snapshot.node(old.as_str()).unwrap());
        assert_eq!(is_given_up, !is_away);
        let verdict = if is_away { Verdict::LeaveBoth } else { Verdict::EndHere };
        assert_eq!(judge(Seen::With(2), Seen::With(300), is_given_up), verdict);
        let holder = pool.fleets[1].directory.get(&scope("acme"), "m").unwrap();
        assert_eq!(*holder.node(), new, "who joins there goes there, too");
    }
}
