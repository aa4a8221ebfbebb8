//! Asking a node: a request built anew, signed with the node's secret, and an answer that is checked
//! before anybody relies on it.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt, Full};
use log::{info, warn};

use super::Edge;
use super::upload::Upload;
use crate::bbb::{Answer, Call, Params, signed_query, signed_url};
use crate::chain::Chain;
use crate::fleet::{Node, now_ms};
use crate::node::{self, RequestBody};

/// A node answers within this time, or it has failed. Nodes under load take seconds for a create.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest `getMeetingInfo`: a meeting of thousands, with everybody's details.
const MAX_INFO_BYTES: usize = 8 * 1024 * 1024;
/// Any other answer has a dozen short elements. Many may be under way, and a node may lie.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A longer query goes as a form: servers before bbb-web refuse request lines over 8 KiB.
pub(super) const MAX_QUERY_BYTES: usize = 6 * 1024;

/// Why a node gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No HTTP answer.
    #[error(transparent)]
    Http(#[from] node::Error),
    /// Another status than 200.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Something else than a BigBlueButton answer.
    #[error("its answer is not BigBlueButton's XML")]
    NotXml,
    /// Its secret is not the one we know.
    #[error(
        "it refused our checksum: its secret or its checksum algorithm is not the configured one"
    )]
    ChecksumRefused,
    /// It says no where there is nothing to be said no to.
    #[error("it answered FAILED")]
    Failed,
    /// Something else than an answer of the calls that answer in JSON.
    #[error("its answer is not BigBlueButton's JSON")]
    NotJson,
    /// Status 500 to slides that are known whole, which is what nodes say to a body that they cannot read. To one
    /// that passed through us it is the node's own failure for all we know.
    #[error("it answered with status 500 to a body that may not be XML")]
    BodyRefused,
    /// The answer is about another meeting.
    #[error("it answered for another meeting than it was asked for")]
    WrongMeeting,
}

impl Trouble {
    /// Whether another node might do better. A request that cannot be made, or a body that broke off or
    /// cannot be read, is not a node's fault.
    pub(super) fn is_nodes_fault(&self) -> bool {
        !matches!(
            self,
            Self::BodyRefused | Self::Http(node::Error::Request { .. } | node::Error::Body { .. })
        )
    }

    /// Whether the node has seen nothing of the request.
    pub(super) fn before_request(&self) -> bool {
        matches!(self, Self::Http(error) if error.before_request())
    }

    /// A word from a closed set, for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Http(error) => error.kind(),
            Self::Status(_) => "status",
            Self::NotXml => "not_xml",
            Self::Failed => "failed",
            Self::NotJson => "not_json",
            Self::ChecksumRefused => "checksum",
            Self::WrongMeeting => "wrong_meeting",
            Self::BodyRefused => "body_refused",
        }
    }
}

/// The raw query of a request to a node, signed, behind the pieces of `base`, which end in `?` or are none.
pub(super) fn sign(base: &[&str], node: &Node, call: Call, params: &Params<'_>) -> String {
    signed_url(base, node.cluster.checksum, call.as_str(), params, node.spec.secret.expose())
}

impl Edge {
    /// Asks a node and reads its answer, `SUCCESS` or `FAILED`.
    ///
    /// # Errors
    /// When the answer cannot be relied on. The trouble is counted and logged here, once, and the node
    /// gets no new meetings until its polls say more if it could not be reached or did not answer.
    pub(super) async fn ask(
        &self,
        node: &Node,
        call: Call,
        params: &Params<'_>,
        upload: Option<&Upload>,
    ) -> Result<Answer, Trouble> {
        let result = self.fetch(node, call, params, upload).await;
        self.usable(node, call, result.and_then(|body| read(&body)))
    }

    /// Passes a result on; of a trouble that is the node's, it counts and logs it.
    pub(super) fn usable<T>(
        &self,
        node: &Node,
        call: Call,
        result: Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        if let Err(trouble) = &result
            && trouble.is_nodes_fault()
        {
            self.report(node, call, trouble);
        }
        result
    }

