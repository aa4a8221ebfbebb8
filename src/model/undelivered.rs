//! What waits in the outbox, or was given up, as operators see it.

use std::str::FromStr;

use super::{Delivery, Slug};

/// Whether it is still tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It is to be delivered.
    Pending,
    /// It was given up.
    Dead,
}

impl Waiting {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pending, Self::Dead];

    /// The word in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dead => "dead",
        }
    }
}

impl FromStr for Waiting {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// Something that a front end was not told yet, but for what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// What, and to whom.
    pub delivery: Delivery,
    /// Whether it is still tried.
    pub state: Waiting,
    /// When it is tried next, ms since 1970; nothing where it is not, or waits until those before it are told.
    pub next_attempt_at_ms: Option<u64>,
    /// When it was given up, ms since 1970.
    pub given_up_at_ms: Option<u64>,
    /// Why it failed last, without secrets.
    pub last_error: Option<String>,
    /// An instance is delivering it at this moment.
    pub is_under_way: bool,
    /// What it is to tell was not kept: it never had room.
    pub is_empty: bool,
}

/// Which part of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDeliveries {
    /// Only one tenant's.
    pub tenant: Option<Slug>,
    /// Only those of this state.
    pub state: Option<Waiting>,
    /// Only those with larger numbers.
    pub after: i64,
    /// How many at most.
    pub limit: u32,
}
