//! `create`: an existing meeting's goes to its node; a new one is placed, one create of it at a time.
//!
//! The answer goes out when the meeting is in the directory and in the store. Only where the store cannot
//! be written it goes out all the same; see `saving.rs`.

mod inherited;
mod made;
mod parent;
mod saving;
mod size;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use log::{error, warn};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::saving::save;
use super::{Asked, Decision};
use crate::bbb::{Answer, Call, Failure, Params, new_meeting};
use crate::chain::Chain;
use crate::edge::Edge;
use crate::edge::ask::Trouble;
use crate::edge::callbacks::{Issued, Wanted};
use crate::edge::claiming::{Right, STORE_WITHIN, Wish};
use crate::edge::refusal::{self, Refusal};
use crate::edge::upload::Upload;
use crate::edge::{branding, limits, rules};
use crate::fleet::{
    self, Claim, Entry, Hints, Node, Phase, Place, Reservation, Snapshot, TenantEntry, Unplaced,
    identity,
};
use crate::model::{Health, MeetingKey, NodeName};
use crate::store;

/// Nodes that are tried for one meeting.
const MAX_TRIES: usize = 3;
/// A node that was given up gets this long to prove that it is there.
const FOUND_AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// Others may be creating the same meeting; whoever waits for longer asks again by itself. Three nodes that
/// hang take longer, but nobody stays on the line for that.
const CLAIM_WITHIN: Duration = Duration::from_secs(30);

/// Between two attempts to save callbacks.
const CALLBACKS_AFTER: Duration = Duration::from_millis(250);

/// Creates a meeting, or finds it in existence.
pub(super) async fn create(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let order = Order::read(edge, asked)?;
    if let Some(entry) = order.running(edge) {
        return again(edge, asked, &order, &entry).await;
    }
    let claim = order.claim(edge).await?;
    // Somebody may have created it while we waited.
    if let Some(entry) = order.running(edge) {
        drop(claim);
        return again(edge, asked, &order, &entry).await;
    }
    if let Some((node, entry)) = found_again(edge, asked, &order).await {
        // It runs: whatever the node says now, it must not be created elsewhere.
        let (answer, _) = order.ask_again(edge, &node, &entry, own_slides(asked)).await?;
        return Ok(respond(asked, &entry, answer));
    }
    anew(edge, asked, &order, limits::admit_meeting(asked)?, claim).await
}

/// A create that is fit to be sent to a node, but for the node's own signature.
struct Order<'a> {
    key: MeetingKey,
    /// As the node is to get them, the meeting called as on a node.
    params: Params<'a>,
    /// `meetingID` among them.
    node_meeting_id: String,
    /// The meeting whose breakout room this is.
    parent: Option<Arc<Entry>>,
    /// What the front end wants to be told.
    callbacks: Wanted,
    /// What it says of the size.
    hints: Hints,
}

impl<'a> Order<'a> {
    fn read(edge: &Edge, asked: &Asked<'a>) -> Result<Self, Refusal> {
        let id = asked.meeting_id()?;
        let mut params = asked.params.as_ref().clone();
        rules::apply(&asked.caller, &mut params, |rules| &rules.create);
        match params.get("name").unwrap_or_default().trim().chars().count() {
            0 => return Err(Refusal::client(Failure::MISSING_MEETING_NAME)),
            2..=256 => {}
            _ => return Err(Refusal::client(Failure::MEETING_NAME_LENGTH)),
        }
        branding::dress_create(asked, &mut params);
        let parent = parent::find(edge, asked, &params)?;
        let callbacks = Wanted::take(edge, asked.base.as_deref(), &asked.caller.scope, &mut params);
        let tenant = &asked.caller.tenant.tenant;
        let hints = size::hints(edge, tenant, &mut params);
        let scope = asked.caller.scope.clone();
        let node_meeting_id = if let Some(parent) = &parent {
            params.set("parentMeetingID", parent.internal_id());
            identity::breakout_internal_id(&scope, &id, parent.internal_id())
        } else {
            // Without effect for a main meeting, and not translated: a node must not see it.
            params.remove("parentMeetingID");
            identity::node_meeting_id(&scope, tenant.meeting_ids, &id)
        };
        params.set("meetingID", &node_meeting_id);
        let key = MeetingKey { scope, id: id.into_owned() };
        Ok(Self { key, params, node_meeting_id, parent, callbacks, hints })
    }

