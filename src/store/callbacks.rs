//! Callbacks in the store: the URLs that nodes may call, and the outbox of what front ends are to get.

use async_trait::async_trait;

use super::Error;
use crate::model::{Callback, CallbackToken, Delivery, MeetingKey, NewDelivery, Settled};

/// How long a callback is answered after its meeting has ended, and a dead delivery can be looked at.
pub const CALLBACKS_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

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

    /// Notes that the meeting of this callback was over at this time, in ms since 1970. The first time counts.
    async fn end_callbacks(&self, token: &CallbackToken, at_ms: u64) -> Result<(), Error>;

    /// Puts something into the outbox, unless the same is or was in it.
    async fn put_delivery(&self, delivery: &NewDelivery) -> Result<(), Error>;

    /// What is due: at most `max`, of each origin at most `per_origin`, those that wait longest first.
    async fn outbox(&self, now_ms: u64, per_origin: u32, max: u32) -> Result<Outbox, Error>;

    /// What a delivery is to tell; nothing once it was delivered.
    async fn payload_of(&self, id: i64) -> Result<Vec<u8>, Error>;

    /// Notes what became of an attempt.
    async fn settle_delivery(&self, id: i64, at_ms: u64, settled: &Settled) -> Result<(), Error>;

    /// Notes which meetings are over though no node has said so, and forgets what was over
    /// [`CALLBACKS_KEPT_MS`] ago. Nothing that is still to be delivered goes.
    async fn expire_callbacks(&self, now_ms: u64) -> Result<(), Error>;
}

/// The outbox at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbox {
    /// What is due.
    pub due: Vec<Delivery>,
    /// When the next one will be, ms since 1970.
    pub next_due_ms: Option<u64>,
    /// All that is to be delivered, due or not.
    pub pending: u64,
    /// All that was given up and is still kept.
    pub dead: u64,
}
