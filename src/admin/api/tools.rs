//! What the API acts with, beside the inventory, and how it asks nodes.

use std::time::Duration;

use log::warn;

use crate::bbb::{Answer, Call, Params, signed_query};
use crate::bus::Duties;
use crate::chain::Chain;
use crate::config::Own;
use crate::fleet::{Node, now_ms};
use crate::node::{self, Client};

/// A node answers within this time, or it has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// An answer that is no list has a dozen short elements.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A meeting has all its people in it.
const MAX_MEETING_BYTES: usize = 4 * 1024 * 1024;

/// What the API acts with, beside the inventory.
#[derive(Clone)]
pub struct Tools {
    /// Asks nodes.
    pub client: Client,
    /// Tells who does what among the instances.
    pub duties: Duties,
    /// Where we are reached ourselves: a node that is there would have us call ourselves.
    pub own: Own,
    /// How long rooms that are not used are remembered: what is older teaches nothing.
    pub remembered: Duration,
}

/// Why a node gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Http(#[from] node::Error),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its answer is not BigBlueButton's XML")]
    NotXml,
}

impl super::Desk {
    /// Asks a node. It gets no new meetings until its polls say more if it could not be reached.
    pub(super) async fn ask(
        &self,
        node: &Node,
        call: Call,
        params: &Params<'_>,
    ) -> Result<Answer, Trouble> {
        let answer = self.try_to_ask(node, call, params).await;
        if let Err(trouble) = &answer {
            let why = format!("{}: {}", call.as_str(), Chain(trouble));
            warn!("API: node {}: {why}", node.name());
            if let Trouble::Http(error) = trouble
                && (error.before_request() || matches!(error, node::Error::Timeout { .. }))
            {
                self.fleet.doubt(node, why, now_ms());
            }
        }
        answer
    }

    async fn try_to_ask(
        &self,
        node: &Node,
        call: Call,
        params: &Params<'_>,
    ) -> Result<Answer, Trouble> {
        let (url, secret) = (&node.spec.url, node.spec.secret.expose());
        let max_bytes =
            if call == Call::GetMeetingInfo { MAX_MEETING_BYTES } else { MAX_ANSWER_BYTES };
        let call = call.as_str();
        let query = signed_query(node.cluster.checksum, call, &params.write(), secret);
        let asked = self.tools.client.call(url, call, &query, None, ANSWER_TIMEOUT, max_bytes);
        let response = asked.await?;
        if response.status != 200 {
            return Err(Trouble::Status(response.status));
        }
        Answer::parse(&response.body).map_err(|_not_xml| Trouble::NotXml)
    }
}
