//! The API itself: which calls there are, who may make them, and one file for each group of them.

mod create;
mod hooks;
mod join;
mod meetings;
mod recordings;
mod session;
mod text_tracks;

use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};

use crate::bbb::Failure;

use super::reply::{self, Reply};
use super::request::Request;
use super::{Release, Shared};

pub(super) use session::page;

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const BOTH: &[Method] = &[Method::GET, Method::POST];

/// How a call is answered.
enum Handler {
    /// Without a checksum, or with checks of its own.
    Open(fn(&Shared, &Request) -> Reply),
    /// Behind the checks that all signed calls share.
    Signed(fn(&Shared, &Request) -> Result<Reply, Failure>),
}

/// Answers one request below `/bigbluebutton/api`.
pub(super) fn answer(node: &Shared, request: &Request) -> Reply {
    let Some((methods, handler)) = route(&request.call, node.settings.release) else {
        return reply::status(StatusCode::NOT_FOUND);
    };
    if !methods.contains(&request.method) {
        let mut reply = reply::status(StatusCode::METHOD_NOT_ALLOWED);
        let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        reply
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_str(&allow).expect("methods are plain words"));
        return reply;
    }
    match handler {
        Handler::Open(handle) => handle(node, request),
        Handler::Signed(handle) => request
            .authenticate(&node.settings)
            .and_then(|()| handle(node, request))
            .unwrap_or_else(|failure| failed(request, &failure)),
    }
}

/// `FAILED`, in JSON when the client asks for it.
fn failed(request: &Request, failure: &Failure) -> Reply {
    if request.wants_json() {
        reply::json(&failure.to_json())
    } else {
        reply::xml(failure.to_xml())
    }
}

fn route(call: &str, release: Release) -> Option<(&'static [Method], Handler)> {
    use Handler::{Open, Signed};
    Some(match call {
        "" => (GET, Open(session::version)),
        "create" => (BOTH, Signed(create::create)),
        // Its failures are redirects, so it makes its checks itself.
        "join" => (GET, Open(join::join)),
        "isMeetingRunning" => (BOTH, Signed(meetings::is_running)),
        "end" => (BOTH, Signed(meetings::end)),
        "getMeetingInfo" => (BOTH, Signed(meetings::info)),
        "getMeetings" => (BOTH, Signed(|node, _| Ok(meetings::list(node)))),
        "getSessions" => (BOTH, Signed(|node, _| Ok(meetings::sessions(node)))),
        "insertDocument" => (POST, Signed(meetings::insert_document)),
        "sendChatMessage" if release == Release::V3_0 => (GET, Signed(meetings::send_chat_message)),
        "getRecordings" => (BOTH, Signed(|node, request| Ok(recordings::list(node, request)))),
        "publishRecordings" => (GET, Signed(recordings::publish)),
        "deleteRecordings" => (GET, Signed(recordings::delete)),
        "updateRecordings" => (BOTH, Signed(recordings::update)),
        "getRecordingTextTracks" => (BOTH, Signed(text_tracks::list)),
        "putRecordingTextTrack" => {
            (POST, Signed(|node, request| Ok(text_tracks::put(node, request))))
        }
        "hooks/create" => (GET, Signed(hooks::create)),
        "hooks/list" => (GET, Signed(|node, request| Ok(hooks::list(node, request)))),
        "hooks/destroy" => (GET, Signed(hooks::destroy)),
        "stuns" => (BOTH, Open(session::stuns)),
        "signOut" => (BOTH, Open(session::sign_out)),
        "getJoinUrl" if release == Release::V3_0 => (BOTH, Open(session::join_url)),
        "learningDashboard" => (BOTH, Open(session::learning_dashboard)),
        _ => return None,
    })
}
