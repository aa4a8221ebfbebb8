//! The table: recordings, webhooks, sessions, and calls that current releases have dropped.

use portico::bbb::Call;

use super::rows::{GET_ONLY, POST_ONLY};
use super::{About, Body, Differs, Row, Way};

/// For calls that nobody has.
const UNKNOWN: Differs = Differs {
    ways: &[],
    why: "a node tells of an unknown call with a page for people, we with the API's own words",
    answer: "404 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
        <messageKey>unsupportedRequest</messageKey>\
        <message>This request is not supported.</message></response>",
};

/// For calls of browsers, which nobody makes here who has a session.
const fn not_here(answer: &'static str) -> Differs {
    Differs {
        ways: &[Way::Get, Way::Form, Way::WrongChecksum],
        why: "sessions are on the nodes, and so is every browser that has one",
        answer,
    }
}

const fn dropped(call: Call) -> Row {
    Row {
        call,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &[],
        body: Body::None,
        differs: &[UNKNOWN],
    }
}

pub(super) const ROWS: [Row; 22] = [
    Row {
        call: Call::GetRecordings,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &[],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::GetRecordings,
        query: "recordID={id}&state=any&meta_gl-listed=false&limit=2",
        about: About::Recording,
        needs: &["recordID"],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::PublishRecordings,
        query: "recordID={id}&publish=false",
        about: About::Recording,
        needs: &["recordID", "publish"],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    Row {
        call: Call::DeleteRecordings,
        query: "recordID={id}",
        about: About::Recording,
        needs: &["recordID"],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    Row {
        call: Call::UpdateRecordings,
        query: "recordID={id}&meta_Tag=x&meta_gl-listed=",
        about: About::Recording,
        needs: &["recordID"],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::GetRecordingTextTracks,
        query: "recordID={id}",
        about: About::Recording,
        needs: &["recordID"],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::PutRecordingTextTrack,
        query: "recordID={id}&kind=subtitles&lang=de&label=A+%26+B",
        about: About::Recording,
        needs: &["recordID", "kind", "lang"],
        body: Body::File,
        differs: &[POST_ONLY],
    },
    Row {
        call: Call::HooksCreate,
        query: "callbackURL=https%3A%2F%2Ffront.test%2F{id}&eventID=rap-deleted,Rap-Published&getRaw=false&meetingID={id}",
        about: About::NewMeeting,
        needs: &["callbackURL", "meetingID"],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    // Once more.
    Row {
        call: Call::HooksCreate,
        query: "x={id}&callbackURL=https%3A%2F%2Ffront.test%2Fof%2F{room}",
        about: About::Hook,
        needs: &[],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    Row {
        call: Call::HooksList,
        query: "x={id}",
        about: About::Hook,
        needs: &[],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    Row {
        call: Call::HooksList,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &[],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    Row {
        call: Call::HooksDestroy,
        query: "hookID={id}",
        about: About::Hook,
        needs: &["hookID"],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    Row {
        call: Call::HooksPing,
        query: "x={id}",
        about: About::Hook,
        needs: &[],
        body: Body::None,
        differs: &[
            GET_ONLY,
            Differs {
                ways: &[],
                why: "a sign of life of the daemon beside a node, which a pool does not have",
                answer: "200 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
                    <messageKey>unsupportedRequest</messageKey>\
                    <message>This server does not support hooks/ping.</message></response>",
            },
        ],
    },
    Row {
        call: Call::Stuns,
        query: "sessionToken={id}",
        about: About::Session,
        needs: &["sessionToken"],
        body: Body::None,
        differs: &[not_here(
            "200 application/json;charset=utf-8\n{\"returncode\":\"FAILED\",\"message\":\"Could not find conference.\",\"logoutURL\":\"*server*\"}",
        )],
    },
    Row {
        call: Call::GetJoinUrl,
        query: "sessionToken={id}",
        about: About::Session,
        needs: &["sessionToken"],
        body: Body::None,
        differs: &[not_here(
            "200 application/json;charset=utf-8\n{\"response\":{\"returncode\":\"FAILED\",\"message\":\"Invalid session token\",\"sessionToken\":\"*token*\"}}",
        )],
    },
    Row {
        call: Call::LearningDashboard,
        query: "sessionToken={id}",
        about: About::Session,
        needs: &["sessionToken"],
        body: Body::None,
        differs: &[not_here(
            "200 application/json;charset=utf-8\n{\"response\":{\"returncode\":\"FAILED\",\"message\":\"Invalid Session\",\"sessionToken\":\"*token*\"}}",
        )],
    },
    Row {
        call: Call::SignOut,
        query: "sessionToken={id}",
        about: About::Session,
        needs: &["sessionToken"],
        body: Body::None,
        differs: &[],
    },
    dropped(Call::Enter),
    dropped(Call::Feedback),
    dropped(Call::GuestWait),
    dropped(Call::GetDefaultConfigXml),
    dropped(Call::SetConfigXml),
];
