//! `create`: an existing meeting's goes to its node; a new one is placed, one create of it at a time.
//!
//! The answer goes out when the meeting is in the directory and in the store, never before.

use std::sync::Arc;

use log::{error, warn};

use super::{Asked, Decision};
use crate::bbb::{Answer, Call, Failure, Params, new_meeting};
use crate::edge::Edge;
use crate::edge::ask::Trouble;
use crate::edge::refusal::{self, Refusal};
use crate::edge::reply::Reply;
use crate::edge::rules;
use crate::fleet::{Entry, Node, Phase, Reservation, identity, now_ms};
use crate::model::{Meeting, MeetingKey};

/// Nodes that are tried for one meeting.
const MAX_TRIES: usize = 3;

/// Creates a meeting, or finds it in existence.
pub(super) async fn create(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    let order = Order::read(edge, asked)?;
    loop {
        if let Some(entry) = order.running(edge) {
            return again(edge, asked, &order, &entry).await;
        }
        let claim = edge.fleet.claims.claim(&order.key).await;
        // Somebody may have created it while we waited.
        if order.running(edge).is_some() {
            drop(claim);
            continue;
        }
        return anew(edge, asked, &order).await;
    }
}

/// A create that is fit to be sent to a node, but for the node's own signature.
struct Order {
    key: MeetingKey,
    /// As the node is to get them, the meeting called as on a node.
    params: Params<'static>,
    node_meeting_id: String,
    /// The meeting whose breakout room this is.
    parent: Option<Arc<Entry>>,
}

impl Order {
    fn read(edge: &Edge, asked: &Asked<'_>) -> Result<Self, Refusal> {
        let id = asked.meeting_id()?;
        if !(2..=identity::MAX_MEETING_ID_CHARS).contains(&id.chars().count()) {
            return Err(Refusal::client(Failure::MEETING_ID_LENGTH));
        }
        if id.contains(',') {
            return Err(Refusal::client(Failure::MEETING_ID_COMMA));
        }
        let name = asked.params.get("name").unwrap_or_default();
        match name.trim().chars().count() {
            0 => return Err(Refusal::client(Failure::MISSING_MEETING_NAME)),
            2..=256 => {}
            _ => return Err(Refusal::client(Failure::MEETING_NAME_LENGTH)),
        }
        let mut params = asked.params.clone();
        rules::apply(&asked.caller, &mut params, |rules| &rules.create);
        let parent = parent(edge, asked, &params)?;
        if let Some(parent) = &parent {
            let on_node = params.get("parentMeetingID").unwrap_or_default().into_owned();
            if on_node != parent.internal_id() {
                params.set("parentMeetingID", parent.node_meeting_id());
            }
        }
        let tenant = &asked.caller.tenant.tenant;
        let scope = asked.caller.scope.clone();
        let node_meeting_id = identity::node_meeting_id(&scope, tenant.meeting_ids, &id);
        params.set("meetingID", &node_meeting_id);
        Ok(Self { key: MeetingKey { scope, id }, params, node_meeting_id, parent })
    }

    /// The meeting, if it runs already. One that was ended does not count: its id is free.
    fn running(&self, edge: &Edge) -> Option<Arc<Entry>> {
        let own = edge.fleet.directory.get(&self.key.scope, &self.key.id);
        // A breakout room is entered by the id that its node gave it; the one it was created with is
        // its internal id.
        let entry = own.or_else(|| match self.parent {
            Some(_) => edge.fleet.directory.get_internal(&self.node_meeting_id),
            None => None,
        })?;
        (entry.phase() == Phase::Running).then_some(entry)
    }
}

/// The parent of a breakout room: it decides on the node.
fn parent(
    edge: &Edge,
    asked: &Asked<'_>,
    params: &Params<'_>,
) -> Result<Option<Arc<Entry>>, Refusal> {
    if params.get("isBreakout").is_none_or(|value| value.trim() != "true") {
        return Ok(None);
    }
    let id = params.get("parentMeetingID").unwrap_or_default();
    if id.trim().is_empty() {
        return Err(Refusal::client(Failure::PARENT_MISSING));
    }
    match asked.find(edge, id.trim()) {
        Some(parent) if parent.phase() == Phase::Running => Ok(Some(parent)),
        _ => Err(Refusal::client(Failure::PARENT_NOT_FOUND)),
    }
}

/// A create of a meeting that runs: its node compares the passwords and answers.
async fn again(
    edge: &Edge,
    asked: &Asked<'_>,
    order: &Order,
    entry: &Arc<Entry>,
) -> Result<Decision, Refusal> {
    asked.track.node(entry.node());
    let node = asked.reachable_node(entry)?;
    let answer = edge.ask(&node, Call::Create, &order.params, asked.upload.as_ref()).await?;
    if answer.is_success()
        && answer.text("internalMeetingID").as_deref() != Some(entry.internal_id())
    {
        // The node had lost it and has created it anew.
        let meeting = order.meeting(&answer, &node)?;
        let entry = edge.fleet.directory.adopt(meeting, false);
        save(edge, &entry).await;
        return Ok(respond(asked, entry.key(), answer));
    }
    // The entry's key, as a breakout room goes by another id than the one in the order.
    Ok(respond(asked, entry.key(), answer))
}

