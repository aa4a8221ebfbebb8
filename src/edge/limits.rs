//! A tenant's limits in BigBlueButton's words: who may have one more meeting, and who may join.

use std::borrow::Cow;

use super::calls::Asked;
use super::refusal::{self, Refusal};
use crate::bbb::{Element, Failure, Params};
use crate::fleet::{Entry, Limit, Place, Reached, Unplaced};

/// A place for a new meeting, or for a breakout room that a front end creates as it creates meetings.
///
/// # Errors
/// When the tenant or the secret has as many as it may have.
pub(super) fn admit_meeting(asked: &Asked<'_>) -> Result<Place, Refusal> {
    let admitted = asked.caller.tenant.admit(asked.caller.scope.sub);
    admitted.map_err(|reached| Refusal::client(failure(reached)))
}

/// Why a meeting that was admitted has no place nevertheless.
pub(super) fn unplaced(why: Unplaced) -> Refusal {
    match why {
        Unplaced::NoNode(why) => Refusal::node(refusal::no_node(&why)),
        // The last place was taken at another instance meanwhile.
        Unplaced::Reached(reached) => Refusal::client(failure(reached)),
    }
}

/// Lets a person in, where joins are limited at all. A moderator may always come; `params` are those that
/// the node will get.
///
/// # Errors
/// When the meeting's tenant or secret has as many attendees as it may have.
pub(super) fn admit_person(
    asked: &Asked<'_>,
    params: &Params<'_>,
    entry: &Entry,
) -> Result<(), Failure> {
    let (caller, sub) = (&asked.caller, entry.key().scope.sub);
    // The main secret also joins meetings of others: theirs is the limit.
    let secret =
        if sub == caller.scope.sub { caller.secret() } else { caller.tenant.tenant.secret(sub) };
    let Some(Err(reached)) = secret.map(|secret| caller.tenant.admit_attendee(secret)) else {
        return Ok(());
    };
    if is_moderator(params, entry) {
        return Ok(());
    }
    caller.tenant.tally.hit(sub, reached.limit);
    Err(failure(reached))
}

/// A role wins over a password, as on the node.
fn is_moderator(params: &Params<'_>, entry: &Entry) -> bool {
    let role = params.get("role").unwrap_or_default();
    match role.trim() {
        role if role.eq_ignore_ascii_case("MODERATOR") => return true,
        role if role.eq_ignore_ascii_case("VIEWER") => return false,
        _ => {}
    }
    let password = params.get("password").unwrap_or_default();
    let meeting = Element::parse(&entry.xml()).ok();
    let moderators = meeting.as_ref().and_then(|meeting| meeting.child_text("moderatorPW"));
    moderators.is_some_and(|own| !own.is_empty() && own == password.trim())
}

/// B3LB gives no key. For a person who comes too late there is BigBlueButton's own.
pub(super) fn failure(reached: Reached) -> Failure {
    let (key, what) = match reached.limit {
        Limit::TenantMeetings | Limit::SecretMeetings => ("meetingLimitReached", "meeting"),
        Limit::TenantAttendees | Limit::SecretAttendees => ("attendeeLimitReached", "attendee"),
        Limit::TenantJoins | Limit::SecretJoins => ("maxParticipantsReached", "attendee"),
        Limit::Requests => ("tooManyRequests", "request rate"),
    };
    let whose = if reached.limit.is_tenants() { "this tenant" } else { "this secret" };
    let message = format!("The {what} limit of {whose} ({}) has been reached.", reached.allowed);
    Failure { key: Cow::Borrowed(key), message: Cow::Owned(message) }
}
