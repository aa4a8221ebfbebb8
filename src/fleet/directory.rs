//! The directory: the map of running meetings, in memory.
//!
//! Look-ups are lock-free (papaya). Every change takes one short lock, so the indexes agree with each
//! other. An entry is found by its key while it is `Running` or `Ended`, by its internal id always; a
//! `Lost` one waits for its node to come back.

mod pages;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;
use papaya::Equivalent;
use parking_lot::Mutex;

pub use pages::Sought;

use super::clock::Clock;
use super::departed::{Departed, Fate};
use super::entry::{Entry, Phase};
use super::identity;
use super::journal::{self, Journal};
use super::limits::{Part, Place, Tallies, Tally};
use super::placement::Reservation;
use crate::model::{Meeting, MeetingKey, NodeName, Scope, Slug};

/// An entry that hashes as its key.
struct ByKey(Arc<Entry>);

/// A key in borrowed parts.
struct KeyRef<'a>(&'a Scope, &'a str);

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef(&self.0.key().scope, &self.0.key().id).hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<ByKey> for KeyRef<'_> {
    fn equivalent(&self, key: &ByKey) -> bool {
        *self.0 == key.0.key().scope && self.1 == key.0.key().id
    }
}

/// An entry that hashes as its internal id, which is unique in the world but for breakout rooms, whose
/// ids carry their scope.
#[derive(Clone)]
pub(super) struct ByInternal(pub(super) Arc<Entry>);

impl Hash for ByInternal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.internal_id().hash(state);
    }
}

impl PartialEq for ByInternal {
    fn eq(&self, other: &Self) -> bool {
        self.0.internal_id() == other.0.internal_id()
    }
}

impl Eq for ByInternal {}

impl PartialOrd for ByInternal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByInternal {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.internal_id().cmp(other.0.internal_id())
    }
}

impl Borrow<str> for ByInternal {
    fn borrow(&self) -> &str {
        self.0.internal_id()
    }
}

/// Who has which meetings, for lists.
#[derive(Default)]
struct Lists {
    of_tenant: HashMap<Slug, HashSet<ByInternal>>,
    on_node: HashMap<NodeName, HashSet<ByInternal>>,
}

/// The map of running meetings.
#[derive(Default)]
pub struct Directory {
    by_key: papaya::HashMap<ByKey, (), RandomState>,
    by_internal: papaya::HashMap<ByInternal, (), RandomState>,
    /// Breakout rooms by what they were created as, in their scope.
    by_alias: papaya::HashMap<Box<str>, Arc<Entry>>,
    lists: Mutex<Lists>,
    tallies: Tallies,
    /// By which ages are told.
    pub(super) clock: Clock,
    /// What was taken out a moment ago.
    pub(super) departed: Departed,
    /// What has happened here and elsewhere.
    pub(super) journal: Journal,
}

impl Directory {
    /// What a tenant has running.
    pub fn tally(&self, tenant: &Slug) -> Arc<Tally> {
        self.tallies.of(tenant)
    }

    /// What each tenant that was ever in the inventory has running, and had.
    pub fn tallies(&self) -> Vec<(Slug, Arc<Tally>)> {
        self.tallies.all()
    }

    /// The meeting that `scope` itself calls `id`, unless it is lost.
    pub fn get(&self, scope: &Scope, id: &str) -> Option<Arc<Entry>> {
        let map = self.by_key.pin();
        let (entry, ()) = map.get_key_value(&KeyRef(scope, id))?;
        (entry.0.phase() != Phase::Lost).then(|| entry.0.clone())
    }

    /// The meeting of this internal id, whoever owns it and whatever its phase.
    pub fn get_internal(&self, internal_id: &str) -> Option<Arc<Entry>> {
        self.by_internal.pin().get_key_value(internal_id).map(|(entry, ())| entry.0.clone())
    }

    /// The breakout room that `scope` has created as `id`.
    pub fn get_breakout(&self, scope: &Scope, id: &str) -> Option<Arc<Entry>> {
        let alias = identity::breakout_alias(scope, id);
        let entry = self.by_alias.pin().get(alias.as_str())?.clone();
        (entry.phase() != Phase::Lost).then_some(entry)
    }

    /// The meeting of this key if it is on a node that is away for too long.
    pub fn get_lost(&self, key: &MeetingKey) -> Option<Arc<Entry>> {
        let map = self.by_key.pin();
        let (entry, ()) = map.get_key_value(&KeyRef(&key.scope, &key.id))?;
        (entry.0.phase() == Phase::Lost).then(|| entry.0.clone())
    }