    /// The same with new callbacks for a try on this node.
    async fn issued(&self, edge: &Edge, node: &Node) -> Result<Issued<'a>, store::Error> {
        let Self { key, params, node_meeting_id, .. } = self;
        self.callbacks.issue(edge, key, node.name(), node_meeting_id, params).await
    }

    /// The same for a new meeting, whose callbacks nobody has yet: a shared store that cannot be written is
    /// waited for, as it is for the claim. Alone, Portico goes on without.
    async fn issued_surely(
        &self,
        edge: &Edge,
        node: &Node,
        mut first: Result<Issued<'a>, store::Error>,
    ) -> Result<Issued<'a>, Refusal> {
        let until = Instant::now() + STORE_WITHIN;
        loop {
            let known = match first {
                Ok(issued) => return Ok(issued),
                Err(trouble) if !edge.store.is_shared() => {
                    return Ok(self.callbacks.drop_all(edge, &self.params, &trouble));
                }
                Err(trouble) if Instant::now() >= until => {
                    edge.metrics.creates_without_store.inc();
                    error!(
                        "a new meeting is refused, as its callbacks are not saved: {}",
                        Chain(&trouble)
                    );
                    return Err(Refusal::portico(refusal::store_unavailable()));
                }
                Err(passing) => passing,
            };
            sleep(CALLBACKS_AFTER).await;
            let again = timeout_at(until, self.issued(edge, node)).await;
            first = again.unwrap_or(Err(known));
        }
    }

    /// Asks the node of a meeting that runs to create it. If it does still run, it keeps the callbacks that
    /// it has.
    async fn ask_again(
        &self,
        edge: &Edge,
        node: &Node,
        entry: &Entry,
        upload: Option<&Upload>,
    ) -> Result<(Answer, Issued<'a>), Trouble> {
        // It goes on without the store if it must.
        let issued = edge.patience.wait(self.issued(edge, node)).await;
        let issued = issued.and_then(Result::ok);
        let issued = issued.unwrap_or_else(|| self.callbacks.without(&self.params));
        let answer = edge.ask(node, Call::Create, &issued.params, upload).await?;
        if !answer.is_success() || is_about(&answer, entry) {
            edge.patience.wait(issued.withdraw(edge)).await;
        }
        Ok((answer, issued))
    }

    /// The right to create this meeting.
    async fn claim(&self, edge: &Edge) -> Result<Claim, Refusal> {
        timeout(CLAIM_WITHIN, edge.fleet.claims.claim(&self.key))
            .await
            .map_err(|_elapsed| Refusal::node(refusal::meeting_unavailable()))
    }

    /// What is to be claimed in the store.
    fn wish(&self, edge: &Edge) -> Wish {
        let Self { key, node_meeting_id, parent, .. } = self;
        let internal_id = parent.as_ref().map(|_| node_meeting_id.clone());
        let over = self.over(edge).map(|entry| entry.internal_id().to_owned());
        Wish { key: key.clone(), internal_id, over: over.into_iter().collect() }
    }

    /// What has had its name, and is over or lost.
    fn over(&self, edge: &Edge) -> Option<Arc<Entry>> {
        let Self { key, parent, .. } = self;
        let directory = &edge.fleet.directory;
        let known = directory.get(&key.scope, &key.id).or_else(|| directory.get_lost(key));
        known.filter(|entry| parent.is_none() && entry.phase() != Phase::Running)
    }

    /// The meeting, if it runs already. One that was ended does not count: its id is free.
    fn running(&self, edge: &Edge) -> Option<Arc<Entry>> {
        let directory = &edge.fleet.directory;
        let entry = match self.parent {
            // A breakout room goes by the id that its node gave it.
            Some(_) => directory.get_breakout(&self.key.scope, &self.key.id),
            None => directory.get(&self.key.scope, &self.key.id),
        };
        entry.filter(|entry| entry.phase() == Phase::Running)
    }

    /// The node for the next try: the parent's for a breakout room, else the best that is left.
    async fn place(
        &self,
        edge: &Edge,
        asked: &Asked<'_>,
        tried: &[NodeName],
        place: &mut Place,
    ) -> Result<(Arc<Node>, Option<Reservation>), Refusal> {
        if let Some(parent) = &self.parent {
            let node = reachable_node(edge, parent)?;
            let placed = edge.fleet.place_on(&self.key, node.name(), place).await;
            placed.map_err(limits::unplaced)?;
            return Ok((node, None));
        }
        // Nodes may have come and gone while it waited for others.
        let snapshot = edge.fleet.snapshot();
        let tenant = present(&snapshot, asked.caller.tenant);
        let expected = edge.fleet.expect(&tenant, &self.key, self.hints);
        let wanted = fleet::Wanted { expected, tried, ..fleet::Wanted::new(&self.key) };
        let placed = edge.fleet.place(&tenant, &wanted, place).await;
        match placed.inspect(|reservation| size::tell_if_full(edge, reservation)) {
            Ok(reservation) => Ok((reservation.node().clone(), Some(reservation))),
            Err(why @ Unplaced::Reached(_)) => Err(limits::unplaced(why)),
            Err(Unplaced::NoNode(why)) => {
                edge.metrics.placements_refused.with_label_values(&[why.word()]).inc();
                warn!("tenant {}: no node for a new meeting: {why}", self.key.scope.tenant);
                Err(Refusal::node(refusal::no_node(&why)))
            }
        }
    }
}

