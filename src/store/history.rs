//! What is learned of the size of meetings.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use super::Error;
use super::counters::to_column;
use crate::model::{
    HistoryKey, HistoryRow, Hour, MeetingKey, Moments, Past, Peak, Scope, Slug, SubId,
};

/// Which rows of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sought {
    /// Only those of this tenant.
    pub tenant: Option<Slug>,
    /// Only those of rooms that are called so.
    pub room: Option<String>,
    /// Only those learned then or later, in seconds since 1970.
    pub since_s: u64,
    /// Only those behind this place.
    pub after: Option<Mark>,
    /// How many at most, those that cannot be read among them.
    pub limit: u32,
}

/// Some rows of the history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learned {
    /// By their columns.
    pub rows: Vec<HistoryRow>,
    /// The place of the last one that was read, where there may be more.
    pub last: Option<Mark>,
    /// Rows that cannot have been learned: they are left out, and stay in the store.
    pub skipped: usize,
}

/// A place in the history: that of a row, whether it can be read or not. As a text it can be handed to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(pub(super) Place);

/// What of the history has had its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aged {
    /// What was last learned before, in seconds since 1970.
    pub before_s: u64,
    /// What there is beyond so many rows, from what was learned first on.
    pub most: u64,
    /// The time, in seconds since 1970. What seems to be learned later was learned by a clock that was ahead: where there
    /// are too many rows it counts as learned now, and does not outlast all that is learned from here on.
    pub now_s: u64,
    /// So many rows at once, so that nobody waits long for the store meanwhile.
    pub limit: u32,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgotten {
    /// Everything.
    All,
    /// What is known of a tenant, and of its rooms.
    Tenant(Slug),
    /// What is known of a room: that of one secret, or of all rooms of the tenant that are called so.
    Room {
        /// Whose it is.
        tenant: Slug,
        /// Which of its secrets'.
        sub: Option<SubId>,
        /// What its front end calls it.
        id: String,
    },
}

/// The part of a [`Store`](super::Store) that keeps how large meetings have become.
///
/// What operators change counts up the generation, by which everybody who shares the store sees that all they know
/// of it is out of date.
#[async_trait]
pub trait Histories: Send + Sync {
    /// Learns from meetings that are over, a few hundred at most, all or none. What several instances learn at the
    /// same time adds up.
    async fn learn(&self, peaks: &[Peak], at_s: u64) -> Result<(), Error>;

    /// Learns from meetings that were over before anybody has looked, in their order, all or none; tells the new
    /// generation.
    async fn seed_history(&self, past: &[Past], now_s: u64) -> Result<u64, Error>;

    /// What was learned, in the order of tenants, rooms and hours.
    async fn history(&self, sought: &Sought) -> Result<Learned, Error>;

    /// Puts rows in place of those about the same, all or none; tells the new generation. No two are about the same.
    async fn put_history(&self, rows: &[HistoryRow]) -> Result<u64, Error>;

    /// Forgets what is known; says how many rows that were.
    async fn reset_history(&self, what: &Forgotten) -> Result<u64, Error>;

    /// Forgets some of what has had its time; says how many rows went. There may be more where that is the limit.
    async fn forget_history(&self, aged: &Aged) -> Result<u64, Error>;

    /// How often the history was changed otherwise than by learning and forgetting; 0 where it never was.
    async fn history_generation(&self) -> Result<u64, Error>;
}

/// A key as it stands in columns: tenant, sub id, room, hour. What is not told is empty, or -1.
pub(super) type Columns = (String, i32, String, i32);

pub(super) fn to_columns(key: &HistoryKey) -> Columns {
    let tenant = key.tenant().map_or_else(String::new, ToString::to_string);
    let (sub, room) = key.room().map_or((-1, ""), |(sub, room)| (i32::from(sub.get()), room));
    (tenant, sub, room.to_owned(), key.hour().map_or(-1, |hour| hour.number().into()))
}

/// The columns of what is to be forgotten: tenant, room and sub id, each where it matters.
pub(super) fn of_forgotten(what: &Forgotten) -> (Option<&str>, Option<&str>, Option<i32>) {
    match what {
        Forgotten::All => (None, None, None),
        Forgotten::Tenant(tenant) => (Some(tenant.as_str()), None, None),
        Forgotten::Room { tenant, sub, id } => {
            (Some(tenant.as_str()), Some(id), sub.map(|sub| sub.get().into()))
        }
    }
}

/// The columns of any row, whatever somebody has put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tenant: Vec<u8>,
    pub(super) sub: i64,
    pub(super) room: Vec<u8>,
    pub(super) hour: i64,
}

