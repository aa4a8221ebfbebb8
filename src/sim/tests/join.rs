//! The way of a browser into a meeting, and the ways it is turned away.

use percent_encoding::percent_decode_str;

use super::*;

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 302, "{}", answer.body);
    percent_decode_str(answer.header("location").unwrap()).decode_utf8().unwrap().into_owned()
}

#[tokio::test]
async fn joining_gives_a_session_that_only_its_browser_can_use() {
    let node = node_with_room("&logoutURL=https%3A%2F%2Ffront.example%2Fbye").await;
    let joined = call(&node, "join", "meetingID=room-1&fullName=%3Cb%3EAnn&password=mp").await;
    let url = location(&joined);
    let token =
        url.strip_prefix(&format!("http://{}/html5client?sessionToken=", node.address())).unwrap();
    let cookie = joined.header("set-cookie").unwrap();
    let (cookie, attributes) = cookie.split_once("; ").unwrap();
    assert!(cookie.starts_with("JSESSIONID="));
    assert_eq!(attributes, "Path=/bigbluebutton; HttpOnly");

    let stuns = format!("/bigbluebutton/api/stuns?sessionToken={token}");
    let stranger = get(node.address(), &stuns, "").await.unwrap();
    assert!(stranger.body.contains("Could not find conference."), "{}", stranger.body);
    let owner = get(node.address(), &stuns, &format!("Cookie: a=b; {cookie}\r\n")).await.unwrap();
    assert!(owner.body.contains("stunServers"), "{}", owner.body);
    let own = async |call: &str, token: &str| {
        let target = format!("/bigbluebutton/api/{call}?sessionToken={token}");
        get(node.address(), &target, &format!("Cookie: {cookie}\r\n")).await.unwrap().body
    };
    let failed = |message: &str, token: &str| {
        format!(
            r#"{{"response":{{"returncode":"FAILED","message":"{message}","sessionToken":{token}}}}}"#
        )
    };
    let without = failed("You must provide a session token", "null");
    for (call, unknown) in
        [("getJoinUrl", "Invalid session token"), ("learningDashboard", "Invalid Session")]
    {
        assert_eq!(own(call, "x").await, failed(unknown, "\"x\""));
        assert_eq!(own(call, "").await, without);
    }
    let missing = failed("Learning Dashboard data not found", &format!("\"{token}\""));
    assert_eq!(own("learningDashboard", token).await, missing);
    let back = own("getJoinUrl", token).await;
    let (_, link) = back.split_once(&format!("http://{}", node.address())).unwrap();
    let link = link.split('"').next().unwrap();
    assert!(link.starts_with("/bigbluebutton/api/join?&redirect=true&existingUserID=w_"), "{link}");

    let page =
        get(node.address(), &format!("/html5client?sessionToken={token}"), "").await.unwrap();
    assert!(
        page.body.contains("&lt;b&gt;Ann") && page.body.contains(">Leave</a>"),
        "{}",
        page.body
    );
    let sessions = call(&node, "getSessions", "").await;
    assert_eq!(sessions.element("userName"), Some("&lt;b&gt;Ann"));
    let left = get(node.address(), &format!("/html5client?leave=true&sessionToken={token}"), "")
        .await
        .unwrap();
    assert_eq!(location(&left), "https://front.example/bye");
    assert_eq!(node.meetings()[0].participants, 0);
    let after =
        get(node.address(), &format!("/html5client?sessionToken={token}"), "").await.unwrap();
    assert_eq!(after.status, 401);
    assert!(location(&get(node.address(), link, "").await.unwrap()).contains("?sessionToken="));
    node.stop().await;
}

