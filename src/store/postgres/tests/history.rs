//! What only PostgreSQL can do wrong with what is learned.

use super::*;
use crate::model::{Hour, MeetingKey, Peak, Scope};
use crate::store::Histories;
use crate::store::postgres::history::list;

#[tokio::test]
async fn meetings_are_learned_all_or_none_and_by_nobody_in_a_circle() {
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    let peak = |id: &str| {
        let key = MeetingKey { scope: Scope::parse("acme").unwrap(), id: id.to_owned() };
        Peak { key, hour: Hour::new(9).unwrap(), attendees: 10 }
    };
    let refuse = "ALTER TABLE history ADD CONSTRAINT refuse CHECK (room <> 'bad')";
    sql(&database, refuse).await;
    let refused = one.learn(&[peak("m"), peak("bad")], 1000).await.unwrap_err();
    assert!(refused.may_be_about_rows(), "{refused:?}");
    let rows =
        async || one.history(&Sought { limit: 1000, ..Sought::default() }).await.unwrap().rows;
    assert_eq!(rows().await, []);

    let there: Vec<_> = (0..100).map(|number| peak(&format!("room-{number}"))).collect();
    let back: Vec<_> = there.iter().rev().cloned().collect();
    one.learn(&there, 1000).await.unwrap();
    let known = rows().await;
    let aged = Aged { before_s: 0, most: 200, now_s: 500, limit: 10 };
    let (forth, back, put, gone) = tokio::join!(
        one.learn(&there, 1000),
        two.learn(&back, 1000),
        two.put_history(&known),
        one.forget_history(&aged)
    );
    forth.unwrap();
    back.unwrap();
    put.unwrap();
    assert_eq!(gone.unwrap(), 2);
    sql(&database, "ALTER TABLE history RENAME TO away").await;
    let failed = one.learn(&[peak("m")], 1000).await.unwrap_err();
    assert!(!failed.may_be_about_rows(), "{failed:?}");
}

/// Whatever the values are: who has asked a few times is answered by one plan for all.
#[tokio::test]
async fn rows_of_one_tenant_are_found_by_the_key() {
    let database = Server::shared().create_database();
    drop(open(&database).await);
    let plan = async |sought: &Sought, values: &str| {
        let explain = format!(
            "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
            SET enable_bitmapscan = off; SET enable_sort = off;
            PREPARE listing AS {};
            EXPLAIN (COSTS OFF) EXECUTE listing({values})",
            list(sought)
        );
        sql(&database, &explain).await
    };
    let acme = Sought { tenant: "acme".parse().ok(), ..Sought::default() };
    let of = plan(&acme, "'acme', 0, '', 0, 10").await;
    let place = "(tenant = $1) AND (ROW(sub_id, room, hour) > ROW($2, $3, $4))";
    assert!(of.contains(&format!("Index Cond: ({place})")), "{of}");
    assert!(!of.contains("Sort") && !of.contains("Filter"), "{of}");
    let room = Sought { room: Some("m".to_owned()), ..acme.clone() };
    let of_room = plan(&room, "'acme', 0, '', 0, 10, 'm'").await;
    let of_room_only = format!("Index Cond: ({place} AND (sub_id >= 0) AND (room = $6))");
    assert!(of_room.contains(&of_room_only), "{of_room}");
    let late = Sought { since_s: 1, ..room };
    let of_late = plan(&late, "'acme', 0, '', 0, 10, 'm', 1").await;
    assert!(of_late.contains(&of_room_only), "{of_late}");
    assert!(of_late.contains("Filter: (learned_at_s >= $7)"), "{of_late}");
}
