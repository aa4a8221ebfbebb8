//! The table: meetings and people.

use portico::bbb::Call;

use super::{About, Body, Differs, Row, Way};

/// For calls that take no GET.
pub(super) const POST_ONLY: Differs = Differs {
    ways: &[Way::Get],
    why: "a node tells of a wrong method with a page for people, we with the API's own words",
    answer: "405 text/xml;charset=utf-8\nallow: POST\n<response><returncode>FAILED</returncode>\
        <messageKey>validationError</messageKey><message>Request not recognized</message></response>",
};

/// For calls that take no POST.
pub(super) const GET_ONLY: Differs = Differs {
    ways: &[Way::Form],
    why: POST_ONLY.why,
    answer: "405 text/xml;charset=utf-8\nallow: GET\n<response><returncode>FAILED</returncode>\
        <messageKey>validationError</messageKey><message>Request not recognized</message></response>",
};

const ELSEWHERE: &str = "a browser is sent to the meeting's node, and gets its answer there";
const STRANGER: &str = "nobody is redirected to where a stranger wants him to be";
const NO_PAGE: &str = "a node sends people to its own front page, which a pool does not have";

pub(super) const ROWS: [Row; 14] = [
    Row {
        call: Call::Create,
        query: "name=Algebra&meetingID={id}&attendeePW=a+p&moderatorPW=m%26p&duration=120",
        about: About::NewMeeting,
        needs: &["meetingID", "name"],
        body: Body::Xml,
        differs: &[],
    },
    // Of a meeting that runs.
    Row {
        call: Call::Create,
        query: "name=Other&meetingID={id}&attendeePW=ap&moderatorPW=mp",
        about: About::Meeting,
        needs: &["attendeePW"],
        body: Body::Xml,
        differs: &[],
    },
    // A breakout room.
    Row {
        call: Call::Create,
        query: "name=Room&meetingID={room}-1&attendeePW=ap&moderatorPW=mp&isBreakout=true&sequence=1&parentMeetingID={id}",
        about: About::Meeting,
        needs: &["parentMeetingID"],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::Join,
        query: "meetingID={id}&fullName=Eve&role=VIEWER&errorRedirectUrl=https%3A%2F%2Ffront.test%2Foops%3Fa%3D1",
        about: About::Meeting,
        needs: &["meetingID", "fullName", "role"],
        body: Body::None,
        differs: &[
            Differs {
                ways: &[Way::Get],
                why: ELSEWHERE,
                answer: "302 \nlocation: *server*/bigbluebutton/api/join?meetingID={room}%40*scope*\
                    &fullName=Eve&role=VIEWER&errorRedirectUrl=https%3A%2F%2Ffront.test%2Foops%3Fa%3D1\
                    &checksum=*\n",
            },
            Differs {
                ways: &[Way::Form],
                why: "as nodes before 3.0, which take a join by POST",
                answer: "302 \nlocation: *server*/bigbluebutton/api/join?meetingID={room}%40*scope*\
                    &fullName=Eve&role=VIEWER&errorRedirectUrl=https%3A%2F%2Ffront.test%2Foops%3Fa%3D1\
                    &checksum=*\n",
            },
            Differs {
                ways: &[Way::Without("role")],
                why: ELSEWHERE,
                answer: "302 \nlocation: *server*/bigbluebutton/api/join?meetingID={room}%40*scope*\
                    &fullName=Eve&errorRedirectUrl=https%3A%2F%2Ffront.test%2Foops%3Fa%3D1\
                    &checksum=*\n",
            },
            Differs {
                ways: &[Way::WrongChecksum],
                why: STRANGER,
                answer: "200 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
        <messageKey>checksumError</messageKey>\
        <message>Checksums do not match</message></response>",
            },
        ],
    },
    Row {
        call: Call::Join,
        query: "meetingID={id}&fullName=Eve&password=ap&redirect=false",
        about: About::Meeting,
        needs: &["meetingID", "fullName", "password"],
        body: Body::None,
        differs: &[
            Differs {
                ways: &[Way::Form],
                why: "as nodes before 3.0, which take a join by POST",
                answer: "200 text/xml;charset=utf-8\nset-cookie: JSESSIONID=*; Path=/bigbluebutton; HttpOnly\n\
                    <response><returncode>SUCCESS</returncode><messageKey>successfullyJoined</messageKey>\
                    <message>You have joined successfully.</message><meeting_id>*internal*</meeting_id>\
                    <user_id>*</user_id><auth_token>*</auth_token><session_token>*</session_token>\
                    <guestStatus>ALLOW</guestStatus><url>*server*/html5client?sessionToken=*</url></response>",
            },
            Differs {
                ways: &[Way::WrongChecksum],
                why: NO_PAGE,
                answer: "200 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
        <messageKey>checksumError</messageKey>\
        <message>Checksums do not match</message></response>",
            },
            Differs {
                ways: &[Way::Unknown],
                why: NO_PAGE,
                answer: "200 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
        <messageKey>invalidMeetingIdentifier</messageKey>\
        <message>A meeting with that ID does not exist</message></response>",
            },
            Differs {
                ways: &[Way::Without("meetingID")],
                why: NO_PAGE,
                answer: "200 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
        <messageKey>missingParamMeetingID</messageKey>\
        <message>You must provide a meeting ID</message></response>",
            },
            Differs {
                ways: &[Way::Without("fullName")],
                why: NO_PAGE,
                answer: "200 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
        <messageKey>missingParamFullName</messageKey>\
        <message>You must provide your name</message></response>",
            },
        ],
    },
    // The other place where mistakes are told.
    Row {
        call: Call::Join,
        query: "meetingID={id}&fullName=Eve&guest=perhaps&redirect=false&errorRedirectUrl=&logoutURL=https%3A%2F%2Ffront.test%2Fbye",
        about: About::Meeting,
        needs: &["meetingID", "fullName"],
        body: Body::None,
        differs: &[
            Differs {
                ways: &[Way::Form],
                why: "as nodes before 3.0, which take a join by POST",
                answer: "302 \nlocation: https://front.test/bye?errors=%5B%7B%22key%22%3A%22validationError\
                    %22%2C%22message%22%3A%22Guest+must+be+a+boolean+value+%28true+or+false%29%22%7D%5D\n",
            },
            Differs {
                ways: &[Way::WrongChecksum],
                why: STRANGER,
                answer: "200 text/xml;charset=utf-8\n<response><returncode>FAILED</returncode>\
        <messageKey>checksumError</messageKey>\
        <message>Checksums do not match</message></response>",
            },
        ],
    },
    Row {
        call: Call::IsMeetingRunning,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &["meetingID"],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::End,
        query: "meetingID={id}&password=mp",
        about: About::Meeting,
        needs: &["meetingID"],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::GetMeetingInfo,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &["meetingID"],
        body: Body::None,
        differs: &[],
    },
    // These two take no parameters, so whatever is asked for they list what there is.
    Row {
        call: Call::GetMeetings,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &[],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::GetSessions,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &[],
        body: Body::None,
        differs: &[],
    },
    Row {
        call: Call::InsertDocument,
        query: "meetingID={id}",
        about: About::Meeting,
        needs: &["meetingID"],
        body: Body::Xml,
        differs: &[
            POST_ONLY,
            Differs {
                ways: &[Way::Form],
                why: "every answer of ours has a content type, an empty one too",
                answer: "200 text/xml;charset=utf-8\n",
            },
        ],
    },
    Row {
        call: Call::SendChatMessage,
        query: "meetingID={id}&message=Hi+all&userName=Bot",
        about: About::Meeting,
        needs: &["meetingID", "message"],
        body: Body::None,
        differs: &[GET_ONLY],
    },
    // An empty list.
    Row {
        call: Call::GetMeetings,
        query: "meetingID={id}",
        about: About::NewMeeting,
        needs: &[],
        body: Body::None,
        differs: &[],
    },
];
