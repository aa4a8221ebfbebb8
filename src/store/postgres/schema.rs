//! Bringing a database to the present schema.
//!
//! refinery takes the steps, each in a transaction, and keeps the record of them. It knows no lock, so we
//! hold an advisory one: of two instances that start at once, one works and the other finds it done. Where
//! there is nothing to do nobody waits for it.

use std::time::Duration;

use refinery::{Migration, Runner};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::error::{Cause, Trouble};
use super::session::SETTINGS;
use super::target::Target;
use crate::chain::Chain;

/// The steps from an empty database to the present schema. Only ever append.
const MIGRATIONS: [(&str, &str); PRESENT as usize] = [
    ("V1__initial", include_str!("../../../migrations/postgres/0001_initial.sql")),
    ("V2__claims", include_str!("../../../migrations/postgres/0002_claims.sql")),
    ("V3__held", include_str!("../../../migrations/postgres/0003_held.sql")),
    ("V4__counters", include_str!("../../../migrations/postgres/0004_counters.sql")),
    ("V5__inventory", include_str!("../../../migrations/postgres/0005_inventory.sql")),
    ("V6__inventory_chain", include_str!("../../../migrations/postgres/0006_inventory_chain.sql")),
    ("V7__ledger", include_str!("../../../migrations/postgres/0007_ledger.sql")),
    (
        "V8__assets_by_content",
        include_str!("../../../migrations/postgres/0008_assets_by_content.sql"),
    ),
    ("V9__statistics", include_str!("../../../migrations/postgres/0009_statistics.sql")),
    ("V10__commands", include_str!("../../../migrations/postgres/0010_commands.sql")),
    (
        "V11__statistics_batches",
        include_str!("../../../migrations/postgres/0011_statistics_batches.sql"),
    ),
    ("V12__history", include_str!("../../../migrations/postgres/0012_history.sql")),
    ("V13__extents", include_str!("../../../migrations/postgres/0013_extents.sql")),
    (
        "V14__history_generation",
        include_str!("../../../migrations/postgres/0014_history_generation.sql"),
    ),
    ("V15__chronicle", include_str!("../../../migrations/postgres/0015_chronicle.sql")),
];

/// The version of the present schema.
pub(super) const PRESENT: u32 = 15;

/// Where refinery keeps its record.
const TABLE: &str = "portico_migrations";

/// "portico" in ASCII: any number does that other programs do not use.
pub(super) const LOCK: i64 = 0x70_6f72_7469_636f;

/// Between two looks whether the lock is free, and between two lines in the log that it is not.
const LOCK_AGAIN_AFTER: Duration = Duration::from_millis(500);
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);
/// Between two attempts of a step, for those who queue behind it to go on.
const STEP_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How far a database has come; 0 is an empty one.
pub(super) async fn version(target: &Target, client: &Client) -> Result<u32, Trouble> {
    let trouble = |error: tokio_postgres::Error| Trouble::new(target, &error);
    let exists = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&TABLE]).await;
    if !exists.and_then(|row| row.try_get(0)).map_err(trouble)? {
        return Ok(0);
    }
    let newest = format!("SELECT coalesce(max(version), 0)::bigint FROM {TABLE}");
    let newest = client.query_one(&newest, &[]).await.map_err(trouble)?;
    let newest: i64 = newest.try_get(0).map_err(trouble)?;
    Ok(u32::try_from(newest).unwrap_or(u32::MAX))
}

/// Refuses a database that another version has written, unless this one can bring it to its own schema.
pub(super) async fn check(target: &Target, client: &Client) -> Result<(), Trouble> {
    let (place, known) = (target.place.clone(), PRESENT);
    match version(target, client).await? {
        PRESENT => Ok(()),
        found if found > PRESENT => Err(Trouble::Newer { place, found, known }),
        found => Err(Trouble::Older { place, found, known }),
    }
}

/// Refuses a database that is not the one any more that we have served with. A newer version may have brought it
/// further meanwhile.
pub(super) async fn check_again(target: &Target, client: &Client) -> Result<(), Trouble> {
    let (place, known) = (target.place.clone(), PRESENT);
    match version(target, client).await? {
        0 => Err(Trouble::Emptied { place }),
        found if found < known => Err(Trouble::Older { place, found, known }),
        _ => Ok(()),
    }
}

