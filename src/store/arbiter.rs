//! Who creates a meeting, where several processes may want to.
//!
//! A [`Claim`] is a row whose key is the meeting's: whoever has it asks the nodes, all others wait. It is a
//! lease by the store's clock, so that a process that dies in the middle does not hold it for ever, and it goes
//! in the transaction that saves the meeting. What a row of a meeting says holds for all: nobody writes over
//! the row of another meeting unless that one is known to be over.
//!
//! Numbers of webhooks are decided on in the same way.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::model::{Hook, InstanceId, Meeting, MeetingKey, Slug};

/// How long a claim holds after it was taken or renewed: more than several renewals that fail.
pub const LEASE: Duration = Duration::from_secs(20);

/// The right to create a meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose meeting, and as what it is to be created.
    pub key: MeetingKey,
    /// The internal id that a breakout room will have: it is saved under a key that its node makes up. None:
    /// a main meeting, which is saved under `key`.
    pub internal_id: Option<String>,
    /// Internal ids of meetings of this key that are over, or lost with their node: their rows count for nothing.
    pub over: Vec<String>,
    /// Who claims.
    pub instance: InstanceId,
    /// Which of its claims: its next one for the same meeting has another number.
    pub number: u64,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claiming {
    /// The meeting may be created, and nobody else may, until the claim is released or not renewed in time.
    Ours,
    /// The same, and its last holder did not give it back in time: it may have created the meeting.
    Inherited,
    /// Another instance creates it at this moment.
    Theirs,
    /// It runs already.
    Runs(Box<Meeting>),
}

/// What became of a meeting that was to be saved.
#[derive(Debug, Clone, PartialEq)]
pub enum Saving {
    /// It is saved.
    Kept,
    /// Nothing was changed, for the store has another meeting of this key.
    Other(Box<Meeting>),
}

/// What the store knows of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Whose meeting, and what it is called.
    pub key: MeetingKey,
    /// An instance creates it at this moment.
    pub is_claimed: bool,
    /// It is saved, by whomever.
    pub meeting: Option<Meeting>,
}

/// What became of a webhook that was to be added.
#[derive(Debug, Clone, PartialEq)]
pub enum Adding {
    /// It is saved.
    Kept,
    /// Its scope has one for this URL.
    Known(Box<Hook>),
    /// Another one has its number; this is the last that is in use.
    Taken(u64),
}

impl Adding {
    /// Of a hook that was not added: which of those that there are is in its way; none, if it has gone meanwhile.
    pub(super) fn instead(hook: &Hook, others: Vec<Hook>) -> Option<Self> {
        let last = others.iter().map(|other| other.id).max();
        let is_same =
            |other: &Hook| other.scope == hook.scope && other.callback_url == hook.callback_url;
        let is_taken = others.iter().any(|other| other.id == hook.id);
        let same = others.into_iter().find(is_same);
        let same = same.map(|same| Self::Known(same.into()));
        same.or_else(|| last.filter(|_| is_taken).map(Self::Taken))
    }
}

/// The part of a [`Store`](super::Store) that decides between processes.
#[async_trait]
pub trait Arbiter: Send + Sync {
    /// Whether other instances may use the store at any time. If not, only the other process of an upgrade does.
    fn is_shared(&self) -> bool;

    /// Claims a meeting, if it neither runs nor is claimed by another instance. An instance takes over from
    /// itself: it has to see to it that it creates a meeting once at a time.
    ///
    /// # Cancel safety
    /// As every write: the claim may come to stand after the future was dropped. A release that is begun
    /// later comes after it.
    async fn claim_meeting(&self, claim: &Claim) -> Result<Claiming, Error>;

    /// Gives a claim back, unless it has gone over to somebody else.
    async fn release_claim(&self, claim: &Claim) -> Result<(), Error>;

    /// Has these claims of an instance hold for another [`LEASE`], and forgets what expired long ago.
    async fn renew_claims(&self, instance: &InstanceId, numbers: &[u64]) -> Result<(), Error>;

    /// Which of these meetings are being created, and which are saved: one for each key, in their order. A
    /// meeting whose claim was released by saving it is seen as either.
    async fn find_claims(&self, keys: &[MeetingKey]) -> Result<Vec<Standing>, Error>;

    /// Saves a meeting that was just created and releases its claim, both or none. Rows of the meetings that
    /// the claim says are over make room.
    async fn put_created(&self, meeting: &Meeting, claim: &Claim) -> Result<Saving, Error>;

    /// Saves a meeting that was found on a node.
    async fn put_found(&self, meeting: &Meeting) -> Result<Saving, Error>;

    /// Keeps a new webhook, unless there is one of this number, or of its scope for its URL.
    async fn add_hook(&self, hook: &Hook) -> Result<Adding, Error>;

    /// All webhooks, by number, or those of a tenant.
    async fn find_hooks(&self, tenant: Option<&Slug>) -> Result<Vec<Hook>, Error>;
}