    /// Puts a meeting that was lost back under its key, unless it runs elsewhere by now.
    pub fn revive(&self, entry: &Arc<Entry>) -> bool {
        let _consistent = self.lists.lock();
        let by_key = self.by_key.pin();
        let other = by_key.get_key_value(&KeyRef(&entry.key().scope, &entry.key().id));
        match other {
            Some((other, ())) if Arc::ptr_eq(&other.0, entry) => {}
            Some((other, ())) if other.0.phase() == Phase::Running => return false,
            _ => {
                entry.mark_unsaved();
                by_key.remove(&ByKey(entry.clone()));
                by_key.insert(ByKey(entry.clone()), ());
            }
        }
        entry.set_phase(Phase::Running);
        self.journal.meeting(journal::Fate::Back, entry);
        true
    }

    /// Enters a meeting that was just created; the reservation, which a breakout room does not have, stands
    /// until a poll has counted it, the place as long as the meeting runs.
    /// `tried` are the nodes on which its create failed before: what they may have done nevertheless is
    /// not the meeting.
    pub fn enter(
        &self,
        meeting: Meeting,
        reservation: Option<Reservation>,
        mut place: Place,
        tried: Vec<NodeName>,
    ) -> Arc<Entry> {
        let ticket = place.ticket.take();
        // The meeting counts on its node before its reservation no longer does.
        let is_main = meeting.parent_internal_id.is_none();
        let part = Part::of_new(place, is_main.then_some(&meeting.node));
        let entry = self.new_entry(meeting, reservation, false).with_part(part);
        self.insert(entry.tried_on(tried).with_ticket(ticket), true)
    }

    /// Enters a meeting that was placed without us, or when we last ran.
    pub fn adopt(&self, meeting: Meeting, is_saved: bool) -> Arc<Entry> {
        self.take_up(meeting, is_saved, true)
    }

    /// The same for one whose key another runs under by now: that one goes on being found by it.
    pub(super) fn adopt_beside(&self, meeting: Meeting, is_saved: bool) -> Arc<Entry> {
        self.take_up(meeting, is_saved, false)
    }

    fn take_up(&self, meeting: Meeting, is_saved: bool, has_key: bool) -> Arc<Entry> {
        let entry = self.new_entry(meeting, None, is_saved);
        let part = self.part_of(&entry);
        self.insert(entry.with_part(part), has_key)
    }

    /// Enters a meeting that has won over another of the same internal id, which `elsewhere` still runs.
    pub(super) fn adopt_twin(&self, meeting: Meeting, elsewhere: NodeName) -> Arc<Entry> {
        let entry = self.new_entry(meeting, None, false).tried_on(vec![elsewhere]);
        let part = self.part_of(&entry);
        self.insert(entry.with_part(part), true)
    }

    /// Of a meeting that runs already, if it counts.
    fn part_of(&self, entry: &Entry) -> Option<Part> {
        let scope = &entry.key().scope;
        let tally = entry.counts().then(|| self.tally(&scope.tenant))?;
        Some(Part::of_running(tally, scope.sub, entry.main_on()))
    }

    /// Puts a known meeting under its key, whatever has it.
    pub(super) fn give_key(&self, winner: &Arc<Entry>) {
        let _consistent = self.lists.lock();
        let by_key = self.by_key.pin();
        by_key.remove(&ByKey(winner.clone()));
        winner.mark_unsaved();
        winner.set_phase(Phase::Running);
        by_key.insert(ByKey(winner.clone()), ());
    }

    /// Whether this is the meeting that its key means.
    pub(super) fn has_key(&self, entry: &Arc<Entry>) -> bool {
        let key = entry.key();
        self.get(&key.scope, &key.id).is_some_and(|holder| Arc::ptr_eq(&holder, entry))
    }

    fn new_entry(
        &self,
        meeting: Meeting,
        reservation: Option<Reservation>,
        is_saved: bool,
    ) -> Entry {
        let began_ms = self.clock.steady_of(meeting.created_at_ms);
        Entry::new(meeting, reservation, is_saved, began_ms)
    }

