//! Changes as values, so that they can wait in a queue and share a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::arbiter::Claim;
use super::seal::Seal;
use super::{Holder, Put, SavedAsset, SavedNode, node_row};
use crate::model::{
    AdminState, Asset, AssetKey, Callback, CallbackToken, Hook, InstanceId, Meeting, MeetingKey,
    NewDelivery, NodeName, Settled,
};

/// A change. It can be applied again with the same outcome.
pub(in crate::store) enum Op {
    PutMeeting(Box<Meeting>),
    RemoveMeeting {
        key: MeetingKey,
        internal_id: Box<str>,
        /// Whether it was there.
        is_removed: Flag,
    },
    PutNode {
        name: NodeName,
        state: AdminState,
        spec: Option<String>,
        keeps_state: bool,
    },
    RemoveNode(NodeName),
    Callbacks(Change),
    Arbitrate(Arbitrate),
    PutAsset(AssetKey, Arc<Asset>),
    RemoveAsset(SavedAsset, Duration),
    PutHook(Box<Hook>),
    RemoveHook(u64),
    /// Writes what is there already.
    Probe,
}

impl Op {
    /// Forgets a meeting; with what tells afterwards whether it was there.
    pub(in crate::store) fn remove_meeting(key: &MeetingKey, internal_id: &str) -> (Self, Flag) {
        let is_removed = Flag::default();
        let (key, internal_id) = (key.clone(), internal_id.into());
        (Self::RemoveMeeting { key, internal_id, is_removed: is_removed.clone() }, is_removed)
    }

    /// Keeps a node, with its secret sealed.
    pub(in crate::store) fn put_node(node: &SavedNode, seal: &Seal) -> Self {
        let spec = node.spec.as_ref().map(|spec| node_row::to_json(spec, seal));
        Self::PutNode { name: node.name.clone(), state: node.state, spec, keeps_state: false }
    }

    /// The same without what is wanted of it, if that is known.
    pub(in crate::store) fn describe_node(node: &SavedNode, seal: &Seal) -> Self {
        let spec = node.spec.as_ref().map(|spec| node_row::to_json(spec, seal));
        Self::PutNode { name: node.name.clone(), state: node.state, spec, keeps_state: true }
    }
}

/// A change between processes. It can be applied again with the same outcome.
pub(in crate::store) enum Arbitrate {
    Claim { claim: Box<Claim>, is_ours: Flag, is_inherited: Flag },
    Release(Box<Claim>),
    Renew { instance: InstanceId, numbers: Vec<u64> },
    Save(Saver),
    AddHook { hook: Box<Hook>, is_kept: Flag },
}

/// A meeting that is to be saved unless there is another one.
pub(in crate::store) struct Saver {
    pub(in crate::store) meeting: Box<Meeting>,
    /// By which it was created; released in any case.
    pub(in crate::store) claim: Option<Box<Claim>>,
    pub(in crate::store) is_kept: Flag,
}

/// Something that turns out when a change is made: to be looked at then.
#[derive(Clone, Default)]
pub(in crate::store) struct Flag(Arc<AtomicBool>);

impl Flag {
    pub(in crate::store) fn set(&self, is_so: bool) {
        self.0.store(is_so, Ordering::Relaxed);
    }

    pub(in crate::store) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A change to callbacks. It can be applied again with the same outcome.
pub(in crate::store) enum Change {
    Put(Vec<Callback>),
    Bind {
        tokens: Vec<CallbackToken>,
        internal_id: String,
    },
    Remove(Vec<CallbackToken>),
    End {
        token: CallbackToken,
        at_ms: u64,
    },
    Deliver(Deliver),
    Settle {
        id: i64,
        holder: Holder,
        at_ms: u64,
        settled: Settled,
    },
    /// Whatever became of it before, it is tried soon.
    Retry {
        id: i64,
        at_ms: u64,
        is_done: Flag,
    },
    /// It is never told.
    Discard {
        id: i64,
        at_ms: u64,
        is_done: Flag,
    },
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

    /// Whether something goes out of the outbox.
    pub(in crate::store) fn deletes(self) -> bool {
        matches!(self, Self::Forget | Self::ForgetEvents | Self::ForgetDeliveries)
    }
}

/// Rows in one portion.
pub(in crate::store) const PORTION: u16 = 1000;

/// A part of a step, and whether there may be more of it. While one is written nobody else can write.
pub(in crate::store) struct Portion {
    pub(in crate::store) step: Step,
    pub(in crate::store) now_ms: u64,
    pub(in crate::store) is_full: Full,
}

/// Whether a portion was as large as one may be: to be looked at when the change was made.
#[derive(Clone, Default)]
pub(in crate::store) struct Full(Arc<AtomicBool>);

impl Full {
    pub(in crate::store) fn set(&self, rows: u64) {
        self.0.store(rows >= u64::from(PORTION), Ordering::Relaxed);
    }

    pub(in crate::store) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// All that is over at a time, portion by portion: the next one is known when the last one was written.
pub(in crate::store) struct Portions {
    steps: std::array::IntoIter<Step, 5>,
    now_ms: u64,
    last: Option<(Step, Full)>,
}

impl Portions {
    pub(in crate::store) fn at(now_ms: u64) -> Self {
        Self { steps: Step::ALL.into_iter(), now_ms, last: None }
    }
}

impl Iterator for Portions {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let step = match self.last.take() {
            Some((step, is_full)) if is_full.get() => step,
            _ => self.steps.next()?,
        };
        let is_full = Full::default();
        self.last = Some((step, is_full.clone()));
        Some(Op::Callbacks(Change::Expire(Portion { step, now_ms: self.now_ms, is_full })))
    }
}
