//! Changes as values, so that they can wait in a queue and share a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Put, SavedNode};
use crate::model::{
    Asset, AssetKey, Callback, CallbackToken, Hook, Meeting, MeetingKey, NewDelivery, NodeName,
    Settled,
};

/// A change. It can be applied again with the same outcome.
pub(in crate::store) enum Op {
    PutMeeting(Box<Meeting>),
    RemoveMeeting {
        key: MeetingKey,
        internal_id: Box<str>,
    },
    PutNode(Box<SavedNode>),
    RemoveNode(NodeName),
    Callbacks(Change),
    PutAsset(AssetKey, Arc<Asset>),
    RemoveAsset(AssetKey),
    PutHook(Box<Hook>),
    RemoveHook(u64),
    /// Writes what is there already.
    Probe,
}

/// A change to callbacks. It can be applied again with the same outcome.
pub(in crate::store) enum Change {
    Put(Vec<Callback>),
    Bind { tokens: Vec<CallbackToken>, internal_id: String },
    Remove(Vec<CallbackToken>),
    End { token: CallbackToken, at_ms: u64 },
    Deliver(Deliver),
    Settle { id: i64, at_ms: u64, settled: Settled },
    Expire(Portion),
}

/// Something for the outbox.
pub(in crate::store) struct Deliver {
    pub(in crate::store) delivery: NewDelivery,
    pub(in crate::store) outcome: Outcome,
}

impl Deliver {
    pub(in crate::store) fn new(delivery: &NewDelivery) -> Self {
        Self { delivery: delivery.clone(), outcome: Outcome::default() }
    }
}

/// What became of it: to be looked at when the change was made.
#[derive(Clone, Default)]
pub(in crate::store) struct Outcome(Arc<AtomicBool>);

impl Outcome {
    pub(in crate::store) fn set(&self, put: Put) {
        self.0.store(put == Put::GivenUp, Ordering::Relaxed);
    }

    pub(in crate::store) fn get(&self) -> Put {
        if self.0.load(Ordering::Relaxed) { Put::GivenUp } else { Put::Kept }
    }
}

/// What forgetting is made of, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Step {
    GiveTurns,
    End,
    Forget,
    ForgetEvents,
    ForgetDeliveries,
}

impl Step {
    pub(in crate::store) const ALL: [Self; 5] =
        [Self::GiveTurns, Self::End, Self::Forget, Self::ForgetEvents, Self::ForgetDeliveries];
}

/// Rows in one portion.
pub(in crate::store) const PORTION: u16 = 1000;

/// A part of a step, and whether there may be more of it. While one is written nobody else can write.
pub(in crate::store) struct Portion {
    pub(in crate::store) step: Step,
    pub(in crate::store) now_ms: u64,
    pub(in crate::store) is_full: Arc<AtomicBool>,
}
