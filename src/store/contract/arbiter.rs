//! Who creates a meeting.

use super::meeting;
use crate::model::{InstanceId, Meeting, MeetingKey, Scope};
use crate::store::{Claim, Claiming, Saving, Store};

pub(in crate::store) fn claim(scope: &str, id: &str, own: &InstanceId, number: u64) -> Claim {
    Claim {
        key: MeetingKey { scope: Scope::parse(scope).unwrap(), id: id.to_owned() },
        internal_id: None,
        over: Vec::new(),
        instance: own.clone(),
        number,
    }
}

pub(in crate::store) async fn one_instance_at_a_time_creates_a_meeting(store: &dyn Store) {
    let (one, other) = (InstanceId::new("one"), InstanceId::new("other"));
    let first = claim("acme", "m", &one, 1);
    let second = claim("acme", "m", &other, 1);
    let standing =
        async || store.find_claims(std::slice::from_ref(&first.key)).await.unwrap().remove(0);
    assert_eq!(store.claim_meeting(&first).await.unwrap(), Claiming::Ours);
    assert_eq!(store.claim_meeting(&second).await.unwrap(), Claiming::Theirs);
    assert!(standing().await.is_claimed);
    for free in [claim("acme-1", "m", &other, 2), claim("acme", "M", &other, 3)] {
        assert_eq!(store.claim_meeting(&free).await.unwrap(), Claiming::Ours);
    }

    // It takes over from itself, and a release that comes late spares what came after it.
    let again = Claim { number: 2, ..first.clone() };
    assert_eq!(store.claim_meeting(&again).await.unwrap(), Claiming::Ours);
    store.release_claim(&first).await.unwrap();
    assert_eq!(store.claim_meeting(&second).await.unwrap(), Claiming::Theirs);
    store.renew_claims(&one, &[2, 77]).await.unwrap();
    store.release_claim(&again).await.unwrap();
    assert!(!standing().await.is_claimed);
    assert_eq!(store.claim_meeting(&second).await.unwrap(), Claiming::Ours);

    let made = meeting("acme", "m", "digest-1");
    assert_eq!(store.put_created(&made, &second).await.unwrap(), Saving::Kept);
    let now = standing().await;
    assert_eq!((now.is_claimed, &now.meeting), (false, &Some(made.clone())));
    assert_eq!(store.claim_meeting(&first).await.unwrap(), Claiming::Runs(made.clone().into()));
    assert!(!standing().await.is_claimed);
    // Over, as far as the one that asks knows.
    let anew = Claim { over: vec!["digest-0".to_owned(), "digest-1".to_owned()], ..first };
    assert_eq!(store.claim_meeting(&anew).await.unwrap(), Claiming::Ours);
    let next = meeting("acme", "m", "digest-2");
    assert_eq!(store.put_created(&next, &anew).await.unwrap(), Saving::Kept);
    assert_eq!(store.load().await.unwrap().meetings, [next]);
}

pub(in crate::store) async fn a_saved_meeting_is_not_written_over_by_another(store: &dyn Store) {
    let first = meeting("acme", "m", "digest-1");
    assert_eq!(store.put_found(&first).await.unwrap(), Saving::Kept);
    let seen = Meeting { xml: Box::from(*b"<meeting>more</meeting>"), ..first };
    assert_eq!(store.put_found(&seen).await.unwrap(), Saving::Kept);
    let other = meeting("acme", "m", "digest-2");
    assert_eq!(store.put_found(&other).await.unwrap(), Saving::Other(seen.clone().into()));
    let late = claim("acme", "m", &InstanceId::new("late"), 1);
    let saved = store.put_created(&other, &late).await.unwrap();
    assert_eq!(saved, Saving::Other(seen.clone().into()));
    assert_eq!(store.load().await.unwrap().meetings, [seen]);
}

pub(in crate::store) async fn a_breakout_room_is_claimed_by_the_name_it_is_created_as(
    store: &dyn Store,
) {
    let own = InstanceId::new("one");
    // A main meeting of the same id is another one.
    store.put_meeting(&meeting("acme", "room", "digest-1")).await.unwrap();
    let internal_id = Some("breakout-1".to_owned());
    let first = Claim { internal_id, ..claim("acme", "room", &own, 1) };
    assert_eq!(store.claim_meeting(&first).await.unwrap(), Claiming::Ours);
    let made = Meeting {
        node_meeting_id: "room@acme/breakout".to_owned(),
        parent_internal_id: Some("digest-1".to_owned()),
        ..meeting("acme", "made-up-by-the-node", "breakout-1")
    };
    assert_eq!(store.put_created(&made, &first).await.unwrap(), Saving::Kept);
    let second = Claim { instance: InstanceId::new("other"), ..first };
    assert_eq!(store.claim_meeting(&second).await.unwrap(), Claiming::Runs(made.into()));
}
