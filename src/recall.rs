//! Keeps what is known in memory of the size of meetings in step with the store: all the time for the task that does
//! that, and at once where an operator changes it.
//!
//! Whoever does any of it holds the history's generation for so long, so that nothing is told twice, and no rows take
//! the place of newer ones. What was learned is told before anything is read or changed. A create never sees less than
//! was there before or is there after.

use log::warn;
use tokio::sync::MutexGuard;

use crate::chain::Chain;
use crate::fleet::Fleet;
use crate::model::{HistoryRow, Past, Peak};
use crate::store::{Error, Forgotten, Sought, Store};

/// Rows that are read at once; some 200 KiB.
const PAGE: u32 = 2_000;

/// Told to the store at once, which takes all of it or none.
const PORTION: usize = 200;

/// What of the store's rows is in force in memory, held by one at a time.
pub type InForce<'f> = MutexGuard<'f, Option<u64>>;

/// Tells the store what was learned, each meeting once.
///
/// # Errors
/// Where the store cannot be written: it is told the rest another time.
pub async fn tell(fleet: &Fleet, store: &dyn Store, _held: &InForce<'_>) -> Result<(), Error> {
    loop {
        let peaks = fleet.history.take_some_unsaved(PORTION);
        if peaks.is_empty() {
            return Ok(());
        }
        match store.learn(&peaks, fleet.clock().now_ms() / 1000).await {
            Ok(()) => {}
            Err(trouble) if trouble.may_be_about_rows() => tell_singly(fleet, store, peaks).await?,
            Err(trouble) => {
                fleet.history.give_back_unsaved(peaks);
                return Err(trouble);
            }
        }
    }
}

/// One meeting that the store cannot learn from is not to keep all others from it, and operators from changing
/// anything: it is given up where others are learned from.
async fn tell_singly(fleet: &Fleet, store: &dyn Store, peaks: Vec<Peak>) -> Result<(), Error> {
    let (count, mut bad, mut why) = (peaks.len(), Vec::new(), None);
    let mut peaks = peaks.into_iter();
    while let Some(peak) = peaks.next() {
        match store.learn(std::slice::from_ref(&peak), fleet.clock().now_ms() / 1000).await {
            Ok(()) => {}
            Err(trouble) => {
                let is_about_it = trouble.may_be_about_rows();
                bad.push(peak);
                if !is_about_it {
                    bad.extend(peaks);
                    fleet.history.give_back_unsaved(bad);
                    return Err(trouble);
                }
                why = Some(trouble);
            }
        }
    }
    let Some(trouble) = why else { return Ok(()) };
    if bad.len() == count {
        // It may be about the store after all.
        fleet.history.give_back_unsaved(bad);
        return Err(trouble);
    }
    warn!("the store learns from all meetings but {}: {}", bad.len(), Chain(&trouble));
    Ok(())
}

/// Takes up all that is in the store, in place of what is known. Says how many rows cannot be right.
///
/// # Errors
/// Where the store cannot be read: what was known stays.
pub async fn renew(
    fleet: &Fleet,
    store: &dyn Store,
    in_force: &mut InForce<'_>,
) -> Result<usize, Error> {
    // Before the rows: a change that comes while they are read is another generation.
    let generation = store.history_generation().await?;
    let mut recalled = fleet.history.recall();
    let skipped = each_page(store, 0, |rows| recalled.take_up(rows)).await?;
    recalled.put_in_force(fleet.clock().now_ms() / 1000);
    **in_force = Some(generation);
    fleet.history.set_skipped(skipped);
    Ok(skipped)
}

/// Takes up what was learned since then, in seconds since 1970.
///
/// # Errors
/// Where the store cannot be read: what was known stays.
pub async fn hear(
    fleet: &Fleet,
    store: &dyn Store,
    since_s: u64,
    _held: &InForce<'_>,
) -> Result<(), Error> {
    let now_s = fleet.clock().now_ms() / 1000;
    each_page(store, since_s, |rows| fleet.history.take_up(rows, now_s)).await.map(drop)
}

/// Forgets; says how many rows that were.
///
/// # Errors
/// Where the store cannot be used: nothing is forgotten.
pub async fn reset(fleet: &Fleet, store: &dyn Store, what: &Forgotten) -> Result<u64, Error> {
    let mut in_force = fleet.history.in_force().await;
    // What has ended before is forgotten, too.
    tell(fleet, store, &in_force).await?;
    let gone = store.reset_history(what).await?;
    renew_now(fleet, store, &mut in_force).await;
    Ok(gone)
}

/// Puts rows in place of those about the same.
///
/// # Errors
/// Where the store cannot be used: none is put.
pub async fn import(fleet: &Fleet, store: &dyn Store, rows: &[HistoryRow]) -> Result<(), Error> {
    let mut in_force = fleet.history.in_force().await;
    tell(fleet, store, &in_force).await?;
    let generation = store.put_history(rows).await?;
    if is_next(&in_force, generation) {
        fleet.history.take_up(rows, fleet.clock().now_ms() / 1000);
        *in_force = Some(generation);
    } else {
        renew_now(fleet, store, &mut in_force).await;
    }
    Ok(())
}

