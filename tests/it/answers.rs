//! The other answers: version, running, info, end, and what is not served.

use http::Method;

use crate::harness::{Client, Config, Pool, Tenant, assert_failed, failed, masked};

const VERSION: &str = "<response><returncode>SUCCESS</returncode><version>2.0</version>\
    <apiVersion>2.0</apiVersion><bbbVersion></bbbVersion></response>";
const UNREAD: (&str, &str) =
    ("unsupportedContentType", "POST request Content-Type is missing or unsupported");

async fn pool() -> (Pool, Client) {
    let tenant = Tenant::new("acme").set("default", true);
    let pool = Pool::start(Config::new().tenant(tenant)).await;
    let acme = pool.tenant("acme");
    (pool, acme)
}

#[tokio::test]
async fn the_version_needs_no_checksum_and_minds_none() {
    let (_pool, acme) = pool().await;
    let wrong = "?checksum=0000";
    for target in [
        "/bigbluebutton/api",
        "/bigbluebutton/api/",
        "/bigbluebutton",
        "/bigbluebutton/",
        "/bbb/acme",
        "/bbb/acme/bigbluebutton/api",
        "/b3lb/t/acme/bbb/api/",
        "/bbb/nobody/bigbluebutton/api",
    ] {
        for query in ["", wrong] {
            let reply = acme.send(Method::GET, &format!("{target}{query}"), &[], "").await;
            assert_eq!(reply.seen(), (200, VERSION), "{target}{query}");
            assert_eq!(reply.header("content-type"), "text/xml;charset=utf-8");
        }
    }
    assert_eq!(acme.get("", "").await.seen(), (200, VERSION));
    let json = acme
        .send(Method::GET, "/bigbluebutton/api", &[("content-type", "application/json")], "")
        .await;
    let body = serde_json::json!({ "response": {
        "returncode": "SUCCESS", "version": "2.0", "apiVersion": "2.0", "bbbVersion": "",
    }});
    let said: serde_json::Value = serde_json::from_str(&json.body).expect("JSON");
    assert_eq!((json.status.as_u16(), said), (200, body));
    assert_eq!(json.header("content-type"), "application/json;charset=utf-8");
    let head = acme.send(Method::HEAD, "/bigbluebutton/api", &[], "").await;
    assert_eq!(head.seen(), (200, ""));
}

#[tokio::test]
async fn what_is_not_there_is_not_running_and_not_found() {
    let (pool, acme) = pool().await;
    let running = acme.get("isMeetingRunning", "meetingID=nowhere").await;
    let body = "<response><returncode>SUCCESS</returncode><running>false</running></response>";
    assert_eq!(running.seen(), (200, body));
    for call in ["getMeetingInfo", "end"] {
        let reply = acme.get(call, "meetingID=nowhere").await;
        assert_failed(&reply, "notFound", "A meeting with that ID does not exist");
    }
    for call in ["isMeetingRunning", "getMeetingInfo", "end"] {
        for query in ["", "meetingID=", "meetingID=+", "meetingid=room"] {
            let reply = acme.get(call, query).await;
            assert_failed(&reply, "missingParamMeetingID", "You must provide a meeting ID");
        }
        for (id, message) in [
            ("r", "Meeting ID must be between 2 and 256 characters"),
            ("a,b", "Meeting ID cannot contain ','"),
            ("%20room", "Invalid meeting ID"),
        ] {
            let reply = acme.get(call, &format!("meetingID={id}")).await;
            assert_failed(&reply, "validationError", message);
        }
        assert_eq!(pool.node_calls(call), 0, "no node is asked about what nobody knows");
    }
}

