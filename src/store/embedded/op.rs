//! The SQL of a change.

use rusqlite::{Connection, params};

use super::{arbiter, assets, callbacks};
use crate::model::{Hook, Meeting};
use crate::store::op::Op;

pub(super) fn apply(op: &Op, db: &Connection) -> rusqlite::Result<()> {
    match op {
        Op::Callbacks(change) => return callbacks::apply(change, db),
        Op::Arbitrate(change) => return arbiter::apply(change, db),
        Op::Probe => {
            // Read in the same transaction: a newer process may have raised it.
            let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            return db.pragma_update(None, "user_version", version);
        }
        Op::PutMeeting(meeting) => put_meeting(db, meeting)?,
        Op::RemoveMeeting { key, internal_id, is_removed } => {
            let rows = db
                .prepare_cached(
                    "DELETE FROM meetings WHERE tenant = ?1 AND sub_id = ?2 AND meeting_id = ?3
                         AND internal_id = ?4",
                )?
                .execute(params![
                    key.scope.tenant.as_str(),
                    key.scope.sub.get(),
                    key.id,
                    internal_id
                ])?;
            is_removed.set(rows > 0);
            rows
        }
        Op::PutNode { name, state, spec, keeps_state } => db
            .prepare_cached(
                "INSERT INTO nodes (name, state, spec) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET spec = excluded.spec,
                     state = CASE WHEN ?4 AND 'retired' NOT IN (nodes.state, excluded.state)
                         THEN nodes.state ELSE excluded.state END",
            )?
            .execute(params![name.as_str(), state.as_str(), spec, keeps_state])?,
        Op::PutAsset(key, asset) => assets::put(db, key, asset)?,
        Op::RemoveAsset(asset, age) => assets::remove(db, asset, *age)?,
        Op::RemoveNode(name) => db
            .prepare_cached(
                "DELETE FROM nodes WHERE name = ?1
                     AND NOT EXISTS (SELECT 1 FROM meetings WHERE node = ?1)",
            )?
            .execute([name.as_str()])?,
        Op::PutHook(hook) => put_hook(db, hook, "INSERT OR REPLACE")?,
        Op::RemoveHook(id) => db
            .prepare_cached("DELETE FROM hooks WHERE id = ?1")?
            .execute([i64::try_from(*id).unwrap_or(i64::MAX)])?,
    };
    Ok(())
}

pub(super) fn put_meeting(db: &Connection, meeting: &Meeting) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO meetings (tenant, sub_id, meeting_id, node,
             node_meeting_id, internal_id, created_at_ms, parent_internal_id, xml,
             expected_thousandths, peak)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        meeting.key.scope.tenant.as_str(),
        meeting.key.scope.sub.get(),
        meeting.key.id,
        meeting.node.as_str(),
        meeting.node_meeting_id,
        meeting.internal_id,
        // SQLite's integers are signed; the cap is 292 million years away.
        i64::try_from(meeting.created_at_ms).unwrap_or(i64::MAX),
        meeting.parent_internal_id,
        &*meeting.xml,
        meeting.extent.expected_thousandths,
        meeting.extent.peak,
    ])
}

/// `how` says what becomes of one that is there already.
pub(super) fn put_hook(db: &Connection, hook: &Hook, how: &str) -> rusqlite::Result<usize> {
    let sql = format!(
        "{how} INTO hooks (id, tenant, sub_id, token, callback_url, meeting_id, events, raw,
             created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    );
    db.prepare_cached(&sql)?.execute(params![
        i64::try_from(hook.id).unwrap_or(i64::MAX),
        hook.scope.tenant.as_str(),
        hook.scope.sub.get(),
        hook.token.expose(),
        hook.callback_url,
        hook.meeting_id,
        hook.events.join(","),
        hook.raw,
        i64::try_from(hook.created_at_ms).unwrap_or(i64::MAX),
    ])
}