/// A create of a meeting that runs: its node compares the passwords and answers.
async fn again(
    edge: &Edge,
    asked: &Asked<'_>,
    order: &Order<'_>,
    entry: &Arc<Entry>,
) -> Result<Decision, Refusal> {
    asked.track.node(entry.node());
    let node = &reachable_node(edge, entry)?;
    let (answer, issued) = order.ask_again(edge, node, entry, own_slides(asked)).await?;
    if !answer.is_success() || is_about(&answer, entry) {
        // The entry's key, as a breakout room goes by another id than the one in the order.
        return Ok(respond(asked, entry, answer));
    }
    // The node had lost it, or it has ended meanwhile, and is created anew.
    let meeting = edge.usable(node, asked.call, order.meeting(&answer, node))?;
    let _claim = order.claim(edge).await?;
    match order.running(edge) {
        Some(other) if !Arc::ptr_eq(&other, entry) => {
            // Somebody else has created it elsewhere by now. Ours shows up in the node's next poll as
            // the double that it is, and is ended there.
            again_elsewhere(edge, asked, order, &other).await
        }
        _ => {
            let mut wish = order.wish(edge);
            wish.over.push(entry.internal_id().to_owned());
            let another = || order.running(edge).filter(|other| !Arc::ptr_eq(other, entry));
            // It runs, whatever the store would say: one that is away is not waited for.
            let attempt = edge.patience.wait(edge.attempt(wish)).await;
            let lease = match attempt.filter(|attempt| !attempt.is_unanswered()) {
                None => Ok(Right::Ours(None)),
                Some(attempt) => edge.decided(attempt, another).await,
            };
            let lease = match lease {
                // Another instance was told the same by this node.
                Ok(Right::Runs(other)) if is_about(&answer, &other) => {
                    return Ok(respond(asked, &other, answer));
                }
                Ok(Right::Runs(other)) => {
                    return again_elsewhere(edge, asked, order, &other).await;
                }
                Ok(Right::Ours(lease)) => lease,
                Err(_unknown) => None,
            };
            edge.fleet.end(entry);
            let (before, tenant) = (entry.clone(), asked.caller.tenant);
            let entry = edge.fleet.enter_unplaced(tenant, meeting, order.hints);
            let saved = save(edge, node, &entry, &issued, &answer, lease, Some(before));
            if let Some(other) = saved.await? {
                return again_elsewhere(edge, asked, order, &other).await;
            }
            edge.fleet.tell_created(&entry).await;
            Ok(respond(asked, &entry, answer))
        }
    }
}

/// What the front end has sent along, unless the tenant's slides take its place. Those are only for new
/// meetings: of a running one a node ignores them, and front ends create it again before every join.
fn own_slides<'a>(asked: &'a Asked<'_>) -> Option<&'a Upload> {
    asked.upload.as_ref().filter(|_| !branding::is_forced(asked))
}

/// Whether a node's answer to a create is about this very meeting.
fn is_about(answer: &Answer, entry: &Entry) -> bool {
    answer.text("internalMeetingID").as_deref() == Some(entry.internal_id())
}

/// Answers with the meeting that has won a race.
async fn again_elsewhere(
    edge: &Edge,
    asked: &Asked<'_>,
    order: &Order<'_>,
    entry: &Arc<Entry>,
) -> Result<Decision, Refusal> {
    let node = &reachable_node(edge, entry)?;
    let (answer, _) = order.ask_again(edge, node, entry, None).await?;
    Ok(respond(asked, entry, answer))
}

/// A meeting whose node has been away: if the node answers after all, the meeting is still there, and so
/// may be its people. Polls that time out say little of a node under load.
async fn found_again(
    edge: &Edge,
    asked: &Asked<'_>,
    order: &Order<'_>,
) -> Option<(Arc<Node>, Arc<Entry>)> {
    if order.parent.is_some() {
        // A main meeting that has the id of this breakout room is another one.
        return None;
    }
    let entry = edge.fleet.directory.get_lost(&order.key)?;
    let node = asked.snapshot.node(entry.node().as_str())?.clone();
    let mut params = Params::default();
    params.push("meetingID", &entry.node_meeting_id());
    let asking = edge.ask(&node, Call::GetMeetingInfo, &params, None);
    let info = timeout(FOUND_AGAIN_WITHIN, asking).await.ok()?.ok()?;
    if info.text("internalMeetingID").as_deref() != Some(entry.internal_id())
        || info.text("hasBeenForciblyEnded").as_deref() == Some("true")
        || !edge.fleet.directory.revive(&entry)
    {
        return None;
    }
    edge.fleet.tell_revived(&entry);
    asked.track.node(entry.node());
    Some((node, entry))
}

