//! Checksums as front ends compute and send them.

use http::Method;
use portico::bbb::Algorithm;

use crate::harness::{Client, Config, Pool, Signed, Tenant, assert_failed};

const NO_MEETINGS: &str = "<response><returncode>SUCCESS</returncode><meetings/>\
    <messageKey>noMeetings</messageKey>\
    <message>no meetings were found on this server</message></response>";
const NOT_RUNNING: &str =
    "<response><returncode>SUCCESS</returncode><running>false</running></response>";

async fn pool() -> (Pool, Client) {
    let pool = Pool::start(Config::new().tenant(Tenant::new("acme"))).await;
    let acme = pool.tenant("acme");
    (pool, acme)
}

/// The raw query as it is, with `V` for the checksum over `covered`.
async fn get(client: &Client, call: &str, query: &str, covered: &str) -> (u16, String) {
    let query = query.replace('V', &client.checksum(call, covered));
    let target = format!("{}/{call}?{query}", client.base);
    let reply = client.send(Method::GET, &target, &[], "").await;
    (reply.status.as_u16(), reply.body)
}

#[tokio::test]
async fn every_algorithm_is_accepted_in_either_case_of_hex() {
    let (_pool, acme) = pool().await;
    for algorithm in Algorithm::ALL {
        let client = acme.signing(algorithm);
        assert_eq!(client.get("getMeetings", "").await.seen(), (200, NO_MEETINGS));
        let upper = client.checksum("getMeetings", "").to_uppercase();
        let target = format!("{}/getMeetings?checksum={upper}", client.base);
        let reply = client.send(Method::GET, &target, &[], "").await;
        assert_eq!(reply.seen(), (200, NO_MEETINGS), "{algorithm:?}");
    }
}

#[tokio::test]
async fn an_algorithm_that_the_tenant_may_not_use_is_refused() {
    let pool =
        Pool::start(Config::new().tenant(Tenant::new("acme").set("checksums", "[sha512]"))).await;
    let acme = pool.tenant("acme");
    assert!(acme.signing(Algorithm::Sha512).get("getMeetings", "").await.is_success());
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384] {
        let reply = acme.signing(algorithm).get("getMeetings", "").await;
        assert_failed(&reply, "checksumError", "Checksums do not match");
    }
}