    fn insert(&self, entry: Entry, has_key: bool) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut lists = self.lists.lock();
        match self.get_internal(entry.internal_id()) {
            // Known under another key, or with other details: this one is what holds.
            Some(same) => self.take_out(&mut lists, &same),
            None => self.journal.meeting(journal::Fate::Begun, &entry),
        }
        self.departed.is_back(entry.internal_id());
        // A set keeps the old key where an equal one is inserted; only removal makes room.
        let by_key = self.by_key.pin();
        if has_key {
            by_key.remove(&ByKey(entry.clone()));
            by_key.insert(ByKey(entry.clone()), ());
        }
        let by_internal = self.by_internal.pin();
        by_internal.remove(entry.internal_id());
        by_internal.insert(ByInternal(entry.clone()), ());
        if let Some(id) = entry.created_as() {
            let alias = identity::breakout_alias(&entry.key().scope, id);
            self.by_alias.pin().insert(alias.into(), entry.clone());
        }
        let Lists { of_tenant, on_node } = &mut *lists;
        of_tenant
            .entry(entry.key().scope.tenant.clone())
            .or_default()
            .replace(ByInternal(entry.clone()));
        on_node.entry(entry.node().clone()).or_default().replace(ByInternal(entry.clone()));
        entry
    }

    /// Takes exactly this entry out, not one that has replaced it, and gives its reservation back.
    pub fn remove(&self, entry: &Arc<Entry>) {
        self.departed.note(entry.internal_id(), Fate::Gone);
        self.journal.meeting(journal::Fate::Ended, entry);
        self.take_out(&mut self.lists.lock(), entry);
    }

    fn take_out(&self, lists: &mut Lists, entry: &Arc<Entry>) {
        entry.settle();
        entry.leave();
        let by_key = self.by_key.pin();
        if by_key
            .get_key_value(&KeyRef(&entry.key().scope, &entry.key().id))
            .is_some_and(|(other, ())| Arc::ptr_eq(&other.0, entry))
        {
            by_key.remove(&KeyRef(&entry.key().scope, &entry.key().id));
        }
        let by_internal = self.by_internal.pin();
        if by_internal
            .get_key_value(entry.internal_id())
            .is_some_and(|(other, ())| Arc::ptr_eq(&other.0, entry))
        {
            by_internal.remove(entry.internal_id());
        }
        if let Some(id) = entry.created_as() {
            let alias = identity::breakout_alias(&entry.key().scope, id);
            let by_alias = self.by_alias.pin();
            if by_alias.get(alias.as_str()).is_some_and(|other| Arc::ptr_eq(other, entry)) {
                by_alias.remove(alias.as_str());
            }
        }
        let Lists { of_tenant, on_node } = lists;
        forget(of_tenant, entry.key().scope.tenant.as_str(), entry);
        forget(on_node, entry.node().as_str(), entry);
    }

    /// The meetings that `scope` may list, the oldest first.
    pub fn visible_to(&self, scope: &Scope) -> Vec<Arc<Entry>> {
        let mut entries: Vec<Arc<Entry>> = match self.lists.lock().of_tenant.get(&scope.tenant) {
            None => Vec::new(),
            Some(entries) => entries
                .iter()
                .filter(|entry| scope.sees(&entry.0.key().scope) && entry.0.phase() != Phase::Lost)
                .map(|entry| entry.0.clone())
                .collect(),
        };
        entries.sort_by(|a, b| {
            (a.created_at_ms(), a.internal_id()).cmp(&(b.created_at_ms(), b.internal_id()))
        });
        entries
    }

    /// The meetings on a node, lost ones too.
    pub fn on_node(&self, node: &NodeName) -> Vec<Arc<Entry>> {
        self.lists
            .lock()
            .on_node
            .get(node)
            .map(|entries| entries.iter().map(|entry| entry.0.clone()).collect())
            .unwrap_or_default()
    }

    /// The nodes that meetings are on, whether the inventory has them or not.
    pub fn nodes(&self) -> Vec<NodeName> {
        self.lists.lock().on_node.keys().cloned().collect()
    }

    /// Whether any meeting is on this node of which `counts` holds.
    pub(super) fn has_on(&self, node: &NodeName, counts: impl Fn(&Entry) -> bool) -> bool {
        let lists = self.lists.lock();
        lists.on_node.get(node).is_some_and(|entries| entries.iter().any(|entry| counts(&entry.0)))
    }

    /// Who has meetings here, lost ones too, and how many.
    pub fn counts_of_tenants(&self) -> Vec<(Slug, usize)> {
        let lists = self.lists.lock();
        lists.of_tenant.iter().map(|(slug, entries)| (slug.clone(), entries.len())).collect()
    }

    /// Whether any meeting belongs to this tenant.
    pub fn runs_for(&self, tenant: &Slug) -> bool {
        self.lists.lock().of_tenant.contains_key(tenant)
    }

    /// Number of meetings, lost ones too.
    pub fn len(&self) -> usize {
        self.by_internal.len()
    }

    /// Whether there is no meeting at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes an entry out of one list, and the list out when it is empty.
fn forget<K: Eq + Hash + Borrow<str>>(
    lists: &mut HashMap<K, HashSet<ByInternal>>,
    name: &str,
    entry: &Arc<Entry>,
) {
    let Some(list) = lists.get_mut(name) else { return };
    if list.get(entry.internal_id()).is_some_and(|other| Arc::ptr_eq(&other.0, entry)) {
        list.remove(entry.internal_id());
    }
    if list.is_empty() {
        lists.remove(name);
    }
}
