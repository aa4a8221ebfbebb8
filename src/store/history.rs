//! What is learned of the size of meetings.

use async_trait::async_trait;

use super::Error;
use crate::model::{HistoryKey, HistoryRow, Hour, MeetingKey, Moments, Peak, Scope, Slug, SubId};

/// Which rows of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sought {
    /// Only those of this tenant.
    pub tenant: Option<Slug>,
    /// Only those of rooms that are called so.
    pub room: Option<String>,
    /// Only those learned then or later, in seconds since 1970.
    pub since_s: u64,
    /// Only those behind this one, by their columns.
    pub after: Option<HistoryKey>,
    /// How many at most.
    pub limit: u32,
}

/// Some rows of the history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learned {
    /// By their columns.
    pub rows: Vec<HistoryRow>,
    /// The last one that was read, where there may be more.
    pub last: Option<HistoryKey>,
    /// Rows that cannot have been learned: they are left out, and stay in the store.
    pub skipped: usize,
}

/// The part of a [`Store`](super::Store) that keeps how large meetings have become.
#[async_trait]
pub trait Histories: Send + Sync {
    /// Learns from meetings that are over. What several instances learn at the same time adds up; what was given to
    /// it in vain may have been learned in part.
    async fn learn(&self, peaks: &[Peak], at_s: u64) -> Result<(), Error>;

    /// What was learned, in the order of tenants, rooms and hours.
    async fn history(&self, sought: &Sought) -> Result<Learned, Error>;

    /// Puts rows in place of those about the same, all or none.
    async fn put_history(&self, rows: &[HistoryRow]) -> Result<(), Error>;

    /// Forgets what is known of a tenant, or of one of its rooms, or everything; says how many rows that were.
    async fn reset_history(&self, tenant: Option<&Slug>, room: Option<&str>) -> Result<u64, Error>;

    /// Forgets what was last learned before, in seconds since 1970, and of the rest what was learned first where
    /// there are more rows than that; says how many went.
    async fn forget_history(&self, before_s: u64, most: u64) -> Result<u64, Error>;
}

/// A key as it stands in columns: tenant, sub id, room, hour. What is not told is empty, or -1.
pub(super) type Columns = (String, i32, String, i32);

pub(super) fn to_columns(key: &HistoryKey) -> Columns {
    let tenant = key.tenant().map_or_else(String::new, ToString::to_string);
    let (sub, room) = key.room().map_or((-1, ""), |(sub, room)| (i32::from(sub.get()), room));
    (tenant, sub, room.to_owned(), key.hour().map_or(-1, |hour| hour.number().into()))
}

/// The columns behind which to go on; the first of all where nothing is told.
pub(super) fn after(key: Option<&HistoryKey>) -> Columns {
    key.map_or_else(|| (String::new(), -2, String::new(), -1), to_columns)
}

fn from_columns((tenant, sub, room, hour): Columns) -> Option<HistoryKey> {
    if tenant.is_empty() {
        return Some(HistoryKey::Everywhere);
    }
    let tenant: Slug = tenant.parse().ok()?;
    if sub < 0 {
        return Some(HistoryKey::Tenant(tenant));
    }
    let scope = Scope { tenant, sub: SubId::new(u16::try_from(sub).ok()?)? };
    let key = MeetingKey { scope, id: room };
    if hour < 0 {
        return Some(HistoryKey::Room(key));
    }
    Some(HistoryKey::RoomAtHour(key, Hour::new(u8::try_from(hour).ok()?)?))
}

/// A row as it stands in the store.
pub(super) struct Kept {
    pub(super) columns: Columns,
    pub(super) seen: i64,
    pub(super) mean: f64,
    pub(super) variance: f64,
    pub(super) learned_at_s: i64,
}

impl Kept {
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what is worked with")]
    fn read(self) -> Option<HistoryRow> {
        let moments = Moments {
            seen: u32::try_from(self.seen).ok()?,
            mean: self.mean as f32,
            variance: self.variance as f32,
        };
        let key = from_columns(self.columns)?;
        let learned_at_s = u64::try_from(self.learned_at_s).ok()?;
        moments.is_sound().then_some(HistoryRow { key, moments, learned_at_s })
    }
}

/// What is sound of these rows, which are as many as were asked for if there may be more.
pub(super) fn learned(kept: Vec<Kept>, limit: u32) -> Learned {
    let is_full = kept.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let last = kept.last().filter(|_| is_full).map(|kept| kept.columns.clone());
    let all = kept.len();
    let rows: Vec<_> = kept.into_iter().filter_map(Kept::read).collect();
    let skipped = all - rows.len();
    Learned { last: last.and_then(from_columns), rows, skipped }
}