/// A create of a new meeting: the least loaded node, and the next best ones if it fails.
async fn anew(
    edge: &Edge,
    asked: &Asked<'_>,
    order: &Order<'_>,
    mut place: Place,
    claim: Claim,
) -> Result<Decision, Refusal> {
    let slides = branding::slides(asked, &order.params);
    if slides.is_none() && own_slides(asked).is_some_and(Upload::is_broken_xml) {
        return Err(Refusal::client(Failure::REQUEST_NOT_RECOGNIZED));
    }
    let upload = slides.as_ref().or_else(|| own_slides(asked));
    let mut tried = Vec::new();
    let mut right = None;
    loop {
        let (node, mut reservation) = order.place(edge, asked, &tried, &mut place).await?;
        asked.track.node(node.name());
        let issued = if right.is_some() {
            let issued = order.issued(edge, &node).await;
            order.issued_surely(edge, &node, issued).await?
        } else {
            // Both at once share a transaction.
            let attempt = edge.attempt(order.wish(edge));
            let (attempt, issued) = join(attempt, order.issued(edge, &node)).await;
            let is_free = attempt.is_ours();
            if !is_free {
                drop(reservation.take());
                if let Ok(issued) = &issued {
                    issued.withdraw(edge).await;
                }
            }
            match edge.decided(attempt, || order.running(edge)).await? {
                Right::Runs(entry) => {
                    drop((place, claim));
                    return Box::pin(again(edge, asked, order, &entry)).await;
                }
                Right::Ours(mut lease) => {
                    if let Some(entry) = inherited::take_up(edge, asked, order, &mut lease).await? {
                        drop((place, claim));
                        return Box::pin(again(edge, asked, order, &entry)).await;
                    }
                    right = Some(lease);
                }
            }
            if !is_free {
                continue;
            }
            order.issued_surely(edge, &node, issued).await?
        };
        let asking = edge.ask(&node, Call::Create, &issued.params, upload);
        let trouble = match asking.await {
            Ok(answer) if !answer.is_success() => {
                issued.withdraw(edge).await;
                return Ok(Decision::Respond(asked.passed_on(&answer)));
            }
            Ok(answer) => match edge.usable(&node, asked.call, order.meeting(&answer, &node)) {
                Ok(meeting) => {
                    edge.metrics.placed(&node, order.parent.is_some(), !tried.is_empty());
                    let before = order.over(edge);
                    let entry = edge.fleet.directory.enter(meeting, reservation, place, tried);
                    edge.fleet.note_created(&entry, order.hints);
                    let lease = right.flatten();
                    let saved = save(edge, &node, &entry, &issued, &answer, lease, before);
                    if let Some(other) = saved.await? {
                        return again_elsewhere(edge, asked, order, &other).await;
                    }
                    edge.fleet.tell_created(&entry).await;
                    return Ok(respond(asked, &entry, answer));
                }
                Err(trouble) => trouble,
            },
            Err(trouble) => trouble,
        };
        if trouble.before_request() {
            issued.withdraw(edge).await;
        }
        tried.push(node.name().clone());
        let can_repeat = trouble.is_nodes_fault()
            && upload.is_none_or(|upload| {
                upload.is_whole() || (trouble.before_request() && upload.is_replayable())
            });
        if tried.len() >= MAX_TRIES || order.parent.is_some() || !can_repeat {
            return Err(trouble.into());
        }
        edge.metrics.placement_retries.with_label_values(&[trouble.kind()]).inc();
    }
}

/// The node of a meeting, unless it is known to be down. It may have come while we waited.
fn reachable_node(edge: &Edge, entry: &Entry) -> Result<Arc<Node>, Refusal> {
    match edge.fleet.peek().node(entry.node().as_str()) {
        Some(node) if node.live.health() != Health::Down => Ok(node.clone()),
        _ => Err(Refusal::node(refusal::meeting_unavailable())),
    }
}

/// A tenant with the nodes that it has by now: none, if it has been removed while we waited.
fn present(snapshot: &Snapshot, tenant: &TenantEntry) -> Arc<TenantEntry> {
    snapshot.tenant(tenant.tenant.slug.as_str()).cloned().unwrap_or_else(|| tenant.retired().into())
}

fn respond(asked: &Asked<'_>, entry: &Entry, mut answer: Answer) -> Decision {
    if answer.is_success() {
        identity::reword(answer.element_mut(), entry.key(), entry.created_as());
    }
    Decision::Respond(asked.passed_on(&answer))
}
