//! `join`: a session for one person, and the browser's way to it.

use url::Url;

use crate::bbb::Failure;
use crate::sim::Shared;
use crate::sim::meeting::{Attendee, Meeting, Role};
use crate::sim::reply::{self, Reply};
use crate::sim::request::Request;
use crate::sim::world::{Entered, World, random_word, user_id};
use crate::sim::xml::{Xml, is_name};

pub(super) fn join(node: &Shared, request: &Request) -> Reply {
    let mut world = node.world.lock();
    match admit(node, &mut world, request) {
        Ok((internal_id, attendee)) => welcome(node, &mut world, request, &internal_id, attendee),
        Err(Refusal { failure, way }) => match way {
            Way::Redirect => redirect_with_errors(node, &world, request, &failure),
            Way::AsAsked if request.flag("redirect") != Some(false) => {
                redirect_with_errors(node, &world, request, &failure)
            }
            Way::AsAsked | Way::Xml => super::failed(request, &failure),
        },
    }
}

struct Refusal {
    failure: Failure,
    way: Way,
}

/// How a refusal reaches the client.
enum Way {
    /// What the validation layer finds, whatever `redirect` says.
    Redirect,
    /// By the `redirect` parameter.
    AsAsked,
    /// Always XML.
    Xml,
}

/// Checks a request to the end, and says who comes into which meeting.
fn admit(
    node: &Shared,
    world: &mut World,
    request: &Request,
) -> Result<(String, Attendee), Refusal> {
    let refuse = |way| move |failure| Refusal { failure, way };
    let (meeting, full_name, password) =
        validate(node, world, request).map_err(refuse(Way::Redirect))?;
    let role = role(request, meeting, password.as_deref())
        .ok_or(Refusal { failure: Failure::PARAMS_REQUIRED, way: Way::Xml })?;
    check_place(request, meeting).map_err(refuse(Way::AsAsked))?;
    let internal_user_id = user_id();
    let mut custom_data = request.with_prefix("userdata-");
    custom_data.retain(|(name, _)| is_name(name));
    let attendee = Attendee {
        user_id: request.text("userID").unwrap_or_else(|| internal_user_id.clone()),
        internal_user_id,
        full_name,
        role,
        presenter: false,
        voice: false,
        listening_only: false,
        video: false,
        custom_data,
    };
    Ok((meeting.internal_id.clone(), attendee))
}

/// The validation layer.
fn validate<'w>(
    node: &Shared,
    world: &'w World,
    request: &Request,
) -> Result<(&'w Meeting, String, Option<String>), Failure> {
    request.authenticate(&node.settings)?;
    let meeting = world.find(&request.meeting_id()?).ok_or(Failure::INVALID_MEETING_IDENTIFIER)?;
    if meeting.is_forcibly_ended() {
        return Err(Failure::FORCIBLY_ENDED);
    }
    if !meeting.is_live() {
        return Err(Failure::INVALID_MEETING_IDENTIFIER);
    }
    let full_name = request.text("fullName").ok_or(Failure::MISSING_FULL_NAME)?;
    request.check_flag("guest", Failure::INVALID_GUEST)?;
    request.check_flag("auth", Failure::INVALID_AUTH)?;
    Ok((meeting, full_name, request.password("password")?))
}

/// A valid role wins over the password.
fn role(request: &Request, meeting: &Meeting, password: Option<&str>) -> Option<Role> {
    request.text("role").and_then(|word| Role::from_word(&word)).or_else(|| {
        let password = password?;
        let roles =
            [(&meeting.moderator_pw, Role::Moderator), (&meeting.attendee_pw, Role::Viewer)];
        roles.into_iter().find_map(|(known, role)| (known == password).then_some(role))
    })
}

/// Whether this is the meeting the link was made for, and whether there is a place in it.
fn check_place(request: &Request, meeting: &Meeting) -> Result<(), Failure> {
    if request.text("createTime").is_some_and(|given| given != meeting.created_ms.to_string()) {
        return Err(Failure::CREATE_TIME_MISMATCH);
    }
    if request.flag("guest") == Some(true) && meeting.denies_guests {
        return Err(Failure::GUEST_DENIED_ACCESS);
    }
    if meeting.is_full() { Err(Failure::MAX_PARTICIPANTS_REACHED) } else { Ok(()) }
}

fn welcome(
    node: &Shared,
    world: &mut World,
    request: &Request,
    internal_id: &str,
    attendee: Attendee,
) -> Reply {
    let user_id = attendee.internal_user_id.clone();
    if let Some(meeting) = world.get(internal_id) {
        node.hooks.user_joined(meeting, &attendee, &node.callbacks);
    }
    let entered = world
        .enter(internal_id, attendee, request.session_cookie())
        .expect("the meeting was found under the same lock");
    let Entered { token, cookie, is_new_cookie } = entered;
    let wait = if request.flag("enforceLayout") == Some(true) { "waitLayout=1&" } else { "" };
    let url = format!("{}?{wait}sessionToken={token}", node.client_url);
    let mut reply = if request.flag("redirect") == Some(false) {
        let answer = Xml::success()
            .message("successfullyJoined", "You have joined successfully.")
            .text("meeting_id", internal_id)
            .text("user_id", &user_id)
            .text("auth_token", &random_word(12))
            .text("session_token", &token)
            .text("guestStatus", "ALLOW")
            .text("url", &url)
            .end();
        reply::xml(answer)
    } else {
        reply::redirect(&url)
    };
    if is_new_cookie {
        reply::set_session_cookie(&mut reply, &cookie);
    }
    reply
}

/// To `errorRedirectUrl`, else `logoutURL`, else the node's own page, with the failure in the query.
fn redirect_with_errors(
    node: &Shared,
    world: &World,
    request: &Request,
    failure: &Failure,
) -> Reply {
    let logout_url = || {
        let meeting = world.find(&request.text("meetingID")?)?;
        meeting.logout_url.clone()
    };
    let target = request
        .text("errorRedirectUrl")
        .or_else(|| request.text("logoutURL"))
        .or_else(logout_url)
        .unwrap_or_else(|| node.server_url.clone());
    match Url::parse(&target) {
        Ok(mut url) => {
            url.query_pairs_mut().append_pair("errors", &failure.to_errors_param());
            reply::redirect(url.as_str())
        }
        Err(_) => super::failed(request, failure),
    }
}
