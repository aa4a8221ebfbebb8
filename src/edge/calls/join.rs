//! `join`: the browser is sent to the meeting's node with a freshly signed URL. Memory only.
//!
//! Portico does not join by itself: the node ties the session to whoever called it. With
//! `redirect=false` the call is proxied, so that the caller gets the node's answer and its cookies.

use http::HeaderValue;
use log::warn;

use super::{Asked, Decision, Forward};
use crate::bbb::{Call, Failure, Params};
use crate::edge::refusal::{self, Refusal};
use crate::edge::reply::{Dialect, Reply};
use crate::edge::{Edge, ask, branding, limits, pages, rules};
use crate::fleet::Node;

/// Sends a person into a meeting.
pub(super) fn join(edge: &Edge, asked: &Asked<'_>) -> Result<Decision, Refusal> {
    // Also what we check, and where we send those who cannot join, is what the rules have made.
    let mut params = asked.params.as_ref().clone();
    rules::apply(&asked.caller, &mut params, |rules| &rules.join);
    let id = match asked.meeting_id() {
        Ok(id) => id,
        Err(refusal) => return Ok(cannot_join(asked, &params, &refusal.failure, Hope::None)),
    };
    if params.is_blank("fullName") {
        return Ok(cannot_join(asked, &params, &Failure::MISSING_FULL_NAME, Hope::None));
    }
    let Some(entry) = asked.find(edge, &id) else {
        if asked.is_unsure {
            let away = refusal::meeting_unavailable();
            return Ok(cannot_join(asked, &params, &away, Hope::NodeReturns));
        }
        let unknown = &Failure::INVALID_MEETING_IDENTIFIER;
        return Ok(cannot_join(asked, &params, unknown, Hope::MeetingStarts));
    };
    let Ok(node) = asked.reachable_node(&entry) else {
        asked.track.node_at_fault();
        let away = refusal::meeting_unavailable();
        return Ok(cannot_join(asked, &params, &away, Hope::NodeReturns));
    };
    if let Err(reached) = limits::admit_person(asked, &params, &entry) {
        return Ok(cannot_join(asked, &params, &reached, Hope::None));
    }
    params.set("meetingID", &entry.node_meeting_id());
    branding::dress_join(asked, &mut params);
    node.live.count_join();
    entry.count_join();
    if let Some(uses) = asked.caller.uses() {
        uses.count_join();
    }
    if wants_no_redirect(&params) {
        let path_and_query = signed(node.spec.url.path(), node, &params);
        return Ok(Decision::Forward(Forward { node: node.clone(), path_and_query }));
    }
    Ok(Decision::Redirect(location(node, &params)?))
}

fn location(node: &Node, params: &Params<'_>) -> Result<HeaderValue, Refusal> {
    HeaderValue::try_from(signed(node.spec.url.as_str(), node, params)).map_err(|_not_a_header| {
        warn!("node {}: a join URL does not fit into a header", node.name());
        Refusal::client(Failure::REQUEST_NOT_RECOGNIZED)
    })
}

/// The signed call below the address of the node's API.
fn signed(api: &str, node: &Node, params: &Params<'_>) -> String {
    ask::sign(&[api, "/join?"], node, Call::Join, params)
}

/// Why trying again could help.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hope {
    None,
    MeetingStarts,
    NodeReturns,
}

/// BigBlueButton's failure to whoever calls: to `errorRedirectUrl` or else `logoutURL` if there is one, a
/// page that tries again to a person, the plain failure to a program.
fn cannot_join(asked: &Asked<'_>, params: &Params<'_>, failure: &Failure, hope: Hope) -> Decision {
    asked.track.failed(failure);
    let wants_xml = wants_no_redirect(params);
    // A node sends whoever fails its first checks away, whatever `redirect` says. Who finds no place has
    // passed them.
    let has_no_place = failure.key == Failure::MAX_PARTICIPANTS_REACHED.key;
    if !(wants_xml && has_no_place)
        && let Some(url) = error_redirect(params, failure)
    {
        return Decision::Redirect(url);
    }
    if !asked.request.is_browser() || wants_xml || asked.dialect() == Dialect::Json {
        return Decision::Respond(Reply::failure(failure, asked.dialect()));
    }
    let name = &asked.caller.tenant.tenant.name;
    Decision::Respond(match hope {
        Hope::None => pages::failure(name, failure),
        Hope::MeetingStarts => pages::not_started(name),
        Hope::NodeReturns => pages::node_away(name),
    })
}

fn wants_no_redirect(params: &Params<'_>) -> bool {
    params.get("redirect").is_some_and(|redirect| redirect.trim() == "false")
}

/// The URL for failures with this one appended, as bbb-web does it.
fn error_redirect(params: &Params<'_>, failure: &Failure) -> Option<HeaderValue> {
    let names = ["errorRedirectUrl", "logoutURL"];
    names.into_iter().find_map(|name| with_errors(&params.get(name)?, failure))
}

fn with_errors(url: &str, failure: &Failure) -> Option<HeaderValue> {
    let mut url = url::Url::parse(url).ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    url.query_pairs_mut().append_pair("errors", &failure.to_errors_param());
    HeaderValue::from_str(url.as_str()).ok()
}