/// Learns from meetings of the past, in the order of time.
///
/// # Errors
/// Where the store cannot be used: none is learned from.
pub async fn seed(fleet: &Fleet, store: &dyn Store, mut past: Vec<Past>) -> Result<(), Error> {
    past.sort_by_key(|past| past.at_s);
    let mut in_force = fleet.history.in_force().await;
    tell(fleet, store, &in_force).await?;
    let generation = store.seed_history(&past, fleet.clock().now_ms() / 1000).await?;
    if is_next(&in_force, generation) {
        for past in &past {
            fleet.history.learn(&past.peak, past.at_s);
        }
        *in_force = Some(generation);
    } else {
        renew_now(fleet, store, &mut in_force).await;
    }
    Ok(())
}

/// Whether nobody else has changed anything since it was taken up.
fn is_next(in_force: &InForce<'_>, generation: u64) -> bool {
    in_force.is_some_and(|before| before + 1 == generation)
}

/// The change is made already; where the store cannot be read now, the task does that later.
async fn renew_now(fleet: &Fleet, store: &dyn Store, in_force: &mut InForce<'_>) {
    if let Err(trouble) = renew(fleet, store, in_force).await {
        // Alone, nobody else would ask what has changed.
        **in_force = None;
        warn!("the history of meetings is not taken up anew for now: {}", Chain(&trouble));
    }
}

/// Says how many rows cannot be right.
async fn each_page(
    store: &dyn Store,
    since_s: u64,
    mut take_up: impl FnMut(&[HistoryRow]),
) -> Result<usize, Error> {
    let mut sought = Sought { since_s, limit: PAGE, ..Sought::default() };
    let mut skipped = 0;
    loop {
        let page = store.history(&sought).await?;
        skipped += page.skipped;
        take_up(&page.rows);
        let Some(last) = page.last else { return Ok(skipped) };
        sought.after = Some(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AdminState, Hour, Inventory, MeetingKey, Peak, Scope};
    use crate::store::{Embedded, Histories};

    #[tokio::test]
    async fn what_the_store_has_learned_is_not_told_again_when_the_rest_fails() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        let fleet = Fleet::new(Inventory::default(), |_| AdminState::Ready);
        for number in 0..2 * PORTION + 50 {
            let key =
                MeetingKey { scope: Scope::parse("acme").unwrap(), id: format!("room-{number}") };
            let peak = Peak { key, hour: Hour::new(9).unwrap(), attendees: 10 };
            fleet.history.learn_and_keep(peak, 1000);
        }
        let seen = async || {
            let first = Sought { limit: 1, ..Sought::default() };
            store.history(&first).await.unwrap().rows[0].moments.seen as usize
        };
        let other = rusqlite::Connection::open(dir.path().join("portico.db")).unwrap();
        // All of the second portion.
        let refuse = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON history WHEN CAST(substr(NEW.room, 6) AS INTEGER) >= {PORTION}
                BEGIN SELECT RAISE(ABORT, 'a test'); END"
        );
        other.execute_batch(&refuse).unwrap();
        let in_force = fleet.history.in_force().await;
        tell(&fleet, &store, &in_force).await.unwrap_err();
        assert_eq!(seen().await, PORTION);
        other.execute_batch("DROP TRIGGER refuse").unwrap();
        tell(&fleet, &store, &in_force).await.unwrap();
        assert_eq!(seen().await, 2 * PORTION + 50);
    }

    #[tokio::test]
    async fn a_meeting_that_the_store_cannot_learn_from_keeps_no_other_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        let fleet = Fleet::new(Inventory::default(), |_| AdminState::Ready);
        let learn = |room: &str| {
            let key = MeetingKey { scope: Scope::parse("acme").unwrap(), id: room.to_owned() };
            let peak = Peak { key, hour: Hour::new(9).unwrap(), attendees: 10 };
            fleet.history.learn_and_keep(peak, 1000);
        };
        let other = rusqlite::Connection::open(dir.path().join("portico.db")).unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON history WHEN NEW.room = 'bad'
            BEGIN SELECT RAISE(ABORT, 'a test'); END";
        other.execute_batch(refuse).unwrap();
        let in_force = fleet.history.in_force().await;
        learn("bad");
        // Alone it may be about the store.
        tell(&fleet, &store, &in_force).await.unwrap_err();
        for room in ["good", "better"] {
            learn(room);
        }
        tell(&fleet, &store, &in_force).await.unwrap();
        assert_eq!(fleet.history.take_unsaved(), []);
        let sought = Sought { limit: 100, ..Sought::default() };
        let rows = store.history(&sought).await.unwrap().rows;
        assert_eq!((rows.len(), rows[0].moments.seen), (6, 2));
    }

    #[tokio::test]
    async fn what_cannot_be_read_after_a_change_is_read_later() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        let fleet = Fleet::new(Inventory::default(), |_| AdminState::Ready);
        let mut in_force = fleet.history.in_force().await;
        renew(&fleet, &store, &mut in_force).await.unwrap();
        assert_eq!(*in_force, Some(0));
        let other = rusqlite::Connection::open(dir.path().join("portico.db")).unwrap();
        other.execute_batch("ALTER TABLE history RENAME TO away").unwrap();
        renew_now(&fleet, &store, &mut in_force).await;
        assert_eq!(*in_force, None);
    }
}
