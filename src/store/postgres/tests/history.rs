//! What only PostgreSQL can do wrong with what is learned.

use super::*;
use crate::model::{Hour, MeetingKey, Peak, Scope};
use crate::store::Histories;

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
    one.learn(&[peak("m"), peak("bad")], 1000).await.unwrap_err();
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
}