#[tokio::test]
async fn a_meeting_is_shown_whole_and_ended_in_bigbluebuttons_words() {
    let (pool, acme) = pool().await;
    let query = "meetingID=room&name=Algebra&attendeePW=ap&moderatorPW=mp&meta_Origin=a%26b";
    acme.get("create", query).await.success();
    let join = "meetingID=room&fullName=Ada&role=MODERATOR&userID=u1&redirect=false&userdata-k=v";
    acme.get("join", join).await.success();
    let info = acme.get("getMeetingInfo", "meetingID=room").await;
    let expected = "<response><returncode>SUCCESS</returncode><meetingName>Algebra</meetingName>\
        <meetingID>room</meetingID><internalMeetingID>*</internalMeetingID>\
        <createTime>*</createTime><createDate>*</createDate><voiceBridge>*</voiceBridge>\
        <dialNumber>613-555-1234</dialNumber><attendeePW>ap</attendeePW>\
        <moderatorPW>mp</moderatorPW><running>true</running><duration>0</duration>\
        <hasUserJoined>true</hasUserJoined><recording>false</recording>\
        <hasBeenForciblyEnded>false</hasBeenForciblyEnded><startTime>*</startTime>\
        <endTime>0</endTime><participantCount>1</participantCount>\
        <listenerCount>0</listenerCount><voiceParticipantCount>0</voiceParticipantCount>\
        <videoCount>0</videoCount><maxUsers>0</maxUsers><moderatorCount>1</moderatorCount>\
        <attendees><attendee><userID>u1</userID><fullName>Ada</fullName><role>MODERATOR</role>\
        <isPresenter>true</isPresenter><isListeningOnly>false</isListeningOnly>\
        <hasJoinedVoice>false</hasJoinedVoice><hasVideo>false</hasVideo>\
        <clientType>HTML5</clientType><customdata><k>v</k></customdata></attendee></attendees>\
        <metadata><origin>a&amp;b</origin></metadata><isBreakout>false</isBreakout></response>";
    assert_eq!((info.status.as_u16(), masked(&info.body).as_str()), (200, expected));
    assert_eq!(info.header("content-type"), "text/xml;charset=utf-8");
    let running = acme.get("isMeetingRunning", "meetingID=room").await;
    let body = "<response><returncode>SUCCESS</returncode><running>true</running></response>";
    assert_eq!(running.seen(), (200, body));

    let ended = acme.get("end", "meetingID=room&password=mp").await;
    let body = "<response><returncode>SUCCESS</returncode>\
        <messageKey>sentEndMeetingRequest</messageKey><message>A request to end the meeting was \
        sent.  Please wait a few seconds, and then use the getMeetingInfo or isMeetingRunning API \
        calls to verify that it was ended.</message></response>";
    assert_eq!(ended.seen(), (200, body));
    let seen = pool.node(0).requests();
    let end = seen.iter().find(|seen| seen.path.ends_with("/end")).expect("an end");
    assert!(end.query.starts_with("meetingID=room%40acme&password=mp&checksum="), "{}", end.query);
}

#[tokio::test]
async fn unknown_calls_and_paths_are_404_and_wrong_methods_405() {
    let (_pool, acme) = pool().await;
    for call in ["Create", "createMeeting", "create/x", "hooks", "hooks/Create", "getmeetings"] {
        let reply = acme.get(call, "").await;
        let body = failed("unsupportedRequest", "This request is not supported.");
        assert_eq!(reply.seen(), (404, body.as_str()), "{call}");
    }
    for path in ["/", "/bigbluebutton/apix/create", "/b3lb/t/acme/create", "/healthz", "/metrics"] {
        let reply = acme.send(Method::GET, path, &[], "").await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.body.contains("portico_"), "{path}");
    }
    for (method, call, allow) in [
        (Method::PUT, "create", "GET, POST"),
        (Method::DELETE, "end", "GET, POST"),
        (Method::HEAD, "join", "GET, POST"),
        (Method::OPTIONS, "getMeetings", "GET, POST"),
        (Method::POST, "", "GET"),
        (Method::POST, "publishRecordings", "GET"),
        (Method::GET, "insertDocument", "POST"),
    ] {
        let is_head = method == Method::HEAD;
        let reply = acme.send(method.clone(), &acme.target(call, ""), &[], "").await;
        let body = failed("validationError", "Request not recognized");
        let body = if is_head { "" } else { &body };
        assert_eq!(reply.seen(), (405, body), "{method} {call}");
        assert_eq!(reply.header("allow"), allow, "{method} {call}");
    }
}

#[tokio::test]
async fn a_body_needs_a_content_type_that_its_call_reads() {
    let (pool, acme) = pool().await;
    let query = "meetingID=room&name=Algebra";
    for (call, kind) in [
        ("create", Some("application/json")),
        ("create", Some("text/plain")),
        ("create", None),
        ("getMeetings", Some("application/xml")),
        ("end", Some("multipart/form-data")),
    ] {
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let reply = acme.send(Method::POST, &acme.target(call, query), &headers, "<a/>").await;
        assert_failed(&reply, UNREAD.0, UNREAD.1);
        // A wrong checksum is what is said first.
        let target = acme.secret("wrong wrong wrong").target(call, query);
        let reply = acme.send(Method::POST, &target, &headers, "<a/>").await;
        assert_failed(&reply, "checksumError", "Checksums do not match");
    }
    // Without a body the type does not matter; the PHP library sends one with every GET.
    for (method, kind) in [(Method::GET, "application/xml"), (Method::POST, "application/json")] {
        let headers = [("content-type", kind)];
        let reply = acme.send(method, &acme.target("create", query), &headers, "").await;
        assert!(reply.is_success(), "{reply:?}");
    }
    assert_eq!(pool.node(0).meetings().len(), 1);
}

