//! The calls of the BigBlueButton API, one file each, and what they share: what was asked, and what is
//! decided.

mod change_recordings;
mod create;
mod end;
mod get_meetings;
mod hooks;
mod join;
mod meeting_info;
mod passed;
mod recordings;
mod root;
mod session;
mod sessions;
mod text_tracks;

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;

use super::Edge;
use super::authenticate::Caller;
use super::refusal::{self, Refusal};
use super::reply::{Dialect, Reply};
use super::request::Request;
use super::track::Track;
use super::upload::Upload;
use crate::bbb::{Answer, Call, Failure, Params};
use crate::fleet::{Entry, Node, Snapshot, identity};
use crate::model::Health;

pub(super) use root::version;
pub(super) use session::{is_gone, without_session};

/// What a request asks for, once its caller is known.
pub(super) struct Asked<'a> {
    pub(super) call: Call,
    pub(super) caller: Caller<'a>,
    pub(super) params: Cow<'a, Params<'a>>,
    pub(super) request: &'a Request<'a>,
    /// The inventory for the whole of this request.
    pub(super) snapshot: &'a Snapshot,
    /// Slides, or a text track.
    pub(super) upload: Option<Upload>,
    /// Our own address for nodes, with `create`, if it is known.
    pub(super) base: Option<String>,
    /// Scheme and authority of our own URLs for browsers, where the call needs any.
    pub(super) look_base: Option<String>,
    /// What the access log will say.
    pub(super) track: &'a Track,
    /// A meeting that is not known may run all the same: neither the other instances nor the store can be asked.
    pub(super) is_unsure: bool,
}

/// What is to be done with a request.
pub(super) enum Decision {
    /// Answer it.
    Respond(Reply),
    /// Send the client there.
    Redirect(HeaderValue),
    /// Proxy it to a node.
    Forward(Forward),
}

/// A request to be proxied to a node.
#[derive(Debug, Clone)]
pub(super) struct Forward {
    pub(super) node: Arc<Node>,
    /// Path and signed query on the node.
    pub(super) path_and_query: String,
}

/// Decides on an authenticated request.
pub(super) async fn decide(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    // In boxes, so that the future of a join, which waits for nothing, is small.
    match asked.call {
        Call::Create => Box::pin(create::create(edge, asked)).await,
        Call::Join => join::join(edge, asked),
        Call::IsMeetingRunning => Box::pin(meeting_info::is_meeting_running(edge, asked)).await,
        Call::GetMeetingInfo => Box::pin(meeting_info::get_meeting_info(edge, asked)).await,
        Call::End => Box::pin(end::end(edge, asked)).await,
        Call::GetMeetings => Ok(get_meetings::get_meetings(edge, asked)),
        Call::InsertDocument | Call::SendChatMessage => Box::pin(passed::pass(edge, asked)).await,
        Call::GetSessions => Box::pin(sessions::get_sessions(edge, asked)).await,
        Call::GetRecordings => Box::pin(recordings::get_recordings(edge, asked)).await,
        Call::PublishRecordings | Call::DeleteRecordings | Call::UpdateRecordings => {
            Box::pin(change_recordings::change(edge, asked)).await
        }
        Call::GetRecordingTextTracks => Box::pin(text_tracks::get(edge, asked)).await,
        Call::PutRecordingTextTrack => Box::pin(text_tracks::put(edge, asked)).await,
        Call::HooksCreate => Box::pin(hooks::create(edge, asked)).await,
        Call::HooksList => Ok(Box::pin(hooks::list(edge, asked)).await),
        Call::HooksDestroy => Box::pin(hooks::destroy(edge, asked)).await,
        call => Err(Refusal::client(refusal::unsupported(call))),
    }
}

impl<'a> Asked<'a> {
    /// The `meetingID` parameter, within BigBlueButton's limits.
    fn meeting_id(&self) -> Result<Cow<'_, str>, Refusal> {
        let given = self.params.get("meetingID").unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        let lengths = 2..=identity::MAX_MEETING_ID_CHARS;
        if lengths.contains(&given.len()) && given.bytes().all(is_plain) {
            return Ok(given);
        }
        let printable = given.replace(char::is_control, "");
        let id = printable.trim();
        let failure = if id.is_empty() {
            Failure::MISSING_MEETING_ID
        } else if !lengths.contains(&id.chars().count()) {
            Failure::MEETING_ID_LENGTH
        } else if id.contains(',') {
            Failure::MEETING_ID_COMMA
        } else if id != given {
            Failure::INVALID_MEETING_ID
        } else {
            return Ok(given);
        };
        Err(Refusal::client(failure))
    }

    /// The meeting of that id, if the caller may see one.
    fn find(&self, edge: &Edge, id: &str) -> Option<Arc<Entry>> {
        let entry = edge.fleet.find(&self.caller.tenant.tenant, &self.caller.scope, id)?;
        self.track.node(entry.node());
        Some(entry)
    }

    /// The refusal of a call for a meeting that is not known.
    fn unknown(&self, failure: Failure) -> Refusal {
        if self.is_unsure {
            Refusal::portico(refusal::meeting_unavailable())
        } else {
            Refusal::client(failure)
        }
    }

    /// The node of a meeting, unless it is known to be down.
    fn reachable_node(&self, entry: &Entry) -> Result<&'a Arc<Node>, Refusal> {
        match self.snapshot.node(entry.node().as_str()) {
            Some(node) if node.live.health() != Health::Down => Ok(node),
            _ => Err(Refusal::node(refusal::meeting_unavailable())),
        }
    }

    /// The caller's parameters, with the meeting called as on its node.
    fn params_for(&self, entry: &Entry) -> Params<'a> {
        let mut params = self.params.as_ref().clone();
        params.set("meetingID", &entry.node_meeting_id());
        params
    }

    /// What a node has answered; a refusal in the form that the caller reads.
    fn passed_on(&self, answer: &Answer) -> Reply {
        self.track.answered(answer);
        if answer.is_success() || self.dialect() == Dialect::Xml {
            return Reply::xml(answer.to_vec());
        }
        let owned = |text: Option<Cow<'_, str>>| text.unwrap_or_default().into_owned().into();
        let failure =
            Failure { key: owned(answer.message_key()), message: owned(answer.message()) };
        Reply::failure(&failure, Dialect::Json)
    }

    /// The form that the caller reads.
    fn dialect(&self) -> Dialect {
        self.request.dialect(Some(self.call))
    }
}
