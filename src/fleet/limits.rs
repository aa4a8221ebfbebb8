//! What each tenant has running at once, counted as it changes, and whether it may have more.
//!
//! A create of a new meeting takes a [`Place`] before a node is asked. Dropped, the place is given back; the
//! directory's entry takes it over when the meeting runs, and holds it while it is `Running`. All checks of
//! one create are made under one short lock of its tenant, so that no two of them see the same last place.
//!
//! Main meetings count, and breakout rooms that a front end creates by the API. Those that nodes make at a
//! moderator's wish do not, nor are they refused: they are parts of a meeting that was admitted with them, and
//! whoever is in one is counted in its main meeting already.

mod on_nodes;
mod totals;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(super) use on_nodes::Coming;

use on_nodes::OnNodes;

use super::instances::Ticket;
use super::snapshot::TenantEntry;
use crate::model::{Limits, NodeName, Slug, SubId, TenantSecret};

/// Longer meetings were forgotten by everybody; B3LB leaves them out of its durations, too.
const LONGEST_MEETING_MS: u64 = 12 * 60 * 60 * 1000;

/// The tallies of all tenants, whether anything of theirs runs or not.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<HashMap<Slug, Arc<Tally>>>);

impl Tallies {
    /// The one tally of a tenant; it outlives snapshots.
    pub(super) fn of(&self, tenant: &Slug) -> Arc<Tally> {
        self.0.lock().entry(tenant.clone()).or_default().clone()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(Slug, Arc<Tally>)> {
        let all = self.0.lock();
        all.iter().map(|(slug, tally)| (slug.clone(), tally.clone())).collect()
    }
}

/// What one tenant has running, and has had.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Current>);

#[derive(Debug, Default)]
struct Current {
    whole: Figures,
    parts: HashMap<SubId, Figures>,
    hits: [u64; Limit::ALL.len()],
    begun: u64,
    /// Main meetings that run on each node, or are being created there.
    on_nodes: OnNodes,
}

/// The figures of a tenant or of one of its secrets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Meetings that run or are being created.
    pub meetings: u32,
    /// Who is in them, by the last polls.
    pub people: People,
    /// Meetings created.
    pub meetings_total: u64,
    /// Meetings that are over, those of more than half a day left out.
    pub ended: u64,
    /// Their durations together.
    pub ended_seconds: u64,
    /// Refusals by a limit on meetings. Those by the tenant's limit count for its main secret.
    pub meeting_limit_hits: u64,
    /// The same for attendees, joins included.
    pub attendee_limit_hits: u64,
}

/// Who is in a meeting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct People {
    /// Everybody.
    pub attendees: u32,
    /// Those who only listen.
    pub listeners: u32,
    /// Those with a microphone.
    pub voices: u32,
    /// Webcams.
    pub videos: u32,
    /// Moderators.
    pub moderators: u32,
}

impl People {
    /// One number of both at a time.
    #[must_use]
    pub fn zip(self, other: Self, join: impl Fn(u32, u32) -> u32) -> Self {
        Self {
            attendees: join(self.attendees, other.attendees),
            listeners: join(self.listeners, other.listeners),
            voices: join(self.voices, other.voices),
            videos: join(self.videos, other.videos),
            moderators: join(self.moderators, other.moderators),
        }
    }
}

/// The limits that there are; a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The tenant's meetings.
    TenantMeetings,
    /// The meetings of one of its secrets.
    SecretMeetings,
    /// The tenant's attendees, at a create.
    TenantAttendees,
    /// The attendees of one of its secrets, at a create.
    SecretAttendees,
    /// The tenant's attendees, at a join.
    TenantJoins,
    /// The attendees of one of its secrets, at a join.
    SecretJoins,
    /// The tenant's requests in a second.
    Requests,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::TenantMeetings,
        Self::SecretMeetings,
        Self::TenantAttendees,
        Self::SecretAttendees,
        Self::TenantJoins,
        Self::SecretJoins,
        Self::Requests,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantMeetings => "tenant_meetings",
            Self::SecretMeetings => "secret_meetings",
            Self::TenantAttendees => "tenant_attendees",
            Self::SecretAttendees => "secret_attendees",
            Self::TenantJoins => "tenant_joins",
            Self::SecretJoins => "secret_joins",
            Self::Requests => "requests",
        }
    }

    /// Whether it is one of the whole tenant, not of one of its secrets.
    pub fn is_tenants(self) -> bool {
        !matches!(self, Self::SecretMeetings | Self::SecretAttendees | Self::SecretJoins)
    }
}

/// A limit that stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Which one.
    pub limit: Limit,
    /// What it allows.
    pub allowed: u32,
}

