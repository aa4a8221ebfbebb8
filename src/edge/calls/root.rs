//! The version: `/bigbluebutton/api`, without checksum.

use crate::edge::reply::{JSON, Reply};
use http::StatusCode;

/// The version as every BigBlueButton since 0.9 states it; front ends compare it with `2.0`.
const VERSION: &str = "2.0";

/// Answers in JSON where the request's own content type is JSON, as bbb-web does.
pub(in crate::edge) fn version(content_type: Option<&str>) -> Reply {
    if content_type.is_some_and(|own| own.starts_with("application/json")) {
        let body = serde_json::json!({ "response": {
            "returncode": "SUCCESS", "version": VERSION, "apiVersion": VERSION, "bbbVersion": "",
        }});
        return Reply::new(StatusCode::OK, JSON, body.to_string());
    }
    Reply::xml(format!(
        "<response><returncode>SUCCESS</returncode><version>{VERSION}</version>\
         <apiVersion>{VERSION}</apiVersion><bbbVersion></bbbVersion></response>"
    ))
}
