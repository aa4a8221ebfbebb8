//! What b3scale's agents on the nodes say.
//!
//! Whom they see come and go counts for the load of their node until its next poll, which knows better. That a
//! meeting is over is asked of the node at once. Nothing else that they tell is taken for true: polls know it by
//! themselves, and in an order.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::api::problem::Problem;
use super::super::api::time;
use super::backends::object_of;
use super::{Annex, Answer, Right, Visitor, id_of, not_found, ok};
use crate::fleet::{Entry, Node, Phase, now_ms};

/// An event of a meeting may come before its create was answered; the next poll knows it in any case.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Events that wait for their meetings.
pub(super) const MAX_WAITING: usize = 256;
/// What b3scale says of a meeting that does not come.
const UNKNOWN: &str = "context deadline exceeded";

impl Annex {
    pub(super) fn own_backend(&self, visitor: &Visitor) -> Answer {
        visitor.may(&[Right::Node])?;
        let node = self.node_of_agent(visitor).ok_or_else(not_found)?;
        Ok(ok(self.backend(&node)))
    }

    pub(super) fn heartbeat(&self, visitor: &Visitor) -> Answer {
        visitor.may(&[Right::Node])?;
        let node = self.node_of_agent(visitor).ok_or_else(not_found)?;
        let now = now_ms();
        let mut heard = self.memory.heard.lock();
        if heard.insert(node.name().clone(), now).is_none() {
            // No more than there are nodes.
            let snapshot = self.desk.fleet.snapshot();
            heard.retain(|name, _| snapshot.node(name.as_str()).is_some());
        }
        Ok(ok(json!({"backend_id": id_of(&object_of(&node)), "heartbeat": time(now)})))
    }

    pub(super) async fn rpc(
        &self,
        visitor: &Visitor,
        body: impl AsyncFnOnce() -> Result<Value, Problem>,
    ) -> Answer {
        visitor.may(&[Right::Node])?;
        let Some(node) = self.node_of_agent(visitor) else {
            return Err(Problem::new(StatusCode::FORBIDDEN, "Forbidden"));
        };
        let failed = |why: String| json!({"status": "error", "result": why});
        let body = match body().await {
            Ok(body) => body,
            Err(problem) => {
                let (status, why) = problem.told();
                return Ok((status, failed(why.to_owned())));
            }
        };
        let payload = match &body["payload"] {
            Value::String(encoded) => {
                let bytes = STANDARD.decode(encoded).ok();
                bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            }
            payload @ Value::Object(_) => Some(payload.clone()),
            _ => None,
        };
        let (Some(action), Some(payload)) = (body["action"].as_str(), payload) else {
            let why = "the action is not a text, or the payload no object or base64 of one";
            return Ok((StatusCode::BAD_REQUEST, failed(why.to_owned())));
        };
        Ok(ok(match self.hear(&node, action, &payload).await {
            Ok(()) => json!({"status": "ok", "result": null}),
            Err(why) => failed(why),
        }))
    }

    /// Takes one event.
    async fn hear(&self, node: &Arc<Node>, action: &str, payload: &Value) -> Result<(), String> {
        let text = |name: &str| {
            let text = payload[name].as_str();
            text.ok_or_else(|| format!("{name} is missing, or no text"))
        };
        match action {
            "meeting_state_reset" => {
                let entry = self.meeting_on(node, text("internal_meeting_id")?).await?;
                self.look_whether_it_is_over(&entry).await;
            }
            "meeting_set_running" => {
                if !payload["running"].is_boolean() {
                    return Err("running is missing, or not true or false".to_owned());
                }
                self.meeting_on(node, text("internal_meeting_id")?).await?;
            }
            "meeting_add_attendee" => {
                if !payload["attendee"].is_object() {
                    return Err("attendee is missing, or no object".to_owned());
                }
                // Of a breakout room its people are in the main meeting, too.
                if self.meeting_on(node, text("internal_meeting_id")?).await?.counts() {
                    node.live.count_arrival();
                }
            }
            "meeting_remove_attendee" => {
                text("internal_user_id")?;
                if self.meeting_on(node, text("internal_meeting_id")?).await?.counts() {
                    node.live.count_departure();
                }
            }
            _ => return Err(format!("unknown action: {action}")),
        }
        Ok(())
    }

    /// A meeting on this node, as soon as it is known.
    async fn meeting_on(&self, node: &Node, internal_id: &str) -> Result<Arc<Entry>, String> {
        let directory = &self.desk.fleet.directory;
        let find = || {
            let found = directory.get_internal(internal_id);
            found.filter(|entry| entry.node() == node.name())
        };
        if let Some(entry) = find() {
            return Ok(entry);
        }
        let Ok(_place) = self.memory.waiting.try_acquire() else { return Err(UNKNOWN.to_owned()) };
        let until = Instant::now() + KNOWN_WITHIN;
        while Instant::now() < until {
            sleep(LOOK_EVERY).await;
            if let Some(entry) = find() {
                return Ok(entry);
            }
        }
        Err(UNKNOWN.to_owned())
    }

    /// Asks the node whether it still has a meeting, and marks it as ended if not.
    pub(super) async fn look_whether_it_is_over(&self, entry: &Arc<Entry>) -> bool {
        if entry.phase() != Phase::Running {
            return true;
        }
        let is_over = self.desk.has_gone(entry).await.unwrap_or(false);
        if is_over {
            self.desk.fleet.end(entry);
        }
        is_over
    }
}