#[tokio::test]
async fn the_checksum_may_stand_anywhere_in_the_query() {
    let (_pool, acme) = pool().await;
    for (query, covered) in [
        ("meetingID=room&a=1&checksum=V", "meetingID=room&a=1"),
        ("meetingID=room&checksum=V&a=1", "meetingID=room&a=1"),
        ("checksum=V&meetingID=room&a=1", "meetingID=room&a=1"),
        ("&meetingID=room&checksum=V", "&meetingID=room"),
        ("meetingID=room&checksum=V&", "meetingID=room&"),
        ("a=1&&meetingID=room&checksum=V", "a=1&&meetingID=room"),
        // Raw bytes are covered, however a client encodes.
        ("meetingID=a+b%20c/:,~*'()&checksum=V", "meetingID=a+b%20c/:,~*'()"),
        ("meetingID=r%c3%BCm&checksum=V", "meetingID=r%c3%BCm"),
        ("meetingID=room&mychecksum=x&checksum=V", "meetingID=room&mychecksum=x"),
        ("meetingID=room&checksum=V&checksumHash=sha256", "meetingID=room&checksumHash=sha256"),
    ] {
        let answer = get(&acme, "isMeetingRunning", query, covered).await;
        // A comma is no part of an id; that is not the checksum's business.
        if query.contains(',') {
            assert!(answer.1.contains("Meeting ID cannot contain ','"), "{query}: {answer:?}");
        } else {
            assert_eq!(answer, (200, NOT_RUNNING.to_owned()), "{query}");
        }
    }
    for query in ["checksum=V", "&checksum=V", "checksum=V&"] {
        let answer = get(&acme, "getMeetings", query, "").await;
        assert_eq!(answer, (200, NO_MEETINGS.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn bytes_that_a_client_did_not_encode_are_covered_as_they_are() {
    let (pool, acme) = pool().await;
    let covered = "meetingID=r\u{fc}m\u{1f600}";
    let target = acme.target("isMeetingRunning", covered);
    let mut raw = pool.raw().await;
    raw.send(format!("GET {target} HTTP/1.1\r\nHost: portico\r\n\r\n")).await;
    assert_eq!(raw.reply().await.expect("an answer").seen(), (200, NOT_RUNNING));
}

#[tokio::test]
async fn a_wrong_or_missing_or_truncated_checksum_is_refused_before_anything_else() {
    let (pool, acme) = pool().await;
    let sum = acme.checksum("create", "meetingID=room");
    let (all_but_one, last) = sum.split_at(63);
    let (as_sha1, _) = sum.split_at(40);
    let flipped = format!("{all_but_one}{}", if last == "0" { '1' } else { '0' });
    let other_call = acme.checksum("end", "meetingID=room");
    for wrong in [
        flipped.as_str(),
        all_but_one,
        as_sha1,
        &format!("{sum}00"),
        &"z".repeat(64),
        &other_call,
        "0",
        "%ff%fe",
    ] {
        let target = format!("{}/create?meetingID=room&checksum={wrong}", acme.base);
        let reply = acme.send(Method::GET, &target, &[], "").await;
        assert_failed(&reply, "checksumError", "Checksums do not match");
    }
    for missing in [
        "meetingID=room",
        "",
        "checksum=",
        "checksum",
        "Checksum=00",
        "meetingID=room&checksum=%20",
    ] {
        for call in ["create", "join", "end", "getMeetings", "getMeetingInfo", "isMeetingRunning"] {
            let target = format!("{}/{call}?{missing}", acme.base);
            let reply = acme.send(Method::GET, &target, &[], "").await;
            assert_failed(&reply, "checksumError", "You must provide the checksum");
        }
    }
    assert_eq!(pool.node_calls("create"), 0);
}

#[tokio::test]
async fn a_form_may_carry_its_checksum_in_either_variant() {
    let (pool, acme) = pool().await;
    let form = "name=B+%26+C&meetingID=room&welcome=a%20b~*";
    for signed in [Signed::Nothing, Signed::Sorted] {
        for algorithm in Algorithm::ALL {
            let reply = acme.signing(algorithm).post_signed_form("create", form, signed).await;
            assert_eq!(reply.success().text("meetingID"), "room", "{signed:?} {algorithm:?}");
        }
    }
    assert_eq!(pool.node(0).meetings()[0].name, "B & C");
    let wrong = acme.secret("not the secret of anybody").post_form("create", form).await;
    assert_failed(&wrong, "checksumError", "Checksums do not match");
    let unsigned = acme
        .send(
            Method::POST,
            &format!("{}/create", acme.base),
            &[("content-type", "application/x-www-form-urlencoded")],
            form,
        )
        .await;
    assert_failed(&unsigned, "checksumError", "You must provide the checksum");
}

#[tokio::test]
async fn a_form_beside_a_signed_query_adds_parameters() {
    let (pool, acme) = pool().await;
    let reply = acme.post_query_and_form("create", "meetingID=room", "name=Algebra").await;
    assert_eq!(reply.success().text("meetingID"), "room");
    assert_eq!(pool.node(0).meetings()[0].name, "Algebra");
    // All in the form, nothing but the checksum in the query.
    let reply = acme.post_query_and_form("create", "", "name=Algebra&meetingID=room").await;
    assert_eq!(reply.success().key(), "duplicateWarning");
    // The first value counts, and that of the query comes first.
    let reply = acme.post_query_and_form("isMeetingRunning", "meetingID=room", "meetingID=x").await;
    assert_eq!(reply.seen(), (200, NOT_RUNNING));
}

#[tokio::test]
async fn a_form_beside_an_unsigned_query_cannot_sign_it() {
    let (pool, acme) = pool().await;
    let form = format!("name=Algebra&checksum={}", acme.checksum("create", ""));
    let target = format!("{}/create?meetingID=room", acme.base);
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let reply = acme.send(Method::POST, &target, &kind, form).await;
    assert_failed(&reply, "checksumError", "You must provide the checksum");
    assert_eq!(pool.node_calls("create"), 0);
}

#[tokio::test]
async fn a_form_in_parts_is_a_form() {
    let (pool, acme) = pool().await;
    let part = |name, value| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let checksum = acme.checksum("create", "");
    let parts = [part("name", "B & C"), part("meetingID", "room"), part("checksum", &checksum)];
    let body = format!("{}--x--\r\n", parts.concat());
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let reply = acme.send(Method::POST, &format!("{}/create", acme.base), &kind, body).await;
    assert_eq!(reply.success().text("meetingID"), "room");
    assert_eq!(pool.node(0).meetings()[0].name, "B & C");
}

#[tokio::test]
async fn every_call_of_a_meeting_takes_get_and_form() {
    let (_pool, acme) = pool().await;
    acme.create("room").await;
    for call in ["isMeetingRunning", "getMeetingInfo", "getMeetings", "create"] {
        let query = "meetingID=room&name=A+meeting";
        let by_get = acme.get(call, query).await.success();
        for signed in [Signed::Nothing, Signed::Sorted] {
            let by_form = acme.post_signed_form(call, query, signed).await;
            assert_eq!(by_form.seen(), by_get.seen(), "{call} {signed:?}");
        }
        let by_both = acme.post_query_and_form(call, query, "").await;
        assert_eq!(by_both.seen(), by_get.seen(), "{call}");
    }
    // People see joins, so what they post must be covered whole.
    let join = "meetingID=room&fullName=Ada&role=VIEWER";
    assert_eq!(acme.post_signed_form("join", join, Signed::Sorted).await.status, 302);
    let open = acme.post_signed_form("join", join, Signed::Nothing).await;
    assert_failed(&open, "checksumError", "Checksums do not match");
    let ended = acme.post_form("end", "meetingID=room").await.success();
    assert_eq!(ended.key(), "sentEndMeetingRequest");
}