/// Takes the missing steps. Returns the version that the database had before.
pub(super) async fn migrate(target: &Target, client: &mut Client) -> Result<u32, Trouble> {
    migrate_by(target, client, &MIGRATIONS).await
}

pub(super) async fn migrate_by(
    target: &Target,
    client: &mut Client,
    steps: &[(&str, &str)],
) -> Result<u32, Trouble> {
    let trouble = |error: tokio_postgres::Error| Trouble::new(target, &error);
    let (place, known) = (target.place.clone(), u32::try_from(steps.len()).unwrap_or(u32::MAX));
    let failed = |error: &refinery::Error| {
        let source = Cause::new(Chain(error).to_string());
        Trouble::Migration { place: place.clone(), known, source }
    };
    let compare = |found| match found {
        found if found > known => Err(Trouble::Newer { place: place.clone(), found, known }),
        found => Ok(found),
    };
    let found = compare(version(target, client).await?)?;
    if found == known {
        return Ok(found);
    }
    lock(target, client).await?;
    // A step over many rows may take long. With the connection the lock goes as well. But whoever waits for a
    // table holds up all that come after him, and those are the instances that serve.
    let patience = "SET statement_timeout = 0; SET lock_timeout = '2s'";
    client.batch_execute(patience).await.map_err(trouble)?;
    let found = compare(version(target, client).await?)?;
    if found < known {
        let steps: Result<Vec<_>, _> =
            steps.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect();
        let mut runner = Runner::new(&steps.map_err(|error| failed(&error))?);
        runner.set_migration_table_name(TABLE);
        let mut said_at: Option<Instant> = None;
        while let Err(error) = runner.run_async(client).await {
            if !is_about_locks(&error) {
                return Err(why(target, &error).unwrap_or_else(|| failed(&error)));
            }
            if said_at.is_none_or(|said_at| said_at.elapsed() >= SAY_AGAIN_AFTER) {
                log::warn!(
                    "the schema of {place} waits for a table that somebody else uses, such as a running \
                     pg_dump"
                );
                said_at = Some(Instant::now());
            }
            sleep(STEP_AGAIN_AFTER).await;
        }
        log::info!("the schema of {place} went from version {found} to {known}");
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.map_err(trouble)?;
    client.batch_execute(SETTINGS).await.map_err(trouble)?;
    Ok(found)
}

/// Waits for whoever holds it, who may have a long way to go.
async fn lock(target: &Target, client: &Client) -> Result<(), Trouble> {
    let trouble = |error: tokio_postgres::Error| Trouble::new(target, &error);
    let mut said_at: Option<Instant> = None;
    loop {
        let locked = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await;
        if locked.and_then(|row| row.try_get(0)).map_err(trouble)? {
            return Ok(());
        }
        if said_at.is_none_or(|said_at| said_at.elapsed() >= SAY_AGAIN_AFTER) {
            let place = &target.place;
            log::warn!(
                "another instance brings the schema of {place} up to date: waiting for it (its advisory \
                 lock is {LOCK})"
            );
            said_at = Some(Instant::now());
        }
        sleep(LOCK_AGAIN_AFTER).await;
    }
}

/// What the server said, where it was the server.
fn said(error: &refinery::Error) -> Option<&tokio_postgres::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(said) = cause.downcast_ref() {
            return Some(said);
        }
        source = cause.source();
    }
    None
}

/// Whether somebody else's transaction was in the way for too long.
fn is_about_locks(error: &refinery::Error) -> bool {
    said(error).and_then(tokio_postgres::Error::code) == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

fn why(target: &Target, error: &refinery::Error) -> Option<Trouble> {
    said(error).map(|said| match Trouble::new(target, said) {
        // What failed says more than that it did.
        Trouble::Other { place, source } | Trouble::Unfit { place, source } => {
            Trouble::Migration { place, known: PRESENT, source }
        }
        known => known,
    })
}
