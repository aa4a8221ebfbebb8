//! The SQL of claims.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Embedded, rows};
use crate::model::{InstanceId, Meeting, MeetingKey};
use crate::store::Error;
use crate::store::arbiter::{Claim, LEASE, Saving, Standing};
use crate::store::op::{Arbitrate, Flag, Op, Saver};

/// How often something that vanishes while it is looked at is looked for.
pub(super) const LOOKS: usize = 3;

/// What expired so long ago concerns nobody any more, in ms.
const FORGET_AFTER_MS: u64 = 60_000;

pub(super) fn apply(op: &Arbitrate, db: &Connection) -> rusqlite::Result<()> {
    match op {
        Arbitrate::Claim { claim, is_ours, is_inherited } => {
            is_inherited.set(is_left_behind(db, claim)?);
            let is_taken = take(db, claim)? > 0;
            let runs = is_taken && running(db, claim)?.is_some();
            is_ours.set(is_taken && !runs);
            if runs { release(db, claim) } else { Ok(()) }
        }
        Arbitrate::Release(claim) => release(db, claim),
        Arbitrate::Renew { instance, numbers } => renew(db, instance, numbers),
        Arbitrate::Save(saver) => save(db, saver),
        Arbitrate::AddHook { hook, is_kept } => {
            is_kept.set(super::op::put_hook(db, hook, "INSERT OR IGNORE")? > 0);
            Ok(())
        }
    }
}

impl Embedded {
    /// Saves a meeting unless there is another one.
    pub(super) async fn save(
        &self,
        meeting: &Meeting,
        claim: Option<&Claim>,
    ) -> Result<Saving, Error> {
        for _ in 0..LOOKS {
            let is_kept = Flag::default();
            let claim = claim.cloned().map(Box::new);
            let saver = Saver { meeting: meeting.clone().into(), claim, is_kept: is_kept.clone() };
            self.write(Op::Arbitrate(Arbitrate::Save(saver))).await?;
            if is_kept.get() {
                return Ok(Saving::Kept);
            }
            let key = meeting.key.clone();
            if let Some(other) = self.read(move |db| rows::find_key(db, &key)).await?.pop() {
                return Ok(Saving::Other(other.into()));
            }
        }
        Err(Error::Locked(self.path.clone()))
    }
}

/// The meeting that a claim is about, if it runs.
pub(super) fn running(db: &Connection, claim: &Claim) -> rusqlite::Result<Option<Meeting>> {
    let found = match &claim.internal_id {
        Some(internal_id) => rows::find_internal(db, &claim.key.scope.tenant, internal_id)?,
        None => rows::find_key(db, &claim.key)?,
    };
    let running = found.into_iter().filter(|meeting| !claim.over.contains(&meeting.internal_id));
    Ok(running.min_by_key(|meeting| (meeting.key.scope.sub.get(), meeting.key.id.clone())))
}

/// What the store knows of these keys. Nothing is written in between.
pub(super) fn standings(db: &Connection, keys: &[MeetingKey]) -> rusqlite::Result<Vec<Standing>> {
    let standing = |key: &MeetingKey| {
        let is_claimed = db
            .prepare_cached(
                "SELECT 1 FROM claims WHERE tenant = ?1 AND sub_id = ?2 AND meeting_id = ?3
                     AND expires_at_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            )?
            .exists(params![key.scope.tenant.as_str(), key.scope.sub.get(), key.id])?;
        let meeting = rows::find_key(db, key)?.pop();
        Ok(Standing { key: key.clone(), is_claimed, meeting })
    };
    keys.iter().map(standing).collect()
}

/// Whether somebody else had it until it ran out.
fn is_left_behind(db: &Connection, claim: &Claim) -> rusqlite::Result<bool> {
    let key = &claim.key;
    let params =
        params![key.scope.tenant.as_str(), key.scope.sub.get(), key.id, claim.instance.as_str()];
    db.prepare_cached(
        "SELECT 1 FROM claims WHERE tenant = ?1 AND sub_id = ?2 AND meeting_id = ?3
             AND instance <> ?4
             AND expires_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    )?
    .exists(params)
}

fn take(db: &Connection, claim: &Claim) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "INSERT INTO claims (tenant, sub_id, meeting_id, instance, number, expires_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?6)
             ON CONFLICT (tenant, sub_id, meeting_id) DO UPDATE SET instance = excluded.instance,
                 number = excluded.number, expires_at_ms = excluded.expires_at_ms
             WHERE instance = excluded.instance
                 OR expires_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    )?
    .execute(params![
        claim.key.scope.tenant.as_str(),
        claim.key.scope.sub.get(),
        claim.key.id,
        claim.instance.as_str(),
        signed(claim.number),
        lease_ms(),
    ])
}

fn release(db: &Connection, claim: &Claim) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM claims WHERE tenant = ?1 AND sub_id = ?2 AND meeting_id = ?3
             AND instance = ?4 AND number = ?5",
    )?
    .execute(params![
        claim.key.scope.tenant.as_str(),
        claim.key.scope.sub.get(),
        claim.key.id,
        claim.instance.as_str(),
        signed(claim.number),
    ])?;
    Ok(())
}

fn renew(db: &Connection, instance: &InstanceId, numbers: &[u64]) -> rusqlite::Result<()> {
    let mut renew = db.prepare_cached(
        "UPDATE claims SET expires_at_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?3
             WHERE instance = ?1 AND number = ?2",
    )?;
    for number in numbers {
        renew.execute(params![instance.as_str(), signed(*number), lease_ms()])?;
    }
    db.prepare_cached(
        "DELETE FROM claims
             WHERE expires_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?1",
    )?
    .execute([signed(FORGET_AFTER_MS)])?;
    Ok(())
}

fn save(db: &Connection, saver: &Saver) -> rusqlite::Result<()> {
    let Saver { meeting, claim, is_kept } = saver;
    let key = &meeting.key;
    let present: Option<String> = db
        .prepare_cached(
            "SELECT internal_id FROM meetings WHERE tenant = ?1 AND sub_id = ?2
                 AND meeting_id = ?3",
        )?
        .query_row(params![key.scope.tenant.as_str(), key.scope.sub.get(), key.id], |row| {
            row.get(0)
        })
        .optional()?;
    let makes_room = |other: &String| {
        *other == meeting.internal_id
            || claim.as_ref().is_some_and(|claim| claim.over.contains(other))
    };
    let is_free = present.as_ref().is_none_or(makes_room);
    is_kept.set(is_free);
    if is_free {
        super::op::put_meeting(db, meeting)?;
    }
    if let Some(claim) = claim {
        release(db, claim)?;
    }
    Ok(())
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// `SQLite`'s integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
