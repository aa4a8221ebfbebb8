//! The recordings of nodes, as operators see them: gathered from many nodes within bounds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use log::warn;

use super::Desk;
use super::problem::Problem;
use super::tools::Trouble;
use crate::bbb::{Answer, Call, Element, ListNames, ListParser, Params, signed_query};
use crate::chain::Chain;
use crate::fleet::{Node, recording};
use crate::model::{Health, MeetingKey};

/// Nodes that are asked at once.
const AT_ONCE: usize = 8;
/// A node has listed what it has by then, or is left out.
const WITHIN: Duration = Duration::from_secs(10);
/// What is read of one node: ten thousand recordings with previews.
const MAX_NODE_BYTES: usize = 64 * 1024 * 1024;
/// One recording; a long presentation has hundreds of thumbnails.
const MAX_ITEM_BYTES: usize = 256 * 1024;
/// Recordings that are kept for one answer.
const MAX_KEPT: usize = 5_000;

/// A recording, whose it is, and the node that has it.
pub(in crate::admin) struct Found {
    pub(in crate::admin) key: MeetingKey,
    /// In the words of its owner.
    pub(in crate::admin) recording: Element,
    pub(in crate::admin) node: Arc<Node>,
}

impl Desk {
    /// The recordings that `keep` wants among those which these nodes list. Nodes that share their disks list the
    /// same; those that fail are left out.
    ///
    /// # Errors
    /// When nothing was found and not every node could be asked, or too much was.
    pub(in crate::admin) async fn recordings(
        &self,
        nodes: &[Arc<Node>],
        params: &Params<'_>,
        keep: &(dyn Fn(&MeetingKey, &Element) -> bool + Sync),
    ) -> Result<Vec<Found>, Problem> {
        let mut asking: Vec<BoxFuture<'_, _>> = Vec::with_capacity(nodes.len());
        for node in nodes {
            asking.push(Box::pin(self.recordings_on(node, params, keep)));
        }
        let mut listed = stream::iter(asking).buffered(AT_ONCE);
        let (mut found, mut unheard): (Vec<Found>, _) = (Vec::new(), None);
        while let Some(on_node) = listed.next().await {
            match on_node {
                Ok(more) => found.extend(more),
                Err(problem) => unheard = Some(problem),
            }
            // Before the others have told as much.
            if found.len() > MAX_KEPT {
                return Err(too_many());
            }
        }
        if let Some(problem) = unheard.filter(|_| found.is_empty()) {
            return Err(problem);
        }
        found.sort_by_cached_key(|one| (one.id(), one.node.name().clone()));
        Ok(found)
    }

    async fn recordings_on(
        &self,
        node: &Arc<Node>,
        params: &Params<'_>,
        keep: &(dyn Fn(&MeetingKey, &Element) -> bool + Sync),
    ) -> Result<Vec<Found>, Problem> {
        let away = |why: String| {
            warn!("API: node {}: its recordings cannot be listed: {why}", node.name());
            let detail = format!("node {} cannot be asked for its recordings now", node.name());
            Problem::new(StatusCode::BAD_GATEWAY, detail)
        };
        if node.live.health() == Health::Down {
            return Err(away("it is down".to_owned()));
        }
        let snapshot = self.fleet.snapshot();
        let call = Call::GetRecordings.as_str();
        let secret = node.spec.secret.expose();
        let query = signed_query(node.cluster.checksum, call, &params.write(), secret);
        let mut parser = ListParser::new(ListNames::RECORDINGS, MAX_ITEM_BYTES);
        let (mut found, mut wrong, mut is_too_much) = (Vec::new(), None, false);
        let mut each_chunk = |chunk: &[u8]| {
            let pushed = parser.push(chunk, &mut |mut recording| {
                let Some(key) = recording::owner(&snapshot, &recording) else { return };
                if !keep(&key, &recording) {
                    return;
                }
                is_too_much |= found.len() >= MAX_KEPT;
                if !is_too_much {
                    recording::reword(&mut recording, &key.id);
                    found.push(Found { key, recording, node: node.clone() });
                }
            });
            wrong = pushed.err();
            if wrong.is_some() || is_too_much {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let client = &self.tools.client;
        let asked =
            client.stream(&node.spec.url, call, &query, WITHIN, MAX_NODE_BYTES, &mut each_chunk);
        let status = asked.await.map_err(|trouble| away(Chain(&trouble).to_string()))?;
        if status != 200 {
            return Err(away(Trouble::Status(status).to_string()));
        }
        if is_too_much {
            return Err(too_many());
        }
        if let Some(trouble) = wrong {
            return Err(away(trouble.to_string()));
        }
        parser.finish().map_err(|trouble| away(trouble.to_string()))?;
        Ok(found)
    }

    /// Has the node change a recording.
    ///
    /// # Errors
    /// When it does not.
    pub(in crate::admin) async fn change_recording(
        &self,
        found: &Found,
        call: Call,
        params: &Params<'_>,
    ) -> Result<(), Problem> {
        let name = found.node.name();
        let failed = |why: String| {
            let detail = format!("node {name} does not change the recording: {why}");
            Problem::new(StatusCode::BAD_GATEWAY, detail)
        };
        let answer: Answer = self
            .ask(&found.node, call, params)
            .await
            .map_err(|trouble| failed(Chain(&trouble).to_string()))?;
        if answer.is_success() {
            return Ok(());
        }
        Err(failed(answer.message_key().unwrap_or_default().into_owned()))
    }
}

impl Found {
    /// `recordID`.
    pub(in crate::admin) fn id(&self) -> String {
        self.recording.child_text("recordID").unwrap_or_default().trim().to_owned()
    }
}

fn too_many() -> Problem {
    let detail = format!(
        "there are more than {MAX_KEPT} recordings: ask through the API of the tenant, in pages"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}
