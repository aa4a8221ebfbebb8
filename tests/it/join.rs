//! `join`: people are sent to their node, programs get its answer.

use http::Method;
use portico::bbb::{Algorithm, signed_query};

use crate::harness::{
    Client, Config, Pool, Raw, Reply, Signed, Tenant, assert_failed, eventually, failed, masked,
};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const UNKNOWN: (&str, &str) = ("invalidMeetingIdentifier", "A meeting with that ID does not exist");

async fn pool() -> (Pool, Client) {
    let pool =
        Pool::start(Config::new().tenant(Tenant::new("acme").set("name", "Acme & Co"))).await;
    let acme = pool.tenant("acme");
    acme.create("room").await;
    (pool, acme)
}

#[tokio::test]
async fn a_browser_is_sent_to_the_node_with_its_own_bytes_in_order_signed_anew() {
    let (pool, acme) = pool().await;
    let before = "fullName=Zo%c3%AB+O%27Brien/~*&&userdata-b=1&";
    let after = "&role=MODERATOR&userdata-b=2&empty=&flag";
    let target = {
        let query = format!("{before}meetingID=room{after}");
        let sum = acme.checksum("join", &query);
        format!("{}/join?{before}checksum={sum}&meetingID=room{after}", acme.base)
    };
    let reply = acme.send(Method::GET, &target, &[("accept", BROWSER)], "").await;
    let node = pool.node(0);
    let query = format!("{before}meetingID=room%40acme{after}");
    let signed = signed_query(Algorithm::Sha256, "join", query.as_bytes(), node.secret());
    assert_eq!(reply.seen(), (302, ""));
    assert_eq!(reply.header("location"), format!("{}/join?{signed}", node.url()));
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(node.calls("join"), 0, "the browser goes there, not we");

    // The node lets the person in.
    let url: url::Url = reply.header("location").parse().expect("a URL");
    let target = format!("{}?{}", url.path(), url.query().expect("a query"));
    let mut raw = Raw::connect(node.address()).await;
    raw.send(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", node.address())).await;
    let there = raw.reply().await.expect("an answer");
    assert_eq!(there.status, 302);
    assert!(there.header("location").contains("sessionToken="));
    eventually("somebody is in", async || {
        acme.get("isMeetingRunning", "meetingID=room").await.text("running") == "true"
    })
    .await;
}

#[tokio::test]
async fn the_session_cookie_and_xml_of_the_node_come_back_with_redirect_false() {
    let (pool, acme) = pool().await;
    let reply =
        acme.get("join", "meetingID=room&fullName=Ada&role=VIEWER&redirect=false").await.success();
    let token = reply.text("session_token");
    let expected = format!(
        "<response><returncode>SUCCESS</returncode><messageKey>successfullyJoined</messageKey>\
         <message>You have joined successfully.</message><meeting_id>{}</meeting_id>\
         <user_id>*</user_id><auth_token>*</auth_token><session_token>*</session_token>\
         <guestStatus>ALLOW</guestStatus><url>http://{}/html5client?sessionToken={token}</url></response>",
        pool.node(0).meetings()[0].internal_id,
        pool.node(0).address(),
    );
    assert_eq!(masked(&reply.body), expected);
    assert!(reply.header("set-cookie").starts_with("JSESSIONID="), "{reply:?}");
    assert_eq!(pool.node(0).meetings()[0].participants, 1);

    // A form is joined for just the same.
    let form = "meetingID=room&fullName=Bob&role=VIEWER&redirect=false";
    let by_form = acme.post_signed_form("join", form, Signed::Sorted).await.success();
    assert!(by_form.header("set-cookie").starts_with("JSESSIONID="), "{by_form:?}");
    assert_eq!(pool.node(0).meetings()[0].participants, 2);

    // The node sees who is behind us, and nothing of the front end's signature.
    let seen = pool.node(0).requests();
    for join in seen.iter().filter(|seen| seen.path.ends_with("/join")) {
        assert_eq!(join.method, Method::GET);
        assert_eq!(join.body_len, 0);
        assert_eq!(join.headers["host"], pool.node(0).address().to_string().as_str());
        assert_eq!(join.headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(join.query.matches("checksum=").count(), 1);
        assert!(join.query.starts_with("meetingID=room%40acme&fullName="), "{}", join.query);
    }

    // The node refuses in its own words.
    let refused =
        acme.get("join", "meetingID=room&fullName=Eve&password=wrong&redirect=false").await;
    assert_eq!((refused.status.as_u16(), refused.key().as_str()), (200, "Params required"));
}

#[tokio::test]
async fn an_unknown_meeting_is_a_failure_to_programs_and_a_patient_page_to_people() {
    let (_pool, acme) = pool().await;
    let query = "meetingID=nowhere&fullName=Ada&role=VIEWER";
    for program in [acme.clone(), acme.header("accept", "*/*"), acme.header("accept", "text/xml")] {
        assert_failed(&program.get("join", query).await, UNKNOWN.0, UNKNOWN.1);
    }
    let json = acme.header("accept", "application/json").get("join", query).await;
    let body = format!(
        "{{\"response\":{{\"returncode\":\"FAILED\",\"messageKey\":\"{}\",\"message\":\"{}\"}}}}",
        UNKNOWN.0, UNKNOWN.1
    );
    assert_eq!(json.seen(), (200, body.as_str()));

    let browser = acme.header("accept", BROWSER);
    assert_failed(
        &browser.get("join", &format!("{query}&redirect=false")).await,
        UNKNOWN.0,
        UNKNOWN.1,
    );
    let page = browser.get("join", query).await;
    assert_page(&page, 404, "This meeting has not started yet");
    assert!(page.body.contains("<meta http-equiv=\"refresh\" content=\"5\">"), "{}", page.body);
    assert_eq!(page.header("retry-after"), "5");

    // The page comes back, and one time the meeting is there.
    acme.create("nowhere").await;
    assert_eq!(browser.get("join", query).await.status, 302);
}

#[track_caller]
fn assert_page(page: &Reply, status: u16, title: &str) {
    assert_eq!(page.status, status, "{page:?}");
    assert_eq!(page.header("content-type"), "text/html;charset=utf-8");
    assert!(page.body.starts_with("<!DOCTYPE html>"), "{}", page.body);
    assert!(page.body.contains(&format!("<h1>{title}</h1>")), "{}", page.body);
    assert!(page.body.contains("Acme &amp; Co"), "{}", page.body);
}

#[tokio::test]
async fn failures_go_to_the_error_redirect_url_as_from_a_node() {
    let (_pool, acme) = pool().await;
    for client in [acme.clone(), acme.header("accept", BROWSER)] {
        for (query, key, message) in [
            ("meetingID=nowhere&fullName=Ada", UNKNOWN.0, UNKNOWN.1),
            ("fullName=Ada", "missingParamMeetingID", "You must provide a meeting ID"),
            ("meetingID=room&fullName=+", "missingParamFullName", "You must provide your name"),
        ] {
            let back = "errorRedirectUrl=https%3A%2F%2Flms.test%2Fback%3Fcourse%3D7";
            let reply = client.get("join", &format!("{query}&{back}&role=VIEWER")).await;
            assert_eq!(reply.seen(), (302, ""), "{query}");
            let url: url::Url = reply.header("location").parse().expect("a URL");
            assert_eq!(
                url.query_pairs().into_owned().collect::<Vec<_>>(),
                [
                    ("course".to_owned(), "7".to_owned()),
                    (
                        "errors".to_owned(),
                        format!("[{{\"key\":\"{key}\",\"message\":\"{message}\"}}]")
                    ),
                ]
            );
            assert_eq!(&url[..url::Position::AfterPath], "https://lms.test/back");
        }
    }
    // Only to the web.
    let reply = acme
        .get("join", "meetingID=nowhere&fullName=Ada&errorRedirectUrl=javascript%3Aalert(1)")
        .await;
    assert_failed(&reply, UNKNOWN.0, UNKNOWN.1);
}

#[tokio::test]
async fn a_name_and_a_meeting_id_are_needed() {
    let (_pool, acme) = pool().await;
    for query in ["meetingID=room&role=VIEWER", "meetingID=room&role=VIEWER&fullName=%20"] {
        let reply = acme.get("join", query).await;
        assert_failed(&reply, "missingParamFullName", "You must provide your name");
        let page = acme.header("accept", BROWSER).get("join", query).await;
        assert_page(&page, 200, "You cannot join this meeting");
        assert!(!page.body.contains("http-equiv=\"refresh\""), "trying again does not mend it");
    }
    let reply = acme.get("join", "fullName=Ada&role=VIEWER").await;
    assert_failed(&reply, "missingParamMeetingID", "You must provide a meeting ID");
}

#[tokio::test]
async fn a_wrong_checksum_goes_nowhere_else() {
    let (_pool, acme) = pool().await;
    let wrong = acme.secret("not the secret of anybody").header("accept", BROWSER);
    let query = "meetingID=room&fullName=Ada&errorRedirectUrl=https%3A%2F%2Fevil.test";
    let reply = wrong.get("join", query).await;
    assert_eq!(reply.seen(), (200, failed("checksumError", "Checksums do not match").as_str()));
}

#[tokio::test]
async fn the_form_beside_a_signed_join_link_does_not_count() {
    let (_pool, acme) = pool().await;
    let query = "meetingID=room&fullName=Ada";
    let reply = acme.post_query_and_form("join", query, "role=MODERATOR&fullName=Eve").await;
    assert_eq!(reply.status, 302);
    let location = reply.header("location");
    assert!(!location.contains("MODERATOR") && !location.contains("Eve"), "{location}");
}

#[tokio::test]
async fn without_an_error_redirect_url_failures_go_to_the_logout_url_of_the_join() {
    let (_pool, acme) = pool().await;
    let logout = "logoutURL=https%3A%2F%2Flms.test%2Fbye%3Fcourse%3D7";
    for client in [acme.clone(), acme.header("accept", BROWSER)] {
        for query in
            ["meetingID=nowhere&fullName=Ada", "meetingID=nowhere&fullName=Ada&redirect=false"]
        {
            let reply = client.get("join", &format!("{query}&{logout}")).await;
            assert_eq!(reply.seen(), (302, ""), "{query}");
            let there = reply.header("location");
            assert!(there.starts_with("https://lms.test/bye?course=7&errors=%5B%7B"), "{there}");
        }
    }
    let both = format!(
        "meetingID=nowhere&fullName=Ada&{logout}&errorRedirectUrl=https%3A%2F%2Flms.test%2Ferr"
    );
    let reply = acme.get("join", &both).await;
    assert!(reply.header("location").starts_with("https://lms.test/err?errors="), "{reply:?}");
    let odd =
        format!("meetingID=nowhere&fullName=Ada&{logout}&errorRedirectUrl=javascript%3Aalert(1)");
    let reply = acme.get("join", &odd).await;
    assert!(reply.header("location").starts_with("https://lms.test/bye?"), "{reply:?}");
}