    /// What a node answers, as it comes. Nothing is known of it but that its status is 200, and no trouble
    /// has been reported yet.
    pub(super) async fn fetch(
        &self,
        node: &Node,
        call: Call,
        params: &Params<'_>,
        upload: Option<&Upload>,
    ) -> Result<Bytes, Trouble> {
        let query = sign(&[], node, call, params);
        // The body may take as long as its front end takes to send it.
        if let Some(upload) = upload {
            let within = ANSWER_TIMEOUT + upload.within();
            let sent = self.send(node, call, &query, Some(upload.body()), within).await;
            let is_xml = matches!(call, Call::Create | Call::InsertDocument);
            if is_xml && matches!(sent, Err(Trouble::Status(500))) && upload.may_be_broken_xml() {
                let (node, call) = (node.name(), call.as_str());
                info!("node {node}: {call} is given up: {}", Trouble::BodyRefused);
                return Err(Trouble::BodyRefused);
            }
            return sent;
        }
        self.fetch_signed(node, call, &query, params).await
    }

    /// The same for a query that [`sign`] has made of the parameters.
    pub(super) async fn fetch_signed(
        &self,
        node: &Node,
        call: Call,
        query: &str,
        params: &Params<'_>,
    ) -> Result<Bytes, Trouble> {
        let fits = fits_a_request_line(query) && call.allows("GET");
        if fits || !call.allows("POST") {
            return self.send(node, call, query, None, ANSWER_TIMEOUT).await;
        }
        let (query, form) = as_form(node, call, params);
        self.send(node, call, &query, Some(form), ANSWER_TIMEOUT).await
    }

    async fn send(
        &self,
        node: &Node,
        call: Call,
        query: &str,
        body: Option<RequestBody>,
        within: Duration,
    ) -> Result<Bytes, Trouble> {
        let (url, max_bytes) = (&node.spec.url, max_answer_bytes(call));
        let response = self.client.call(url, call.as_str(), query, body, within, max_bytes).await?;
        if response.status != 200 {
            return Err(Trouble::Status(response.status));
        }
        Ok(response.body)
    }

    /// Counts and logs what went wrong with a node.
    fn report(&self, node: &Node, call: Call, trouble: &Trouble) {
        self.metrics.node_failures.with_label_values(&[call.as_str(), trouble.kind()]).inc();
        warn!("node {}: {} failed: {}", node.name(), call.as_str(), Chain(trouble));
        if let Trouble::Http(error) = trouble
            && (error.before_request() || matches!(error, node::Error::Timeout { .. }))
        {
            let why = format!("{}: {}", call.as_str(), Chain(trouble));
            self.fleet.doubt(node, why, now_ms());
        }
    }
}

/// Reads an answer.
pub(super) fn read(body: &[u8]) -> Result<Answer, Trouble> {
    let answer = Answer::parse(body).map_err(|_not_xml| Trouble::NotXml)?;
    if answer.message_key().as_deref() == Some("checksumError") {
        return Err(Trouble::ChecksumRefused);
    }
    Ok(answer)
}

fn max_answer_bytes(call: Call) -> usize {
    if call == Call::GetMeetingInfo { MAX_INFO_BYTES } else { MAX_ANSWER_BYTES }
}

/// Whether a query can stand in a request line.
pub(super) fn fits_a_request_line(query: &str) -> bool {
    query.len() <= MAX_QUERY_BYTES
}

/// Parameters that are too long for a request line, as a form: with nothing but the checksum in the
/// query, every version of BigBlueButton takes it.
pub(super) fn as_form(node: &Node, call: Call, params: &Params<'_>) -> (String, RequestBody) {
    let query = signed_query(node.cluster.checksum, call.as_str(), b"", node.spec.secret.expose());
    let form = Bytes::from(params.write());
    let length = Some(form.len() as u64);
    let body = Full::new(form).map_err(|never| match never {}).boxed();
    let content_type = Some(HeaderValue::from_static("application/x-www-form-urlencoded"));
    (query, RequestBody { content_type, body, length })
}
