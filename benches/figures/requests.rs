//! Requests as front ends and browsers send them, signed with the tenant's secret.

use portico::bbb::{Algorithm, signed_query};

use crate::load::Questions;

/// The one tenant.
pub(crate) const SLUG: &str = "bench";
/// Its secret, and that of the nodes.
pub(crate) const SECRET: &str = "a-secret-for-measurements-only-0123456789-abcdef";

/// The `meetingID` of a meeting, as the front end knows it.
pub(crate) fn room(number: usize) -> String {
    format!("room-{number}")
}

/// A person joins each of the meetings in turn.
pub(crate) fn joins(meetings: usize) -> Questions {
    let requests = (0..meetings)
        .map(|number| {
            let query = format!(
                "fullName=Student+Number+{number}&meetingID={}&password=kWn3Jm0v&userID=4711\
                 &createTime=1715261728123&userdata-bbb_skip_check_audio=true",
                room(number)
            );
            browser("join", &query)
        })
        .collect();
    Questions { requests, expected: "HTTP/1.1 302 " }
}

/// A front end asks about one meeting, never twice in the same words.
pub(crate) fn infos(meeting: usize, count: usize) -> Questions {
    let requests = (0..count)
        .map(|turn| {
            front_end("getMeetingInfo", &format!("meetingID={}&turn={turn}", room(meeting)))
        })
        .collect();
    Questions { requests, expected: "HTTP/1.1 200 " }
}

/// A front end lists its meetings.
pub(crate) fn list() -> Questions {
    Questions { requests: vec![front_end("getMeetings", "")], expected: "HTTP/1.1 200 " }
}

/// A front end lists all recordings.
pub(crate) fn recordings() -> Questions {
    Questions { requests: vec![front_end("getRecordings", "")], expected: "HTTP/1.1 200 " }
}

/// The path of a signed call.
pub(crate) fn path(call: &str, query: &str) -> String {
    let query = signed_query(Algorithm::Sha256, call, query.as_bytes(), SECRET);
    format!("/bigbluebutton/api/{call}?{query}")
}

fn browser(call: &str, query: &str) -> Vec<u8> {
    let path = path(call, query);
    format!(
        "GET {path} HTTP/1.1\r\nHost: bbb.example.org\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
         Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Referer: https://moodle.example.org/\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
    )
    .into_bytes()
}

fn front_end(call: &str, query: &str) -> Vec<u8> {
    let path = path(call, query);
    format!(
        "GET {path} HTTP/1.1\r\nHost: bbb.example.org\r\nUser-Agent: MoodleBot/1.0\r\n\
         Accept: */*\r\n\r\n"
    )
    .into_bytes()
}