/// A create of a new meeting: the least loaded node, and the next best ones if it fails.
async fn anew(edge: &Edge, asked: &Asked<'_>, order: &Order) -> Result<Decision, Refusal> {
    let mut tried = Vec::new();
    loop {
        let (node, reservation) = order.place(edge, asked, &tried)?;
        asked.track.node(node.name());
        let trouble = match edge
            .ask(&node, Call::Create, &order.params, asked.upload.as_ref())
            .await
        {
            Ok(answer) if !answer.is_success() => return Ok(respond(asked, &order.key, answer)),
            Ok(answer) => match order.meeting(&answer, &node) {
                Ok(meeting) => {
                    edge.metrics.placements.with_label_values(&[node.spec.cluster.as_str()]).inc();
                    let entry = match reservation {
                        Some(reservation) => edge.fleet.directory.enter(meeting, reservation),
                        None => edge.fleet.directory.adopt(meeting, false),
                    };
                    save(edge, &entry).await;
                    return Ok(respond(asked, entry.key(), answer));
                }
                Err(trouble) => {
                    edge.report(&node, Call::Create, &trouble);
                    trouble
                }
            },
            Err(trouble) => trouble,
        };
        tried.push(node.name().clone());
        let can_repeat = asked.upload.as_ref().is_none_or(super::Upload::is_replayable);
        if tried.len() >= MAX_TRIES || order.parent.is_some() || !can_repeat {
            return Err(trouble.into());
        }
        edge.metrics.placement_retries.with_label_values(&[trouble.kind()]).inc();
    }
}

impl Order {
    /// The node for the next try: the parent's for a breakout room, else the best that is left.
    fn place(
        &self,
        edge: &Edge,
        asked: &Asked<'_>,
        tried: &[crate::model::NodeName],
    ) -> Result<(Arc<Node>, Option<Reservation>), Refusal> {
        if let Some(parent) = &self.parent {
            return Ok((asked.reachable_node(parent)?, None));
        }
        match asked.caller.tenant.place(&self.key, tried) {
            Ok(reservation) => Ok((reservation.node().clone(), Some(reservation))),
            Err(why) => {
                edge.metrics.placements_refused.inc();
                warn!("tenant {}: no node for a new meeting: {why}", self.key.scope.tenant);
                Err(Refusal::node(refusal::no_node(&why)))
            }
        }
    }

    /// The meeting that a node says it has created.
    ///
    /// # Errors
    /// When the answer is about another meeting: a node that mixes up its meetings, or lies.
    fn meeting(&self, answer: &Answer, node: &Node) -> Result<Meeting, Trouble> {
        let text = |name| answer.text(name).map(std::borrow::Cow::into_owned).unwrap_or_default();
        let (meeting_id, internal_id) = (text("meetingID"), text("internalMeetingID"));
        let mut key = self.key.clone();
        let mut parent_internal_id = None;
        if let Some(parent) = &self.parent {
            if internal_id != self.node_meeting_id || meeting_id.is_empty() {
                return Err(Trouble::WrongMeeting);
            }
            key.id = identity::front_id(&key.scope, &meeting_id).into_owned();
            parent_internal_id = Some(parent.internal_id().to_owned());
        } else if meeting_id != self.node_meeting_id
            || !identity::is_internal_id_of(&internal_id, &meeting_id)
        {
            return Err(Trouble::WrongMeeting);
        }
        let mut shown = new_meeting(answer, &self.params);
        identity::reword(shown.element_mut(), &key);
        Ok(Meeting {
            key,
            node: node.name().clone(),
            // A breakout room is best known to its node by its internal id.
            node_meeting_id: if self.parent.is_some() { internal_id.clone() } else { meeting_id },
            internal_id,
            created_at_ms: now_ms(),
            parent_internal_id,
            xml: shown.element().to_vec().into(),
        })
    }
}

/// Makes a meeting survive us.
///
/// A store that fails does not fail the create: the meeting runs, its node remembers whose it is, and
/// the next poll tries again to save it.
async fn save(edge: &Edge, entry: &Arc<Entry>) {
    match edge.store.put_meeting(&entry.to_meeting()).await {
        Ok(()) => entry.mark_saved(),
        Err(trouble) => {
            edge.metrics.store_failures.inc();
            error!("a new meeting on node {} is not saved yet: {trouble}", entry.node());
        }
    }
}

fn respond(asked: &Asked<'_>, key: &MeetingKey, mut answer: Answer) -> Decision {
    asked.track.answered(&answer);
    if answer.is_success() {
        identity::reword(answer.element_mut(), key);
    }
    Decision::Respond(Reply::xml(answer.to_vec()))
}
