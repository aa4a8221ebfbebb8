//! The contract over real PostgreSQL, and what only it can do wrong.

mod history;
mod opening;
mod outbox;

use std::sync::Arc;

use super::*;
use crate::model::InstanceId;
use crate::store::test_postgres::Postgres as Server;
use crate::store::{
    Aged, Arbiter, Claiming, Saving, Sought, contract, contract_callbacks, contract_deliveries,
};
use crate::wait::eventually;

pub(in crate::store) use outbox::MISCOUNTED;

/// A store in a database of its own.
async fn fresh() -> Postgres {
    open(&tokio::task::spawn_blocking(|| Server::shared().create_database()).await.unwrap()).await
}

async fn open(database: &str) -> Postgres {
    let url = Secret::new(Server::shared().url(database));
    Postgres::open(&url, Older::Migrate).await.unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract() {
    contract::everything_comes_back_as_it_was_put(&fresh().await).await;
    contract::a_look_comes_back_as_it_was_put(&fresh().await).await;
    contract::the_last_put_wins(&fresh().await).await;
    contract::a_meeting_is_found_by_either_of_its_ids(&fresh().await).await;
    contract::two_scopes_may_use_the_same_meeting_id(&fresh().await).await;
    contract::the_late_end_of_a_meeting_spares_its_successor(&fresh().await).await;
    contract::hooks_are_kept_until_they_are_removed(&fresh().await).await;
    contract::one_instance_at_a_time_creates_a_meeting(&fresh().await).await;
    contract::a_saved_meeting_is_not_written_over_by_another(&fresh().await).await;
    contract::a_breakout_room_is_claimed_by_the_name_it_is_created_as(&fresh().await).await;
    contract::counts_add_up(&fresh().await).await;
    contract::a_revoked_token_stays_revoked(&fresh().await).await;
    contract::changes_come_back_the_latest_first(&fresh().await).await;
    contract::what_is_done_gives_way_and_what_is_not_does_not(&fresh().await).await;
    contract::usage_adds_up_by_hours_and_days(&fresh().await).await;
    let store = fresh().await;
    contract::what_is_written_down_adds_up(&store, &store).await;
    contract::of_nodes_is_written_down_what_is_news(&store, &store).await;
    contract::what_is_known_of_a_running_meeting_only_grows(&fresh().await).await;
    contract::what_is_learned_is_what_memory_learns(&fresh().await).await;
    contract::history_is_read_in_pages_and_forgotten(&fresh().await).await;
    contract::what_operators_change_counts_up(&fresh().await).await;
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let change = async |text: String| drop(sql(&database, &text).await);
    contract::rows_behind_broken_ones_are_read(&store, change, "'NaN'").await;
    contract::the_last_inventory_is_in_force(&fresh().await).await;
    contract::any_change_makes_another_digest(&fresh().await).await;
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    contract::counts_of_many_add_up([&one, &two]).await;
    contract::one_of_many_counts_what_runs([&one, &two]).await;
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    contract::a_batch_is_counted_once([&one, &two]).await;
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    contract::clocks_apart_are_one([&one, &two]).await;
    let database = Server::shared().create_database();
    let url = Secret::new(Server::shared().url(&database));
    let sealed = Postgres::open(&url, contract::sealing()).await.unwrap();
    contract::everything_comes_back_as_it_was_put(&sealed).await;
    contract::secrets_are_sealed(&sealed, async |opening| {
        Postgres::open(&url, opening).await.unwrap()
    })
    .await;
    let specs = sql(&database, "SELECT spec FROM nodes WHERE name = 'sealed'").await;
    assert!(specs.contains("sealed_secret") && !specs.contains(contract::HUSH), "{specs}");
    contract::writes_of_many_callers_are_all_kept(Arc::new(fresh().await)).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_callbacks() {
    contract_callbacks::callbacks_come_back_as_they_were_put(&fresh().await).await;
    contract_callbacks::what_comes_twice_is_delivered_once(&fresh().await).await;
    contract_callbacks::what_is_expected_gives_way_to_what_is_said(&fresh().await).await;
    contract_callbacks::one_origin_does_not_crowd_out_the_others(&fresh().await).await;
    contract_callbacks::one_tenant_does_not_crowd_out_the_others(&fresh().await).await;
    contract_callbacks::those_under_way_keep_their_places(&fresh().await).await;
    contract_callbacks::two_that_deliver_take_turns(&fresh().await).await;
    contract_callbacks::what_was_not_held_on_to_is_anybodys(&fresh().await).await;
    contract_callbacks::events_of_a_hook_are_due_one_after_the_other(&fresh().await).await;
    contract_callbacks::what_waits_for_a_tenant_is_bounded(&fresh().await).await;
    contract_callbacks::what_was_given_up_is_bounded(&fresh().await).await;
    contract_callbacks::callbacks_stay_for_a_while_after_the_end(&fresh().await).await;
    contract_callbacks::callbacks_of_webhooks_go_after_them(&fresh().await).await;
    contract_callbacks::what_is_not_delivered_stays(&fresh().await).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_operators() {
    contract_deliveries::what_waits_and_what_was_given_up_is_listed(&fresh().await).await;
    contract_deliveries::what_was_given_up_is_tried_again_on_demand(&fresh().await).await;
    contract_deliveries::what_is_discarded_is_told_to_nobody(&fresh().await).await;
    contract_deliveries::an_event_that_is_tried_again_waits_for_its_turn(&fresh().await).await;
}

/// Has the shared server do something in a database.
async fn sql(database: &str, sql: &str) -> String {
    let (database, sql) = (database.to_owned(), sql.to_owned());
    tokio::task::spawn_blocking(move || Server::shared().sql(&database, &sql)).await.unwrap()
}

fn said<T>(opened: Result<T, Error>) -> String {
    let error = opened.err().expect("it is refused");
    crate::chain::Chain(&error).to_string()
}

#[tokio::test]
async fn two_that_start_at_once_make_one_schema() {
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    one.put_meeting(&contract::meeting("acme", "m", "digest-1")).await.unwrap();
    assert_eq!(two.load().await.unwrap().meetings.len(), 1);
    let steps = sql(&database, "SELECT count(*) FROM portico_migrations").await;
    assert_eq!(steps.trim(), schema::PRESENT.to_string());
}

#[tokio::test]
async fn only_who_has_a_step_to_take_waits_for_who_takes_one() {
    let database = Server::shared().create_database();
    let target = Target::parse(&Secret::new(Server::shared().url(&database))).unwrap();
    let holder = Session::open(&Connector::new(&target), &target, None).await.unwrap();
    let lock = format!("SELECT pg_advisory_lock({})", schema::LOCK);
    holder.client.batch_execute(&lock).await.unwrap();
    let waits = open(&database);
    tokio::pin!(waits);
    let waited = tokio::time::timeout(Duration::from_secs(1), &mut waits).await;
    assert!(waited.is_err());
    holder.client.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    drop(waits.await);

    holder.client.batch_execute(&lock).await.unwrap();
    drop(open(&database).await);
}

#[tokio::test]
async fn one_meeting_of_a_scope_has_one_row_whoever_writes_it() {
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    let meetings: Vec<_> =
        (0..40).map(|n| contract::meeting("acme", &(n % 8).to_string(), &n.to_string())).collect();
    let written = meetings.iter().enumerate().map(|(number, meeting)| {
        if number % 2 == 0 { one.put_meeting(meeting) } else { two.put_meeting(meeting) }
    });
    futures::future::try_join_all(written).await.unwrap();
    assert_eq!(one.load().await.unwrap().meetings.len(), 8);
}

#[tokio::test]
async fn of_two_instances_that_claim_at_once_one_has_it() {
    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    // The orders are different, and what one has saved the other one finds.
    let mut both = tokio::task::JoinSet::new();
    for (name, store) in [("one", Arc::new(one)), ("two", Arc::new(two))] {
        let instance = InstanceId::new(name);
        for number in 0..200_u64 {
            let n = if name == "one" { number } else { 199 - number };
            let (store, instance) = (store.clone(), instance.clone());
            both.spawn(async move {
                let id = (n % 50).to_string();
                let claim = contract::claim("acme", &id, &instance, 1 + n / 50);
                loop {
                    match store.claim_meeting(&claim).await.unwrap() {
                        Claiming::Runs(meeting) => return (id, meeting.internal_id, false),
                        Claiming::Theirs => tokio::task::yield_now().await,
                        Claiming::Inherited => panic!("nobody died"),
                        Claiming::Ours => {
                            // An instance takes over from itself, which is not what is tried here.
                            if claim.number > 1 {
                                return (id, String::new(), false);
                            }
                            let meeting = contract::meeting("acme", &id, instance.as_str());
                            let saved = store.put_created(&meeting, &claim).await.unwrap();
                            assert_eq!(saved, Saving::Kept);
                            return (id, meeting.internal_id, true);
                        }
                    }
                }
            });
        }
    }
    let mut made = std::collections::HashMap::new();
    for (id, internal_id, is_made) in both.join_all().await {
        if is_made {
            assert_eq!(made.insert(id, internal_id), None);
        }
    }
    assert_eq!(made.len(), 50);
}

#[tokio::test]
async fn a_claim_that_is_not_renewed_goes_over_by_the_servers_clock() {
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let (dead, living) = (InstanceId::new("dead"), InstanceId::new("living"));
    let [lost, next] = [&dead, &living].map(|own| contract::claim("acme", "m", own, 1));
    assert_eq!(store.claim_meeting(&lost).await.unwrap(), Claiming::Ours);
    sql(&database, "UPDATE claims SET expires_at = now() + interval '1 s'").await;
    store.renew_claims(&dead, &[1]).await.unwrap();
    let left = "SELECT expires_at > now() + interval '15 s' FROM claims";
    assert_eq!(sql(&database, left).await.trim(), "t");
    assert_eq!(store.claim_meeting(&next).await.unwrap(), Claiming::Theirs);

    sql(&database, "UPDATE claims SET expires_at = now()").await;
    assert!(!store.find_claims(std::slice::from_ref(&next.key)).await.unwrap()[0].is_claimed);
    assert_eq!(store.claim_meeting(&next).await.unwrap(), Claiming::Inherited);
    // What it still does comes too late.
    store.renew_claims(&dead, &[1]).await.unwrap();
    store.release_claim(&lost).await.unwrap();
    assert_eq!(store.claim_meeting(&lost).await.unwrap(), Claiming::Theirs);
    let meeting = contract::meeting("acme", "m", "living-1");
    assert_eq!(store.put_created(&meeting, &next).await.unwrap(), Saving::Kept);
    let late = contract::meeting("acme", "m", "dead-1");
    let saved = store.put_created(&late, &lost).await.unwrap();
    assert_eq!(saved, Saving::Other(meeting.into()));

    store.claim_meeting(&contract::claim("acme", "other", &dead, 2)).await.unwrap();
    sql(&database, "UPDATE claims SET expires_at = now() - interval '1 h'").await;
    store.renew_claims(&living, &[]).await.unwrap();
    assert_eq!(sql(&database, "SELECT count(*) FROM claims").await.trim(), "0");
}

#[tokio::test]
async fn a_thousand_past_meetings_are_learned_while_others_learn_and_change() {
    use crate::model::{Hour, MeetingKey, Past, Peak, Scope};
    use crate::store::{Forgotten, Histories};

    let database = Server::shared().create_database();
    let (one, two) = tokio::join!(open(&database), open(&database));
    let peak = |room: usize, attendees| {
        let scope = Scope::parse("acme").unwrap();
        let key = MeetingKey { scope, id: format!("room-{}", room % 300) };
        Peak { key, hour: Hour::new(9).unwrap(), attendees }
    };
    let past: Vec<_> =
        (0..1000).map(|room| Past { peak: peak(room * 7, 10), at_s: room as u64 }).collect();
    let learning = async {
        for room in 0..50 {
            two.learn(&[peak(room * 11, 10)], 2000).await.unwrap();
        }
    };
    let (seeded, ()) = tokio::join!(one.seed_history(&past, 2000), learning);
    assert_eq!(seeded.unwrap(), 1);
    let rows = one.history(&Sought { limit: 1000, ..Sought::default() }).await.unwrap().rows;
    assert_eq!((rows.len(), rows[0].moments.seen), (2 + 600, 1050));
    // Who changes much at the same time does it one after the other.
    let all = Forgotten::Tenant("acme".parse().unwrap());
    let (seeded, put, reset) = tokio::join!(
        one.seed_history(&past, 2000),
        two.put_history(&rows),
        two.reset_history(&all)
    );
    let mut numbers = [seeded.unwrap(), put.unwrap()];
    numbers.sort_unstable();
    reset.unwrap();
    assert!(numbers[0] != numbers[1] && numbers[1] <= 4, "{numbers:?}");
    assert_eq!(two.history_generation().await.unwrap(), 4);
}

#[tokio::test]
async fn a_schema_of_another_version_is_told_apart() {
    let database = Server::shared().create_database();
    let url = Secret::new(Server::shared().url(&database));
    let empty = Postgres::version(&url).await.unwrap();
    assert_eq!(empty, SchemaVersion { found: 0, known: schema::PRESENT });
    let refused = said(Postgres::open(&url, Older::Refuse).await);
    let known = schema::PRESENT;
    let needs = format!("schema version 0, this Portico needs {known}: run `portico migrate`");
    assert!(refused.contains(&needs), "{refused}");

    assert_eq!(Postgres::migrate(&url).await.unwrap(), empty);
    drop(Postgres::open(&url, Older::Refuse).await.unwrap());
    sql(&database, "INSERT INTO portico_migrations VALUES (99, 'later', now()::text, '1')").await;
    for older in [Older::Migrate, Older::Refuse] {
        let refused = said(Postgres::open(&url, older).await);
        let newer = format!("has schema version 99, this Portico knows up to {known}");
        assert!(refused.contains(&newer), "{refused}");
    }
    assert_eq!(Postgres::version(&url).await.unwrap().found, 99);
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_behind() {
    let database = Server::shared().create_database();
    sql(&database, "CREATE TABLE hooks (mine TEXT)").await;
    let url = Secret::new(Server::shared().url(&database));
    let refused = said(Postgres::open(&url, Older::Migrate).await);
    let known = schema::PRESENT;
    assert!(refused.contains(&format!("cannot be brought to version {known}")), "{refused}");
    assert!(refused.contains("relation \"hooks\" already exists"), "{refused}");
    assert_eq!(sql(&database, "SELECT to_regclass('meetings')").await.trim(), "");
    assert_eq!(Postgres::version(&url).await.unwrap().found, 0);
}

#[tokio::test]
async fn rows_that_cannot_be_understood_are_left_out_and_counted() {
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let good = contract::meeting("acme", "good", "digest-1");
    store.put_meeting(&good).await.unwrap();
    sql(
        &database,
        "INSERT INTO meetings VALUES ('No Slug', 0, 'm', 'n', 'm', 'i', 0, NULL, '', 0, 0);
         INSERT INTO meetings VALUES ('acme', 1000, 'm', 'n', 'm', 'i', 0, NULL, '', 0, 0);
         INSERT INTO meetings VALUES ('acme', -1, 'm', 'n', 'm', 'i', 0, NULL, '', 0, 0);
         INSERT INTO meetings VALUES ('acme', 1, 'm', 'n', 'm', 'i', -1, NULL, '', 0, 0);
         INSERT INTO nodes VALUES ('a', 'lost', NULL);
         INSERT INTO nodes VALUES ('b', 'retired', '{');",
    )
    .await;
    let saved = store.load().await.unwrap();
    assert_eq!(saved.meetings, [good]);
    // Of the last one it is known what is wanted of it.
    assert_eq!((saved.nodes.len(), saved.skipped), (1, 6));
}

#[tokio::test]
async fn what_cannot_be_written_fails_alone() {
    let store = fresh().await;
    // No index takes so long a key, and text without repetition does not compress.
    let long: String = (0..4000_u32).map(|n| char::from_u32(0x4e00 + n * 5).unwrap()).collect();
    let ids = ["first", &long, "last"];
    let meetings = ids.map(|id| contract::meeting("acme", id, "digest-1"));
    let written = meetings.iter().map(|meeting| store.put_meeting(meeting));
    let [first, large, last] =
        futures::future::join_all(written).await.try_into().unwrap_or_else(|_| unreachable!());
    first.and(last).unwrap();
    let refused = said(large);
    assert!(refused.contains("SQLSTATE 54000") && !refused.contains(&long), "{refused}");
    assert_eq!(store.load().await.unwrap().meetings.len(), 2);
}

#[tokio::test]
async fn a_new_connection_ends_the_one_before() {
    let database = Server::shared().create_database();
    let target = Target::parse(&Secret::new(Server::shared().url(&database))).unwrap();
    let connector = Connector::new(&target);
    let before = Session::open(&connector, &target, None).await.unwrap();
    before.client.batch_execute("BEGIN").await.unwrap();
    let after = Session::open(&connector, &target, Some(&before.backend)).await.unwrap();
    before.client.batch_execute("COMMIT").await.unwrap_err();
    Session::open(&connector, &target, Some(&before.backend)).await.unwrap();
    after.client.batch_execute("SELECT").await.unwrap();
}

#[tokio::test]
async fn an_end_that_could_not_be_written_is_made_up_for() {
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let (over, other) =
        (contract::meeting("acme", "m", "digest-1"), contract::meeting("acme", "n", "digest-2"));
    store.put_meeting(&over).await.unwrap();
    let target = Target::parse(&Secret::new(Server::shared().url(&database))).unwrap();
    let holder = Session::open(&Connector::new(&target), &target, None).await.unwrap();
    holder.client.batch_execute("BEGIN; SELECT FROM meetings FOR UPDATE").await.unwrap();
    let refused = store.remove_meeting(&over.key, &over.internal_id).await.unwrap_err();
    assert!(refused.to_string().contains("did not answer in time"), "{refused}");
    holder.client.batch_execute("COMMIT").await.unwrap();
    store.put_meeting(&other).await.unwrap();
    let is_made_up_for = async || store.load().await.unwrap().meetings == [other.clone()];
    eventually("it is made up for", is_made_up_for).await;
}

#[tokio::test]
async fn an_end_that_waits_for_a_row_holds_nobody_else_up() {
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let over = contract::meeting("acme", "m", "digest-1");
    store.put_meeting(&over).await.unwrap();
    let target = Target::parse(&Secret::new(Server::shared().url(&database))).unwrap();
    let holder = Session::open(&Connector::new(&target), &target, None).await.unwrap();
    let holding = "BEGIN; SET idle_in_transaction_session_timeout = 0;
        SELECT FROM meetings FOR UPDATE";
    holder.client.batch_execute(holding).await.unwrap();
    store.remove_meeting(&over.key, &over.internal_id).await.unwrap_err();
    let begun = tokio::time::Instant::now();
    let other = contract::meeting("acme", "n", "digest-2");
    let mut longest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(4) {
        let asked = tokio::time::Instant::now();
        store.put_meeting(&other).await.unwrap();
        longest = longest.max(asked.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    holder.client.batch_execute("COMMIT").await.unwrap();
    let is_made_up_for = async || store.load().await.unwrap().meetings == [other.clone()];
    eventually("it is made up for", is_made_up_for).await;
}

#[tokio::test]
async fn connections_that_were_ended_are_replaced() {
    let database = Server::shared().create_database();
    let store = open(&database).await;
    let meeting = contract::meeting("acme", "m", "digest-1");
    store.put_meeting(&meeting).await.unwrap();
    store.load().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sql(&database, end).await;
    eventually("it is written again", async || store.put_meeting(&meeting).await.is_ok()).await;
    assert_eq!(store.load().await.unwrap().meetings, [meeting]);
}

#[tokio::test]
async fn while_the_server_is_away_everything_fails_at_once_and_then_goes_on() {
    let server = Arc::new(tokio::task::spawn_blocking(Server::start_new).await.unwrap());
    let url = Secret::new(server.url("postgres"));
    let store = Postgres::open(&url, Older::Migrate).await.unwrap();
    let kept = contract::meeting("acme", "kept", "digest-1");
    store.put_meeting(&kept).await.unwrap();
    server.stop();
    eventually("it is noticed", async || store.put_meeting(&kept).await.is_err()).await;

    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        assert!(store.put_meeting(&kept).await.unwrap_err().is_passing());
        assert!(store.load().await.unwrap_err().is_passing());
        assert!(store.probe().await.unwrap_err().is_passing());
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let refused = said(Postgres::open(&url, Older::Migrate).await);
    assert!(
        refused.contains("cannot be reached: start it, or correct host and port in `store.url`")
    );

    server.start();
    let new = contract::meeting("acme", "new", "digest-2");
    eventually("it is back", async || store.put_meeting(&new).await.is_ok()).await;
    store.probe().await.unwrap();
    assert_eq!(store.load().await.unwrap().meetings.len(), 2);
}

/// Passes everything on to the server and back, until it is told to hold it.
async fn holdable_way_to(port: u16) -> (u16, tokio::sync::watch::Sender<bool>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let (hold, is_silent) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let (client, server) = (client.into_split(), server.into_split());
            for (mut from, mut to) in [(client.0, server.1), (server.0, client.1)] {
                let mut is_silent = is_silent.clone();
                tokio::spawn(async move {
                    let mut chunk = vec![0; 8192];
                    while let Ok(read @ 1..) = from.read(&mut chunk).await {
                        drop(is_silent.wait_for(|silent| !silent).await);
                        to.write_all(&chunk[..read]).await.ok();
                    }
                });
            }
        }
    });
    (own, hold)
}

#[tokio::test]
async fn a_server_that_falls_silent_holds_nobody_up_for_long() {
    let database = Server::shared().create_database();
    let (port, hold) = holdable_way_to(Server::shared().port()).await;
    let (user, password) = (Server::USER, Server::PASSWORD);
    let url = format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}");
    let store = Postgres::open(&Secret::new(url), Older::Migrate).await.unwrap();
    let meeting = contract::meeting("acme", "m", "digest-1");
    store.put_meeting(&meeting).await.unwrap();
    store.load().await.unwrap();

    hold.send_replace(true);
    let begun = tokio::time::Instant::now();
    let (one, two) = tokio::join!(store.put_meeting(&meeting), store.load());
    assert!(one.unwrap_err().is_passing() && two.unwrap_err().is_passing());
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    assert!(store.put_meeting(&meeting).await.unwrap_err().is_passing());
    assert!(store.load().await.unwrap_err().is_passing());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    hold.send_replace(false);
    eventually("it is written again", async || store.put_meeting(&meeting).await.is_ok()).await;
    assert_eq!(store.load().await.unwrap().meetings, [meeting]);
}
