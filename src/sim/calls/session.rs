//! What a browser asks for: the version, the page of the client, and the calls that carry a session token.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::time::Instant;

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
        let refusal = json!({"returncode": "FAILED", "message": "Could not find conference.", "logoutURL": node.server_url});
        return reply::json(&refusal);
    }
    reply::json(&json!({"stunServers": [], "turnServers": [], "remoteIceCandidates": []}))
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
