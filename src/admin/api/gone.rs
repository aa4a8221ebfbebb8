//! Whether a meeting is over: its node is asked, whoever says so.

use axum::http::StatusCode;

use super::Desk;
use super::problem::Problem;
use crate::bbb::{Call, MeetingInfo, Params};
use crate::chain::Chain;
use crate::fleet::Entry;
use crate::model::Health;

impl Desk {
    /// Whether its node no longer runs a meeting.
    ///
    /// # Errors
    /// When the node cannot tell.
    pub(in crate::admin) async fn has_gone(&self, entry: &Entry) -> Result<bool, Problem> {
        let name = entry.node();
        let failed = |why: String| Problem::new(StatusCode::BAD_GATEWAY, why);
        let node = self.fleet.snapshot().node(name.as_str()).cloned();
        let Some(node) = node.filter(|node| node.live.health() != Health::Down) else {
            return Err(failed(format!("node {name} is down: what runs there cannot be told now")));
        };
        let mut params = Params::default();
        params.push("meetingID", &entry.node_meeting_id());
        let answer = self.ask(&node, Call::GetMeetingInfo, &params).await;
        let answer =
            answer.map_err(|trouble| failed(format!("node {name}: {}", Chain(&trouble))))?;
        if !answer.is_success() {
            let key = answer.message_key().unwrap_or_default();
            return match &*key {
                "notFound" => Ok(true),
                _ => Err(failed(format!("node {name} refuses: {key}"))),
            };
        }
        let info = MeetingInfo::from_element(answer.into_element());
        let is_another = *info.internal_id() != *entry.internal_id();
        Ok(is_another || info.has_been_forcibly_ended() || info.end_time_ms() > 0)
    }
}