/// Before all rows.
const FIRST: Place = Place { tenant: Vec::new(), sub: i64::MIN, room: Vec::new(), hour: i64::MIN };

/// Behind which place the rows are that are sought. Those of one tenant begin and end among these, however many others
/// there are; none where all of them are before the mark.
pub(super) fn begin(sought: &Sought) -> Option<Place> {
    let place = sought.after.as_ref().map_or(FIRST, |mark| mark.0.clone());
    let Some(of) = sought.tenant.as_ref().map(|slug| slug.as_str().as_bytes()) else {
        return Some(place);
    };
    match place.tenant.as_slice().cmp(of) {
        Ordering::Less => Some(Place { tenant: of.to_vec(), ..FIRST }),
        Ordering::Equal => Some(place),
        Ordering::Greater => None,
    }
}

/// From when on, as a column has it; all rows are also those of times that cannot be.
pub(super) fn since(since_s: u64) -> i64 {
    if since_s == 0 { i64::MIN } else { to_column(since_s) }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { tenant, sub, room, hour } = &self.0;
        write!(f, "{} {sub} {} {hour}", hex::encode(tenant), hex::encode(room))
    }
}

/// Why a text is no [`Mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no place in the history")]
pub struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(NoMark);
        let bytes = |word: &str| hex::decode(word).map_err(|_odd| NoMark);
        let number = |word: &str| word.parse().map_err(|_odd| NoMark);
        let place = Place {
            tenant: bytes(word()?)?,
            sub: number(word()?)?,
            room: bytes(word()?)?,
            hour: number(word()?)?,
        };
        if words.next().is_some() { Err(NoMark) } else { Ok(Self(place)) }
    }
}

/// A row as it stands in the store.
pub(super) struct Kept {
    pub(super) place: Place,
    pub(super) seen: i64,
    pub(super) mean: f64,
    pub(super) variance: f64,
    pub(super) learned_at_s: i64,
}

impl Kept {
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what is worked with")]
    fn read(&self, text: fn(&str) -> String) -> Option<HistoryRow> {
        let moments = Moments {
            seen: u32::try_from(self.seen).ok()?,
            mean: self.mean as f32,
            variance: self.variance as f32,
        };
        let key = key_of(&self.place, text)?;
        let learned_at_s = u64::try_from(self.learned_at_s).ok()?;
        moments.is_sound().then_some(HistoryRow { key, moments, learned_at_s })
    }
}

fn key_of(place: &Place, text: fn(&str) -> String) -> Option<HistoryKey> {
    let (tenant, room) =
        (std::str::from_utf8(&place.tenant).ok()?, std::str::from_utf8(&place.room).ok()?);
    if place.sub == -1 {
        let is_whole = room.is_empty() && place.hour == -1;
        return match tenant {
            _ if !is_whole => None,
            "" => Some(HistoryKey::Everywhere),
            slug => Some(HistoryKey::Tenant(slug.parse().ok()?)),
        };
    }
    let sub = SubId::new(u16::try_from(place.sub).ok()?)?;
    let key = MeetingKey { scope: Scope { tenant: tenant.parse().ok()?, sub }, id: text(room) };
    if place.hour == -1 {
        return Some(HistoryKey::Room(key));
    }
    Some(HistoryKey::RoomAtHour(key, Hour::new(u8::try_from(place.hour).ok()?)?))
}

/// What is sound of these rows, which are as many as were asked for if there may be more. `text` makes of a room's
/// column what it is called.
pub(super) fn learned(kept: &[Kept], limit: u32, text: fn(&str) -> String) -> Learned {
    let is_full = kept.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let last = kept.last().filter(|_| is_full).map(|kept| Mark(kept.place.clone()));
    let rows: Vec<_> = kept.iter().filter_map(|kept| kept.read(text)).collect();
    Learned { last, skipped: kept.len() - rows.len(), rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_text_and_nothing_else_is_one() {
        let place =
            Place { tenant: b"acme".to_vec(), sub: -7, room: vec![0xff, 0, b' '], hour: 999 };
        let mark = Mark(place);
        assert_eq!(mark.to_string().parse(), Ok(mark));
        let whole = Mark(FIRST);
        assert_eq!(whole.to_string().parse(), Ok(whole));
        for odd in ["", "a", "61 0 61", "61 0 61 0 0", "6 0 61 0", "61 x 61 0", "61 0 zz 0"] {
            assert_eq!(odd.parse::<Mark>(), Err(NoMark), "{odd}");
        }
    }
}