#[tokio::test]
async fn a_browser_keeps_its_cookie_over_several_meetings() {
    let node = node_with_room("").await;
    let first =
        call(&node, "join", "meetingID=room-1&fullName=Ann&role=VIEWER&redirect=false").await;
    for name in ["meeting_id", "user_id", "auth_token", "session_token", "guestStatus", "url"] {
        assert!(first.element(name).is_some(), "{name}: {}", first.body);
    }
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let query = "meetingID=room-1&fullName=Ann&role=VIEWER&redirect=false";
    let query = crate::bbb::signed_query(
        crate::bbb::Algorithm::Sha1,
        "join",
        query.as_bytes(),
        node.secret(),
    );
    let target = format!("/bigbluebutton/api/join?{query}");
    let again = get(node.address(), &target, &format!("Cookie: {cookie}\r\n")).await.unwrap();
    assert_eq!(again.header("set-cookie"), None);
    let token = again.element("session_token").unwrap();
    let sign_out = format!("/bigbluebutton/api/signOut?sessionToken={token}");
    get(node.address(), &sign_out, "").await.unwrap();
    assert_eq!(node.meetings()[0].participants, 2, "without the cookie nobody is signed out");
    get(node.address(), &sign_out, &format!("Cookie: {cookie}\r\n")).await.unwrap();
    assert_eq!(node.meetings()[0].participants, 1);
    node.stop().await;
}

#[tokio::test]
async fn what_validation_finds_is_a_redirect_whatever_was_asked() {
    let node = node_with_room("").await;
    for (query, key) in [
        ("meetingID=nowhere&fullName=Ann&role=VIEWER", "invalidMeetingIdentifier"),
        ("fullName=Ann&role=VIEWER", "missingParamMeetingID"),
        ("meetingID=room-1&role=VIEWER", "missingParamFullName"),
        ("meetingID=room-1&fullName=Ann&password=x", "invalidPassword"),
        ("meetingID=room-1&fullName=Ann&role=VIEWER&guest=yes", "validationError"),
    ] {
        for redirect in ["", "&redirect=false"] {
            let url = location(&call(&node, "join", &format!("{query}{redirect}")).await);
            assert!(
                url.starts_with(&format!("http://{}/?errors=[{{\"key\":\"{key}\"", node.address())),
                "{url}"
            );
        }
    }
    let url = location(
        &get(node.address(), "/bigbluebutton/api/join?meetingID=room-1", "").await.unwrap(),
    );
    assert!(url.contains("checksumError"), "{url}");
    let query = "meetingID=nowhere&fullName=A&role=VIEWER&logoutURL=https://l.example/&errorRedirectUrl=https://e.example/x?y=1";
    let url = location(&call(&node, "join", query).await);
    assert!(url.starts_with("https://e.example/x?y=1&errors=[{"), "{url}");
    call(&node, "end", "meetingID=room-1").await;
    let url = location(&call(&node, "join", "meetingID=room-1&fullName=Ann&role=VIEWER").await);
    assert!(url.contains("meetingForciblyEnded"), "{url}");
    node.stop().await;
}

#[tokio::test]
async fn later_refusals_follow_the_redirect_parameter() {
    let node = node_with_room("&maxParticipants=1&guestPolicy=ALWAYS_DENY").await;
    let neither =
        call(&node, "join", "meetingID=room-1&fullName=Ann&password=wrong&role=BOSS").await;
    assert_eq!((neither.status, neither.element("messageKey")), (200, Some("Params required")));
    for (more, key) in
        [("&createTime=1", "mismatchCreateTimeParam"), ("&guest=true", "guestDeniedAccess")]
    {
        let query = format!("meetingID=room-1&fullName=Ann&role=VIEWER{more}");
        let xml = call(&node, "join", &format!("{query}&redirect=false")).await;
        assert_eq!((xml.status, xml.element("messageKey")), (200, Some(key)));
        assert!(location(&call(&node, "join", &query).await).contains(key));
    }
    node.add_attendees("room-1", 1);
    let full =
        call(&node, "join", "meetingID=room-1&fullName=Ann&role=VIEWER&redirect=false").await;
    assert_eq!(full.element("messageKey"), Some("maxParticipantsReached"));
    node.stop().await;
}
