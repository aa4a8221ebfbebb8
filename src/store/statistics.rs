//! What tenants have used, by hours and days (UTC).

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::model::Slug;

/// Whoever has a longer gap to fill has seen too little of it: so much of it counts as what runs at its end.
pub(super) const MAX_GAP_MS: u64 = 5 * 60 * 1000;

/// How long a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// From minute 0 to minute 0.
    Hour,
    /// From midnight to midnight, UTC.
    Day,
}

impl Per {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// The word in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// How long it is.
    pub fn length(self) -> Duration {
        match self {
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }

    /// When the one began that this moment is in, in seconds since 1970.
    pub fn begin_of(self, at_ms: u64) -> u64 {
        let seconds = at_ms / 1000;
        seconds - seconds % self.length().as_secs()
    }
}

/// Whose figures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// Everybody's together: peaks are not the sum of the tenants'.
    Pool,
    /// One tenant's.
    Tenant(Slug),
}

impl Of {
    pub(super) fn column(&self) -> &str {
        match self {
            Self::Pool => "",
            Self::Tenant(slug) => slug.as_str(),
        }
    }

    pub(super) fn from_column(column: &str) -> Option<Self> {
        if column.is_empty() { Some(Self::Pool) } else { column.parse().ok().map(Self::Tenant) }
    }
}

/// What somebody has running at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Who.
    pub of: Of,
    /// Main meetings.
    pub meetings: u32,
    /// People in them.
    pub attendees: u32,
}

/// Meetings that have begun, as one process tells of them: as often as it takes to know that it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Which process: a name that no other has or had.
    pub process: String,
    /// Grows with its batches.
    pub number: u64,
    /// When it was made, ms since 1970.
    pub at_ms: u64,
    /// Whose meetings, and how many.
    pub meetings: Vec<(Of, u64)>,
}

/// What somebody has used in an hour or a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Who.
    pub of: Of,
    /// When it begins, in seconds since 1970.
    pub begins_at_s: u64,
    /// Meetings begun.
    pub meetings: u64,
    /// The time of all attendees together, in milliseconds.
    pub attendee_ms: u64,
    /// Of how much of the time that is known, in milliseconds.
    pub sampled_ms: u64,
    /// The most meetings at once.
    pub peak_meetings: u32,
    /// The most attendees at once.
    pub peak_attendees: u32,
}

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How long they are.
    pub per: Per,
    /// Whose; nothing: all tenants'.
    pub of: Option<Of>,
    /// The first that begins then or later, in seconds since 1970.
    pub from_s: u64,
    /// Only those that begin before.
    pub before_s: u64,
    /// Only those behind this one, by their beginnings and tenants.
    pub after: Option<(u64, String)>,
    /// How many at most.
    pub limit: u32,
}

impl Wanted {
    /// The first and the last of the tenants; slugs are of letters, digits and hyphens.
    pub(super) fn tenants(&self) -> [&str; 2] {
        match &self.of {
            None => ["-", "~"],
            Some(of) => [of.column(); 2],
        }
    }

    pub(super) fn after(&self) -> (i64, &str) {
        let after = self.after.as_ref();
        after.map_or((-1, ""), |(at_s, tenant)| (super::counters::to_column(*at_s), tenant))
    }
}

/// The part of a [`Store`](super::Store) that keeps statistics.
#[async_trait]
pub trait Statistics: Send + Sync {
    /// The clock that all who share the store have in common, ms since 1970: the server's. Where nobody else
    /// writes it is the caller's.
    async fn clock_ms(&self, own_ms: u64) -> Result<u64, Error>;

    /// Adds meetings that have begun, all or none; nothing where the same process has told of this batch, or of a
    /// later one, before.
    async fn add_begun(&self, begun: &Begun) -> Result<(), Error>;

    /// Counts what runs at this moment for the time since somebody did, unless that is less than `gap` ago: of
    /// many who count the same, one does. Tells whether it did.
    async fn add_running(
        &self,
        at_ms: u64,
        gap: Duration,
        running: &[Running],
    ) -> Result<bool, Error>;

    /// What was used, by beginnings and tenants.
    async fn usage(&self, wanted: &Wanted) -> Result<Vec<Usage>, Error>;

    /// Forgets what began before, of hours and of days, in seconds since 1970, and the processes that have told of
    /// nothing since the hours that are kept.
    async fn forget_usage(&self, hours_before_s: u64, days_before_s: u64) -> Result<(), Error>;

    /// When the oldest came of what is to be delivered to front ends, ms since 1970.
    async fn oldest_delivery(&self) -> Result<Option<u64>, Error>;
}
