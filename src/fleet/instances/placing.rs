//! Placements while others place, too: a choice stands only if nobody was quicker.
//!
//! A choice is made on the picture as of the last event that was applied, and appended to the log on the
//! condition that this is still the log's last. If it is not, the new events are applied and the choice is made
//! again; somebody has come forward then, so that all together never stand still. What waits at one moment is
//! appended together. Tenants' limits are looked at in the same step, which is what makes them hold.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::event::{Event, Placing};
use super::telling::Telling;
use super::{Instances, Link};
use crate::bus::Appended;
use crate::fleet::Fleet;
use crate::fleet::limits::{Place, Reached};
use crate::fleet::placement::{NoNode, Reservation, Wanted};
use crate::fleet::predict::Expected;
use crate::fleet::snapshot::TenantEntry;
use crate::model::{MeetingKey, NodeName, SubId};

/// A log that takes longer is as good as away.
const APPENDED_WITHIN: Duration = Duration::from_millis(250);
/// Others may come before us again and again; a create waits no longer than that for the log.
const PLACED_WITHIN: Duration = Duration::from_secs(2);
/// Nobody waits for ever if nobody places any more.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Placements in one step.
const MAX_TOGETHER: usize = 64;

/// Why a meeting has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unplaced {
    /// No node can take it.
    NoNode(NoNode),
    /// Its tenant has as many as it may have by now.
    Reached(Reached),
}

/// Placements that wait for the next step.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    is_there: Notify,
}

type Placed = (Place, Option<Reservation>);
type Answer = Result<Placed, Unplaced>;

impl Queue {
    /// Who waits is to place alone.
    pub(super) fn give_up(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        // Only now, for places lock as they are given back.
        drop(waiting);
    }
}

struct Waiting {
    tenant: Arc<TenantEntry>,
    key: MeetingKey,
    expected: Expected,
    tried: Vec<NodeName>,
    /// Where it must be: the node of a breakout room's parent.
    fixed: Option<NodeName>,
    place: Place,
    answer: oneshot::Sender<Answer>,
}

/// A placement that is chosen, and not in the log yet.
struct Chosen {
    waiting: Waiting,
    placing: Placing,
    reservation: Option<Reservation>,
}

impl Fleet {
    /// Chooses the least loaded eligible node for `key` and reserves there, in one step over all instances.
    /// `place` is what the tenant's limits have admitted; a create that is tried again keeps it.
    ///
    /// # Errors
    /// When no node is eligible, or the tenant's limit was reached at another instance meanwhile: `place` is
    /// empty then.
    ///
    /// # Cancel safety
    /// Dropped, nothing is reserved.
    pub async fn place(
        &self,
        tenant: &TenantEntry,
        wanted: &Wanted<'_>,
        place: &mut Place,
    ) -> Result<Reservation, Unplaced> {
        let key = wanted.key;
        if limits_meetings(tenant, key.scope.sub) {
            self.instances.all_is_known().await;
        }
        if self.instances.in_touch()
            && let Some(asked) = self.ask_for(wanted, None, place)
        {
            match asked.await? {
                Some((taken, Some(reservation))) => {
                    *place = taken;
                    return Ok(reservation);
                }
                Some((taken, None)) => {
                    *place = taken;
                    return tenant.place(wanted).map_err(Unplaced::NoNode);
                }
                None => *place = tenant.admit(key.scope.sub).map_err(Unplaced::Reached)?,
            }
        }
        let reservation = tenant.place(wanted).map_err(Unplaced::NoNode)?;
        self.note_alone(key, reservation.node().name(), Some(reservation.size()), place);
        Ok(reservation)
    }

