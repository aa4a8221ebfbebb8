//! The calls of bbb-webhooks.

use crate::bbb::Failure;
use crate::sim::Shared;
use crate::sim::hooks::{Created, Hook};
use crate::sim::reply::{self, Reply};
use crate::sim::request::Request;
use crate::sim::xml::Xml;

pub(super) fn create(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let callback_url = request.text("callbackURL").ok_or(Failure::MISSING_CALLBACK_URL)?;
    let wanted = Hook {
        id: 0,
        callback_url,
        meeting_id: request.text("meetingID"),
        events: request.list("eventID"),
        raw: request.flag("getRaw").unwrap_or(false),
    };
    let (hook, is_known) = match node.hooks.create(wanted) {
        Created::New(hook) => (hook, false),
        Created::Known(hook) => (hook, true),
        Created::Full => return Err(Failure::CREATE_HOOK_ERROR),
    };
    let mut xml = Xml::success();
    xml.number("hookID", hook.id);
    if is_known {
        xml.message("duplicateWarning", "There is already a hook for this callback URL.");
    } else {
        xml.flag("permanentHook", false).flag("rawData", hook.raw);
    }
    Ok(reply::xml(xml.end()))
}

pub(super) fn list(node: &Shared, request: &Request) -> Reply {
    let mut xml = Xml::success();
    xml.open("hooks");
    for hook in node.hooks.list(request.text("meetingID").as_deref()) {
        xml.open("hook").number("hookID", hook.id).cdata("callbackURL", &hook.callback_url);
        if let Some(id) = &hook.meeting_id {
            xml.cdata("meetingID", id);
        }
        if !hook.events.is_empty() {
            xml.text("eventID", &hook.events.join(","));
        }
        xml.flag("permanentHook", false).flag("rawData", hook.raw).close("hook");
    }
    reply::xml(xml.close("hooks").end())
}

pub(super) fn destroy(node: &Shared, request: &Request) -> Result<Reply, Failure> {
    let id = request.text("hookID").ok_or(Failure::MISSING_HOOK_ID)?;
    let is_gone = id.parse().is_ok_and(|id| node.hooks.destroy(id));
    if !is_gone {
        return Err(Failure::MISSING_HOOK);
    }
    Ok(reply::xml(Xml::success().flag("removed", true).end()))
}
