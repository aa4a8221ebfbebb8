//! Nodes that are gone from the inventory, and stay until their last meeting ends: they are listed, shown, and removed
//! at once by force.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use log::warn;
use serde_json::json;

use super::Desk;
use super::caller::Caller;
use super::edits;
use super::listing::{self, Listing, Page};
use super::objects;
use super::problem::Problem;
use super::views::View;
use crate::chain::Chain;
use crate::fleet::{Node, Phase};
use crate::model::{self, AdminState, Health, Kind, NodeName, Object, ObjectName, Origin};

impl Desk {
    /// The node of this name, if it is retired.
    pub(super) fn retired(&self, name: &NodeName) -> Option<Arc<Node>> {
        let node = self.fleet.peek().node(name.as_str()).cloned();
        node.filter(|node| self.is_retired(node))
    }

    /// One on which everything is ended is as good as gone.
    fn is_retired(&self, node: &Node) -> bool {
        let entries = || self.fleet.directory.on_node(node.name());
        node.live.admin() == AdminState::Retired
            && (node.live.reserved() > 0
                || entries().iter().any(|entry| entry.phase() != Phase::Ended))
    }

    /// Gives up what was lost on a node that is down and that somebody wants gone for good: nobody can end it there.
    /// Otherwise it would keep the node for a day, in case that comes back. Tells the internal ids.
    pub(super) async fn give_up_lost_on(&self, node: &Node) -> Vec<String> {
        let mut given_up = Vec::new();
        if node.live.health() != Health::Down {
            return given_up;
        }
        let mut entries = self.fleet.directory.on_node(node.name());
        entries.retain(|entry| entry.phase() == Phase::Lost);
        for entry in entries {
            // Others may still serve it.
            if !self.fleet.judges_alone(&*self.store) {
                let removed = self.store.remove_meeting(entry.key(), entry.internal_id()).await;
                match removed {
                    Ok(is_removed) => self.fleet.learn_removed(&entry, &*self.store, is_removed),
                    Err(trouble) => {
                        // It stays with its node until the store can be told.
                        warn!("API: a lost meeting is not forgotten: {}", Chain(&trouble));
                        continue;
                    }
                }
                self.fleet.remove_hooks_of(&*self.store, entry.key(), entry.internal_id()).await;
            }
            self.fleet.directory.remove(&entry);
            given_up.push(entry.internal_id().to_owned());
        }
        given_up
    }
}

/// Nothing of it can be changed.
pub(super) fn refused(name: &ObjectName) -> Problem {
    Problem::conflict(format!("{name} is retired: it goes when it is empty"))
}

pub(super) fn get(desk: &Desk, name: &ObjectName) -> Option<Response> {
    if name.kind != Kind::Node {
        return None;
    }
    let node = desk.retired(&NodeName::new(name.name.as_str()))?;
    Some(objects::tagged(StatusCode::OK, tag_of(desk, &node), View::of_retired(desk, &node.spec)))
}

pub(super) fn list(
    desk: &Desk,
    asked: &Page,
    is_wanted: impl Fn(&model::Node) -> bool,
) -> Result<Json<Listing<View>>, Problem> {
    let snapshot = desk.fleet.snapshot();
    let retired = snapshot.nodes().filter(|node| desk.is_retired(node));
    let wanted = retired.filter(|node| is_wanted(&node.spec));
    let named = wanted.map(|node| (node.name().to_string(), node));
    let Listing { items, next } = listing::page(named.collect(), asked)?;
    let items = items.iter().map(|node| View::of_retired(desk, &node.spec)).collect();
    Ok(Json(Listing { items, next }))
}

/// Ends what runs there, if that is wanted; the node goes by itself then.
pub(super) async fn remove(
    desk: &Desk,
    caller: &Caller,
    node: &Node,
    is_forced: bool,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let object = ObjectName::new(Kind::Node, node.name().as_str());
    objects::check_tag(headers, &tag_of(desk, node))?;
    if !is_forced {
        return Err(Problem::conflict(format!(
            "{object} is retired: it goes when it is empty. By force, its meetings are ended now"
        )));
    }
    if node.live.health() == Health::Down {
        desk.fleet.lose_meetings_on(node.name());
    }
    let given_up = desk.give_up_lost_on(node).await;
    let removed = desk.end_all_on(node.name()).await;
    let mut told = json!({"ended": removed.ended, "left": removed.left});
    if !given_up.is_empty() {
        told["given_up"] = given_up.into();
    }
    let told = told.to_string();
    edits::write_down(desk, &caller.who, "force", &object, Some(told), None).await;
    Ok(Json(removed).into_response())
}

fn tag_of(desk: &Desk, node: &Node) -> String {
    objects::tag_of(desk, &Object::Node(node.spec.clone()), Origin::Api)
}