    /// The same for a breakout room, which is where its parent is and weighs nothing by itself.
    ///
    /// # Errors
    /// When the tenant's limit was reached at another instance meanwhile: `place` is empty then.
    pub async fn place_on(
        &self,
        key: &MeetingKey,
        node: &NodeName,
        place: &mut Place,
    ) -> Result<(), Unplaced> {
        let tenant = self.peek().tenant(key.scope.tenant.as_str()).cloned();
        if tenant.as_ref().is_some_and(|tenant| limits_meetings(tenant, key.scope.sub)) {
            self.instances.all_is_known().await;
        }
        let wanted = Wanted { expected: Expected::of_size(0), ..Wanted::new(key) };
        if self.instances.in_touch()
            && let Some(asked) = self.ask_for(&wanted, Some(node.clone()), place)
        {
            if let Some((taken, _)) = asked.await? {
                *place = taken;
                return Ok(());
            }
            if let Some(tenant) = tenant {
                *place = tenant.admit(key.scope.sub).map_err(Unplaced::Reached)?;
            }
        }
        self.note_alone(key, node, None, place);
        Ok(())
    }

    /// Puts a placement into the queue. `None` where the tenant is gone; no answer where nobody gives places any
    /// more, and then `place` is given back.
    fn ask_for(
        &self,
        wanted: &Wanted<'_>,
        fixed: Option<NodeName>,
        place: &mut Place,
    ) -> Option<impl Future<Output = Result<Option<Placed>, Unplaced>> + use<>> {
        let Wanted { key, expected, tried, .. } = *wanted;
        let tenant = self.peek().tenant(key.scope.tenant.as_str())?.clone();
        let (answer, hear) = oneshot::channel();
        let waiting = Waiting {
            tenant,
            key: key.clone(),
            expected,
            tried: tried.to_vec(),
            fixed,
            place: place.take_over(),
            answer,
        };
        self.instances.queue.waiting.lock().push_back(waiting);
        self.instances.queue.is_there.notify_one();
        if !self.instances.in_touch() {
            // Since we looked: perhaps nobody empties it any more.
            self.instances.queue.give_up();
        }
        // There is an answer, long before, unless we stop.
        Some(async move {
            match timeout(ANSWERED_WITHIN, hear).await {
                Ok(Ok(answer)) => answer.map(Some),
                Ok(Err(_given_up)) => Ok(None),
                Err(_elapsed) => Err(Unplaced::NoNode(NoNode::default())),
            }
        })
    }

    /// Placed without the others, who hear of it when they can.
    fn note_alone(&self, key: &MeetingKey, node: &NodeName, size: Option<f32>, place: &mut Place) {
        if !self.instances.is_linked() {
            return;
        }
        Instances::count(&self.instances.figures.placed_alone, 1);
        let telling = &self.instances.telling;
        let ticket = place.ticket.get_or_insert_with(|| telling.ticket(telling.next_token()));
        let placing = Placing {
            token: ticket.token(),
            key: key.clone(),
            node: node.clone(),
            reserves: size.is_some(),
            size: size.unwrap_or_default(),
        };
        ticket.is_for(placing.clone());
        if self.instances.in_touch() {
            telling.push(&Event::Placing(placing));
        }
    }

    /// Places what waits, step by step. Never ends.
    pub(super) async fn place_all(&self, link: &Link) {
        let queue = &self.instances.queue;
        loop {
            let batch: Vec<Waiting> = {
                let mut waiting = queue.waiting.lock();
                let count = waiting.len().min(MAX_TOGETHER);
                waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                queue.is_there.notified().await;
            } else {
                self.place_batch(link, batch).await;
            }
        }
    }