/// A meeting's place among those that its tenant may have at once. Dropped, it is given back.
#[must_use = "a dropped place is given back"]
#[derive(Debug)]
pub struct Place {
    /// Empty when somebody has taken it over.
    tally: Option<Arc<Tally>>,
    sub: SubId,
    /// Of a create at another instance: it is counted there what was created.
    is_others: bool,
    /// What other instances know it by.
    pub(super) ticket: Option<Ticket>,
}

impl Place {
    /// What is in it; it is empty from then on.
    pub(super) fn take_over(&mut self) -> Self {
        Self {
            tally: self.tally.take(),
            sub: self.sub,
            is_others: self.is_others,
            ticket: self.ticket.take(),
        }
    }

    /// One that another instance has given to a create of its own, whatever the limits say here.
    pub(super) fn of_others(tally: Arc<Tally>, sub: SubId) -> Self {
        tally.change(sub, |figures| figures.meetings = figures.meetings.saturating_add(1));
        Self { tally: Some(tally), sub, is_others: true, ticket: None }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(tally) = &self.tally {
            tally.change(self.sub, |figures| figures.meetings = figures.meetings.saturating_sub(1));
        }
    }
}

impl TenantEntry {
    /// Takes a place for a new meeting of one of the secrets.
    ///
    /// # Errors
    /// The first limit that is reached: the tenant's and the secret's on meetings, then those on attendees.
    pub fn admit(&self, sub: SubId) -> Result<Place, Reached> {
        let secret = self.tenant.secret(sub).map(|secret| secret.limits).unwrap_or_default();
        self.tally.admit(sub, self.tenant.limits, secret)
    }

    /// Whether a place that was taken is still within the limits, after others have taken theirs.
    ///
    /// # Errors
    /// The limit on meetings that is passed.
    pub(super) fn recheck(&self, sub: SubId) -> Result<(), Reached> {
        let secret = self.tenant.secret(sub).map(|secret| secret.limits).unwrap_or_default();
        self.tally.recheck(sub, self.tenant.limits.meetings, secret.meetings)
    }

    /// Whether one more attendee may join a meeting of this secret. A refusal is for the caller to count, who
    /// may know better. Without a limit on joins, which is the rule, nothing is looked up.
    ///
    /// # Errors
    /// The limit that is reached: the tenant's, or that of the secret.
    pub fn admit_attendee(&self, secret: &TenantSecret) -> Result<(), Reached> {
        let (sub, tenant, secret) = (secret.sub_id, self.tenant.limits, secret.limits);
        if !(tenant.limit_joins || secret.limit_joins) {
            return Ok(());
        }
        let at_joins = |limits: Limits| if limits.limit_joins { limits.attendees } else { 0 };
        self.tally.admit_attendee(sub, at_joins(tenant), at_joins(secret))
    }
}

impl Tally {
    fn admit(
        self: &Arc<Self>,
        sub: SubId,
        tenant: Limits,
        secret: Limits,
    ) -> Result<Place, Reached> {
        let mut current = self.0.lock();
        let (whole, own) = (current.whole, current.part(sub));
        let people = |figures: &Figures| figures.people.attendees;
        first_reached([
            (Limit::TenantMeetings, whole.meetings, tenant.meetings),
            (Limit::SecretMeetings, own.meetings, secret.meetings),
            (Limit::TenantAttendees, people(&whole), tenant.attendees),
            (Limit::SecretAttendees, people(&own), secret.attendees),
        ])
        .inspect_err(|reached| current.hit(sub, reached.limit))?;
        current.change(sub, |figures| figures.meetings += 1);
        Ok(Place { tally: Some(self.clone()), sub, is_others: false, ticket: None })
    }

    fn recheck(&self, sub: SubId, tenant: u32, secret: u32) -> Result<(), Reached> {
        let mut current = self.0.lock();
        // The place itself is among them.
        let others = |figures: Figures| figures.meetings.saturating_sub(1);
        let (whole, own) = (others(current.whole), others(current.part(sub)));
        first_reached([
            (Limit::TenantMeetings, whole, tenant),
            (Limit::SecretMeetings, own, secret),
        ])
        .inspect_err(|reached| current.hit(sub, reached.limit))
    }

    fn admit_attendee(&self, sub: SubId, tenant: u32, secret: u32) -> Result<(), Reached> {
        let current = self.0.lock();
        let (whole, own) = (current.whole.people.attendees, current.part(sub).people.attendees);
        first_reached([(Limit::TenantJoins, whole, tenant), (Limit::SecretJoins, own, secret)])
    }

    /// Counts a refusal that was decided elsewhere.
    pub fn hit(&self, sub: SubId, limit: Limit) {
        self.0.lock().hit(sub, limit);
    }

    /// How often each limit has refused something, in the order of [`Limit::ALL`].
    pub fn hits(&self) -> [u64; Limit::ALL.len()] {
        self.0.lock().hits
    }

    /// The figures of the whole tenant.
    pub fn whole(&self) -> Figures {
        self.0.lock().whole
    }

