//! How large meetings have become: what is learned of them, and what it is about.

mod hour;
mod moments;

pub use hour::Hour;
pub use moments::Moments;

use super::{MeetingKey, Slug, SubId};

/// How much one meeting counts once many are known: among all meetings and its tenant's, and in its room. A room
/// changes with its term, a pool hardly does.
pub const SHARE_OF_MANY: f64 = 0.02;
/// See [`SHARE_OF_MANY`].
pub const SHARE_OF_ROOM: f64 = 0.3;

/// What a row of the history is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistoryKey {
    /// All meetings.
    Everywhere,
    /// Those of one tenant.
    Tenant(Slug),
    /// Those of one room: what front ends call the meeting, by tenant and secret.
    Room(MeetingKey),
    /// Those of one room at one hour of the week.
    RoomAtHour(MeetingKey, Hour),
}

impl HistoryKey {
    /// How much one meeting counts once many are known.
    pub fn share(&self) -> f64 {
        match self {
            Self::Everywhere | Self::Tenant(_) => SHARE_OF_MANY,
            Self::Room(_) | Self::RoomAtHour(..) => SHARE_OF_ROOM,
        }
    }

    /// The tenant whose meetings it is about.
    pub fn tenant(&self) -> Option<&Slug> {
        match self {
            Self::Everywhere => None,
            Self::Tenant(tenant) => Some(tenant),
            Self::Room(key) | Self::RoomAtHour(key, _) => Some(&key.scope.tenant),
        }
    }

    /// The secret and the name of the room that it is about.
    pub fn room(&self) -> Option<(SubId, &str)> {
        match self {
            Self::Everywhere | Self::Tenant(_) => None,
            Self::Room(key) | Self::RoomAtHour(key, _) => Some((key.scope.sub, &key.id)),
        }
    }

    /// The hour of the week that it is about.
    pub fn hour(&self) -> Option<Hour> {
        match self {
            Self::RoomAtHour(_, hour) => Some(*hour),
            Self::Everywhere | Self::Tenant(_) | Self::Room(_) => None,
        }
    }
}

/// A row of the history, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// What it is about.
    pub key: HistoryKey,
    /// What is known of it.
    pub moments: Moments,
    /// When it was last learned, in seconds since 1970.
    pub learned_at_s: u64,
}

/// A meeting that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peak {
    /// Whose it was, and its room.
    pub key: MeetingKey,
    /// The hour of the week that it was for.
    pub hour: Hour,
    /// How many were in it at its fullest.
    pub attendees: u32,
}

/// A meeting that was over before anybody has looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// What it was.
    pub peak: Peak,
    /// When it was created, in seconds since 1970.
    pub at_s: u64,
}

impl Peak {
    /// What it teaches.
    pub fn teaches(&self) -> [HistoryKey; 4] {
        [
            HistoryKey::Everywhere,
            HistoryKey::Tenant(self.key.scope.tenant.clone()),
            HistoryKey::Room(self.key.clone()),
            HistoryKey::RoomAtHour(self.key.clone(), self.hour),
        ]
    }
}
