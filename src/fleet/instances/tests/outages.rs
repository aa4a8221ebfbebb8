//! What crosses on its way, what does not fit, and who waits while something is broken.

use tokio::task::yield_now;

use super::pool::Pool;
use crate::fleet::tests::fixture::{key, scope};
use crate::fleet::{Seen, Verdict, judge};

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
        let new = pool.create(0, &key("acme", "m"), 9).await.unwrap();
        assert_ne!(old, new);
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