    async fn place_batch(&self, link: &Link, mut batch: Vec<Waiting>) {
        let begun = Instant::now();
        let figures = &self.instances.figures;
        loop {
            // Whoever has gone away gives its place back.
            batch.retain(|waiting| !waiting.answer.is_closed());
            let (seen, chosen) = {
                let mirror = self.instances.mirror.lock();
                (mirror.applied, self.choose(batch))
            };
            if chosen.is_empty() {
                return;
            }
            if !self.instances.in_touch() || begun.elapsed() > PLACED_WITHIN {
                return self.place_alone(chosen);
            }
            let payloads: Vec<Bytes> =
                chosen.iter().map(|one| Event::Placing(one.placing.clone()).to_bytes()).collect();
            match timeout(APPENDED_WITHIN, link.log.append_if(seen, payloads)).await {
                Ok(Ok(Appended::At(_))) => {
                    Instances::count(&figures.placed_in_log, chosen.len());
                    Instances::count(&figures.told, chosen.len());
                    let telling = &self.instances.telling;
                    return chosen.into_iter().for_each(|one| one.stands(telling));
                }
                Ok(Ok(Appended::Behind(events))) if !events.is_empty() => {
                    Instances::count(&figures.behind, 1);
                    batch = chosen.into_iter().map(Chosen::undo).collect();
                    self.apply_events(&link.me, events);
                }
                Ok(Ok(Appended::Behind(_)) | Err(_)) | Err(_) => return self.place_alone(chosen),
            }
        }
    }

    /// Chooses for all that wait, in their order; who gets nothing is answered.
    fn choose(&self, batch: Vec<Waiting>) -> Vec<Chosen> {
        let mut chosen = Vec::with_capacity(batch.len());
        for waiting in batch {
            // A create that is tried again has its place in the log already.
            if waiting.place.ticket.is_none()
                && let Err(reached) = waiting.tenant.recheck(waiting.key.scope.sub)
            {
                waiting.refuse(Unplaced::Reached(reached));
                continue;
            }
            let (node, reservation) = match &waiting.fixed {
                Some(node) => (node.clone(), None),
                None => match waiting.place() {
                    Ok(reservation) => (reservation.node().name().clone(), Some(reservation)),
                    Err(why) => {
                        waiting.refuse(Unplaced::NoNode(why));
                        continue;
                    }
                },
            };
            let token = match &waiting.place.ticket {
                Some(ticket) => ticket.token(),
                None => self.instances.telling.next_token(),
            };
            let reserves = reservation.is_some();
            let size = reservation.as_ref().map_or(0.0, Reservation::size);
            let placing = Placing { token, key: waiting.key.clone(), node, reserves, size };
            chosen.push(Chosen { waiting, placing, reservation });
        }
        chosen
    }

    fn place_alone(&self, chosen: Vec<Chosen>) {
        Instances::count(&self.instances.figures.placed_alone, chosen.len());
        for one in chosen {
            // It may stand there already: a second time changes nothing.
            self.instances.telling.push(&Event::Placing(one.placing.clone()));
            one.stands(&self.instances.telling);
        }
    }
}

/// Whether there is a limit on the meetings of the tenant, or on those of the secret.
fn limits_meetings(tenant: &TenantEntry, sub: SubId) -> bool {
    let secret = tenant.tenant.secret(sub).map(|secret| secret.limits).unwrap_or_default();
    tenant.tenant.limits.meetings > 0 || secret.meetings > 0
}

impl Waiting {
    fn place(&self) -> Result<Reservation, NoNode> {
        let Self { key, expected, tried, .. } = self;
        self.tenant.place(&Wanted { key, expected: *expected, tried })
    }

    fn refuse(self, why: Unplaced) {
        // Whoever has gone away needs no answer.
        drop(self.answer.send(Err(why)));
    }
}

impl Chosen {
    /// It counts from now on. If nobody waits for it any more, it is given up as it is dropped.
    fn stands(self, telling: &Arc<Telling>) {
        let Self { waiting, placing, reservation } = self;
        let Waiting { mut place, answer, .. } = waiting;
        let ticket = place.ticket.get_or_insert_with(|| telling.ticket(placing.token));
        ticket.is_for(placing);
        drop(answer.send(Ok((place, reservation))));
    }

    /// Somebody came before.
    fn undo(self) -> Waiting {
        self.waiting
    }
}
