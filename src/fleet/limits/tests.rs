use super::*;

const SUB: u16 = 5;

fn limits(meetings: u32, attendees: u32) -> Limits {
    Limits { meetings, attendees, ..Limits::default() }
}

fn sub() -> SubId {
    SubId::new(SUB).unwrap()
}

#[test]
fn the_first_limit_that_is_reached_answers() {
    let none = Limits::default();
    for (tenant, secret, limit) in [
        (limits(1, 1), limits(1, 1), Some(Limit::TenantMeetings)),
        (limits(2, 1), limits(1, 1), Some(Limit::SecretMeetings)),
        (limits(2, 7), limits(2, 1), Some(Limit::TenantAttendees)),
        (limits(0, 8), limits(0, 7), Some(Limit::SecretAttendees)),
        (limits(2, 8), limits(2, 8), None),
        (none, none, None),
    ] {
        let tally = Arc::<Tally>::default();
        let runs = Part::of_running(tally.clone(), sub(), None);
        runs.see(People { attendees: 7, ..People::default() });
        let admitted = tally.admit(sub(), tenant, secret);
        assert_eq!(admitted.as_ref().err().map(|reached| reached.limit), limit);
        drop(admitted);
        assert_eq!((tally.whole().meetings, tally.part(sub()).meetings), (1, 1));
    }
}

#[test]
fn a_refusal_by_the_tenants_limit_counts_for_its_main_secret() {
    let tally = Arc::<Tally>::default();
    let _runs = Part::of_running(tally.clone(), sub(), None);
    drop(tally.admit(sub(), limits(1, 0), Limits::default()));
    drop(tally.admit(sub(), Limits::default(), limits(1, 0)));
    assert_eq!(tally.part(SubId::MAIN).meeting_limit_hits, 1);
    assert_eq!(tally.part(sub()).meeting_limit_hits, 1);
    assert_eq!(tally.whole().meeting_limit_hits, 2);
    assert_eq!(tally.hits(), [1, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn a_place_is_given_back_or_taken_over_and_then_counted_once() {
    let tally = Arc::<Tally>::default();
    let admit = || tally.admit(sub(), limits(1, 0), Limits::default());
    drop(admit().unwrap());
    let part = Part::of_new(admit().unwrap(), None).unwrap();
    assert!(admit().is_err());
    part.see(People { attendees: 3, ..People::default() });
    part.set(false, None, || ());
    part.set(false, None, || ());
    assert_eq!((tally.whole().meetings, tally.whole().people.attendees), (0, 0));
    part.set(true, None, || ());
    assert_eq!((tally.whole().meetings, tally.whole().people.attendees), (1, 3));
    part.leave(None);
    part.set(true, None, || ());
    assert_eq!((tally.whole().meetings, tally.whole().people.attendees), (0, 0));
    assert_eq!(tally.whole().meetings_total, 1);
}

#[test]
fn as_many_threads_as_like_get_no_more_than_there_is() {
    let tally = Arc::<Tally>::default();
    let admit = || tally.admit(sub(), limits(10, 0), limits(7, 0)).ok();
    let places: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(admit)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(places.len(), 7);
    drop(places);
    assert_eq!(tally.whole().meetings, 0);
}

#[test]
fn a_main_meeting_counts_on_its_node_from_its_placement_to_its_end() {
    let tally = Arc::<Tally>::default();
    let (a, b) = (NodeName::new("a"), NodeName::new("b"));
    let count = || (tally.on_node(&a), tally.on_node(&b));
    drop(Coming::new(&tally, &a));
    assert_eq!(count(), (0, 0));
    let coming = Coming::new(&tally, &a);
    let place = tally.admit(sub(), Limits::default(), Limits::default()).unwrap();
    let part = Part::of_new(place, Some(&a)).unwrap();
    drop(coming);
    let runs = Part::of_running(tally.clone(), sub(), Some(&b));
    let _breakout = Part::of_running(tally.clone(), sub(), None);
    assert_eq!(count(), (1, 1));
    // Lost, and found again.
    part.set(false, Some(&a), || ());
    part.set(false, Some(&a), || ());
    assert_eq!(count(), (0, 1));
    part.set(true, Some(&a), || ());
    runs.leave(Some(&b));
    runs.set(true, Some(&b), || ());
    assert_eq!(count(), (1, 0));
}
