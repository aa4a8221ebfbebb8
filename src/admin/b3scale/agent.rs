//! What b3scale's agents on the nodes say.
//!
//! They are heard and answered, so that they go on as they are. What they tell of meetings and people is not
//! used: polls know it by themselves, and in an order.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::api::problem::Problem;
use super::super::api::time;
use super::backends::object_of;
use super::{Annex, Answer, Right, Visitor, id_of, not_found, ok};
use crate::fleet::now_ms;

/// What agents tell.
const ACTIONS: [&str; 4] = [
    "meeting_state_reset",
    "meeting_set_running",
    "meeting_add_attendee",
    "meeting_remove_attendee",
];

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
        let mut heard = self.heard.lock();
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
        if self.node_of_agent(visitor).is_none() {
            return Err(Problem::new(StatusCode::FORBIDDEN, "Forbidden"));
        }
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
        if !ACTIONS.contains(&action) {
            return Ok(ok(failed(format!("unknown action: {action}"))));
        }
        if !payload["internal_meeting_id"].is_string() {
            return Ok(ok(failed("internal_meeting_id is missing".to_owned())));
        }
        Ok(ok(json!({"status": "ok", "result": null})))
    }
}
