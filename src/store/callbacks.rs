//! Callbacks in the store: the URLs that nodes may call, and the outbox of what front ends are to get.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::model::{Callback, CallbackToken, Delivery, MeetingKey, NewDelivery, Settled};

/// How long a callback is answered after its meeting has ended, and a dead delivery can be looked at.
pub const CALLBACKS_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// What may wait to be delivered for one tenant; [`CallbackKind::Hook`](crate::model::CallbackKind::Hook)
/// leaves half of it to what nodes tell but once.
pub const MAX_PENDING: u64 = 10_000;
/// The same in bytes.
pub const MAX_PENDING_BYTES: u64 = 256 * 1024 * 1024;
/// What is kept for one tenant of what was given up.
pub const MAX_DEAD: u64 = 1_000;

/// A create is answered, and its meeting in the table of meetings, long before.
pub(super) const UNNOTICED_END_MS: u64 = 60 * 60 * 1000;

/// An event that a node tells again comes within hours.
pub(super) const TOLD_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Why a delivery never was tried.
pub(super) const OVERFLOW: &str = "too much was waiting for this tenant";

/// Who is due from here on waits for its turn.
pub(super) const NEVER: i64 = i64::MAX - 0xffff;

/// The part of a [`Store`](super::Store) that keeps callbacks. Writes are as durable as all others.
#[async_trait]
pub trait Callbacks: Send + Sync {
    /// Keeps callbacks, all or none.
    async fn put_callbacks(&self, callbacks: &[Callback]) -> Result<(), Error>;

    /// Notes which meeting these callbacks are about.
    async fn bind_callbacks(
        &self,
        tokens: &[CallbackToken],
        internal_id: &str,
    ) -> Result<(), Error>;

    /// Forgets callbacks of a create that made no meeting.
    async fn remove_callbacks(&self, tokens: &[CallbackToken]) -> Result<(), Error>;

    /// The callback of this token.
    async fn find_callback(&self, token: &CallbackToken) -> Result<Option<Callback>, Error>;

    /// The callbacks of one meeting.
    async fn callbacks_of(
        &self,
        key: &MeetingKey,
        internal_id: &str,
    ) -> Result<Vec<Callback>, Error>;

    /// The callbacks of the meeting with this internal id, whosever it is.
    async fn callbacks_of_internal(&self, internal_id: &str) -> Result<Vec<Callback>, Error>;

    /// Notes that the meeting of this callback was over at this time, in ms since 1970. The first time counts.
    async fn end_callbacks(&self, token: &CallbackToken, at_ms: u64) -> Result<(), Error>;

    /// Puts something into the outbox, unless the same is or was in it. What was received at a later time, as an
    /// end that we only expect, gives way to it as long as nobody has tried to deliver it. Beyond [`MAX_PENDING`] and
    /// [`MAX_PENDING_BYTES`] it is given up at once; what was given up before the last [`MAX_DEAD`] is forgotten.
    async fn put_delivery(&self, delivery: &NewDelivery) -> Result<Put, Error>;

    /// Takes what is due, those of a tenant that wait longest first, and of the tenants each one's first before
    /// any one's second. Of a hook's events only the one that came first. However much waits, this takes as long
    /// as there are places.
    ///
    /// What somebody else holds is not taken and keeps its place. What is under way is not taken again either;
    /// it stays ours for another lease. Leases go by the store's clock, so that two instances whose clocks differ
    /// agree.
    async fn take_deliveries(
        &self,
        now_ms: u64,
        places: Places,
        taking: Taking<'_>,
    ) -> Result<Outbox, Error>;

    /// Lets go of deliveries without an attempt: they are due as before.
    async fn give_back(&self, ids: &[i64], holder: Holder) -> Result<(), Error>;

    /// What a delivery is to tell; nothing once it was delivered.
    async fn payload_of(&self, id: i64) -> Result<Vec<u8>, Error>;

    /// Notes what became of an attempt of `holder`'s. It counts for nothing if somebody else has taken the
    /// delivery since.
    async fn settle_delivery(
        &self,
        id: i64,
        holder: Holder,
        at_ms: u64,
        settled: &Settled,
    ) -> Result<(), Error>;

    /// Notes which meetings are over though no node has said so, and which webhooks are gone, and forgets
    /// what was over [`CALLBACKS_KEPT_MS`] ago. Nothing that is still to be delivered goes.
    async fn expire_callbacks(&self, now_ms: u64) -> Result<(), Error>;
}

/// How much is delivered at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// To one origin of a tenant.
    pub of_origin: u32,
    /// For one tenant.
    pub of_tenant: u32,
    /// For all of them.
    pub all: u32,
}

/// Who delivers: one process, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(pub(super) i64);

impl Holder {
    /// One that nobody else is.
    pub fn random() -> Self {
        // 0 stands for nobody.
        Self(rand::random_range(1..i64::MAX))
    }
}

/// How deliveries are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taking<'a> {
    /// By whom.
    pub holder: Holder,
    /// For how long; then others may take what is not settled and was not held on to.
    pub lease: Duration,
    /// What the holder has taken before and goes on with. Else it may take again what is its own.
    pub under_way: &'a [i64],
}

impl Taking<'_> {
    pub(super) fn lease_ms(&self) -> i64 {
        i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX / 2)
    }
}

/// What became of something that was put into the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is in it, or was.
    Kept,
    /// Too much waits for its tenant: it was given up at once.
    GivenUp,
}

/// The outbox at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbox {
    /// What is due and was taken.
    pub taken: Vec<Delivery>,
    /// When the next one will be, ms since 1970.
    pub next_due_ms: Option<u64>,
    /// All that is to be delivered, due or not.
    pub pending: u64,
    /// All that was given up and is still kept.
    pub dead: u64,
}
