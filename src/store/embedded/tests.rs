//! The store in one file, beyond what every store must do.

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{AdminState, Secret};
use crate::store::{contract, contract_callbacks, contract_deliveries};

fn fresh() -> (TempDir, Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path()).unwrap();
    (dir, store)
}

#[tokio::test]
async fn rows_of_the_history_that_are_no_text_are_passed_over() {
    let (dir, store) = fresh();
    let other = rusqlite::Connection::open(dir.path().join("portico.db")).unwrap();
    for row in [
        "(CAST(x'ff' AS TEXT), 0, 'x', -1, 1, 1, 0, 1)",
        "('acme', 0, CAST(x'61ff00' AS TEXT), -1, 1, 1, 0, 1)",
        "('acme', 9223372036854775807, 'x', -9223372036854775808, 1, 1, 0, 1)",
        "('beta', -1, '', -1, 1, 1, 0, 1)",
    ] {
        other.execute(&format!("INSERT INTO history VALUES {row}"), []).unwrap();
    }
    let mut sought = crate::store::Sought { limit: 1, ..Default::default() };
    let (mut rows, mut skipped) = (0, 0);
    for _ in 0..4 {
        let page = crate::store::Histories::history(&store, &sought).await.unwrap();
        rows += page.rows.len();
        skipped += page.skipped;
        sought.after = page.last;
    }
    assert_eq!((rows, skipped), (1, 3));
}

#[tokio::test]
async fn it_keeps_the_contract() {
    contract::everything_comes_back_as_it_was_put(&fresh().1).await;
    contract::a_look_comes_back_as_it_was_put(&fresh().1).await;
    contract::the_last_put_wins(&fresh().1).await;
    contract::a_meeting_is_found_by_either_of_its_ids(&fresh().1).await;
    contract::two_scopes_may_use_the_same_meeting_id(&fresh().1).await;
    contract::the_late_end_of_a_meeting_spares_its_successor(&fresh().1).await;
    contract::hooks_are_kept_until_they_are_removed(&fresh().1).await;
    contract::one_instance_at_a_time_creates_a_meeting(&fresh().1).await;
    contract::a_saved_meeting_is_not_written_over_by_another(&fresh().1).await;
    contract::a_breakout_room_is_claimed_by_the_name_it_is_created_as(&fresh().1).await;
    contract::counts_add_up(&fresh().1).await;
    contract::a_revoked_token_stays_revoked(&fresh().1).await;
    contract::changes_come_back_the_latest_first(&fresh().1).await;
    contract::what_is_done_gives_way_and_what_is_not_does_not(&fresh().1).await;
    contract::usage_adds_up_by_hours_and_days(&fresh().1).await;
    let (dir, store) = fresh();
    let reader = Embedded::chronicle(dir.path()).unwrap();
    contract::what_is_written_down_adds_up(&store, &reader).await;
    contract::of_nodes_is_written_down_what_is_news(&store, &reader).await;
    contract::what_is_known_of_a_running_meeting_only_grows(&fresh().1).await;
    contract::what_is_learned_is_what_memory_learns(&fresh().1).await;
    contract::history_is_read_in_pages_and_forgotten(&fresh().1).await;
    contract::what_operators_change_counts_up(&fresh().1).await;
    let (dir, store) = fresh();
    let other = rusqlite::Connection::open(dir.path().join("portico.db")).unwrap();
    let sql = async |sql: String| assert_eq!(other.execute(&sql, []).unwrap(), 1);
    contract::rows_behind_broken_ones_are_read(&store, sql, "9e999").await;
    contract::the_last_inventory_is_in_force(&fresh().1).await;
    contract::any_change_makes_another_digest(&fresh().1).await;
    let (dir, one) = fresh();
    let two = Embedded::open(dir.path()).unwrap();
    contract::counts_of_many_add_up([&one, &two]).await;
    contract::one_of_many_counts_what_runs([&one, &two]).await;
    let (dir, one) = fresh();
    let two = Embedded::open(dir.path()).unwrap();
    contract::a_batch_is_counted_once([&one, &two]).await;
    let (dir, store) = fresh();
    drop(store);
    let sealed = Embedded::open_as(dir.path(), contract::sealing()).unwrap();
    contract::everything_comes_back_as_it_was_put(&sealed).await;
    contract::secrets_are_sealed(&sealed, async |opening| {
        Embedded::open_as(dir.path(), opening).unwrap()
    })
    .await;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert_eq!(memchr::memmem::find(&bytes, contract::HUSH.as_bytes()), None);
    }
    contract::writes_of_many_callers_are_all_kept(Arc::new(fresh().1)).await;
}

#[tokio::test]
async fn what_stood_in_clear_is_gone_when_it_was_sealed() {
    let (dir, store) = fresh();
    let mut node = contract::retired_node("bbb01");
    node.spec.as_mut().unwrap().secret = Secret::new(contract::HUSH);
    let is_in_clear = || {
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        memchr::memmem::find(&bytes, contract::HUSH.as_bytes()).is_some()
    };
    store.put_node(&node).await.unwrap();
    // Its place is not needed again.
    for name in ["bbb02", "bbb03"] {
        store.put_node(&contract::retired_node(name)).await.unwrap();
    }
    drop(store);
    assert!(is_in_clear());
    let sealed = Embedded::open_as(dir.path(), contract::sealing()).unwrap();
    sealed.put_node(&node).await.unwrap();
    drop(sealed);
    assert!(!is_in_clear());
}

