//! Whether a recording that a front end is to be told of can be seen by it.
//!
//! A node tells of a recording as soon as its files are in their place, once for each format. Front ends ask
//! `getRecordings` for it while they are being told, and some fail for good if it is not there. So the node
//! is asked first; what it does not list yet is told later.

use std::time::Duration;

use serde_json::Value;

use super::Verdict;
use crate::bbb::{Answer, Call, Params, signed_url};
use crate::chain::Chain;
use crate::fleet::Node;
use crate::model::{CallbackKind, Delivery, Health};
use crate::node::Client;

/// What is not listed by then is told all the same: its node may be gone for good, or have given it away.
const WAITED_FOR_MS: u64 = 15 * 60 * 1000;
const TIMEOUT: Duration = Duration::from_secs(5);
/// One recording; a long presentation has hundreds of thumbnails.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Why it must wait, if it must.
pub(super) async fn must_wait(
    client: &Client,
    node: Option<&Node>,
    delivery: &Delivery,
    payload: &[u8],
    now_ms: u64,
) -> Option<Verdict> {
    let is_late = now_ms.saturating_sub(delivery.received_at_ms) >= WAITED_FOR_MS;
    if delivery.kind != CallbackKind::RecordingReady || is_late {
        return None;
    }
    let claims: Value = serde_json::from_slice(payload).ok()?;
    let record_id = claims.get("record_id")?.as_str()?;
    let error = match node {
        Some(node) if node.live.health() != Health::Down => {
            match is_listed(client, node, record_id).await {
                Ok(true) => return None,
                Ok(false) => "its node does not list it yet".to_owned(),
                Err(error) => format!("its node cannot be asked: {error}"),
            }
        }
        Some(_) => "its node is down".to_owned(),
        None => "its node is gone".to_owned(),
    };
    Some(Verdict::not_listed(&error))
}

/// Whether the node lists it to whoever does not ask for other states.
async fn is_listed(client: &Client, node: &Node, record_id: &str) -> Result<bool, String> {
    let mut params = Params::default();
    params.push("recordID", record_id);
    let (algorithm, secret) = (node.cluster.checksum, node.spec.secret.expose());
    let call = Call::GetRecordings.as_str();
    let query = signed_url(&[], algorithm, call, &params, secret);
    let asked = client.call(&node.spec.url, call, &query, None, TIMEOUT, MAX_ANSWER_BYTES).await;
    let response = asked.map_err(|trouble| Chain(&trouble).to_string())?;
    if response.status != 200 {
        return Err(format!("it answered with status {}", response.status));
    }
    let answer = Answer::parse(&response.body).map_err(|trouble| trouble.to_string())?;
    let list = answer.element().child("recordings");
    // Nodes match by beginnings.
    let mut recordings = list.into_iter().flat_map(|list| list.children_named("recording"));
    Ok(recordings
        .any(|recording| recording.child_text("recordID").is_some_and(|id| id.trim() == record_id)))
}
