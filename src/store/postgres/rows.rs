//! Reading rows back.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use tokio_postgres::types::FromSql;
use tokio_postgres::{Row, Transaction};

use super::text::from_column;
use crate::model::{
    AdminState, Asset, AssetKey, AssetKind, Callback, CallbackToken, Delivery, Extent, Hook,
    Meeting, MeetingKey, NodeName, Scope, SubId, Undelivered, Waiting,
};
use crate::store::callbacks::{NEVER, OVERFLOW};
use crate::store::seal::Seal;
use crate::store::{Saved, SavedAsset, node_row};

pub(super) const MEETINGS: &str = "SELECT tenant, sub_id, meeting_id, node, node_meeting_id,
    internal_id, created_at_ms, parent_internal_id, xml, expected_thousandths, peak FROM meetings";

pub(super) const HOOKS: &str =
    "SELECT id, tenant, sub_id, token, callback_url, meeting_id, events, raw,
    created_at_ms FROM hooks ORDER BY id";

pub(super) const CALLBACKS: &str = "SELECT tenant, sub_id, meeting_id, token, kind, node,
    node_meeting_id, internal_id, target, created_at_ms FROM callbacks";

/// Which column of a row makes no sense, and why; without what stands in it.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) String);

/// Reads all rows as of one moment. One that cannot be understood is left out, counted and, the first of
/// them, told of; an error of the database itself is an error.
pub(super) async fn load(
    db: &Transaction<'_>,
    seal: &Seal,
) -> Result<Saved, tokio_postgres::Error> {
    let mut skipped = Skipped::default();
    let meetings = all(db, MEETINGS, meeting, &mut skipped).await?;
    let nodes = "SELECT name, state, spec FROM nodes ORDER BY name";
    let nodes = all(db, nodes, |row| node(row, seal), &mut skipped).await?;
    let hooks = all(db, HOOKS, hook, &mut skipped).await?;
    let mut saved = Saved { meetings, hooks, ..Saved::default() };
    saved.take_nodes(nodes, |unusable| skipped.add(Unreadable(format!("spec: {unusable}"))));
    let first_skipped = skipped.first.map(|Unreadable(reason)| reason);
    Ok(Saved { skipped: skipped.count, first_skipped, ..saved })
}

#[derive(Default)]
struct Skipped {
    count: usize,
    first: Option<Unreadable>,
}

impl Skipped {
    fn add(&mut self, unreadable: Unreadable) {
        self.count += 1;
        self.first.get_or_insert(unreadable);
    }
}

async fn all<T>(
    db: &Transaction<'_>,
    sql: &str,
    read: impl Fn(&Row) -> Result<T, Unreadable>,
    skipped: &mut Skipped,
) -> Result<Vec<T>, tokio_postgres::Error> {
    // One after the other: all rows at once would be twice the memory.
    let rows = db.query_raw(sql, std::iter::empty::<i64>()).await?;
    pin_mut!(rows);
    let mut found = Vec::new();
    while let Some(row) = rows.next().await {
        match read(&row?) {
            Ok(value) => found.push(value),
            Err(unreadable) => skipped.add(unreadable),
        }
    }
    Ok(found)
}

pub(super) fn meeting(row: &Row) -> Result<Meeting, Unreadable> {
    Ok(Meeting {
        key: MeetingKey { scope: scope(row, 0)?, id: text(row, 2)? },
        node: NodeName::new(text(row, 3)?),
        node_meeting_id: text(row, 4)?,
        internal_id: text(row, 5)?,
        created_at_ms: number(row, 6)?,
        parent_internal_id: optional(row, 7)?,
        extent: extent(row),
        xml: get::<Vec<u8>>(row, 8)?.into(),
    })
}

/// No reason to be without the meeting.
fn extent(row: &Row) -> Extent {
    let few = |column| get::<i64>(row, column).ok().and_then(|number| u32::try_from(number).ok());
    Extent { expected_thousandths: few(9).unwrap_or_default(), peak: few(10).unwrap_or_default() }
}

fn node(row: &Row, seal: &Seal) -> Result<node_row::Read, Unreadable> {
    let name = NodeName::new(text(row, 0)?);
    Ok(node_row::read(name, word(row, 1)?, get(row, 2)?, seal))
}

pub(super) fn hook(row: &Row) -> Result<Hook, Unreadable> {
    let events = text(row, 6)?;
    Ok(Hook {
        id: number(row, 0)?,
        scope: scope(row, 1)?,
        token: token(row, 3)?,
        callback_url: text(row, 4)?,
        meeting_id: optional(row, 5)?,
        events: events.split(',').filter(|event| !event.is_empty()).map(str::to_owned).collect(),
        raw: get(row, 7)?,
        created_at_ms: number(row, 8)?,
    })
}

