//! Calls that browsers make with the token of their session. The session is on a node, and so is the
//! browser once it has joined; whoever makes them here gets what a node answers to a token that it does
//! not know.

use serde_json::Value;

use crate::bbb::{Call, Failure, Params};
use crate::edge::reply::{JSON, Reply};
use http::StatusCode;

const SIGNED_OUT: &str = "<response><returncode>SUCCESS</returncode></response>";

/// Whether current releases of BigBlueButton have dropped the call, so that it is as unknown as any other.
pub(in crate::edge) fn is_gone(call: Call) -> bool {
    matches!(
        call,
        Call::GetDefaultConfigXml
            | Call::SetConfigXml
            | Call::Enter
            | Call::Feedback
            | Call::GuestWait
    )
}

/// Answers a session call; `None` for any other. `address` is where we were asked, without a path.
pub(in crate::edge) fn without_session(
    call: Call,
    params: &Params<'_>,
    address: &str,
) -> Option<Reply> {
    let message = match call {
        Call::SignOut => return Some(Reply::xml(SIGNED_OUT)),
        Call::Stuns => {
            let url = Value::from(address);
            let body = format!(
                r#"{{"returncode":"FAILED","message":"Could not find conference.","logoutURL":{url}}}"#
            );
            return Some(json(body));
        }
        Call::GetJoinUrl | Call::LearningDashboard if params.is_blank("sessionToken") => {
            &Failure::MISSING_TOKEN.message
        }
        Call::GetJoinUrl => &Failure::MISSING_SESSION.message,
        Call::LearningDashboard => "Invalid Session",
        _ => return None,
    };
    let (message, token) =
        (Value::from(message), Value::from(params.get("sessionToken").as_deref()));
    Some(json(format!(
        r#"{{"response":{{"returncode":"FAILED","message":{message},"sessionToken":{token}}}}}"#
    )))
}

fn json(body: String) -> Reply {
    Reply::new(StatusCode::OK, JSON, body)
}
