//! What a browser asks for: the version, the page of the client, and the calls that carry a session token.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::bbb::{Algorithm, Failure, signed_query};
use crate::sim::meeting::{Attendee, Meeting, Role};
use crate::sim::reply::{self, Reply};
use crate::sim::request::Request;
use crate::sim::world::{Session, World};
use crate::sim::xml::{Xml, escape};
use crate::sim::{Release, Shared};

/// The version, in JSON if the request says that *it* is JSON.
pub(super) fn version(node: &Shared, request: &Request) -> Reply {
    let mut elements = vec![
        ("version", "2.0".to_owned()),
        ("apiVersion", "2.0".to_owned()),
        ("bbbVersion", node.settings.release.as_str().to_owned()),
    ];
    if node.settings.release == Release::V3_0 {
        let server = &node.server_url;
        elements.extend([
            ("html5PluginSdkVersion", "0.0.95".to_owned()),
            ("graphqlWebsocketUrl", format!("{}/graphql", server.replacen("http", "ws", 1))),
            ("graphqlApiUrl", format!("{server}/api/rest")),
        ]);
    }
    let is_json =
        request.headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if is_json {
        let named =
            elements.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
        let returncode = ("returncode".to_owned(), Value::from("SUCCESS"));
        let response: serde_json::Map<_, _> = std::iter::once(returncode).chain(named).collect();
        return reply::json(&json!({ "response": response }));
    }
    let mut xml = Xml::success();
    for (name, value) in elements {
        xml.text(name, &value);
    }
    reply::xml(xml.end())
}

pub(super) fn stuns(node: &Shared, request: &Request) -> Reply {
    if session(&node.world.lock(), request, &Cookie::Needed).is_none() {
        return reply::json(&in_order(&[
            ("returncode", "FAILED".into()),
            ("message", "Could not find conference.".into()),
            ("logoutURL", node.server_url.as_str().into()),
        ]));
    }
    let empty = ["stunServers", "turnServers", "remoteIceCandidates"]
        .map(|name| (name, Value::Array(Vec::new())));
    reply::json(&in_order(&empty))
}

/// Always succeeds.
pub(super) fn sign_out(node: &Shared, request: &Request) -> Reply {
    let mut world = node.world.lock();
    if session(&world, request, &Cookie::Needed).is_some() {
        let token = request.text("sessionToken").unwrap_or_default();
        world.sign_out(&token, Instant::now());
    }
    reply::xml(Xml::success().end())
}

/// A link with which its holder comes back, signed by the node itself.
pub(super) fn join_url(node: &Shared, request: &Request) -> Reply {
    let world = node.world.lock();
    let Some((meeting, attendee)) = present(&world, request) else {
        return no_session(request, &Failure::MISSING_SESSION.message);
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("redirect", "true")
        .append_pair("existingUserID", &attendee.internal_user_id)
        .append_pair("meetingID", &meeting.external_id)
        .append_pair("fullName", &attendee.full_name)
        .append_pair("role", attendee.role.as_str());
    // Its query begins so on a real node, too.
    let query = format!("&{}", query.finish());
    let query = signed_query(Algorithm::Sha1, "join", query.as_bytes(), &node.settings.secret);
    let url = format!("{}/bigbluebutton/api/join?{query}", node.server_url);
    response(&[
        ("returncode", "SUCCESS".into()),
        ("message", "Join URL provided successfully.".into()),
        ("url", url.into()),
    ])
}

/// For moderators. What is shown there comes later than the meeting; here it never comes.
pub(super) fn learning_dashboard(node: &Shared, request: &Request) -> Reply {
    let world = node.world.lock();
    match present(&world, request) {
        None => no_session(request, "Invalid Session"),
        Some((_, attendee)) if attendee.role != Role::Moderator => {
            no_session(request, "Access denied")
        }
        Some((meeting, _)) if meeting.disables("learningDashboard") => {
            no_session(request, "Learning Dashboard disabled for this meeting")
        }
        Some(_) => no_session(request, "Learning Dashboard data not found"),
    }
}

/// Whoever has this session, and where.
fn present<'w>(world: &'w World, request: &Request) -> Option<(&'w Meeting, &'w Attendee)> {
    let session = session(world, request, &Cookie::Needed)?;
    let meeting = world.get(&session.meeting)?;
    let mut people = meeting.attendees.iter();
    let attendee = people.find(|who| who.internal_user_id == session.internal_user_id)?;
    Some((meeting, attendee))
}

fn no_session(request: &Request, message: &str) -> Reply {
    let token = request.text("sessionToken");
    let message = if token.is_none() { &Failure::MISSING_TOKEN.message } else { message };
    response(&[
        ("returncode", "FAILED".into()),
        ("message", message.into()),
        ("sessionToken", token.into()),
    ])
}

fn response(elements: &[(&str, Value)]) -> Reply {
    reply::json(&format!(r#"{{"response":{}}}"#, in_order(elements)))
}

/// A JSON object whose members come as they stand here.
fn in_order(members: &[(&str, Value)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

/// The page of the client. The path of the session cookie does not cover it, so the token alone counts.
pub(in crate::sim) fn page(node: &Shared, request: &Request) -> Reply {
    let mut world = node.world.lock();
    let Some(session) = session(&world, request, &Cookie::NotSent).cloned() else {
        let mut reply =
            reply::html(document("No session", "<p>This session is over, or it never was.</p>"));
        *reply.status_mut() = StatusCode::UNAUTHORIZED;
        return reply;
    };
    let token = request.text("sessionToken").unwrap_or_default();
    if request.flag("leave") == Some(true) {
        let logout_url = world.get(&session.meeting).and_then(|meeting| meeting.logout_url.clone());
        world.sign_out(&token, Instant::now());
        return match logout_url {
            Some(url) => reply::redirect(&url),
            None => reply::html(document("Good bye", "<p>You have left the meeting.</p>")),
        };
    }
    let Some(meeting) = world.get(&session.meeting) else {
        return reply::status(StatusCode::NOT_FOUND);
    };
    let people: Vec<_> =
        meeting.attendees.iter().map(|attendee| escape(&attendee.full_name)).collect();
    // The link has no path: it also works behind a proxy that puts a prefix in front of the client's address.
    let body = format!(
        "<p>You are in <b>{}</b> as <b>{}</b>, on the simulated node {}.</p>\n<p>Here are: {}</p>\n\
         <p><a href=\"?leave=true&amp;sessionToken={token}\">Leave</a></p>",
        escape(&meeting.name),
        escape(&session.user_name),
        escape(&node.settings.name),
        people.join(", "),
    );
    reply::html(document(&meeting.name, &body))
}

#[derive(PartialEq, Eq)]
enum Cookie {
    Needed,
    NotSent,
}

/// The session a token opens for the browser that joined with it.
fn session<'w>(world: &'w World, request: &Request, cookie: &Cookie) -> Option<&'w Session> {
    let session = world.sessions.get(&request.text("sessionToken")?)?;
    let meeting = world.get(&session.meeting)?;
    let is_free = *cookie == Cookie::NotSent || meeting.allow_requests_without_session;
    (is_free || request.session_cookie() == Some(&session.cookie)).then_some(session)
}

fn document(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
}