#[tokio::test]
async fn failures_are_json_to_those_who_accept_it_first() {
    let (_pool, acme) = pool().await;
    let json = |key: &str, message: &str| {
        format!(
            "{{\"response\":{{\"returncode\":\"FAILED\",\"messageKey\":\"{key}\",\
             \"message\":\"{message}\"}}}}"
        )
    };
    acme.create("room").await;
    for accept in ["application/json", "application/json, text/plain;q=0.5"] {
        let client = acme.header("accept", accept);
        for (client, call, query, key, message) in [
            (
                &client,
                "getMeetingInfo",
                "meetingID=nowhere",
                "notFound",
                "A meeting with that ID does not exist",
            ),
            (&client, "create", "", "missingParamMeetingID", "You must provide a meeting ID"),
            (
                &client.secret("wrong wrong wrong"),
                "create",
                "",
                "checksumError",
                "Checksums do not match",
            ),
            // What a node refuses, too.
            (
                &client,
                "create",
                "meetingID=room&name=Algebra&moderatorPW=other",
                "idNotUnique",
                "A meeting already exists with that meeting ID.  Please use a different meeting ID.",
            ),
        ] {
            let reply = client.get(call, query).await;
            assert_eq!(reply.seen(), (200, json(key, message).as_str()), "{call}");
            assert_eq!(reply.header("content-type"), "application/json;charset=utf-8");
        }
    }
    let both = acme.header("accept", "text/xml, application/json");
    let reply = both.get("getMeetingInfo", "meetingID=nowhere").await;
    assert_failed(&reply, "notFound", "A meeting with that ID does not exist");
}

#[tokio::test]
async fn a_failure_in_the_form_of_a_list_keeps_its_words_in_json() {
    let (_pool, acme) = pool().await;
    acme.get("create", "name=One&meetingID=one&voiceBridge=70757").await.success();
    let query = "name=Two&meetingID=two&voiceBridge=70757";
    let listed = acme.get("create", query).await;
    assert_eq!(listed.body, portico::bbb::Failure::NON_UNIQUE_VOICE_BRIDGE.to_list_xml());
    let json = acme.header("accept", "application/json").get("create", query).await;
    let body = portico::bbb::Failure::NON_UNIQUE_VOICE_BRIDGE.to_json();
    assert_eq!(json.seen(), (200, body.as_str()));
}

#[tokio::test]
async fn webhook_calls_are_answered_in_xml_whatever_is_accepted() {
    let (_pool, acme) = pool().await;
    let json = acme.header("accept", "application/json");
    for (call, key, message) in [
        (
            "hooks/create",
            "missingParamCallbackURL",
            "You must specify a callbackURL in the parameters.",
        ),
        ("hooks/destroy", "missingParamHookID", "You must specify a hookID in the parameters."),
    ] {
        let reply = json.get(call, "").await;
        assert_eq!(reply.seen(), (200, failed(key, message).as_str()), "{call}");
        assert_eq!(reply.header("content-type"), "text/xml;charset=utf-8");
    }
    let wrong = json.secret("not the secret of anybody").get("hooks/list", "").await;
    assert_failed(&wrong, "checksumError", "You did not pass the checksum security check.");
}

#[tokio::test]
async fn the_way_out_of_a_session_is_the_address_that_the_browser_has_called() {
    let (pool, _) = pool().await;
    for (headers, address) in [
        ("Host: bbb.test:8443\r\n", "http://bbb.test:8443"),
        ("Host: bbb.test\r\nX-Forwarded-Proto: https\r\n", "https://bbb.test"),
        ("Host: in.test\r\nX-Forwarded-Host: bbb.test:8443\r\n", "http://bbb.test:8443"),
    ] {
        let mut raw = pool.raw().await;
        let target = "/bigbluebutton/api/stuns?sessionToken=x";
        raw.send(format!("GET {target} HTTP/1.1\r\n{headers}\r\n")).await;
        let reply = raw.reply().await.expect("an answer");
        let said: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
        assert_eq!(said["logoutURL"], address);
    }
}
