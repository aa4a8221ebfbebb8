//! The calls of front ends: checksums, bodies, and answers to the letter.

use super::*;
use crate::bbb::{Algorithm, Element, MeetingInfo, MeetingsParser, checksum, signed_query};
use crate::sim::Release;

fn names(element: &Element) -> Vec<&str> {
    element.elements().map(|child| child.name.as_str()).collect()
}

fn key(answer: &Answer) -> &str {
    answer.element("messageKey").unwrap_or("(none)")
}

#[tokio::test]
async fn checksums_of_all_four_kinds_count_wherever_they_stand() {
    let node = node().await;
    for algorithm in Algorithm::ALL {
        let query = "meetingID=Foo+Bar&x=%2f";
        let sum = checksum(algorithm, "isMeetingRunning", query.as_bytes(), node.secret());
        let loud = sum.to_uppercase();
        for target in [
            format!("checksum={sum}&{query}"),
            format!("meetingID=Foo+Bar&checksum={sum}&x=%2f"),
            format!("{query}&checksum={loud}"),
        ] {
            let answer =
                get(node.address(), &format!("/bigbluebutton/api/isMeetingRunning?{target}"), "")
                    .await;
            assert_eq!(answer.unwrap().element("running"), Some("false"), "{target}");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn missing_wrong_and_unsupported_checksums_are_refused_with_200() {
    let settings = Settings { algorithms: vec![Algorithm::Sha256], ..Settings::default() };
    let node = Node::start(settings).await.unwrap();
    let sha1 = signed_query(Algorithm::Sha1, "getMeetings", b"", node.secret());
    let foreign = signed_query(Algorithm::Sha256, "getMeetings", b"", "another secret");
    let other_call = signed_query(Algorithm::Sha256, "getmeetings", b"", node.secret());
    for (query, message) in [
        ("", "You must provide the checksum"),
        ("checksum=", "You must provide the checksum"),
        (&sha1, "Checksums do not match"),
        (&foreign, "Checksums do not match"),
        (&other_call, "Checksums do not match"),
    ] {
        let answer = get(node.address(), &format!("/bigbluebutton/api/getMeetings?{query}"), "")
            .await
            .unwrap();
        assert_eq!((answer.status, key(&answer)), (200, "checksumError"), "{query}");
        assert_eq!(answer.element("message"), Some(message), "{query}");
        assert_eq!(answer.header("content-type"), Some("text/xml;charset=utf-8"));
    }
    let recordings = get(node.address(), "/bigbluebutton/api/getRecordings", "").await.unwrap();
    assert_eq!(recordings.element("message"), Some("You did not pass the checksum security check"));
    let json =
        get(node.address(), "/bigbluebutton/api/getMeetings", "Accept: application/json\r\n")
            .await
            .unwrap();
    let text = r#"{"response":{"returncode":"FAILED","messageKey":"checksumError","message":"You must provide the checksum"}}"#;
    assert_eq!(json.body, text);
    node.stop().await;
}

#[tokio::test]
async fn a_form_is_signed_as_its_release_wants_it() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let parameters = "name=A+Room&meetingID=room-1";
    let over_nothing = |secret: &str| checksum(Algorithm::Sha256, "create", b"", secret);
    let over_sorted = |secret: &str| {
        checksum(Algorithm::Sha256, "create", b"meetingID=room-1&name=A+Room", secret)
    };
    for (release, accepted, refused) in [
        (Release::V3_0, over_nothing("s"), over_sorted("s")),
        (Release::V2_7, over_sorted("s"), over_nothing("s")),
    ] {
        let settings = Settings { release, secret: "s".to_owned(), ..Settings::default() };
        let node = Node::start(settings).await.unwrap();
        let send = |body: String| post(node.address(), "/bigbluebutton/api/create", FORM, body);
        let right = send(format!("{parameters}&checksum={accepted}")).await.unwrap();
        assert_eq!(right.element("meetingID"), Some("room-1"), "{release:?}: {}", right.body);
        let wrong = send(format!("{parameters}&checksum={refused}")).await.unwrap();
        assert_eq!(key(&wrong), "checksumError", "{release:?}");
        // With the checksum in the query, only the query is signed, on every release.
        let target = format!("/bigbluebutton/api/create?checksum={}", over_nothing("s"));
        let right = post(node.address(), &target, FORM, parameters.to_owned()).await.unwrap();
        assert_eq!(key(&right), "duplicateWarning", "{release:?}: {}", right.body);
        node.stop().await;
    }
}

#[tokio::test]
async fn bodies_need_a_type_that_the_call_reads() {
    let node = node_with_room("").await;
    let xml = "<modules><module name=\"presentation\"><document url=\"https://x/y.pdf\"/></module></modules>";
    let send = async |call: &str, content_type: &str| {
        let query =
            signed_query(Algorithm::Sha256, call, b"meetingID=room-1&name=Room", node.secret());
        let target = format!("/bigbluebutton/api/{call}?{query}");
        post(node.address(), &target, content_type, xml.to_owned()).await.unwrap()
    };
    assert_eq!(
        key(&send("create", "application/xml; charset=utf-8").await),
        "unsupportedContentType"
    );
    assert_eq!(key(&send("create", "text/plain").await), "unsupportedContentType");
    assert_eq!(key(&send("getMeetingInfo", "application/xml").await), "unsupportedContentType");
    assert_eq!(key(&send("create", "application/xml").await), "duplicateWarning");
    assert!(node.meetings()[0].documents.is_empty(), "a meeting that exists ignores documents");
    let inserted = send("insertDocument", "application/xml").await;
    assert_eq!(
        inserted.element("message"),
        Some("Presentation is being uploaded"),
        "{}",
        inserted.body
    );
    assert_eq!(node.meetings()[0].documents, ["https://x/y.pdf"]);
    let query = signed_query(Algorithm::Sha256, "getMeetings", b"", node.secret());
    let target = format!("/bigbluebutton/api/getMeetings?{query}");
    let without_body =
        get(node.address(), &target, "Content-Type: application/xml\r\n").await.unwrap();
    assert_eq!(without_body.element("returncode"), Some("SUCCESS"));
    node.stop().await;
}

#[tokio::test]
async fn create_answers_in_full_and_twice_the_same() {
    let node = node().await;
    let query = "name=A%26B&meetingID=room-1&attendeePW=ap&moderatorPW=mp&voiceBridge=70757";
    let answer = call(&node, "create", query).await;
    let time = answer.element("createTime").unwrap().to_owned();
    let date = answer.element("createDate").unwrap().to_owned();
    let expected = |key: &str, message: &str| {
        format!(
            "<response><returncode>SUCCESS</returncode><meetingID>room-1</meetingID>\
             <internalMeetingID>0e9770ee13188deca3cd34f598eb93650a2f97c3-{time}</internalMeetingID>\
             <parentMeetingID>bbb-none</parentMeetingID><attendeePW>ap</attendeePW><moderatorPW>mp</moderatorPW>\
             <createTime>{time}</createTime><voiceBridge>70757</voiceBridge><dialNumber>613-555-1234</dialNumber>\
             <createDate>{date}</createDate><hasUserJoined>false</hasUserJoined><duration>0</duration>\
             <hasBeenForciblyEnded>false</hasBeenForciblyEnded><messageKey>{key}</messageKey>\
             <message>{message}</message></response>"
        )
    };
    assert_eq!(answer.body, expected("", ""));
    let warning = "This conference was already in existence and may currently be in progress.";
    for same in [
        query,
        "name=Other&meetingID=room-1",
        "name=Room&meetingID=room-1&attendeePW=ap&moderatorPW=mp",
    ] {
        let again = call(&node, "create", same).await;
        assert_eq!(again.body, expected("duplicateWarning", warning), "{same}");
    }
    for other in [
        "&attendeePW=ap",
        "&moderatorPW=mp",
        "&attendeePW=ap&moderatorPW=xx",
        "&attendeePW=mp&moderatorPW=ap",
    ] {
        let refused = call(&node, "create", &format!("name=Room&meetingID=room-1{other}")).await;
        assert_eq!(key(&refused), "idNotUnique", "{other}");
    }
    let clash = call(&node, "create", "name=Room&meetingID=room-2&voiceBridge=70757").await;
    let list = "<errors><error><key>nonUniqueVoiceBridge</key>\
                <message>The selected voice bridge is already in use.</message></error></errors>";
    assert_eq!(clash.body, format!("<response><returncode>FAILED</returncode>{list}</response>"));
    assert_eq!(node.meetings().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn create_refuses_what_breaks_the_rules_of_data() {
    let node = node().await;
    let long = "x".repeat(257);
    for (query, expected) in [
        ("name=Room", "missingParamMeetingID"),
        ("name=Room&meetingID=", "missingParamMeetingID"),
        ("name=Room&meetingID=x", "validationError"),
        (&format!("name=Room&meetingID={long}"), "validationError"),
        ("name=Room&meetingID=a,b", "validationError"),
        ("name=Room&meetingID=a%00b", "validationError"),
        ("name=Room&meetingID=+ab", "validationError"),
        ("meetingID=room", "validationError"),
        ("meetingID=room&name=x", "validationError"),
        ("meetingID=room&name=Room&voiceBridge=7a", "validationError"),
        ("meetingID=room&name=Room&record=yes", "validationError"),
        ("meetingID=room&name=Room&isBreakout=1", "validationError"),
        ("meetingID=room&name=Room&presentationUploadExternalUrl=nowhere", "validationError"),
        ("meetingID=room&name=Room&attendeePW=x", "invalidPassword"),
        ("meetingID=room&name=Room&isBreakout=true", "parentMeetingIDMissing"),
        (
            "meetingID=room&name=Room&isBreakout=true&parentMeetingID=gone",
            "parentMeetingDoesNotExist",
        ),
    ] {
        assert_eq!(key(&call(&node, "create", query).await), expected, "{query}");
    }
    let query =
        signed_query(Algorithm::Sha256, "create", b"name=Room&meetingID=room", node.secret());
    let target = format!("/bigbluebutton/api/create?{query}");
    let broken = post(node.address(), &target, "application/xml", "<modules><module>".to_owned())
        .await
        .unwrap();
    assert_eq!(broken.status, 500);
    assert!(node.meetings().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn meeting_info_has_every_element_in_order() {
    let node = node_with_room(
        "&record=true&maxParticipants=7&meta_bbb-origin=Green%20%3Clight%3E&meta_EndCallbackUrl=&meta_a_b=no&meta_2=no",
    )
    .await;
    call(&node, "join", "meetingID=room-1&fullName=Ann&role=moderator&userID=u1&userdata-skipCheck=true&userdata-%3C=x")
        .await;
    assert!(node.add_attendees("room-1", 5));
    let answer = call(&node, "getMeetingInfo", "meetingID=room-1").await;
    let info = Element::parse(answer.body.as_bytes()).unwrap();
    let head = "returncode meetingName meetingID internalMeetingID createTime createDate voiceBridge dialNumber \
                attendeePW moderatorPW running duration hasUserJoined recording hasBeenForciblyEnded startTime endTime \
                participantCount listenerCount voiceParticipantCount videoCount maxUsers moderatorCount attendees \
                metadata isBreakout";
    assert_eq!(names(&info), head.split_whitespace().collect::<Vec<_>>());
    let attendee =
        info.child("attendees").and_then(|attendees| attendees.child("attendee")).unwrap();
    let parts = "userID fullName role isPresenter isListeningOnly hasJoinedVoice hasVideo clientType customdata";
    assert_eq!(names(attendee), parts.split_whitespace().collect::<Vec<_>>());
    assert_eq!(attendee.child_text("isPresenter").as_deref(), Some("true"));
    assert_eq!(names(attendee.child("customdata").unwrap()), ["skipCheck"]);
    let metadata = info.child("metadata").unwrap();
    assert_eq!(names(metadata), ["bbb-origin", "endcallbackurl"]);
    assert_eq!(metadata.child_text("bbb-origin").as_deref(), Some("Green <light>"));
    for (name, expected) in [
        ("running", "true"),
        ("recording", "true"),
        ("participantCount", "6"),
        ("voiceParticipantCount", "5"),
        ("videoCount", "2"),
        ("maxUsers", "7"),
        ("moderatorCount", "1"),
    ] {
        assert_eq!(info.child_text(name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(answer.header("cache-control"), None);
    node.stop().await;
}

#[tokio::test]
async fn meetings_are_listed_with_their_breakout_rooms() {
    let node = node().await;
    let nothing = call(&node, "getMeetings", "").await;
    assert_eq!(
        nothing.body,
        "<response><returncode>SUCCESS</returncode><meetings/><messageKey>noMeetings</messageKey>\
         <message>no meetings were found on this server</message></response>"
    );
    let parent = call(&node, "create", "name=Parent&meetingID=parent").await;
    let parent = parent.element("internalMeetingID").unwrap().to_owned();
    let breakout = "name=Breakout&meetingID=inner-id&isBreakout=true&parentMeetingID=parent&sequence=2&freeJoin=true";
    let created = call(&node, "create", breakout).await;
    assert_eq!(created.element("internalMeetingID"), Some("inner-id"));
    assert_eq!(created.element("parentMeetingID"), Some(parent.as_str()));
    let outer = created.element("meetingID").unwrap().to_owned();
    assert_eq!(key(&call(&node, "create", breakout).await), "duplicateWarning");

    let listed = call(&node, "getMeetings", "").await;
    let mut meetings = Vec::new();
    let mut parser = MeetingsParser::new(64 * 1024);
    parser
        .push(listed.body.as_bytes(), &mut |meeting| meetings.push(meeting.into_element()))
        .unwrap();
    parser.finish().unwrap();
    assert_eq!(meetings.len(), 2);
    let (room, main): (Vec<_>, Vec<_>) = meetings
        .iter()
        .partition(|meeting| MeetingInfo::from_element((*meeting).clone()).is_breakout());
    assert_eq!(room[0].child_text("parentMeetingID").as_deref(), Some(parent.as_str()));
    assert_eq!(room[0].child_text("sequence").as_deref(), Some("2"));
    assert_eq!(room[0].child_text("freeJoin").as_deref(), Some("true"));
    let rooms = main[0].child("breakoutRooms").unwrap();
    assert_eq!(rooms.child_text("breakout").as_deref(), Some(outer.as_str()));

    // Ending the parent ends its rooms, and internal ids are as good as external ones.
    assert_eq!(
        key(&call(&node, "end", &format!("meetingID={parent}")).await),
        "sentEndMeetingRequest"
    );
    assert!(node.meetings().iter().all(|meeting| meeting.ended));
    node.stop().await;
}

#[tokio::test]
async fn an_ended_meeting_stays_visible_and_its_id_is_free_at_once() {
    let node = node_with_room("").await;
    node.add_attendees("room-1", 1);
    assert_eq!(
        call(&node, "isMeetingRunning", "meetingID=room-1").await.element("running"),
        Some("true")
    );
    call(&node, "end", "meetingID=room-1&password=whatever").await;
    let over = call(&node, "getMeetingInfo", "meetingID=room-1").await;
    assert_eq!(over.element("hasBeenForciblyEnded"), Some("true"));
    assert_eq!(over.element("participantCount"), Some("0"));
    assert_ne!(over.element("endTime"), Some("0"));
    assert_eq!(
        call(&node, "isMeetingRunning", "meetingID=room-1").await.element("running"),
        Some("false")
    );
    let again =
        call(&node, "create", "name=Room&meetingID=room-1&attendeePW=new&moderatorPW=newer").await;
    assert_eq!(key(&again), "", "{}", again.body);
    assert_ne!(again.element("internalMeetingID"), over.element("internalMeetingID"));
    assert_eq!(node.meetings().len(), 2);
    for unknown in ["end", "getMeetingInfo"] {
        assert_eq!(key(&call(&node, unknown, "meetingID=nowhere").await), "notFound", "{unknown}");
    }
    node.stop().await;
}

#[tokio::test]
async fn the_version_needs_no_checksum_and_speaks_json_when_spoken_to_in_json() {
    let node = node().await;
    for path in [
        "/bigbluebutton",
        "/bigbluebutton/",
        "/bigbluebutton/api",
        "/bigbluebutton/api/?checksum=x",
    ] {
        let answer = get(node.address(), path, "").await.unwrap();
        assert_eq!(answer.element("apiVersion"), Some("2.0"), "{path}");
    }
    let json = get(node.address(), "/bigbluebutton/api", "Content-Type: application/json\r\n")
        .await
        .unwrap();
    let json: serde_json::Value = serde_json::from_str(&json.body).unwrap();
    assert_eq!(json["response"]["returncode"], "SUCCESS");
    assert_eq!(json["response"]["version"], "2.0");
    assert_eq!(node.calls(""), 5);
    node.stop().await;
}

#[tokio::test]
async fn paths_outside_the_api_are_404_and_wrong_methods_405() {
    let node = node().await;
    for path in
        ["/bigbluebutton/api/getDefaultConfigXML", "/bigbluebutton/api/Create", "/x", "/sim/state"]
    {
        assert_eq!(get(node.address(), path, "").await.unwrap().status, 404, "{path}");
    }
    let insert = get(node.address(), "/bigbluebutton/api/insertDocument", "").await.unwrap();
    assert_eq!((insert.status, insert.header("allow")), (405, Some("POST")));
    let form = "application/x-www-form-urlencoded";
    let join = post(node.address(), "/bigbluebutton/api/join", form, String::new()).await.unwrap();
    assert_eq!(join.status, 405);
    let doubled = get(node.address(), "//bigbluebutton/api//getMeetings", "").await.unwrap();
    assert_eq!(key(&doubled), "checksumError");
    node.stop().await;
}

#[tokio::test]
async fn recordings_appear_when_they_are_published() {
    let node = node_with_room("&meta_gl-listed=false").await;
    assert_eq!(key(&call(&node, "getRecordings", "meetingID=room-1").await), "noRecordings");
    assert!(node.publish_recording("room-1") && !node.publish_recording("nowhere"));
    let id = node.meetings()[0].internal_id.clone();
    for (query, found) in [
        ("", true),
        ("meetingID=other,room-1", true),
        ("meetingID=room", false),
        (&format!("recordID={id}&meetingID=ignored"), true),
        ("state=unpublished", false),
        ("meta_gl-listed=fal%25", true),
        ("meta_gl-listed=true", false),
        ("offset=1&limit=1", false),
    ] {
        let answer = call(&node, "getRecordings", query).await;
        assert_eq!(answer.element("recordID").is_some(), found, "{query}: {}", answer.body);
    }
    let hidden = call(&node, "publishRecordings", &format!("recordID={id}&publish=false")).await;
    assert_eq!(hidden.element("published"), Some("false"));
    let update = format!("recordID={id}&meta_gl-listed=&meta_Tag=x");
    assert_eq!(call(&node, "updateRecordings", &update).await.element("updated"), Some("true"));
    let recording = call(&node, "getRecordings", "state=unpublished").await;
    assert!(
        recording.body.contains("<tag>x</tag>") && !recording.body.contains("gl-listed"),
        "{}",
        recording.body
    );
    assert_eq!(
        call(&node, "deleteRecordings", &format!("recordID={id}")).await.element("deleted"),
        Some("true")
    );
    assert_eq!(key(&call(&node, "deleteRecordings", &format!("recordID={id}")).await), "notFound");
    node.stop().await;
}

#[tokio::test]
async fn a_chat_message_needs_somebody_to_read_it() {
    let node = node_with_room("").await;
    assert_eq!(
        key(&call(&node, "sendChatMessage", "meetingID=room-1&message=Hi").await),
        "meetingNotFound"
    );
    node.add_attendees("room-1", 1);
    let sent = call(&node, "sendChatMessage", "meetingID=room-1&message=Hi").await;
    assert_eq!(sent.element("message"), Some("Message successfully sent"));
    node.stop().await;
}
