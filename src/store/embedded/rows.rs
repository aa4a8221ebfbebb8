//! Reading everything back.

use std::collections::HashMap;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use crate::model::{
    AdminState, CallbackToken, Extent, Hook, Meeting, MeetingKey, NodeName, Scope, Slug, SubId,
};
use crate::store::seal::Seal;
use crate::store::{Saved, node_row};

const MEETINGS: &str = "SELECT tenant, sub_id, meeting_id, node, node_meeting_id, internal_id,
    created_at_ms, parent_internal_id, xml, expected_thousandths, peak FROM meetings";

const HOOKS: &str = "SELECT id, tenant, sub_id, token, callback_url, meeting_id, events, raw,
    created_at_ms FROM hooks ORDER BY id";

/// Reads all rows. One that cannot be understood is left out, counted and, the first of them,
/// told of; an error of the database itself is an error.
pub(super) fn load(db: &Connection, seal: &Seal) -> rusqlite::Result<Saved> {
    let mut skipped = Skipped::default();
    let meetings = all(db, MEETINGS, [], meeting, &mut skipped)?;
    let nodes =
        all(db, "SELECT name, state, spec FROM nodes", [], |row| node(row, seal), &mut skipped)?;
    let hooks = all(db, HOOKS, [], hook, &mut skipped)?;
    let mut saved = Saved { meetings, hooks, ..Saved::default() };
    saved.take_nodes(nodes, |unusable| skipped.add(unreadable(2, unusable.to_string())));
    let first_skipped = skipped.first.map(|error| error.to_string());
    Ok(Saved { skipped: skipped.count, first_skipped, ..saved })
}

/// The meetings of tenants with these ids, by any of their names, each once.
pub(super) fn find(db: &Connection, wanted: &[(Slug, String)]) -> rusqlite::Result<Vec<Meeting>> {
    let mut found: Vec<Meeting> = Vec::new();
    for (tenant, id) in wanted {
        for name in ["meeting_id", "internal_id", "node_meeting_id"] {
            // The others' indexes have the most different values.
            let sql = format!("{MEETINGS} WHERE +tenant = ?1 AND {name} = ?2");
            let more = all(db, &sql, [tenant.as_str(), id], meeting, &mut Skipped::default())?;
            for meeting in more {
                if found.iter().all(|known| known.key != meeting.key) {
                    found.push(meeting);
                }
            }
        }
    }
    Ok(found)
}

/// All webhooks.
pub(super) fn hooks(db: &Connection) -> rusqlite::Result<Vec<Hook>> {
    all(db, HOOKS, [], hook, &mut Skipped::default())
}

/// The meeting of this key: one, or none.
pub(super) fn find_key(db: &Connection, key: &MeetingKey) -> rusqlite::Result<Vec<Meeting>> {
    let sql = format!("{MEETINGS} WHERE tenant = ?1 AND sub_id = ?2 AND meeting_id = ?3");
    let params = params![key.scope.tenant.as_str(), key.scope.sub.get(), key.id];
    all(db, &sql, params, meeting, &mut Skipped::default())
}

/// The meetings of a tenant with this internal id.
pub(super) fn find_internal(
    db: &Connection,
    tenant: &Slug,
    internal_id: &str,
) -> rusqlite::Result<Vec<Meeting>> {
    let sql = format!("{MEETINGS} WHERE +tenant = ?1 AND internal_id = ?2");
    all(db, &sql, [tenant.as_str(), internal_id], meeting, &mut Skipped::default())
}

#[derive(Default)]
struct Skipped {
    count: usize,
    first: Option<rusqlite::Error>,
}

impl Skipped {
    fn add(&mut self, error: rusqlite::Error) {
        self.count += 1;
        self.first.get_or_insert(error);
    }
}

fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    skipped: &mut Skipped,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(value) => found.push(value),
            Err(error) => skipped.add(error),
        }
    }
    Ok(found)
}

fn meeting(row: &Row<'_>) -> rusqlite::Result<Meeting> {
    Ok(Meeting {
        key: MeetingKey { scope: scope(row)?, id: row.get(2)? },
        node: NodeName::new(row.get::<_, String>(3)?),
        node_meeting_id: row.get(4)?,
        internal_id: row.get(5)?,
        created_at_ms: integer(row, 6)?,
        parent_internal_id: row.get(7)?,
        extent: extent(row),
        xml: row.get::<_, Vec<u8>>(8)?.into(),
    })
}

/// No reason to be without the meeting.
fn extent(row: &Row<'_>) -> Extent {
    let few = |column| row.get(column).unwrap_or_default();
    Extent { expected_thousandths: few(9), peak: few(10) }
}

fn hook(row: &Row<'_>) -> rusqlite::Result<Hook> {
    let sub = row.get(2)?;
    let sub = SubId::new(sub).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, sub.into()))?;
    let token = row.get_ref(3)?.as_str()?;
    let token = CallbackToken::parse(token)
        .ok_or_else(|| unreadable(3, "no token of a callback".to_owned()))?;
    let events: String = row.get(6)?;
    let unsigned = |column| {
        let number = row.get(column)?;
        u64::try_from(number)
            .map_err(|_negative| rusqlite::Error::IntegralValueOutOfRange(column, number))
    };
    Ok(Hook {
        id: unsigned(0)?,
        scope: Scope { tenant: word(row, 1)?, sub },
        token,
        callback_url: row.get(4)?,
        meeting_id: row.get(5)?,
        events: events.split(',').filter(|event| !event.is_empty()).map(str::to_owned).collect(),
        raw: row.get(7)?,
        created_at_ms: unsigned(8)?,
    })
}

fn node(row: &Row<'_>, seal: &Seal) -> rusqlite::Result<node_row::Read> {
    let name = NodeName::new(row.get::<_, String>(0)?);
    let json: Option<String> = row.get(2)?;
    Ok(node_row::read(name, word(row, 1)?, json.as_deref(), seal))
}

/// Tenant and sub id in the first two columns.
pub(super) fn scope(row: &Row<'_>) -> rusqlite::Result<Scope> {
    let sub = row.get(1)?;
    let sub = SubId::new(sub).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, sub.into()))?;
    Ok(Scope { tenant: word(row, 0)?, sub })
}

/// A column that holds a number which is never negative.
pub(super) fn integer(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number)
        .map_err(|_negative| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// A column that holds one of our words.
pub(super) fn word<T: FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse()
        .map_err(|_no_word| unreadable(column, format!("{text:?} is not a word of this column")))
}

pub(super) fn unreadable(column: usize, reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}

/// What is wanted of nodes. Rows that cannot be understood are left out.
pub(super) fn node_states(db: &Connection) -> rusqlite::Result<HashMap<NodeName, AdminState>> {
    let mut statement = db.prepare_cached("SELECT name, state FROM nodes")?;
    let rows = statement.query_map([], |row| {
        let (name, state): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(state.parse().ok().map(|state| (NodeName::new(name), state)))
    })?;
    rows.filter_map(Result::transpose).collect()
}