    /// The figures of one of its secrets alone.
    pub fn part(&self, sub: SubId) -> Figures {
        self.0.lock().part(sub)
    }

    /// Main meetings that run on a node, or are being created there.
    pub(super) fn on_node(&self, node: &NodeName) -> u32 {
        self.0.lock().on_nodes.count(node)
    }

    fn change(&self, sub: SubId, change: impl Fn(&mut Figures)) {
        self.0.lock().change(sub, change);
    }
}

impl Current {
    fn part(&self, sub: SubId) -> Figures {
        self.parts.get(&sub).copied().unwrap_or_default()
    }

    /// Changes the figures of a secret, and with them those of the tenant.
    fn change(&mut self, sub: SubId, change: impl Fn(&mut Figures)) {
        change(&mut self.whole);
        change(self.parts.entry(sub).or_default());
    }

    fn hit(&mut self, sub: SubId, limit: Limit) {
        self.hits[limit as usize] += 1;
        let sub = if limit.is_tenants() { SubId::MAIN } else { sub };
        self.change(sub, |figures| match limit {
            Limit::TenantMeetings | Limit::SecretMeetings => figures.meeting_limit_hits += 1,
            Limit::Requests => {}
            _ => figures.attendee_limit_hits += 1,
        });
    }
}

fn first_reached<const N: usize>(checks: [(Limit, u32, u32); N]) -> Result<(), Reached> {
    for (limit, current, allowed) in checks {
        if allowed > 0 && current >= allowed {
            return Err(Reached { limit, allowed });
        }
    }
    Ok(())
}

/// The part that a meeting of the directory has in its tenant's tally.
#[derive(Debug)]
pub(super) struct Part {
    tally: Arc<Tally>,
    sub: SubId,
    stands: Mutex<Stands>,
}

#[derive(Debug, Default)]
struct Stands {
    is_counted: bool,
    /// Out of the directory, and never counted again.
    is_out: bool,
    people: People,
}

impl Part {
    /// That of a meeting whose create holds a place; a main meeting counts on its node, too.
    pub(super) fn of_new(mut place: Place, main_on: Option<&NodeName>) -> Option<Self> {
        let (tally, sub) = (place.tally.take()?, place.sub);
        if let Some(node) = main_on {
            tally.0.lock().on_nodes.come(node);
        }
        if !place.is_others {
            tally.begin(sub);
        }
        let stands = Stands { is_counted: true, ..Stands::default() };
        Some(Self { tally, sub, stands: Mutex::new(stands) })
    }

    /// That of a meeting that runs already. Limits do not matter: what runs goes on.
    pub(super) fn of_running(tally: Arc<Tally>, sub: SubId, main_on: Option<&NodeName>) -> Self {
        let part = Self { tally, sub, stands: Mutex::default() };
        part.set(true, main_on, || ());
        part
    }

    /// Makes the meeting count or not, in one step with `meanwhile`.
    pub(super) fn set(
        &self,
        is_counted: bool,
        main_on: Option<&NodeName>,
        meanwhile: impl FnOnce(),
    ) {
        let mut stands = self.stands.lock();
        meanwhile();
        let is_counted = is_counted && !stands.is_out;
        if stands.is_counted == is_counted {
            return;
        }
        stands.is_counted = is_counted;
        let people = stands.people;
        let mut current = self.tally.0.lock();
        match main_on {
            Some(node) if is_counted => current.on_nodes.come(node),
            Some(node) => current.on_nodes.go(node),
            None => {}
        }
        current.change(self.sub, |figures| {
            if is_counted {
                figures.meetings += 1;
                figures.people = figures.people.zip(people, u32::saturating_add);
            } else {
                figures.meetings = figures.meetings.saturating_sub(1);
                figures.people = figures.people.zip(people, u32::saturating_sub);
            }
        });
    }

    /// Takes over who is in the meeting.
    pub(super) fn see(&self, people: People) {
        let mut stands = self.stands.lock();
        let before = std::mem::replace(&mut stands.people, people);
        if !stands.is_counted || before == people {
            return;
        }
        self.tally.change(self.sub, |figures| {
            let without = figures.people.zip(before, u32::saturating_sub);
            figures.people = without.zip(people, u32::saturating_add);
        });
    }

    /// Who is in the meeting.
    pub(super) fn people(&self) -> People {
        self.stands.lock().people
    }

    /// The meeting leaves the directory.
    pub(super) fn leave(&self, main_on: Option<&NodeName>) {
        self.set(false, main_on, || ());
        self.stands.lock().is_out = true;
    }

    /// The meeting is over, after so long.
    pub(super) fn lasted(&self, duration_ms: u64) {
        if duration_ms < LONGEST_MEETING_MS {
            self.tally.change(self.sub, |figures| {
                figures.ended += 1;
                figures.ended_seconds += duration_ms / 1000;
            });
        }
    }
}

#[cfg(test)]
mod tests;
