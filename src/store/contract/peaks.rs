//! What every store must do with how many have been in running meetings.

use super::meeting;
use crate::model::Extent;
use crate::store::{Grown, Store};

pub(in crate::store) async fn what_is_known_of_a_running_meeting_only_grows(store: &dyn Store) {
    let odd = meeting("acme-5", "\0 odd 'id' \\", "odd-1");
    let extent = Extent { expected_thousandths: 20_500, peak: 0 };
    let meetings = [crate::model::Meeting { extent, ..odd }, meeting("acme", "m", "m-1")];
    for meeting in &meetings {
        store.put_meeting(meeting).await.unwrap();
    }
    let grown = |number: usize, internal_id: &str, peak| Grown {
        key: meetings[number].key.clone(),
        internal_id: internal_id.to_owned(),
        peak,
    };
    let told = [grown(0, "odd-1", 60), grown(1, "m-1", 3), grown(1, "of its predecessor", 900)];
    let mut kept = store.put_peaks(&told).await.unwrap();
    kept.sort();
    assert_eq!(kept, ["m-1", "odd-1"]);
    assert_eq!(store.put_peaks(&[grown(0, "odd-1", 10)]).await.unwrap(), ["odd-1"]);
    assert_eq!(store.put_peaks(&[]).await.unwrap(), [""; 0]);
    let mut extents: Vec<_> =
        store.load().await.unwrap().meetings.into_iter().map(|meeting| meeting.extent).collect();
    extents.sort_by_key(|extent| extent.peak);
    let known = Extent { peak: 3, ..Extent::default() };
    assert_eq!(extents, [known, Extent { peak: 60, ..extent }]);
}