pub(super) fn callback(row: &Row) -> Result<Callback, Unreadable> {
    Ok(Callback {
        token: token(row, 3)?,
        kind: word(row, 4)?,
        key: MeetingKey { scope: scope(row, 0)?, id: text(row, 2)? },
        node: NodeName::new(text(row, 5)?),
        node_meeting_id: text(row, 6)?,
        internal_id: optional(row, 7)?,
        target: optional(row, 8)?,
        created_at_ms: number(row, 9)?,
    })
}

pub(super) fn delivery(row: &Row) -> Result<Delivery, Unreadable> {
    let attempts: i32 = get(row, 7)?;
    Ok(Delivery {
        id: get(row, 3)?,
        kind: word(row, 4)?,
        key: MeetingKey { scope: scope(row, 0)?, id: text(row, 2)? },
        target: text(row, 5)?,
        received_at_ms: number(row, 6)?,
        attempts: u32::try_from(attempts).map_err(|_error| unreadable(row, 7, "is negative"))?,
        node: NodeName::new(text(row, 8)?),
    })
}

/// The same with what operators want to know of it.
pub(super) fn undelivered(row: &Row) -> Result<Undelivered, Unreadable> {
    let state: Waiting = word(row, 9)?;
    let next: i64 = get(row, 10)?;
    let last_error = optional(row, 12)?;
    let is_due = state == Waiting::Pending && next < NEVER;
    Ok(Undelivered {
        delivery: delivery(row)?,
        state,
        next_attempt_at_ms: is_due.then(|| next.unsigned_abs()),
        given_up_at_ms: get::<Option<i64>>(row, 11)?.map(i64::unsigned_abs),
        is_under_way: get(row, 13)?,
        is_empty: last_error.as_deref() == Some(OVERFLOW),
        last_error,
    })
}

/// `None` for a row that cannot be understood.
pub(super) fn node_state(row: &Row) -> Option<(NodeName, AdminState)> {
    Some((NodeName::new(text(row, 0).ok()?), word(row, 1).ok()?))
}

/// `None` for a row that cannot be understood.
pub(super) fn saved_asset(row: &Row) -> Option<SavedAsset> {
    let kind: &str = get(row, 1).ok()?;
    let kind = AssetKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let key = AssetKey { tenant: word(row, 0).ok()?, kind };
    Some(SavedAsset { key, path: text(row, 2).ok()?.into(), digest: text(row, 3).ok()? })
}

/// Nothing if the bytes are not what was put.
pub(super) fn asset(row: &Row) -> Result<Option<Arc<Asset>>, Unreadable> {
    let (path, digest) = (PathBuf::from(text(row, 0)?), text(row, 1)?);
    let asset = Asset::new(path, get::<Vec<u8>>(row, 2)?);
    Ok((asset.digest() == digest).then(|| Arc::new(asset)))
}

/// Tenant and sub id in two columns.
pub(super) fn scope(row: &Row, column: usize) -> Result<Scope, Unreadable> {
    let sub: i32 = get(row, column + 1)?;
    let sub = u16::try_from(sub).ok().and_then(SubId::new);
    let sub = sub.ok_or_else(|| unreadable(row, column + 1, "is out of range"))?;
    Ok(Scope { tenant: word(row, column)?, sub })
}

fn token(row: &Row, column: usize) -> Result<CallbackToken, Unreadable> {
    CallbackToken::parse(get(row, column)?)
        .ok_or_else(|| unreadable(row, column, "is no token of a callback"))
}

/// A column that holds a number which is never negative.
pub(super) fn number(row: &Row, column: usize) -> Result<u64, Unreadable> {
    u64::try_from(get::<i64>(row, column)?).map_err(|_error| unreadable(row, column, "is negative"))
}

/// A column that holds one of our words.
fn word<T: FromStr>(row: &Row, column: usize) -> Result<T, Unreadable> {
    get::<&str>(row, column)?
        .parse()
        .map_err(|_error| unreadable(row, column, "is not a word of this column"))
}

pub(super) fn text(row: &Row, column: usize) -> Result<String, Unreadable> {
    get::<&str>(row, column).map(from_column)
}

fn optional(row: &Row, column: usize) -> Result<Option<String>, Unreadable> {
    Ok(get::<Option<&str>>(row, column)?.map(from_column))
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Unreadable> {
    row.try_get(column).map_err(|_error| unreadable(row, column, "has another type"))
}

pub(super) fn unreadable(row: &Row, column: usize, reason: &str) -> Unreadable {
    let name = row.columns().get(column).map_or("a column", tokio_postgres::Column::name);
    Unreadable(format!("{name}: {reason}"))
}