#[tokio::test]
async fn it_keeps_the_contract_of_callbacks() {
    contract_callbacks::callbacks_come_back_as_they_were_put(&fresh().1).await;
    contract_callbacks::what_comes_twice_is_delivered_once(&fresh().1).await;
    contract_callbacks::what_is_expected_gives_way_to_what_is_said(&fresh().1).await;
    contract_callbacks::one_origin_does_not_crowd_out_the_others(&fresh().1).await;
    contract_callbacks::one_tenant_does_not_crowd_out_the_others(&fresh().1).await;
    contract_callbacks::those_under_way_keep_their_places(&fresh().1).await;
    contract_callbacks::two_that_deliver_take_turns(&fresh().1).await;
    contract_callbacks::what_was_not_held_on_to_is_anybodys(&fresh().1).await;
    contract_callbacks::events_of_a_hook_are_due_one_after_the_other(&fresh().1).await;
    contract_callbacks::what_waits_for_a_tenant_is_bounded(&fresh().1).await;
    contract_callbacks::what_was_given_up_is_bounded(&fresh().1).await;
    contract_callbacks::callbacks_stay_for_a_while_after_the_end(&fresh().1).await;
    contract_callbacks::callbacks_of_webhooks_go_after_them(&fresh().1).await;
    contract_callbacks::what_is_not_delivered_stays(&fresh().1).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_operators() {
    contract_deliveries::what_waits_and_what_was_given_up_is_listed(&fresh().1).await;
    contract_deliveries::what_was_given_up_is_tried_again_on_demand(&fresh().1).await;
    contract_deliveries::what_is_discarded_is_told_to_nobody(&fresh().1).await;
    contract_deliveries::an_event_that_is_tried_again_waits_for_its_turn(&fresh().1).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn it_is_a_map_that_survives(steps in contract::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (dir, store) = fresh();
            let map = contract::follow(&store, &steps).await;
            contract::is_the_map(&store, &map).await;
            drop(store);
            contract::is_the_map(&Embedded::open(dir.path()).unwrap(), &map).await;
        });
    }
}

#[tokio::test]
async fn dropping_writes_what_waits() {
    let (dir, store) = fresh();
    let op = |id: &str| Op::PutMeeting(contract::meeting("acme", id, "sha1-1").into());
    for number in 0..1000 {
        let (reply, _nobody_waits) = oneshot::channel();
        let job = Job::Write(op(&number.to_string()), reply);
        store.jobs.as_ref().unwrap().try_send(job).unwrap();
    }
    drop(store);
    let saved = Embedded::open(dir.path()).unwrap().load().await.unwrap();
    assert_eq!(saved.meetings.len(), 1000);
}

#[tokio::test]
async fn rows_that_cannot_be_understood_are_left_out_and_counted() {
    let (dir, store) = fresh();
    let good = contract::meeting("acme", "good", "sha1-1");
    store.put_meeting(&good).await.unwrap();
    Connection::open(dir.path().join(FILE))
        .unwrap()
        .execute_batch(
            "INSERT INTO meetings VALUES ('No Slug', 0, 'm', 'n', 'm', 'i', 0, NULL, x'', 0, 0);
             INSERT INTO meetings VALUES ('acme', 1000, 'm', 'n', 'm', 'i', 0, NULL, x'', 0, 0);
             INSERT INTO meetings VALUES ('acme', -1, 'm', 'n', 'm', 'i', 0, NULL, x'', 0, 0);
             INSERT INTO meetings VALUES ('acme', 1, 'm', 'n', 'm', 'i', -1, NULL, x'', 0, 0);
             INSERT INTO meetings
                 VALUES ('acme', 2, CAST(x'ff' AS TEXT), 'n', 'm', 'i', 0, NULL, x'', 0, 0);
             INSERT INTO nodes VALUES ('a', 'lost', NULL);
             INSERT INTO nodes VALUES ('b', 'retired', '{');",
        )
        .unwrap();
    let saved = store.load().await.unwrap();
    assert_eq!(saved.meetings, [good]);
    // Of the last one it is known what is wanted of it.
    assert_eq!((saved.nodes.len(), saved.skipped), (1, 7));
}

#[tokio::test]
async fn two_may_write_to_one_file() {
    let (dir, old) = fresh();
    let new = Embedded::open(dir.path()).unwrap();
    let (one, two) =
        (contract::meeting("acme", "1", "sha1-1"), contract::meeting("acme", "2", "sha1-1"));
    let (first, second) = tokio::join!(old.put_meeting(&one), new.put_meeting(&two));
    first.and(second).unwrap();
    drop(old);
    assert_eq!(new.load().await.unwrap().meetings.len(), 2);
}

#[tokio::test]
async fn a_lock_that_is_not_given_up_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let db = schema::open(&path, Older::Migrate).unwrap();
    db.busy_timeout(std::time::Duration::ZERO).unwrap();
    let store = Embedded::start(path.clone(), db, Seal::default(), Health::default()).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let node = SavedNode { name: NodeName::new("n"), state: AdminState::Ready, spec: None };
    let error = store.put_node(&node).await.unwrap_err();
    assert!(matches!(&error, Error::Locked(locked) if *locked == path), "{error}");
    assert!(matches!(store.probe().await, Err(Error::Locked(_))));

    other.execute_batch("ROLLBACK").unwrap();
    store.put_node(&node).await.unwrap();
    store.probe().await.unwrap();
    // And has changed nothing.
    drop(schema::open(&path, Older::Migrate).unwrap());
    assert_eq!(store.load().await.unwrap().nodes, [node]);
}

#[test]
fn a_missing_directory_is_created_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("var/portico");
    drop(Embedded::open(&missing).unwrap());
    assert_eq!(std::fs::metadata(&missing).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("data");
    let error = Embedded::open(&below).unwrap_err();
    assert!(matches!(&error, Error::NoDirectory(named, _) if *named == below), "{error}");
}
