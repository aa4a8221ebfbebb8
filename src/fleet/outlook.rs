//! What is foreseen of the pool, from what was learned of its past.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::entry::Seen;
use super::forecast::{Forecast, Hours};
use super::predict::{self, Ask, Expected};
use super::{Entry, Fleet, TenantEntry, now_ms};
use crate::model::{Hour, Meeting, MeetingKey, Peak};
use crate::store::Store;

/// Who was in a meeting comes back to it so long after its node went down; from there on the next one of its room is
/// another one.
const BACK_WITHIN_MS: u64 = 30 * 60 * 1000;

/// What was learned.
#[derive(Debug, Default)]
pub struct Outlook(ArcSwap<Hours>);

impl Outlook {
    /// Takes over all that is known of past hours: beginning in seconds since 1970, and in milliseconds the time of
    /// all attendees and of how much of the hour that is known.
    pub fn learn(&self, hours: impl IntoIterator<Item = (u64, u64, u64)>) {
        self.0.store(Hours::new(hours).into());
    }
}

impl Fleet {
    /// How many attendees there are by the last polls, in main meetings on all nodes.
    pub fn attendees(&self) -> u64 {
        self.snapshot().nodes().map(|node| u64::from(node.live.attendees())).sum()
    }

    /// How many there will be then; nothing where nothing is known.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 people")]
    pub fn foresee(&self, ahead: Duration) -> Option<Forecast> {
        // Of tenants, as in the hours that were learned: nodes may have others' meetings, too.
        let tallies = self.directory.tallies();
        let current: u64 =
            tallies.into_iter().map(|(_, tally)| u64::from(tally.whole().people.attendees)).sum();
        self.outlook.0.load().foresee(now_ms() / 1000, current as f64, ahead)
    }
}

/// What a front end says of the size of a meeting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// `maxParticipants`, where it is given and not 0.
    pub max_participants: Option<u32>,
    /// How many it expects.
    pub size: Option<u32>,
}

impl Fleet {
    /// How large a meeting that is created now is expected to become.
    pub fn expect(&self, tenant: &TenantEntry, key: &MeetingKey, hints: Hints) -> Expected {
        let placement = tenant.tenant.placement;
        self.history.expect(&Ask {
            key,
            hour: self.hour_of(self.directory.clock.now_ms()),
            max_participants: hints.max_participants,
            hint: hints.size,
            largest_node: tenant.largest_node(),
            default_size: placement.default_size,
            cap: placement.max_size,
            lost: self.lost_in(key),
        })
    }

    /// Who is expected back in a meeting whose node has failed; nothing where none is known of.
    fn lost_in(&self, key: &MeetingKey) -> Option<u32> {
        let entry = self.directory.get_lost(key)?;
        let snapshot = self.peek();
        let down_since = snapshot.node(entry.node().as_str())?.live.down_since();
        let gone_ms = |since_ms| self.directory.clock.steady_ms().saturating_sub(since_ms);
        let is_recent = down_since.is_none_or(|since_ms| gone_ms(since_ms) < BACK_WITHIN_MS);
        Some(entry.last_known()).filter(|attendees| is_recent && *attendees > 0)
    }

    /// Enters a meeting that a node has created without being chosen for it: where the one ran before that had the
    /// name. It is expected to become what any is that is created now, and weighs that at once.
    pub fn enter_unplaced(
        &self,
        tenant: &TenantEntry,
        mut meeting: Meeting,
        hints: Hints,
    ) -> Arc<Entry> {
        if meeting.parent_internal_id.is_none() {
            let expected = self.expect(tenant, &meeting.key, hints);
            meeting.extent.expected_thousandths = predict::thousandths(expected.size);
        }
        let entry = self.directory.adopt(meeting, false);
        if let Some(node) = self.peek().node(entry.node().as_str()) {
            self.weigh_unpolled(node, &entry);
        }
        self.note_created(&entry, hints);
        entry
    }

    /// Has it written down that a front end has created a meeting here, and what it said of its size.
    pub fn note_created(&self, entry: &Arc<Entry>, hints: Hints) {
        self.chronicle.created(entry, hints);
    }

    /// Has the store told of what a poll of ours has counted in a meeting.
    pub(super) fn note_seen(&self, entry: &Arc<Entry>, seen: &Seen) {
        if seen.is_more {
            self.grown.note(entry);
        }
        if seen.is_other {
            self.chronicle.counted(&self.directory.clock, entry);
        }
    }

    /// Learns how large a meeting that is over has become. Of all instances the one does that has taken it out of
    /// the store.
    pub fn learn_end(&self, entry: &Arc<Entry>) {
        let now_ms = self.directory.clock.now_ms();
        self.chronicle.ended(&self.directory.clock, entry);
        entry.count_end(now_ms);
        // Whoever is gone from the inventory needs no history, and what was forgotten of it stays so.
        let tenant = self.peek().tenant(entry.key().scope.tenant.as_str()).cloned();
        let is_there = tenant.is_some_and(|tenant| !tenant.is_retired);
        if is_there && entry.counts() && entry.parent_internal_id().is_none() {
            let hour = self.hour_of(entry.created_at_ms());
            let peak = Peak { key: entry.key().clone(), hour, attendees: entry.peak() };
            self.history.learn_and_keep(peak, now_ms / 1000);
        }
    }

    /// The same where it is to be known whether it was we who took it out of the store. What never was there nobody
    /// else can know of, if the store is ours alone.
    pub fn learn_removed(&self, entry: &Arc<Entry>, store: &dyn Store, is_removed: bool) {
        if is_removed || !(entry.is_saved() || store.is_shared()) {
            self.learn_end(entry);
        }
    }

    /// The hour of the week that a meeting is for which was created then.
    pub fn hour_of(&self, created_at_ms: u64) -> Hour {
        Hour::of(created_at_ms, &self.zone)
    }
}
