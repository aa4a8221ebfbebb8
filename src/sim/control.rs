//! Commands to a node in a process of its own; the header of [`crate::sim`] lists them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::fault::Fault;
use super::reply::{self, Reply};
use super::request::Request;
use super::{MeetingState, Shared};

/// People that one command may bring.
const MAX_ATTENDEES: u64 = 100_000;
/// How long a node that was told to refuse stays down, when nothing else is said.
const DOWN_MS: u64 = 10_000;
/// Going down cuts all connections; the answer to the command leaves first.
const BEFORE_DOWN: Duration = Duration::from_millis(100);

pub(super) fn answer(node: &Arc<Shared>, request: &Request) -> Reply {
    if !node.settings.control {
        return reply::status(StatusCode::NOT_FOUND);
    }
    let id = || request.text("meetingID").unwrap_or_default();
    let done = match (&request.method, request.call.as_str()) {
        (&Method::GET, "state") => return reply::json(&state(node)),
        (&Method::POST, "fault") => set_fault(node, request),
        (&Method::POST, "attendees") => {
            let count = request
                .number("count")
                .filter(|count| *count <= MAX_ATTENDEES)
                .and_then(|count| usize::try_from(count).ok());
            count.is_some_and(|count| node.world.lock().add_attendees(&id(), count))
        }
        (&Method::POST, "end") => node.end_meeting(&id()),
        (&Method::POST, "recording") => node.publish_recording(&id()),
        (&Method::POST, "load") => request
            .number("value")
            .and_then(|value| u32::try_from(value).ok())
            .map(|value| node.load.store(value, Ordering::Relaxed))
            .is_some(),
        _ => return reply::status(StatusCode::NOT_FOUND),
    };
    if done { reply::json(&state(node)) } else { reply::status(StatusCode::BAD_REQUEST) }
}

/// False if the words make no fault.
fn set_fault(node: &Arc<Shared>, request: &Request) -> bool {
    let kind = request.text("kind").unwrap_or_default();
    let number = request.number("ms").or_else(|| request.number("status"));
    let fault = match Fault::from_words(&kind, number) {
        None if kind != "none" => return false,
        fault => fault,
    };
    match request.text("call") {
        Some(call) => node.change_faults(|faults| faults.set_call(&call, fault)),
        None if fault == Some(Fault::Refuse) => {
            let down = Duration::from_millis(number.unwrap_or(DOWN_MS));
            refuse_for(node, down);
        }
        None => node.change_faults(|faults| faults.everywhere = fault),
    }
    true
}

/// Down, and back up by itself.
fn refuse_for(node: &Arc<Shared>, down: Duration) {
    let this = Arc::clone(node);
    node.spawn(async move {
        tokio::time::sleep(BEFORE_DOWN).await;
        this.change_faults(|faults| faults.everywhere = Some(Fault::Refuse));
        tokio::time::sleep(down).await;
        this.change_faults(|faults| faults.everywhere = None);
    });
}

fn state(node: &Shared) -> Value {
    let (everywhere, of_calls) = {
        let faults = node.faults.lock();
        let of_calls: Vec<_> = faults
            .of_call
            .iter()
            .map(|(call, fault)| (call.clone(), Value::from(fault.word())))
            .collect();
        (
            faults.everywhere.map(Fault::word),
            of_calls.into_iter().collect::<serde_json::Map<_, _>>(),
        )
    };
    let meetings: Vec<_> =
        node.world.lock().meetings().map(|meeting| describe(&MeetingState::of(meeting))).collect();
    json!({
        "name": node.settings.name,
        "url": format!("{}/bigbluebutton/api", node.server_url),
        "fault": everywhere,
        "callFaults": of_calls,
        "calls": node.log.lock().counts(),
        "load": node.load.load(Ordering::Relaxed),
        "meetings": meetings,
    })
}

fn describe(meeting: &MeetingState) -> Value {
    json!({
        "meetingID": meeting.external_id,
        "internalMeetingID": meeting.internal_id,
        "name": meeting.name,
        "createTime": meeting.create_time_ms,
        "participants": meeting.participants,
        "ended": meeting.ended,
        "documents": meeting.documents,
    })
}
