//! The calls that look at meetings, and those that do something to a running one.

use http::StatusCode;
use tokio::time::Instant;

use crate::bbb::Failure;
use crate::sim::meeting::Meeting;
use crate::sim::reply::{self, Reply};
use crate::sim::request::Request;
use crate::sim::world::World;
use crate::sim::xml::Xml;
use crate::sim::{Shared, now_ms};

/// An unknown meeting does not run; asking for it is no mistake.
pub(super) fn is_running(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let id = request.meeting_id()?;
    let running = node.world.lock().find(&id).is_some_and(Meeting::is_running);
    Ok(reply::xml(Xml::success().flag("running", running).end()))
}

pub(super) fn end(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let id = request.meeting_id()?;
    let ended = {
        let mut world = node.world.lock();
        let internal_id = known(&world, &id)?.internal_id.clone();
        world.end(&internal_id, true, Instant::now(), now_ms())
    };
    node.report_ended(&ended);
    let message = "A request to end the meeting was sent.  Please wait a few seconds, and then use the \
                   getMeetingInfo or isMeetingRunning API calls to verify that it was ended.";
    Ok(reply::xml(Xml::success().message("sentEndMeetingRequest", message).end()))
}

pub(super) fn info(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let id = request.meeting_id()?;
    let world = node.world.lock();
    let mut xml = Xml::success();
    known(&world, &id)?.print(&mut xml);
    Ok(reply::xml_cacheable(xml.end()))
}

pub(super) fn list(node: &Shared) -> Reply {
    let world = node.world.lock();
    let mut xml = Xml::success();
    let mut meetings = world.meetings().peekable();
    if meetings.peek().is_none() {
        xml.raw("<meetings/>").message("noMeetings", "no meetings were found on this server");
        return reply::xml(xml.end());
    }
    xml.open("meetings");
    for meeting in meetings {
        xml.open("meeting");
        meeting.print(&mut xml);
        xml.close("meeting");
    }
    reply::xml(xml.close("meetings").end())
}

pub(super) fn sessions(node: &Shared) -> Reply {
    let world = node.world.lock();
    let mut xml = Xml::success();
    if world.sessions.is_empty() {
        xml.raw("<sessions/>").message("noSessions", "no sessions were found on this serverr");
        return reply::xml(xml.end());
    }
    xml.open("sessions");
    for session in world.sessions.values() {
        let name = world.get(&session.meeting).map_or("", |meeting| &meeting.name);
        xml.open("meeting")
            .text("meetingID", &session.meeting)
            .text("meetingName", name)
            .text("userName", &session.user_name)
            .close("meeting");
    }
    reply::xml(xml.close("sessions").end())
}

pub(super) fn insert_document(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let id = request.meeting_id()?;
    let Ok(documents) = super::create::documents(request) else {
        return Ok(reply::status(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let mut world = node.world.lock();
    let meeting = world.find_live(&id).ok_or(Failure::NOT_FOUND)?;
    if meeting.disables("presentation") {
        return Err(Failure::new("", "Presentation feature is disabled, ignoring."));
    }
    let internal_id = meeting.internal_id.clone();
    if documents.is_empty() {
        return Ok(Reply::default());
    }
    if let Some(meeting) = world.get_mut(&internal_id) {
        meeting.documents.extend(documents);
    }
    Ok(reply::xml(Xml::success().text("message", "Presentation is being uploaded").end()))
}

pub(super) fn send_chat_message(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let id = request.meeting_id()?;
    request
        .text("message")
        .ok_or(Failure::new("missingParamMessage", "You must provide a message"))?;
    if !node.world.lock().find(&id).is_some_and(Meeting::is_running) {
        return Err(Failure::MEETING_NOT_FOUND);
    }
    Ok(reply::xml(Xml::success().message("", "Message successfully sent").end()))
}

fn known<'w>(world: &'w World, id: &str) -> Result<&'w Meeting, Failure> {
    world.find(id).ok_or(Failure::NOT_FOUND)
}
